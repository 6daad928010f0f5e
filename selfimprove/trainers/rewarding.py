"""What texts are worth: the one callable by which stages and trainers ask a reward model, a rule or several of them.

A reward model reads a text in training exactly as it does here: `encode_text` is the only place where a prompt and a
completion become its tokens. TRL's trainers would append an end token and a begin token where they train one, and
neither where they ask it, and the reward is read at a token that its head was never trained on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from selfimprove.errors import ModelError, TrainingError
from selfimprove.prompting.prompts import encode_completion, encode_prompt
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.records import Problem, hash_text
from selfimprove.records.printable import one_line
from selfimprove.trainers.rewards import find_reward

READING = "reward.json"
"""In the folder of a reward model: how it reads texts."""
OTHER_TOKENIZER = (
    "this reward model has another tokenizer than the model whose texts it is to score; train one from that model"
)
LARGEST = 1e30
"""No reward is larger in size: trainers hold rewards as float32, and means and spreads are made of them."""
RULES = ("rising",)
"""The rules of this package, by name; others are declared by `declare_reward`."""
Combine = Literal["mean", "min"]
"""How the rewards of several models become one: their mean, or the lowest (Coste et al., 2023)."""


class RewardFunction(Protocol):
    """Gives each completion a value, higher being better, or None where it is undecided.

    The three sequences are as long; a prompt is the text that the model was given, a chat template's tokens in it.
    """

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]
    ) -> list[float | None]: ...


class Reading(BaseModel):
    """How a reward model reads texts, and what is made of the number that it gives."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    chat: bool
    """Whether prompts are written by a chat template, which brings its own special tokens."""
    end: int
    """The token after each completion."""
    pad: int
    """Any other token: the model reads its reward at the last one that is not this."""
    longest: int
    """Longer texts, in tokens, have no reward."""
    tokenizer: str
    """A hash of the vocabulary."""
    mean: float = 0.0
    scale: float = 1.0
    """Mean and standard deviation of what it gave the texts that it was trained on; rewards are told in these units."""


def encode_text(tokenizer: Tokenizer, prompt: str, completion: str, reading: Reading) -> list[int]:
    """The tokens of a prompt and a completion as a reward model reads them, in training and afterwards."""
    ids = encode_prompt(tokenizer, prompt, chat=reading.chat)
    return [*ids, *encode_completion(tokenizer, completion, reading.end)]


def hash_vocabulary(tokenizer: Tokenizer) -> str:
    """A hash of what a tokenizer's numbers mean."""
    return hash_text(repr(sorted(tokenizer.get_vocab().items(), key=lambda one: one[1])))


def read_reading(folder: str | Path) -> Reading:
    """How the reward model in a folder reads texts; raises ModelError where it holds none."""
    path = Path(folder) / READING
    if not Path(folder).is_dir():
        raise ModelError(f"{folder}: no such folder; 'path' names that of a reward model")
    if not path.is_file():
        raise ModelError(f"{folder}: is no reward model of a run (it has no {READING}); train one with 'reward'")
    try:
        return Reading.model_validate_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({' '.join(str(error).split())[:120]})") from None


def tell_form(folder: str | Path, *, chat: bool) -> str:
    """What is wrong where a reward model, trained by a chat template or not, is asked in the other form."""
    had, given = ("a chat template", "plain prompts")[:: 1 if chat else -1]
    return f"{folder}: this reward model was trained on {had}, and would be asked by {given}"


def check_rewards(values: Sequence[float | None], count: int, name: str) -> list[float | None]:
    """The values that a reward gave, as numbers; raises TrainingError where one is no number, or some are missing."""
    if not hasattr(values, "__len__") or isinstance(values, str):
        raise TrainingError(
            f"the reward '{name}' gave a {type(values).__name__} for {count} texts; it must give a number for each"
        )
    if len(values) != count:
        raise TrainingError(
            f"the reward '{name}' gave {len(values)} values for {count} texts; it must give one for each"
        )
    wrong = next((at for at, one in enumerate(values) if one is not None and not _is_number(one)), None)
    if wrong is not None:
        given = one_line(str(values[wrong]), 40)
        raise TrainingError(
            f"the reward '{name}' gave {given} for text {wrong + 1} of {count}; it must give a number of at most "
            f"{LARGEST:g}, or None where it has nothing to say"
        )
    return [None if one is None else float(one) for one in values]


def _is_number(one: object) -> bool:
    try:
        return bool(abs(one) <= LARGEST)  # type: ignore[arg-type]  # what others' functions give
    except (TypeError, ValueError):
        return False


def rule_function(name: str) -> RewardFunction:
    """A declared reward as a RewardFunction; it is given `question`, `answer`, `task` and `group` of the problems."""
    rule = find_reward(name)

    def ask(prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]) -> list[float | None]:
        columns = {key: [getattr(one, key) for one in problems] for key in ("question", "answer", "task", "group")}
        return check_rewards(rule(prompts, completions, **columns), len(completions), name)

    return ask


def combine_rewards(values: Sequence[Sequence[float | None]], combine: Combine) -> list[float | None]:
    """Of several models' rewards for the same texts one for each; None where any of them has none."""
    found: list[float | None] = []
    for each in zip(*values, strict=True):
        known = [one for one in each if one is not None]
        together = min(known) if combine == "min" and known else sum(known) / len(known) if known else None
        found.append(together if len(known) == len(each) else None)
    return found


def reward_model_function(
    checkpoint: str | Path | Sequence[str | Path],
    *,
    tokenizer: Tokenizer | None = None,
    chat: bool | None = None,
    combine: Combine = "mean",
    batch_size: int = 64,
    device: str = "auto",
    dtype: str = "float32",
    count: Callable[[int], None] | None = None,
) -> RewardFunction:
    """Rewards of the trained reward model in a folder, or of several, in standard deviations from the mean of the texts
    that it was trained on; None for a text that is too long for it.

    `tokenizer` and `chat` are those by which the prompts were written: another one raises ModelError. `count` is told
    the tokens that were read.
    """
    from selfimprove.trainers.reward_model import RewardModel

    folders = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    models = [RewardModel(one, device=device, dtype=dtype, batch_size=batch_size) for one in folders]
    for one in models:
        one.check(tokenizer, chat)

    def ask(prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]) -> list[float | None]:
        given = []
        for one in models:
            values, tokens = one.score(prompts, completions)
            given.append(check_rewards(values, len(completions), str(one.folder)))
            if count:
                count(tokens)
        return combine_rewards(given, combine)

    return ask
