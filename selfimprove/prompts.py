"""Zero-shot, few-shot, CoT and hint prompts, and the text-to-token rule that generation and training share."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from selfimprove.errors import RecipeError
from selfimprove.recipe import Prompting
from selfimprove.records import Problem
from selfimprove.yaml_files import read_document, validate

Chat = Callable[[list[dict[str, str]]], str]
MARKER_LENGTH = 8  # a hint's opening words count as a leak on their own from this many characters


class Exemplar(BaseModel):
    """A worked problem for few-shot prompts; `rationale` is left out by the styles without chain of thought."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    question: str
    rationale: str = ""
    answer: str


class ExemplarFile(BaseModel):
    """A YAML file of exemplars."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    exemplars: tuple[Exemplar, ...]


def load_exemplars(path: str | None, shots: int | None) -> tuple[Exemplar, ...]:
    """Read a file of exemplars; raises RecipeError with the file and the line."""
    if path is None:
        return ()
    exemplars = validate(ExemplarFile, read_document(Path(path))).exemplars
    if shots is not None and shots > len(exemplars):
        raise RecipeError(f"{path}: has {len(exemplars)} exemplars, and 'prompt.shots' asks for {shots}")
    return exemplars[:shots]


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into a template in one pass, so that a value that looks like a field stays text."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template)


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

    def render_verbatim(self, problem: Problem) -> str:
        """The question as it stands, as the user's turn where there is a chat template."""
        return self.chat([{"role": "user", "content": problem.question}]) if self.chat else problem.question

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
    plain, openings = _hint_openings(hint, question)
    whole = fill(hint, {"question": "\0", "answer": answer})
    markers = [*(part for part in _difference(whole, plain) if part), *openings]
    return [(marker, marker.casefold()) for marker in markers]


@lru_cache(maxsize=256)
def _hint_openings(hint: str, question: str) -> tuple[str, list[str]]:
    """The question without a hint, and the words around any answer that are long enough to give a hint away."""
    plain = fill(question, {"question": "\0"})
    open_ended = fill(hint, {"question": "\0", "answer": "\1"})
    openings = [piece.strip() for part in _difference(open_ended, plain) for piece in part.split("\1")]
    return plain, [piece for piece in openings if len(piece) >= MARKER_LENGTH]


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


def encode_prompt(tokenizer: Any, prompt: str, *, chat: bool) -> list[int]:
    """Token ids of a prompt.

    A chat template has written its own special tokens (and the contents were neutralized); in a plain prompt
    the tokenizer adds what it always adds, and `<eos>` written out is text.
    """
    if chat:
        return list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    ids = list(tokenizer(prompt, split_special_tokens=True)["input_ids"])
    # A tokenizer that closes every text with the end token would end the prompt before the completion.
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def encode_completion(tokenizer: Any, completion: str) -> list[int]:
    """Token ids of a completion with the end token; special tokens written out in it are text."""
    ids = list(tokenizer(completion, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    return [*ids, tokenizer.eos_token_id]


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Cut a text before the first of the stop strings."""
    ends = [at for at in (text.find(mark) for mark in stop) if at >= 0]
    return text[: min(ends)] if ends else text
