"""The checker of steps on real solutions as chat models set them, right and with one changed number, as a table.

    python tests/benchmarks/steps.py [--solutions 10000] [--wrong 600] [--seed 0] [--data FOLDER]
        [--list SETTING]

Every gold solution of GSM8K is set in each way. `equations checked` is the share of its annotated equations that stand
in a correct step; `false alarms` are steps of right solutions that are called incorrect, but for those in which the
people who wrote them were wrong (`blamed as written`). Of as many solutions as `--wrong` says the result of one
equation is changed: `found` says how often a step on its line is called incorrect. BIG-Bench-Mistake has solutions
of a model with the first wrong step marked by people.
"""

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pairs import DATA

from selfimprove.verifiers.steps import check_steps

ANNOTATION = re.compile(r"<<([^<>\n]*)>>")
BEFORE = re.compile(r"[-+*/x×÷().,%$0-9 ]*[0-9)%]\s*=\s*\$?$")
AFTER = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?%?")
BINARY = re.compile(r"\$?([0-9,.]+)\s*([-+*/x×÷])\s*\$?([0-9,.]+)\s*=\s*\$?([0-9,.]+%?)")
WORDS = {"+": "plus", "-": "minus", "*": "times", "x": "times", "×": "times", "/": "divided by", "÷": "divided by"}


class Line(NamedTuple):
    """A line of a solution: what stands before its equation, the two sides of that, and what follows."""

    before: str
    left: str = ""
    result: str = ""
    after: str = ""

    @property
    def equation(self) -> str:
        return f"{self.left} = {self.result}" if self.left else ""


@dataclass(frozen=True)
class Solution:
    """A gold solution with its question; `written` has the annotations that `lines` lack."""

    question: str
    written: str
    lines: tuple[Line, ...]


def read_solutions(folder: Path) -> list[Solution]:
    """The gold solutions of GSM8K, train and test."""
    found = []
    for name in ("train", "test"):
        for row in (folder / "gsm8k" / f"{name}.jsonl").read_text().splitlines():
            solution = json.loads(row)
            lines = tuple(map(read_line, solution["answer"].rpartition("\n####")[0].split("\n")))
            found.append(Solution(solution["question"], solution["answer"], lines))
    return found


def read_line(line: str) -> Line:
    """A line with its last annotated equation, if the text around the annotation writes it out."""
    for note in reversed(list(ANNOTATION.finditer(line))):
        before, after = ANNOTATION.sub("", line[: note.start()]), ANNOTATION.sub("", line[note.end() :])
        left, result = BEFORE.search(before), AFTER.match(after)
        whole = left and re.match(r" *[(]*\$?[0-9]", left[0]) and not before[: left.start()].endswith(tuple("=:<>"))
        if left and result and whole and re.search(r"[-+*/x×÷]", left[0].strip()[1:]):
            words, sides = before[: left.start()], left[0].rstrip().rstrip("$").rstrip().removesuffix("=")
            space = len(sides) - len(sides.lstrip())
            money = "$" if before.rstrip().endswith("$") else ""
            return Line(words + sides[:space], sides.strip(), money + result[0], after[result.end() :])
    return Line(ANNOTATION.sub("", line))


def to_latex(text: str) -> str:
    for plain, latex in (("$", r"\$"), ("%", r"\%"), ("*", r" \times "), ("×", r" \times "), ("÷", r" \div ")):
        text = text.replace(plain, latex)
    return re.sub(r"(?<=[0-9 ])x(?=[0-9 ])", r" \\times ", text)


def set_lines(lines: Sequence[Line], form: str) -> str:
    """Each line in one form, with its place, its words and its equation."""
    shown = []
    for place, line in enumerate(lines, 1):
        if not line.left:
            shown.append(line.before)
            continue
        latex = {"latex": to_latex(line.equation), "tex": to_latex(line.left), "value": to_latex(line.result)}
        shown.append(form.format(place=place, equation=line.equation, words=line.before.strip(), **latex,
                                 before=line.before, left=line.left, result=line.result, after=line.after))  # fmt: skip
    return "\n".join(shown)


def in_words(lines: Sequence[Line]) -> str:
    """Each equation of two numbers in words."""
    shown = []
    for line in lines:
        two = BINARY.fullmatch(line.equation)
        said = f"{two[1]} {WORDS[two[2]]} {two[3]} is {two[4]}" if two else line.equation
        shown.append(f"{line.before}{said}{line.after}")
    return "\n".join(shown)


FORMS = {
    "plain": "{before}{equation}{after}",
    "bold equation": "{before}**{equation}**{after}",
    "bold result": "{before}{left} = **{result}**{after}",
    "bold sides": "{before}**{left}** = **{result}**{after}",
    "italics": "{before}*{equation}*{after}",
    "stars": "* {equation}{after}",
    "dashes": "- {words}\n- **{equation}**{after}",
    "numbers in brackets": "({place}) {equation}{after}",
    "numbered": "{place}. **Compute**: {equation}{after}",
    "steps": "Step {place}: {equation}{after}",
    "bold steps": "**Step {place}:** {words}\n   - {left} = **{result}**{after}",
    "headings": "### Step {place}: {words}\n\n{equation}{after}",
    "LaTeX in the line": r"{before}\({latex}\){after}",
    "LaTeX with a box": r"{words} $${tex} = \boxed{{{value}}}$$",
    "align*": "{words}\n\\begin{{align*}}\nx_{place} &= {tex} \\\\\n&= {value}\n\\end{{align*}}",
    "lines that go on": "{words} {left}\n   = {result}{after}",
}
SETTINGS: dict[str, Callable[[Sequence[Line]], str]] = {
    **{name: partial(set_lines, form=form) for name, form in FORMS.items()},
    "words": in_words,
}


