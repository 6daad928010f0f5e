"""Mathematical answers: numbers and formulas exactly and by our own code, the rest in a worker."""

import math
import re
from functools import lru_cache

from selfimprove.recipe.task_settings import Answers, VerifierSettings
from selfimprove.records import Outcome, Problem, Rationale, Verdict
from selfimprove.verifiers.answers import Statement, find_statements, has_equation, is_formula, prepare, split_equation
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote, refuse
from selfimprove.verifiers.compare import (
    BEFORE_WORDS,
    MAX_ANSWER,
    Judgement,
    compare_commas,
    compare_exclaimed,
    compare_hours,
    compare_list,
    compare_times,
    compare_words,
    decide,
    equal_as,
    read_list,
    undecided,
)
from selfimprove.verifiers.frames import ASSIGNED, without_frame, without_variable
from selfimprove.verifiers.hedges import CERTAIN, Doubt, taken_back
from selfimprove.verifiers.number_words import read_words
from selfimprove.verifiers.numbers import BRIEF, MAX_LENGTH, Number, read_number, squeeze, unwrap
from selfimprove.verifiers.predicates import read_clock, read_predicate, read_ratio, read_share
from selfimprove.verifiers.readings import read_float, read_otherwise, read_time
from selfimprove.verifiers.steps import check_steps
from selfimprove.verifiers.symbolic import compare, find_length, read_gold, settle
from selfimprove.verifiers.text import extract_text
from selfimprove.verifiers.thinking import complete
from selfimprove.verifiers.tokens import without_unit

_UNIT = re.compile(r"\s?[A-Za-z°%€][A-Za-z°/²³^]{0,30}(?: [A-Za-z]{1,20}){0,3}")
_SO = re.compile(r"(?:so|thus|hence|therefore|then|finally),?\s", re.IGNORECASE)
_SUM_OF_LETTERS = re.compile(r"[A-Za-z][^=]{0,60}[-+]|[-+][^=]{0,60}[A-Za-z]|\s?[a-z]{2,3}\s?$")
_AROUND_SIGN = re.compile(r"\s*([-+*/=^()|])\s*")
_NAME_OF_FUNCTION = re.compile(r"\b(?:abs|max|min|gcd|lcm|det|exp|ln|floor|ceil|asin|acos|atan)\s?\(")
_ONE_NAME = re.compile(r"\$?\s?-?\s?(?:oo|pi|infinity|[a-z])\s?\$?")
_JOINED = re.compile(r",?\s(?:and|or)\s|\\text\s?\{\s?(?:and|or)\s?\}")
_NUMBER_WORDS = re.compile(r"[a-z]+(?:-[a-z]+)*")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]{2,80}")
_IN = re.compile(r"\b(?:in|out[ -]of)\b", re.IGNORECASE)
_TAGS = re.compile(r"</[a-z _-]{1,20}>", re.IGNORECASE)
MAX_QUESTION = 5_000  # characters


