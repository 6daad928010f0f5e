"""Our verdicts beside math-verify's, on real answers written in many ways.

    python tests/benchmarks/agreement.py [--pairs 5000] [--seed 0] [--data FOLDER]

Where the two verifiers differ, the pair must fall into one of `CLASSES`, each a pattern that its text holds together
with who says what; what falls into none is listed. It ends with status 1 where anything is.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pairs import DATA, Pair, make_pairs, read_data

from selfimprove.recipe.task_settings import Limits, VerifierSettings
from selfimprove.records import Outcome, Problem, Rationale
from selfimprove.verifiers.base import Verifier
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.reference import MathVerifyVerifier
from selfimprove.verifiers.workers import VerifierPool


def records(pair: Pair, verifier: Verifier) -> tuple[Verifier, Problem, Rationale]:
    """A pair as a verifier sees it."""
    problem = Problem(question="", answer=pair.gold, task="agreement")
    rationale = Rationale(
        parents=(problem.id, "agreement"), prompt="", text=pair.text,
        answer=verifier.extract_answer(pair.text, problem), origin="sampled", round=1, sample=0, seed=0,
        temperature=1.0, top_p=1.0, tokens=1, logprob=0.0, finish="stop",
    )  # fmt: skip
    return verifier, problem, rationale


class Judged(NamedTuple):
    """A pair with what both verifiers make of it, each an outcome and a reason."""

    pair: Pair
    ours: Outcome
    theirs: Outcome
    our_reason: str
    their_reason: str


def describe(one: Judged) -> str:
    """A pair and both verdicts in one line."""
    pair = f"expected {one.pair.gold!r}, text {one.pair.text!r} ({one.pair.form})"
    return f"{pair}: ours {one.ours} ({one.our_reason}), math-verify {one.theirs} ({one.their_reason})"


def judge(pairs: Sequence[Pair], workers: int = 2) -> list[Judged]:
    """Judge each pair by both verifiers."""
    ours: Verifier = MathVerifier(VerifierSettings(name="math"))
    theirs: Verifier = MathVerifyVerifier(VerifierSettings(name="math-verify"))
    with VerifierPool(workers=workers, limits=Limits(cpu_seconds=10.0)) as pool:
        first = list(pool.verify_all(records(pair, ours) for pair in pairs))
        second = list(pool.verify_all(records(pair, theirs) for pair in pairs))
    return [
        Judged(pair, one.outcome, other.outcome, one.reason, other.reason)
        for pair, one, other in zip(pairs, first, second, strict=True)
    ]


@dataclass(frozen=True)
class Class:
    """A kind of disagreement that is meant: who says what, what the text holds (or the expected answer), and why."""

    name: str
    ours: Outcome
    theirs: Outcome
    about: str
    reason: str
    expected: str = ""

    def holds(self, one: Judged) -> bool:
        """Whether a disagreement is of this kind; never where our verdict is against how the pair was made."""
        made = {"correct": True, "incorrect": False}.get(one.ours)
        against = one.pair.right is not None and one.pair.right != made
        return (
            not against
            and (one.ours, one.theirs) == (self.ours, self.theirs)
            and re.search(self.about, one.pair.text, re.DOTALL) is not None
            and re.search(self.expected, one.pair.gold) is not None
        )


CLASSES = (
    Class("answer taken back", "incorrect", "correct", r"\b(?:Wait|No, that is wrong)\b",
          "a text that takes an answer back shows no single answer"),
    Class("hedge or range", "incorrect", "correct", r"(?:answer is|####|either) -?[\d.,]+ (?:or|to) -?[\d.,]+",
          "naming two numbers is no answer"),
    Class("two numbers", "undecided", "correct", r"-?[\d.,]+ \w+ and -?[\d.,]+ \w+",
          "nobody said which of the two is the answer"),
    Class("two different answers", "incorrect", "correct",
          r"(?:answer is|####|boxed\{)\s?([-\d.,]+?)\.?\}?\s.{0,40}(?:answer is|####|boxed\{)\s?(?!\1)[-\d]",
          "every announced answer must be the expected one"),
    Class("answer after ####", "correct", "incorrect", r"(?i)answer[^#]{1,400}####",
          "in GSM8K's form #### gives the answer"),
    Class("answer before ####", "incorrect", "correct", r"(?i)answer[^#]{1,400}####",
          "in GSM8K's form #### gives the answer, and nothing before it"),
    Class("box that is not closed", "correct", "incorrect", r"\\boxed\{[^{}]*$", "a cut-off box shows its number"),
    Class("plus sign", "correct", "incorrect", r"(?<!\d)(?<!\d )\+\d", "+7 is 7"),
    Class("money in LaTeX", "correct", "incorrect", r"\\\$\d", r"LaTeX writes $7 as \$7"),
    Class("minus before money", "correct", "incorrect", r"-\$\d", "-$7 is -7"),
    Class("power of ten", "correct", "incorrect", r"\d(?:e\d|\s\\times 10\^)", "7e3 is 7000"),
    Class("half a power of ten", "incorrect", "correct", r"\d\s\\times 10\^", "7 × 10³ is not its 10"),
    Class("full-width digits", "correct", "incorrect", "[０-９]", "full-width digits are digits"),
    Class("Unicode minus", "correct", "incorrect", r"−\d", "− is a minus sign"),
    Class("LaTeX without its marks", "correct", "incorrect", r"(?<![{$])\\d?frac\{", "a fraction alone can be read"),
    Class("mixed number", "correct", "incorrect", r"\d \d+/\d", "3 1/2 is 7/2"),
    Class("fraction in plain text", "correct", "incorrect", r"\d/\d", "a mark that follows 1/2 is no part of it"),
    Class("half a fraction", "incorrect", "correct", r"\d/\d+(?:\*\*|\.|%)", "1/2 is not its numerator"),
    Class("percent sign", "correct", "incorrect", r"\d%", "a percent sign counts as a unit of the same number"),
    Class("groups of three", "correct", "incorrect", r"\d(?: |\{,\})\d{3}(?!\d)", "7 000 and 7{,}000 are 7000"),
    Class("unit in a formula", "correct", "incorrect", r"boxed\{-?[\d.]+ [a-z ]+\}", "a unit is no product"),
    Class("number after the answer", "correct", "incorrect", r"(?:####|answer is) -?[\d.,]+\s[A-Z][a-z]+ [^#]*\d",
          "an announced answer counts, and not a number after it"),
    Class("two true equations", "incorrect", "correct", r"\d = [\d.]+\$?", "3 + 4 = 7 is not 9 - 8 = 1",
          r"^\$[\d\s.+×÷()-]+ = [\d\s.+]+\$$"),
    Class("interval as an inequality", "correct", "incorrect", r"\\l[et]q? \w (?:\\leq?|<)", "[2, 5) is 2 ≤ x < 5",
          r"[\[(][^,]+, [^,]+[\])]"),
    Class("value of an expression", "correct", "incorrect", r"\$\d+\$|^\d+$", "4(3) + 4(2) is 20",
          r"\d\(\d+\) [+-] \d"),
    Class("sign without a meaning", "undecided", "correct", "", "math-verify stops reading at a • or a ;", "[•;]"),
    Class("expected answer that is no formula", "undecided", "incorrect", "",
          "what cannot be read on the expected side judges nothing",
          r"\d:\d\d|[•;]|\.\.\.|(?<!\\)\b(?:or|log|pi)\b|<=.*<="),
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What the comparison found: disagreements by class, those of none, and verdicts against how a pair was made."""

    judged: list[Judged]

    def explain(self, one: Judged) -> Class | None:
        """The first class that a disagreement falls into."""
        return next((kind for kind in CLASSES if kind.holds(one)), None)

    @property
    def disagreements(self) -> list[Judged]:
        return [one for one in self.judged if one.ours != one.theirs]

    @property
    def unexplained(self) -> list[Judged]:
        return [one for one in self.disagreements if self.explain(one) is None]

    @property
    def agreed(self) -> dict[Outcome, int]:
        """How often both say correct, and how often both say incorrect."""
        outcomes: tuple[Outcome, ...] = ("correct", "incorrect")
        return {outcome: sum(one.ours == one.theirs == outcome for one in self.judged) for outcome in outcomes}

    def mistakes(self, whose: str) -> list[Judged]:
        """Verdicts of "ours" or "theirs" against how the pair was made; undecided is against both."""
        return [
            one
            for one in self.judged
            if one.pair.right is not None and (getattr(one, whose) == "correct") != one.pair.right
        ]

    def lines(self) -> Iterator[str]:
        """The report as Markdown."""
        known = sum(one.pair.right is not None for one in self.judged)
        agreed = len(self.judged) - len(self.disagreements)
        yield f"{len(self.judged)} pairs: the same verdict on {agreed} ({agreed / len(self.judged):.1%})."
        for whose, name in (("ours", "math"), ("theirs", "math-verify")):
            outcomes = Counter(getattr(one, whose) for one in self.judged)
            wrong = self.mistakes(whose)
            accepted = sum(not one.pair.right for one in wrong)
            yield (
                f"{name}: {outcomes['correct']} correct, {outcomes['incorrect']} incorrect, {outcomes['undecided']} "
                f"undecided; of {known} pairs that were made right or wrong {accepted} wrong ones are accepted and "
                f"{len(wrong) - accepted} right ones are not."
            )
        yield from ("", "| class | ours | math-verify | pairs | for example | why |", "|---|---|---|---:|---|---|")
        found = [(one, self.explain(one)) for one in self.disagreements]
        for kind in CLASSES:
            those = [one for one, its in found if its is kind]
            if those:
                shown = min((one.pair for one in those), key=lambda pair: (len(pair.text), pair.text))
                example = f"expected `{shown.gold}`, text `{shown.text}`".replace("|", r"\|").replace("\n", "⏎")
                yield f"| {kind.name} | {kind.ours} | {kind.theirs} | {len(those)} | {example} | {kind.reason} |"
        for name, those in (("unexplained", self.unexplained), ("our mistakes", self.mistakes("ours"))):
            yield from ("", f"{name}: {len(those)}")
            yield from (f"- {describe(one)}" for one in those[:100])


def compare(folder: Path, count: int, seed: int) -> Report:
    """Draw the pairs and judge them."""
    return Report(judge(make_pairs(read_data(folder), count, seed)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    report = compare(options.data, options.pairs, options.seed)
    print("\n".join(report.lines()))
    raise SystemExit(1 if report.unexplained else 0)


if __name__ == "__main__":
    main()
