"""Expected answers and texts for the benchmarks of verifiers: real answers, written in many ways, right and wrong."""

import csv
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SUBJECTS = (
    "abstract_algebra", "college_mathematics", "elementary_mathematics", "high_school_mathematics",
    "high_school_statistics",
)  # fmt: skip
WORD = re.compile(r"(?<!\\)\b(?!(?:sqrt|sin|cos|tan|log|pi)\b)[A-Za-z]{3,}")


class Pair(NamedTuple):
    """An expected answer and a text; `form` says how the text was made, `right` whether it gives the expected answer
    (None where people differ: percent signs, rounded decimals)."""

    gold: str
    text: str
    form: str
    right: bool | None


class Number(NamedTuple):
    """A number that a data set expects, its unit where it has one, and a worked solution where it has one."""

    value: Fraction
    written: str
    unit: str = ""
    solution: str = ""


@dataclass(frozen=True)
class Real:
    """The real data that pairs are made of: numbers, and options of mathematical questions with the right one first."""

    numbers: list[Number] = field(default_factory=list)
    options: list[tuple[str, ...]] = field(default_factory=list)


def read_data(folder: Path) -> Real:
    """Read the answers of GSM8K, SVAMP, ASDiv, two tasks of BIG-Bench Hard and MMLU's mathematics."""
    real = Real()
    for line in (folder / "gsm8k" / "test.jsonl").read_text().splitlines():
        solution = json.loads(line)["answer"]
        written = solution.rpartition("####")[2].strip()
        real.numbers.append(Number(Fraction(written.replace(",", "")), written, solution=solution))
    for row in json.loads((folder / "svamp" / "SVAMP.json").read_text()):
        value = Fraction(str(row["Answer"]))
        real.numbers.append(Number(value, write(value)))
    for node in ElementTree.parse(folder / "asdiv" / "ASDiv.xml").getroot().iter("Problem"):
        found = re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*\(([a-z ]+)\)", node.findtext("Answer", "").strip())
        if found:
            real.numbers.append(Number(Fraction(found[1]), found[1], unit=found[2].strip()))
    for name in ("multistep_arithmetic_two", "object_counting"):
        for row in json.loads((folder / "bbh" / f"{name}.json").read_text())["examples"]:
            real.numbers.append(Number(Fraction(row["target"]), row["target"]))
    for subject in SUBJECTS:
        with (folder / "mmlu" / "test" / f"{subject}_test.csv").open(newline="") as file:
            for _, *cells, answer in csv.reader(file):
                if not answer.isdecimal():  # the header
                    continue
                texts, first = [cell.strip() for cell in cells], int(answer)
                if not any(WORD.search(text) for text in texts) and len(set(texts)) == len(texts):
                    real.options.append((texts.pop(first), *texts))
    return real


def write(value: Fraction) -> str:
    """A number as digits where it has an end, as a fraction where it has none."""
    if value.denominator == 1:
        return str(value.numerator)
    if 10**12 % value.denominator == 0:
        return f"{float(value):.12f}".rstrip("0")
    return f"{value.numerator}/{value.denominator}"


def decimal(value: Fraction) -> str:
    """A number as digits; nothing where they have no end."""
    return "" if "/" in write(value) else write(value)


def group(value: Fraction, separator: str) -> str:
    """A whole number of more than three digits in groups of three; nothing for others."""
    return f"{value.numerator:,}".replace(",", separator) if value.denominator == 1 and abs(value) >= 1000 else ""


def mixed(value: Fraction) -> str:
    """A fraction over one as a whole number and a fraction."""
    whole, rest = divmod(value, 1)
    return f"{whole} {rest.numerator}/{rest.denominator}" if whole > 0 and rest else ""


