"""Chains of critiques and revisions by the principles of a constitution."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from selfimprove.constitution import Principle
from selfimprove.constitution.transcript import Prompter
from selfimprove.recipe import Recipe, Sampling
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import flow_of, own_settings
from selfimprove.records import (
    Checkpoint,
    Comparison,
    Critique,
    Problem,
    Rationale,
    Record,
    Revision,
    Verdict,
    derive_seed,
)
from selfimprove.settings import Settings, added, hashed_settings
from selfimprove.stages.base import SHOWN, Ahead, Cost, Desk, Key, Look, Round, Stage, Writer, chunks
from selfimprove.stages.critique import CRITIQUE_VERSION, CritiqueSettings, Link
from selfimprove.stages.failed import SAMPLES
from selfimprove.stages.forms import CritiqueForm, Said, say_of, write_revisions
from selfimprove.stages.gains import Prefer, judge_gains, take_best
from selfimprove.stages.generate import Generate, say_cut_off
from selfimprove.stages.relevance import measure_relevance
from selfimprove.stages.taking import LEFT_OUT, describe_left_out, may_change, take
from selfimprove.stages.weigh import Chain, Mark, Scales, Weighed

REVISE_VERSION = 3
Judge = Callable[[Iterable[tuple[Problem, Rationale]]], Iterator[Verdict]]
Render = Callable[[Problem], str]


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
    reject: tuple[Mark, ...] = (
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
    form: CritiqueForm = added("principle")
    """principle: a critique by one principle, in free text; checklist: one by all principles at once, of which what has
    a check is checked and of the model's words only those count that quote the response; one-turn: a critique by one
    principle and the revision in one text; anew: the prompt once more, below it the principles that the response goes
    against by their checks, and the drawn one if it has none, for models that cannot rewrite what they are shown; none:
    the revision at once (section 3.5), as where `critique` is left out. `selfimprove constitution try` compares
    them."""
    best_of: PositiveInt = added(1)
    """Write n critiques of each response with a revision after each, and keep the revision that gains most."""
    gain: Literal["checks", "judge"] = added("checks")
    """What a revision gains, for the best of n. checks: how many checks of the constitution it passes; judge: how much
    the recipe's `judge` prefers it to what it revises."""
    no_worse: Literal["principle", "all"] = added("principle")
    """A revision that fails a check which the response passed is not kept. principle: the check of the principle that
    it was asked by; all: the check of any principle that holds for the prompt."""
    relevance: float | None = added(None)
    """Keep only revisions that are at least this much likelier after their prompt than after other prompts, in nats a
    token (pointwise mutual information by the model itself, beside 3 other prompts). What would do after any prompt is
    near 0. By default it is not measured."""
    train: Literal["last", "all"] = "last"
    """Train on the last kept revision of a chain on an open prompt, or on all of them."""
    fine: bool = added(False)
    """Train on whole responses to open prompts, too, in which no critique found anything: with `form: anew` those that
    go against no check, where no principle without a check was drawn."""
    lessons: bool = False
    """Also train on critiques and revisions that the verifier confirms, so that the model gets better at writing them;
    needs problems with answers."""
    part_size: PositiveInt = 64
    """Responses in a part."""


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
    render: Render | None = None,
    prefer: Prefer | None = None,
) -> Iterator[Record]:
    """Criticise and revise each response up to `settings.revisions` times (Constitutional AI, section 3.1).

    Yields critiques, revised rationales, their verdicts, and a revision record for each that says whether it was kept
    and why not. Where the critique finds nothing, nothing is revised; a chain stops where every principle that applies
    leaves the response as it is. Without `critique` the revision is asked for at once (section 3.5). `blind` keeps
    revisions whatever the verifier says, as for a measurement that it must not help. `render` writes the prompts by
    which relevance is measured; `prefer` compares revisions with what they revise, for the best of several.
    """
    chains = [_begin(one, problems, verdicts, prompter, settings.cut_off) for one in responses]
    scales = Scales(prompter, settings.reject, settings.relevance, settings.no_worse, blind)
    for step in range(1, settings.revisions + 1):
        at_work = [one for one in chains if one.moves for _ in range(settings.best_of)]
        links = [
            Link(one.problem, one.response, _draw(one, step, writer.seed, settings), step, at % settings.best_of)
            for at, one in enumerate(at_work)
        ]
        said = say_of(
            links,
            [one.principles for one in at_work],
            [None if blind else one.verdict for one in at_work],
            writer=writer,
            prompter=prompter,
            critique=critique,
            revision=settings,
            form=settings.form,
            purpose=purpose,
        )
        yield from {one.critique.id: one.critique for one in said if one.critique}.values()  # checks say the same twice
        _settle_fine(at_work, said, settings)
        going = [(chain, one) for chain, one in zip(at_work, said, strict=True) if one.found]
        written = write_revisions([one for _, one in going], writer, prompter, settings, purpose)
        yield from written
        judged = list(judge((chain.problem, one) for (chain, _), one in zip(going, written, strict=True)))
        yield from judged
        weighed = [
            Weighed(chain, one.link, one.critique, revised, verdict, shown=one.principle.text if one.anew else "")
            for (chain, one), revised, verdict in zip(going, written, judged, strict=True)
        ]
        if settings.relevance is not None and render:
            _note_relevance(weighed, scales, problems, render, writer)
        yield from take_best(weighed, scales, prefer)


