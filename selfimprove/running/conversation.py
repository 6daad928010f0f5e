"""A conversation with a checkpoint: its turns, how they become a prompt, and the answer piece by piece."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from selfimprove.engines.models import load_chat
from selfimprove.engines.stream import Streamer
from selfimprove.prompting.chat import ChatTemplate
from selfimprove.prompting.prompts import PromptFormat, load_exemplars
from selfimprove.recipe import Sampling
from selfimprove.records import Problem
from selfimprove.running.find_model import find_checkpoint
from selfimprove.running.serve import choose_weights

TASK = "prompts/chat"  # what is asked in a conversation is an open prompt


@dataclass
class Speaker:
    """A checkpoint that is spoken with.

    With a chat template it is shown the turns before; a base model is asked each question alone, in the form in which
    its run asks open prompts.
    """

    name: str
    streamer: Streamer
    template: ChatTemplate | None
    form: PromptFormat | None
    turns: list[dict[str, str]] = field(default_factory=list)
    forgotten: int = 0
    """Turns that no longer fit."""

    @property
    def stop(self) -> Sequence[str]:
        return self.form.stop if self.form else ()

    def ask(self, question: str, sampling: Sampling, seed: int) -> Iterator[str]:
        """The pieces of the answer; it counts as said however far it was read. Raises ModelError."""
        prompt = self._prompt(question, sampling.max_tokens)
        said: list[str] = []
        try:
            for piece in self.streamer.write(prompt, sampling, stop=self.stop, seed=seed):
                said.append(piece)
                yield piece
        finally:
            if self.template:
                self.turns += [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": "".join(said).strip()},
                ]

    def forget(self) -> None:
        """Begin anew."""
        self.turns.clear()
        self.forgotten = 0

    def _prompt(self, question: str, room: int) -> str:
        if self.template is None:
            problem = Problem(question=question, answer=None, task=TASK)
            return self.form.render(problem) if self.form else question
        while True:
            prompt = self.template([*self.turns, {"role": "user", "content": question}])
            if not self.turns or self.streamer.count(prompt) + room <= self.streamer.longest:
                return prompt
            del self.turns[:2]
            self.forgotten += 2


def open_speaker(target: str, runs: Path, *, dtype: str | None = None) -> Speaker:
    """Load a run's best checkpoint, one of its rounds, or a model; raises StoreError, ModelError."""
    weights, model = choose_weights(target, runs, dtype)
    found = find_checkpoint(target, runs)
    folder = found[0] if found else None
    recipe = folder.recipe() if folder else None
    chat = None
    if recipe is None or recipe.prompt.chat == "auto":
        chat = load_chat(weights.path, folder.path if folder else None)
    form = None
    if recipe and chat is None:
        settings = recipe.open_prompt or recipe.prompt
        form = PromptFormat(settings, load_exemplars(settings.exemplars, settings.shots))
    streamer = Streamer(replace(weights, chat=chat is not None), model)
    return Speaker(target, streamer, chat, form)
