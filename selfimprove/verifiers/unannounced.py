"""The answer of a text that announces none: its first line, its last line, its last formula or its last number."""

import re

from selfimprove.verifiers.hedges import CERTAIN, Doubt, is_denied, look_after, look_around
from selfimprove.verifiers.modifiers import ASKED, gives_up, is_asked, is_denied_label, names
from selfimprove.verifiers.numbers import clean, end_of_number, find_numbers, read_number
from selfimprove.verifiers.reading import (
    BOLD,
    CHOICE,
    IN_TEXT,
    MATH,
    MAX_ANSWER,
    MONEY,
    Statement,
    is_cut_off,
    is_formula,
    last_side,
    read_last_display,
    side_of,
)

_ASIDE = re.compile(r"(?<=[A-Za-z\d*])\s\([^()\n]{1,80}\)[\s.*]*$")  # what is only explained at the end
_GROUPS = re.compile(r"(?<![\d.,/])\d{1,3}(?: \d{3})* $", re.ASCII)
_LETTERS = re.compile(r"[A-Za-z]{2}|[.:;]$")
# A line that begins with a sign or a word for the answer and has nothing else but a value.
_SIGNS = "∴✅✔✓☑🎯🏁👉➡⇒→➜"
_LABEL = re.compile(
    r"^[ \t>#*_•-]{0,8}(?:(?P<name>(?:A|(?i:ans|final|(?:final )?(?:result|value|solution)|output|response|reply"
    r"|correct))[*_]{0,2}\s?(?::[-–—](?=\s)|[:=])[*_]{0,2}|A\.(?=\s)|[∴✅✔✓☑🎯🏁]\ufe0f?)"
    rf"|[{_SIGNS}]\ufe0f?|\$?\\(?:therefore|Rightarrow|implies)(?![a-z])|=>|->|==>|=|⟹|≈)"
    r"[ \t*_]{0,4}(?P<said>[^\n]{1,120})$",
    re.MULTILINE,
)
_BULLETS = " \t>#*_•-"  # before a label
_LABELS = frozenset(f"{_SIGNS}AaFfRrVvSsOoCc$\\=⟹≈")  # what a label begins with
_IN_BOLD = re.compile(r"(?<![\w)])\*\*([^*\n]{1,80})\*\*(?![\w(])")  # and no power
_EMOJI = re.compile(r"[\U0001f300-\U0001faff\u2600-\u27bf\ufe0f]\s{0,4}")
_QUOTES = re.compile(r"^> (?=\*\*)|^[“”«»„\"]{1,2}\s?|\s?[“”«»\"]{1,2}(?=[.!]?$)")
_OPENING = re.compile(
    r"(?:(?:yes|no|ok(?:ay)?|sure|right|so|thus|hence|therefore)[,:!]\s|(?:it|that)['’]s\s)(?=\W{0,4}\d)", re.IGNORECASE
)
_CONNECTIVE = re.compile(r"^so,?\s(?=[^=]{0,80}[-+*/^(])", re.IGNORECASE)  # `So x + y = 7`
_COMPUTED = re.compile(r"\d!|[\w)!]\s?[-+*/^]\s?[\w(]")
_RELATION = re.compile(r"[\\=<>≈≤≥≠⇒→]|\s(?:or|to)\s")
_NAME = re.compile(r"[A-Za-z]{3}")
_SUBJECT = re.compile(r"\W{0,4}\$?\d[\d,.]{0,20}\s(?:is|was)\s(?:the|our)\s(?![^.]*(?:=|\b(?:is|are|was|so)\b))")
_MAY_OPEN = re.compile(r"(?:[,:!]|['’]s)\s\W{0,4}\d")
_ITEM = re.compile(r"\d{1,2}[.)]\s{1,3}(?=\S)")
_FIRST_SENTENCE = re.compile(r"\s{0,8}(?!\*{0,2}1\.)(\S{1,24}(?: [a-z]{2,12})?)[.!]\*{0,2}\s(?=[A-Z])")
_OTHER_OPTION = re.compile(r"^\W{0,8}B\s?[:=.)]", re.MULTILINE)
_NAMED = re.compile(
    r"[^\W\d][^\d:=\\$\n]{0,40}:\s{1,4}(?=\S)|[^\W\d]{3,20}(?:\s[^\W\d]{1,20}){0,4}(?<!\s[a-z])\s[-–—]\s(?=[$\d])"
)
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|total|altogether|finally|final|result|gives|answer)\b|=", re.IGNORECASE
)
_PROSE = re.compile(r"[A-Za-z][a-z'’]*,?(?:[ \t]+\S+){2}")

