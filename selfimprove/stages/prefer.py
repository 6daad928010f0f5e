"""Pair responses to one prompt: what is better over what is worse."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake
from selfimprove.recipe.flow import flow_of, trains_full_prompt
from selfimprove.records import (
    PEOPLE,
    Comparison,
    Preference,
    Problem,
    Rationale,
    Record,
    Revision,
    Verdict,
    derive_seed,
)
from selfimprove.settings import Settings, unhashed
from selfimprove.stages.as_sampled import is_sample, prompt_as_trained
from selfimprove.stages.base import SHOWN, Ahead, Cost, Desk, Key, Look, Round, Stage
from selfimprove.stages.compare import COMPARE_VERSION, Feedback, compare_responses, describe_comparisons
from selfimprove.stages.earlier import Written, fold, read_written
from selfimprove.stages.pairing import Found, JudgedTexts, Pairing, Revised, find_named
from selfimprove.stages.select import OF_RATIONALE, Select
from selfimprove.store.join import in_turn

CUT_VERSION = 2  # where a right answer may hold wrong steps


class HumanPairs(Settings):
    """Pairs that people chose between: `chosen` and `rejected` as whole dialogues (hh-rlhf), or `prompt`, `chosen` and
    `rejected` as texts or lists of messages; `score_chosen` and `score_rejected` give each its margin. What `export
    --what pairs` and `people pairs` write counts as by `people`, any other as by `file`."""

    path: str = unhashed(..., "a JSONL file, or one packed by gzip (its content counts)")
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
    limit: NonNegativeInt | None = None
    """At most n pairs a round, not counting those of `files`, chosen by a hash, evenly over the problems; by default
    all. With 0 there are none, until a rule of `decide` asks for some."""


def prefer(
    by_problem: Iterable[JudgedTexts],
    *,
    problems: Mapping[str, Problem],
    prompts: PromptFormat,
    shown: bool,
    require: Select,
    settings: Prefer,
    revisions: Mapping[str, Revision] | None = None,
    comparisons: Sequence[Comparison] = (),
    named: Iterable[tuple[Rationale, Verdict]] = (),
) -> Iterator[Preference]:
    """Pair the right and the wrong rationales of each problem, each as often as the others (IRPO, section 2), revisions
    with what they revise, and what was compared.

    `by_problem` gives what was written for one problem after the other, in the order of their ids; `revisions` is by
    rationale; `named` holds the responses that revisions and comparisons name, those of earlier rounds too. What is
    undecided is never rejected, nor is a text that was cut off: its fault is not the model's choice. A text that was
    written with a hint or a critique may be chosen and is never rejected, because its prompt was another one.
    """
    render = prompts.render if shown else prompts.render_question
    revised = Revised(revisions or {}, comparisons, {one.id: (one, verdict) for one, verdict in named}, problems)
    unfit = revised.find_unfit()
    tie = settings.feedback.tie if settings.feedback else None
    apart: dict[str, list[Found]] = defaultdict(list)
    for found in revised.pair_revisions(unfit, require, tie) if settings.revisions else ():
        apart[found[0].problem].append(found)
    for found in () if tie is None else revised.pair_compared(unfit, tie):
        apart[found[0].problem].append(found)
    left_out = unfit if settings.revisions else revised.revisions.keys()
    pairing = Pairing(prompts, require, settings.cut == "step", revised.revisions, left_out, apart)

    def pair_problem(judged: JudgedTexts) -> list[Preference]:
        problem = problems[judged[0][0].problem]
        pairs = list(islice(pairing.pair(problem, judged), settings.per_problem))
        if not pairs:
            return []
        given = [one.prompt for one, _ in judged if is_sample(one)][:1]
        prompt = given[0] if given and prompts.is_trained_as_shown(problem, shown) else render(problem)
        return [
            Preference(
                prompt=prompt + prompts.begin(before), chosen=right, rejected=wrong, group=problem.group, **source
            )
            for (before, right, wrong), source in pairs
        ]

    # In turn, so that a limit takes the same number of every problem before it takes one more of any.
    yield from in_turn(map(pair_problem, by_problem), Preference, limit=settings.limit)


def pair(_: Sequence[object], desk: Desk[Prefer]) -> Iterator[Record]:
    """What a model compares, the pairs of a round, and those that people chose between."""
    written, settings = read_written(desk), desk.settings
    select = desk.other(Select)
    select = select.model_copy(update={"require": settings.require or select.require})
    steps = ("steps",) if select.require != "answer" or settings.cut == "step" else ()
    compared: list[Comparison] = []
    if settings.feedback:
        rationales = desk.scan(Rationale).pick(*OF_RATIONALE)
        part = [one for one in rationales if written.problems[one.problem].is_open]
        compared = compare_responses(desk, settings.feedback, part, written.revisions, written.problems)
    yield from compared
    yield from prefer(
        written.judged.pick(OF_RATIONALE, ("outcome", "reason", *steps)).by_problem(),
        problems=written.problems,
        revisions=written.revisions,
        comparisons=compared,
        named=read_named(desk, written, find_named(written.revisions, compared)),
        prompts=desk.prompts,
        shown=desk.trains_full_prompt,
        require=select,
        settings=settings,
    )
    yield from read_pairs(desk)


def read_named(desk: Desk[Prefer], written: Written, names: Set[str]) -> Iterator[tuple[Rationale, Verdict]]:
    """The responses of these ids, with their verdicts, and those of earlier rounds."""
    verdicts = {one.rationale: one for one in desk.scan(Verdict).find(names, "parents")} | written.earlier.verdicts
    for one in [*desk.scan(Rationale).find(names), *written.earlier.responses]:
        yield one, verdicts[one.id]


def read_pairs(desk: Desk[Prefer]) -> Iterator[Problem | Preference]:
    """Pairs that people chose between, each after its problem: so many of the file's, others in each round."""
    files = desk.settings.files
    if files is None:
        return
    order = sorted(desk.pairs, key=lambda one: derive_seed(desk.seed, "pairs", desk.round, one.problem.id))
    for pair in order[: files.limit]:
        problem = pair.problem
        yield problem
        for other in problem.options:
            if problem.answer is not None and other != problem.answer:
                yield Preference(
                    parents=(problem.id,),
                    prompt=prompt_of_pair(problem, pair.source, desk),
                    chosen=problem.answer,
                    rejected=other,
                    margin=pair.margin,
                    source=pair.source,
                    group="",
                    weight=pair.weight,
                )


