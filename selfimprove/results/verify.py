"""`si.verify`: what a verifier says of texts, without a run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, overload

from selfimprove.errors import VerifierError
from selfimprove.records import Outcome, Step
from selfimprove.results.verify_file import choose_verifier
from selfimprove.verifiers.judging import judge_pairs
from selfimprove.verifiers.response_file import make_problem, make_rationale
from selfimprove.verifiers.workers import VerifierPool

Answer = str | int | float | None


@dataclass(frozen=True)
class Verification:
    """What a verifier says of one response.

    `outcome` is that of the answer alone. Undecided is not incorrect: the verifier could not tell.
    """

    outcome: Outcome
    answer: str | None
    """What was read out of the response, None where it gives no answer."""
    expected: str | None
    reason: str
    steps: tuple[Step, ...]
    """The steps that were checked; `start` and `end` of each are places in the response."""
    coverage: float | None
    """The share of the sentences with numbers in which a step was checked; None where steps are not looked at."""
    reasoning: Outcome
    """The outcome of the steps: incorrect if one is, correct if all are."""
    verifier: str
    version: int

    @property
    def correct(self) -> bool:
        return self.outcome == "correct"

    def __bool__(self) -> bool:
        raise TypeError("a verification has three outcomes; ask for .correct or .outcome")


@overload
def verify(  # type: ignore[overload-overlap]  # a text is a sequence of texts, too
    response: str,
    answer: Answer,
    task: str = ...,
    *,
    question: str | None = ...,
    options: Sequence[str] = ...,
    stated: bool = ...,
    strict: bool = ...,
    tolerance: float = ...,
    relative_tolerance: float = ...,
    units: Literal["ignore", "match"] = ...,
    judge_model: str | None = ...,
) -> Verification: ...
@overload
def verify(
    response: Sequence[str],
    answer: Answer | Sequence[Answer],
    task: str = ...,
    *,
    question: str | Sequence[str] | None = ...,
    options: Sequence[str] = ...,
    stated: bool = ...,
    strict: bool = ...,
    tolerance: float = ...,
    relative_tolerance: float = ...,
    units: Literal["ignore", "match"] = ...,
    judge_model: str | None = ...,
) -> list[Verification]: ...
def verify(
    response: str | Sequence[str],
    answer: Answer | Sequence[Answer],
    task: str = "math",
    *,
    question: str | Sequence[str] | None = None,
    options: Sequence[str] = (),
    stated: bool = False,
    strict: bool = False,
    tolerance: float = 0.0,
    relative_tolerance: float = 0.0,
    units: Literal["ignore", "match"] = "ignore",
    judge_model: str | None = None,
) -> Verification | list[Verification]:
    """Judge a response, or each of several: of one problem with one answer, or with as many answers as responses.

    `task` names the verifier: math, text, choice (with `options`), math-verify, reasoning_gym/NAME, or judge (with
    `judge_model`, a folder or a hub name). `question` is where a step's numbers may come from; `stated` asks for an
    answer that is announced. The others say how answers are compared: as characters (`strict`), within a tolerance,
    with units. Texts are bounded before they are parsed, and what hangs is cut off and undecided. Raises VerifierError.
    """
    compared = {"strict": strict, "tolerance": tolerance, "relative_tolerance": relative_tolerance, "units": units}
    try:
        verifier = choose_verifier(task, compared, stated=stated, judge=(judge_model, None))
    except VerifierError as error:  # which names what can be chosen as the command line does
        raise VerifierError(re.sub(r"--([a-z-]+)", lambda option: option[1].replace("-", "_"), str(error))) from None
    single = isinstance(response, str)
    responses = _list("response", response, 1 if single else None)
    answers, questions = (
        _list(name, value, len(responses)) for name, value in (("answer", answer), ("question", question))
    )
    for at, text in enumerate(responses):
        if not isinstance(text, str):
            raise VerifierError(f"response {at}: is no text but of type {type(text).__name__}")
    pairs = []
    for text, expected, asked in zip(responses, answers, questions, strict=True):
        problem = make_problem(expected, asked or "", options)
        pairs.append((problem, make_rationale(text, problem, verifier)))
    found = [
        Verification(
            one.outcome, rationale.answer, problem.answer, one.reason, one.steps, one.coverage, one.reasoning,
            one.verifier, one.version,
        )
        for (problem, rationale), one in zip(pairs, judge_pairs(pairs, lambda _: verifier, _pool()), strict=True)
    ]  # fmt: skip
    return found[0] if single else found


def _list(name: str, value: Any, n: int | None) -> list[Any]:
    """A value for each of `n` responses; one alone counts for all of them."""
    if value is None or isinstance(value, (str, int, float)):
        return [value] * (1 if n is None else n)
    found = list(value)
    if n is not None and len(found) != n:
        raise VerifierError(f"{name}: {len(found)} of them for {n} responses; give one, or one for each")
    return found


@cache
def _pool() -> VerifierPool:
    """The worker that judges what may hang; started by what needs it first, and ended with the program."""
    return VerifierPool()
