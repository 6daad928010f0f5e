"""What models write instead of an answer: refusals, talk about themselves, the prompt's own words, boilerplate."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

REFUSAL_WORDS = 40  # a text that begins with a refusal and has at most so many words does nothing else
SPREAD = 3  # prompts that share a sentence before it counts as boilerplate
SENTENCE_WORDS = 4  # shorter sentences are shared by chance
SHARE = 0.5  # of a text's characters in shared sentences

_REFUSAL = re.compile(
    r"(?:i(?:'m| am) (?:very |so |really )?sorry,? (?:but )?(?:i |this |that )|"
    r"(?:sorry,? (?:but )?)?i (?:can(?:not|'t| not)|won't|will not|am (?:not able|unable)|'m (?:not able|unable)|"
    r"must (?:decline|refuse)|(?:would|do) (?:rather )?not (?:feel comfortable|want to))|"
    r"(?:as an? (?:ai|assistant|language model)\b[^.]{0,80}?i (?:can(?:not|'t| not)|won't|am (?:unable|not able))))",
    re.IGNORECASE,
)
_ITSELF = re.compile(
    r"\bas an? (?:ai|artificial|assistant|(?:large )?language model)\b|\bi(?:'m| am) an ai\b", re.IGNORECASE
)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")


def _plain(text: str) -> str:
    return text.replace("\u2019", "'").strip()


def refuses(text: str) -> bool:
    """Whether a text begins with a refusal."""
    return _REFUSAL.match(_plain(text)) is not None


def only_refuses(text: str) -> bool:
    """Whether a text refuses and says hardly anything else."""
    return refuses(text) and len(text.split()) <= REFUSAL_WORDS


def speaks_of_itself(text: str) -> bool:
    """Whether a text says "as an AI" or the like."""
    return _ITSELF.search(_plain(text)) is not None


def find_leak(text: str, labels: Iterable[str]) -> str | None:
    """The first of the prompt's labels, such as `Critique Request:`, that stands in a text, in any spacing."""
    squeezed = re.sub(r"\s+", "", text).casefold()
    return next((one for one in labels if re.sub(r"\s+", "", one).casefold() in squeezed), None)


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
