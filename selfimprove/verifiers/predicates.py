"""What the last sentence of a text says its subject is, where that is a formula: `The circumference is 2π cm.`"""

import re

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
_RATIO = re.compile(r"(\d{1,9})\sto\s(\d{1,9})")


def read_predicate(line: str) -> str:
    """What the last sentence of a line says its subject is, a ratio in words as one of numbers; or nothing."""
    sentence = _PREDICATE.fullmatch(_END_OF_SENTENCE.split(line)[-1].strip(" *_"))
    if sentence is None or _NO_SUBJECT.search(sentence[1]):
        return ""
    said = sentence[2].strip(" .*_")
    ratio = _RATIO.fullmatch(said)
    return f"{ratio[1]}:{ratio[2]}" if ratio else said
