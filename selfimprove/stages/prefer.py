"""Pair responses to one prompt: what is better over what is worse."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal

from pydantic import PositiveInt

from selfimprove.prompting.phrases import find_boilerplate
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import flow_of, trains_shown
from selfimprove.records import (
    Comparison,
    Preference,
    Problem,
    Rationale,
    Record,
    Revision,
    Verdict,
    by_id,
    derive_seed,
)
from selfimprove.settings import Settings, unhashed
from selfimprove.stages.as_sampled import tokens_of_pair
from selfimprove.stages.base import SHOWN, Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.compare import COMPARE_VERSION, Feedback, compare_responses, describe_comparisons
from selfimprove.stages.earlier import fold, read_written
from selfimprove.stages.passes import why_not
from selfimprove.stages.select import Select

OF_RATIONALE = ("parents", "text", "origin", "tokens", "finish", "token_ids")


class HumanPairs(Settings):
    """Pairs that people chose between, in hh-rlhf's format: `chosen` and `rejected` as whole dialogues."""

    path: str = unhashed(..., "a JSONL file, or one packed by gzip")
    limit: PositiveInt = 100
    """Pairs taken in a round, chosen by a hash."""


class Prefer(Settings):
    """Pair what is better with what is worse: correct rationales with incorrect ones of the same problem (IRPO; Pang et
    al., 2024, section 2), kept revisions with what they revise, and what a model or people say is better."""

    revisions: bool = True
    """Pair kept revisions with the response that they revise, unless a check, a verifier or the feedback says
    otherwise."""
    feedback: Feedback | None = None
    """Have a model compare responses by a principle; by default no model is asked."""
    files: HumanPairs | None = None
    """Pairs that people chose between."""

    per_problem: PositiveInt = 10
    """At most n pairs for each problem."""
    require: Literal["answer", "steps", "grounded"] | None = None
    """What the chosen text must pass; by default what `select` requires. The rejected one has a wrong answer."""
    cut: Literal["whole", "step"] = "whole"
    """whole: the texts as they are; step: the first wrong step over the right one in its place, after what both share
    (Step-DPO; Lai et al., 2024), which needs a verifier of steps and texts that begin alike."""
    limit: PositiveInt | None = None
    """At most n pairs a round, not counting those of `files`, chosen by a hash, evenly over the problems; by default
    all."""


def prefer(
    rationales: Sequence[Rationale],
    *,
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    prompts: PromptFormat,
    shown: bool,
    require: Select,
    settings: Prefer,
    revisions: Mapping[str, Revision] | None = None,
    comparisons: Sequence[Comparison] = (),
    earlier: Sequence[Rationale] = (),
) -> Iterator[Preference]:
    """Pair the right and the wrong rationales of each problem, each as often as the others (IRPO, section 2), revisions
    with what they revise, and what was compared.

    `revisions` is by rationale; `earlier` holds responses of earlier rounds that they revise. What is undecided is
    never rejected, nor is a text that was cut off: its fault is not the model's choice. A text that was written with a
    hint or a critique may be chosen and is never rejected, because its prompt was another one.
    """
    render = prompts.render if shown else prompts.render_question
    became = revisions or {}
    pairs: dict[str, list[Preference]] = defaultdict(list)  # by problem
    done: set[tuple[str, frozenset[str]]] = set()  # in either order: what contradicts an earlier pair is not trained
    unfit = _unfit(rationales, became, problems)
    found_apart = [
        *_pair_revisions([*rationales, *earlier], became, unfit, problems, verdicts, comparisons, require, settings)
    ]
    found_apart += _pair_compared(rationales, became, unfit, comparisons, settings)
    for right, wrong, extra in found_apart:
        problem, key = problems[right.problem], (right.problem, frozenset((right.text, wrong.text)))
        if key in done or right.text == wrong.text or len(pairs[problem.id]) == settings.per_problem:
            continue
        done.add(key)
        extra |= tokens_of_pair(right, wrong, prompts.stop)
        pair = Preference(prompt=render(problem), chosen=right.text, rejected=wrong.text, group=problem.group, **extra)
        pairs[problem.id].append(pair)
    left_out = unfit if settings.revisions else became.keys()
    apart = [one for one in rationales if one.id not in left_out]
    chosen, rejected = _part_by_verdict(apart, became, problems, verdicts, prompts, require)
    for identity in chosen:
        found: set[tuple[str, str, str]] = set()
        for right, wrong in _pair(list(chosen[identity].values()), list(rejected[identity].values())):
            if len(pairs[identity]) == settings.per_problem:
                break
            if settings.cut == "step":
                texts = _cut(right, wrong, verdicts[right.id], verdicts[wrong.id])
            else:
                texts = ("", right.text, wrong.text)
            if texts is None or texts in found or (identity, frozenset((right.text, wrong.text))) in done:
                continue
            found.add(texts)
            pair = Preference(
                parents=(right.id, wrong.id, verdicts[right.id].id, verdicts[wrong.id].id),
                prompt=render(problems[identity]) + texts[0],
                chosen=texts[1],
                rejected=texts[2],
                ends=settings.cut == "whole",
                margin=1.0,
                source="verdicts",
                group=problems[identity].group,
                **(tokens_of_pair(right, wrong, prompts.stop) if settings.cut == "whole" else {}),
            )
            pairs[identity].append(pair)
    # By rank first, so that a limit takes the same number of every problem before it takes one more of any.
    ranked = [(rank, identity, one) for identity in pairs for rank, one in enumerate(pairs[identity])]
    ranked.sort(key=lambda one: (one[0], one[1]))
    yield from (one for _, _, one in ranked[: settings.limit])


