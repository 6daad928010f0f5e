"""An engine: adds by rule, and makes a mistake now and then."""

import random
from collections.abc import Iterator, Sequence

from selfimprove.engines import Completion, Request, Score, Weights, declare_engine
from selfimprove.recipe import Model, Sampling
from selfimprove.recipe.engine_settings import EngineSettings
from selfimprove.tasks.addition import parse_addition, write_flawed


class Adder:
    """Answers `12+34=` column by column; equal requests get equal answers, in whatever order they come."""

    def __init__(self, flaws: float) -> None:
        self.flaws = flaws

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        for index, request in enumerate(requests):
            asked = parse_addition(request.prompt.splitlines()[-1])
            rng = random.Random(request.seed)
            text = write_flawed(int(asked[0]), int(asked[1]), rng, self.flaws) if asked else ""
            yield Completion(index, text, tokens=len(text) + 1, logprob=None, finish="stop")

    def score(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[Score]:
        return [Score(logprob=-float(len(text)), tokens=len(text) + end) for _, text in pairs]

    def close(self) -> None: ...


def load(settings: EngineSettings, model: Model, weights: Weights) -> Adder:
    return Adder(flaws=float(str(settings.options.get("flaws", 0.1))))


declare_engine("adder", load)
