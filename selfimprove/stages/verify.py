"""Give each rationale a verdict."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from selfimprove.records import Problem, Rationale, Verdict
from selfimprove.verifiers import Verifier

VERSION = 1


def verify(
    rationales: Iterable[Rationale], *, problems: Mapping[str, Problem], verifier: Callable[[Problem], Verifier]
) -> Iterator[Verdict]:
    """Judge each rationale against its problem, with the verifier of the problem's task."""
    for rationale in rationales:
        problem = problems[rationale.problem]
        yield verifier(problem).verify(problem=problem, rationale=rationale)
