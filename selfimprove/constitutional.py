"""How the constitution's stages are fed: critiques and revisions, comparisons, and what is measured of them."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from selfimprove.context import Context
from selfimprove.phrases import find_boilerplate, refuses, speaks_of_itself
from selfimprove.plan import PlannedStage
from selfimprove.records import (
    Checkpoint,
    Comparison,
    Critique,
    Preference,
    Problem,
    Rationale,
    Record,
    Revision,
    Verdict,
    by_id,
    derive_seed,
)
from selfimprove.stages.compare import Match, compare
from selfimprove.stages.revise import revise
from selfimprove.stages.teach import is_right
from selfimprove.work import Records, Work, chunks, make_writer


@dataclass(frozen=True)
class Earlier:
    """Wrong responses of earlier rounds that are criticised and revised once more."""

    responses: list[Rationale]
    problems: dict[str, Problem]
    verdicts: dict[str, Verdict]


def read_earlier(round_: int, context: Context) -> Earlier:
    """The earlier responses that a round takes up: other ones in each round, each text once."""
    settings = context.recipe.stages.revise
    found: dict[tuple[str, str], Rationale] = {}
    problems: dict[str, Problem] = {}
    verdicts: dict[str, Verdict] = {}
    for before in range(1, round_) if settings and settings.earlier else ():
        problems |= by_id(context.read((before, "frontier"), Problem))
        wrong = {one.rationale: one for one in context.read((before, "verify"), Verdict) if one.outcome == "incorrect"}
        verdicts |= wrong
        for one in context.read((before, "generate"), Rationale):
            if one.id in wrong and one.finish == "stop":
                found.setdefault((one.problem, one.text), one)
    order = sorted(found.values(), key=lambda one: derive_seed(context.recipe.seed, "earlier", round_, one.id))
    responses = order[: settings.earlier] if settings else []
    return Earlier(
        responses,
        {one.problem: problems[one.problem] for one in responses},
        {one.id: verdicts[one.id] for one in responses},
    )


def revise_responses(
    stage: PlannedStage,
    context: Context,
    problems: Mapping[str, Problem],
    rationales: Sequence[Rationale],
    verdicts: Mapping[str, Verdict],
) -> Work:
    """The work of the stage `revise`: a round's samples go through critiques and revisions, a part after the other."""
    settings = context.recipe.stages.revise
    assert settings is not None
    taken = [one for one in rationales if one.sample < settings.per_problem and one.finish == "stop"]
    if settings.of == "failed":
        taken = [one for one in taken if verdicts[one.id].outcome != "correct"]
    if settings.limit is not None:
        taken = sorted(taken, key=lambda one: one.id)[: settings.limit]
    earlier = read_earlier(stage.round, context)
    taken += earlier.responses
    problems, verdicts = {**problems, **earlier.problems}, {**verdicts, **earlier.verdicts}

    def run(part: Sequence[Rationale]) -> Records:
        return _chain(stage, context, context.incumbent(stage.round), part, problems, verdicts, "revise")

    return Work(chunks(taken, settings.part_size), run, Revision, settings.revisions)


def _chain(
    stage: PlannedStage,
    context: Context,
    checkpoint: Checkpoint,
    responses: Sequence[Rationale],
    problems: Mapping[str, Problem],
    verdicts: Mapping[str, Verdict],
    purpose: str,
) -> Iterator[Record]:
    stages, prompter = context.recipe.stages, context.prompter
    assert stages.revise is not None and prompter is not None
    settings, critique = stages.revise, stages.critique
    if purpose == "evaluate":  # greedy, as the answers are
        settings = settings.model_copy(update={"temperature": 0.0})
        critique = critique and critique.model_copy(update={"temperature": 0.0})
    if not responses:
        return
    writer = replace(make_writer(stage.round, context, checkpoint), stop=prompter.stop)
    yield from revise(
        responses,
        problems=problems,
        verdicts=verdicts,
        judge=context.judging.judge,
        writer=writer,
        prompter=prompter,
        critique=critique,
        settings=settings,
        purpose=purpose,
        blind=purpose == "evaluate",
    )


