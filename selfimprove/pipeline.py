"""How each stage is fed: its inputs from the store, cut into parts, and its plain function to run on each part."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from selfimprove.answering import answer_held_out, counted
from selfimprove.constitutional import (
    compare_responses,
    read_earlier,
    read_pairs,
    revise_responses,
)
from selfimprove.context import Context
from selfimprove.divergence import KL, measure_kl
from selfimprove.errors import StoreError
from selfimprove.plan import PlannedStage, last_training
from selfimprove.pools import (
    find_failed,
    mastered_groups,
    read_pool,
    read_revisions,
    read_seeds,
    read_votes,
    read_written,
    read_yields,
    trained_examples,
)
from selfimprove.records import (
    Checkpoint,
    Critique,
    Decision,
    Example,
    Frontier,
    Preference,
    Problem,
    Promotion,
    Rationale,
    Verdict,
    Vote,
    by_id,
    derive_seed,
)
from selfimprove.stages.frontier import frontier
from selfimprove.stages.generate import generate
from selfimprove.stages.prefer import prefer
from selfimprove.stages.promote import promote
from selfimprove.stages.rationalize import rationalize
from selfimprove.stages.repair import find_beginnings, repair
from selfimprove.stages.select import check_no_hint, select
from selfimprove.stages.teach import teach
from selfimprove.stages.verify import cross_check, verify
from selfimprove.stages.vote import vote
from selfimprove.training import train_preferences, train_round, warm_up
from selfimprove.work import Records, Work, chunks, make_writer


def prepare(stage: PlannedStage, context: Context) -> Work:
    """The work of a stage."""
    return PREPARE[stage.name](stage, context)


def _problems(stage: PlannedStage, context: Context) -> Work:
    def run(part: Sequence[Any]) -> Records:
        left_out = {task.name: task.left_out for task in context.held_out_tasks if task.left_out}
        if left_out:
            context.clock.metrics["rows left out"] = left_out
        return part

    return Work([context.held_out], run, Problem)


def _base(stage: PlannedStage, context: Context) -> Work:
    def run(_: Sequence[Any]) -> Records:
        from selfimprove.models import hash_weights, resolve_folder

        path = str(context.recipe.model.path)
        yield Checkpoint(path=path, method="base", weights=hash_weights(resolve_folder(path)))

    return Work([[None]], run, Checkpoint)


def _warmup(stage: PlannedStage, context: Context) -> Work:
    return Work([[None]], lambda _: warm_up(stage, context), Checkpoint)


def _frontier(stage: PlannedStage, context: Context) -> Work:
    task, round_, settings = context.task, stage.round, context.recipe.stages.frontier
    held_out = {problem.question for problem in context.held_out}

    def run(_: Sequence[Any]) -> Records:
        before: list[Frontier] = []
        yields: dict[str, tuple[int, int]] = {}
        if round_ > 1:
            before = context.read((round_ - 1, "frontier"), Frontier)
            yields = read_yields(round_ - 1, context)
        decisions = frontier(
            task=task.name,
            levels=task.levels,
            leads_to=task.leads_to,
            seeded=task.seeded,
            before=before,
            yields=yields,
            settings=settings,
            round_=round_,
        )
        yield from decisions
        for decision in decisions:
            seed = derive_seed(context.recipe.seed, "draw", round_, decision.group)
            for problem in task.draw(decision.group, decision.draw, seed):
                if problem.question in held_out:
                    raise StoreError(f"{stage}: the held-out problem {problem.question!r} was drawn for training")
                yield problem
        yield from context.draw_open(round_)

    return Work([[None]], run, Problem, per_item=settings.problems)


def _generate(stage: PlannedStage, context: Context) -> Work:
    settings = context.recipe.stages.generate

    def run(problems: Sequence[Problem]) -> Records:
        return generate(
            problems,
            writer=make_writer(stage.round, context, context.incumbent(stage.round)),
            render=context.prompts.render,
            sampling=settings,
            samples=settings.samples,
        )

    drawn = context.read((stage.round, "frontier"), Problem)
    return Work(chunks(drawn, settings.part_size), run, Rationale, settings.samples)


def verify_part(stage: PlannedStage, context: Context) -> Callable[[Sequence[Rationale]], Records]:
    """What judges a part of a round's rationales; any thread may call it where no model judges."""
    problems = by_id(context.read((stage.round, "frontier"), Problem))
    settings, judging = context.recipe.stages.verify, context.judging
    votes = context.recipe.stages.select.vote is not None

    def run(rationales: Sequence[Rationale]) -> Records:
        verdicts = []
        for verdict in verify(rationales, problems=problems, judge=judging.judge):
            verdicts.append(verdict)
            yield verdict
        if settings.second:
            yield from cross_check(
                zip(rationales, verdicts, strict=True),
                problems=problems,
                judge=judging.judge_again,
                share=settings.second.share,
            )
        if votes:
            judged = zip(rationales, verdicts, strict=True)
            unknown = [one for one, verdict in judged if verdict.outcome == "undecided"]
            unknown = [one for one in unknown if problems[one.problem].answer is None]
            unknown = [one for one in unknown if not problems[one.problem].is_open]
            yield from vote(problems, unknown, same=judging.same_answers)

    return run