class MathVerifier:
    """Compares answers as exact numbers or as formulas, and checks the steps of the reasoning."""

    name = "math"
    version = 3

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings
        self.ignore_units = settings.answers.units == "ignore"
        self.plain = not settings.stated and settings.answers == Answers()

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        if len(text) > MAX_TEXT:
            return None
        gold = problem.answer
        if self.plain and gold and gold.isdecimal() and (brief := BRIEF.fullmatch(text)):
            return brief[brief.lastindex or 0]
        text = prepare(text, self.settings.thinking)
        found = self._find(text, problem.answer or "0")
        if not found:
            return None
        return self._said(text, found[-1])[:MAX_ANSWER]

    def _prepare(self, rationale: Rationale) -> str:
        thinking = self.settings.thinking
        return prepare(complete(rationale.text, rationale.prompt, thinking), thinking)

    def _find(self, text: str, gold: str) -> tuple[Statement, ...]:
        """The statements of a text; where words or a formula are expected, the whole line if it says just that."""
        if read_number(gold) and not gold.endswith("!"):
            found = find_statements(text, self.settings.stated)
            share = self._read_share(text, gold, found) if len(found) <= 1 else None
            if share:
                return (share,)
            if len(found) != 1 or not found[0].doubt.unclear:
                return found
            line = extract_text(text, stated=self.settings.stated)
            whole = line is not None and "\\" in line and read_number(line.rstrip(" .")) is not None
            return (Statement(str(line).rstrip(" ."), 0, len(text)),) if whole else found
        found = find_statements(text, self.settings.stated, _is_equation(gold))
        line = extract_text(text, stated=self.settings.stated) if len(found) <= 1 and "boxed" not in text else None
        special = line and _read_as_expected(line[-MAX_ANSWER:], gold, text)
        if special:
            return (special,)
        if line and (_is_words(gold) or _says_just_that(line[:MAX_ANSWER].rstrip(" ."), gold[:MAX_ANSWER])):
            return (Statement(line.rstrip(" ."), 0, len(text)),)
        said = read_predicate(line[-MAX_ANSWER:]) if line else ""
        formula = said and read_number(said) is None and _says_just_that(said, gold[:MAX_ANSWER])
        return (Statement(said, 0, len(text)),) if formula else found

    def _read_share(self, text: str, gold: str, found: tuple[Statement, ...]) -> Statement | None:
        """`3 in 4` as 3/4, where a number below one is expected and the text says just that."""
        expected = read_number(gold)
        if not expected or not 0 < expected.value < (100 if expected.percent else 1) or not _IN.search(text):
            return None
        line = found[0].text if found and "boxed" in text else extract_text(text, stated=self.settings.stated) or ""
        said = read_share(line[-MAX_ANSWER:])
        return Statement(said, 0, len(text)) if said and not _after(line, text) else None

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
        if (
            brief is None
            or complete("", rationale.prompt, self.settings.thinking)
            or answer != brief[brief.lastindex or 0]
            or rationale.finish == "too_long"
        ):
            return None
        shown = f"extracted '{answer}', expected '{gold}': "
        if int(gold) == int(brief[(brief.lastindex or 0) + 1]):
            return "correct", shown + "equal as whole numbers"
        return "incorrect", shown + "not equal"

    def _judge(self, problem: Problem, rationale: Rationale, *, sympy: bool) -> Judgement | None:
        refused = refuse(problem, rationale, self.settings.thinking)
        if refused:
            return self._find_words(problem, rationale) or refused
        gold, text = str(problem.answer), self._prepare(rationale)
        if self.settings.answers.strict:
            equal = str(rationale.answer).strip() == gold.strip()
            return decide(equal, str(rationale.answer), gold, "the same text", "not the same text")
        said = rationale.answer or ""
        if _is_words(gold):
            return compare_words(gold, said)
        said = _side_asked_for(problem.question, gold, said)
        statements = self._find(text, gold)
        wanted = read_list(gold)
        if wanted and statements:
            listed = compare_list(text, statements[-1], wanted)
            if listed:
                return decide(True, listed, gold, "the same numbers", "")
        whole = statements and self._compare_line(gold, text, statements[-1])
        if whole:
            return whole
        doubt = _find_doubt(text, statements) if statements else None
        if doubt:
            return doubt
        exclaimed = compare_exclaimed(gold, text, statements[-1]) if "!" in text and statements else None
        if exclaimed and len({one.text for one in statements}) == 1:
            return exclaimed
        if len(statements) <= 1:
            return self._compare(gold=gold, answer=said, sympy=sympy)
        announced = [
            _side_asked_for(problem.question, gold, self._said(text, one)) for one in statements if one.announced
        ]
        return self._judge_all(gold, said, announced, sympy=sympy)

    def _find_words(self, problem: Problem, rationale: Rationale) -> Judgement | None:
        """Of a text without any answer in digits: whether its last line has the expected number in words."""
        expected = read_number(problem.answer or "") if rationale.answer is None else None
        if expected is None or len(rationale.text) > MAX_TEXT or self.settings.stated:
            return None
        line = self._prepare(rationale).rstrip().rsplit("\n", 1)[-1][-MAX_LENGTH:]
        words = _NUMBER_WORDS.findall(line.lower())
        for first in range(len(words)):
            for last in range(first + 1, min(first + 6, len(words)) + 1):
                read = read_words(" ".join(words[first:last]))
                if read and read[0] == expected.value:
                    return "undecided", f"{problem.answer} stands only in words, in a sentence: {quote(line)}"
        return None

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
        gold, answer = without_variable(gold, without_frame(gold, answer))
        # Who writes down what is expected is not excited: 5! is 120.
        expected, extracted = None if gold.endswith("!") else read_number(gold), read_number(answer)
        if expected is not None and extracted is not None:
            return self._compare_numbers(gold, answer, expected, extracted)
        if squeeze(gold[:MAX_ANSWER]) == squeeze(answer):
            return decide(True, answer, gold, "the same text", "")
        if extracted is not None and "," in answer and "," not in gold:
            answer = str(extracted.value)  # 100,000 is no list beside 10^5
        special = (
            compare_times(gold, answer)
            or compare_hours(gold, answer, expected)
            or compare_commas(gold, answer, expected, extracted)
        )
        if special:
            return special
        if has_equation(answer) and not has_equation(gold) and "," not in gold:
            return self._compare_equation(gold, answer)
        if not _is_formula(answer):
            return "incorrect", f"extracted {quote(answer)}, expected {quote(gold)}: neither a number nor a formula"
        return self._compare_formulas(gold, answer, sympy=sympy)

    def _compare_equation(self, gold: str, answer: str) -> Judgement:
        """An equation beside a value: of `x + y = 7` nobody can tell whether 7 is what was asked for."""
        left, right = split_equation(answer)
        found = self._compare(gold=gold, answer=right, sympy=False) if _SUM_OF_LETTERS.search(left) else None
        if found and found[0] == "correct":
            return undecided(gold, answer, f"the question does not show that it asks for {quote(left)}")
        return "incorrect", f"extracted {quote(answer)}, expected {quote(gold)}: an equation, and not a value"

    def _compare_line(self, gold: str, text: str, statement: Statement) -> Judgement | None:
        """Whether a line that seems to hedge names all of several values that are expected: `x = 3 or x = -3`."""
        if not (statement.doubt.hedge or statement.doubt.unclear) or not _is_several(gold):
            return None
        first = text.rfind("\n", 0, statement.start) + 1
        line = _SO.sub("", text[first : first + MAX_ANSWER].split("\n")[0].lstrip(" *#"), count=1)
        line = BEFORE_WORDS.sub("", line).strip(" .*#")
        found = self._compare_formulas(gold, line, sympy=False) if _is_formula(line) else None
        return found if found and found[0] == "correct" else None

    def _compare_formulas(self, gold: str, answer: str, *, sympy: bool) -> Judgement | None:
        exact = read_float(gold)
        written = gold if exact is None else str(exact)
        answers = self.settings.answers
        if sympy:
            found: Judgement | None = compare(gold=written, answer=answer, answers=answers)
        elif find_length(gold) or find_length(answer):
            found = None
        else:
            found = settle(gold=written, answer=answer, answers=answers, worker=False)
        return found and (found[0], f"extracted {quote(answer)}, expected {quote(gold)}: {found[1]}")

    def _compare_numbers(self, gold: str, answer: str, expected: Number, extracted: Number) -> Judgement:
        answers = self.settings.answers
        if answers.units == "match" and expected.unit and f"{extracted.unit} ".find(f"{expected.unit} ") != 0:
            return decide(False, answer, gold, "", f"the unit is {expected.unit!r}, not {extracted.unit!r}")
        if (
            len(expected.unit) == len(extracted.unit) == 1
            and expected.unit != extracted.unit
            and expected.unit.isalpha()
        ):
            return decide(False, answer, gold, "", f"{expected.unit!r} is not {extracted.unit!r}")
        how = equal_as(expected, extracted, answers)
        if not how and (exact := read_float(gold)) is not None:
            how = equal_as(expected._replace(value=exact), extracted, answers)
        if not how and extracted.unit.startswith("dozen") and extracted.value * 12 == expected.value:
            return undecided(gold, answer, "dozens, where a number is expected")
        if not how and read_otherwise(answer) == expected.value:
            return undecided(gold, answer, "a comma or a point that may set off decimals or thousands")
        if not how and read_otherwise(gold) == extracted.value:
            return undecided(
                gold, answer, "a comma or a point of the expected answer may set off decimals or thousands"
            )
        return decide(bool(how), answer, gold, how, "not equal")


