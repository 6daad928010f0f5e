"""Formulas that need decimals of any size (`numeric`), or math-verify's grammar and sympy: sums, integrals, limits.

Only a worker process (`pool`) may call this: a parser or a simplification can take any time and memory. Of math-verify
only the grammar is used; its comparison rounds to six decimals and drops what is below 10⁻¹⁵, whatever the size.
"""

import re
from functools import lru_cache
from typing import Any

from selfimprove.recipe.task_settings import Answers
from selfimprove.records import Outcome
from selfimprove.verifiers.equality import Comparison, UnsettledError, WorkerNeededError
from selfimprove.verifiers.expressions import read_expression
from selfimprove.verifiers.values import InexactError

MAX_LENGTH = 2_000
MAX_DEPTH = 40
MAX_RUN = 120  # digits in a row
MAX_EXPONENT = 1_000
MAX_FACTORIAL = 500
DIGITS = 400  # to which two values agree that sympy cannot prove equal

_RUN = re.compile(rf"\d{{{MAX_RUN + 1},}}")
_POWER = re.compile(r"(?:\^|\*\*)\s{0,4}[{(]?\s{0,4}-?\s{0,4}(\d+)")
_TOWER = re.compile(r"(?:\^|\*\*)[\s{(]{0,8}-?\s?\d+[\s)}]{0,8}(?:\^|\*\*)")
_FACTORIAL = re.compile(r"(?<!\d)(\d+)\s{0,4}!|!\s{0,4}[)}]{0,4}\s{0,4}!")
_ROUND = re.compile(r"\^\s?\(([^()^]{1,40})\)")  # the grammar takes only curly brackets around an exponent
_SHORT_ROOT, _SHORT_FRACTION = (
    re.compile(r"\\sqrt\s?([\da-z])(?![\da-z])"),
    re.compile(r"\\[dt]?frac\s?(\d)\s?(\d)(?!\d)"),
)
_MARKS = re.compile(r"^(?:\$\$?|\\[(\[])\s*|\s*(?:\$\$?|\\[)\]])$")
_LARGE = re.compile(r"\\[dt]?binom|\\sum|\\prod|\\int|\\lim")


def find_length(text: str) -> str:
    """The limit of length or depth that a text passes before any parser sees it, or nothing."""
    if len(text) > MAX_LENGTH:
        return f"has {len(text)} characters, over the limit of {MAX_LENGTH}"
    if _RUN.search(text):
        return f"has over {MAX_RUN} digits in a row"
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return f"is nested {deepest} deep, over the limit of {MAX_DEPTH}" if deepest > MAX_DEPTH else ""


def find_excess(text: str) -> str:
    """The size that a text asks sympy to work with, where it is over a limit, or nothing."""
    if _TOWER.search(text):
        return "holds a power of a power"
    if any(int(one) > MAX_EXPONENT for one in _POWER.findall(text)):
        return f"holds an exponent over {MAX_EXPONENT}"
    for found in _FACTORIAL.finditer(text):
        if found[1] is None or int(found[1]) > MAX_FACTORIAL:
            return f"holds a factorial over {MAX_FACTORIAL}"
    return "holds over 8 sums, products, integrals or limits" if len(_LARGE.findall(text)) > 8 else ""


def parse(text: str) -> Any:
    """What math-verify's grammar reads in a text that is one answer, as a sympy object; None where it reads nothing.

    The grammar is asked directly: math-verify's own search for answers in a text would take a part of it, and would
    call a text unreadable where only the memory was too small. Its settings are all given: letters keep their case, an
    angle is no number of radians, and its decimals, which are binary, become the fractions that they were written as.
    """
    from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from math_verify.grader import should_treat_as_complex
    from sympy import Float, Rational

    inner = _MARKS.sub("", text.strip()).replace("\\varnothing", "\\emptyset")
    inner = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", _SHORT_ROOT.sub(r"\\sqrt{\1}", inner))
    settings = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=False, nits=False, boxed="all", equations=False
    )
    normal = normalize_latex(_ROUND.sub(r"^{(\1)}", inner), settings)
    conversion = ConversionConfig(
        interpret_as_mixed_fractions=True, interpret_simple_eq_as_assignment=False, interpret_contains_as_eq=True,
        lowercase_symbols=False,
    )  # fmt: skip
    try:
        real = not should_treat_as_complex(normal)
        read = latex2sympy(
            normal, is_real=real, convert_degrees=False, normalization_config=None, conversion_config=conversion
        )
        return read.replace(lambda one: isinstance(one, Float), lambda one: Rational(str(one)))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the grammar raises whatever it likes where a text is not of it
        return None


