"""Try other settings of sampling on a few problems of the round, and take what is surely better for the round."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean
from typing import Any

from pydantic import PositiveFloat, PositiveInt

from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import Action, Arm, Probed, Problem, Rationale, Record, Verdict
from selfimprove.records.stats import mean_interval
from selfimprove.settings import Settings, hashed_settings
from selfimprove.stages.base import SHOWN, Cost, Desk, Key, Look, Round, Stage, chunks
from selfimprove.stages.earlier import fold
from selfimprove.stages.generate import Generate, generate
from selfimprove.stages.passes import passes
from selfimprove.stages.select import Select
from selfimprove.stages.verify import judge_written

SPREAD = 2e-9  # of scores that are equal but for rounding


class Probe(Settings):
    """Before the round is written, try other settings of `generate` on a few of its problems with the same random
    numbers, and change a setting only where the paired interval is above the recipe's (B-STaR; Zeng et al., 2024)."""

    problems: PositiveInt = 100
    """Problems of the round that are tried, chosen by their ids."""
    scales: tuple[PositiveFloat, ...] = (0.8, 1.25)
    """Temperatures to try, as multiples of the one that the round has."""
    samples: tuple[PositiveInt, ...] = ()
    """Numbers of samples to try with each temperature; the first ones of the same texts."""
    enough: PositiveInt = 4
    """Distinct right texts of a problem that are as good as more (B-STaR, n*)."""
    every: PositiveInt = 1
    """Rounds from one probe to the next; the first one is in round 1."""
    part_size: PositiveInt = 50
    """Problems in a part."""


@dataclass(frozen=True)
class Try:
    """Settings that are tried."""

    temperature: float
    samples: int


Item = tuple[float, Problem]
"""A temperature with a problem that is tried at it."""


def arms_of(settings: Probe, now: Generate) -> list[Try]:
    """What is tried, the round's own settings first."""
    temperatures = dict.fromkeys(float(f"{scale * now.temperature:.6g}") for scale in (1.0, *settings.scales))
    counts = dict.fromkeys((now.samples, *settings.samples))
    return [Try(temperature, count) for temperature in temperatures for count in counts]


def parts(desk: Desk[Probe]) -> list[Sequence[Item]]:
    """A part a temperature and some problems; the last one, which is empty, takes the decision."""
    settings, now = desk.settings, desk.other(Generate)
    if now.temperature == 0 or (desk.round - 1) % settings.every:
        return [[]]
    known = [one for one in desk.read(Problem) if one.answer is not None and not one.is_pair]
    chosen = sorted(known, key=lambda one: one.id)[: settings.problems]
    temperatures = dict.fromkeys(one.temperature for one in arms_of(settings, now))
    some = chunks(chosen, settings.part_size)
    tries: list[Sequence[Item]] = [[(each, one) for one in part] for each in temperatures for part in some]
    return [*tries, []]


def probe(part: Sequence[Item], desk: Desk[Probe]) -> Iterator[Record]:
    """What was right of each problem's samples; of the last part what is made of all of it."""
    if part:
        yield from try_out(part, desk)
        return
    arms, settings, now = list(weigh(desk)), desk.settings, desk.other(Generate)
    yield from arms
    yield choose(desk.round, arms, now, refuses=desk.refuses) if arms else Action(
        round=desk.round, changes=(), rule="",
        reason="samples at temperature 0 are all the same" if now.temperature == 0
        else f"a probe is every {settings.every} rounds" if settings.every > 1 else "no problem has an answer to go by",
    )  # fmt: skip


def try_out(part: Sequence[Item], desk: Desk[Probe]) -> Iterator[Probed]:
    """Samples at one temperature: a problem's n-th one has the same random stream at every temperature."""
    settings, require = desk.other(Generate), desk.other(Select).require
    problems, temperature = [one for _, one in part], part[0][0]
    written = generate(
        problems,
        writer=desk.writer(desk.incumbent),
        render=desk.prompts.render,
        sampling=settings.model_copy(update={"temperature": temperature}),
        samples=max(one.samples for one in arms_of(desk.settings, settings)),
        purpose=desk.name,
    )
    records = list(judge_written(problems, written, desk))
    verdicts = {one.rationale: one for one in records if isinstance(one, Verdict)}
    texts: dict[str, list[Rationale]] = {one.id: [] for one in problems}
    for one in records:
        if isinstance(one, Rationale):
            texts[one.problem].append(one)
    for problem in problems:
        mine = sorted(texts[problem.id], key=lambda one: one.sample)
        kinds: dict[bytes, int] = {}  # equal texts have equal numbers
        marks = [kinds.setdefault(fold(one.text), len(kinds)) for one in mine]
        right = [one.finish == "stop" and passes(verdicts[one.id], require) for one in mine]
        yield Probed(
            parents=(problem.id, desk.incumbent.id), round=desk.round, temperature=temperature,
            right=tuple(mark if good else None for mark, good in zip(marks, right, strict=True)),
            tokens=tuple(one.tokens for one in mine),
        )  # fmt: skip


