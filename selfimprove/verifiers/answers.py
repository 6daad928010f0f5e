"""Where a text states its answer: a box, a tag, JSON, `####`, "the answer is", and else what it begins or ends on."""

import re
from collections.abc import Sequence
from functools import lru_cache

from selfimprove.recipe.task_settings import Marks
from selfimprove.verifiers.announcements import Announcement, find_announcements, is_changed, is_negated
from selfimprove.verifiers.hedges import CERTAIN, Doubt
from selfimprove.verifiers.layout import Framed, find_tags, lay_out
from selfimprove.verifiers.modifiers import ASKED
from selfimprove.verifiers.numbers import clean, read_number
from selfimprove.verifiers.reading import (
    CHOICE,
    MAX_BLOCK,
    Statement,
    has_equation,
    is_formula,
    last_side,
    read_display,
    read_value,
    split_equation,
)
from selfimprove.verifiers.thinking import strip_thinking
from selfimprove.verifiers.unannounced import has_object, read_end, read_label

__all__ = ["Statement", "find_statements", "has_equation", "is_formula", "prepare", "split_equation"]

SHORT, MIDDLE = 200, 2_000  # characters
MAX_ANSWERS = 50  # only so many statements of a text are looked at, the last ones

_BOX = re.compile(r"\\f?boxed\s?(?:\{|(?=-?\d))")
_BOXED_NUMBER = re.compile(r"-?\d(?:[\d.,]*\d)?", re.ASCII)
# It is a part of a formula.
_BEFORE_BOX = re.compile(
    r"(?:(?<!^)[-+/](?:\s{0,2})|^[-+/]|(?<=[\w)}\]])\s?\*\s{0,2}|[\w})]\s?_|\^|(?:[\^_}]|\\[dt]?frac|\\sqrt)\s?\{\s{0,2}"
    r"|[\dπ]\s{0,2}|(?<!\\)\)|\\(?:sqrt|pi|times|cdot|frac|neg)\s{0,2})$"
)
_AFTER_BOX = re.compile(
    r"[ \t]{0,2}(?:\^(?!\{?\s?\\circ)|_(?=[\w{\\])|\{|\((?=[^A-Za-z]|[A-Za-z]\))|[*+/]\s?(?=[\d\\($]"
    r"|[A-Za-z](?![A-Za-z]))|-\s?[\d\\]|(?<=\})\d|\\(?:sqrt|pi|times|cdot|frac|div)|!(?=\$))"
)
_SEVERAL = re.compile(r"[,;]|!(?!\s?=)|\b(?:or|and)\b")  # no single equation stands in the box
_GAP = r"(?:[\s$]|\\[()\[\]]|\*\*|\\(?:quad|qquad|,|;)(?![a-z])){0,8}"
_BETWEEN = re.compile(
    rf"{_GAP}(?:,|;|(?:, ?)?(?:and|or)|(?:, ?)?\\text\{{\s?(?:and|or)\s?\}})?{_GAP}"
    r"(?:[A-Za-z](?:_\{?\w{1,2}\}?)?\s?=\s?)?"
)
_NESTED = re.compile(r"\\f?boxed\s?\{(.*)\}", re.DOTALL)
_LINE = re.compile(r"####[ \t]*:?[ \t]*(?=([^\n#]{1,300}))")
_NOUN = r"(?<![/\w])(?:answers?|ans(?![a-z]))(?:\*\*|[\"'`_*])?"
_SAID = re.compile(
    rf"{_NOUN}\s{{0,3}}(?:(?:is|are|(?P<denied>(?:is|are|was|could|can|wo|would)(?:n't| not)(?: be)?"
    r"|cannot be|can't be)|(?:to|of|for|in) [^.\n:]{1,60}? is)\b\s{0,3}:?|:[-–—](?=\s)|[:>→]|==?(?!=)"
    r"|[-–—]{1,2}>?(?=\s[\s*_\"'`]{0,4}[-+$\\(]{0,3}[\d\\]))"
    r"(?:\*\*)?[ \t]{0,3}(?=(?P<said>[^\n]{1,300}))",  # looked at and not taken: a second announcement may follow
    re.IGNORECASE,
)
# The answer may stand alone below its announcement.
_ABOVE = re.compile(
    rf"(?:{_NOUN}(?:\s(?:to|of|for|in)\s[^\n.:]{{1,60}}?)?(?:\s(?:is|are))?(?:\s(?:therefore|thus|then|hence|simply))?|####)"
    r"[\s:*_>#]{0,8}\n(?:[=-]{3,40}\n)?\s{0,8}(?P<said>[^\n]{1,80})(?=\n|$)",
    re.IGNORECASE,
)
# An announcement that announces nothing: `if the answer is`, `the wrong answer is`.
_NO_ANNOUNCEMENT = re.compile(
    r"(?:\b(?:if|suppose|supposing|assuming|assume|unless|whether)\s(?:that\s)?(?:(?:the|my|our|your|an?)\s)?"
    r"|\b(?:wrong|incorrect|false|tempting|naive|first|initial|previous|worst|trap|mistaken|erroneous|flawed|bogus)\s"
    r"|\b(?:doubt|not (?:sure|certain|clear|true|right|correct)|unsure|unclear|untrue|false|deny)\s(?:that\s)?"
    r"(?:(?:the|my|our|your|an?)\s)?)(?:final |correct )?$",
    re.IGNORECASE,
)
_HINTS_OF_DENIAL = (  # one of these is in each match
    "if", "suppos", "assum", "unless", "whether", "wrong", "incorrect", "false", "tempting", "naive", "first",
    "initial", "previous", "worst", "trap", "mistaken", "erroneous", "flawed", "bogus", "doubt", "not", "unsure",
    "unclear", "untrue", "deny",
)  # fmt: skip
# What says of an answer only that it stands: `our answer is correct`.
_NO_VALUE = re.compile(
    r"[\s*_]{0,4}(?:(?:indeed|also|thus|then|therefore|clearly|likely|probably|definitely)\s)?"
    r"(?:correct|right|reasonable|consistent|valid|verified|confirmed|accurate|plausible|sensible|as follows"
    r"|(?:shown |given |stated )?(?:below|above)|in the (?:box|form)|obtained|found by|calculated|easy to)\b"
    r"|[\s*_]{0,4}(?:therefore|thus|then|hence|simply)?\s?:[\s*_]{0,4}$",
    re.IGNORECASE,
)