@lru_cache(maxsize=1024)  # all samples of a problem have the same
def _is_equation(gold: str) -> bool:
    return has_equation(gold) and not ASSIGNED.fullmatch(unwrap(gold))


def _says_just_that(line: str, gold: str) -> bool:
    """Whether a line is nothing but the expected text, or nothing but one formula of which no side is the answer."""
    if squeeze(line) == squeeze(gold):
        return True
    if has_equation(line) and not has_equation(gold) and not _is_several(gold):
        return False
    return _is_formula(line) and read_gold(line) is not None


def _read_as_expected(line: str, gold: str, text: str) -> Statement | None:
    """The ratio or the time that the last line of a text says, where one is expected."""
    clock = read_time(gold)
    said = read_clock(line) if clock else ""
    doubt = CERTAIN
    if not said and _is_ratio(gold):
        said = read_ratio(line)
        parts = [int(one) for one in gold.split(":") if one.strip().isdecimal()]
        maybe = clock and ":" not in line and "ratio" not in text.lower() and math.gcd(*parts) > 1
        doubt = Doubt(unclear=line) if maybe else CERTAIN
    return Statement(said, 0, len(text), doubt=doubt) if said and not _after(line, text) else None


def _after(line: str, text: str) -> str:
    """What a text says after a line of its own."""
    return _TAGS.sub("", text[text.rfind(line) + len(line) :]).strip(" \n.*_`$}")


