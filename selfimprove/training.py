"""The stages that make checkpoints: the warm-up of a model built from nothing, and each round's SFT and DPO."""

import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any

from selfimprove.addition import write_critique
from selfimprove.context import Context
from selfimprove.errors import TrainingError
from selfimprove.memory import Phase
from selfimprove.models import build_model, hash_weights
from selfimprove.plan import PlannedStage
from selfimprove.recipe import Training
from selfimprove.records import Checkpoint, Example, Preference, Problem, Record, derive_seed
from selfimprove.stats import dpo_loss
from selfimprove.store.parts import write_part
from selfimprove.store.stage import CHECKPOINT
from selfimprove.tasks import Arithmetic
from selfimprove.trackers import Destination, Ledger
from selfimprove.trainers.checkpoints import is_finished
from selfimprove.trainers.job import RESULT, DpoJob, Job, SftJob, TrainResult

SEEDED_RIGHT = 0.1  # of the seed responses are right; made-up mistakes leave some of the others right too


def warm_up(stage: PlannedStage, context: Context) -> Iterator[Record]:
    """Build the model and train it on seed rationales; a share of them is shown with the hint as well.

    The hinted rows teach the format of rationalization's prompt; they are seed data, no sample of a round.
    """
    settings, recipe, task = context.recipe.stages.warmup, context.recipe, context.task
    assert settings is not None and isinstance(task, Arithmetic)
    folder = context.folder.stage(*stage.key).path
    problems: list[Problem] = []
    examples: list[Example] = []
    rows = task.seed_rationales(settings.examples, recipe.seed)
    hinted = round(len(rows) * settings.hinted)
    for at, (problem, rationale) in enumerate(rows):
        problems.append(problem)
        prompts = [context.prompts.render_question(problem)]
        # Every n-th row, so that the hinted ones are spread over all shapes.
        if (at + 1) * hinted // len(rows) > at * hinted // len(rows):
            prompts.append(context.prompts.render_hint(problem))
        examples += [
            Example(parents=(problem.id,), prompt=one, completion=rationale, origin="seed", group=problem.group)
            for one in prompts
        ]
    lessons = list(_seed_critiques(context, settings.critiques))
    problems += [one for one in lessons if isinstance(one, Problem)]
    examples += [one for one in lessons if isinstance(one, Example)]
    model = recipe.model.path
    if recipe.model.build:
        context.import_models()
        build_model(recipe.model.build, folder / "initial", derive_seed(recipe.seed, "weights"))
        model = str(folder / "initial")
    assert model is not None
    yield from problems
    yield from examples
    job = SftJob(model=model, settings=settings, **_job(stage, context, settings, None))
    yield _train(stage, context, job, "warmup", examples, None)


def _seed_critiques(context: Context, count: int) -> Iterator[Problem | Example]:
    """Seed critiques by the constitution, and the revisions by those that find something."""
    task, constitution = context.task, context.constitution
    if not count:
        return
    assert isinstance(task, Arithmetic) and constitution is not None and context.prompter is not None
    for problem, response, rationale in task.seed_responses(count, context.recipe.seed, right=SEEDED_RIGHT):
        applying = constitution.applying("critique", task.name, (problem.group,))
        if not applying:
            raise TrainingError(f"'{constitution.name}': no principle for critiques applies to '{task.name}'")
        principle = applying[0]
        critique = write_critique(problem.question, response, constitution.nothing)
        prompt = context.prompter.critique(principle, problem.question, response)
        rows = [("critique", prompt, critique)]
        if response != rationale:
            again = context.prompter.revision(principle, problem.question, response, critique)
            rows.append(("revision", again, rationale))
        yield problem
        for _, shown, completion in rows:
            yield Example(
                parents=(problem.id,), prompt=shown, completion=completion, origin="seed", group=problem.group
            )


def train_round(stage: PlannedStage, context: Context, examples: Sequence[Example], *, finished: bool) -> Checkpoint:
    """Train from the base or from the best checkpoint so far; `finished` says that every group is mastered."""
    settings = context.recipe.stages.sft
    assert settings is not None
    if finished:
        settings = settings.model_copy(update={"learning_rate": settings.learning_rate * settings.mastered_rate})
    if not examples:
        raise TrainingError(
            f"{stage}: no rationale was kept, so there is nothing to train on; see why with: "
            f"selfimprove traces {context.folder.path.name} --round {stage.round}"
        )
    start = context.first_checkpoint() if settings.start == "base" else context.incumbent(stage.round)
    job = SftJob(model=context.weights(start), settings=settings, **_job(stage, context, settings, start))
    return _train(stage, context, job, "sft", examples, start)


def train_preferences(stage: PlannedStage, context: Context, pairs: Sequence[Preference]) -> Checkpoint:
    """Train the round's checkpoint so far on pairs; where there are none, as nothing is wrong any more, keep it."""
    settings = context.recipe.stages.dpo
    assert settings is not None
    start = context.incumbent(stage.round)
    if context.recipe.stages.sft:
        start = context.read((stage.round, "sft"), Checkpoint)[0]
    if not pairs:
        context.clock.metrics["pairs"] = 0
        return start
    first = context.first_checkpoint()
    reference = context.weights(first) if settings.reference == "base" and first.id != start.id else None
    job = DpoJob(
        model=context.weights(start),
        settings=settings,
        reference=reference,
        **_job(stage, context, settings, start),
    )
    measured = sorted(pairs, key=lambda one: one.id)[: settings.measure]
    before = _score(measured, context, start)
    held_to = _score(measured, context, first) if reference else before
    trained = _train(stage, context, job, "dpo", pairs, start)
    context.clock.metrics["pairs"] = len(pairs)
    if measured:
        after = _score(measured, context, trained)
        context.clock.metrics["measured"] = {
            name: _describe(found, held_to, settings.beta) for name, found in (("before", before), ("after", after))
        }
    return trained


