"""What a user can put right: each error is one line that says where, what, and what to do next."""

import re
from collections.abc import Iterable


class SelfImproveError(Exception):
    """A mistake or a fault that is not a bug; the command line prints it in one line and exits with 2."""


class RecipeError(SelfImproveError):
    """A recipe, an override or an exemplar file is not valid."""


class TaskError(SelfImproveError):
    """Problems could not be loaded, or training and held-out problems overlap."""


class ModelError(SelfImproveError):
    """A model or its tokenizer could not be loaded or built."""


class EngineError(SelfImproveError):
    """An engine cannot be started or reached, or does not serve the weights that it should."""


class UnreachableError(EngineError):
    """No server answered for too long; what is finished is kept, and the run can go on once one answers."""


class TrainingError(SelfImproveError):
    """A training stage ended without a usable checkpoint."""


class VerifierError(SelfImproveError):
    """A verifier could not be started, or responses could not be read."""


class ClusterError(SelfImproveError):
    """Ray is missing, cannot be reached, or lost its workers again and again."""


class StoreError(SelfImproveError):
    """A run on disk is locked, damaged, full, or belongs to another recipe."""


OTHER_NAMES = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulate",
    "grad_accum": "accumulate",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "max_steps": "steps",
    "num_steps": "steps",
    "lr_scheduler_type": "schedule",
    "scheduler": "schedule",
    "max_grad_norm": "clip",
    "grad_clip": "clip",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "save_steps": "checkpoint_every",
    "optim": "optimizer",
    "wd": "weight_decay",
    "r": "rank",
    "lora_r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "targets",
    "max_new_tokens": "max_tokens",
    "max_completion_length": "max_tokens",
    "num_generations": "samples",
    "num_samples": "samples",
    "n": "samples",
    "loss_type": "loss",
    "beta": "kl",
    "kl_coef": "kl",
    "epsilon": "clip_ratio",
    "cliprange": "clip_ratio",
    "num_iterations": "passes",
    "scale_rewards": "scale",
    "reward_weights": "rewards",
    "center_rewards_coefficient": "center",
    "completion_only_loss": "loss_on",
    "assistant_only_loss": "loss_on",
    "warmup_ratio": "warmup_steps",
    "model_name_or_path": "path",
    "file": "path",
    "torch_dtype": "dtype",
    "precision": "dtype",
    "iterations": "rounds",
    "num_rounds": "rounds",
    "test_size": "held_out",
    "stop_sequences": "stop",
    "backend": "engine",
}
"""What settings are called elsewhere (TRL, PEFT, transformers, vLLM), by the name that they have here."""
LISTED = 40  # known names that a message lists


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name is meant, or list the known ones where they are few."""
    known = sorted(known)
    near = nearest(name, known)
    if near:
        return f"; did you mean '{near}'?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= LISTED else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is sensibly meant: what others call by this name, one that begins so, or one that is a slip
    away; None where none is."""
    known, name = sorted(known), name[:100]
    other = OTHER_NAMES.get(name)
    if other in known:
        return other
    slips = {one: _slips(name, one) for one in known}
    best = min(slips, key=lambda one: (slips[one], one), default=None)
    # Of two letters a slip leaves one: 'lr' is no misspelt 'rl'.
    if best is not None and slips[best] <= max(1, min(len(name), len(best)) // 3) and 2 * slips[best] < len(name):
        return best
    begun = [one for one in known if len(name) >= 3 and one.startswith(name)]
    return begun[0] if len(begun) == 1 else None


def _slips(name: str, other: str) -> int:
    """Letters to add, leave out, change or swap with the next one (the optimal string alignment distance)."""
    if abs(len(name) - len(other)) > len(name) // 4 + 1:
        return len(name) + len(other)
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(name, 1):
        last, before, row = before, row, [at]
        for place, mine in enumerate(other, 1):
            cost = min(before[place] + 1, row[place - 1] + 1, before[place - 1] + (letter != mine))
            if at > 1 and place > 1 and letter == other[place - 2] and name[at - 2] == mine:
                cost = min(cost, last[place - 2] + 1)
            row.append(cost)
    return row[-1]


def not_known(noun: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, with the nearest one; where none is near, it may be of a file not imported."""
    suggestion = suggest(name, known)
    if suggestion.startswith("; did you mean"):
        return f"unknown {noun} '{name}'{suggestion}"
    return f"the {noun} '{name}' is not known; --import the file that declares it{suggestion}"


EMPTY = "must not be empty"
PLAIN = (
    (r"(Input should be|Unable to parse input string as) an? (valid )?integer.*", "must be a whole number"),
    (r"Input should be a valid number.*", "must be a number"),
    (r"Input should be a finite number", "must be a finite number"),
    (r"Input should be a valid boolean.*", "must be true or false"),
    (r"Input should be a valid (string|path)|Input is not a valid path.*", "must be a text"),
    (r"Input should be a valid (list|tuple|set|frozenset)", "must be a list"),
    (r"Input should be a valid dictionary.*|Input should be an object", "must be a group of settings"),
    (r"Input should be None", "must be left out"),
    (r"input was not a valid JSON value", "must be a number, a text, true, false, a list or a group of these"),
    (r"Input should be greater than or equal to (.*)", r"must be at least \1"),
    (r"Input should be less than or equal to (.*)", r"must be at most \1"),
    (r"Input should be greater than (.*)", r"must be more than \1"),
    (r"Input should be less than (.*)", r"must be less than \1"),
    (r"Input should be ('.*)", r"must be \1"),
    (r"\w+ should have at least 1 (character|item).*", EMPTY),
    (r"\w+ should have at (least|most) (\d+) character.*", r"must have at \1 \2 characters"),
    (r"\w+ should have at (least|most) (\d+) item.*", r"must have at \1 \2 entries"),
    (r"String should match pattern '\^\[0-9\]\+\[KMG\]\$'", "must be digits and then K, M or G, such as 512M or 8G"),
    (r"String should match pattern '(.*)'", r"must be of the form \1"),
)
"""What the library that checks values says, and plain words for it."""


def plain_words(message: str) -> str:
    """What is wrong with a value, in words that need no knowledge of the program."""
    for said, words in PLAIN:
        if found := re.fullmatch(said, message, re.DOTALL):
            return found.expand(words)
    return message.removeprefix("Value error, ")
