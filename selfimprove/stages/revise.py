"""Chains of critiques and revisions by the principles of a constitution."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from selfimprove.constitution import Principle
from selfimprove.constitution.checks import comply
from selfimprove.constitution.model import VerifierCheck
from selfimprove.constitution.transcript import Prompter
from selfimprove.phrases import find_leak, only_refuses, refuses, repeats, same_text, speaks_of_itself
from selfimprove.recipe import Critique as CritiqueSettings
from selfimprove.recipe import Revise
from selfimprove.records import (
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
from selfimprove.stages.critique import Link, ask, criticise
from selfimprove.stages.generate import Writer

VERSION = 3
REASONS = {
    "leak": "it repeats the prompt's own words",
    "exemplar": "it is the answer of an exemplar",
    "refusal": "it only refuses",
}
Judge = Callable[[Iterable[tuple[Problem, Rationale]]], Iterator[Verdict]]


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
    chains = [_begin(one, problems, verdicts, prompter) for one in responses]
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
    response: Rationale, problems: Mapping[str, Problem], verdicts: Mapping[str, Verdict], prompter: Prompter
) -> _Chain:
    problem = problems[response.problem]
    principles = prompter.constitution.applying("critique", problem.task, (problem.group,))
    return _Chain(problem, response, verdicts[response.id], principles)


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
