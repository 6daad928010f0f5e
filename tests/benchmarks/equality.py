"""Right and wrong answers to real and hand-made expected answers: what is accepted, what is refused, what is left open.

    python tests/benchmarks/equality.py [--limit 500] [--data FOLDER] [--show]

Each expected answer is written as it is, in another notation, and with a changed number, each in six forms. The numbers
are the answers of GSM8K, SVAMP and ASDiv, the formulas are `formulas.jsonl` (expected, the same, another), by kind.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pairs import DATA, read_data, write

from selfimprove.recipe.task_settings import Limits, VerifierSettings
from selfimprove.records import Problem, Rationale
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.workers import VerifierPool

FORMULAS = Path(__file__).resolve().parent / "formulas.jsonl"
FORMS = (
    "\\boxed{{{}}}", "The answer is ${}$.", "#### {}", "{}", "So the final answer is \\({}\\).",
    "We add both sides.\n\nTherefore, the answer is $\\boxed{{{}}}$.",
)  # fmt: skip


class Case(NamedTuple):
    """An expected answer, a text, and whether the text gives it."""

    kind: str
    gold: str
    text: str
    right: bool


def make_formulas() -> Iterator[Case]:
    """The formulas of the file in each form: as expected, in another notation, and another one."""
    for line in FORMULAS.read_text(encoding="utf-8").splitlines():
        group = json.loads(line)
        for gold, same, other in group["rows"]:
            for form in FORMS:
                for said, right in ((gold, True), (same, True), (other, False)):
                    yield Case(group["kind"], gold, form.format(said.strip("$")), right)


def make_numbers(folder: Path, limit: int | None = None) -> Iterator[Case]:
    """The answers of the data sets in each form, right and changed by one in their last place."""
    for number in read_data(folder).numbers[:limit]:
        gold = write(number.value)
        wrong = write(number.value + (1 if number.value.denominator == 1 else number.value / 10))
        for form in FORMS:
            yield Case("number", gold, form.format(gold), True)
            yield Case("number", gold, form.format(wrong), False)


def judge(cases: list[Case], workers: int = 2) -> list[tuple[Case, str, str]]:
    """Each case with its outcome and reason."""
    verifier = MathVerifier(VerifierSettings(name="math"))

    def records() -> Iterator[tuple[MathVerifier, Problem, Rationale]]:
        for case in cases:
            problem = Problem(question="", answer=case.gold, task="equality")
            yield verifier, problem, Rationale(
                parents=(problem.id, "equality"), prompt="", text=case.text,
                answer=verifier.extract_answer(case.text, problem), origin="sampled", round=1, sample=0, seed=0,
                temperature=1.0, top_p=1.0, tokens=1, logprob=0.0, finish="stop",
            )  # fmt: skip

    with VerifierPool(workers=workers, limits=Limits(cpu_seconds=10.0)) as pool:
        verdicts = list(pool.verify_all(records()))
    return [(case, one.outcome, one.reason) for case, one in zip(cases, verdicts, strict=True)]


def lines(judged: list[tuple[Case, str, str]]) -> Iterator[str]:
    """A table of kinds: right answers that are accepted, and wrong ones that are."""
    kinds: dict[str, Counter[tuple[bool, str]]] = defaultdict(Counter)
    for case, outcome, _ in judged:
        kinds[case.kind][case.right, outcome] += 1
        kinds["all"][case.right, outcome] += 1
    yield "| kind | right | accepted | undecided | wrong | refused | undecided | **accepted** |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for kind, counts in kinds.items():
        right, wrong = (
            [counts[made, outcome] for outcome in ("correct", "incorrect", "undecided")] for made in (True, False)
        )
        yield (
            f"| {kind} | {sum(right)} | {right[0]} | {right[2]} | {sum(wrong)} | {wrong[1]} | {wrong[2]} | {wrong[0]} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="at most so many numbers")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--show", action="store_true", help="list what is not as it was made")
    options = parser.parse_args()
    judged = judge([*make_numbers(options.data, options.limit), *make_formulas()])
    print("\n".join(lines(judged)))
    if options.show:
        for case, outcome, reason in judged:
            if (outcome == "correct") != case.right:
                print(f"- {case.kind}: expected {case.gold!r}, text {case.text!r}: {outcome} ({reason})")
    raise SystemExit(any(outcome == "correct" and not case.right for case, outcome, _ in judged))


if __name__ == "__main__":
    main()
