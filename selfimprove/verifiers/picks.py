"""Which option a text picks where it announces one: `The answer is B`, `not A`, `none of the above`."""

import re
from typing import NamedTuple

from selfimprove.verifiers.announcements import Language, find_announcements, is_negated, strip_lead
from selfimprove.verifiers.layout import find_tags
from selfimprove.verifiers.modifiers import ASKED
from selfimprove.verifiers.options import JOIN, JOINED, Options

MAX_ANNOUNCED = 100  # of a text with more announcements, or of a line with more options, the last ones are read
DECORATION = ' \t\r\n*_`$"“”'
_HEADING = re.compile(
    r"^[ \t]{0,3}(?:(?!####[^#])#{1,6}|>|[-•](?=\s{1,3}[(\[]?[A-Z][)\].]?\s*$))[ \t]{1,3}", re.MULTILINE
)
_INLINE = re.compile(r"\\\(\s?([A-Z])\s?\\\)")
_UPRIGHT = re.compile(r"\$?\\(?:text|textbf|mathrm|mathbf)\s?\{\s?([(\[]?[A-Z][)\]]?)\s?\}\$?")
# A bold letter, or one in code or in quotation marks, is a letter.
_FRAME = re.compile(r"(?<![\w'’])[_\"“”'‘’«»]{1,3}(?P<inner>[(\[]?[A-Za-z][)\].:]?)[_\"“”'‘’«»]{1,3}(?![\w'’])")
_ANNOUNCED = re.compile(
    r"(?P<box>\\(?:boxed|fbox)\s{0,3}\{)|####"
    r"|(?<![a-z])ans(?:\.?\s?[:=]|\.\s)\s{0,3}"
    r"|(?<![a-z])(?:(?:answer|(?:correct|right|best|final|chosen|selected) (?:option|choice|selection|pick))"
    r"(?: choice| option)?)[*_\"'`]{0,3}"
    r"(?:\s{0,9}[:=→]|\s?[-–—]{1,2}>?\s(?=[(\[]?[A-Z](?![\w'’]))"
    r"|\s{1,9}(?:(?P<denied>(?:is|must|should|can|could|wo)n['’]t(?: be)?"
    r"|(?:cannot|can['’]t|could not) be|is (?:anything but|anything except|all except|all but))"
    r"|is|(?:must|should|would|might|may|could|has to) be)(?![a-z]))[\s:]{0,9}"
    # Words and signs that announce only at the beginning of a line, or before a letter.
    r"|^[\s#>-]{0,8}(?:(?:(?:my|the)\s)?(?:response|reply|solution|correct|choice|option|verdict|result|final|conclusion|selection|selected|pick)\s?[:=]"
    r"|[∴✅✔☑🎯👉➡→⇒]\ufe0f?|=>|->)\s{0,9}(?=[(\[]?[A-Z](?![\w'’]))"
    r"|^\s{0,8}A:\s{1,3}(?=[(\[]?[A-Z][)\].]{0,2}\s{0,8}$)"
    r"|\b(?:I(?:['’]d| would|['’]ll| will| therefore| thus)? (?:choose|pick|select|go with|opt for|go for|vote for)"
    r"|I(?:['’]m| am) going with|my (?:choice|pick|vote|selection) is|(?:let['’]s|we) (?:choose|pick|select|go with))"
    r"(?: (?:the )?(?:option|choice|letter|answer))?\s{1,3}(?=[(\[]?[A-Z](?![\w'’]))",
    re.IGNORECASE | re.MULTILINE,
)
_WRAPPER = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{([^{}]{0,2000})\}")
_LEAD = re.compile(
    r"(?:the|an?|that|it|is|answer|correct|options?|choices?|letters?|either|both|between|one of|clearly|definitely"
    r"|simply|probably|likely|most likely|therefore|thus|hence|indeed|actually|still|only|here|now|maybe|perhaps"
    r"|possibly)(?:[ \t]+|:[ \t]*)|\\[(\[]|(?:[→⇒{<'‘]|=>|->|[-–—](?=\s))\s*",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:definitely |clearly )?(?:not|neither|never|anything but|no longer|hardly)\s", re.IGNORECASE)
