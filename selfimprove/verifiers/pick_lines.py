"""Which option the lines of a text pick where none is announced, and what they deny or take back."""

import re

from selfimprove.verifiers.hedges import AFTER, find_cue
from selfimprove.verifiers.options import EDGES, JOIN, JOINED, Options
from selfimprove.verifiers.picks import (
    ANYWHERE,
    DECORATION,
    FIRST,
    MAX_ANNOUNCED,
    NOT_AFTER,
    PLACES,
    SEPARATOR,
    read_kind,
    read_mark,
    read_pick,
)

_TICKS = " ✅✔✓☑🎯\ufe0f"
# Each option judged after its letter: `A? No. B? Yes.`
_JUDGED = re.compile(
    r"(?<![\w'’])[(\[]?([A-Z])[)\].:]{0,2}\s?(?:[?:–—-]|is|[^\n.;:–—=-]{1,60}\s[–—:-])?\s{0,2}"
    r"(?:(?P<yes>(?i:yes|true|correct|right)(?!\w)|[✅✔✓☑])|(?i:no|false|incorrect|wrong|not|out)(?!\w)|[❌✗✘✖])"
)
# Each option ticked or crossed out: `- [x] B. library`, `2. library ✅`.
_BOX = re.compile(r"^[\s>*+•-]{0,6}\[(?P<yes>[xX✓✔✅])?\s?\]\s(?P<said>\S[^\n]{0,200})$", re.MULTILINE)
_TICKED = re.compile(
    r"^[\s>*+•-]{0,6}(?:\d{1,2}[.)]\s)?(?P<said>[^\n✅✔✓☑❌✗✘✖]{1,200}?)[\s:–—-]{0,4}(?:(?P<yes>[✅✔✓☑])|[❌✗✘✖])\ufe0f?$",
    re.MULTILINE,
)
_PLACE = re.compile(
    rf"(?:the )?(?:{'|'.join(PLACES)}) (?:option|choice|one)|(?:option|choice) #?\d{{1,2}}", re.IGNORECASE
)
_EITHER = re.compile(r"^(?:(?:either|both|between)\s{1,3})?", re.IGNORECASE)
_NOT_BEFORE = re.compile(
    r"(?:\b(?:not|than|instead of|nor|unlike|except|(?:all|anything|everything) but|never|hardly|partially|partly"
    r"|far from|over|beats|cannot be|eliminates?|excludes?|(?:rule|rules|ruled|ruling) out|almost \w{2,10}"
    r"|consider(?:ed|ing)?|tempted by|(?:at )?first(?: I)? (?:thought|guess(?:ed)?|said|chose)(?: of)?"
    r"|initially(?: I)? \w{2,10}"
    r"|used to \w{2,10}|prefer \W?[A-Z]\W? to)"
    r"|n['’]t(?: be)?)"
    r"\s(?:(?:option|choice|the|an?|in|considered|entirely|\w{2,20}ly)\s){0,3}$",
    re.IGNORECASE,
)
# In running text a negation reaches to the end of its clause.
_CLAUSE = re.compile(r"[.,;:!?=\n]|\b(?:but|so|therefore|hence|thus|because|since|while|is the)\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|never|nobody|cannot|excludes?|rules? out|no longer|hardly)\b|n['’]t\b", re.IGNORECASE)
_ALSO = re.compile(
    r"\b(?i:but|however|though|although|or|and)\b[^.\n]{0,20}?[(\[]?\b([A-Z])\b[)\]]?"
    r"\s(?:is|seems|would be|could be|might be|may be)\s(?:also |both |just as |equally )?"
    r"(?:correct|right|better|good|possible|valid|true)"
    r"|\b(?:also|maybe|possibly|perhaps) (?:be )?[(\[]?([A-Z])\b(?![\w'’])"
    r"|[.!?\n]\s{0,2}(?:[A-Z]?[a-z]{1,9},?\s)?[(\[]?([A-Z])[)\]]?\s(?:is|seems|could be|may be|might be|would be)\s"
    r"(?:also|equally|just as)\s(?:correct|right|good|possible|valid|true|likely|plausible)"
)
# A mark with which a text begins, and one that stands in a list of them.
_BEGINS = re.compile(
    r"[*_#\s]{0,4}(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])(?:[.):,;]|\s[-–—])|([B-HJ-Z])(?=\s(?:because|since|as)\s))\s"
    r"(?!\s?(?:is|was|are|would|seems?|can|could|might|may|has|does|and|or|nor)(?:n['’]t)?\b)"
)
_IN_LIST = re.compile(r"^\W{0,4}[B-Z][.):]\s|(?<!\w)\([A-Z]\)\s\w|(?<![\w'’])[B-Z][.)]\s\w", re.MULTILINE)
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|actually|instead|wait|must|correct|right|best|choose|pick|select|go with|it['’]s"
    r"|it is)\b|[→⇒]|=>",
    re.IGNORECASE,
)
_AFFIRMED = re.compile(r"(?<!in)(?:\b(?:yes|correct|right)\b|[✓✔✅])", re.IGNORECASE)
_MARK = re.compile(
    r"(?<!\w)[(\[]\s?([A-Za-z])\s?[)\]](?!\w)|^([A-Za-z])(?:[):]|[.!](?!\w))|(?<![\w.'’(])([A-HJ-Z])(?:\)|\.(?!\w))"
    r"|\b(?:[Oo]ption|[Cc]hoice|[Ll]etter|[Aa]nswer|[Aa]ns) ([A-Z]|[a-z](?=[\s.!)]{0,9}$))(?![\w'’])|^([A-Za-z])\??$"
    r"|(?P<better>(?<![\w'’])([A-Z])(?=[*_]{0,2}\s(?:(?:is|would be|seems|looks|appears(?: to be)?)"
    r" (?:the |my |our |clearly |most |much )?"
    r"(?:correct|right|best|better|closer|closest|answer|pick|choice|likely|likeliest)\b"
    r"|(?:fits|works|matches|suits|makes) (?:it |this )?(?:best|better|the (?:most|best) sense)\b"
    r"|(?:fits|works|matches|wins|qualifies|applies|is (?:it|the (?:only )?one))(?=[\s.!]{0,9}$)"
    r"|(?:rather than|instead of|over|beats)\s[(\[]?[A-Z]\b)))"
    r"|(?:\b(?:[Ss]o|[Tt]herefore|[Tt]hus|[Hh]ence|[Ii]t['’]s|[Ii]t is|[Cc]hoose|[Pp]ick|go with|[Ss]elect|must be"
    r"|[Pp]robably|[Mm]aybe|[Ll]ikely|[Gg]uess|say)|[→⇒]|=>),?\s([B-HJ-Z])"
    r"(?=(?: it is)?[\s.!]*$|,? (?:because|since)\b)"
    r"|(?<=[.!?] )([B-HJ-Z])$|\b[Ll]eav(?:es|ing) (?:only |just )?[(\[]?([A-HJ-Z])[)\]]?(?= as\b)"
    r"|\b(?:[Ss]tatement|[Dd]escription|[Ii]tem|[Oo]ne) (?:in |under )?([A-Z]) "
    r"(?=is (?:the )?(?:correct|right|true|best)\b)"
    r"|(?:\b[Dd]efinitely |^)([B-HJ-Z])(?=(?: it is"
    r"|,? (?:definitely|clearly|for sure|certainly|surely|of course|obviously|alone|only"
    r"|and nothing else|no doubt|without (?:a )?doubt))?"
    r"[\s.!]{0,9}$)|^[{<]([A-Z])[}>]$"
    r"|\b[Pp]refer ([A-Z])\b"
    r"|(?<![Nn]ot )\b[Oo]nly [(\[]?([A-HJ-Z])[)\]]?(?=\s(?:is left|remains|fits|works|matches|qualifies|makes sense)\b)"
    r"|(?<![不别別勿未])[选選]\s?([A-Z])(?=[\s。.!！]{0,9}$)"
)
_NOTED = re.compile(r"([A-Z]) ?\(([^()]{2,100})\)")  # `B (river)` of the option `a river`
_HEDGED = re.compile(rf"(?<![\w'’])[(\[]?([A-Za-z])[)\].]?{JOIN}$", re.IGNORECASE)