# What follows explains the number of the main clause, or is a circumstance of it: `42, which is 2 more than 40`,
# `It costs $42 for 3 tickets`.
_EXPLAINS = re.compile(
    r",\s(?=\d[\d.,]*\s(?:\w+\s)?(?:more|less|fewer|older|younger|higher|lower|longer|shorter|taller)\sthan\b)"
    r"|,\s(?:which is|which was|where|who)\b(?!\sequal)|\s(?:because|since)\s(?!\$?\d)"
    r"|\s?[—–]\s?(?:that['’]s|that is|which is|because|since)\s"
)
_CIRCUMSTANCE = re.compile(
    r"\b(?:for|from|after|with|among|in|by|before|out of|at|to\s[a-z]{3,15})\s(?:\w{2,15}ing\s)?"
    r"(?:(?:the|all|these|those|his|her|their|its|each|every|original|first|other|remaining|same|last|next)\s){0,2}$"
)
_YEAR_OR_WHOLE = re.compile(r"\bin (?:19|20)\d\d$|\b(?:from|out of) (?:the|an?) (?:original|first|total of) \d+$")
_OBJECT = re.compile(
    r"\b(?:is|are|was|were|costs?|pays?|paid|has|have|had|gets?|got|earns?|earned|needs?|takes?|took|spends?|spent|weighs?"
    r"|saves?|saved|makes?|made|owes?|receives?|received)\s(?:(?:only|about|exactly|now|still|a|total|of)\s){0,3}[$€£]?\s?$"
)
# What a count is taken of, at the end of a sentence: `There are 19 integers in the solution of |x + 5| < 10`.
_OF_FORMULA = re.compile(
    r"\s(?:of|to|for|in|satisfying|that satisfy)\s(?:(?:the|this|our|a|an)\s)?(?:[a-z]{3,12}\s)?"
    r"(?:equation|inequality|expression|function|polynomial|system|congruence)s?"
    r"(?=(?:\s(?!\$?[A-Za-z]{2})\S{1,60}){1,20}\s*$)"
)
_OBJECT_BEFORE = re.compile(
    r"\b(?:is|are|has|have|gives?|find)\s(?:exactly\s|only\s)?\$?\d{1,9}\$?\s[a-z][^\d.!?\n]{0,80}$"
)
_SENTENCE = re.compile(r"[.!?]\s")
# What chat models close with: offers to the reader, and a check of what was found.
MAX_CLOSING, MAX_CHECK = 6, 1_500  # lines, characters
_OFFERS = re.compile(
    r"[\s*_]{0,4}(?:let me know|would you like|(?:please )?feel free|if you(?:['’]d like| would like| have any"
    r"| need (?:any|more|further)| want (?:me|to (?:see|know)))|i hope (?:this|that)|hope th(?:is|at)"
    r"|(?:i['’]m |i am )?happy to (?:help|explain|show|walk)|do you (?:want|need|have (?:any|other|more))"
    r"|is there anything|want me to|shall i"
    r"|don['’]t hesitate|need (?:help|more)|-{3,40}\s*$)",
    re.IGNORECASE,
)
_CHECKING = ("heck", "erif")
_CHECKS = re.compile(
    r"^[\s*_#>-]{0,8}(?:(?:quick|sanity|double)[ -])?(?:check|checking|verification|verify|verifying)\b"
    r"(?: (?:of )?(?:the|our|my|this|that)(?: (?:answer|result|work|solution|calculation|total))?)?[*_]{0,3}(?::|$)",
    re.IGNORECASE | re.MULTILINE,
)
_CONCLUDES_ON = re.compile(
    r"\b(?:so|therefore|thus|hence|answer|final|total|finally|wrong|wait|no|not|actually)\b", re.I
)


def _alone(line: str) -> str:
    """The value that is all that a line says, without its marks; or nothing."""
    plain = line.strip(" \t.*_`#>").strip()
    if not plain or len(plain) > 120:
        return ""
    if read_number(plain):
        return plain
    mathematical = is_formula(plain) and any(one.isdigit() or one == "\\" for one in plain)
    return plain if mathematical and not CHOICE.search(plain) else ""


