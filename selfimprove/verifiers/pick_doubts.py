"""What the words around a letter make of it: one of two that fit, one of two that are compared, asked for, supposed."""

import re

from selfimprove.verifiers.hedges import AFTER
from selfimprove.verifiers.options import Options

MAX_MARKS = 100  # of a letter that a text names more often, the last ones are looked at
_MARK = r"[(\[]?(?<![\w'’])([A-Z])(?![\w'’])[)\]]?"
_LETTER = r"[(\[]?[A-Z][)\]]?"
_LETTERS = rf"{_LETTER}(?:, {_LETTER}){{0,5}},? (?:and|or|vs\.?|&) {_LETTER}"
_FITS = r"(?:right|correct|true|valid|possible|plausible|acceptable|likely|fine|good|an? (?:right |correct )?answer)"
_DOES = r"(?:does|is|works|fits|holds|applies|qualifies|(?:would|could|can|might|may|will)(?: be| work| fit)?)"
# Two that are compared are not two that are picked: `Between B and D, B fits better`.
_AMONG = re.compile(
    rf"(?<!\w)(?:[Bb]etween|[Oo]f|[Oo]ut of|[Aa]mong|[Cc]omparing) (?:the )?(?:options? )?{_LETTERS}(?:, |: )(?=\S)"
)
# What a sentence ends on and only says that another one is not it: `B, not C`, `B fits, but C does not`.
_REJECTED = re.compile(
    rf"(?<=[A-Z)\]a-z])(?:(?:(?:, (?:and )?| \(| and |(?<=\b[A-Z]) |(?<=[)\]]) )not|,? (?:rather than|instead of))"
    rf" (?:option )?{_LETTER}|(?:[,;] (?:and |but |while |whereas )?| (?:and|but|while|whereas) ){_LETTER}"
    r" (?:does|do|is|was|can|could|would|fits|works)"
    rf"(?:n['’]t| not)(?: [a-z]{{1,12}}){{0,2}})\)?(?=\s{{0,3}}(?:[.!;\n]|$))"
)
_ASIDE = re.compile(
    rf"(?:\b[Ii]s it )?(?:[Ee]ither )?(?<![\w'’]){_LETTER}(?:, {_LETTER}){{0,5}},? or {_LETTER}\? (?=\S)"
    rf"|(?<![\w'’]){_LETTERS} are (?:all |both |also )?(?:out|wrong|incorrect|false|eliminated|excluded"
    r"|ruled out)[.;] (?=\S)"
)
_CONFIRMED = re.compile(
    rf"(?:\b[Ii]s (?:it|that|the answer) )?{_MARK}\? (?:[Yy]es|[Yy]ep|[Cc]orrect|[Ii]ndeed)\b"
    r"(?=\s{0,3}(?:[.,!\n]|$))"
)
_AND_SO = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_MARK} (?:{_DOES} )?(?:{_FITS} )?(?:too|as well|likewise)(?=\s{{0,3}}(?:[.,;!)\n]|$))",
        rf"{_MARK} (?:{_DOES} )?(?:also|equally|just as) (?:{_FITS}|works?|fits?|does)\b",
        rf"\b(?:so|as|neither less so) (?:does|is|would|could|can|might|will) {_MARK}",
        rf"\b(?:as well as|along with|together with|and also|plus|just like|actually,?|then again,?) {_MARK}",
        rf"{_MARK} (?:is|would be|seems) (?:just|equally|exactly|every bit|quite) as [a-z]{{3,12}}",
        rf"{_MARK}(?=(?:, {_LETTER}){{0,5}},? (?:and|&) {_LETTER} (?:all |both |each )?(?:fit|work|are {_FITS})\b)",
        rf"[,.…] (?:[Oo]r|(?:but )?(?:maybe|perhaps|possibly)(?: also)?) {_MARK}(?=\s{{0,3}}(?:[.!?,;\n]|$))",
        rf"\b(?:I mean|I meant|or rather|on second thought,?|[Cc]orrection:|[Nn]o:) {_MARK}",
        rf"{_LETTER},? (?:and|&) {_MARK} (?:all |both |each )?(?:fit|work|are {_FITS})\b",
    )
)
_WRONG = re.compile(
    r"\b(?:because|since|less|wrong|incorrect|false|not|never|out|eliminated|excluded|unlikely|impossible)\b|n['’]t\b"
)
_ASKED = re.compile(r"[)\]*\"”'’]{0,3}(?:,? (?:right|maybe|perhaps|no))?\s?\?(?! (?:[Yy]e[ps]|[Cc]orrect|[Ii]ndeed))")
_SENTENCE = re.compile(r"[.!?](?=\s)|\n")
_SUPPOSED = re.compile(
    r"\b(?:(?:wonder(?:ed|ing)? if|whether|(?<!\ba )(?<!\bno )doubt)\b[^.\n]{0,60}"
    r"|(?:if|unless|assuming|supposing|provided)\s[^,.\n]{1,60}?(?:,| then)\s(?:then )?"
    r"(?:it (?:is|must be|would be) )?[(\[]?|suppose (?:that )?(?:it(?:['’]s| is)|the answer is) [(\[]?)$",
    re.IGNORECASE,
)
_WOULD_IF = re.compile(r"[)\]]? would (?:be|have been) [^.\n]{1,60}? if\b")
_BAD = r"wrong|incorrect|false|bad|losing|eliminated|rejected|excluded|ruled[- ]out|inferior"
_ONES = r"(?: (?:ones?|options?|choices?|answers?|picks?|statements?|alternatives?))?"
_DECOY = r"distractors?|decoys?|traps?|red herrings?|second[ -]best|next[ -]best|runners?[ -]up"
# The letter is what a sentence says of the wrong ones, or of one of them: `The odd one out among the wrong ones is B`.
_NAMED_WRONG = re.compile(
    rf"\b(?:({_BAD}|{_DECOY}){_ONES}(?: here)?(?: is| was|:) (?:option )?"
    rf"|(?:of|out of|among|amongst) (?:all )?(?:(?:the|these|those) )?(?:other |remaining |two |three )?"
    rf"({_BAD}|{_DECOY}){_ONES}(?:(?!\b(?:but|so|right|correct|true|answer|therefore|leav\w+)\b)[^.;\n]){{0,60}}?[ ,:])"
    r"[(\[]?$",
    re.IGNORECASE,
)
_SAID_WRONG = re.compile(
    rf"[)\]]? (?:is|was|would be|seems) (?:only |just |merely )?(?:the |an? )[^.,;\n]{{0,30}}?"
    rf"(?:\b(?:of|among|amongst) (?:all )?(?:the |these |those )?({_BAD}){_ONES}|\b({_DECOY}))(?=[\s.!,;]|$)"
)
_ASKS_FOR_WRONG = re.compile(
    r"\b(?:not|except|never|cannot|least|worst|exception|odd|unlike|untrue|incorrectly|second|next)\b|n['’]t\b",
    re.IGNORECASE,
)


