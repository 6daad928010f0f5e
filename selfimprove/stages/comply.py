"""Measure how far held-out answers follow the constitution, and whether they do so more than before."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from selfimprove.constitution.adherence import (
    BEFORE,
    FIGURES,
    START,
    TRIAL,
    Answers,
    Beside,
    check_answers,
    count_shares,
    describe_adherence,
    need_judge,
    outcomes,
    pairs_of,
    put_beside,
    show_win_rate,
    to_judge,
)
from selfimprove.constitution.trial import LEAST, count_trial, mismatched, passes, trial_principle
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import (
    Checkpoint,
    Comparison,
    Compliance,
    Problem,
    Rationale,
    Record,
    Verdict,
    derive_seed,
)
from selfimprove.records.stats import WinRate
from selfimprove.settings import Settings, Share
from selfimprove.stages.base import Ahead, Cost, Desk, Key, Look, Round, Stage, chunks
from selfimprove.stages.compare import COMPARE_VERSION, Feedback, Match, compare
from selfimprove.store import Manifest

TRIAL_FIGURES = (("", "rate"), ("_low", "low"), ("_high", "high"))


class Comply(Settings):
    """Measure held-out answers to open prompts by the constitution: by its checks, and by a judge beside the answers of
    the checkpoint before and of round 0."""

    by: Literal["judge"] | None = "judge"
    """Who says which of two answers follows a principle better: the recipe's `judge`, by default the run's first model.
    null: nobody is asked, and only checks measure."""
    limit: PositiveInt | None = None
    """A judge compares the answers to at most n prompts, chosen by a hash; by default to all."""
    tie: Share = 0.02
    """A comparison with a smaller margin than this is a tie."""
    trial: Annotated[int, Field(ge=LEAST)] | None = 24
    """Try the judge: show it round 0's answers to at most n prompts, each beside its answer to another prompt, the same
    in each round. Where it does not take the right one more often than chance, by the 95% interval (17 of 24), that is
    said and its preferences decide nothing. null: do not try it."""
    thought: bool = False
    """Ask the judge for a chain of thought first."""
    max_tokens: PositiveInt = 128
    """The longest chain of thought in tokens."""
    part_size: PositiveInt = 64
    """Comparisons in a part."""


@dataclass(frozen=True)
class Measured:
    """What is compared: the round's answers to open prompts, and those beside which they are put, by name."""

    problems: Mapping[str, Problem]
    now: Answers
    others: Mapping[str, Answers]
    judged: Sequence[str]
    """The prompts of which a judge is asked."""


def collect(desk: Desk[Settings]) -> Measured:
    """The answers of the round's checkpoint, of the one before and of round 0."""
    problems = {one.id: one for one in desk.held_out if one.is_open}
    now = read_answers(desk, desk.trained, problems)
    others = {}
    if desk.round:
        found = {BEFORE: desk.incumbent, START: desk.first_checkpoint}
        others = {name: read_answers(desk, one, problems) for name, one in found.items() if one.id != now.checkpoint}
    settings = desk.other(Comply)
    order = sorted(problems, key=lambda name: derive_seed("judged", name))
    return Measured(problems, now, others, order[: settings.limit] if settings.by else ())


def read_answers(desk: Desk[Settings], checkpoint: Checkpoint, problems: Mapping[str, Problem]) -> Answers:
    """A checkpoint's first answers to open prompts, of the newest evaluation that asked it."""
    newest = (
        (round_, found)
        for round_ in range(desk.round, -1, -1)
        for found in reversed(desk.by_stage(round_, Rationale, "evaluate").values())
    )
    for round_, found in newest:
        rationales = [
            one
            for one in found
            if one.origin == "sampled" and not one.sample and len(one.parents) == 2 and one.problem in problems
        ]
        if rationales and rationales[0].checkpoint == checkpoint.id:
            texts = {one.problem: one for one in rationales}
            verdicts = {one.rationale: one for one in desk.read_of(round_, Verdict, "evaluate")}
            said = outcomes(check_answers(texts, problems, verdicts, desk.constitution))
            return Answers(checkpoint.id, round_, texts, said)
    return Answers(checkpoint.id, desk.round, {})