def _note_relevance(
    weighed: list[Weighed], scales: Scales, problems: Mapping[str, Problem], render: Render, writer: Writer
) -> None:
    """Measure it of what would be kept alone: it takes several times the tokens of the text."""
    fit = [at for at, one in enumerate(weighed) if scales.weigh(one).kept]
    texts = [weighed[at].revised for at in fit]
    found = measure_relevance(texts, problems, render, writer.engine, seed=writer.seed)
    for at, value in zip(fit, found, strict=True):
        weighed[at] = replace(weighed[at], relevance=value)


def _begin(
    response: Rationale,
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    prompter: Prompter,
    cut_off: str,
) -> Chain:
    problem = problems[response.problem]
    principles = prompter.constitution.applying("critique", problem.task, (problem.group,))
    return Chain(problem, response, verdicts[response.id], may_change(principles, response, cut_off))


def _draw(chain: Chain, step: int, seed: int, settings: Revise) -> Principle:
    """The principle of a step among those that may still change something: by weight, or the next one in turn."""
    left = [one for one in chain.principles if one.id not in chain.settled]
    if settings.principles == "in-turn":
        turn = (step - 1) % len(chain.principles)
        return next(one for one in (*chain.principles[turn:], *chain.principles[:turn]) if one in left)
    rng = random.Random(derive_seed(seed, "principle", chain.response.id, step))
    return rng.choices(left, weights=[one.weight for one in left])[0]


def _settle_fine(chains: Sequence[Chain], said: Sequence[Said], settings: Revise) -> None:
    """Note where no critique of a response finds anything: a checklist is of all principles, checks are of those that
    have one."""
    found = {id(chain) for chain, one in zip(chains, said, strict=True) if one.found}
    for chain, one in zip(chains, said, strict=True):
        if id(chain) not in found:
            settled = {
                "checklist": chain.principles,
                "anew": [principle for principle in chain.principles if principle.check],
            }.get(settings.form, [one.link.principle])
            chain.settled.update(principle.id for principle in settled)


def chain(
    desk: Desk[Settings],
    checkpoint: Checkpoint,
    responses: Sequence[Rationale],
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    purpose: str,
) -> Iterator[Record]:
    """The critiques and revisions of responses, as the stage asks for them; greedy and `blind` for an evaluation."""
    own, critique = desk.settings, desk.find(CritiqueSettings)
    settings = own if isinstance(own, Revise) else desk.other(Revise)
    if purpose == "evaluate":  # greedy, as the answers are
        settings = desk.other(Revise).model_copy(update={"temperature": 0.0, "best_of": 1})
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
        render=desk.prompts.render_question if settings.relevance is not None else None,
        prefer=judge_gains(desk) if asks_judge(settings) else None,
    )


def chain_stop(desk: Desk[Settings]) -> tuple[str, ...]:
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
    blank = sum(not one.text.strip() for one in critiques if one.prompt)
    empty = f" ({blank} are blank)" if blank else ""
    said = f"{found} of {len(critiques)} critiques found something{empty}; " if critiques else ""
    marks = Counter(mark for one in revisions for mark in one.marks)
    seen = f" (seen in them: {', '.join(f'{mark} {count}' for mark, count in marks.most_common())})" if marks else ""
    left_out = describe_left_out(desk.manifest.metrics.get(LEFT_OUT)) if desk.manifest else ""
    return "; ".join(filter(None, [f"{said}{kept} of {len(revisions)} revisions kept{seen}", left_out]))


def by_constitution(round_: Round[Settings]) -> dict[str, object]:
    """What fingerprints hold of whatever criticises and revises."""
    stop = round_.recipe.prompt.stop
    return {
        **({"ends before": stop} if stop else {}),  # which once held for samples alone
        **round_.shared("constitution"),
        "critique": round_.hashed(CritiqueSettings),
        "revise": round_.hashed(Revise),
        "versions": [CRITIQUE_VERSION, REVISE_VERSION],
    }


def depends(round_: Round[Revise]) -> dict[str, object]:
    sampling = hashed_settings(round_.other(Generate))
    judge = round_.shared("judge") if asks_judge(round_.settings) else {}
    return {**by_constitution(round_), "revise": round_.own, "sampling": sampling, **round_.shared(*SHOWN), **judge}