def prompt_of_pair(problem: Problem, source: str, desk: Desk[Prefer]) -> str:
    """The prompt of a pair from a file: of what people ranked the question in the recipe's own form, else as it stands.

    A reward model is asked by the same form, which a chat template or a cue makes another one than the question.
    """
    if source != PEOPLE:
        return desk.prompts.render_verbatim(problem)
    asked = Problem(question=problem.question, answer=None, task=desk.task.name)
    return prompt_as_trained(asked, desk.prompts, desk.trains_full_prompt)


def reads(round_: Round[Prefer]) -> list[Key]:
    judge = [round_.start] if round_.settings.feedback else []
    return [*round_.every(Problem, Rationale, Verdict), *judge]


def depends(round_: Round[Prefer]) -> dict[str, object]:
    settings, feedback = round_.settings, round_.settings.feedback
    require = settings.require or round_.other(Select).require
    return {
        **round_.own,
        "require": require,
        **({"version of cut": CUT_VERSION} if settings.cut == "step" and require == "answer" else {}),
        "shown": trains_full_prompt(round_.recipe),
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
    compared = ""
    if metrics := manifest.metrics.get("comparisons") if manifest else None:
        compared = describe_comparisons(metrics, trained=desk.setting("sft.preferred_less") == "train")
    return f"{len(pairs)} pairs{by} of {problems} problems; in {shorter} the chosen text is the shorter one{compared}"


def cost(look: Look[Prefer]) -> Sequence[Cost]:
    feedback = look.settings.feedback
    if feedback is None or not feedback.thought:
        return ()
    return [Cost(texts=2 * look.sizes.problems * feedback.per_problem, longest=feedback.max_tokens)]


def say_ahead(ahead: Ahead[Prefer]) -> Iterator[str]:
    if feedback := ahead.settings.feedback:
        prompts = ahead.sizes.problems if ahead.recipe.train.family == "prompts" else ahead.sizes.open
        pairs = prompts * feedback.per_problem
        yield f"`prefer` has the judge compare at most {pairs:,} pairs of responses a round, in both orders"


def check(recipe: Recipe, settings: Prefer) -> Iterable[Mistake]:
    trainers = [one.stage for one in flow_of(recipe) if Preference in one.stage.needs or one.stage.trains == "reward"]
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
    ahead=say_ahead,
    check=check,
)