NOT_AFTER = re.compile(
    r"[)\].:*]{0,3}\s{0,2}(?:[^.,;\n]{0,30}?\s)?(?:(?:is|are|was|being|seems)"
    r"(?:n['’]t| not\b| clearly| definitely| therefore)?"
    r"\s?(?:n['’]t|not\b|incorrect|wrong|out\b|eliminated|false|ruled out|excluded|impossible|unlikely)"
    r"|(?:cannot|can['’]t|won['’]t|isn['’]t|does ?n['’]t|does not)\b|[-–—:]\s?(?:incorrect|wrong|no\b|false|not\b))",
    re.IGNORECASE,
)
_NO_ANNOUNCEMENT = re.compile(
    r"(?:\b(?:if|suppose|supposing|assuming|assume|unless|whether)\s(?:that\s)?(?:(?:the|my|our|your|an?)\s)?"
    r"|\b(?:wrong|incorrect|in|false|tempting|naive|first|initial|previous|worst|least likely|second best)\s?)"
    r"(?:final |correct )?$",
    re.IGNORECASE,
)
_ANY = r"(?:the (?:above|options?|choices?|others?|answers?|given options?|listed options?)|these|them|those)"
# What a text says, and how an option that says so begins.
_KINDS = tuple(
    (re.compile(said, re.IGNORECASE), re.compile(text, re.IGNORECASE))
    for said, text in (
        (
            rf"none(?: of {_ANY}(?: options| answers)?)?(?: (?:is|are) (?:correct|right|true))?",
            r"none(?: of\b|$)|neither$",
        ),
        (rf"all(?: of {_ANY}| the above)?(?: (?:is|are) (?:correct|right|true))?", r"all(?: of\b| the above|$)"),
        (rf"both(?: of {_ANY})?(?: (?:are) (?:correct|right|true))?", r"both\b"),
        (r"neither(?: of (?:these|them|those))?", r"neither\b|none of\b"),
    )
)
PLACES = {"first": 0, "second": 1, "third": 2, "fourth": 3, "fifth": 4, "last": -1}
_ORDINAL = re.compile(rf"(?:the )?({'|'.join(PLACES)}) (?:option|choice|one|answer)\b", re.IGNORECASE)
_RATHER = re.compile(r"(?:\bbut|\bit['’]s|\bit is|\brather|\bso(?= [(\[]?[A-Z][)\].!]{0,3}$))\s+(.+)", re.IGNORECASE)
# What follows these words is about the options that were not picked.
_REASONS = re.compile(
    r"[.!?](?=\s)|;(?=\s[A-Z]\s(?!(?:also|too|as|or|and|equally|fits|works|holds|applies)\b)[a-z]{2,12}\b)"
    r"|\b(?:because|since|(?<!well )as(?! well as)|which|while|whereas|rather|instead|not|unlike|over|but"
    r"|for|due)\b",
    re.IGNORECASE,
)
# A bare letter before a word may be an English word ("a bank", "I think"): what follows must show that it is a mark.
FIRST = re.compile(
    r"[(\[]\s?(?P<framed>[A-Za-z])\s?[)\]]|(?P<bare>[A-Za-z])(?=\s{0,3}$|\.(?!\w)|[):,;\]/\\$!?}<>'’|+\"Ѐ-￿])"
    rf"|(?P<joined>(?i:[a-z])(?=(?i:{JOIN})[(\[]?(?i:[a-z])(?![\w'’])))"
    r"|(?P<said>[A-Z](?=\s{1,3}(?:[-–—=(]|(?:because|since|as|is|which|with|rather|not|but|instead|for|due"
    r"|porque|pois|parce|car|weil|denn|perch[eé]|poich[eé]|ya|потому|так|omdat|karena)\s)))"
    r"|(?P<weak>[B-HJ-Z])(?=\s)"
)
ANYWHERE = re.compile(
    r"(?<!\w)[(\[]([A-Z])[)\]](?!\w)|(?<![\w'’])([B-HJ-Z])(?![\w'’])|\b[Oo]ption (A)\b"
    r"|(?<![\w'’])(A)(?=[.!;)\n]|\s{0,3}\Z)"
)
_LATER = re.compile(rf"[(\[]([A-Za-z])[)\]]|{JOIN}([A-Z])(?![\w'’])")
_NUMBERED = re.compile(r"(?:option|choice)\s(?:number )?#?(\d{1,2})(?!\w|[.,]\d)", re.IGNORECASE)
# In other languages two options are joined by other words.
_FOREIGN_JOIN = re.compile(
    r"\W{0,3}(?:o|ou|u|oder|y|et|e|ed|und|или|и|أو|و|या|और|或者?|和|または|か|と|또는|와|과|of|en|atau|dan|lub|i|veya|ve|hoặc|và)"
    r"(?:\s\w{1,12}){0,2}?\s{0,2}[(\[]?([A-Z])(?![A-Za-z])"
)
SEPARATOR = re.compile(r"^[\s.):,;\]*_=]{0,20}(?:[-–—]\s+)?")


