"""The rows of a batch while the transformers engine writes them, and how their next tokens are chosen."""

from dataclasses import dataclass

import torch

from selfimprove.engines.attention import Span
from selfimprove.engines.grouping import Beginnings
from selfimprove.recipe import Sampling


@dataclass
class Rows:
    """A batch under way; everything but the buffers is indexed by the row's place in the batch."""

    index: list[int]
    uniform: torch.Tensor  # [rows, max_tokens] draws in [0, 1)
    position: torch.Tensor  # [rows] position of the next token
    mask: torch.Tensor | None  # [rows, capacity], None where nothing is padded
    tokens: torch.Tensor  # [rows, max_tokens] what was written
    logprob: torch.Tensor  # [rows] float64
    each: torch.Tensor | None  # [rows, max_tokens] of each token, where they are kept
    group: list[int]  # what each begins with
    spans: list[Span]

    def select(self, rows: torch.Tensor, beginnings: Beginnings) -> "Rows":
        keep = rows.tolist()
        group = [self.group[row] for row in keep]
        return Rows(
            [self.index[row] for row in keep],
            self.uniform[rows],
            self.position[rows],
            None if self.mask is None else self.mask[rows],
            self.tokens[rows],
            self.logprob[rows],
            None if self.each is None else self.each[rows],
            group,
            beginnings.spans(group),
        )


def choose(logits: torch.Tensor, sampling: Sampling, draws: torch.Tensor | None) -> torch.Tensor:
    """Choose a token a row [rows] from logits [rows, vocabulary]: greedy, or by inverting the distribution at `draws`.

    Inverting the cumulative distribution takes one uniform number a token, so a row's draw does not depend on others.
    """
    if draws is None:
        return logits.max(1).indices  # the first of equal ones, as `argmax` gives, in 0.6 of its time
    probabilities = (logits / sampling.temperature).softmax(1)
    if sampling.top_p < 1.0:
        ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
        outside = ordered.cumsum(1) - ordered >= sampling.top_p
        probabilities = probabilities.masked_fill(outside.scatter(1, order, outside), 0.0)
    cumulative = probabilities.double().cumsum(1)
    at = torch.searchsorted(cumulative, (draws[:, None] * cumulative[:, -1:]), right=True)[:, 0]
    return at.clamp(max=logits.shape[1] - 1)