def _without_talk(text: str) -> str:
    """A text without what is only said to its reader at the end, and without the check of what it found before."""
    kept, checked = text, False
    for _ in range(MAX_CLOSING):
        line = kept.rsplit("\n", 1)[-1]
        if "\n" not in kept or not (_OFFERS.match(line) or not line.strip()):
            break
        kept = kept[: -len(line) - 1] if line else kept[:-1]
    check = _CHECKS.search(kept, max(0, len(kept) - MAX_CHECK)) if any(one in kept for one in _CHECKING) else None
    if check and "\n" in kept[: check.start() + 1] and not _CONCLUDES_ON.search(kept, check.end()):
        line = kept[: check.start()].rstrip().rsplit("\n", 1)[-1]  # a sentence, and not the last of the calculations
        checked = any(map(str.isdigit, line)) and _NAME.search(line) is not None
    return kept[: check.start()].rstrip() if check and checked else kept.rstrip() or text


def _value(said: str, whole: bool) -> str:
    inside = MATH.fullmatch(said)
    return side_of(inside[1], whole) if inside else said if whole else last_side(said, [])


def read_label(text: str, whole: bool) -> Statement | None:
    """The answer after a sign or a letter that stands for it at the beginning of a line: `A: 18`, `∴ 42`, `=> 42`.

    A sign with which a calculation goes on counts on the last line only.
    """
    last, end, start = None, len(text.rstrip()), 0
    for line in text.split("\n"):
        found = _LABEL.match(text, start) if line.lstrip(_BULLETS)[:1] in _LABELS or "->" in line[:12] else None
        start += len(line) + 1
        if found and (found["name"] or found.end() >= end):
            last = found if _alone(found["said"]) else last
    if last is None or (last["name"] and last["name"].startswith("A") and _OTHER_OPTION.search(text)):
        return None
    said = _value(_alone(last["said"]), whole)
    return Statement(said, last.start("said"), last.end("said"))


def _read_first(text: str, whole: bool) -> Statement | None:
    """The value that is all that the first line says, where prose follows that concludes on no other."""
    sentence = _FIRST_SENTENCE.match(text)
    line, _, rest = text.lstrip().partition("\n")
    if sentence and _alone(sentence[1]):
        line, rest = sentence[1], "\n" + text[sentence.end() :]
    plain = rest.lstrip("\n ")
    if not plain:
        return None
    marked = line.strip()[:1] in ("*", "#", "$", "\\")
    said = _alone(line)
    follows = rest.startswith("\n") or marked or _PROSE.match(plain)
    last = text.rstrip().rsplit("\n", 1)[-1]
    if not said or not follows or _alone(last) or ("=" in said and not marked):
        return None
    start = text.index(line)
    first = Statement(_value(said, whole), start, start + len(line), announced=False)
    value = read_number(first.text)
    numbers = [read_number(one[0].strip()) for one in find_numbers(last)]
    if not _CONCLUDES.search(last) or not numbers or value in numbers:
        return first
    return first._replace(doubt=Doubt(unclear=f"{line.strip()} … {last[-40:]}")) if marked else None


def read_end(text: str, whole: bool) -> Statement | None:
    """What a text without an announcement says first, or else at its end; none where it was cut off before."""
    short = text.strip()
    if len(short) <= MAX_ANSWER and read_number(short):
        return Statement(short.rstrip(".").strip("*"), 0, len(text), announced=False)
    plain = _without_talk(clean(text).rstrip())
    line = plain.rsplit("\n", 1)[-1].strip()
    if is_cut_off(line):
        return None
    found = _read_first(plain, whole) or read_last_display(plain, whole)
    if found:
        return found
    line = line if line.isascii() else _EMOJI.sub("", line)
    line = _QUOTES.sub("", line) if '"' in line or line.startswith("> ") or not line.isascii() else line
    line = _OPENING.sub("", line) if _MAY_OPEN.search(line) else line
    item = _ITEM.match(line)
    if item and read_number(line[item.end() :].strip(" .*_`$")):  # an item of a list, or a decimal
        return Statement(line[item.end() :], 0, len(text), announced=False, doubt=Doubt(unclear=line))
    named = _NAMED.match(line)
    if named and is_denied_label(named[0]):
        return Statement(line[named.end() :], 0, len(text), announced=False, doubt=Doubt(unclear=line[:60]))
    if named and "=" not in line and _alone(line[named.end() :]):
        line = line[named.end() :]
    line = _CONNECTIVE.sub("", line) if "=" in line else line
    if 0 < len(line) <= MAX_ANSWER and is_formula(line) and not CHOICE.search(line):
        said = _value(_IN_BOLD.sub(r"\1", line).strip(" .*#`_"), whole)
        return Statement(said, len(text) - len(line), len(text), announced=False)
    return _read_running(plain, whole)