def matches_of(desk: Desk[Comply]) -> list[Match]:
    """What the judge is asked: each pair of answers once, whichever checkpoints have them."""
    found = desk.once(collect)
    matches: dict[tuple[str, str, str], Match] = {}
    for other in found.others.values():
        for name, one, before in pairs_of(found.now, other, found.judged):
            for principle in to_judge(desk.constitution, found.problems[name]) if need_judge(one, before) else ():
                match = Match(found.problems[name], one, before, principle)
                matches[one.id, before.id, principle.id] = match
    tried = trial_principle(desk.constitution)
    trials = [Match(found.problems[name], one, other, tried) for name, one, other in trial_pairs(desk, found)]
    return [*trials, *matches.values()] if matches else []


def trial_pairs(desk: Desk[Settings], found: Measured) -> list[tuple[str, Rationale, Rationale]]:
    """Answers of round 0, which no training has made worse, each with one to another prompt."""
    limit, start = desk.other(Comply).trial, found.others.get(START)
    return mismatched(start, found.judged, limit) if limit and start else []


def parts(desk: Desk[Comply]) -> list[Sequence[Match]]:
    """Comparisons, and a last part with what follows from them all."""
    matches = matches_of(desk)
    return [*(chunks(matches, desk.settings.part_size) if matches else []), []]


def measure(part: Sequence[Match], desk: Desk[Comply]) -> Iterator[Record]:
    """What the judge prefers; the last part checks each answer and counts."""
    settings = desk.settings
    if part:
        judge, prompter = desk.judge()
        yield from compare(
            part,
            engine=desk.engine(judge),
            checkpoint=judge.id,
            prompter=prompter,
            settings=Feedback(thought=settings.thought, tie=settings.tie, max_tokens=settings.max_tokens),
            round_=desk.round,
            seed=desk.seed,
        )
        return
    found = desk.once(collect)
    verdicts = {one.rationale: one for one in desk.read_of(found.now.round, Verdict, "evaluate")}
    yield from check_answers(found.now.texts, found.problems, verdicts, desk.constitution)
    comparisons = desk.written(Comparison)
    beside = beside_of(desk, found, comparisons)
    if found.now.texts:
        shares = count_shares(found.now, desk.constitution)
        tried = trial_principle(desk.constitution).id
        places = [(one.forward + one.backward) / 2 for one in comparisons if one.principle != tried]
        trial = try_judge(desk, found, comparisons)
        desk.note(
            FIGURES,
            {
                "constitution": desk.constitution.label,
                "principles": {one.id: one.title or one.id for one in desk.constitution.principles},
                "checked": {name: one.to_json() for name, one in shares.items()},
                "beside": {name: one.to_json() for name, one in beside.items()},
                TRIAL: {**show_win_rate(trial), "believed": passes(trial)} if trial else None,
                "for the first place": sum(places) / len(places) if places else None,
            },
        )


def beside_of(desk: Desk[Settings], found: Measured, comparisons: Sequence[Comparison]) -> dict[str, Beside]:
    """The figures of the round's answers beside each of the others."""
    tie, believed = desk.other(Comply).tie, passes(try_judge(desk, found, comparisons))
    return {
        name: put_beside(
            found.now, other, found.problems, desk.constitution, comparisons,
            judged=found.judged, tie=tie, believed=believed,
        )
        for name, other in found.others.items()
        if other.texts
    }  # fmt: skip


def try_judge(desk: Desk[Settings], found: Measured, comparisons: Sequence[Comparison]) -> WinRate | None:
    """How often the judge took an answer and not one to another prompt."""
    pairs = trial_pairs(desk, found)
    return count_trial(pairs, comparisons, trial_principle(desk.constitution), desk.other(Comply).tie)


def say(desk: Desk[Comply]) -> str:
    manifest = desk.manifest
    found = manifest.metrics.get(FIGURES) if manifest else None
    return "; ".join(describe_adherence(found)) if found else "no held-out answer to measure"