def change(result: str, rng: random.Random) -> str:
    """The result with a digit changed, or one more or less."""
    places = [place for place, sign in enumerate(result) if sign.isdigit()]
    place = rng.choice(places)
    digit = rng.choice([one for one in "123456789" if one != result[place]])
    return result[:place] + digit + result[place + 1 :]


def changed(solutions: Sequence[Solution], count: int, seed: int) -> Iterator[tuple[Solution, int, tuple[Line, ...]]]:
    """Solutions with the number of a line, and their lines with another result there."""
    rng = random.Random(seed)
    able = [solution for solution in solutions if any(line.left for line in solution.lines)]
    for solution in rng.sample(able, count):
        at = rng.choice([place for place, line in enumerate(solution.lines) if line.left])
        wrong = solution.lines[at]._replace(result=change(solution.lines[at].result, rng))
        yield solution, at, (*solution.lines[:at], wrong, *solution.lines[at + 1 :])


def wrong_steps(text: str, question: str) -> list[tuple[int, int]]:
    return [(step.start, step.end) for step in check_steps(text, question).steps if step.outcome == "incorrect"]


@dataclass(frozen=True)
class Figures:
    """What the checker made of all solutions in one setting."""

    equations: int = 0
    checked: int = 0
    alarms: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    found: int = 0
    elsewhere: int = 0


def measure(
    solutions: Sequence[Solution], known: set[str], wrong: Sequence[tuple[Solution, int, tuple[Line, ...]]],
    setting: Callable[[Sequence[Line]], str],
) -> Figures:  # fmt: skip
    """Right solutions first, then those with a changed result."""
    figures = Figures()
    for solution in solutions:
        text = setting(solution.lines)
        steps = check_steps(text, solution.question).steps
        right = sum(step.outcome == "correct" for step in steps)
        equations = sum(bool(line.left) for line in solution.lines)
        alarms = [f"{text[one.start : one.end]!r}: {one.reason}" for one in steps if one.outcome == "incorrect"]
        if solution.written in known:
            alarms = []
        figures = replace(
            figures, equations=figures.equations + equations, checked=figures.checked + min(right, equations),
            alarms=(*figures.alarms, *alarms),
        )  # fmt: skip
    for solution, at, lines in wrong:
        start, end = len(setting(lines[:at])), len(setting(lines[: at + 1]))
        spans = wrong_steps(setting(lines), solution.question)
        here = any(first < end and start < last for first, last in spans)
        others = sum(not (first < end and start < last) for first, last in spans)
        missed = () if here else (repr(setting(lines)[start:end].strip()),)
        figures = replace(
            figures, found=figures.found + here, missed=(*figures.missed, *missed),
            elsewhere=figures.elsewhere + (others if solution.written not in known else 0),
        )  # fmt: skip
    return figures


def mistakes(folder: Path) -> Iterator[str]:
    """What is found in the solutions of BIG-Bench-Mistake, as lines of Markdown."""
    counts = dict.fromkeys(("that step", "an earlier one", "a later one", "none"), 0)
    right = alarms = 0
    for line in (folder / "bbh-mistake" / "multistep_arithmetic.jsonl").read_text().splitlines():
        row = json.loads(line)
        blamed = [place for place, step in enumerate(row["steps"]) if wrong_steps(step, row["input"])]
        first = blamed[0] if blamed else None
        if row["mistake_index"] is None:
            right, alarms = right + 1, alarms + bool(blamed)
            continue
        mistake = row["mistake_index"]
        place = "none" if first is None else "that step" if first == mistake else "a later one"
        counts["an earlier one" if first is not None and first < mistake else place] += 1
    yield f"| first step called incorrect | solutions with a mistake ({sum(counts.values())}) |"
    yield "|---|---:|"
    yield from (f"| {name} | {count} |" for name, count in counts.items())
    yield f"\nsolutions without a mistake: {right}, {alarms} of them with a step called incorrect"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solutions", type=int, default=10_000, help="at most so many right ones, drawn by the seed")
    parser.add_argument("--wrong", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--list", help="a setting whose false alarms and missed changes are listed", choices=SETTINGS)
    options = parser.parse_args()
    solutions = read_solutions(options.data)
    known = {one.written for one in solutions if wrong_steps(one.written, one.question)}
    wrong = list(changed(solutions, options.wrong, options.seed))
    solutions = random.Random(options.seed).sample(solutions, min(len(solutions), options.solutions))
    print(f"{len(solutions)} solutions; blamed as written: {len(known)}\n")
    print(f"| setting | equations checked | false alarms | found of {len(wrong)} | on other lines |")
    print("|---|---:|---:|---:|---:|")
    for name in [options.list] if options.list else SETTINGS:
        one = measure(solutions, known, wrong, SETTINGS[name])
        share = f"{one.checked / one.equations:.1%}"
        print(f"| {name} | {share} | {len(one.alarms)} | {one.found} | {one.elsewhere} |")
        if options.list:
            print("\n".join(("\nfalse alarms", *one.alarms, "\nmissed", *one.missed)))
    print()
    print("\n".join(mistakes(options.data)))


if __name__ == "__main__":
    main()