def _read_running(plain: str, whole: bool) -> Statement | None:
    """The last formula of a text, or the last number that is not denied, asked for, or the name of a place."""
    named = _OF_FORMULA.search(plain, max(plain.rfind("\n") + 1, len(plain) - MAX_ANSWER))
    if named and _OBJECT_BEFORE.search(plain, max(0, named.start() - 120), named.start()):
        plain = plain[: named.start()]
    last = plain.rfind("\n") + 1
    result = None if whole else _read_result(plain, last)
    if result:
        return result
    near = plain.rfind("\n", 0, max(0, last - 1)) + 1
    # Where the last line has the answer, no number of the others is looked at; one number may go over two lines.
    found = _read_numbers(plain, whole, find_numbers(plain, near), last) if near else None
    return found or _read_numbers(plain, whole, find_numbers(plain), 0)


def _read_result(plain: str, begin: int) -> Statement | None:
    """The expression that the last line says something is: `Number of ways = 8!*2!`."""
    left, sign, right = plain[begin:].rstrip(" .=").rpartition(" = ")
    said = right.strip()
    if not sign or len(said) > 60 or not _COMPUTED.search(said) or not _NAME.search(left):
        return None
    if read_number(said) or not is_formula(said) or _RELATION.search(said):
        return None
    start = begin + len(left) + len(sign)
    return Statement(said, start, start + len(right), announced=False)


def _read_numbers(plain: str, whole: bool, numbers: list[re.Match[str]], begin_at: int) -> Statement | None:
    """The same among the numbers that were found; none where that is one before a place."""
    if begin_at and not numbers:
        return None
    end = end_of_number(plain, numbers[-1].end()) if numbers else 0
    formula = _last_formula(plain)
    if formula and formula.end >= end:
        said = side_of(formula.text, whole)
        return formula._replace(text=said, doubt=CERTAIN if whole else _doubt_formula(plain, formula, said))
    passed = joined = False
    line, first = "", len(plain) + 1
    for number in reversed(_candidates(plain, numbers)):
        if number.start() < begin_at:
            return None
        if number.start() < first or joined:  # a line is cut out once, however many numbers it has
            first, last = plain.rfind("\n", 0, number.start()) + 1, plain.find("\n", number.end())
            line = plain[first : last if last >= 0 else len(plain)]
            joined = "\n" in line  # by a number that goes over two lines
        begin = number.start() - first
        if is_denied(line[max(0, begin - 40) : begin]):
            continue
        if names(line[max(0, begin - 40) : begin]) or is_asked(line, begin, number.end() - first):
            passed = True
            continue
        return _read_in_line(plain, number, line, first)
    if not numbers or begin_at:
        return None
    shown = plain.rsplit("\n", 1)[-1][-60:].strip()
    doubt = Doubt(unclear=shown) if passed else Doubt(hedge=shown)
    return Statement(numbers[-1][0], len(plain), len(plain), announced=False, doubt=doubt)


def _read_in_line(plain: str, number: re.Match[str], line: str, first: int) -> Statement:
    """A number of a line that begins at `first`, with what the line makes of it."""
    start, end = number.start(), end_of_number(plain, number.end())
    groups = _GROUPS.search(plain, max(0, start - 30), start) if re.fullmatch(r"\d{3}", number[0]) else None
    start = groups.start() if groups else start  # `5 600` is one number
    doubt = look_around(line, start - first, end - first)
    asked = ASKED.match(line, end - first) is not None  # `That makes 18, right?`
    if doubt == CERTAIN and (asked or gives_up(line, start - first, end - first)):
        doubt = Doubt(unclear=" ".join(line[max(0, start - first - 80) : end - first + 40].split()))
    bold = _bold_around(plain, start, first)
    if bold and doubt == CERTAIN:
        doubt = look_after(plain[: bold.end(1)], start, end, _number(plain[start:end]))
    return Statement(plain[start:end].strip(), start, end, announced=False, doubt=doubt)


def _bold_around(plain: str, place: int, begin: int) -> re.Match[str] | None:
    """The words in bold that a number on the last line stands in."""
    return next((one for one in BOLD.finditer(plain, begin) if one.start() < place < one.end()), None)


def _number(written: str) -> object:
    read = read_number(written.strip())
    return read.value if read else written


