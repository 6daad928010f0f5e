"""Sample rationales."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import NonNegativeInt, PositiveInt

from selfimprove.engines import Request
from selfimprove.recipe import Sampling
from selfimprove.recipe.flow import flow_of
from selfimprove.records import Origin, Problem, Rationale, Record, Revision, derive_seed, replace_surrogates
from selfimprove.settings import Settings, unhashed
from selfimprove.stages.base import SHOWN, Ahead, Cost, Desk, Look, Stage, Writer, chunks


class Generate(Sampling):
    """Sample rationales (STaR, section 3.1)."""

    samples: PositiveInt = 2
    """Rationales sampled for each problem."""
    kl_samples: NonNegativeInt = unhashed(
        0, "score n of a round's samples by the model before round 1 too, to estimate the KL divergence from it"
    )
    part_size: PositiveInt = 256
    """Problems in a part."""


@dataclass(frozen=True)
class Beginning:
    """What a rationale begins with: the first part of an earlier one."""

    rationale: str
    text: str
    wrong: str = ""
    """The step that follows there, where it is wrong."""


def generate(
    problems: Sequence[Problem],
    *,
    writer: Writer,
    render: Callable[[Problem], str],
    sampling: Sampling,
    samples: int,
    origin: Origin = "sampled",
    purpose: str = "generate",
    beginnings: Mapping[str, Sequence[Beginning]] | None = None,
    first: int = 0,
) -> Iterator[Rationale]:
    """Write `samples` rationales a problem and yield each as it finishes (STaR, section 3.1).

    A sample's random stream depends on the run's seed, the round, the purpose, the problem and the sample's number.
    With `beginnings`, by problem, the model only writes what follows them, and tokens and log-probability are of that:
    `samples` for each beginning, in their order. `first` is the first sample's number.
    """
    asked: list[tuple[Problem, int, Beginning | None, Request]] = []
    for problem in problems:
        prompt = render(problem)
        begins: Sequence[Beginning | None] = (beginnings or {}).get(problem.id) or [None]
        for at in range(len(begins) * samples):
            begin, sample = begins[at // samples], first + at
            seed = derive_seed(writer.seed, writer.round, purpose, problem.id, sample)
            asked.append((problem, sample, begin, Request(prompt + (writer.begin(begin.text) if begin else ""), seed)))
    if not asked:
        return
    for completion in writer.engine.generate([request for *_, request in asked], sampling, writer.stop):
        problem, sample, begin, request = asked[completion.index]
        given = writer.begin(begin.text) if begin else ""
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
            token_ids=None if given else completion.token_ids,
            token_lengths=None if given else completion.token_lengths,
            token_costs=None if given else completion.token_costs,
        )


def write(problems: Sequence[Problem], desk: Desk[Generate]) -> Iterator[Record]:
    """The samples of a part."""
    return generate(
        problems,
        writer=desk.writer(desk.incumbent),
        render=desk.prompts.render,
        sampling=desk.settings,
        samples=desk.settings.samples,
        purpose=desk.name,
    )


def cost(look: Look[Generate]) -> Sequence[Cost]:
    return [Cost(texts=look.sizes.problems * look.settings.samples, longest=look.settings.max_tokens)]


def say_ahead(ahead: Ahead[Generate]) -> Iterator[str]:
    if not any(step.stage.gives([Revision]) for step in flow_of(ahead.recipe)):
        yield from say_cut_off(ahead, "not trained")


def say_cut_off(ahead: Ahead[Settings], lost: str) -> Iterator[str]:
    """What becomes of texts that `generate` cuts off, and how many were so far; nothing where there was none."""
    found, most = ahead.cut_off.get(GENERATE.name), ahead.recipe.of(Generate).max_tokens
    if found is None or found.cut_off:
        where = f"{found.cut_off} of {found.texts} texts in run '{found.run}'" if found else "nothing was measured yet"
        yield (
            f"what `generate` cuts off at {most} tokens is {lost} ({where}): raise 'generate.max_tokens' if it is much"
        )


GENERATE = Stage(
    name="generate",
    version=1,
    settings=Generate,
    writes=Rationale,
    reads=lambda round: [*round.every(Problem), round.incumbent],
    needs=(Problem,),
    parts=lambda desk: chunks([one for one in desk.read(Problem) if not one.is_pair], desk.settings.part_size),
    run=write,
    uses=SHOWN,
    optional=False,
    asks="policy",
    per_item=lambda desk: desk.settings.samples,
    cost=cost,
    ahead=say_ahead,
)
