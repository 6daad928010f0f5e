"""How an expected answer is read, wherever it comes from: a task's file, a file of responses, a call from Python."""

import json
import re

from selfimprove.records import replace_surrogates

MAX_SOLUTION = 50_000  # characters of a solution that are looked through for a box
_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{")


def read_expected(value: object) -> str | None:
    """The expected answer that a text, a number or true and false stand for; None where there is none.

    Of a whole solution that is what follows its last `####`, as in GSM8K, or what stands in its only box, as in MATH.
    An empty text is no answer: nothing can be compared with it.
    """
    if value is None:
        return None
    text = replace_surrogates(value if isinstance(value, str) else json.dumps(value)).strip()
    if "####" in text:
        text = text.rpartition("####")[2].strip()
    return _in_box(text) or None


def _in_box(text: str) -> str:
    """What stands in the only box of a text that holds more than that; else the text."""
    boxes = list(_BOX.finditer(text)) if len(text) <= MAX_SOLUTION else []
    if len(boxes) != 1:
        return text
    depth, begin = 1, boxes[0].end()
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            around = (text[: boxes[0].start()] + text[at + 1 :]).strip(" $.")
            return text[begin:at].strip() if around else text
    return text
