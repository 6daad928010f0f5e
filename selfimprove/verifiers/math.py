"""Mathematical answers: numbers exactly and by our own code, everything else through sympy, in a worker."""

import re
from fractions import Fraction
from functools import lru_cache

from selfimprove.records import Outcome, Problem, Rationale, Verdict
from selfimprove.task_settings import Answers, VerifierSettings
from selfimprove.verifiers.answers import Statement, find_statements, has_equation, is_formula
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote, refuse
from selfimprove.verifiers.hedges import taken_back
from selfimprove.verifiers.numbers import BRIEF, Number, find_numbers, read_number, squeeze, unwrap
from selfimprove.verifiers.steps import check_steps
from selfimprove.verifiers.text import extract_text, normalize

_UNIT = re.compile(r"\s?[A-Za-z°%€][A-Za-z°/²³^]{0,30}(?: [A-Za-z]{1,20}){0,3}")
_ASSIGNED = re.compile(r"([A-Za-z]|\\[a-z]{2,8})(?:\([A-Za-z, ]{1,10}\))?\s{0,3}=\s{0,3}([^=]{1,200})")
_ALL_ASSIGNED = re.compile(r"(?:^|,|;|\bor\b|\band\b|\\text\{ ?(?:or|and) ?\})\s*([A-Za-z])\s*=\s*")
MAX_ANSWER = 2_000  # characters of an answer, or of an expected one, that are looked at
MIN_DECIMALS = 6  # of a decimal that stands for a fraction without an end, such as 0.333333 for 1/3
Judgement = tuple[Outcome, str]


