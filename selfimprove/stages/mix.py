"""Draw the rows of a mixture that are trained: data sets, templates and forms in the shares that are asked for."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import PositiveInt

from selfimprove.errors import TaskError, suggest
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import Draw, Example, Portion, Problem, Record, derive_seed, hash_text
from selfimprove.settings import Settings
from selfimprove.stages.base import Ahead, Desk, Key, Round, Sizes, Stage
from selfimprove.stages.sft import Sft
from selfimprove.tasks import Mixture, question_key
from selfimprove.tasks.mixture_draw import FORMS, Drawn, Draws

KEPT, EMPTY, DUPLICATE, HELD_OUT = "kept", "empty target", "duplicate", "its prompt is held out"
TOO_LONG = "too long"
SHOWN = 3  # rows that a line names
FAR = 0.05  # by how much a share may differ from what was asked for before it is said
BEGINNING = 200  # characters that are kept of what is turned away


class Mix(Settings):
    """Draw the rows of a mixture that are trained, for `train: {name: mixture/…}`."""

    rows: PositiveInt | None = None
    """Rows in a round; by default as many as the data sets have, each up to the mixture's `cap`."""
    tokens: PositiveInt | None = None
    """Stop at this many tokens of prompts and completions, so that mixtures can be compared at equal cost."""
    clusters: tuple[str, ...] | None = None
    """Draw from these clusters alone; by default from all that are not held out."""
    templates: PositiveInt | None = None
    """Use at most n templates of each data set, chosen by the seed; by default all."""


@dataclass(frozen=True)
class _Counted:
    """A row that was drawn, and what became of it."""

    drawn: Drawn
    tokens: int
    completion: int
    reason: str


def mix(_: Sequence[object], desk: Desk[Mix]) -> Iterator[Record]:
    """Each row that was drawn, after it its example, and at the end how much there is of what."""
    settings, task, draws = desk.settings, desk.task, draws_of(desk)
    assert isinstance(task, Mixture)
    held_out = {question_key(one.question) for one in desk.held_out}
    longest = desk.other(Sft).max_length
    most = draws.size if settings.rows is None and settings.tokens is None else settings.rows
    seen: set[str] = set()
    counted: list[_Counted] = []
    rows = tokens = 0
    while (most is None or rows < most) and (settings.tokens is None or tokens < settings.tokens):
        drawn = draws.next()
        if drawn is None:
            break
        prompt = desk.prompts.render_question(Problem(question=drawn.prompt, answer=None, task=task.name))
        key = hash_text(f"{prompt}\0{drawn.completion}")
        reason, sizes = _why_not(drawn, key in seen, held_out), (0, 0)
        if not reason:
            sizes = desk.count_tokens(prompt, drawn.completion)
            reason = f"{TOO_LONG}: {sum(sizes)} tokens" if sum(sizes) > longest else ""
        one = _Counted(drawn, sum(sizes), sizes[1], reason or KEPT)
        counted.append(one)
        draw = _record(one)
        yield draw
        if not reason:
            draws.take(drawn)
            seen.add(key)
            rows, tokens = rows + 1, tokens + sum(sizes)
            source = drawn.source
            yield Example(parents=(draw.id,), prompt=prompt, completion=drawn.completion, origin="mixture",
                          group=source.group, weight=source.settings.loss_weight)  # fmt: skip
    if not rows:
        raise TaskError(f"{desk.title}: no row of '{task.name}' can be trained; the first one: {_first(counted)}")
    yield from measure(counted, draws, task, desk.round)


def draws_of(desk: Desk[Mix]) -> Draws:
    """The rows of a round; raises TaskError where a cluster is not there to be trained on."""
    task, settings = desk.task, desk.settings
    assert isinstance(task, Mixture)
    able = dict.fromkeys(one.settings.cluster for one in task.trained)
    for one in settings.clusters or ():
        if one not in able:
            why = "is held out" if one in task.hold_out else f"is not in the mixture{suggest(one, able)}"
            raise TaskError(f"mix.clusters: '{one}' {why}")
    seed = derive_seed(desk.seed, "mix", desk.round)
    return Draws(task, seed, clusters=settings.clusters, templates=settings.templates)


def _why_not(drawn: Drawn, seen: bool, held_out: set[str]) -> str:
    if drawn.reason:
        return drawn.reason
    if not drawn.completion.strip():
        return EMPTY
    if not drawn.prompt.strip():
        return "empty prompt"
    if seen:
        return DUPLICATE
    return HELD_OUT if question_key(drawn.prompt) in held_out else ""


def _record(one: _Counted) -> Draw:
    drawn, source = one.drawn, one.drawn.source
    return Draw(
        data_set=source.name, cluster=source.settings.cluster, template=drawn.template, place=drawn.place,
        forms=drawn.forms, tokens=one.tokens, completion_tokens=one.completion, kept=one.reason == KEPT,
        reason=one.reason, text="" if one.reason == KEPT else drawn.prompt[:BEGINNING],
    )  # fmt: skip


def _first(counted: Sequence[_Counted]) -> str:
    return f"{counted[0].drawn.place}, {counted[0].reason}" if counted else "there is none"