Texts = dict[str, dict[str, Rationale]]  # by problem, then by text


def _part_by_verdict(
    rationales: Sequence[Rationale],
    revisions: Mapping[str, Revision],
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    prompts: PromptFormat,
    require: Select,
) -> tuple[Texts, Texts]:
    """What may be chosen and what may be rejected by the verifier's word alone."""
    chosen: Texts = defaultdict(dict)
    rejected: Texts = defaultdict(dict)
    for one in rationales:
        verdict, problem = verdicts[one.id], problems[one.problem]
        if problem.is_open:
            continue
        if not why_not(one, verdict, require) and not prompts.finds_hint(problem, one.text):
            chosen[problem.id].setdefault(one.text, one)
        elif verdict.outcome == "incorrect" and one.finish == "stop" and _written_for_question(one, revisions):
            rejected[problem.id].setdefault(one.text, one)
    return chosen, rejected


def _written_for_question(rationale: Rationale, revisions: Mapping[str, Revision]) -> bool:
    """Whether a text was written for the prompt that is trained, and not for one with a hint or a critique."""
    return rationale.origin != "rationalized" and rationale.id not in revisions


Found = tuple[Rationale, Rationale, dict[str, Any]]


def _unfit(
    rationales: Sequence[Rationale], revisions: Mapping[str, Revision], problems: Mapping[str, Problem]
) -> set[str]:
    """The revisions that are not better than anything: not kept, failing their principle's check, or boilerplate."""
    written = [one for one in rationales if one.id in revisions]
    texts: dict[str, list[str]] = defaultdict(list)
    for one in written:
        if problems[one.problem].is_open:
            texts[problems[one.problem].question].append(one.text)
    boilerplate = find_boilerplate(texts)
    return {
        one.id
        for one in written
        if not revisions[one.id].kept
        or revisions[one.id].after == "incorrect"
        or (problems[one.problem].is_open and one.text in boilerplate)
    }


