"""Text from a model while it is trained, for reinforcement learning."""

from collections.abc import Sequence
from typing import Any

from selfimprove.engines.attention import NAME
from selfimprove.engines.base import Completion, Request
from selfimprove.engines.models import keeps_state
from selfimprove.engines.rows import Rows
from selfimprove.engines.transformers import STATEFUL, TransformersEngine
from selfimprove.errors import EngineError
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.recipe import Sampling


class LiveEngine(TransformersEngine):
    """The same with a model that is being trained: equal weights, requests and batches give equal texts."""

    def __init__(self, model: Any, tokenizer: Tokenizer, *, batch_size: int, chat: bool) -> None:
        if keeps_state(model.config):
            raise EngineError(f"{tokenizer.name_or_path}: {STATEFUL}")
        self._take(model, tokenizer, batch_size, chat)
        self.sampled: dict[int, list[int]] = {}
        """By the number of the request: all tokens, the one that ended the text among them."""

    def write(self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()) -> list[Completion]:
        """The completions in order, by the model as it is used, not as it is trained (without dropout)."""
        self.sampled.clear()
        training = self.model.training
        self.model.eval()
        if self._shares:
            self.model.set_attn_implementation(NAME)
        try:
            found = {one.index: one for one in self.generate(requests, sampling, stop)}
        finally:
            self.model.train(training)
            if self._shares:  # it is trained with its own
                self.model.set_attn_implementation(self._own_attention)
        return [found[index] for index in range(len(requests))]

    def _completion(self, rows: Rows, row: int, count: int, finish: object, stop: Sequence[str]) -> Completion:
        self.sampled[rows.index[row]] = rows.tokens[row, :count].tolist()
        return super()._completion(rows, row, count, finish, stop)