_ITEM = re.compile(r"(?:[-–—+]|\d{1,2}[.)])\s{1,3}(?=\S)")
_BEGINNING = re.compile("ans|(?=####)")  # of an announcement, in lower case
_CLOSES, _END_OF_MATH = re.compile(r"\s{0,2}\}\s{0,2}(?!\})"), re.compile(r"\\[\])]|\$")
_HINTS = ("answer", "\nans", " ans:", " ans.", " ans ", "*ans", "#ans")  # before a slower look


def prepare(text: str, thinking: Sequence[Marks] = ()) -> str:
    """The part of a text in which its answer stands, without the marks that only lay it out."""
    if text.isdecimal():
        return text
    return (_prepare_again if len(text) <= MIDDLE else _prepare)(text, tuple(thinking))


def _prepare(text: str, thinking: tuple[Marks, ...]) -> str:
    return lay_out(clean(strip_thinking(text, thinking)))


# What was extracted from is judged later: most texts can be remembered until then, long ones only for a while.
_prepare_again = lru_cache(maxsize=2048)(_prepare)


def find_statements(text: str, stated: bool = False, whole: bool = False) -> tuple[Statement, ...]:
    """All announced answers of a prepared text in order; where there is none, unless `stated`, what else may be one.

    Of an equation the last side is the answer, unless an equation is asked for (`whole`).
    """
    again = _find_in_short if len(text) <= SHORT else _find_in_middle if len(text) <= MIDDLE else _find_in_long
    return again(text, stated, whole)


def _find(text: str, stated: bool, whole: bool) -> tuple[Statement, ...]:
    framed = _framed(find_tags(text), whole) if "<" in text else []
    last = framed[-1].end if framed else 0  # what stands before a tag is not the answer
    boxed = _boxes(text, whole) if "boxed" in text or "fbox" in text else []
    announced: list[Statement] = []
    if "####" in text:  # GSM8K's form closes a text, whatever it said before
        announced = [read_value(one[1], one.start(1), whole) for one in _last(_LINE, text) if one[1].strip()]
        announced = announced or _stated_above(text, text.lower(), whole)
    else:
        announced = _announcements(text, whole)
    if framed or boxed:  # `the answer is \\boxed{7}` is one statement
        frames = framed + [one for one in boxed if one.start >= last and not _inside(one.start, framed)]
        announced = [one for one in announced if one.start >= last and not _holds(one, frames)] + frames
    announced = [one for one in announced if one.text and not one.doubt.denied] or announced
    if announced:
        return tuple(sorted((one for one in announced if one.text), key=lambda one: one.end))[-MAX_ANSWERS:]
    labelled = read_label(text, whole)
    if labelled or stated:
        return (labelled,) if labelled else ()
    end = read_end(text, whole)
    return (end,) if end and end.text else ()


