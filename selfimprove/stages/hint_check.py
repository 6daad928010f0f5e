"""No prompt with a hint is trained: what is looked at before a round's examples are."""

from collections.abc import Callable, Iterable
from functools import cached_property

from selfimprove.prompting.prompts import PromptFormat
from selfimprove.records import Example, Problem
from selfimprove.stages.earlier import fold


class HintCheck:
    """Counts trained prompts that are neither exactly the unhinted prompt of a problem nor one that a sample was given;
    a round with one must not train.

    `otherwise` counts those that a sample was given and that are written in another way now: the model's chat template
    was changed since.
    """

    def __init__(
        self,
        prompts: PromptFormat,
        problems: Iterable[Problem],
        sampled: Callable[[], Iterable[str]] = tuple,
        others: Callable[[], Iterable[Problem]] = tuple,
    ) -> None:
        """`problems` is gone over again where a prompt is not a question alone; `others` gives further problems and
        `sampled` the prompts of samples, and each is called where one is needed."""
        self._prompts, self._problems, self._sampled, self._further = prompts, problems, sampled, others
        self._questions = {fold(prompts.render_question(problem)) for problem in problems}
        self.checked = self.hinted = self.otherwise = 0
        self._last, self._wrong, self._other = "", False, False  # the samples of a problem follow each other

    @cached_property
    def _shown(self) -> set[bytes]:
        return {fold(self._prompts.render(problem)) for problem in self._problems}

    @cached_property
    def _of_others(self) -> set[bytes]:
        others = self._further()
        return {fold(write(one)) for one in others for write in (self._prompts.render_question, self._prompts.render)}

    @cached_property
    def _given(self) -> set[bytes]:
        return {fold(one) for one in self._sampled()}

    def see(self, example: Example) -> None:
        if example.prompt is not self._last:
            prompt = fold(example.prompt)
            self._last = example.prompt
            unknown = prompt not in self._questions and prompt not in self._shown and prompt not in self._of_others
            self._other = unknown and prompt in self._given
            self._wrong = unknown and not self._other
        self.checked += 1
        self.hinted += self._wrong
        self.otherwise += self._other