parse_gold = lru_cache(maxsize=512)(parse)  # all samples of a problem have the same


def settle(*, gold: str, answer: str, answers: Answers, worker: bool) -> tuple[Outcome, str] | None:
    """The verdict on two formulas that our own grammar reads; None where a worker or another grammar must be asked."""
    expected, said = read_gold(gold), read_expression(answer)
    if expected is None or said is None:
        return None
    comparison = Comparison(answers, worker=worker)
    try:
        if comparison.same(expected, said):
            return "correct", comparison.how
        if (
            expected.op == "list"
            and expected.value == "or"
            and any(comparison.same(one, said) for one in expected.args)
        ):
            return "undecided", "one of several expected answers, and nobody said whether one is enough"
    except (WorkerNeededError, InexactError):
        return None
    except UnsettledError as error:
        return "undecided", str(error)
    return "incorrect", "not equal"


read_gold = lru_cache(maxsize=1024)(read_expression)


def compare(*, gold: str, answer: str, answers: Answers = Answers()) -> tuple[Outcome, str]:  # noqa: B008, frozen
    """Compare two mathematical texts; what cannot be read on the expected side is undecided."""
    for name, text in (("expected answer", gold), ("answer", answer)):
        excess = find_length(text)
        if excess:
            return "undecided", f"the {name} {excess}"
    settled = settle(gold=gold, answer=answer, answers=answers, worker=True)
    if settled:
        return settled
    for name, text in (("expected answer", gold), ("answer", answer)):
        excess = find_excess(text)
        if excess:
            return "undecided", f"the {name} {excess}"
    expected, extracted = parse_gold(gold), parse(answer)
    if expected is None:
        return "undecided", "the expected answer cannot be read as mathematics"
    if extracted is None:
        return "incorrect", "cannot be read as mathematics"
    return ("correct", "equal by sympy") if same_objects(expected, extracted) else ("incorrect", "not equal by sympy")


def same_objects(expected: Any, said: Any) -> bool:
    """Whether two sympy objects are the same part by part, their values by simplification or to hundreds of digits."""
    from sympy import Expr, simplify

    if expected == said:
        return True
    if not isinstance(expected, Expr) or not isinstance(said, Expr):
        parts = list(getattr(expected, "args", ())), list(getattr(said, "args", ()))
        alike = type(expected).__name__ == type(said).__name__ and parts[0] and len(parts[0]) == len(parts[1])
        return bool(alike) and all(map(same_objects, *parts))
    difference = simplify((expected - said).doit())
    if difference == 0 or difference.free_symbols or not difference.is_number:
        return bool(difference == 0)
    for digits in (50, DIGITS):
        one, other = expected.doit().evalf(digits), said.doit().evalf(digits)
        finite = one.is_number and other.is_number and one.is_finite and other.is_finite  # infinity is near nothing
        if not finite or abs(one - other) > max(abs(one), abs(other)) / 10 ** (digits - 20):
            return False
    return True


def compare_texts(*, gold: str, text: str) -> tuple[Outcome, str]:
    """math-verify as its users call it, extraction and all."""
    from math_verify import parse as parse_with_math_verify
    from math_verify import verify as verify_with_math_verify

    marked = f"${gold}$" if re.search(r"[\\^{=]", gold) and "$" not in gold else gold  # which it wants around LaTeX
    expected = parse_with_math_verify(marked, parsing_timeout=None)
    extracted = parse_with_math_verify(text, parsing_timeout=None)
    if not expected:
        return "undecided", "math-verify cannot read the expected answer"
    equal = verify_with_math_verify(expected, extracted, timeout_seconds=None)
    shown = f"extracted {str(extracted[-1])[:80]!r}" if extracted else "extracted nothing"
    return ("correct" if equal else "incorrect"), f"math-verify {shown}"
