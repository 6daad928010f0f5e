"""Zero-shot, few-shot, CoT and hint prompts, and the text-to-token rule that generation and training share."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict

from selfimprove.errors import RecipeError
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.recipe import Prompting
from selfimprove.recipe.policies import find_policy
from selfimprove.recipe.yaml import read_document, validate
from selfimprove.records import Problem

Chat = Callable[[list[dict[str, str]]], str]
Continuation = str | tuple[int, ...]
"""What follows a prompt: a text, or tokens as they were sampled."""
MARKER_LENGTH = 8  # a hint's opening words count as a leak on their own from this many characters


class Exemplar(BaseModel):
    """A worked problem for few-shot prompts; `rationale` is left out by the styles without chain of thought."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    question: str
    rationale: str = ""
    answer: str


class ExemplarFile(BaseModel):
    """A YAML file of exemplars."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    exemplars: tuple[Exemplar, ...]


def load_exemplars(path: str | None, shots: int | None) -> tuple[Exemplar, ...]:
    """Read a file of exemplars, by path or by name under `policies/`; raises RecipeError with the file and the line."""
    if path is None:
        return ()
    exemplars = validate(ExemplarFile, read_document(find_policy("exemplars", path))).exemplars
    if shots is not None and shots > len(exemplars):
        raise RecipeError(f"{path}: has {len(exemplars)} exemplars, and 'prompt.shots' asks for {shots}")
    return exemplars[:shots]


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into a template in one pass, so that a value that looks like a field stays text."""
    return "".join([values.get(one, f"{{{one}}}") if at % 2 else one for at, one in enumerate(_pieces(template))])


@lru_cache(maxsize=256)
def _pieces(template: str) -> list[str]:
    """Text and names of fields in turn."""
    return re.split(r"\{(\w+)\}", template)


