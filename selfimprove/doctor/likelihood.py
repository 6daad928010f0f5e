"""How likely a model finds a fixed text, with and without its begin token before it."""

from dataclasses import dataclass
from typing import Any

from selfimprove.prompting.chat import ChatTemplate
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.prompting.tokenizer import Tokenizer

TEXT = (
    "The old bridge over the river had been closed since the spring, and people who wanted to reach the market on the "
    "other side walked along the bank to the ferry. On Saturday mornings there was a long queue, but nobody seemed to "
    "mind. Children threw stones into the water, and their parents talked about the weather and the price of bread."
)
QUESTION = "Tell me how people cross the river."
UNKNOWN = 0.1  # a larger share of unknown tokens says nothing about a text


@dataclass(frozen=True)
class Likelihood:
    """Nats a token of the text: as prompts are written here, and with the begin token put before them or taken away.

    `chat` is the same for an answer in the chat template's form. None is what cannot be measured: the model knows no
    begin token, or the text has none of its letters.
    """

    plain: float | None = None
    plain_other: float | None = None
    chat: float | None = None
    chat_other: float | None = None


def measure(model: Any, tokenizer: Tokenizer, template: ChatTemplate | None) -> Likelihood:
    """Measure a loaded model."""
    ids = encode_prompt(tokenizer, TEXT, chat=False)
    begin, unknown = tokenizer.bos_token_id, tokenizer.unk_token_id
    if unknown is not None and ids.count(unknown) > UNKNOWN * len(ids):
        return Likelihood()

    def other(prompt: list[int]) -> list[int] | None:
        if begin is None:
            return None
        return prompt[1:] if prompt[:1] == [begin] else [begin, *prompt]

    def score(prompt: list[int] | None, skip: int) -> float | None:
        return None if prompt is None else _score(model, prompt, skip)

    # The same tokens are counted both ways: all but the first, which nothing stands before.
    counted = len(ids) - (ids[:1] == [begin]) - 1
    found = Likelihood(score(ids, counted), score(other(ids), counted))
    if template is None:
        return found
    prompt = encode_prompt(tokenizer, template([{"role": "user", "content": QUESTION}]), chat=True)
    answer = encode_prompt(tokenizer, TEXT, chat=True)
    changed = other(prompt)
    return Likelihood(
        found.plain,
        found.plain_other,
        score([*prompt, *answer], len(answer)),
        None if changed is None else score([*changed, *answer], len(answer)),
    )


def _score(model: Any, ids: list[int], last: int) -> float:
    """Nats a token of the last tokens."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0, -last - 1 : -1].float()
    targets = torch.tensor(ids[-last:], device=logits.device)
    return float(-logits.log_softmax(1).gather(1, targets[:, None]).double().mean())