def evaluate_revisions(
    stage: PlannedStage,
    context: Context,
    checkpoint: Checkpoint,
    problems: Mapping[str, Problem],
    answers: Sequence[Rationale],
    verdicts: Mapping[str, Verdict],
) -> Records:
    """What the model makes of its own held-out answers by critique and revision; the figures go into the manifest."""
    open_ = {name: one for name, one in problems.items() if one.is_open}
    texts = defaultdict(list)
    for one in answers:
        if one.problem in open_:
            texts[open_[one.problem].question].append(one.text)
    if texts:
        context.clock.metrics["open prompts"] = describe_texts(texts)
    if not context.recipe.stages.evaluate.revise:
        return
    taken = [one for one in answers if one.finish == "stop" and one.problem in problems]
    records = list(_chain(stage, context, checkpoint, taken, problems, verdicts, "evaluate"))
    yield from records
    context.clock.metrics["revised"] = measure_revisions(taken, verdicts, records)


def describe_texts(texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """How many responses to open prompts, by prompt, refuse, speak of themselves as an AI or are boilerplate."""
    everything = [one for found in texts.values() for one in found]
    boilerplate = find_boilerplate(texts)
    return {
        "responses": len(everything),
        "refusals": sum(map(refuses, everything)),
        "about itself": sum(map(speaks_of_itself, everything)),
        "boilerplate": sum(one in boilerplate for one in everything),
        "words": sum(len(one.split()) for one in everything) / max(1, len(everything)),
    }


def measure_revisions(
    responses: Sequence[Rationale], verdicts: Mapping[str, Verdict], records: Sequence[Record]
) -> dict[str, int]:
    """Wrong answers that became right, right ones that became wrong, and critiques that a verifier bears out."""
    judged = {**verdicts, **{one.rationale: one for one in records if isinstance(one, Verdict)}}
    by = by_id([*responses, *(one for one in records if isinstance(one, Rationale))])
    last = {one.id: one.id for one in responses}
    first = dict(last)
    for one in records:
        # Taken as the model gives it: no verifier says which of its revisions to keep.
        if isinstance(one, Revision) and by[one.rationale].finish == "stop":
            origin = first[one.response]
            first[one.rationale], last[origin] = origin, one.rationale
    found = [(judged[start].outcome, judged[end].outcome) for start, end in last.items()]
    critiques = [one for one in records if isinstance(one, Critique) and one.response in by]
    of_wrong = [one for one in critiques if judged[one.response].outcome == "incorrect"]
    of_right = [one for one in critiques if judged[one.response].outcome == "correct"]

    def count(some: Sequence[Critique]) -> tuple[int, int]:
        said = [is_right(one, by[one.response].text, judged[one.response]) for one in some]
        return sum(one is True for one in said), sum(one is not None for one in said)

    (named, wrong), (passed, right) = count(of_wrong), count(of_right)
    return {
        "wrong": sum(before == "incorrect" for before, _ in found),
        "repaired": sum(before == "incorrect" and after == "correct" for before, after in found),
        "right": sum(before == "correct" for before, _ in found),
        "spoiled": sum(before == "correct" and after != "correct" for before, after in found),
        "critiques of wrong": wrong,
        "a line named": sum(one.line is not None for one in of_wrong),
        "line named": named,
        "critiques of right": right,
        "nothing found": passed,
    }


def compare_responses(
    stage: PlannedStage,
    context: Context,
    rationales: Sequence[Rationale],
    revisions: Mapping[str, Revision],
    problems: Mapping[str, Problem],
) -> list[Comparison]:
    """What a model prefers among the responses to each open prompt."""
    stages = context.recipe.stages
    settings = stages.prefer.feedback if stages.prefer else None
    if settings is None:
        return []
    assert context.constitution is not None
    matches = []
    for problem, first, second in _pairs(rationales, revisions, problems, settings.per_problem):
        principles = context.constitution.applying("preference", problem.task, (problem.group,))
        rng = random.Random(derive_seed(context.recipe.seed, "compare", stage.round, first.id, second.id))
        if principles:
            principle = rng.choices(principles, weights=[one.weight for one in principles])[0]
            matches.append(Match(problem, first, second, principle))
    if not matches:
        return []
    judge, prompter = context.judge()
    compared = compare(
        matches,
        engine=context.engine(judge),
        checkpoint=judge.id,
        prompter=prompter,
        settings=settings,
        round_=stage.round,
        seed=context.recipe.seed,
    )
    problem_of = {one.id: one.problem for one in rationales}
    length = {one.id: len(one.text) for one in rationales}
    context.clock.metrics["comparisons"] = describe_comparisons(compared, length, settings.tie)
    assert all(problem_of[one.parents[0]] == problem_of[one.parents[1]] for one in compared)
    return compared


def _pairs(
    rationales: Sequence[Rationale],
    revisions: Mapping[str, Revision],
    problems: Mapping[str, Problem],
    limit: int,
) -> Iterator[tuple[Problem, Rationale, Rationale]]:
    """Pairs of responses to one open prompt: a last revision and what it began with, then any others."""
    superseded = {one.response for one in revisions.values() if one.kept}
    by = by_id(rationales)
    of_problem: dict[str, list[Rationale]] = defaultdict(list)
    for one in rationales:
        revised = revisions.get(one.id)
        last = revised is not None and revised.kept and one.id not in superseded
        if problems[one.problem].is_open and one.finish == "stop" and one.text.strip() and (not revised or last):
            of_problem[one.problem].append(one)

    def begins_with(one: Rationale) -> str:
        while one.id in revisions:
            one = by[revisions[one.id].response]
        return one.id

    for name, found in of_problem.items():
        pairs = [(one, other) for one, other in combinations(found, 2) if one.text.split() != other.text.split()]
        related = [pair for pair in pairs if begins_with(pair[0]) == begins_with(pair[1])]
        for first, second in [*related, *(pair for pair in pairs if pair not in related)][:limit]:
            yield problems[name], first, second


def describe_comparisons(compared: Sequence[Comparison], length: Mapping[str, int], tie: float) -> dict[str, Any]:
    """Counts, how much the place decided, and whether the longer text is preferred (Pearson's correlation)."""
    differences = [length[one.parents[0]] - length[one.parents[1]] for one in compared]
    preferred = [one.preferred for one in compared]
    return {
        "compared": len(compared),
        "ties": sum(abs(2 * one - 1) < tie for one in preferred),
        "for the first place": sum((one.forward + one.backward) / 2 for one in compared) / len(compared),
        "correlation with length": correlation(differences, preferred),
    }


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's correlation, None where one of the two does not vary."""
    n = len(xs)
    if n < 2:
        return None
    mean_x, mean_y = sum(xs) / n, sum(ys) / n
    over = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    spread = (sum((x - mean_x) ** 2 for x in xs) * sum((y - mean_y) ** 2 for y in ys)) ** 0.5
    return over / spread if spread else None


def read_pairs(stage: PlannedStage, context: Context) -> Iterator[Problem | Preference]:
    """Pairs that people chose between, each after its problem: so many of the file's, others in each round."""
    prefer = context.recipe.stages.prefer
    if prefer is None or prefer.files is None:
        return
    order = sorted(context.pairs, key=lambda one: derive_seed(context.recipe.seed, "pairs", stage.round, one.id))
    for problem in order[: prefer.files.limit]:
        yield problem
        for other in problem.options:
            if problem.answer is not None and other != problem.answer:
                yield Preference(
                    parents=(problem.id,),
                    prompt=context.prompts.render_verbatim(problem),
                    chosen=problem.answer,
                    rejected=other,
                    margin=1.0,
                    source="file",
                    group="",
                )