class MathVerifier:
    """Compares answers as exact numbers or by sympy, and checks the steps of the reasoning."""

    name = "math"
    version = 2

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings
        self.ignore_units = settings.answers.units == "ignore"
        self.plain = not settings.stated and settings.answers == Answers()

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        if len(text) > MAX_TEXT:
            return None
        gold = problem.answer
        if self.plain and gold and gold.isdecimal() and (brief := BRIEF.fullmatch(text)):
            return brief[1] or brief[3]
        found = self._find(text, problem.answer or "0")
        if not found:
            return None
        return self._said(text, found[-1])[:MAX_ANSWER]

    def _find(self, text: str, gold: str) -> tuple[Statement, ...]:
        """The statements of a text; where words or a formula are expected, the whole line if it says just that."""
        if read_number(gold):
            return find_statements(text, self.settings.stated)
        found = find_statements(text, self.settings.stated, _is_equation(gold))
        line = extract_text(text, stated=self.settings.stated) if len(found) <= 1 and "boxed" not in text else None
        if line and (_is_words(gold) or squeeze(line[:MAX_ANSWER]) == squeeze(gold[:MAX_ANSWER])):
            return (Statement(line, 0, len(text)),)
        return found

    def _said(self, text: str, statement: Statement) -> str:
        """A statement's answer, with what follows it where its unit matters."""
        if self.ignore_units:
            return statement.text
        unit = _UNIT.match(text, statement.end)
        return statement.text + unit[0] if unit else statement.text

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict | None:
        brief = self._judge_brief(problem.answer, rationale)
        if brief:
            return make_verdict(self, rationale, *brief, coverage=0.0)
        judgement = self._judge(problem, rationale, sympy=False)
        return None if judgement is None else self._verdict(problem, rationale, *judgement)

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        judgement = self._judge(problem, rationale, sympy=True)
        assert judgement is not None
        return self._verdict(problem, rationale, *judgement)

    def _verdict(self, problem: Problem, rationale: Rationale, outcome: Outcome, reason: str) -> Verdict:
        reasoning = check_steps(rationale.text, problem.question)
        return make_verdict(self, rationale, outcome, reason, reasoning.steps, reasoning.coverage)

    def _judge_brief(self, gold: str | None, rationale: Rationale) -> Judgement | None:
        """What `_judge` would say of a text that is one whole number where one is expected, several times faster."""
        if not (self.plain and gold and gold.isdecimal() and gold.isascii() and len(gold) <= 18):
            return None
        brief, answer = BRIEF.fullmatch(rationale.text), rationale.answer
        if brief is None or answer != (brief[1] or brief[3]) or rationale.finish == "too_long":
            return None
        shown = f"extracted '{answer}', expected '{gold}': "
        if int(gold) == int(brief[2] or brief[4]):
            return "correct", shown + "equal as whole numbers"
        return "incorrect", shown + "not equal"

    def _judge(self, problem: Problem, rationale: Rationale, *, sympy: bool) -> Judgement | None:
        refused = refuse(problem, rationale)
        if refused:
            return refused
        gold, text = str(problem.answer), rationale.text
        if self.settings.answers.strict:
            equal = str(rationale.answer).strip() == gold.strip()
            return _judgement(equal, str(rationale.answer), gold, "the same text", "not the same text")
        said = rationale.answer or ""
        if _is_words(gold):
            return _compare_words(gold, said)
        statements = self._find(text, gold)
        wanted = _read_list(gold)
        if wanted and statements:
            listed = _compare_list(text, statements[-1], wanted)
            if listed:
                return _judgement(True, listed, gold, "the same numbers", "")
        doubt = _find_doubt(text, statements) if statements else None
        if doubt:
            return doubt
        if len(statements) <= 1:
            return self._compare(gold=gold, answer=said, sympy=sympy)
        announced = [self._said(text, one) for one in statements if one.announced]
        return self._judge_all(gold, said, announced, sympy=sympy)

    def _judge_all(self, gold: str, said: str, announced: list[str], *, sympy: bool) -> Judgement | None:
        """Every answer that the text announces must be the expected one."""
        others = dict.fromkeys(one for one in announced if one[:MAX_ANSWER] != said)
        verdict: Judgement | None = None
        for answer in (*others, said):
            verdict = self._compare(gold=gold, answer=answer, sympy=sympy)
            if verdict is None:
                return None
            if verdict[0] != "correct":
                break
        if others and verdict and verdict[0] == "incorrect" and _differ(list(others), said):
            return "incorrect", f"two different answers: {quote(next(iter(others)))} and {quote(said)}"
        return verdict

    def _compare(self, *, gold: str, answer: str, sympy: bool) -> Judgement | None:
        gold, answer = _without_variable(gold, answer)
        expected, extracted = read_number(gold), read_number(answer)
        if expected is not None and extracted is not None:
            return self._compare_numbers(gold, answer, expected, extracted)
        if squeeze(gold[:MAX_ANSWER]) == squeeze(answer):
            return _judgement(True, answer, gold, "the same text", "")
        if has_equation(answer) and not has_equation(gold):
            return "incorrect", f"extracted {quote(answer)}, expected {quote(gold)}: an equation, and not a value"
        if not is_formula(answer):
            return "incorrect", f"extracted {quote(answer)}, expected {quote(gold)}: neither a number nor a formula"
        if not sympy:
            return None
        from selfimprove.verifiers.symbolic import compare

        outcome, reason = compare(gold=gold, answer=answer)
        return outcome, f"extracted {quote(answer)}, expected {quote(gold)}: {reason}"

    def _compare_numbers(self, gold: str, answer: str, expected: Number, extracted: Number) -> Judgement:
        answers = self.settings.answers
        if answers.units == "match" and expected.unit and f"{extracted.unit} ".find(f"{expected.unit} ") != 0:
            return _judgement(False, answer, gold, "", f"the unit is {expected.unit!r}, not {extracted.unit!r}")
        how = _equal(expected, extracted, answers)
        return _judgement(bool(how), answer, gold, how, "not equal")


@lru_cache(maxsize=1024)  # all samples of a problem have the same
def _is_equation(gold: str) -> bool:
    return has_equation(gold) and not _ASSIGNED.fullmatch(unwrap(gold))


@lru_cache(maxsize=1024)
def _is_words(gold: str) -> bool:
    return read_number(gold) is None and not is_formula(gold)


def _compare_words(gold: str, said: str) -> Judgement:
    """Words can be the same and not equal: two texts that differ may still mean one thing."""
    if normalize(said) == normalize(gold) or squeeze(said) == squeeze(gold):
        return _judgement(True, said, gold, "the same text", "")
    return (
        "undecided",
        f"the expected answer {quote(gold)} is neither a number nor a formula, and not said in these words",
    )


def _judgement(equal: bool, answer: str, gold: str, how: str, how_not: str) -> Judgement:
    shown = f"extracted {quote(answer)}, expected {quote(gold)}: "
    return ("correct", shown + how) if equal else ("incorrect", shown + how_not)