def asks_judge(settings: Revise) -> bool:
    return settings.best_of > 1 and settings.gain == "judge"


def reads(round_: Round[Revise]) -> list[Key]:
    earlier = round_.earlier(*SAMPLES) if round_.settings.earlier else []
    return [*round_.this(*SAMPLES), round_.incumbent, *earlier]


def chain_steps(look: Look[Settings]) -> tuple[int, int]:
    """At most this many critiques with their revisions a round, and the most tokens of one of both."""
    settings, critique = look.recipe.of(Revise), look.recipe.find(CritiqueSettings)
    responses = look.sizes.problems * min(settings.per_problem, look.recipe.of(Generate).samples)
    longest = settings.max_tokens + (critique.max_tokens if critique else 0)
    taken = min(responses, settings.limit or responses) + settings.earlier
    return taken * settings.revisions * settings.best_of, longest


def cost(look: Look[Revise]) -> Sequence[Cost]:
    steps, longest = chain_steps(look)
    return [Cost(texts=steps, longest=longest, upto=True)]


def say_ahead(ahead: Ahead[Revise]) -> Iterator[str]:
    """What is asked of the model, in requests and in what each of them reads; and what is left out of it."""
    recipe, constitution = ahead.recipe, ahead.given.constitution
    assert constitution
    (steps, _), prompter = chain_steps(Look(ahead.settings, recipe, ahead.sizes, 1)), Prompter(constitution)
    asked = recipe.find(CritiqueSettings) and ahead.settings.form not in ("anew", "none")
    kinds = f"{steps:,} {f'critiques and {steps:,}' if asked else 'direct'} revisions"
    held = constitution.applying("critique", recipe.train.name) if asked else ()
    read = [len(prompter.critique(one, "", "")) for one in held]
    more = f"; beside question and response a prompt for a critique has {max(read):,} characters" if read else ""
    yield f"the constitution asks for at most {kinds} a round{more}"
    short = ", but where a principle has a check of the greatest length and 'revise.cut_off' is brevity"
    more = short if ahead.settings.cut_off == "brevity" else ""
    yield from say_cut_off(ahead, f"neither criticised nor revised nor trained{more}")


def check(recipe: Recipe, settings: Revise) -> Iterable[Mistake]:
    if recipe.constitution is None:
        yield Mistake(("stages", "revise"), "'revise' needs a 'constitution', by path or by name")
    if settings.lessons and recipe.rounds and recipe.train.family == "prompts":
        yield Mistake(
            ("stages", "revise", "lessons"),
            f"'revise.lessons' needs problems with answers, and '{recipe.train.name}' has none",
        )
    critique = recipe.find(CritiqueSettings)
    if settings.form in ("checklist", "one-turn") and critique is None:
        yield Mistake(("stages", "revise", "form"), f"'form: {settings.form}' needs the settings 'critique'")
    if settings.fine and settings.form != "anew" and (critique is None or settings.form == "none"):
        yield Mistake(("stages", "revise", "fine"), "'fine: true' goes by critiques, and none are written")
    if settings.lessons and settings.form == "anew":
        yield Mistake(("stages", "revise", "lessons"), "'form: anew' writes no critiques that could be lessons")
    if settings.best_of > 1 and not settings.temperature and not (critique and critique.temperature):
        yield Mistake(
            ("stages", "revise", "best_of"), "the best of several needs a temperature above 0: all would be the same"
        )
    if settings.gain == "judge" and settings.best_of == 1:
        yield Mistake(("stages", "revise", "gain"), "'gain: judge' chooses among several: set 'best_of'")


def scores(recipe: Recipe) -> list[str]:
    """The settings for which revisions are scored."""
    mine = [own for step in flow_of(recipe) if isinstance(own := own_settings(recipe, step), Revise)]
    found = {
        "revise.relevance": any(one.relevance is not None for one in mine),
        "revise.gain": any(map(asks_judge, mine)),
    }
    return [name for name, needed in found.items() if needed]


REVISE = Stage(
    name="revise",
    version=REVISE_VERSION,
    settings=Revise,
    writes=Revision,
    also=(Critique, Rationale, Verdict, Comparison),
    reads=reads,
    needs=(Problem, Rationale, Verdict),
    parts=lambda desk: chunks(desk.once(take).responses, desk.settings.part_size),
    run=revise_part,
    uses=(*SHOWN, "constitution", "judge"),
    depends=depends,
    sections={"critique": CritiqueSettings},
    asks="policy",
    open=True,
    per_item=lambda desk: desk.settings.revisions * desk.settings.best_of,
    scores=scores,
    say=say,
    cost=cost,
    ahead=say_ahead,
    check=check,
)
