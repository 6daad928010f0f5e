"""Give each rationale a verdict, and have a share of them judged twice."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field, PositiveInt

from selfimprove.recipe import Answers
from selfimprove.recipe.catalog import Named
from selfimprove.recipe.task_settings import THINKING, Limits, Marks
from selfimprove.records import CrossCheck, Problem, Rationale, Record, Verdict, Vote, by_id, derive_seed
from selfimprove.settings import Settings, added, unhashed
from selfimprove.stages.base import Desk, Round, Stage, chunks
from selfimprove.stages.generate import Generate
from selfimprove.stages.select import Select
from selfimprove.stages.vote import VOTE_VERSION, describe_votes, vote

Judge = Callable[[Iterable[tuple[Problem, Rationale]]], Iterator[Verdict]]


class Second(Settings):
    """Another verifier that judges a share of what the first one judged; where they differ is kept and shown."""

    verifier: Annotated[str, Named("verifier", ("math", "text", "choice", "math-verify", "judge"))]
    """The verifier that is asked as well."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """The share of rationales that it judges, chosen by a hash."""


class Verify(Answers):
    """Give each rationale a verdict."""

    thinking: tuple[Marks, ...] = added(THINKING)
    """The marks between which a model thinks, in pairs. What stands there is reasoning: its steps are checked, and no
    answer is looked for in it. A block that is not closed goes to the end; one that the chat template opens in the
    prompt begins with the text. [] if there is no such block."""
    second: Second | None = None
    """Cross-check a share of the verdicts by another verifier."""
    labelled: str | None = unhashed(
        None,
        "a JSONL file of responses that nothing is trained on (`response`, `answer`, `label`, and `question` and "
        "`options` where there are any); how often the verifier is wrong there is stated beside every accuracy",
    )
    limits: Limits = Limits()
    """What one verdict may cost."""
    workers: PositiveInt = unhashed(
        1, "worker processes for answers that need a parser which may hang; started when first needed"
    )
    part_size: PositiveInt = 4096
    """Rationales in a part."""
    overlap: bool = unhashed(
        True,
        "judge finished parts while `generate` still writes (never where a model judges: it would need the engine)",
    )


def verify(rationales: Iterable[Rationale], *, problems: Mapping[str, Problem], judge: Judge) -> Iterator[Verdict]:
    """Judge each rationale against its problem; the verdicts come in the order of the rationales."""
    return judge((problems[rationale.problem], rationale) for rationale in rationales)


def cross_check(
    judged: Iterable[tuple[Rationale, Verdict]], *, problems: Mapping[str, Problem], judge: Judge, share: float
) -> Iterator[CrossCheck]:
    """Have a share of the rationales, chosen by a hash, judged by a second verifier too."""
    chosen = [one for one in judged if derive_seed("cross-check", one[0].id) < share * 2**63]
    verdicts = judge((problems[rationale.problem], rationale) for rationale, _ in chosen)
    for (rationale, first), second in zip(chosen, verdicts, strict=True):
        yield CrossCheck(
            parents=(rationale.id, first.id),
            first=first.outcome,
            second=second.outcome,
            reason=second.reason,
            verifier=second.verifier,
            version=second.version,
        )


def judge_part(part: Sequence[Rationale], desk: Desk[Verify]) -> Iterator[Record]:
    """The verdicts of a part, a share of them cross-checked, and the votes on problems without an answer."""
    problems, judging, second = desk.by_id(Problem), desk.judging, desk.settings.second
    rationales = list(part)
    verdicts = []
    for verdict in verify(rationales, problems=problems, judge=judging.judge):
        verdicts.append(verdict)
        yield verdict
    if second:
        judged = zip(rationales, verdicts, strict=True)
        yield from cross_check(judged, problems=problems, judge=judging.judge_again, share=second.share)
    if desk.other(Select).vote is not None:
        judged = zip(rationales, verdicts, strict=True)
        unknown = [one for one, verdict in judged if verdict.outcome == "undecided"]
        unknown = [one for one in unknown if problems[one.problem].answer is None]
        unknown = [one for one in unknown if not problems[one.problem].is_open]
        yield from vote(problems, unknown, same=judging.same_answers)


def judge_written(
    problems: Sequence[Problem], rationales: Iterable[Rationale], desk: Desk[Settings]
) -> Iterator[Record]:
    """Rationales as they come, then their verdicts."""
    written = []
    for rationale in rationales:
        written.append(rationale)
        yield rationale
    yield from verify(written, problems=by_id(problems), judge=desk.judging.judge)


def judged_at_once(desk: Desk[Verify]) -> int:
    """Rationales a part: all samples of a problem stand in one part where they are voted on."""
    samples = desk.other(Generate).samples if desk.other(Select).vote else 1
    return max(1, desk.settings.part_size // samples) * samples


def say(desk: Desk[Settings]) -> str:
    """How many are right, by which reasoning, and what a second verifier and the votes say."""
    verdicts, second = desk.scan_written(Verdict), desk.scan_written(CrossCheck)
    correct = wrong = undecided = 0
    for one in verdicts.pick("outcome", "steps"):
        correct += one.outcome == "correct"
        wrong += one.wrong_reason
        undecided += one.outcome == "undecided"
    agree = sum(one.agrees for one in second.pick("first", "second"))
    agrees = f"; {second[0].verifier} agrees on {agree} of {len(second)}" if second else ""
    votes = describe_votes(desk.scan_written(Vote).pick("votes", "samples", "tie"))
    return (
        f"{correct} of {len(verdicts)} correct, {wrong} of them by a wrong step, {undecided} undecided{agrees}{votes}"
    )


def depends(round_: Round[Verify]) -> dict[str, object]:
    return {**round_.own, **({"version of vote": VOTE_VERSION} if round_.other(Select).vote else {})}


VERIFY = Stage(
    name="verify",
    version=2,
    settings=Verify,
    writes=Verdict,
    also=(CrossCheck, Vote),
    reads=lambda round: [*round.every(Problem), *round.this("generate")],
    needs=(Problem, Rationale),
    parts=lambda desk: chunks(desk.scan(Rationale), judged_at_once(desk)),
    run=judge_part,
    depends=depends,
    optional=False,
    asks="verifier",
    beside="generate",
    at_once=lambda desk: judged_at_once(desk) if desk.settings.overlap and not desk.judging.asks else 0,
    say=say,
)
