"""Let the model try again from its last right step."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from selfimprove.engines import Departing
from selfimprove.recipe import Recipe, Sampling
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import Problem, Rationale, Record, Verdict
from selfimprove.settings import added
from selfimprove.stages.base import SHOWN, Cost, Desk, Look, Stage, Writer, chunks
from selfimprove.stages.failed import Retry, cost, depends, find_failed, sampled, some
from selfimprove.stages.generate import Beginning, Generate, generate
from selfimprove.stages.verify import judge_written, say
from selfimprove.store.join import Judged


class Repair(Retry):
    """Write on after the last right step where no sample was right; needs a verifier that checks steps."""

    samples: PositiveInt = 4
    """Attempts for each problem."""
    temperature: NonNegativeFloat = 1.3
    """Higher than generation's: the likeliest next step was the wrong one."""
    explore: NonNegativeInt = added(0)
    """Where that fails too: force so many of the likeliest other tokens, at any token of the first wrong step, and
    write on greedily from each; needs the engine transformers. 0: nothing is forced."""
    depth: PositiveInt = added(2)
    """Wrong steps in a row that `explore` may put right in one text."""
    keep_left: bool = added(False)
    """Of a wrong equation keep what stands before its last equals sign: what to compute may be well chosen where the
    result is wrong. Of the samples of a problem the most frequent beginning is taken, and not the longest."""


def right_part(text: str, verdict: Verdict) -> str:
    """What stands before the first wrong step; nothing where no step is wrong, for then the fault is not known."""
    return _cut(text, verdict)[0]


def _cut(text: str, verdict: Verdict, keep_left: bool = False) -> tuple[str, str]:
    """The same, and that step."""
    wrong = min((one for one in verdict.steps if one.outcome == "incorrect"), key=lambda one: one.start, default=None)
    if not wrong:
        return "", ""
    left = text.rfind("=", wrong.start, wrong.end) + 1 if keep_left else 0
    at = left or wrong.start
    return text[:at], text[at : wrong.end]


def find_beginnings(
    judged: Iterable[tuple[Rationale, Verdict]], *, keep_left: bool = False, voted: bool = False
) -> dict[str, Beginning]:
    """For each problem the longest right part of its samples, or where they are `voted` on the most frequent one."""
    found: dict[str, dict[str, Beginning]] = defaultdict(dict)
    counts: Counter[tuple[str, str]] = Counter()
    for rationale, verdict in judged:
        part, wrong = _cut(rationale.text, verdict, keep_left)
        if part:
            found[rationale.problem].setdefault(part, Beginning(rationale.id, part, wrong))
            counts[rationale.problem, part] += voted
    return {
        problem: max(parts.values(), key=lambda one: (counts[problem, one.text], len(one.text)))
        for problem, parts in found.items()
    }


def repair(
    problems: Sequence[Problem],
    *,
    beginnings: Mapping[str, Sequence[Beginning]],
    writer: Writer,
    render: Callable[[Problem], str],
    sampling: Sampling,
    samples: int,
    purpose: str = "repair",
    first: int = 0,
) -> Iterator[Rationale]:
    """Write on after the last right step, where no sample of a problem was right.

    The step checker says where a sample went wrong, so a rare right step need not be found together with all the
    steps before it; a rule that is wrong in the same place each time is left behind this way.
    """
    return generate(
        [one for one in problems if one.id in beginnings],
        writer=writer,
        render=render,
        sampling=sampling,
        samples=samples,
        origin="revised",
        purpose=purpose,
        beginnings=beginnings,
        first=first,
    )


def beginnings_of(desk: Desk[Repair]) -> dict[str, Beginning]:
    """Of the problems that are tried again."""
    failed = {one.id for one in desk.once(find_failed)}
    judged = Judged(desk.scan(Rationale), desk.scan(Verdict), of_rationale=["parents", "text"], of_verdict=["steps"])
    mine = (pair for pair in judged if pair[0].problem in failed)
    return find_beginnings(mine, keep_left=desk.settings.keep_left, voted=desk.settings.keep_left)


def parts(desk: Desk[Repair]) -> list[Sequence[Any]]:
    begun = desk.once(beginnings_of)
    failed = [one for one in desk.once(find_failed) if one.id in begun]
    return chunks(some(failed, desk.settings.limit), desk.settings.part_size)