def _candidates(plain: str, numbers: list[re.Match[str]]) -> list[re.Match[str]]:
    """The numbers up to the one that the last line ends its main clause on: the last one in bold, if there is one, and
    else the last one outside of what is only explained, or is a circumstance of it."""
    begin = plain.rfind("\n") + 1
    bold = [one for one in BOLD.finditer(plain, begin) if find_numbers(one[1])]
    if bold:  # people and models set the answer in bold
        places = [one for one in numbers if bold[-1].start() < one.start() < bold[-1].end()]
        return places[:1] or numbers
    if (
        numbers
        and plain.find("(", begin) >= 0
        and (aside := _ASIDE.search(plain, begin))
        and aside.start() < numbers[-1].start()
    ):
        outside = [one for one in numbers if one.start() < aside.start()]
        if outside and "\n" not in plain[outside[-1].end() : aside.start()]:
            return outside
    return numbers[: len(numbers) - _count_after_clause(plain, [one for one in numbers if one.start() >= begin], begin)]


def _count_after_clause(plain: str, numbers: list[re.Match[str]], begin: int) -> int:
    """How many numbers at the end of the last line stand after its main clause."""
    ends = [one.end() for one in _SENTENCE.finditer(plain, begin)]
    begin = ends[-1] if ends else begin
    inside = [one for one in numbers if one.start() >= begin]
    if len(inside) < 2:
        return 0
    if _SUBJECT.match(plain, begin):  # `35 is the smallest number by which 560 must be multiplied`
        return len(inside) - 1
    explains = _EXPLAINS.search(plain, inside[0].end())
    kept = [one for one in inside if not explains or one.start() < explains.start()]
    if explains and ("=" in plain[explains.end() :] or not _has_object(plain, kept, begin)):
        kept = inside[:]
    while len(kept) > 1 and _is_circumstance(plain, kept[-1], begin) and _has_object(plain, kept[:-1], begin):
        kept.pop()
    return len(inside) - len(kept)


def _is_circumstance(plain: str, number: re.Match[str], begin: int) -> bool:
    """Whether a count of something follows a preposition, and nothing is computed after it."""
    before = plain[max(begin, number.start() - 40) : number.start()]
    after = plain[number.end() : number.end() + 3]
    counts = number[0].isdigit() and (re.match(r"\s[a-z]{2,}", after) or not after.strip(" ."))
    if counts and not after.strip(" .") and not _YEAR_OR_WHOLE.search(f"{before}{number[0]}"):
        return False
    return bool(counts and _CIRCUMSTANCE.search(before) and "=" not in plain[number.end() :])


def _has_object(plain: str, numbers: list[re.Match[str]], begin: int) -> bool:
    """Whether a number is what the verb of the clause says."""
    return has_object(plain, numbers[-1].start(), begin)


def has_object(plain: str, place: int, begin: int = 0) -> bool:
    """Whether a verb stands right before a place, of which the number there is the object."""
    return _OBJECT.search(plain[max(begin, place - 40) : place]) is not None


def _doubt_formula(plain: str, formula: Statement, said: str) -> Doubt:
    """What the line makes of its last formula."""
    said = said.strip("$ ").rpartition("=")[2].strip()
    if read_number(said) is None:
        return CERTAIN
    first = plain.rfind("\n", 0, formula.start) + 1
    before = plain[first : formula.start]
    if is_denied(before[-40:]):
        return Doubt(hedge=" ".join(plain[first : formula.end].split())[-60:])
    return look_around(f"{before}{said}", len(before), len(before) + len(said))


def _last_formula(plain: str) -> Statement | None:
    """The last formula of a text: between its marks, or words with LaTeX in them that stand side by side."""
    may_hold = "$" in plain or "\\(" in plain or "\\[" in plain
    marked = [one for one in MATH.finditer(plain) if not MONEY.fullmatch(one[1])] if may_hold else []
    found = Statement(marked[-1][1], marked[-1].start(1), marked[-1].end(1), announced=False) if marked else None
    begin = max(0, len(plain) - MAX_ANSWER)
    if plain.find("\\", begin) < 0 and plain.find("{", begin) < 0:
        return found
    words = list(re.finditer(r"(?:\\(?:text|mathrm|mbox)\{[^{}]{0,80}\}|\S)+", plain[begin:]))
    last = next((at for at in range(len(words) - 1, -1, -1) if "\\" in words[at][0] or "{" in words[at][0]), None)
    if last is None or "$" in words[last][0]:
        return found
    first = end = last
    while first > 0 and _is_mathematical(words[first - 1][0]):
        first -= 1
    while end + 1 < len(words) and _is_mathematical(words[end + 1][0]):
        end += 1
    start, stop = begin + words[first].start(), begin + words[end].end()
    if found and found.end >= stop:
        return found
    return Statement(plain[start:stop].rstrip(".,").lstrip("= "), start, stop, announced=False)


def _is_mathematical(word: str) -> bool:
    return not _LETTERS.search(re.sub(r"\\[A-Za-z]+", "", IN_TEXT.sub("", word)))