def read_last(text: str, options: Options) -> str | None:
    """The last mark such as `(a)`, `A.` or `A)` of the last line that is not empty, else the last text of an option."""
    found = options.find(text.strip()) if len(text) <= 2 * options.length else []
    if found:
        return options.name(found)
    line = text.rstrip(DECORATION + _TICKS).rsplit("\n", 1)[-1].strip(DECORATION + _TICKS + ",;")
    reply = re.match(r"A:\s*(.+)$", line) if options.lettered else None  # of questions that begin with `Q:`
    replied = read_pick(reply[1], options) if reply else None
    if replied:
        return replied
    places: list[tuple[int, int, int]] = []
    if options.lettered:
        picked = _read_line(line, options)
        if picked:
            return picked
        places = _find_marks(line, options)
    kind = None if places else read_kind(line, options)
    if kind in options.names:
        return kind
    if not places:
        for one in options.anywhere.finditer(line):
            same = options.find(one[0])
            alone = one.start() == 0 or one.end() == len(line) or line[one.end()] in ".,;:!?"
            if len(same) == 1 and (options.lettered or alone):  # "there is no way" says neither yes nor no
                places.append((one.start(), one.end(), same[0]))
    return _choose(line, places[-MAX_ANNOUNCED:], options)


def _read_line(line: str, options: Options) -> str | None:
    """The option that a line says and nothing else, or several: its text, `A or B`, a letter beside another's text."""
    found = options.find(line)
    if found:
        return options.name(found)
    noted = _NOTED.fullmatch(line)
    if noted and noted[1] in options.names:
        at = options.names.index(noted[1])
        return options.names[at] if noted[2].casefold() in options.texts[at].casefold() else None
    if _PLACE.fullmatch(line.rstrip(".!")):
        return read_pick(line, options)
    pair = _EITHER.sub("", line, count=1)
    joined = FIRST.match(pair)
    if joined and joined["joined"] and not any(mark["better"] for mark in _MARK.finditer(line)):
        return read_mark(pair, pair, options)
    letter = (joined["framed"] or joined["bare"] or "").upper() if joined else ""
    said = options.find(SEPARATOR.sub("", pair[joined.end() :])) if joined and letter in options.names else []
    return options.name([options.names.index(letter), *said]) if said else None


