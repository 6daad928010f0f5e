"""Chains of critiques and revisions by the principles of a constitution."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from selfimprove.constitution import Principle
from selfimprove.constitution.checks import comply
from selfimprove.constitution.model import VerifierCheck
from selfimprove.constitution.transcript import Prompter
from selfimprove.prompting.phrases import find_leak, only_refuses, refuses, repeats, same_text, speaks_of_itself
from selfimprove.recipe import Recipe, Sampling
from selfimprove.recipe.catalog import Mistake
from selfimprove.records import (
    Checkpoint,
    Critique,
    Outcome,
    Problem,
    Rationale,
    Record,
    Revision,
    Verdict,
    derive_seed,
    replace_surrogates,
)
from selfimprove.settings import added, hashed_settings
from selfimprove.stages.base import SHOWN, Cost, Desk, Key, Look, Round, Stage, Writer, chunks
from selfimprove.stages.critique import CRITIQUE_VERSION, CritiqueSettings, Link, ask, criticise
from selfimprove.stages.failed import SAMPLES
from selfimprove.stages.generate import Generate
from selfimprove.stages.taking import LEFT_OUT, describe_left_out, may_change, take

REVISE_VERSION = 3
REASONS = {
    "leak": "it repeats the prompt's own words",
    "exemplar": "it is the answer of an exemplar",
    "refusal": "it only refuses",
}
Judge = Callable[[Iterable[tuple[Problem, Rationale]]], Iterator[Verdict]]


class Revise(Sampling):
    """Have the model rewrite its responses by the constitution: after a critique, or directly without that stage."""

    temperature: NonNegativeFloat = 0.7
    """0 is greedy."""
    revisions: PositiveInt = 1
    """Critiques and revisions of each response, one after the other (the paper: 4)."""
    principles: Literal["random", "in-turn"] = "random"
    """random: each time one is drawn by weight; in-turn: one after the other, in the order of the file."""
    of: Literal["all", "failed"] = "all"
    """failed: only responses that are not known to be correct; those to open prompts never are."""
    per_problem: PositiveInt = 1
    """At most n samples of a problem are revised."""
    limit: PositiveInt | None = None
    """At most n responses a round, chosen by a hash; by default all."""
    earlier: NonNegativeInt = 0
    """Also revise n wrong responses of earlier rounds. A model that gets better makes few mistakes
    that it could learn from, and sees through those that it made before."""
    reject: tuple[Literal["unchanged", "leak", "exemplar", "refusal", "about itself"], ...] = (
        "unchanged",
        "leak",
        "exemplar",
        "refusal",
    )
    """Revisions that are not kept. unchanged: only spaces changed; leak: it repeats the words of the prompt; exemplar:
    it is an exemplar's answer word for word; refusal: it only refuses, and the response before did not; about itself:
    it speaks of itself as an AI. All are counted."""
    cut_off: Literal["brevity", "never", "always"] = added("brevity")
    """Responses that were cut off at the longest length, where no other sample of their prompt is whole. brevity: they
    are revised by the principles that have a check of the greatest length; never: they are left out; always: they are
    revised like any other."""
    train: Literal["last", "all"] = "last"
    """Train on the last kept revision of a chain on an open prompt, or on all of them."""
    lessons: bool = False
    """Also train on critiques and revisions that the verifier confirms, so that the model gets better at writing them;
    needs problems with answers."""
    part_size: PositiveInt = 64
    """Responses in a part."""


@dataclass
class _Chain:
    """One response on its way; `settled` holds the principles by which nothing changed since the last change."""

    problem: Problem
    response: Rationale
    verdict: Verdict
    principles: tuple[Principle, ...]
    settled: set[str] = field(default_factory=set)

    @property
    def moves(self) -> bool:
        return any(one.id not in self.settled for one in self.principles)


def revise(
    responses: Sequence[Rationale],
    *,
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    judge: Judge,
    writer: Writer,
    prompter: Prompter,
    critique: CritiqueSettings | None,
    settings: Revise,
    purpose: str = "revise",
    blind: bool = False,
) -> Iterator[Record]:
    """Criticise and revise each response up to `settings.revisions` times (Constitutional AI, section 3.1).

    Yields critiques, revised rationales, their verdicts, and a revision record for each that says whether it was kept
    and why not. Where the critique finds nothing, nothing is revised; a chain stops where every principle that applies
    leaves the response as it is. Without `critique` the revision is asked for at once (section 3.5). `blind` keeps
    revisions whatever the verifier says, as for a measurement that it must not help.
    """
    chains = [_begin(one, problems, verdicts, prompter, settings.cut_off) for one in responses]
    for step in range(1, settings.revisions + 1):
        at_work = [one for one in chains if one.moves]
        links = [Link(one.problem, one.response, _draw(one, step, writer.seed, settings), step) for one in at_work]
        critiques: list[Critique | None] = [None] * len(links)
        if critique:
            said = criticise(links, writer=writer, prompter=prompter, sampling=critique, purpose=f"{purpose} critique")
            yield from said
            critiques = list(said)
        going: list[tuple[_Chain, Link, Critique | None]] = []
        for chain, link, one in zip(at_work, links, critiques, strict=True):
            if one is not None and not one.found:
                chain.settled.add(link.principle.id)
            else:
                going.append((chain, link, one))
        yield from _rewrite(
            going, writer=writer, prompter=prompter, settings=settings, judge=judge, purpose=purpose, blind=blind
        )


def _begin(
    response: Rationale,
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    prompter: Prompter,
    cut_off: str,
) -> _Chain:
    problem = problems[response.problem]
    principles = prompter.constitution.applying("critique", problem.task, (problem.group,))
    return _Chain(problem, response, verdicts[response.id], may_change(principles, response, cut_off))


def _draw(chain: _Chain, step: int, seed: int, settings: Revise) -> Principle:
    """The principle of a step among those that may still change something: by weight, or the next one in turn."""
    left = [one for one in chain.principles if one.id not in chain.settled]
    if settings.principles == "in-turn":
        turn = (step - 1) % len(chain.principles)
        return next(one for one in (*chain.principles[turn:], *chain.principles[:turn]) if one in left)
    rng = random.Random(derive_seed(seed, "principle", chain.response.id, step))
    return rng.choices(left, weights=[one.weight for one in left])[0]


def _rewrite(
    going: Sequence[tuple[_Chain, Link, Critique | None]],
    *,
    writer: Writer,
    prompter: Prompter,
    settings: Revise,
    judge: Judge,
    purpose: str,
    blind: bool,
) -> Iterator[Record]:
    """Write the revisions of one step, judge them, and move the chains whose revision is kept."""
    links = [link for _, link, _ in going]
    prompts = [
        prompter.revision(link.principle, link.problem.question, link.response.text, one.text if one else None)
        for _, link, one in going
    ]
    written = []
    for (_, link, one), prompt, (seed, completion) in zip(
        going, prompts, ask(links, prompts, writer=writer, sampling=settings, purpose=purpose), strict=True
    ):
        text = replace_surrogates(completion.text).rstrip()
        written.append(
            Rationale(
                parents=(link.problem.id, writer.checkpoint, link.response.id, *([one.id] if one else [])),
                prompt=prompt,
                text=text,
                answer=writer.extract_answer(link.problem, text, prompt),
                origin="revised",
                round=writer.round,
                sample=link.response.sample,
                seed=seed,
                temperature=settings.temperature,
                top_p=settings.top_p,
                tokens=completion.tokens,
                logprob=completion.logprob,
                finish=completion.finish,
                token_ids=completion.token_ids if text == completion.text else None,
            )
        )
    yield from written
    judged = list(judge((link.problem, one) for link, one in zip(links, written, strict=True)))
    yield from judged
    for (chain, link, said), revised, verdict in zip(going, written, judged, strict=True):
        record = _weigh(chain, link, said, revised, verdict, prompter, settings, blind)
        yield record
        if record.kept:
            chain.response, chain.verdict, chain.settled = revised, verdict, set()
        elif "unchanged" in record.marks:
            chain.settled.add(link.principle.id)


def _weigh(
    chain: _Chain,
    link: Link,
    critique: Critique | None,
    revised: Rationale,
    verdict: Verdict,
    prompter: Prompter,
    settings: Revise,
    blind: bool,
) -> Revision:
    """Whether a revision takes the place of the response, and why not."""
    check = link.principle.check
    before: Outcome | None = None
    after: Outcome | None = None
    if check:
        before, _ = comply(check, link.response.text, chain.verdict)
        after, why = comply(check, revised.text, verdict)
    asked = [prompter.constitution.request(link.principle, kind) for kind in ("critique", "revision")]
    marks = find_marks(link.response.text, revised.text, prompter.labels, prompter.shown_texts, asked)
    reason = ""
    if revised.finish != "stop":
        reason = "the prompt was too long" if revised.finish == "too_long" else "cut off at the length limit"
    elif not revised.text.strip():
        reason = "empty"
    elif rejected := next((mark for mark in marks if mark in settings.reject), None):
        reason = REASONS.get(rejected, rejected)
    elif not blind and chain.verdict.outcome == "correct" and verdict.outcome == "incorrect":
        reason = f"the answer was right before: {verdict.reason}"
    elif before == "correct" and after == "incorrect" and not (blind and isinstance(check, VerifierCheck)):
        reason = f"it passed the principle's check before: {why}"
    return Revision(
        parents=(revised.id, link.response.id, *([critique.id] if critique else [])),
        principle=link.principle.id,
        constitution=prompter.constitution.label,
        round=revised.round,
        step=link.step,
        kept=not reason,
        reason=reason or "kept",
        marks=marks,
        before=before,
        after=after,
    )


def find_marks(
    response: str, revised: str, labels: Iterable[str], exemplars: Iterable[str] = (), requests: Iterable[str] = ()
) -> tuple[str, ...]:
    """What is to be seen in a revised text without a model, most telling first."""
    found = {
        "unchanged": same_text(response, revised),
        "leak": find_leak(revised, labels) is not None or any(repeats(revised, one) for one in requests),
        "exemplar": any(same_text(revised, one) for one in exemplars),
        "refusal": only_refuses(revised) and not refuses(response),
        "about itself": speaks_of_itself(revised),
    }
    return tuple(mark for mark, seen in found.items() if seen)


def chain(
    desk: Desk[Any],
    checkpoint: Checkpoint,
    responses: Sequence[Rationale],
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    purpose: str,
) -> Iterator[Record]:
    """The critiques and revisions of responses, as the stage asks for them; greedy and `blind` for an evaluation."""
    settings, critique = desk.settings, desk.find(CritiqueSettings)
    if purpose == "evaluate":  # greedy, as the answers are
        settings = desk.other(Revise).model_copy(update={"temperature": 0.0})
        critique = critique and critique.model_copy(update={"temperature": 0.0})
    if not responses:
        return
    yield from revise(
        responses,
        problems=problems,
        verdicts=verdicts,
        judge=desk.judging.judge,
        writer=replace(desk.writer(checkpoint), stop=chain_stop(desk)),
        prompter=desk.prompter,
        critique=critique,
        settings=settings,
        purpose=purpose,
        blind=purpose == "evaluate",
    )


def chain_stop(desk: Desk[Any]) -> tuple[str, ...]:
    """What critiques and revisions end before: the next part of the transcript, and `prompt.stop`."""
    return tuple(dict.fromkeys([*desk.prompter.stop, *desk.prompts.settings.stop]))


def revise_part(part: Sequence[Rationale], desk: Desk[Revise]) -> Iterator[Record]:
    taken = desk.once(take)
    return chain(desk, desk.incumbent, part, taken.problems, taken.verdicts, desk.name)


def say(desk: Desk[Revise]) -> str:
    """Critiques that found something, revisions that were kept, and what was wrong with the others."""
    critiques, revisions = desk.written(Critique), desk.written(Revision)
    found = sum(one.found for one in critiques)
    kept = sum(one.kept for one in revisions)
    blank = sum(not one.text.strip() for one in critiques)
    empty = f" ({blank} are blank)" if blank else ""
    said = f"{found} of {len(critiques)} critiques found something{empty}; " if critiques else ""
    marks = Counter(mark for one in revisions for mark in one.marks)
    seen = f" (seen in them: {', '.join(f'{mark} {count}' for mark, count in marks.most_common())})" if marks else ""
    left_out = describe_left_out(desk.manifest.metrics.get(LEFT_OUT)) if desk.manifest else ""
    return "; ".join(filter(None, [f"{said}{kept} of {len(revisions)} revisions kept{seen}", left_out]))


def by_constitution(round_: Round[Any]) -> dict[str, Any]:
    """What fingerprints hold of whatever criticises and revises."""
    stop = round_.recipe.prompt.stop
    return {
        **({"ends before": stop} if stop else {}),  # which once held for samples alone
        **round_.shared("constitution"),
        "critique": round_.hashed(CritiqueSettings),
        "revise": round_.hashed(Revise),
        "versions": [CRITIQUE_VERSION, REVISE_VERSION],
    }


def depends(round_: Round[Revise]) -> dict[str, Any]:
    sampling = hashed_settings(round_.other(Generate))
    return {**by_constitution(round_), "revise": round_.own, "sampling": sampling, **round_.shared(*SHOWN)}


def reads(round_: Round[Revise]) -> list[Key]:
    earlier = round_.earlier(*SAMPLES) if round_.settings.earlier else []
    return [*round_.this(*SAMPLES), round_.incumbent, *earlier]


def chain_steps(look: Look[Any]) -> tuple[int, int]:
    """At most this many critiques with their revisions a round, and the most tokens of one of both."""
    settings, critique = look.recipe.of(Revise), look.recipe.find(CritiqueSettings)
    responses = look.sizes.problems * min(settings.per_problem, look.recipe.of(Generate).samples)
    longest = settings.max_tokens + (critique.max_tokens if critique else 0)
    return (min(responses, settings.limit or responses) + settings.earlier) * settings.revisions, longest


def cost(look: Look[Revise]) -> Sequence[Cost]:
    steps, longest = chain_steps(look)
    return [Cost(texts=steps, longest=longest, upto=True)]


def check(recipe: Recipe, settings: Revise) -> Iterable[Mistake]:
    if recipe.constitution is None:
        yield Mistake(("stages", "revise"), "'revise' needs a 'constitution', by path or by name")
    if settings.lessons and recipe.train.family == "prompts":
        yield Mistake(
            ("stages", "revise", "lessons"),
            f"'revise.lessons' needs problems with answers, and '{recipe.train.name}' has none",
        )


REVISE = Stage(
    name="revise",
    version=REVISE_VERSION,
    settings=Revise,
    writes=Revision,
    also=(Critique, Rationale, Verdict),
    reads=reads,
    needs=(Problem, Rationale, Verdict),
    parts=lambda desk: chunks(desk.once(take).responses, desk.settings.part_size),
    run=revise_part,
    uses=(*SHOWN, "constitution"),
    depends=depends,
    sections={"critique": CritiqueSettings},
    asks="policy",
    open=True,
    per_item=lambda desk: desk.settings.revisions,
    say=say,
    cost=cost,
    check=check,
)
