"""Sample rationales."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from selfimprove.engines import Engine, Request
from selfimprove.recipe import Sampling
from selfimprove.records import Origin, Problem, Rationale, derive_seed, replace_surrogates

VERSION = 1


@dataclass(frozen=True)
class Beginning:
    """What a rationale begins with: the first part of an earlier one."""

    rationale: str
    text: str


@dataclass(frozen=True)
class Writer:
    """Who writes for which round: what every rationale of a stage has in common."""

    engine: Engine
    checkpoint: str
    extract_answer: Callable[[Problem, str, str], str | None]
    """Of a problem, a text and its prompt."""
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
    beginnings: Mapping[str, Beginning] | None = None,
) -> Iterator[Rationale]:
    """Write `samples` rationales a problem and yield each as it finishes (STaR, section 3.1).

    A sample's random stream depends on the run's seed, the round, the purpose, the problem and the sample's number.
    With `beginnings`, by problem, the model only writes what follows them, and tokens and log-probability are of that.
    """
    begins = beginnings or {}
    asked: list[tuple[Problem, int, Request]] = []
    for problem in problems:
        prompt = render(problem)
        given = begins[problem.id].text if problem.id in begins else ""
        for sample in range(samples):
            seed = derive_seed(writer.seed, writer.round, purpose, problem.id, sample)
            asked.append((problem, sample, Request(prompt + given, seed)))
    if not asked:
        return
    for completion in writer.engine.generate([request for _, _, request in asked], sampling, writer.stop):
        problem, sample, request = asked[completion.index]
        begin = begins.get(problem.id)
        given = begin.text if begin else ""
        text = given + replace_surrogates(completion.text)
        prompt = request.prompt.removesuffix(given) if given else request.prompt
        yield Rationale(
            parents=(problem.id, writer.checkpoint, *([begin.rationale] if begin else [])),
            prompt=prompt,
            text=text,
            answer=writer.extract_answer(problem, text, prompt),
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