def _find_marks(line: str, options: Options) -> list[tuple[int, int, int]]:
    """The places of the options' letters in a line, where something shows that they are no words."""
    places = []
    for mark in _MARK.finditer(line):
        group = next(at for at, letter in enumerate(mark.groups(), 1) if letter)
        if mark[group].upper() in options.names:
            start = mark.start(group) if mark[0][0].isalpha() else mark.start()
            places.append((start, mark.end(), options.names.index(mark[group].upper())))
    return places


def _choose(line: str, places: list[tuple[int, int, int]], options: Options) -> str | None:
    """The last option of a line that is not denied, with the one that it is joined to."""
    kept = [one for one in places if not _denies(line, one[0], one[1])]
    if len({at for _, _, at in kept}) > 2 and len(kept) == len(places) and len(places) >= len(options.names):
        return None  # all options, one after the other
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
        if JOINED.fullmatch(between) or JOINED.fullmatch(f" {between} "):
            beside.append(other)
    return options.name(beside)


def _denies(line: str, start: int, end: int) -> bool:
    """Whether a line says that the option named here is not the answer."""
    before = line[max(0, start - 60) : start]
    if _NOT_BEFORE.search(before) or NOT_AFTER.match(line, end):
        return True
    clause = _CLAUSE.split(before)[-1]
    return _NEGATION.search(clause) is not None and "only" not in clause