def _pair_revisions(
    rationales: Sequence[Rationale],
    revisions: Mapping[str, Revision],
    unfit: Set[str],
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    comparisons: Sequence[Comparison],
    require: Select,
    settings: Prefer,
) -> Iterator[Found]:
    """The last kept revision of each chain over the response that it began with, where nothing contradicts it."""
    by = by_id(rationales)
    superseded = {one.response for one in revisions.values() if one.kept}
    judged = {frozenset(one.parents[:2]): one for one in comparisons}
    for identity, revision in revisions.items():
        if not settings.revisions or identity in unfit or identity in superseded:
            continue
        revised, first = by[identity], by[revision.response]
        while first.id in revisions:
            first = by[revisions[first.id].response]
        verdict, before = verdicts[revised.id], verdicts[first.id]
        if first.finish != "stop" or first.text.split() == revised.text.split():
            continue
        judged_by_answer = not problems[revised.problem].is_open
        contradicted = judged_by_answer and (why_not(revised, verdict, require) or before.outcome != "incorrect")
        comparison = judged.get(frozenset((identity, first.id)))
        margin = 1.0
        if comparison:
            better = comparison.preferred if comparison.parents[0] == identity else 1 - comparison.preferred
            margin = 2 * better - 1
        if contradicted or margin < (settings.feedback.tie if settings.feedback and comparison else 0):
            continue
        parents = (identity, first.id, revision.id, *([comparison.id] if comparison else []))
        source = {"parents": parents, "margin": margin, "source": "revision", "principle": revision.principle}
        yield revised, first, source


def _pair_compared(
    rationales: Sequence[Rationale],
    revisions: Mapping[str, Revision],
    unfit: Set[str],
    comparisons: Iterable[Comparison],
    settings: Prefer,
) -> Iterator[Found]:
    """What a model found better over what it found worse; ties are dropped, and so are revisions that it found worse:
    they were written for another prompt."""
    by = by_id(rationales)
    for one in comparisons:
        first, second = by[one.parents[0]], by[one.parents[1]]
        margin = abs(2 * one.preferred - 1)
        if settings.feedback is None or margin < settings.feedback.tie or margin == 0:
            continue
        right, wrong = (first, second) if one.preferred > 0.5 else (second, first)
        if right.id in unfit or wrong.id in revisions or not right.finish == wrong.finish == "stop":
            continue
        parents = (right.id, wrong.id, one.id)
        yield right, wrong, {"parents": parents, "margin": margin, "source": "feedback", "principle": one.principle}


def _cut(right: Rationale, wrong: Rationale, judged: Verdict, blamed: Verdict) -> tuple[str, str, str] | None:
    """What both texts begin with, the right step and the first wrong one; None where they do not begin alike."""
    fault = next((step for step in blamed.steps if step.outcome == "incorrect"), None)
    if fault is None or right.text[: fault.start] != wrong.text[: fault.start]:
        return None
    instead = next((step for step in judged.steps if step.start == fault.start), None)
    if instead is None or right.text[fault.start : instead.end] == wrong.text[fault.start : fault.end]:
        return None
    return wrong.text[: fault.start], right.text[fault.start : instead.end], wrong.text[fault.start : fault.end]


def _pair(right: list[Rationale], wrong: list[Rationale]) -> list[tuple[Rationale, Rationale]]:
    """All pairs, ordered so that the first ones use each text equally often."""
    return [(right[at], wrong[(at + shift) % len(wrong)]) for shift in range(len(wrong)) for at in range(len(right))]


def pair(_: Sequence[Any], desk: Desk[Prefer]) -> Iterator[Record]:
    """What a model compares, the pairs of a round, and those that people chose between."""
    written, settings = read_written(desk), desk.settings
    select = desk.other(Select)
    select = select.model_copy(update={"require": settings.require or select.require})
    steps = ("steps",) if select.require != "answer" or settings.cut == "step" else ()
    part = list(desk.scan(Rationale).pick(*OF_RATIONALE))
    verdicts = {one.rationale: one for one in desk.scan(Verdict).pick("parents", "outcome", "reason", *steps)}
    compared: list[Comparison] = []
    if settings.feedback:
        compared = compare_responses(desk, settings.feedback, part, written.revisions, written.problems)
    yield from compared
    yield from prefer(
        part,
        problems=written.problems,
        verdicts={**verdicts, **written.earlier.verdicts},
        revisions=written.revisions,
        comparisons=compared,
        earlier=written.earlier.responses,
        prompts=desk.prompts,
        shown=desk.trains_shown,
        require=select,
        settings=settings,
    )
    yield from read_pairs(desk)