_find_in_short, _find_in_middle = lru_cache(maxsize=8192)(_find), lru_cache(maxsize=2048)(_find)
_find_in_long = lru_cache(maxsize=64)(_find)


def _inside(place: int, frames: list[Statement]) -> bool:
    return any(one.start <= place < one.end for one in frames)


def _holds(announced: Statement, frames: list[Statement]) -> bool:
    """Whether an announcement is only that of a frame, or stands in one."""
    return any(announced.start <= one.start <= announced.end for one in frames) or _inside(announced.start, frames)


def _framed(frames: list[Framed], whole: bool) -> list[Statement]:
    """The answers that stand in tags; a text in there may announce its answer once more."""
    found = []
    for one in frames[-MAX_ANSWERS:]:
        inner = _find(lay_out(one.text)[:MAX_BLOCK], False, whole) or (Statement(one.text[:80].strip(), 0, 0),)
        found += [each._replace(start=one.start, end=one.end, announced=True) for each in inner]
    return found


def _announcements(text: str, whole: bool) -> list[Statement]:
    """What follows "the answer is", in English and in other languages."""
    found = []
    lowered = text.lower()
    if "ans" in lowered and (lowered.startswith("ans") or any(one in lowered for one in _HINTS)):
        said = [one for one in _matches(_SAID, text, lowered) if not _NO_VALUE.match(one["said"])]
        found += [_announce(text, one, whole) for one in said]
        found += _stated_above(text, lowered, whole)
    foreign = [_announce_foreign(text, one, whole) for one in find_announcements(text)]
    return found + ([one for one in foreign if not one.doubt.unclear] or foreign[-1:])


def _announce(text: str, found: re.Match[str], whole: bool) -> Statement:
    """The statement after an announcement; one that denies it, or that only supposes it, is no answer."""
    start, rest = found.start("said"), found["said"]
    if closes := _CLOSES.match(rest):  # `\\text{Answer: } 7`
        start, rest = start + closes.end(), _END_OF_MATH.split(rest[closes.end() :])[0]
    said = read_display(text, start, whole) or read_value(rest, start, whole)
    said = _read_sentence(text, said) if not whole else said
    before = _denial(text, found.start())
    if ASKED.match(text, said.end):
        return said._replace(doubt=Doubt(unclear=" ".join(text[found.start() : said.end + 40].split()), denied=True))
    if found["denied"] or before:
        shown = text[before.start() if before else found.start() : said.end]
        return said._replace(doubt=Doubt(hedge=" ".join(shown.split()), denied=True))
    return said


def _read_sentence(text: str, said: Statement) -> Statement:
    """What a whole sentence that was announced says: `Answer: She earns $18 from 9 eggs`."""
    words = len(said.text) > 8 and " " in said.text and "\\" not in said.text and any(map(str.isdigit, said.text))
    if not words or read_number(said.text) or is_formula(said.text):
        return said
    found = read_end(said.text, False)
    if found is None or not read_number(found.text):
        return said
    certain = found.doubt == CERTAIN and has_object(said.text, found.start)
    certain = certain and not any(map(str.isdigit, said.text[: found.start]))
    return said._replace(text=found.text) if certain else said


def _denial(text: str, start: int) -> re.Match[str] | None:
    """The words before an announcement with which it announces nothing."""
    lowered = text[max(0, start - 60) : start].casefold()
    if not any(one in lowered for one in _HINTS_OF_DENIAL):
        return None
    return _NO_ANNOUNCEMENT.search(text, max(0, start - 60), start)


def _announce_foreign(text: str, found: Announcement, whole: bool) -> Statement:
    """The same in another language; there what is no value, or may be denied, is not read."""
    line = text.find("\n", found.end)
    line = line if line >= 0 else len(text)
    said = read_display(text, found.end, whole) or read_value(text[found.end : line], found.end, whole)
    plain = said.text.strip(" .。")
    inside = text[found.end : said.end].find(plain) if plain else 0
    shown = " ".join(text[found.start : min(line, found.end + 60)].split())
    if found.supposed:
        return said._replace(doubt=Doubt(hedge=shown, denied=True))
    before, after = text[found.end : found.end + max(inside, 0)], text[said.end : line]
    changed = ASKED.match(text, said.end) is not None or is_negated(found.language, before, after)
    changed = changed or is_changed(found.language, f"{found.between} {before}", after)
    if changed or not (read_number(plain) or is_formula(plain)):
        return said._replace(text=said.text or shown, doubt=Doubt(unclear=shown))
    return said._replace(text=plain)


