"""What models write instead of an answer: refusals, talk about themselves, the prompt's own words, boilerplate."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

REFUSAL_WORDS = 40  # a text that begins with a refusal and has at most this many words does nothing else
REPEATED_WORDS = 6  # in a row are no chance
SPREAD = 3  # prompts that share a sentence before it counts as boilerplate
SENTENCE_WORDS = 4  # shorter sentences are shared by chance
SHARE = 0.5  # of a text's characters in shared sentences
LOOPED_WORDS = 4  # in a row that stand in a text at least three times

_DEED = (
    r"(?:accept|access|advise|agree|aid|allow|answer|assist|comment|complete|comply|condone|continue|create|describe|"
    r"discuss|do (?:so|that|this|it|anything)|encourage|endorse|engage|explain|fulfill?|generate|give|go along|help|"
    r"make (?:that|this|such|any|an?|fun|jokes?)|offer|participate|process|produce|promote|provide|recommend|reply|"
    r"respond|share|spread|suggest|supply|support|take part|talk|teach|tell|write)"
)
_HARMLESS = (
    r"(?:agree more|give up|help (?:it|myself|but|feeling|laughing|noticing|thinking|wondering)|"
    r"recommend [^.!?]{0,40}enough|tell you how (?:glad|grateful|happy|much|proud|sorry))"
)
_UNABLE = (
    r"(?: (?:can ?not|can't|won't|will not)|"
    r"(?: am|'m) (?:unable|not (?:able|allowed|going|here|permitted|willing)))(?: to)?"
)
_BETWEEN = r"(?: (?:\w+ly|also|and|be able to|ever|in good conscience|just|not|or|should|to|will))"
_OPENING = (
    r"(?:(?:i(?:'m| am) (?:\w+ )?(?:sorry|afraid)|sorry|(?:i |my )?(?:\w+ )?apolog(?:i[sz]e|ies)|no|regrettably|"
    r"unfortunately|as an? (?:[\w-]+ ){0,3}?(?:ai|assistant|chatbot|model)\b[^.!?]{0,80}?)[,.;:!]? ?"
    r"(?:[-–—] ?)?(?:but |and |that )?)"
)
_SELF = r"(?:ai|artificial intelligence|(?:(?:ai|large|virtual) )*(?:language model|chatbot))"
_PERSON = r"(?:developer|engineer|enthusiast|expert|researcher|scientist|specialist|student|tool)"
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")


@cache
def _refusal() -> re.Pattern[str]:
    """How a refusal begins. Compiled when it is first asked for: that takes longer than all else that is imported."""
    return re.compile(
        rf"{_OPENING}{{0,3}}(?:"
        rf"(?:(?:this|that|it|what you)\b[^.!?]{{0,80}}?\b)?i{_UNABLE}{_BETWEEN}{{0,4}}"
        rf"(?: (?!{_HARMLESS}){_DEED}\b|[.!,;]|$)|"
        r"i (?:(?:must|have to|need to|will have to) )?(?:\w+ly )?(?:decline|refuse)\b|"
        rf"i(?:'d| would) (?:rather|prefer) not(?: to)?(?: {_DEED}\b|[.!,;]|$)|"
        r"i (?:do not|don't|would not|wouldn't) feel (?:comfortable|right)\b|"
        r"i(?: am|'m) (?:not comfortable|uncomfortable)(?: with)? (?:\w+ing|this|that)\b|"
        rf"i (?:do not|don't) (?:(?:want|wish) to|think (?:that )?i (?:can|should)) {_DEED}\b|"
        r"(?:this|that|it)(?:'s| is) (?:not something|nothing) (?:that )?i(?: can| want| will|(?: am|'m) able))|"
        r"(?:i(?:'m| am) )?(?:\w+ )?sorry,? but (?:this|that|it|what you)\b[^.!?]{0,60}?"
        r"\b(?:illegal|against the law|unethical|inappropriate|wrong|harmful|"
        r"not (?:appropriate|allowed|okay|possible))\b",
        re.IGNORECASE,
    )


@cache
def _itself() -> re.Pattern[str]:
    """What a model says of itself as one."""
    return re.compile(
        # An assistant may be a person: it is one that speaks of itself only where "I" follows.
        rf"\bas an? {_SELF}\b(?! {_PERSON})|\bas an? (?:\w+ )?assistant,? i\b|"
        rf"\bi(?:'m| am) (?:just |only |merely )?an? {_SELF}\b(?! {_PERSON})",
        re.IGNORECASE,
    )


def _plain(text: str) -> str:
    return re.sub("[\u2018\u2019\u02bc]", "'", text).strip()


def refuses(text: str) -> bool:
    """Whether a text begins with a refusal."""
    return _refusal().match(" ".join(_plain(text).lstrip("\"'“*_> \n").split())) is not None


def only_refuses(text: str) -> bool:
    """Whether a text refuses and says hardly anything else."""
    return refuses(text) and len(text.split()) <= REFUSAL_WORDS


def speaks_of_itself(text: str) -> bool:
    """Whether a text says "as an AI" or the like."""
    return _itself().search(" ".join(_plain(text).split())) is not None


def find_leak(text: str, labels: Iterable[str]) -> str | None:
    """The first of the prompt's labels, such as `Critique Request:`, that stands in a text, in any spacing: within a
    line as it is written in the prompt, at the beginning of a line in any case and with the marks of a heading."""
    for label in labels:
        letters = [re.escape(one) for one in re.sub(r"\s", "", label)]
        within, heading = r"\s*".join(letters), r"[\s*_]*".join(letters)
        if re.search(rf"(?<!\w){within}|(?mi:^[ \t>#*_-]{{0,8}}{heading})", text):
            return label
    return None


def repeats(text: str, request: str) -> bool:
    """Whether a text repeats what it was asked: it holds `REPEATED_WORDS` words in a row of the request."""
    return bool(_find_repeated(_words(text), _words(request)))


def _find_repeated(said: Sequence[str], asked: Sequence[str]) -> list[int]:
    """Where runs of words begin that are taken from what was asked."""
    runs = {tuple(asked[at : at + REPEATED_WORDS]) for at in range(len(asked) - REPEATED_WORDS + 1)}
    return [at for at in range(len(said) - REPEATED_WORDS + 1) if tuple(said[at : at + REPEATED_WORDS]) in runs]


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", _plain(text).casefold())


def loops(text: str) -> bool:
    """Whether half or more of a text's words stand in runs of words that it holds at least three times."""
    words = _words(text)
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at in range(len(words) - LOOPED_WORDS + 1):
        places[tuple(words[at : at + LOOPED_WORDS])].append(at)
    looped = {
        at + more for found in places.values() if len(found) >= SPREAD for at in found for more in range(LOOPED_WORDS)
    }
    return len(words) >= SPREAD * LOOPED_WORDS and len(looped) >= SHARE * len(words)