@dataclass(frozen=True)
class PromptFormat:
    """How problems become prompts: the recipe's settings, the exemplars, and the tokenizer's chat template if used."""

    settings: Prompting
    exemplars: tuple[Exemplar, ...] = ()
    chat: Chat | None = None
    own: Mapping[str, tuple[Exemplar, ...]] = field(default_factory=dict)
    """By task: the exemplars that it brings, which go before the recipe's."""
    formats: Mapping[str, "PromptFormat"] = field(default_factory=dict)
    """By task: another format than this one."""

    def render(self, problem: Problem) -> str:
        """The prompt that a problem is sampled with."""
        return self._of(problem)._render(problem, "question")

    def render_hint(self, problem: Problem) -> str:
        """The prompt that shows the answer as a hint, in the exemplars too (STaR, section 3.2 and figure 2)."""
        return self._of(problem)._render(problem, "hint")

    def render_question(self, problem: Problem) -> str:
        """The question alone, without exemplars or trigger: what SFT rows of `prompt: question` hold."""
        form = self._of(problem)
        return form._assemble([(form._block(form.settings.question, problem.question, problem.answer), None)])

    def is_trained_as_shown(self, problem: Problem, shown: bool) -> bool:
        """Whether rows hold the prompt that was sampled with: it is the question alone, or `shown` as it was."""
        form = self._of(problem)
        style = form.settings.style
        return (
            shown
            or style == "zero-shot"
            or (style != "zero-shot-cot" and not form.own.get(problem.task, form.exemplars))
        )

    def render_verbatim(self, problem: Problem) -> str:
        """The question as it stands, as the user's turn where there is a chat template."""
        return self.chat([{"role": "user", "content": problem.question}]) if self.chat else problem.question

    def begin(self, text: str) -> str:
        """A text of the model's as what its turn begins with: after a chat template's prompt special tokens are read as
        such, so those written out in it are broken up, but for marks of reasoning."""
        return neutralize_special_tokens(text, getattr(self.chat, "unmarked", ()))

    def render_turns(self, turns: Sequence[tuple[str, str | None]]) -> str:
        """A conversation of pairs of turns, whose last pair the model completes: by the chat template where there is
        one, else as blocks of text."""
        return self._assemble(turns)

    @property
    def stop(self) -> tuple[str, ...]:
        """What a completion ends before, in any of the formats."""
        return tuple(
            dict.fromkeys([*self.settings.stop, *(mark for one in self.formats.values() for mark in one.stop)])
        )

    def _of(self, problem: Problem) -> "PromptFormat":
        return self.formats.get(problem.task, self)

    def _render(self, problem: Problem, name: Literal["question", "hint"]) -> str:
        template = self.settings.question if name == "question" else self.settings.hint
        turns: list[tuple[str, str | None]] = []
        if self.settings.style.startswith("few-shot"):
            for exemplar in self.own.get(problem.task, self.exemplars):
                block = self._block(template, exemplar.question, exemplar.answer)
                turns.append((block, self.exemplar_completion(exemplar)))
        question = self._block(template, problem.question, problem.answer)
        if self.settings.style == "zero-shot-cot":
            question = f"{question} {self.settings.trigger}"
        return self._assemble([*turns, (question, None)])

    def exemplar_completion(self, exemplar: Exemplar) -> str:
        """What an exemplar shows as the model's turn."""
        answer = fill(self.settings.answer, {"answer": exemplar.answer})
        thinks = self.settings.style.endswith("cot") and exemplar.rationale
        return f"{exemplar.rationale.strip()} {answer}" if thinks else answer

    def _block(self, template: str, question: str, answer: str | None) -> str:
        text = fill(template, {"question": question, "answer": answer or ""})
        return text if self.chat else text + self.settings.cue

    def _assemble(self, turns: Sequence[tuple[str, str | None]]) -> str:
        if self.chat:
            messages = []
            for user, assistant in turns:
                messages.append({"role": "user", "content": user})
                if assistant is not None:
                    messages.append({"role": "assistant", "content": assistant})
            return self.chat(messages)
        blocks = [user if assistant is None else f"{user} {assistant}" for user, assistant in turns]
        return "\n\n".join(blocks)

    def finds_hint(self, problem: Problem, text: str) -> str | None:
        """The part of the hint that stands in a text, or None: its words with this answer, or its opening words."""
        if problem.is_open:
            return None
        lowered = text.casefold()
        markers = _hint_markers(self.settings.hint, self.settings.question, problem.answer or "")
        return next((marker for marker, folded in markers if folded in lowered), None)


@lru_cache(maxsize=256)  # the samples of a problem follow each other
def _hint_markers(hint: str, question: str, answer: str) -> list[tuple[str, str]]:
    """What gives a hint away, with the same casefolded."""
    parts, openings = _hint_openings(hint, question)
    markers = [*(part for whole in parts if (part := whole.replace("\1", answer).strip())), *openings]
    return [(marker, marker.casefold()) for marker in markers]


@lru_cache(maxsize=256)
def _hint_openings(hint: str, question: str) -> tuple[list[str], list[str]]:
    """What the hint adds to a question, with `\\1` for the answer, and the words around any answer that are long enough
    to give a hint away."""
    parts = _difference(fill(hint, {"question": "\0", "answer": "\1"}), fill(question, {"question": "\0"}))
    openings = [piece.strip() for part in parts for piece in part.split("\1")]
    return parts, [piece for piece in openings if len(piece) >= MARKER_LENGTH]


def _difference(whole: str, plain: str) -> list[str]:
    """What the hint's template adds before and after the question."""
    before, _, after = whole.partition("\0")
    plain_before, _, plain_after = plain.partition("\0")
    return [before.removesuffix(plain_before).strip(), after.removeprefix(plain_after).strip()]


def neutralize_special_tokens(text: str, specials: Sequence[str]) -> str:
    """Break up special tokens in a text that people or models wrote, so that only the chat template's own stay."""
    for special in sorted(specials, key=len, reverse=True):
        if len(special) > 1 and special in text:
            text = text.replace(special, f"{special[0]} {special[1:]}")
    return text