class Piece(NamedTuple):
    """A text after an announcement: whether that denies it ("the answer isn't"), its place, and its language if it is
    not English."""

    text: str
    denied: bool
    place: int
    language: Language | None = None


def strip_marks(text: str, options: Options) -> str:
    """A text without the marks that only lay it out, but for those that stand in the options themselves."""
    held = "".join(options.texts)
    text = _UPRIGHT.sub(r"\1", _INLINE.sub(r"\1", text))
    text = text if ">" in held or "#" in held else _HEADING.sub("", text)  # `> 95%` is no quotation
    for mark in "*`":
        text = text if mark in held else text.replace(mark, "")
    return _FRAME.sub(lambda one: one["inner"], text) if options.lettered and not set("_\"'") & set(held) else text


def find_pieces(text: str) -> list[Piece]:
    """The texts in tags and after announcements, in order; what stands before a tag is not the answer."""
    tags = find_tags(text) if "<" in text else []
    begin = tags[-1].end if tags else 0
    framed = [Piece(one.text, False, one.end) for one in tags]
    return [*framed, *(one for one in _announced(text) if one.place >= begin)][-MAX_ANNOUNCED:]


def _announced(text: str) -> list[Piece]:
    pieces = []
    for found in list(_ANNOUNCED.finditer(text))[-MAX_ANNOUNCED:]:
        piece = text[found.end() :]
        denied = found["denied"] or _NO_ANNOUNCEMENT.search(text, max(0, found.start() - 60), found.start())
        pieces.append(Piece(_in_box(piece) if found["box"] else piece, denied is not None, found.end()))
    foreign = find_announcements(text, options=True)
    if not foreign:
        return pieces
    pieces += [
        Piece(text[one.end :], one.supposed or ASKED.match(text, one.end) is not None, one.end, one.language)
        for one in foreign
    ]
    return sorted(pieces, key=lambda one: one.place)


def read_piece(piece: Piece, options: Options) -> str | None:
    """The option that an announced text picks; None for none, and also where another language may deny it."""
    limit = 4 * options.length
    if piece.language is None:
        return (read_denied if piece.denied else read_pick)(piece.text[:limit], options)
    text = strip_lead(piece.language, piece.text[:limit].lstrip(DECORATION))
    pick = read_pick(text, options)
    if piece.denied:
        return pick and f"not {pick.removeprefix('not ')}"
    if pick is None or not options.lettered or not text[:3].strip("([").startswith(pick):
        if not is_negated(piece.language, text[:20], text[:40]):
            return pick
        letter = ANYWHERE.search(text[:40])
        return f"not {next(group for group in letter.groups() if group)}" if letter else None
    after = text[text.index(pick) + 1 :].split("\n", 1)[0]
    joined = _FOREIGN_JOIN.match(after)
    if is_negated(piece.language, "", after):
        return f"not {pick}"
    return (
        options.name([options.names.index(one) for one in (pick, joined[1])])
        if joined and joined[1] in options.names
        else pick
    )


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