WRITINGS: dict[str, tuple[Callable[[Fraction, str], str], bool]] = {
    # how a number is written (nothing where it cannot be), and whether it then is the same number for everyone
    "7": (lambda value, unit: write(value), True),
    "7.0": (lambda value, unit: decimal(value) and decimal(value) + (".0" if value.denominator == 1 else "0"), True),
    "7.00": (lambda value, unit: f"{write(value)}.00" if value.denominator == 1 else "", True),
    "+7": (lambda value, unit: f"+{write(value)}" if value >= 0 else "", True),
    "07": (lambda value, unit: f"0{write(value)}" if value > 0 else "", True),
    "7 apples": (lambda value, unit: f"{write(value)} {unit}", True),
    r"7 \text{ apples}": (lambda value, unit: rf"{write(value)} \text{{ {unit}}}", True),
    "$7": (lambda value, unit: f"${write(value)}" if value >= 0 else f"-${write(-value)}", True),
    r"\$7": (lambda value, unit: rf"\${write(value)}" if value >= 0 else "", True),
    "$7.00": (lambda value, unit: f"${value.numerator:,}.00" if value.denominator == 1 and value >= 0 else "", True),
    "$7$": (lambda value, unit: f"${write(value)}$", True),
    "7%": (lambda value, unit: f"{write(value)}%", False),
    "7,000": (lambda value, unit: group(value, ","), True),
    "7 000": (lambda value, unit: group(value, " "), True),
    "7{,}000": (lambda value, unit: group(value, "{,}"), True),
    "7e3": (lambda value, unit: decimal(value) and f"{decimal(value / 1000)}e3", True),
    r"7 \times 10^3": (lambda value, unit: decimal(value) and rf"{decimal(value / 1000)} \times 10^{{3}}", True),
    "14/2": (lambda value, unit: f"{value.numerator * 2}/{value.denominator * 2}", True),
    r"\frac{14}{2}": (lambda value, unit: rf"\frac{{{value.numerator * 2}}}{{{value.denominator * 2}}}", True),
    r"\dfrac{7}{1}": (lambda value, unit: rf"\dfrac{{{value.numerator}}}{{{value.denominator}}}", True),
    "3 1/2": (lambda value, unit: mixed(value), True),
    "−7": (lambda value, unit: write(value).replace("-", "−") if value < 0 else "", True),
    "full-width": (lambda value, unit: write(value).translate({code: code + 0xFEE0 for code in range(45, 58)}), True),
    "rounded": (lambda value, unit: str(round(float(value), 1)) if value.denominator > 10 else "", False),
    "x = 7": (lambda value, unit: f"x = {write(value)}", True),
}
FRAMES = (
    "{}", "#### {}", r"\boxed{{{}}}", "The answer is {}.", "**{}**", "Answer: {}", "The final answer is: **{}**",
    "So there are {} in all.", r"The answer is $\boxed{{{}}}$.", "We add both and get {}\n#### {}",
    "The answer is {}. I hope this helps!", "Therefore the answer is {}.\n\nLet me know if there is anything else.",
)  # fmt: skip
ODD: dict[str, tuple[str, bool | None]] = {
    # texts around the right number {0} and a wrong one {1}, and whether they give the right one
    "two answers": ("The answer is {1}. The answer is {0}.", False),
    "two answers, wrong last": ("The answer is {0}. The answer is {1}.", False),
    "two announcements": ("The answer is {1}. #### {0}", None),
    "two marks in a line": ("#### {0} #### {1}", False),
    "two lines, wrong last": ("#### {0}\n#### {1}", False),
    "two answers, the same": ("The answer is {0}. #### {0}", True),
    "two boxes": (r"\boxed{{{1}}} and then, in another line, \boxed{{{0}}}", False),
    "two numbers": ("{1} apples and {0} pears", None),
    "hedge": ("The answer is {0} or {1}.", False),
    "hedge, wrong first": ("The answer is {1} or {0}.", False),
    "range": ("#### {1} to {0}", False),
    "either": ("It is either {1} or {0}.", False),
    "taken back": ("The answer is {0}. Wait, it should be {1}.", False),
    "corrected": ("The answer is {1}. No, that is wrong. The answer is {0}.", False),
    "cut off": ("First we take {1} and then", False),
    "cut off in a box": (r"So we get \boxed{{{0}", True),
    "empty": ("", False),
    "no answer": ("I do not know the answer to this.", False),
    "words": ("The answer is some of them.", False),
    "text after": ("The answer is {0}. It took {1} steps to get there.", True),
    "number after": ("#### {0}\nThis is {1} more than before.", True),
    "equation": ("The answer is {1} + 2 = {0}.", True),
    "question again": ("Question: what is {1} times 3? Answer: {0}", True),
    "list": ("#### {0}, {1}", False),
}


def wrong_value(value: Fraction, rng: random.Random) -> Fraction:
    """Another number of the kind that a model writes by mistake."""
    found = rng.choice((value + 1, value - 1, value * 10, value / 10, -value, value * 2, value + 100, value / 2))
    return found if found != value else value + 1


