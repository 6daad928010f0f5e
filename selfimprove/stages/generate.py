"""Sample rationales."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from selfimprove.engines import Engine, Request
from selfimprove.recipe import Sampling
from selfimprove.records import Origin, Problem, Rationale, derive_seed, replace_surrogates

VERSION = 1


@dataclass(frozen=True)
class Writer:
    """Who writes for which round: what every rationale of a stage has in common."""

    engine: Engine
    checkpoint: str
    extract_answer: Callable[[Problem, str], str | None]
    stop: tuple[str, ...]
    round: int
    seed: int
    """The run's seed; each sample's own is derived from it."""


def generate(
    problems: Sequence[Problem],
    *,
    writer: Writer,
    render: Callable[[Problem], str],
    sampling: Sampling,
    samples: int,
    origin: Origin = "sampled",
    purpose: str = "generate",
) -> Iterator[Rationale]:
    """Write `samples` rationales a problem and yield each as it finishes (STaR, section 3.1).

    A sample's random stream depends on the run's seed, the round, the purpose, the problem and the sample's number.
    """
    asked: list[tuple[Problem, int, Request]] = []
    for problem in problems:
        prompt = render(problem)
        for sample in range(samples):
            seed = derive_seed(writer.seed, writer.round, purpose, problem.id, sample)
            asked.append((problem, sample, Request(prompt, seed)))
    for completion in writer.engine.generate([request for _, _, request in asked], sampling, writer.stop):
        problem, sample, request = asked[completion.index]
        text = replace_surrogates(completion.text)
        yield Rationale(
            parents=(problem.id, writer.checkpoint),
            prompt=request.prompt,
            text=text,
            answer=writer.extract_answer(problem, text),
            origin=origin,
            round=writer.round,
            sample=sample,
            seed=request.seed,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            tokens=completion.tokens,
            logprob=completion.logprob,
            finish=completion.finish,
        )
