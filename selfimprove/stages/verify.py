"""Give each rationale a verdict, and have a share of them judged twice."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from selfimprove.records import CrossCheck, Problem, Rationale, Verdict, derive_seed

VERSION = 2
Judge = Callable[[Iterable[tuple[Problem, Rationale]]], Iterator[Verdict]]


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
