"""Multiple choice and short labels: which option a text picks."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import takewhile

from selfimprove.records import Outcome, Problem, Rationale, Verdict
from selfimprove.task_settings import VerifierSettings
from selfimprove.verifiers.base import MAX_TEXT, make_verdict, quote, refuse

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_ANNOUNCED = 100  # of a text with more announcements the last ones are read
_EDGES = " \t*_`\"'“”‘’.,;:!?$"
_DECORATION = ' \t\r\n*_`$"“”'
_ANNOUNCED = re.compile(
    r"(?P<box>\\(?:boxed|fbox)\s{0,3}\{)|####"
    r"|(?<![a-z])(?:(?:answer|(?:correct|right|best|final) (?:option|choice))(?: choice| option)?)[*_]{0,3}"
    r"(?:\s{0,9}[:=]|\s{1,9}(?:is|must be|should be)(?P<denied>n['’]t)?(?![a-z]))[\s:]{0,9}",
    re.IGNORECASE,
)
_WRAPPER = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{([^{}]{0,2000})\}")
_LEAD = re.compile(
    r"(?:the|an?|that|it|is|answer|correct|options?|choices?|letters?|either|both|between|one of|clearly|definitely"
    r"|simply|probably|likely|most likely|therefore|maybe|perhaps|possibly)(?:[ \t]+|:[ \t]*)|\\[(\[]",
    re.IGNORECASE,
)
_JOIN = (
    r"(?:,?\s{0,3}\b(?:and/or|or|and|nor|as well as)\b|\s?[&/,])\s{0,3}"
    r"(?:(?:maybe|perhaps|possibly|either|also|option|choice|the|an?)\s){0,2}"
)
_JOINED = re.compile(_JOIN, re.IGNORECASE)
_EITHER = re.compile(r"^(?:(?:either|both|between)\s{1,3})?", re.IGNORECASE)
_NOT = re.compile(r"(?:definitely |clearly )?(?:not|neither|never|anything but)\s", re.IGNORECASE)
_NOT_BEFORE = re.compile(r"(?:\b(?:not|than|instead of|nor|unlike)|n['’]t(?: be)?)\s(?:option |choice |the )?$", re.I)
# What follows these words is about the options that were not picked.
_REASONS = re.compile(
    r"[.!?](?=\s)|\b(?:because|since|as|which|while|whereas|rather|instead|not|unlike|over|but|for|due)\b", re.I
)
# A bare letter before a word may be an English word ("a bank", "I think"): what follows must show that it is a mark.
_FIRST = re.compile(
    r"[(\[]\s?(?P<framed>[A-Za-z])\s?[)\]]|(?P<bare>[A-Za-z])(?=\s{0,3}$|\.(?!\w)|[):,;\]/\\])"
    rf"|(?P<joined>(?i:[a-z])(?=(?i:{_JOIN})[(\[]?(?i:[a-z])(?![\w'’])))"
    r"|(?P<said>[A-Z](?=\s{1,3}(?:[-–—=(]|(?:because|since|as|is|which|with|rather|not|but|instead|for|due)\s)))"
    r"|(?P<weak>[B-HJ-Z])(?=\s)"
)
_MARK = re.compile(
    r"(?<!\w)[(\[]\s?([A-Za-z])\s?[)\]](?!\w)|^([A-Za-z])(?:[):]|\.(?!\w))|(?<![\w.'’(])([A-HJ-Z])(?:\)|\.(?!\w))"
    r"|\b(?:[Oo]ption|[Cc]hoice) ([A-Z])(?![\w'’])|^([A-Za-z])$"
)
_LATER = re.compile(rf"[(\[]([A-Za-z])[)\]]|{_JOIN}([A-Z])(?![\w'’])")
_HEDGED = re.compile(rf"(?<![\w'’])[(\[]?([A-Za-z])[)\].]?{_JOIN}$", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:option|choice)\s(?:number )?#?(\d{1,2})(?!\w|[.,]\d)", re.IGNORECASE)
_ENDS = re.compile(r"\s*$|[.,](?!\d)|[;:!?)\"'”*]|\s+(?:[-–—(]|(?:because|since|as|which|but|not)\b)")
_SEPARATOR = re.compile(r"^[\s.):,;\]*_=]{0,20}(?:[-–—]\s+)?")
_BULLET = re.compile(r"^\s{0,9}(?:[-*•]|\d{1,4}[.)])\s{1,9}")


def _fold(text: str) -> str:
    """A text without case and without what stands around it."""
    flat = " ".join(text.casefold().split())
    return flat.strip(_EDGES) or flat


def _forms(flat: str) -> tuple[str, ...]:
    """The forms in which a text is looked up, the most exact one first."""
    return flat, flat.rstrip(".") or flat, flat.strip(_EDGES) or flat, _fold(flat)


def _plain(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


class _Options:
    """The options of a problem; they are found by letter, number or text and named by letter or by text."""

    def __init__(self, options: tuple[str, ...], *, lettered: bool) -> None:
        self.lettered = lettered
        self.names = tuple(LETTERS[: len(options)]) if lettered else options
        self.texts = tuple(" ".join(_plain(one).split()) for one in options)
        self.length = max(map(len, self.texts)) + 200
        self._tables: tuple[dict[str, list[int]], ...] = ({}, {}, {}, {})
        for at, text in enumerate(self.texts):
            for table, key in zip(self._tables, _forms(text), strict=True):
                table.setdefault(key, []).append(at)

    def find(self, text: str) -> list[int]:
        """The options with this text: the same characters, else without what stands around it, else without case."""
        flat = " ".join(text[: 2 * self.length].split())
        if len(flat) > self.length or (self.lettered and _fold(flat).upper() in self.names):
            return []
        for table, key in zip(self._tables, _forms(flat), strict=True):
            if key in table:
                return table[key]
        return []

    def expected(self, answer: str) -> int | None:
        """The place of the option that the expected answer means."""
        if self.lettered and answer in self.names:
            return self.names.index(answer)
        found = self.find(_plain(answer))
        return found[0] if len(found) == 1 else None

    def name(self, found: Sequence[int]) -> str:
        return " and ".join(self.names[at] for at in sorted(set(found)))

    def show(self, at: int) -> str:
        return f"({self.names[at]}) {quote(self.texts[at])[1:-1]}" if self.lettered else self.names[at]

    @cached_property
    def anywhere(self) -> re.Pattern[str]:
        """The texts of options in running text, the longest first; a single letter there is a word."""
        texts = sorted((_fold(one) for one in self.texts), key=len, reverse=True)
        words = "|".join(re.escape(one) for one in texts if len(one) > 1 or not one.isalpha())
        return re.compile(rf"(?<![\w.,])(?:{words or '(?!)'})(?![\w%]|[.,]\d)", re.IGNORECASE)

    def start(self, text: str) -> tuple[int, int] | None:
        """The option that a text begins with, and where its text ends; a word that goes on is another word."""
        found = self.anywhere.match(text)
        places = self.find(found[0]) if found else []
        if found and len(places) == 1 and (_ENDS.match(text, found.end()) or _JOINED.match(text, found.end())):
            return places[0], found.end()
        return None


@lru_cache(maxsize=1024)
def _options(problem_options: tuple[str, ...], answer: str | None) -> _Options:
    """An answer that is the text of an option says that the question shows no letters."""
    letter = answer is None or answer in LETTERS[: len(problem_options)]
    labels = not letter and _fold(answer or "") in map(_fold, problem_options)
    return _Options(problem_options, lettered=not labels)


def _read(piece: str, options: _Options) -> str | None:
    """The option that an announced text picks: `B`, `A and B`, `not B`, `F` beyond the options; None for no option."""
    found = options.find(piece)  # an option may be nothing but such marks, as `**` is
    if found:
        return options.name(found)
    piece = (_WRAPPER.sub(r"\1", piece) if "\\" in piece else piece).strip(_DECORATION)
    for _ in range(6):  # words before the option, such as "either option"
        line = piece.split("\n", 1)[0]
        found = options.find(piece) or options.find(line)
        if found:
            return options.name(found)
        denied = _NOT.match(line)
        if denied:
            other = _read(line[denied.end() :], options)
            return other and f"not {other.removeprefix('not ')}"
        picked = _read_mark(piece, line, options) if options.lettered else None
        if picked:
            return picked
        start = options.start(line)
        if start:
            return options.name([start[0], *_read_joined(line[start[1] :], options)])
        lead = _LEAD.match(piece)
        if lead is None:
            return None
        piece = piece[lead.end() :].lstrip(_DECORATION)
    return None


def _read_mark(piece: str, line: str, options: _Options) -> str | None:
    """The option whose letter or number a text begins with; its text may follow, that of another contradicts it."""
    number = _NUMBERED.match(line)
    if number and not options.find(number[1]):
        at = int(number[1]) - 1
        return options.name([at]) if 0 <= at < len(options.names) else number[1]
    mark = _FIRST.match(line)
    if mark is None:
        return None
    letter = next(group for group in mark.groups() if group).upper()
    if letter not in options.names:
        return None if mark["weak"] else letter
    at = options.names.index(letter)
    rest = _SEPARATOR.sub("", piece[mark.end() :])
    said = options.find(rest) or options.find(rest.split("\n", 1)[0])
    if said:
        return options.name([at] if at in said else [at, *said])
    after = line[mark.end() :]
    begins = options.start(rest)
    if begins:
        after = rest[begins[1] :]
    others = [] if begins is None or begins[0] == at else [begins[0]]
    return options.name([at, *others, *_read_joined(after, options)])


def _read_joined(after: str, options: _Options) -> list[int]:
    """The further options that stand beside the first one, as in "A or B"; not those in what explains the choice."""
    after = after.lstrip(")*]:; \t")
    reasons = _REASONS.search(after)
    after = after[: reasons.start()] if reasons else after
    found = []
    if options.lettered:
        letters = [next(group for group in one.groups() if group).upper() for one in _LATER.finditer(after)]
        found = [options.names.index(letter) for letter in letters if letter in options.names]
    joined = _JOINED.match(after)
    start = options.start(after[joined.end() :]) if joined else None
    return [*found, start[0]] if start else found


def _read_last(text: str, options: _Options) -> str | None:
    """The last mark such as `(a)`, `A.` or `A)` of the last line that is not empty, else the last text of an option."""
    found = options.find(text.strip()) if len(text) <= 2 * options.length else []
    if found:
        return options.name(found)
    line = text.rstrip(_DECORATION).rsplit("\n", 1)[-1].strip(_DECORATION)
    places: list[tuple[int, int, int]] = []
    if options.lettered:
        found = options.find(line)
        if found:
            return options.name(found)
        pair = _EITHER.sub("", line, count=1)
        joined = _FIRST.match(pair)
        if joined and joined["joined"]:
            return _read_mark(pair, pair, options)
        for mark in _MARK.finditer(line):
            letter = next(group for group in mark.groups() if group).upper()
            if letter in options.names:
                places.append((mark.start(), mark.end(), options.names.index(letter)))
    if not places:
        for one in options.anywhere.finditer(line):
            same = options.find(one[0])
            alone = one.start() == 0 or one.end() == len(line) or line[one.end()] in ".,;:!?"
            if len(same) == 1 and (options.lettered or alone):  # "there is no way" says neither yes nor no
                places.append((one.start(), one.end(), same[0]))
    return _choose(line, places, options)


def _choose(line: str, places: list[tuple[int, int, int]], options: _Options) -> str | None:
    """The last option of a line that is not denied, with the one that it is joined to."""
    kept = [one for one in places if not _NOT_BEFORE.search(line[max(0, one[0] - 40) : one[0]])]
    if not kept:
        return f"not {options.name([places[-1][2]])}" if places else None
    start, _, at = kept[-1]
    beside = [at]
    before = _HEDGED.search(line[max(0, start - 40) : start]) if options.lettered else None
    if before and before[1].upper() in options.names:
        beside.append(options.names.index(before[1].upper()))
    if len(kept) > 1:
        _, end, other = kept[-2]
        between = line[end:start].strip()
        text = options.texts[other]
        if between[: len(text)].casefold() == text.casefold():
            between = between[len(text) :].strip()
        if _JOINED.fullmatch(between) or _JOINED.fullmatch(f" {between} "):
            beside.append(other)
    return options.name(beside)


def _announced(text: str) -> list[tuple[str, bool]]:
    """The texts after the announcements of an answer, and whether each is denied ("the answer isn't")."""
    pieces = []
    for found in list(_ANNOUNCED.finditer(text))[-MAX_ANNOUNCED:]:
        piece = text[found.end() :]
        pieces.append((_in_box(piece) if found["box"] else piece, found["denied"] is not None))
    return pieces


def _merge(picks: list[str], options: _Options) -> str:
    names = [name for pick in picks for name in (pick.split(" and ") if options.lettered else [pick])]
    return " and ".join(sorted(set(names)) if options.lettered else dict.fromkeys(names))


def _in_box(piece: str) -> str:
    """The text up to the brace that closes the box; a sequence of brackets may close more than it opens."""
    piece = piece[:2000]
    line = piece.split("\n", 1)[0]
    if set(line) <= set("()[]{}<> \\$."):
        return line[: line.rfind("}")] if "}" in line else line
    depth = 1
    for at, character in enumerate(piece):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return piece[:at]
    return line


def _is_brackets(text: str) -> bool:
    return bool(text) and set(text) <= set("()[]{}<>")


def _is_word(text: str) -> bool:
    return len(text.split()) == 1 and not text.endswith(":")


def _free_form(piece: str) -> str:
    """A sequence of brackets without spaces, or words without case; one word a line makes a list."""
    lines = piece.strip(_DECORATION).split("\n")
    brackets = re.sub(r"[\s,.$`\"'\\]", "", lines[0])
    if _is_brackets(brackets):
        return brackets
    first = " ".join(takewhile(_is_word, (_BULLET.sub("", line).strip(_DECORATION) for line in lines))) or lines[0]
    return " ".join(_fold(word) for word in re.split(r"[\s,]+", first.rstrip(".")) if word)


def _last_lines(text: str) -> str:
    """The last line that is not empty, or the lines of one word that end a text."""
    lines = [line for line in text.strip().split("\n")[-2000:] if line.strip()]
    at = len(lines) - 1
    while at > 0 and all(_is_word(_BULLET.sub("", lines[one]).strip()) for one in (at, at - 1)):
        at -= 1
    return "\n".join(lines[max(at, 0) :])


class ChoiceVerifier:
    """Compares options by letter or text, and lists of words or brackets where a question has no options."""

    name = "choice"
    version = 1

    def __init__(self, settings: VerifierSettings) -> None:
        self.settings = settings

    def extract_answer(self, text: str, problem: Problem) -> str | None:
        """`B`, an option's own text, or words; `A and B`, `not B` and `F` beyond the options are never correct."""
        if len(text) > MAX_TEXT:
            return None
        if self.settings.answers.strict:
            return self._extract_strict(text)
        text = _plain(text)
        pieces = _announced(text)
        if not problem.options:
            if pieces or self.settings.stated:
                return _free_form(pieces[-1][0]) or None if pieces else None
            return _free_form(_last_lines(text)) or None
        options = _options(problem.options, problem.answer)
        whole = [] if self.settings.stated else options.find(text.strip())  # "none of these answers is right"
        if whole:
            return options.name(whole)
        picks = [(_read(piece[: 4 * options.length], options), denied) for piece, denied in pieces]
        named = [f"not {pick.removeprefix('not ')}" if denied else pick for pick, denied in picks if pick]
        if named:
            kept = list(dict.fromkeys(pick for pick in named if not pick.startswith("not ")))
            joined = " and ".join(kept)
            if options.lettered:
                joined = " and ".join(sorted(set(joined.split(" and "))))
            return joined or named[-1]
        return None if self.settings.stated else _read_last(text, options)

    def _extract_strict(self, text: str) -> str | None:
        pieces = _announced(text)
        if not pieces and self.settings.stated:
            return None
        lines = (pieces[-1][0] if pieces else text.rstrip().rsplit("\n", 1)[-1]).strip().split("\n")
        return lines[0].strip().removesuffix(".") or None

    def quick(self, *, problem: Problem, rationale: Rationale) -> Verdict | None:
        return self.verify(problem=problem, rationale=rationale)

    def verify(self, *, problem: Problem, rationale: Rationale) -> Verdict:
        return make_verdict(self, rationale, *(refuse(problem, rationale) or self._compare(problem, rationale)))

    def _compare(self, problem: Problem, rationale: Rationale) -> tuple[Outcome, str]:
        expected, answered = problem.answer or "", rationale.answer or ""
        if problem.options:
            options = _options(problem.options, problem.answer)
            at = options.expected(expected)
            if at is None:
                return "undecided", f"the expected answer {quote(expected)} is not one of the options"
            if not self.settings.answers.strict:
                return _compare_options(options, at, answered)
        elif not self.settings.answers.strict:
            expected = _free_form(_plain(expected))
        if answered == expected:
            return "correct", f"answered {quote(answered)}"
        return "incorrect", f"answered {quote(answered)}, expected {quote(expected)}"


def _compare_options(options: _Options, expected: int, answered: str) -> tuple[Outcome, str]:
    if answered == options.names[expected]:
        return "correct", f"answered {options.show(expected)}"
    if answered in options.names:
        at = options.names.index(answered)
        return "incorrect", f"answered {options.show(at)}, expected {options.show(expected)}"
    if answered.startswith("not "):
        return "incorrect", f"says only what it is not: {quote(answered)}"
    several = dict.fromkeys(answered.split(" and "))
    if len(several) > 1:
        shown = [f"({one})" if options.lettered else quote(one) for one in several]
        return "incorrect", f"names {'two' if len(shown) == 2 else len(shown)} different options: {' and '.join(shown)}"
    return "incorrect", f"answered {quote(answered)[1:-1]}, which is no option"