MARK = re.compile(
    r"\W*(?:(?:begin|end|start)[ _▁-]of[ _▁-])?(?:seed:)?"
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|scratch_?pad|analysis|reflect(?:ion)?|answer|solution)\W*"
)


@lru_cache(maxsize=4)
def find_marks(tokenizer: Tokenizer) -> dict[str, int]:
    """The special tokens by which a model marks its reasoning and its answer, such as `</think>`, with their ids."""
    marks = [one for one in getattr(tokenizer, "all_special_tokens", ()) if MARK.fullmatch(str(one).casefold())]
    return {str(one): int(tokenizer.convert_tokens_to_ids(one)) for one in marks}


@lru_cache(maxsize=4)
def _find_specials(tokenizer: Tokenizer) -> dict[int, str]:
    """All other special tokens, which have no place in a text."""
    ids = {int(tokenizer.convert_tokens_to_ids(one)): str(one) for one in tokenizer.all_special_tokens}
    return {number: one for number, one in ids.items() if one not in find_marks(tokenizer)}


def _encode_text(tokenizer: Tokenizer, text: str, *, first: bool) -> list[int]:
    """Token ids of a text in which special tokens are text, but for marks of reasoning; `first` has the tokenizer add
    what it adds to a text."""
    marks = find_marks(tokenizer)
    if not any(mark in text for mark in marks):
        return list(tokenizer(text, add_special_tokens=first, split_special_tokens=True)["input_ids"])
    ids: list[int] = []
    for place, piece in enumerate(re.split("(" + "|".join(map(re.escape, marks)) + ")", text)):
        if piece in marks:
            ids.append(marks[piece])
        elif piece or (first and place == 0):
            found = tokenizer(piece, add_special_tokens=first and place == 0, split_special_tokens=True)
            ids += found["input_ids"]
    return ids


def encode_prompt(tokenizer: Tokenizer, prompt: str, *, chat: bool) -> list[int]:
    """Token ids of a prompt.

    A chat template has written its own special tokens (and the contents were neutralized); in a plain prompt
    the tokenizer adds what it always adds, and `<eos>` written out is text.
    """
    if chat:
        return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids = _encode_text(tokenizer, prompt, first=True)
    # A tokenizer that closes every text with the end token would end the prompt before the completion.
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def encode_completion(tokenizer: Tokenizer, completion: Continuation, end: int | None = None) -> list[int]:
    """Token ids of a completion with the token that ends it, the tokenizer's end token without `end`.

    Special tokens written out in it are text, but for the marks by which a model tells its reasoning from its answer.
    """
    ids = _encode_text(tokenizer, completion, first=False) if isinstance(completion, str) else completion
    return [*ids, tokenizer.eos_token_id if end is None else end]


def decode_completion(tokenizer: Tokenizer, ids: Sequence[int], ends: Collection[int], stop: Sequence[str] = ()) -> str:
    """The text of sampled tokens up to a stop string or the token that ended it.

    Marks of reasoning stay as they are; other special tokens are shown, and broken up so that they remain text.
    """
    written = list(ids[:-1] if ids and ids[-1] in ends else ids)
    text = cut_at_stop(tokenizer.decode(written, skip_special_tokens=False), stop)
    specials = _find_specials(tokenizer)
    there = {specials[one] for one in written if one in specials}
    return neutralize_special_tokens(text, [*there]) if there else text


def find_written(tokenizer: Tokenizer, ids: Sequence[int], ends: Collection[int], text: str) -> tuple[int, ...] | None:
    """Of sampled tokens those whose text this is, as `decode_completion` gave it; None where it ends within a token, or
    where a special token was broken up in it."""
    written = list(ids[:-1] if ids and ids[-1] in ends else ids)
    while len(said := str(tokenizer.decode(written, skip_special_tokens=False))) > len(text) and written:
        written.pop()  # of a stop string, at which generation ends
    return tuple(written) if said == text else None


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Cut a text before the first of the stop strings."""
    ends = [at for at in (text.find(mark) for mark in stop) if at >= 0]
    return text[: min(ends)] if ends else text
