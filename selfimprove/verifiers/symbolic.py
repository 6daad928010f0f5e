"""What our own code cannot read: LaTeX, sets, intervals, matrices, equations, through math-verify and sympy.

Only a worker process (`pool`) may call this: a parser or a simplification can take any time and memory.
"""

import re
from functools import lru_cache
from typing import Any

from selfimprove.records import Outcome

MAX_LENGTH = 2_000
MAX_DEPTH = 40
MAX_RUN = 120  # digits in a row
MAX_EXPONENT = 1_000
MAX_FACTORIAL = 500

_RUN = re.compile(rf"\d{{{MAX_RUN + 1},}}")
_POWER = re.compile(r"(?:\^|\*\*)\s{0,4}[{(]?\s{0,4}-?\s{0,4}(\d+)")
_TOWER = re.compile(r"(?:\^|\*\*)[\s{(]{0,8}-?\s?\d+[\s)}]{0,8}(?:\^|\*\*)")
_FACTORIAL = re.compile(r"(\d+)\s{0,4}!|!\s{0,4}[)}]{0,4}\s{0,4}!")
_PLAIN = re.compile(r"[\d\s.+\-*/^()×÷]+")
_ROUND = re.compile(r"\^\s?\(([^()^]{1,40})\)")  # the grammar takes only curly brackets around an exponent
_SHORT_ROOT, _SHORT_FRACTION = (
    re.compile(r"\\sqrt\s?([\da-z])(?![\da-z])"),
    re.compile(r"\\[dt]?frac\s?(\d)\s?(\d)(?!\d)"),
)
_BASE = re.compile(r"\d_\{?(\d{1,2})\}?$")
_MARKS = re.compile(r"^(?:\$\$?|\\[(\[])\s*|\s*(?:\$\$?|\\[)\]])$")
_LARGE = re.compile(r"\\[dt]?binom|\\sum|\\prod|\\int|\\lim")


def find_excess(text: str) -> str:
    """The limit that a text passes before any parser sees it, or nothing."""
    if len(text) > MAX_LENGTH:
        return f"{len(text)} characters, over the limit of {MAX_LENGTH}"
    if _RUN.search(text):
        return f"over {MAX_RUN} digits in a row"
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        return f"nested {deepest} deep, over the limit of {MAX_DEPTH}"
    if _TOWER.search(text):
        return "a power of a power"
    if any(int(one) > MAX_EXPONENT for one in _POWER.findall(text)):
        return f"an exponent over {MAX_EXPONENT}"
    for found in _FACTORIAL.finditer(text):
        if found[1] is None or int(found[1]) > MAX_FACTORIAL:
            return f"a factorial over {MAX_FACTORIAL}"
    return "over 8 sums, products, integrals or limits" if len(_LARGE.findall(text)) > 8 else ""


def parse(text: str) -> Any:
    """What math-verify's grammar reads in a text that is one answer, as a sympy object; None where it reads nothing.

    The grammar is asked directly: math-verify's own search for answers in a text would take a part of it, and would
    call a text unreadable where only the memory was too small.
    """
    from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
    from math_verify import ExprExtractionConfig
    from math_verify import parse as parse_with_math_verify
    from math_verify.grader import should_treat_as_complex

    inner = _MARKS.sub("", text.strip()).replace("\\varnothing", "\\emptyset")
    inner = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", _SHORT_ROOT.sub(r"\\sqrt{\1}", inner))
    normal = normalize_latex(_ROUND.sub(r"^{(\1)}", inner), NormalizationConfig(boxed="all", equations=False))
    try:
        real = not should_treat_as_complex(normal)
        return latex2sympy(normal, is_real=real, convert_degrees=False, normalization_config=None)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the grammar raises whatever it likes where a text is not of it
        if not _PLAIN.fullmatch(inner):
            return None
        found = parse_with_math_verify(
            inner, [ExprExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
        )
        return found[0] if found else None


parse_gold = lru_cache(maxsize=512)(parse)  # all samples of a problem have the same


def compare(*, gold: str, answer: str) -> tuple[Outcome, str]:
    """Compare two mathematical texts; what cannot be read on the expected side is undecided."""
    from math_verify import verify as verify_with_math_verify

    for name, text in (("expected answer", gold), ("answer", answer)):
        excess = find_excess(text)
        if excess:
            return "undecided", f"the {name} has {excess}" if excess[0].isdigit() else f"the {name} holds {excess}"
    expected, extracted = parse_gold(gold), parse(answer)
    if expected is None:
        return "undecided", "the expected answer cannot be read as mathematics"
    if extracted is None:
        return "incorrect", "cannot be read as mathematics"
    difference = _find_difference(gold, answer)
    if difference:
        return "incorrect", difference
    equal = verify_with_math_verify(expected, extracted, timeout_seconds=None, raise_on_error=True)
    return ("correct", "equal by sympy") if equal else ("incorrect", "not equal by sympy")


def _find_difference(gold: str, answer: str) -> str:
    """What math-verify's comparison does not look at: the base of a numeral, and whether the order counts."""
    one, other = (_MARKS.sub("", text.strip()) for text in (gold, answer))
    bases = [found[1] for text in (one, other) if (found := _BASE.search(text))]
    if len(set(bases)) == 2:
        return f"base {bases[1]}, and not {bases[0]}"
    if one.startswith(("(", "\\left(")) and other.startswith(("\\{", "\\left\\{")):
        return "a set, and not in an order"
    return ""


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