def number_pairs(real: Real, rng: random.Random) -> Iterator[Pair]:
    """An expected number and a number in one of the writings, in one of the frames."""
    while True:
        number = rng.choice(real.numbers)
        if rng.random() < 0.15:  # the data has hardly any fraction
            divided = number.value / rng.choice((2, 3, 4, 6, 7, 8, 40))
            number = Number(divided, rng.choice((write(divided), f"{divided.numerator}/{divided.denominator}")))
        name, (writing, same) = rng.choice(list(WRITINGS.items()))
        right = rng.random() < 0.6
        value = number.value if right else wrong_value(number.value, rng)
        written, frame = writing(value, number.unit or "apples"), rng.choice(FRAMES)
        if not written or ("$" in frame and "$" in written):
            continue
        gold = f"{number.written} {number.unit}" if number.unit and rng.random() < 0.3 else number.written
        yield Pair(gold, frame.format(written, written), f"{name} in {frame!r}", right if same else None)


def odd_pairs(real: Real, rng: random.Random) -> Iterator[Pair]:
    """Texts with two answers, hedges, answers taken back, cut off, none at all."""
    while True:
        number = rng.choice(real.numbers)
        name, (text, right) = rng.choice(list(ODD.items()))
        yield Pair(number.written, text.format(number.written, write(wrong_value(number.value, rng))), name, right)


def rationale_pairs(real: Real, rng: random.Random) -> Iterator[Pair]:
    """Whole solutions of GSM8K: as they are, with a wrong result, without one, or with their answer in other words."""
    solved = [number for number in real.numbers if number.solution]
    while True:
        number = rng.choice(solved)
        steps, wrong = number.solution.rpartition("\n#### ")[0], write(wrong_value(number.value, rng))
        plain = re.sub(r"<<[^>]*>>", "", steps)
        form, text, right = rng.choice((
            ("solution", number.solution, True),
            ("solution without annotations", f"{plain}\nThe answer is {number.written}.", True),
            ("solution with a box", rf"{plain}\n\n\boxed{{{number.written}}}", True),
            ("solution with a wrong result", f"{steps}\n#### {wrong}", False),
            ("solution with a wrong box", rf"{plain} So it is $\boxed{{{wrong}}}$.", False),
            ("solution without a result", plain.rpartition("\n")[0] or plain[:20], None),
        ))  # fmt: skip
        yield Pair(number.written, text, form, right)


def option_pairs(real: Real, rng: random.Random) -> Iterator[Pair]:
    """The right option of a question of MMLU, and an option of the same question as a model would write it."""
    while True:
        options = rng.choice(real.options)
        option = rng.choice((options[0], rng.choice(options[1:])))
        # Two options of a question may be equal, such as 9(2-x)(2+x) and (6-3x)(6+3x) where factors are asked for.
        plain = all(re.fullmatch(r"-?\d+", one) for one in options)
        right = True if option == options[0] else False if plain else None
        text = rng.choice((
            f"The answer is ${option}$.", rf"\boxed{{{option}}}", f"${option}$", rf"So we find $\boxed{{{option}}}$.",
            rf"The answer is \({option}\).",
        ))  # fmt: skip
        if "$" not in option:
            yield Pair(f"${options[0]}$", text, "option", right)


def formula_pairs(real: Real, rng: random.Random) -> Iterator[Pair]:
    """Intervals, sets, matrices, equations, roots and polynomials around numbers of the data."""
    whole = [int(number.value) for number in real.numbers if number.value.denominator == 1 and 1 < number.value < 60]
    while True:
        a, b, c = sorted(rng.sample(sorted(set(whole)), 3))
        gold, others = rng.choice(formulas(a, b, c))
        answer, right = rng.choice(others)
        frame = rng.choice(("${}$", r"\boxed{{{}}}", "The answer is ${}$.", r"So it is $\boxed{{{}}}$.", r"\[{}\]"))
        yield Pair(f"${gold}$", frame.format(answer), f"formula {gold_kind(gold)}", right)


def gold_kind(gold: str) -> str:
    """A formula with its digits as one sign, to name its kind."""
    return re.sub(r"\d+", "n", gold)