def _without_variable(gold: str, answer: str) -> tuple[str, str]:
    """Of `x = 5` beside `5`, or beside another `x = 5`, the 5 (as math-verify has it)."""
    if "=" not in gold and "=" not in answer:
        return gold, answer
    variables = _ALL_ASSIGNED.findall(answer) if "=" not in gold else []
    if len(variables) > 1 and len(set(variables)) == 1 and answer.count("=") == len(variables):  # x = 1 or x = 2
        return gold, _ALL_ASSIGNED.sub(", ", answer).lstrip(", ")
    one, other = _ASSIGNED.fullmatch(unwrap(gold)), _ASSIGNED.fullmatch(unwrap(answer))
    if one and other and one[1] != other[1]:
        return gold, answer
    return (one[2] if one and (other or "=" not in answer) else gold), (
        other[2] if other and (one or "=" not in gold) else answer
    )


def _equal(expected: Number, extracted: Number, answers: Answers) -> str:
    """How two numbers are equal, or nothing."""
    if expected.value == extracted.value:
        return "equal as whole numbers" if isinstance(expected.value, int) else "equal as rationals"
    if expected.percent != extracted.percent:
        share, plain = (expected, extracted) if expected.percent else (extracted, expected)
        if share.value == plain.value * 100:
            return f"{share.value}% is {plain.value}"
    if answers.tolerance or answers.relative_tolerance:
        share_allowed = Fraction(answers.relative_tolerance) * abs(Fraction(expected.value))
        if abs(Fraction(expected.value - extracted.value)) <= max(Fraction(answers.tolerance), share_allowed):
            return "within the tolerance"
    return _rounded(expected.value, extracted.value)


def _rounded(exact: int | Fraction, decimal: int | Fraction) -> str:
    """Whether a decimal is a fraction without an end, rounded to the decimals that it shows."""
    if isinstance(exact, int) or isinstance(decimal, int) or _decimals(exact) is not None:
        return ""
    shown = _decimals(decimal)
    if shown is None or shown < MIN_DECIMALS:
        return ""
    return f"{exact} rounded to {shown} decimals" if abs(exact - decimal) * 2 * 10**shown <= 1 else ""


def _decimals(value: Fraction) -> int | None:
    """The decimals of a fraction, or None where they have no end."""
    for decimals in range(1, 31):
        if 10**decimals % value.denominator == 0:
            return decimals
    return None


def _differ(others: list[str], said: str) -> bool:
    read = [read_number(one) or one for one in (*others, said)]
    return any(one != read[-1] for one in read)


@lru_cache(maxsize=1024)
def _read_list(gold: str) -> tuple[object, ...]:
    """The numbers of an expected answer that is several, such as `10, 12`, in order of size; none where it is not."""
    read = [read_number(one) for one in gold.split(",")] if "," in gold and read_number(gold) is None else [None]
    values = [one.value for one in read if one]
    return tuple(sorted(values)) if len(values) == len(read) else ()


def _compare_list(text: str, statement: Statement, wanted: tuple[object, ...]) -> str:
    """The numbers that a doubtful statement names, where they are those that were expected: `10 and 12`."""
    shown = statement.doubt.hedge or statement.doubt.unclear
    first = text.rfind("\n", 0, statement.start) + 1
    line = text[first : statement.start + MAX_ANSWER].split("\n")[0] if shown else ""
    found = [read.value for one in find_numbers(line) if (read := read_number(one[0].strip()))]
    return line if tuple(sorted(found)) == wanted else ""


def _find_doubt(text: str, statements: tuple[Statement, ...]) -> Judgement | None:
    """Why the statements of a text are no single answer: hedging, taking back, or words that nobody can be sure of."""
    for one in statements:
        if one.doubt.hedge:
            return "incorrect", f"no single answer: {quote(one.doubt.hedge)}"
    if len(text) - statements[-1].end > 4:
        later = taken_back(text, statements[-1].end, statements[-1].text)
        if later:
            return "incorrect", f"answered {quote(statements[-1].text)} and took it back: {quote(later)}"
    for one in statements:
        if one.doubt.unclear:
            return "undecided", f"not clear which number is meant: {quote(one.doubt.unclear)}"
    return None