@lru_cache(maxsize=1024)
def _is_ratio(gold: str) -> bool:
    read = read_gold(gold)
    return read is not None and read.op == "ratio"


@lru_cache(maxsize=1024)
def _is_words(gold: str) -> bool:
    if gold.startswith("\\text") and read_number(gold) is None and _WORDS.fullmatch(unwrap(gold)):
        return True
    return read_number(gold) is None and not _is_formula(gold) and read_time(gold) is None


@lru_cache(maxsize=1024)
def _is_several(gold: str) -> bool:
    """Whether an expected answer is a list, a set or a tuple of several values."""
    read = read_gold(gold)
    return read is not None and read.op in ("list", "set", "tuple") and len(read.args) > 1


def _is_formula(text: str) -> bool:
    """Whether a text is mathematics; several formulas may be joined by words."""
    plain = _NAME_OF_FUNCTION.sub("(", without_unit(_JOINED.sub(",", text.strip("$ "))))
    return (
        is_formula(plain)
        or (any(sign in plain for sign in "=+*/^<>|√π∞≤≥±≠") and is_formula(f"{plain} 0"))
        or _ONE_NAME.fullmatch(plain) is not None
        or (len(text) <= 20 and read_time(text) is not None)
    )


def _side_asked_for(question: str, gold: str, said: str) -> str:
    """Of `x + y = 7` the 7, where the question asks for x + y and does not say what it is."""
    if "=" not in said or "=" in gold or len(question) > MAX_QUESTION or not has_equation(said[:MAX_ANSWER]):
        return said
    left, right = split_equation(said[:MAX_ANSWER])
    asked = _AROUND_SIGN.sub(r"\1", left)
    if len(asked) < 3 or not right:
        return said
    places = _AROUND_SIGN.sub(r"\1", question.replace("$", " ").replace("\\(", " ").replace("\\)", " "))
    found = re.findall(rf"(?<![\w+*/^-]){re.escape(asked)}(?![\w^*/+])(=?)", places)
    return right if found and "=" not in found else said


def _differ(others: list[str], said: str) -> bool:
    read = [read_number(one) or one for one in (*others, said)]
    return any(one != read[-1] for one in read)


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