def formulas(a: int, b: int, c: int) -> list[tuple[str, list[tuple[str, bool | None]]]]:
    """Formulas with other ways to write each, right and wrong."""
    return [
        (rf"[{a}, {b})", [
            (rf"[{a},{b})", True), (rf"\left[{a}, {b}\right)", True), (rf"[{a}, {b}]", False), (rf"({a}, {b})", False),
            (rf"[{a}, {c})", False), (rf"{a} \le x < {b}", None),
        ]),
        (rf"({a}, {b})", [
            (rf"({a},{b})", True), (rf"\left({a}, {b}\right)", True), (rf"({b}, {a})", False), (rf"({a}, {c})", False),
            (rf"[{a}, {b}]", False),
        ]),
        (rf"\{{{a}, {b}, {c}\}}", [
            (rf"\{{{c}, {a}, {b}\}}", True), (rf"\left\{{{b}, {c}, {a}\right\}}", True), (rf"\{{{a}, {b}\}}", False),
            (f"{c}, {b}, {a}", True), (rf"\{{{a}, {b}, {c + 1}\}}", False),
        ]),
        (rf"\begin{{pmatrix}} {a} & {b} \\ {c} & 1 \end{{pmatrix}}", [
            (rf"\begin{{bmatrix}} {a} & {b} \\ {c} & 1 \end{{bmatrix}}", True),
            (rf"\begin{{pmatrix}}{a}&{b}\\{c}&\frac{{2}}{{2}}\end{{pmatrix}}", True),
            (rf"\begin{{pmatrix}} {a} & {c} \\ {b} & 1 \end{{pmatrix}}", False),
            (rf"\begin{{pmatrix}} {a} & {b} & {c} \end{{pmatrix}}", False),
        ]),
        (f"x = {a}", [(f"x={a}", True), (str(a), True), (f"x = {b}", False), (str(b), False), (f"y = {a}", False)]),
        (f"x + y = {a}", [
            (f"x+y={a}", True), (f"y + x = {a}", True), (f"2x + y = {a}", False), (f"x + y = {b}", False),
        ]),
        (f"x > {a}", [(f"{a} < x", True), (rf"({a}, \infty)", True), (rf"x \ge {a}", False), (f"x > {b}", False)]),
        (f"x^2 + {2 * a}x + {a * a}", [
            (f"(x+{a})^2", True), (f"{a * a} + {2 * a}x + x^2", True), (f"(x+{a})(x+{a})", True), (f"(x+{b})^2", False),
            (f"x^2 + {a}x + {a * a}", False),
        ]),
        (rf"{a}\sqrt{{{b}}}", [
            (rf"\sqrt{{{a * a * b}}}", True), (rf"{a} \sqrt {{{b}}}", True), (rf"{b}\sqrt{{{a}}}", False),
            (rf"\sqrt{{{a * b}}}", False), (rf"-{a}\sqrt{{{b}}}", False),
        ]),
        (rf"\frac{{{a}}}{{\sqrt{{{b}}}}}", [
            (rf"\frac{{{a}\sqrt{{{b}}}}}{{{b}}}", True), (rf"\dfrac{{{a}}}{{\sqrt{{{b}}}}}", True),
            (rf"\frac{{{b}}}{{\sqrt{{{a}}}}}", False), (rf"\frac{{{a}}}{{{b}}}", False),
        ]),
        (rf"\frac{{{a}\pi}}{{{b}}}", [
            (rf"\frac{{{2 * a}\pi}}{{{2 * b}}}", True), (rf"\frac{{{a}}}{{{b}}}\pi", True), (rf"{a}\pi/{b}", True),
            (rf"\frac{{{a}}}{{{b}}}", False), (rf"\frac{{{b}\pi}}{{{a}}}", False),
        ]),
        (rf"{a}^\circ", [(str(a), True), (rf"{a}^{{\circ}}", True), (rf"{b}^\circ", False)]),
        (f"{a} + {b}i", [(f"{b}i + {a}", True), (f"{a} - {b}i", False), (f"{b} + {a}i", False)]),
        (f"2^{{{a}}}", [(str(2**a), True), (f"4^{{{a}}}", False), (rf"2 \cdot 2^{{{a - 1}}}", True)]),
    ]  # fmt: skip


def make_pairs(real: Real, count: int, seed: int) -> list[Pair]:
    """This many pairs, drawn with a seed: most are plain numbers."""
    rng = random.Random(seed)
    shares = ((number_pairs, 0.6), (odd_pairs, 0.1), (rationale_pairs, 0.1), (option_pairs, 0.1), (formula_pairs, 0.1))
    pairs: dict[Pair, None] = {}
    for source, share in shares:
        drawn = source(real, rng)
        wanted = len(pairs) + round(count * share)
        while len(pairs) < wanted:
            pairs[next(drawn)] = None
    return list(pairs)