def _score(pairs: Sequence[Preference], context: Context, checkpoint: Checkpoint) -> list[tuple[float, float]]:
    """The log-probabilities of the chosen and the rejected texts with their end tokens."""
    if not pairs:
        return []
    engine = context.engine(checkpoint)
    found: dict[str, tuple[float, float]] = {}
    for ends in (True, False):  # the first step of a text ends without an end token, a whole text with one
        some = [one for one in pairs if one.ends == ends]
        texts = [(one.prompt, text) for one in some for text in (one.chosen, one.rejected)]
        scores = [one.logprob for one in engine.score(texts, end=ends)]
        found |= zip((one.id for one in some), zip(scores[::2], scores[1::2], strict=True), strict=True)
    return [found[one.id] for one in pairs]


def _describe(scores: list[tuple[float, float]], reference: list[tuple[float, float]], beta: float) -> dict[str, float]:
    loss, accuracy = dpo_loss(scores, reference, beta=beta)
    chosen, rejected = (sum(one[at] for one in scores) / len(scores) for at in (0, 1))
    return {"loss": loss, "accuracy": accuracy, "chosen": chosen, "rejected": rejected}


def _job(stage: PlannedStage, context: Context, settings: Training, parent: Checkpoint | None) -> dict[str, Any]:
    """What the jobs of all methods share."""
    recipe, folder = context.recipe, context.folder.stage(*stage.key).path
    base = parent.base or parent.path if parent and settings.lora else None
    return {
        "base": None if base is None else str(context.locate(base)),
        "examples": (folder / "training" / "examples.parquet").resolve(),
        "output": (folder / CHECKPOINT).resolve(),
        "steps": settings.steps and round(settings.steps * settings.steps_growth ** max(0, stage.round - 1)),
        "seed": derive_seed(recipe.seed, "train", stage.round),
        "chat": context.prompts.chat is not None,
        "dtype": recipe.model.dtype,
        "device": recipe.model.device,
        "threads": recipe.engine.threads,
        "reporting": _reporting(stage, context),
    }


def _reporting(stage: PlannedStage, context: Context) -> Destination | None:
    """Where a stage's trainer reports to: under the same name for as long as it can go on where it was."""
    if not context.recipe.report_to:
        return None
    ledger, part = Ledger(context.folder.path), str(stage).replace("/", "-")
    if not (context.folder.stage(*stage.key).path / "training").exists():
        ledger.begin(part)
    return ledger.destination(context.recipe.report_to, context.folder.path.resolve().name, part)


def _train(
    stage: PlannedStage,
    context: Context,
    job: Job,
    method: Any,
    rows: Sequence[Example] | Sequence[Preference],
    parent: Checkpoint | None,
) -> Checkpoint:
    output, disk = job.output, context.folder.stage(*stage.key)
    if is_finished(output):  # renamed whole before a kill came between it and its record
        result = TrainResult.model_validate_json((output / RESULT).read_text())
        if not any("trained" in one.tokens for one in disk.usage()):
            context.clock.count_earlier(result.seconds, result.import_seconds)
            context.clock.count(trained=result.tokens)
    else:
        job.workspace.mkdir(parents=True, exist_ok=True)
        write_part(job.examples, type(rows[0]), rows)
        context.rest_engine()
        result = _run(job, context)
        context.clock.model += result.seconds
        context.clock.imports += result.import_seconds
        context.clock.count(trained=result.tokens)
    shutil.rmtree(job.workspace, ignore_errors=True)
    context.clock.metrics.update(
        result.model_dump(mode="json", exclude={"seconds", "import_seconds", "tokens", "peaks"})
    )
    base = parent.base or parent.path if parent and job.settings.lora else None
    return Checkpoint(
        parents=(*([parent.id] if parent else []), *dict.fromkeys(one.id for one in rows)),
        path=str((disk.path / CHECKPOINT).relative_to(context.folder.path)),
        method=method,
        weights=hash_weights(output),
        base=base,
    )


def _run(job: Job, context: Context) -> TrainResult:
    def report(step: int, steps: int, logged: dict[str, float]) -> None:
        note = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in logged.items())
        context.report.progress(step, steps, note)

    from selfimprove.trainers.launch import launch_training, runs_in_child

    if runs_in_child(job.settings):
        started = time.perf_counter()
        result = launch_training(job, report)
        seconds = time.perf_counter() - started
        where = f"in {result.processes} children" if result.processes > 1 else "in a child"
        context.clock.phases.add(Phase(phase=f"training {where}", seconds=seconds, **result.peaks))
        return result
    from selfimprove.trainers.common import run_job

    context.clock.phases.begin("training in this process")
    result = run_job(job, report)
    context.clock.phases.begin("")
    return result
