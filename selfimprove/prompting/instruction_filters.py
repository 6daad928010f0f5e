"""Which tasks and problems that a model proposes are turned away, and why (Self-Instruct; Wang et al., 2023, section
2.2), and how different those are that stay."""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from functools import cache

from selfimprove.prompting.instructions import PROPOSE
from selfimprove.prompting.rouge import Nearest, words_of

KEPT = "kept"
CUT_OFF = "cut off"
EMPTY = "empty"
TOO_SHORT, TOO_LONG = "too short", "too long"
NO_TEXT = "not a matter of text"
PROGRAM = "asks for a program"
NO_BEGINNING = "begins with no letter"
OF_THE_PROMPT = "repeats the prompt"
ALIKE = "like another one"
ENOUGH = "enough were kept"
NO_NUMBER = "holds no number"
NO_QUESTION = "asks nothing"
HAS_ANSWER = "states its answer"
HELD_OUT = "held out"
NO_FORM = "not of the form asked for"
REPEATS = "the output repeats the task"
UNFINISHED = "ends in the middle"
SAME = "the same instance again"
OTHER_OUTPUT = "the same input with another output"

FEWEST_WORDS, MOST_WORDS = 4, 150
# What a model of text alone cannot serve; the published list.
BEYOND_TEXT = re.compile(r"\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE)
MOST_ALIKE = 0.7
_PHRASE_ENDS = re.compile(
    r"[^\w\s'-]|\b(?:about|above|after|against|and|as|at|before|below|between|but|by|during|for|from|how|if|in|into|"
    r"is|are|of|on|or|over|so|than|that|through|to|under|until|using|what|when|where|whether|which|while|who|whose|why|"
    r"with|without)\b"
)
_NO_VERB = frozenset(
    ("a", "an", "the", "what", "why", "how", "who", "when", "where", "which", "is", "are", "do", "does", "can", "if",
     "in", "you", "i", "there", "for", "to", "this", "that", "it", "of", "and", "on", "at", "by", "with")
)  # fmt: skip
GRAM = 3


def why_not_instruction(text: str) -> str:
    """Why a proposed instruction is turned away by itself, or nothing."""
    if why := _why_not_length(text, FEWEST_WORDS):
        return why
    if BEYOND_TEXT.search(text):
        return NO_TEXT
    if text.casefold().startswith("write a program"):
        return PROGRAM
    if text[0] in string.punctuation or not text[0].isascii():
        return NO_BEGINNING
    return _why_not_asked(text, PROPOSE)


def why_not_problem(text: str, *, numbers: bool, questions: bool, begin: str) -> str:
    """Why a proposed problem is turned away by itself, or nothing; with `numbers` and `questions` where it holds none
    of them. `begin` is the prompt."""
    if why := _why_not_length(text, 1):
        return why
    if numbers and not any(one.isdecimal() for one in text):
        return NO_NUMBER
    if questions and not _QUESTION.search(text) and not _REQUEST.match(text):
        return NO_QUESTION
    if _ANSWER.search(text):
        return HAS_ANSWER
    return _why_not_asked(text, begin)


def _why_not_length(text: str, fewest: int) -> str:
    words = len(text.split())
    if not text.strip():
        return EMPTY
    return TOO_SHORT if words < fewest else TOO_LONG if words > MOST_WORDS else ""


def _why_not_asked(text: str, begin: str) -> str:
    return OF_THE_PROMPT if _sentences(begin).find(text)[0] > MOST_ALIKE else ""


@cache
def _sentences(begin: str) -> Nearest:
    """What a proposal must not repeat: each sentence of the prompt, and all of it."""
    found = Nearest()
    found.extend([*re.split(r"(?<=\.)\s", begin), begin])
    return found


_QUESTION = re.compile(r"[?？؟]\W*$")
_REQUEST = re.compile(
    r"(?:add|calculate|compute|convert|count|determine|divide|estimate|evaluate|express|factor|find|multiply|round"
    r"|simplify|solve|subtract|what|work out|write|how)\b",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"\b(?:answer|solution)\b\s*(?:[:=]|is\b)|\\boxed|####|=\s*\d+\W*$", re.IGNORECASE)


def why_not_instance(instruction: str, given: str, output: str) -> str:
    """Why an instance is turned away by itself, or nothing."""
    if not output:
        return EMPTY
    if _plain(output) in map(_plain, (instruction, given, f"{instruction} {given}")):
        return REPEATS
    return UNFINISHED if given.endswith((":", "：")) or output.endswith((":", "：")) else ""


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def why_not_together(instances: Sequence[tuple[str, str]]) -> list[str]:
    """For each of the instances of an instruction why it is turned away beside the others, or nothing: the same input
    with another output drops all that have this input, and what stands there twice counts once."""
    outputs: dict[str, set[str]] = {}
    for given, output in instances:
        outputs.setdefault(given, set()).add(output)
    seen: set[tuple[str, str]] = set()
    found = []
    for one in instances:
        found.append(OTHER_OUTPUT if len(outputs[one[0]]) > 1 else SAME if one in seen else "")
        seen.add(one)
    return found


# --- diversity -------------------------------------------------------------------------------------------------


def verb_and_noun(text: str) -> tuple[str, str]:
    """How an instruction begins and the last word of the phrase that follows, as a rule of thumb for its verb and its
    object: "Write a short story about dogs" gives write, story; empty where it does not begin so.

    It knows no grammar.
    """
    words = re.findall(r"[A-Za-z'-]+", text[:200])
    if not words or words[0].casefold() in _NO_VERB:
        return "", ""
    verb = words[0].casefold()
    after = text[text.index(words[0]) + len(words[0]) :][:200].casefold().lstrip()
    phrase = re.findall(r"[a-z'-]+", after[: end.start()] if (end := _PHRASE_ENDS.search(after)) else after)
    found = [one for one in phrase if one not in _NO_VERB]
    return verb, found[-1] if found else ""


def grams_of(text: str, size: int = GRAM) -> Set[tuple[str, ...]]:
    """The runs of words of a text."""
    words = words_of(text)
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def share_of_new(texts: Iterable[str], before: Iterable[str]) -> float:
    """How many of the runs of three words in texts stand in none of those before."""
    known = {gram for text in before for gram in grams_of(text)}
    found = {gram for text in texts for gram in grams_of(text)}
    return len(found - known) / len(found) if found else 0.0


def most_common(pairs: Iterable[tuple[str, str]], most: int) -> list[tuple[str, str, int]]:
    """Verbs and nouns that stand together most often, with their counts."""
    counts = Counter(one for one in pairs if all(one))
    return [(*pair, count) for pair, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:most]]
