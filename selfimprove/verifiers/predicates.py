"""What the last sentence of a text says where a formula, ratio, share or time is expected: `The length is 2π cm.`"""

import re

from selfimprove.verifiers.numbers import read_number, unwrap
from selfimprove.verifiers.readings import read_time

# `The area is 2π cm²`, and no subject of which the formula is only a part.
_PREDICATE = re.compile(
    r"(?:(?:so|thus|hence|therefore|then|finally|and),?\s)?((?:the|its|this|our|their|his|her|a|an)\s[^.:;=$\\\d]{2,80}?)\s"
    r"(?:is|are|equals|becomes)(?:\s(?:equal to|given by|exactly|simply|therefore|thus|then))?:?\s(.+)",
    re.IGNORECASE | re.DOTALL,
)
_NO_SUBJECT = re.compile(
    r"\b(?:whose|which|that|if|when|where|not|never|half|twice|double|third|square|cube|inverse|reciprocal|negative|than"
    r"|wrong|incorrect|first|whether)\b|n['’]t\b",
    re.IGNORECASE,
)
_END_OF_SENTENCE = re.compile(r"[.!?]\s|,\s(?=the\s)")
# A ratio's parts are joined by these; of a sentence that ends on one it is what stands behind its last such words.
_JOINS = re.compile(r"\s(?:is )?to\s|-to-|\s?[:∶]\s?")
_BEFORE_RATIO = re.compile(
    r"(?:so |thus |hence |therefore,? )?it(?:['’]s| is) (?=\d)"
    r"|in (?:its )?(?:simplest|lowest) (?:form|terms)[:,]? (?:it is )?"
    r"|[^\d:.!?\n]{0,80}\b(?:ratios?|proportions?|odds)\b[^\d:.!?\n]{0,60}?(?:[=:]|\s)\s?(?=\d|[a-z]{3,12}\sto\s)",
    re.IGNORECASE,
)
MAX_PARTS = 6
MAX_SHARE = 500  # characters of a line; what leads to a share has under 200
# `3 in 4`, `one out of every six`: of a whole below one, after the words that lead to it.
_SHARE = re.compile(
    r"(?:an?\s)?(\w[\w,]{0,19})(?:\s(?:in|out of)\s(?:every\s)?|-in-|-out-of-)(\w[\w,]{0,19})"
    r"(?:\s(?:chance|probability|odds))?",
    re.IGNORECASE,
)
_BEFORE_SHARE = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s)?(?:(?:it|that|there)(?:['’]s|\sis)\s"
    r"|[^\d:.!?\n]{0,80}?\b(?:probability|chances?|odds|likelihood|fraction|share|proportion)\b[^\d:.!?\n]{0,60}?"
    r"(?:[=:]|\s(?:is|are|of))\s)(?:(?:exactly|simply|now)\s)?(?=(?:an?\s)?\S{1,20}?(?:\s(?:in|out of)\s|-in-|-out-))",
    re.IGNORECASE,
)
# The time on which a sentence ends.
_BEFORE_TIME = re.compile(
    r"[^\d.!?\n]{1,100}?\b(?:is|at|was|by|becomes|arrives?|it['’]s)\s(?:exactly )?(?=\d|half|a?\s?quarter)",
    re.IGNORECASE,
)
_NO_TIME = re.compile(r"\b(?:before|after|around|about|nearly|almost|until|or|between|earlier|later)\b", re.IGNORECASE)


def read_predicate(line: str) -> str:
    """What the last sentence of a line says its subject is, a ratio in words as one of numbers; or nothing."""
    sentence = _PREDICATE.fullmatch(_END_OF_SENTENCE.split(line)[-1].strip(" *_"))
    if sentence is None or _NO_SUBJECT.search(sentence[1]):
        return ""
    said = sentence[2].strip(" .*_")
    return read_ratio(said) or said


def read_ratio(line: str) -> str:
    """The ratio of numbers that a line says in digits or words and nothing else, as `3:4`; or nothing."""
    lead = _BEFORE_RATIO.match(line)
    if lead and _NO_SUBJECT.search(lead[0]):
        return ""
    said = line[lead.end() :] if lead else line
    parts = _JOINS.split(said.strip(" .*_`$"))
    read = [read_number(one) for one in parts] if 1 < len(parts) <= MAX_PARTS else [None]
    if any(one is None or one.unit or one.percent for one in read):
        return ""
    return ":".join(str(one.value) for one in read if one)


def read_share(line: str) -> str:
    """The share below one that a line says in digits or words and nothing else, as `3/4`; or nothing."""
    if len(line) > MAX_SHARE:
        return ""
    said = unwrap(line).strip(" .*_`$")
    lead = None if _SHARE.fullmatch(said) else _BEFORE_SHARE.match(said)
    if lead and _NO_SUBJECT.search(lead[0]):
        return ""
    found = _SHARE.fullmatch(said[lead.end() :].strip(" *_`$") if lead else said)
    part, whole = (read_number(one) for one in found.groups()) if found else (None, None)
    if not part or not whole or part.unit or whole.unit or not 0 < part.value < whole.value:
        return ""
    return f"{part.value}/{whole.value}"


def read_clock(line: str) -> str:
    """The time of day that a line says, alone or as the end of its one sentence; or nothing."""
    said = line.strip(" *_`$")
    if read_time(said):
        return said
    lead = _BEFORE_TIME.match(said)
    if lead is None or _NO_SUBJECT.search(lead[0]) or _NO_TIME.search(lead[0]):
        return ""
    said = said[lead.end() :].rstrip(" .!*_")
    return said if read_time(said) else ""