def settle_contrasts(text: str) -> str:
    """A text without the letters that it only compares or rejects beside the one it picks; `B? Yes` says B."""
    if text.count("?") == 1 and "? " in text:
        text = _CONFIRMED.sub(r"The answer is \1", text)
    text = _ASIDE.sub("", _AMONG.sub("", text))
    return _REJECTED.sub("", text)


def second_named(text: str, pick: str, options: Options) -> list[str]:
    """The other options that a text says to fit as well as the one that it picks."""
    at = options.names.index(pick)
    if len(re.findall(r"\b[A-Z]\b", options.texts[at])) > 1:  # `A and C both fit` may be what the option says
        return []
    tail, found = text[-2 * AFTER :], []
    for pattern in _AND_SO:
        for one in list(pattern.finditer(tail))[-MAX_MARKS:]:
            begin = max((end.end() for end in _SENTENCE.finditer(tail, 0, one.start())), default=0)
            stop = _SENTENCE.search(tail, one.end())
            if not _WRONG.search(tail, begin, stop.start() if stop else len(tail)):
                found.append(one[1])
    return [one for one in dict.fromkeys(found) if one in options.names and one != pick]


def doubt_pick(text: str, pick: str, options: Options, question: str) -> str:
    """A picked letter, as `B?` where the text only asks for it, supposes it or, unasked, calls it the wrong one."""
    places = list(re.finditer(rf"(?<![\w'’]){pick}(?![\w'’])", text))[-MAX_MARKS:]
    if not places:
        last, option = _SENTENCE.split(text.strip())[-1].casefold(), options.texts[options.names.index(pick)].casefold()
        # An option may be a question itself.
        asked = last.rstrip("*_ ").endswith("?") and option in last and not option.rstrip().endswith("?")
        return f"{pick}?" if asked else pick
    if all(_ASKED.match(text, one.end()) for one in places):
        return f"{pick}?"
    said = next(one for one in reversed(places) if not _ASKED.match(text, one.end()))
    before = _SENTENCE.split(text[max(0, said.start() - 100) : said.start()])[-1]
    if len(places) == 1 and (_SUPPOSED.search(before) or _WOULD_IF.match(text, said.end())):
        return f"{pick}?"
    wrong = _NAMED_WRONG.search(before) or _SAID_WRONG.match(text, said.end())
    named = next((one for one in wrong.groups() if one), "").casefold() if wrong else ""
    asked = not named or named in question.casefold() or _ASKS_FOR_WRONG.search(question)
    return pick if asked else f"{pick}?"