def measure(counted: Sequence[_Counted], draws: Draws, task: Mixture, round_: int) -> Iterator[Portion]:
    """How much there is of each cluster, data set, template and form, beside what was asked for.

    A form is a share of the rows that could have it or not: those that cannot do without it answer to nothing asked.
    """
    groups: dict[tuple[str, str], list[_Counted]] = defaultdict(list)
    for one in counted:
        source = one.drawn.source
        forms = (("form", form) for form in one.drawn.forms if form in one.drawn.able)
        for key in (
            ("mixture", task.name), ("cluster", source.settings.cluster), ("data set", source.name),
            ("template", f"{source.name}: {one.drawn.template}"), *forms,
        ):  # fmt: skip
            groups[key].append(one)
    kept = [one for one in counted if one.reason == KEPT]
    tokens = sum(one.tokens for one in kept)
    able = Counter(form for one in kept for form in one.drawn.able)
    asked = {("mixture", task.name): 1.0, **_asked(draws, task)}
    for (by, name), share in asked.items():
        mine = groups[by, name]
        trained = [one for one in mine if one.reason == KEPT]
        reasons = Counter(one.reason.split(":")[0] for one in mine)
        yield Portion(
            round=round_, by=by, name=name, rows=len(trained), of=able[name] if by == "form" else len(kept),  # type: ignore[arg-type]
            tokens=sum(one.tokens for one in trained), completion_tokens=sum(one.completion for one in trained),
            token_share=sum(one.tokens for one in trained) / tokens, asked=share,
            empty=reasons[EMPTY], duplicates=reasons[DUPLICATE], too_long=reasons[TOO_LONG], held_out=reasons[HELD_OUT],
            failed=sum(bool(one.drawn.reason) for one in mine),
        )  # fmt: skip


def _asked(draws: Draws, task: Mixture) -> Mapping[tuple[str, str], float]:
    """The shares that were asked for."""
    found: dict[tuple[str, str], float] = {}
    inverted = task.mixture.forms.inverted
    for name, share in draws.shares.items():
        key = "cluster", draws.sources[name].settings.cluster
        found[key] = found.get(key, 0.0) + share
    found |= {("data set", name): share for name, share in draws.shares.items()}
    for name, share in draws.shares.items():
        source, chosen = draws.sources[name], draws.chosen[name]
        there = Counter(source.templates[one].inverts for one in chosen)
        items = Counter(one.template for one in source.items if one.template in chosen)
        for one in chosen:
            inverts = source.templates[one].inverts
            among = 1.0 if len(there) == 1 else inverted if inverts else 1 - inverted
            part = items[one] / items.total() if items else among / there[inverts]
            found["template", f"{name}: {one}"] = share * part
    forms = task.mixture.forms
    return found | {
        ("form", form): share
        for form, share in zip(FORMS, (forms.few_shot, forms.cot, forms.options, forms.inverted), strict=True)
    }


def say(desk: Desk[Mix]) -> str:
    """What was drawn, what is far from what was asked for, and what was turned away."""
    portions, draws = desk.written(Portion), desk.written(Draw)
    whole = next((one for one in portions if one.by == "mixture"), None)
    if whole is None:
        return ""
    count = Counter(one.by for one in portions if one.rows)
    said = [
        f"{whole.rows:,} rows of {count['data set']} data sets in {count['cluster']} clusters by {count['template']} "
        f"templates, {whole.tokens:,} tokens"
    ]
    far = [one for one in portions if one.by in ("cluster", "data set", "form") and one.of
           and abs(one.share - one.asked) > FAR]  # fmt: skip
    said += [f"{one.name} {one.share:.1%} instead of {one.asked:.1%}" for one in far]
    turned = Counter(one.reason.split(":")[0] for one in draws if not one.kept)
    for reason, number in turned.most_common():
        places = [f"{one.data_set}, {one.place}" for one in draws if one.reason.split(":")[0] == reason][:SHOWN]
        said.append(f"{number} turned away, {reason} ({'; '.join(places)}{' …' if number > SHOWN else ''})")
    return "; ".join(said)


def reads(round_: Round[Mix]) -> list[Key]:
    return [round_.problems, round_.trained]


def depends(round_: Round[Mix]) -> dict[str, object]:
    return {**round_.own, "max_length": round_.other(Sft).max_length, **round_.shared("prompt", "model")}


def check(recipe: Recipe, settings: Mix) -> Iterable[Mistake]:
    if recipe.rounds and recipe.train.family != "mixture":
        said = f"'mix' draws from a mixture, and '{recipe.train.name}' is none; such as 'train: {{name: mixture/t0}}'"
        yield Mistake(("train", "name"), said)


def sizes(ahead: Ahead[Mix]) -> Sizes:
    task, rows = ahead.given.task, ahead.settings.rows
    drawn = rows or (Draws(task, 0).size if isinstance(task, Mixture) else 0)
    return replace(ahead.sizes, kept=ahead.sizes.kept + drawn)


MIX = Stage(
    name="mix",
    version=1,
    settings=Mix,
    writes=Draw,
    also=(Example, Portion),
    reads=reads,
    run=mix,
    uses=("prompt", "model"),
    depends=depends,
    say=say,
    sizes=sizes,
    check=check,
)