def read_pick(piece: str, options: Options) -> str | None:
    """The option that an announced text picks: `B`, `A and B`, `not B`, `F` beyond the options; None for no option."""
    found = options.find(piece)  # an option may be nothing but such marks, as `**` is
    if found:
        return options.name(found)
    piece = (_WRAPPER.sub(r"\1", piece) if "\\" in piece else piece).strip(DECORATION)
    for _ in range(6):  # words before the option, such as "either option"
        line = piece.split("\n", 1)[0]
        found = options.find(piece) or options.find(line)
        if found:
            return options.name(found)
        kind = read_kind(line, options)
        if kind:
            return kind
        denied = _NOT.match(line)
        if denied:
            return read_denied(line[denied.end() :], options)
        place = _ORDINAL.match(line)
        if place:
            return options.names[PLACES[place[1].lower()] % len(options.names)]
        picked = read_mark(piece, line, options) if options.lettered else None
        if picked:
            return picked
        start = options.start(line)
        if start:
            return options.name([start[0], *_read_joined(line[start[1] :], options)])
        lead = _LEAD.match(piece)
        if lead is None:
            return None
        piece = piece[lead.end() :].lstrip(DECORATION)
    return None


def read_kind(line: str, options: Options) -> str | None:
    """The option that is "none of the above", "all of them" or "both", where a text says that in other words."""
    for kind, starts in _KINDS:
        said = kind.match(line)
        if said and not line[said.end() :].strip(" .!*)"):
            same = [at for at, text in enumerate(options.texts) if starts.match(text)]
            return options.name(same) if len(same) == 1 else said[0].strip().lower()
    return None


def read_denied(piece: str, options: Options) -> str | None:
    """What a text denies, as `not B`, or what it says instead: `not B but C`."""
    rather = _RATHER.search(piece.split("\n", 1)[0])
    instead = read_pick(rather[1], options) if rather else None
    if instead and not instead.startswith("not "):
        return instead
    other = read_pick(piece, options)
    return other and f"not {other.removeprefix('not ')}"


def read_mark(piece: str, line: str, options: Options) -> str | None:
    """The option whose letter or number a text begins with; its text may follow, that of another contradicts it."""
    number = _NUMBERED.match(line)
    if number and not options.find(number[1]):
        at = int(number[1]) - 1
        return options.name([at]) if 0 <= at < len(options.names) else number[1]
    mark = FIRST.match(line)
    if mark is None:
        return None
    letter = next(group for group in mark.groups() if group).upper()
    if letter not in options.names:
        return None if mark["weak"] else letter
    at = options.names.index(letter)
    rest = SEPARATOR.sub("", piece[mark.end() :])
    said = options.find(rest) or options.find(rest.split("\n", 1)[0])
    if said:
        return options.name([at] if at in said else [at, *said])
    after = line[mark.end() :]
    begins = options.start(rest)
    if begins:
        after = rest[begins[1] :]
    others = [] if begins is None or begins[0] == at else [begins[0]]
    return options.name([at, *others, *_read_joined(after, options)])


def _read_joined(after: str, options: Options) -> list[int]:
    """The further options that stand beside the first one, as in "A or B"; not those in what explains the choice."""
    after = after.lstrip(")*]: \t")
    reasons = _REASONS.search(after)
    after = after[: reasons.start()] if reasons else after
    found = []
    if options.lettered:
        later = [one for one in _LATER.finditer(after) if not NOT_AFTER.match(after, one.end())]
        letters = [next(group for group in one.groups() if group).upper() for one in later]
        found = [options.names.index(letter) for letter in letters if letter in options.names]
    joined = JOINED.match(after)
    start = options.start(after[joined.end() :]) if joined else None
    return [*found, start[0]] if start else found


def is_brackets(text: str) -> bool:
    return bool(text) and set(text) <= set("()[]{}<>")
