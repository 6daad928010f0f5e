"""Numbers in texts: found, and read exactly as fractions; nothing is ever evaluated."""

import re
from fractions import Fraction

# A sign counts only where nothing stands before it: "10-4" holds 10 and 4, not -4.
_SIGN = r"(?:(?<![\w)])[-+−])?(?:[$€£] ?)?"
_NUMBER = _SIGN + r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/\d+)?|\.\d+)"
_PLAIN = re.compile(_NUMBER, re.ASCII)
_MARKED = (
    re.compile(r"\\boxed\{\s*(" + _NUMBER + r")[^{}]{0,40}\}", re.ASCII),
    re.compile(r"####\s*(" + _NUMBER + ")", re.ASCII),
    re.compile(r"answer\s*(?:is|:|=)\s*(?::\s*)?(" + _NUMBER + ")", re.ASCII | re.IGNORECASE),
)
_WHOLE = re.compile(r"([-+]?)[$€£]?[ ]?([-+]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:/(\d+))?", re.ASCII)
MAX_DIGITS = 60


def extract_number(text: str, *, stated: bool = False) -> str | None:
    """The last answer in a box, after `####` or after "the answer is"; else, unless `stated`, the last number."""
    for marked in _MARKED:
        found = marked.findall(text)
        if found:
            return str(found[-1]).strip()
    found = [] if stated else _PLAIN.findall(text)
    return str(found[-1]).strip() if found else None


def parse_number(text: str) -> Fraction | None:
    """An exact number from `7`, `7.0`, `+7`, `1,000`, `$7` or `1/2`; None where it is not one or is too long."""
    plain = text.strip().replace("−", "-")
    found = _WHOLE.fullmatch(plain) if len(plain) <= MAX_DIGITS else None
    if found is None or (found[1] and found[2]):
        return None
    bottom = int(found[4] or 1)
    return Fraction(f"{found[1]}{found[2]}{found[3].replace(',', '')}") / bottom if bottom else None