def read_pairs(desk: Desk[Prefer]) -> Iterator[Problem | Preference]:
    """Pairs that people chose between, each after its problem: so many of the file's, others in each round."""
    files = desk.settings.files
    if files is None:
        return
    order = sorted(desk.pairs, key=lambda one: derive_seed(desk.seed, "pairs", desk.round, one.id))
    for problem in order[: files.limit]:
        yield problem
        for other in problem.options:
            if problem.answer is not None and other != problem.answer:
                yield Preference(
                    parents=(problem.id,),
                    prompt=desk.prompts.render_verbatim(problem),
                    chosen=problem.answer,
                    rejected=other,
                    margin=1.0,
                    source="file",
                    group="",
                )


def reads(round_: Round[Prefer]) -> list[Key]:
    judge = [round_.start] if round_.settings.feedback else []
    return [*round_.every(Problem, Rationale, Verdict), *judge]


def depends(round_: Round[Prefer]) -> dict[str, Any]:
    settings, feedback = round_.settings, round_.settings.feedback
    return {
        **round_.own,
        "require": settings.require or round_.other(Select).require,
        "shown": trains_shown(round_.recipe),
        **round_.shared(*SHOWN),
        "constitution": "",
        **(round_.shared("constitution", "judge") if feedback else {}),
        **({"version of compare": COMPARE_VERSION} if feedback else {}),
    }


def say(desk: Desk[Prefer]) -> str:
    """How many pairs of what, how often the chosen text is the shorter one, and how the comparisons came out."""
    pairs, manifest = desk.scan_written(Preference), desk.manifest
    prompts: set[bytes] = set()
    sources: Counter[str] = Counter()
    shorter = 0
    for one in pairs.pick("prompt", "chosen", "rejected", "source"):
        prompts.add(fold(one.prompt))
        sources[one.source] += 1
        shorter += len(one.chosen) < len(one.rejected)
    problems = len(prompts)
    by = f" ({', '.join(f'{count} by {name}' for name, count in sources.items())})" if len(sources) > 1 else ""
    compared = describe_comparisons(manifest.metrics.get("comparisons")) if manifest else ""
    return f"{len(pairs)} pairs{by} of {problems} problems; in {shorter} the chosen text is the shorter one{compared}"


def cost(look: Look[Prefer]) -> Sequence[Cost]:
    feedback = look.settings.feedback
    if feedback is None or not feedback.thought:
        return ()
    return [Cost(texts=2 * look.sizes.problems * feedback.per_problem, longest=feedback.max_tokens)]


def check(recipe: Recipe, settings: Prefer) -> Iterable[Mistake]:
    trainers = [step.stage for step in flow_of(recipe) if Preference in step.stage.needs]
    if not trainers:
        yield Mistake(("stages", "prefer"), "the stage 'prefer' needs the stage 'dpo'")
    if settings.feedback and recipe.constitution is None:
        where = ("stages", "prefer", "feedback")
        yield Mistake(where, "'prefer.feedback' needs a 'constitution', by path or by name")
    if settings.feedback and recipe.train.family != "prompts" and recipe.open is None:
        yield Mistake(
            ("stages", "prefer", "feedback"),
            "'prefer.feedback' compares responses to open prompts; name some with 'open'",
        )


PREFER = Stage(
    name="prefer",
    version=2,
    settings=Prefer,
    writes=Preference,
    also=(Problem, Comparison),
    reads=reads,
    needs=(Problem, Rationale, Verdict),
    parts=lambda desk: [desk.scan(Rationale)],
    run=pair,
    uses=(*SHOWN, "constitution", "judge"),
    depends=depends,
    asks_too=lambda recipe: (settings := recipe.find(Prefer)) is not None and settings.feedback is not None,
    scores=lambda recipe: ["prefer.feedback"] if (found := recipe.find(Prefer)) and found.feedback else [],
    say=say,
    cost=cost,
    check=check,
)