def echoes(prompt: str, text: str) -> bool:
    """Whether half or more of a text's words stand in runs of words that it takes from the prompt."""
    words = _words(text)
    taken = {at + more for at in _find_repeated(words, _words(prompt)) for more in range(REPEATED_WORDS)}
    return bool(taken) and len(taken) >= SHARE * len(words)


def same_text(first: str, second: str) -> bool:
    """Whether two texts differ in nothing but spaces."""
    return first.split() == second.split()


def find_boilerplate(texts: Mapping[str, Sequence[str]]) -> set[str]:
    """The texts that are half or more made of sentences which stand under at least `SPREAD` prompts; `texts` is by
    prompt."""
    prompts: dict[str, set[str]] = defaultdict(set)
    for prompt, written in texts.items():
        for text in written:
            for sentence in _sentences(text):
                prompts[sentence].add(prompt)
    shared = {sentence for sentence, found in prompts.items() if len(found) >= SPREAD}
    return {text for written in texts.values() for text in written if _is_made_of(text, shared)}


def _sentences(text: str) -> list[str]:
    found = [" ".join(one.casefold().split()) for one in _SENTENCE.findall(_plain(text))]
    return [one for one in found if len(one.split()) >= SENTENCE_WORDS]


def _is_made_of(text: str, shared: set[str]) -> bool:
    length = len(" ".join(text.split()))
    return length > 0 and sum(len(one) for one in _sentences(text) if one in shared) >= SHARE * length