def _stated_above(text: str, lowered: str, whole: bool) -> list[Statement]:
    """Answers that stand alone on the line below their announcement, or in a display there."""
    found = []
    for one in _matches(_ABOVE, text, lowered):
        start = one.start("said")
        display = read_display(text, start, whole)
        if display:
            found.append(display)
            continue
        line = one["said"].strip().removeprefix("> ")  # a quotation, and no inequality
        if line.startswith(("$$", "\\[")):
            found.append(read_value(line, start, whole))
            continue
        item = _ITEM.match(line)
        if item and read_number(line[item.end() :].strip(" .*_`$")):  # a bullet, or a minus; an item, or a decimal
            shown = f"{one[0].splitlines()[0]} {line}"
            found.append(
                Statement(line[item.end() :].strip(" .*_`$"), start, start + len(line), doubt=Doubt(unclear=shown))
            )
            continue
        plain, alone = line.strip(" .*_`"), read_value(line, start, whole)
        short = (
            len(line.split()) <= 4
            and read_number(alone.text)
            and line.strip(" *_`$\\(").startswith(alone.text.strip("$\\( ")[:1])
        )
        if short or (is_formula(plain) and "=" not in plain and not CHOICE.search(plain)):
            found.append(alone)
    return found


def _matches(pattern: re.Pattern[str], text: str, lowered: str) -> list[re.Match[str]]:
    """The last matches of a pattern that begins on "ans" or "####", which is tried only where one of them stands."""
    if len(lowered) != len(text):  # a few letters of other scripts are longer in lower case
        return _last(pattern, text)
    found: list[re.Match[str]] = []
    at = 0
    for place in _BEGINNING.finditer(lowered):
        if place.start() >= at and (one := pattern.match(text, place.start())):
            found.append(one)
            at = one.end()
    return found[-MAX_ANSWERS:]


def _last(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(pattern.finditer(text))[-MAX_ANSWERS:]


def _boxes(text: str, whole: bool) -> list[Statement]:
    """Boxed answers; boxes side by side, or joined by a comma or "and", are one answer of several values."""
    boxes: list[Statement] = []
    for found in _last(_BOX, text):
        if boxes and found.start() < boxes[-1].end:
            continue
        start = found.end()
        if found[0].endswith("{"):
            end = _closing(text, start)
            after = end + 1
        else:
            number = _BOXED_NUMBER.match(text, start)
            end = after = number.end() if number else start + 1
        inner = _unbox(text[start:end])
        if boxes and _BETWEEN.fullmatch(text, boxes[-1].end, found.start()):
            if boxes[-1].text != inner:
                boxes[-1] = boxes[-1]._replace(text=f"{boxes[-1].text}, {inner}", end=after)
        elif inner:
            boxes.append(
                Statement(_boxed(inner, whole), found.start(), after, doubt=_doubt_box(text, found, inner, after))
            )
    return boxes


def _unbox(inner: str) -> str:
    """What stands in a box, without a box of its own."""
    inner = inner.strip()
    for _ in range(3 if "boxed" in inner or "fbox" in inner else 0):
        nested = _NESTED.fullmatch(inner)
        if nested is None:
            break
        inner = nested[1].strip()
    return inner.removeprefix("\\approx").removeprefix("≈").strip()


def _boxed(inner: str, whole: bool) -> str:
    said = inner if whole or _SEVERAL.search(inner) else last_side(inner, [])
    return f"${said}$" if inner[-1] == "!" else said


def _doubt_box(text: str, found: re.Match[str], inner: str, after: int) -> Doubt:
    """Whether a box is only a part of a formula."""
    line = text.rfind("\n", 0, found.start()) + 1
    before = text[max(line, found.start() - 12) : found.start()]
    outside = "\\approx" in inner or _BEFORE_BOX.search(before) or _AFTER_BOX.match(text, after)
    shown = text[max(0, found.start() - 8) : after + 8]
    return Doubt(unclear=" ".join(shown.split())) if outside else CERTAIN


def _closing(text: str, start: int) -> int:
    """Where the bracket that opened before `start` closes; the end of its line where it does not."""
    depth, limit = 1, min(len(text), start + MAX_BLOCK)
    for at in range(start, limit):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
    line = text.find("\n", start, limit)
    return line if line >= 0 else limit
