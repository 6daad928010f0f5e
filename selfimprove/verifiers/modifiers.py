"""Words beside a number that make another one of it, or no statement: `half of 18`, `18 dozen`, `is it 18?`."""

import re

# Of these words behind a number it is only a part: thousands in the languages of `announcements`, as far as no unit is
# called so. With `mil` and the like of English in `units`.
SCALES = (
    r"[百千万萬億亿兆]|천(?!원)|[만억조](?![가-힣]*년)|mil\b|mill[óo]n(?:es)?\b|millones\b|mila\b|mille\b|milliers\b|milion[ei]\b"
    r"|milh(?:ão|ões|oes)\b|[Tt]ausend\b|[Mm]illionen\b|[Mm]iljoen\b|duizend\b|тысяч|тыс\b|миллион|млн\b|миллиард|млрд\b"
    r"|тисяч|мільйон|tysi[ęą]c|tys\b|bin\b|milyon\b|ngh[ìi]n\b|ngàn\b|triệu\b|tỷ\b|ribu\b|juta\b|ألف|آلاف|مليون|مليار|हज़?ार|लाख|करोड़|हजार"
    r"|هزار|میلیون|אלף|אלפים|מיליון|χιλιάδες|εκατομμύρια|พัน|หมื่น|แสน|ล้าน|হাজার|লাখ|কোটি"
)
_FUNCTIONS = (
    r"(?:half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|(?:square|cube|cubic)"
    r"(?:\s(?:root|number))?|roots?|double|triple|reciprocal|inverse|negative|negation|opposite|factorial|log|logarithm"
    r"|complement|multiples?|(?<!by a\s)factor|factors|divisors?|digit sum|digits|absolute value|percent|per cent"
    r"|fraction)"
)
_CHANGED = re.compile(
    rf"(?:\b(?:twice|double|triple|thrice|quadruple|half|times|plus|minus|{_FUNCTIONS}\s(?:of|than|to))"
    r"|\b(?:divisible|multiplied|divided) by|%\sof"
    r"|\b(?:(?:far|away|different|differs?) from|clos(?:e|er) to|(?:other|different|smaller|larger|bigger) than))"
    r"(?:\s(?:the|about|exactly|as (?:much|many|large|big|old|long) as|(?:the )?number))?\s?[$€£]?\s?$",
    re.IGNORECASE,
)
# After these a number is no answer but its relation to one, or the name of a place.
_RELATED = re.compile(
    r"\b(?:(?:before|after|following|preceding)|(?:in|on|see|from|given (?:in|by)|of) (?:the )?"
    r"(?:page|row|step|equation|eq\.|problem|question|exercise|chapter|line|table|figure|section|part|example))"
    r"\s#?\(?\s?$|^(?:see\s)?(?:page|row|step|equation|problem|exercise|chapter|table|figure|section|example|option)\s$",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"\b(?:page|step|equation|eq\.|problem|exercise|chapter|table|figure|section|example)\s#?\(?\s?$", re.IGNORECASE
)
_DOUBTED = re.compile(
    r"\b(?:whether|(?:not|never|un|isn['’]t|aren['’]t)\s?(?:sure|clear|certain|obvious|true|possible|correct|right)"
    r"|doubts?|used to be|wrong(?:ly)?|incorrect(?:ly)?|mistaken(?:ly)?|mistake (?:is|would be|was)"
    r"|(?:first|initial|naive|early|rough|old|bad) (?:guess|estimate|attempt|thought|idea|answer))\b",
    re.IGNORECASE,
)
_DENIED_LABEL = re.compile(
    r"\b(?:wrong|incorrect|not|false|mistake|error|guess|trap|distractor|counterexample)\b", re.IGNORECASE
)
_CLAUSE = re.compile(r"[.,;!?]\s|\b(?:so|but|therefore|thus|hence|then)\b", re.IGNORECASE)
_DENIED_AFTER = re.compile(
    r"[\s*_]{0,3}(?:,\s?which\s)?(?:is|was|are|were|would be|will be|seems?|looks?|can(?:not|['’]t) be|isn['’]t"
    r"|wasn['’]t|wouldn['’]t be)\s?(?:clearly |obviously |also |just |simply )?"
    r"(?:(?:wrong|incorrect|false|impossible|mistaken|invalid|too (?:high|low|large|small|many|few|much|big))\b"
    r"|not (?:the|right|correct|it\b|possible|an?\b|true|our)|(?<=n['’]t )(?:the|right|correct|it\b|possible|be\b))",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\s{0,4}(?:so,?\s|but\s|and\s|hmm,?\s|wait,?\s){0,2}(?:is|are|was|were|do|does|did|can|could|would|will|shall|should"
    r"|may|might|has|have|what|which|who|how|why|where|when|anything)\b",
    re.IGNORECASE,
)
_WOULD, _IF = re.compile(r"\bwould\b"), re.compile(r"[^.!?\n]{0,40}?\sif\s")
# Looks that cost next to nothing: the words on which `_CHANGED`, and `_RELATED` and `_NAMED` end, and one of which
# each match of `_DOUBTED` or `_WOULD` holds.
_CHANGERS = {
    "twice", "double", "triple", "thrice", "quadruple", "half", "times", "plus", "minus", "of", "than", "to", "by",
    "from", "the", "about", "exactly", "as", "number",
}  # fmt: skip
_RELATIONS = {
    "before", "after", "following", "preceding", "page", "row", "step", "equation", "eq", "problem", "question",
    "exercise", "chapter", "line", "table", "figure", "section", "part", "example", "option",
}  # fmt: skip
_HINTS_OF_DOUBT = (
    "whether", "sure", "clear", "certain", "obvious", "true", "possible", "correct", "right", "doubt", "used to be",
    "wrong", "mistake", "guess", "estimate", "attempt", "thought", "idea", "answer", "would",
)  # fmt: skip
_SENTENCE = re.compile(r"[.!?](?=\s)|\n")
ASKED = re.compile(r"[^.!?\n(]{0,40}\?")  # the end of a sentence that asks for what it announces
# What a text says that has no answer.
_GIVES_UP = re.compile(
    r"\b(?:(?:can(?:not|['’]t)|could(?: not|n['’]t)|unable|not able|impossible|not possible|no way)\s"
    r"(?:(?:to|be|fully|reliably|accurately|exactly|possibly)\s){0,3}(?:determined?|answer(?:ed)?|solved?|known?|calculated?"
    r"|computed?|concluded?|decided?|established?|(?:say|tell) (?:how|what|whether|which)|help (?:you )?with)\b"
    r"|(?:do|does|did)(?: not|n['’]t) (?:know|have enough|provide|specify)\b"
    r"|(?:is|are|was|have|has)(?: not|n['’]t) enough (?:information|data|details)\b"
    r"|(?:not enough|insufficient|too little|missing) (?:information|data|details)\b"
    r"|(?:is|are)(?: not|n['’]t) (?:given|mentioned|provided|specified|known|stated)\b"
    r"|unsolvable|no (?:solution|answer)\b)",
    re.IGNORECASE,
)
_HINTS_OF_GIVING_UP = (
    "can",
    "could",
    "unable",
    "possible",
    "not ",
    "n't",
    "n’t",
    "no ",
    "enough",
    "insuff",
    "miss",
    "unsolv",
)
_GOES_ON = re.compile(
    r"\b(?:but|however|so|therefore|thus|hence|still|assum\w{1,5}|if|then|without|instead|my guess|estimate)\b|=",
    re.IGNORECASE,
)


def _last_word(before: str) -> str:
    """The word that stands before a number, without the signs between them."""
    plain = before[-60:].rstrip().rstrip("$€£#(").rstrip().rstrip(".")
    at = len(plain)
    while at and plain[at - 1].isalpha():
        at -= 1
    return plain[at:].casefold()


def changes(before: str) -> bool:
    """Whether the words before a number make another number of it: `half of`, `the square of`, `twice`."""
    return _last_word(before) in _CHANGERS and _CHANGED.search(before[-60:]) is not None


def relates(before: str) -> bool:
    """Whether the words before a number say that it is near the answer, or where the answer stands: `far from`."""
    return _last_word(before) in _RELATIONS and _RELATED.search(before[-60:]) is not None


def names(before: str) -> bool:
    """Whether a number is the name of a place in a text: `step 3`, `equation (2)`."""
    return _last_word(before) in _RELATIONS and _NAMED.search(before[-40:]) is not None


def doubts(before: str, after: str) -> bool:
    """Whether a sentence says of its number that it is wrong, or that nobody knows whether it is right."""
    if _DENIED_AFTER.match(after[:60]):
        return True
    before = before[-80:]
    lowered = before.casefold()
    if not any(one in lowered for one in _HINTS_OF_DOUBT):
        return False
    clause = _CLAUSE.split(before)[-1]
    return bool(_DOUBTED.search(clause) or (_WOULD.search(clause) and _IF.match(after[:60])))


def is_denied_label(label: str) -> bool:
    """Whether what a line calls its number says that it is not the answer: `First guess: 18`."""
    return _DENIED_LABEL.search(label) is not None


def is_asked(line: str, start: int, end: int) -> bool:
    """Whether a number stands in a question, and not only before a question mark: `Is it 18?`."""
    stop = _SENTENCE.search(line, end, end + 200)
    if not line[end : stop.end() if stop else end + 200].rstrip().endswith("?"):
        return False
    first = max(0, start - 300)
    for found in _SENTENCE.finditer(line, first, start):
        first = found.end()
    return _ASKS.match(line, first) is not None


def gives_up(line: str, start: int, end: int) -> bool:
    """Whether a line says that there is no answer, and not with its number one all the same."""
    first = max(0, start - 300)
    lowered = line[first : end + 200].casefold()
    if not any(one in lowered for one in _HINTS_OF_GIVING_UP):
        return False
    found = list(_GIVES_UP.finditer(line, first, end + 200))
    return bool(found) and (found[-1].start() >= end or not _GOES_ON.search(line, found[-1].end(), start))