def score(one: Probed, samples: int, enough: int) -> float:
    """B-STaR's balance of a problem (section 3.2): min(c / n*, 1) · c / m of c distinct right texts among m samples."""
    distinct = len({mark for mark in one.right[:samples] if mark is not None})
    return min(distinct / enough, 1.0) * distinct / samples


def weigh(desk: Desk[Probe]) -> Iterator[Arm]:
    """Each arm by what it brings for as many tokens as a sample of the round's own settings takes."""
    settings, now = desk.settings, desk.other(Generate)
    tried = sorted(desk.written(Probed), key=lambda one: (one.temperature, one.parents[0]))
    by_temperature = {key: list(found) for key, found in groupby(tried, key=lambda one: one.temperature)}
    own: list[float] = []
    usual = 0.0  # tokens of a sample by the round's own settings
    for arm in arms_of(settings, now) if tried else ():
        found = by_temperature[arm.temperature]
        tokens = sum(sum(one.tokens[: arm.samples]) for one in found)
        each = max(1.0, tokens / (arm.samples * len(found)))
        usual = usual or each
        values = [score(one, arm.samples, settings.enough) * usual / each for one in found]
        own = own or values
        more = [value - base for value, base in zip(values, own, strict=True)]
        low, high = mean_interval(more, (-1e9, 1e9)) or (0.0, 0.0)
        yield Arm(
            round=desk.round,
            changes=(f"generate.temperature={arm.temperature:g}", f"generate.samples={arm.samples}"),
            problems=len(found), score=mean(values), more=mean(more), low=low, high=high, tokens=tokens,
            right=sum(mark is not None for one in found for mark in one.right[: arm.samples]),
            samples=arm.samples * len(found),
        )  # fmt: skip


def choose(round_: int, arms: Sequence[Arm], now: Generate, *, refuses: Any) -> Action:
    """The arm that brings most, if it surely brings more than the round's own settings, which are the first arm."""
    own, others = arms[0], arms[1:]
    before = dict(one.split("=") for one in own.changes)
    sure = [one for one in others if one.low > SPREAD]
    best = max(sure, key=lambda one: one.more, default=own)
    changes = tuple(one for one in best.changes if one not in own.changes)
    if changes and refuses(changes):
        best, changes = own, ()
    considered = tuple(one.said for one in arms if one is not best)
    if best is own:
        reason = f"no other setting is surely better ({own.said})"
        return Action(parents=(own.id,), round=round_, changes=(), rule="", reason=reason, considered=considered)
    was = tuple(f"{name}={before[name]}" for name in (one.partition("=")[0] for one in changes))
    reason = f"it brings more of each token than the settings of the round ({best.said})"
    return Action(parents=(best.id, own.id), round=round_, changes=changes, rule="probe", reason=reason, before=was,
                  considered=considered)  # fmt: skip


def reads(round_: Round[Probe]) -> list[Key]:
    return [*round_.every(Problem), round_.incumbent]


def depends(round_: Round[Probe]) -> dict[str, object]:
    return {
        **round_.own,
        "sampling": hashed_settings(round_.other(Generate)),
        "require": round_.other(Select).require,
        **round_.shared(*SHOWN),
    }


def cost(look: Look[Probe]) -> Sequence[Cost]:
    settings, now = look.settings, look.recipe.of(Generate)
    arms = arms_of(settings, now)
    texts = min(look.sizes.problems, settings.problems) * max(one.samples for one in arms)
    texts *= len({one.temperature for one in arms}) if now.temperature and (look.round - 1) % settings.every == 0 else 0
    return [Cost(texts=texts, longest=now.max_tokens, measured_as=("generate",))]


def check(recipe: Recipe, settings: Probe) -> Iterable[Mistake]:
    if len(arms_of(settings, recipe.of(Generate))) < 2:
        said = "there is nothing to try: 'scales' and 'samples' are what the recipe has already"
        yield Mistake(("stages", "probe"), said)


PROBE = Stage(
    name="probe",
    version=1,
    settings=Probe,
    writes=Probed,
    also=(Arm, Action),
    reads=reads,
    needs=(Problem,),
    parts=parts,
    run=probe,
    uses=SHOWN,
    depends=depends,
    steers=True,
    asks="policy",
    gathers=True,
    say=lambda desk: desk.written(Action)[0].said,
    cost=cost,
    check=check,
)