def verified_at_once(context: Context) -> int:
    """Rationales a part of `verify`: all samples of a problem stand in one part where they are voted on."""
    stages = context.recipe.stages
    samples = stages.generate.samples if stages.select.vote else 1
    return max(1, stages.verify.part_size // samples) * samples


def _verify(stage: PlannedStage, context: Context) -> Work:
    rationales = context.read((stage.round, "generate"), Rationale)
    return Work(chunks(rationales, verified_at_once(context)), verify_part(stage, context), Verdict)


def _some(problems: list[Problem], limit: int | None) -> list[Problem]:
    """At most `limit` problems, chosen by their ids, which are hashes."""
    return problems if limit is None else sorted(problems, key=lambda one: one.id)[:limit]


def _judged(problems: Sequence[Problem], rationales: Iterable[Rationale], context: Context) -> Records:
    """Rationales as they come, then their verdicts."""
    written = []
    for rationale in rationales:
        written.append(rationale)
        yield rationale
    yield from verify(written, problems=by_id(problems), judge=context.judging.judge)


def _repair(stage: PlannedStage, context: Context) -> Work:
    settings = context.recipe.stages.repair
    assert settings is not None
    round_, sampled = stage.round, context.recipe.stages.generate
    verdicts = {one.rationale: one for one in context.read((round_, "verify"), Verdict)}
    beginnings = find_beginnings(context.read((round_, "generate"), Rationale), verdicts)
    failed = [one for one in find_failed(round_, context) if one.id in beginnings]

    def run(problems: Sequence[Problem]) -> Records:
        rationales = repair(
            problems,
            beginnings=beginnings,
            writer=make_writer(round_, context, context.incumbent(round_)),
            render=context.prompts.render,
            sampling=sampled.model_copy(update={"temperature": settings.temperature}),
            samples=settings.samples,
        )
        return _judged(problems, rationales, context)

    return Work(chunks(_some(failed, settings.limit), settings.part_size), run, Rationale, settings.samples)


def _rationalize(stage: PlannedStage, context: Context) -> Work:
    settings = context.recipe.stages.rationalize
    assert settings is not None
    round_, sampled = stage.round, context.recipe.stages.generate
    temperature = sampled.temperature if settings.temperature is None else settings.temperature

    def run(problems: Sequence[Problem]) -> Records:
        rationales = rationalize(
            problems,
            writer=make_writer(round_, context, context.incumbent(round_)),
            render_hint=context.prompts.render_hint,
            sampling=sampled.model_copy(update={"temperature": temperature}),
            samples=settings.samples,
        )
        return _judged(problems, rationales, context)

    failed = _some([one for one in find_failed(round_, context) if one.answer is not None], settings.limit)
    return Work(chunks(failed, settings.part_size), run, Rationale, settings.samples)


def _revise(stage: PlannedStage, context: Context) -> Work:
    problems = by_id(context.read((stage.round, "frontier"), Problem))
    rationales = context.read((stage.round, "generate"), Rationale)
    verdicts = {one.rationale: one for one in context.read((stage.round, "verify"), Verdict)}
    return revise_responses(stage, context, problems, rationales, verdicts)


def _select(stage: PlannedStage, context: Context) -> Work:
    round_, recipe = stage.round, context.recipe
    rationales, verdicts = read_written(round_, context)
    problems = by_id(context.read((round_, "frontier"), Problem))
    revisions = read_revisions(round_, context)
    earlier = read_earlier(round_, context)
    problems, verdicts = {**problems, **earlier.problems}, {**verdicts, **earlier.verdicts}
    votes = read_votes(round_, context)

    def run(part: Sequence[Rationale]) -> Records:
        examples = []
        for record in select(
            part,
            problems=problems,
            verdicts=verdicts,
            earlier=chain(read_seeds(context), *read_pool(stage, context, up_to=round_ - 1)),
            prompts=context.prompts,
            shown=recipe.stages.shown,
            settings=recipe.stages.select,
            revisions=revisions,
            all_revisions=recipe.stages.revise is not None and recipe.stages.revise.train == "all",
            votes=votes,
        ):
            if isinstance(record, Example):
                examples.append(record)
            yield record
        if recipe.stages.revise and recipe.stages.revise.lessons:
            critiques = context.read((round_, "revise"), Critique)
            yield from teach(
                [*part, *earlier.responses],
                critiques,
                revisions.values(),
                problems=problems,
                verdicts=verdicts,
                settings=recipe.stages.select,
            )
        hinted = check_no_hint(examples, context.prompts, problems)
        if hinted:
            raise StoreError(f"{stage}: {hinted} examples hold a prompt with the hint; this is a fault of the program")
        context.clock.metrics["prompts checked for hints"] = len(examples)
        if recipe.stages.generate.kl_samples:  # here, because the engine is closed for training next
            context.clock.metrics[KL] = measure_kl(round_, part, context)

    return Work([rationales], run, Decision)


def _sft(stage: PlannedStage, context: Context) -> Work:
    def run(_: Sequence[Any]) -> Records:
        finished = mastered_groups(stage.round, context) >= set(context.task.levels)
        yield train_round(stage, context, trained_examples(stage, context), finished=finished)

    return Work([[None]], run, Checkpoint)


def _prefer(stage: PlannedStage, context: Context) -> Work:
    stages = context.recipe.stages
    settings = stages.prefer
    assert settings is not None
    rationales, verdicts = read_written(stage.round, context)
    problems = by_id(context.read((stage.round, "frontier"), Problem))
    revisions = read_revisions(stage.round, context)
    earlier = read_earlier(stage.round, context)
    problems, verdicts = {**problems, **earlier.problems}, {**verdicts, **earlier.verdicts}

    def run(part: Sequence[Rationale]) -> Records:
        compared = compare_responses(stage, context, part, revisions, problems)
        yield from compared
        yield from prefer(
            part,
            problems=problems,
            verdicts=verdicts,
            revisions=revisions,
            comparisons=compared,
            earlier=earlier.responses,
            prompts=context.prompts,
            shown=stages.shown,
            require=stages.select.model_copy(update={"require": settings.require or stages.select.require}),
            settings=settings,
        )
        yield from read_pairs(stage, context)

    return Work([rationales], run, Preference)


def _dpo(stage: PlannedStage, context: Context) -> Work:
    def run(_: Sequence[Any]) -> Records:
        yield train_preferences(stage, context, context.read((stage.round, "prefer"), Preference))

    return Work([[None]], run, Checkpoint)


def _promote(stage: PlannedStage, context: Context) -> Work:
    def outcomes(checkpoint: Checkpoint) -> dict[str, Any]:
        for round_ in range(stage.round, -1, -1):
            rationales = [one for one in context.read((round_, "evaluate"), Rationale) if one.origin == "sampled"]
            rationales = counted(rationales, context.read((round_, "evaluate"), Vote))
            if rationales and rationales[0].checkpoint == checkpoint.id:
                verdicts = {one.rationale: one for one in context.read((round_, "evaluate"), Verdict)}
                tasks = context.recipe.stages.promote.tasks
                decide = {one.id for one in context.held_out if not tasks or one.task in tasks}
                return {one.problem: verdicts[one.id].outcome for one in rationales if one.problem in decide}
        raise StoreError(f"{stage}: no evaluation of the checkpoint {checkpoint.id}")

    def run(_: Sequence[Any]) -> Records:
        candidate: Checkpoint = context.read((stage.round, last_training(context.recipe)), Checkpoint)[0]
        incumbent = context.incumbent(stage.round)
        yield promote(
            candidate.id,
            incumbent.id,
            now=outcomes(candidate),
            before=outcomes(incumbent),
            settings=context.recipe.stages.promote,
        )

    return Work([[None]], run, Promotion)


PREPARE: dict[str, Callable[[PlannedStage, Context], Work]] = {
    "problems": _problems,
    "base": _base,
    "warmup": _warmup,
    "frontier": _frontier,
    "generate": _generate,
    "verify": _verify,
    "repair": _repair,
    "rationalize": _rationalize,
    "revise": _revise,
    "select": _select,
    "sft": _sft,
    "prefer": _prefer,
    "dpo": _dpo,
    "evaluate": answer_held_out,
    "promote": _promote,
}