def figures(manifest: Manifest) -> dict[str, float | None]:
    """The share that complies with each principle, and the win rates, with their intervals."""
    found = manifest.metrics.get(FIGURES)
    values: dict[str, float | None] = {}
    for name, one in found["checked"].items() if found else ():
        if one["n"]:
            key = f"constitution/{name.replace(' ', '_')}"
            values |= {key: one["count"] / one["n"], f"{key}_low": one["low"], f"{key}_high": one["high"]}
    if found and (trial := found.get(TRIAL)):
        values |= {f"win_rate/trial{end}": trial[name] for end, name in TRIAL_FIGURES}
    for against, beside in found["beside"].items() if found else ():
        for name, one in beside["judged"].items():
            key = f"win_rate/{name}_against_{against.replace(' ', '_')}"
            values |= {key: one["rate"], f"{key}_low": one["low"], f"{key}_high": one["high"]}
            values[f"{key}_at_equal_length"] = one["at equal length"]["rate"]
    return values


def applies(recipe: Recipe) -> bool:
    """Whether there is a constitution, and held-out prompts that are open."""
    tasks = recipe.evaluate_on or (recipe.train,)
    return recipe.constitution is not None and any(one.family == "prompts" for one in tasks)


def asks_judge(recipe: Recipe) -> bool:
    return recipe.rounds > 0 and applies(recipe) and recipe.of(Comply).by is not None


def reads(round_: Round[Comply]) -> Iterable[Key]:
    return [round_.incumbent, round_.trained, round_.start, *round_.evaluations()]


def depends(round_: Round[Comply]) -> dict[str, object]:
    asked = round_.settings.by is not None
    own = {name: value for name, value in round_.own.items() if asked or name != "trial"}
    return {
        **own,
        **round_.shared("constitution", *(("judge",) if asked else ())),
        **({"version of compare": COMPARE_VERSION} if asked else {}),
    }


def cost(look: Look[Comply]) -> Sequence[Cost]:
    settings = look.settings
    if not look.round or settings.by is None or not settings.thought:
        return ()
    prompts = min(look.sizes.held_out, settings.limit or look.sizes.held_out)
    return [Cost(texts=4 * prompts + 2 * min(prompts, settings.trial or 0), longest=settings.max_tokens, upto=True)]


def say_ahead(ahead: Ahead[Comply]) -> Iterator[str]:
    """What a judge is asked about held-out answers, at most."""
    constitution, recipe = ahead.given.constitution, ahead.recipe
    if constitution is None or not asks_judge(recipe):
        return
    asked = [len(to_judge(constitution, one)) for one in ahead.given.held_out if one.is_open]
    pairs = sum(sorted(asked, reverse=True)[: ahead.settings.limit])
    tried = min(len(asked), ahead.settings.limit or len(asked), ahead.settings.trial or 0) if pairs else 0
    first = f", and {tried:,} more in each round to try it" if tried >= LEAST else ""
    more = f", and {2 * pairs:,} in later ones, beside round 0 too" if recipe.rounds > 1 else ""
    yield (
        f"`comply` has the judge compare at most {pairs:,} pairs of held-out answers in round 1{more}, in both "
        f"orders{first}"
    )


def check(recipe: Recipe, settings: Comply) -> Iterable[Mistake]:
    if settings.thought and settings.by is None:
        yield Mistake(("stages", "comply", "thought"), "'comply.thought' needs a judge: 'comply.by' is null")


COMPLY = Stage(
    name="comply",
    version=1,
    settings=Comply,
    writes=Compliance,
    also=(Comparison,),
    reads=reads,
    needs=(Rationale,),
    parts=parts,
    run=measure,
    uses=("constitution", "judge"),
    depends=depends,
    when="always",
    about="held out",
    by_default=True,
    applies=applies,
    asks="judge",
    scores=lambda recipe: ["comply.by"] if asks_judge(recipe) else [],
    unit=Comparison,
    gathers=True,
    say=say,
    cost=cost,
    figures=figures,
    ahead=say_ahead,
    check=check,
)