def write(problems: Sequence[Problem], desk: Desk[Repair]) -> Iterator[Record]:
    """What the model writes after its last right steps, and its verdicts; then what it is forced to."""
    settings, texts, solved = desk.settings, dict[str, Rationale](), set[str]()
    for record in sample(problems, desk):
        yield record
        if isinstance(record, Rationale) and settings.explore:
            texts[record.id] = record
        elif isinstance(record, Verdict) and record.rationale in texts and record.outcome == "correct":
            solved.add(texts[record.rationale].problem)
    if settings.explore:
        yield from explore([one for one in problems if one.id not in solved], desk)


def explore(problems: Sequence[Problem], desk: Desk[Repair]) -> Iterator[Record]:
    """A search that the step checker guides: from the first wrong step of each problem's best text the likeliest
    departures, from the longest right part of what comes of these again, until one is right or `depth` is reached."""
    settings, writer, begun = desk.settings, desk.writer(desk.incumbent), dict(desk.once(beginnings_of))
    engine, render = writer.engine, desk.prompts.render
    assert isinstance(engine, Departing)
    greedy = desk.other(Generate).model_copy(update={"temperature": 0.0})
    for depth in range(settings.depth):
        asked = [(render(one) + writer.begin(begun[one.id].text), begun[one.id].wrong) for one in problems]
        ways = dict(zip((one.id for one in problems), engine.depart(asked, settings.explore), strict=True))
        forced = {
            one.id: [Beginning(begun[one.id].rationale, begun[one.id].text + way) for way in ways[one.id]]
            for one in problems if ways[one.id]
        }  # fmt: skip
        mine = [one for one in problems if one.id in forced]
        written = repair(
            mine, beginnings=forced, writer=writer, render=render, sampling=greedy, samples=1, purpose=desk.name,
            first=settings.samples + depth * settings.explore,
        )  # fmt: skip
        texts, judged = dict[str, Rationale](), list[tuple[Rationale, Verdict]]()
        for record in judge_written(mine, written, desk):
            yield record
            if isinstance(record, Rationale):
                texts[record.id] = record
            elif isinstance(record, Verdict):
                judged.append((texts[record.rationale], record))
        judged.sort(key=lambda pair: (pair[0].problem, pair[0].sample))  # not as they happened to finish
        solved = {one.problem for one, verdict in judged if verdict.outcome == "correct"}
        found = find_beginnings(judged, keep_left=settings.keep_left)
        further = {name: one for name, one in found.items() if len(one.text) > len(begun[name].text)}
        problems = [one for one in problems if one.id in further and one.id not in solved]
        begun |= further


def sample(problems: Sequence[Problem], desk: Desk[Repair]) -> Iterator[Record]:
    """What the model samples after its last right steps, and the verdicts."""
    rationales = repair(
        problems,
        beginnings={name: [one] for name, one in desk.once(beginnings_of).items()},
        writer=desk.writer(desk.incumbent),
        render=desk.prompts.render,
        sampling=desk.other(Generate).model_copy(update={"temperature": desk.settings.temperature}),
        samples=desk.settings.samples,
        purpose=desk.name,
    )
    return judge_written(problems, rationales, desk)


def cost_of(look: Look[Repair]) -> Sequence[Cost]:
    (one,) = cost(look)
    forced = one.texts / look.settings.samples * look.settings.explore * look.settings.depth
    return [Cost(texts=one.texts + forced, longest=one.longest, measured_as=one.measured_as, upto=True)]


def check(recipe: Recipe, settings: Repair) -> Iterable[Mistake]:
    if settings.explore and recipe.engine.name != "transformers":
        name = recipe.engine.name
        said = f"'repair.explore' needs the engine 'transformers'; '{name}' cannot be made to depart: leave it out"
        yield Mistake(("stages", "repair", "explore"), said)


REPAIR = Stage(
    name="repair",
    version=1,
    settings=Repair,
    writes=Rationale,
    also=(Verdict,),
    reads=sampled,
    needs=(Problem, Rationale, Verdict),
    parts=parts,
    run=write,
    uses=SHOWN,
    depends=depends,
    asks="policy",
    per_item=lambda desk: desk.settings.samples + desk.settings.explore * desk.settings.depth,  # at most
    say=say,
    cost=cost_of,
    check=check,
)