def _stands_alone(line: str, options: Options) -> int | None:
    """The option that is all that a line says, by letter, by text or by both."""
    line = line.strip(DECORATION + _TICKS)
    found = options.find(line)
    if len(found) == 1:
        return found[0]
    mark = FIRST.match(line) if options.lettered else None
    letter = next(group for group in mark.groups() if group).upper() if mark else ""
    if mark is None or letter not in options.names:
        return None
    at = options.names.index(letter)
    rest = SEPARATOR.sub("", line[mark.end() :]).strip(EDGES)
    return at if not rest or options.find(rest) == [at] else None


def read_lines(text: str, options: Options) -> tuple[bool, str | None]:
    """Whether the lines of a text settle which option it picks: the first one alone, or one of a list of all."""
    judged = _JUDGED.findall(text)[:MAX_ANNOUNCED] if options.lettered else []
    affirmed = {letter for letter, yes in judged if yes}
    if len({letter for letter, _ in judged}) > 1 and len(affirmed) == 1 and affirmed <= set(options.names):
        return True, affirmed.pop()
    for marked in (_BOX, _TICKED):
        found = [
            (one["yes"], _stands_alone(one["said"], options)) for one in list(marked.finditer(text))[:MAX_ANNOUNCED]
        ]
        chosen = [at for yes, at in found if yes and at is not None]
        if len(found) > 1 and chosen:
            return True, options.names[chosen[0]] if len(chosen) == 1 else None
    lines = [line.strip() for line in text.strip().split("\n")[:200] if line.strip()]
    explained = _begins(lines, options) if options.lettered and lines else None
    if explained is not None:
        return True, options.names[explained]
    if len(lines) < 2:
        return False, None
    first = _stands_alone(lines[0], options)
    if first is None and not options.lettered:  # "No, because …"
        start = options.start(lines[0].lstrip(DECORATION))
        first = start[0] if start else None
    if first is not None and not _settles(lines[-1], first, options):
        return True, options.names[first]
    marks = [(FIRST.match(line.lstrip(DECORATION)), line) for line in lines] if options.lettered else []
    begun = [(next(group for group in mark.groups() if group).upper(), line) for mark, line in marks if mark]
    if len({letter for letter, _ in begun if letter in options.names}) > 1 and begun[-1][1] == lines[-1]:
        affirmed = {letter for letter, line in begun if _AFFIRMED.search(line) and letter in options.names}
        return True, affirmed.pop() if len(affirmed) == 1 else None
    return False, None


def _begins(lines: list[str], options: Options) -> int | None:
    """The option whose mark a text begins with, where the rest explains it: `B. It can't be A or C.`"""
    mark = _BEGINS.match(lines[0])
    letter = next(group for group in mark.groups() if group) if mark else ""
    if mark is None or letter not in options.names:
        return None
    rest = "\n".join([lines[0][mark.end() :], *lines[1:]])
    if _IN_LIST.search(rest) or len(rest.split()) < 3:
        return None
    at = options.names.index(letter)
    return None if _settles(rest.rsplit("\n", 1)[-1], at, options) else at


def _settles(line: str, first: int, options: Options) -> bool:
    """Whether the last line picks another option than the first one did, and does not only speak of it."""
    last = read_last(line, options)
    if last is None or last.startswith("not ") or last == options.names[first]:
        return False
    return _stands_alone(line, options) is not None or _CONCLUDES.search(line) is not None or not options.lettered


def taken_back(text: str, end: int, pick: str, options: Options) -> list[str]:
    """The other options that a text names after it has picked one, where it takes that back or names a second one."""
    tail = text[end : end + AFTER]
    found = [next(group for group in one.groups() if group) for one in _ALSO.finditer(tail)]
    cue = find_cue(tail)
    if cue is not None:
        rest = tail[cue:]
        for mark in ANYWHERE.finditer(rest):
            if not _denies(rest, mark.start(), mark.end()):
                found.append(next(group for group in mark.groups() if group))
    return [one for one in found if one in options.names and one not in pick.split(" and ")]
