"""The two stages that make checkpoints: the warm-up of a model built from nothing, and each round's SFT."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from selfimprove.context import Context
from selfimprove.errors import TrainingError
from selfimprove.models import build_model, hash_weights
from selfimprove.plan import PlannedStage
from selfimprove.recipe import Training
from selfimprove.records import Checkpoint, Example, Problem, Record, derive_seed
from selfimprove.store.parts import write_part
from selfimprove.tasks import Arithmetic
from selfimprove.trainers.job import RESULT, SftJob, TrainResult

CHECKPOINT = "checkpoint"


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
    model = recipe.model.path
    if recipe.model.build:
        context.import_models()
        build_model(recipe.model.build, folder / "initial", derive_seed(recipe.seed, "weights"))
        model = str(folder / "initial")
    assert model is not None
    yield from problems
    yield from examples
    yield _train(stage, context, "warmup", settings, examples, model, None)


def train_round(stage: PlannedStage, context: Context, examples: Sequence[Example], *, finished: bool) -> Checkpoint:
    """Train from the base or from the best checkpoint so far; `finished` says that every group is mastered."""
    settings = context.recipe.stages.sft
    if finished:
        settings = settings.model_copy(update={"learning_rate": settings.learning_rate * settings.mastered_rate})
    if not examples:
        raise TrainingError(
            f"{stage}: no rationale was kept, so there is nothing to train on; see why with: "
            f"selfimprove traces {context.folder.path.name} --round {stage.round}"
        )
    start = context.first_checkpoint() if settings.start == "base" else context.incumbent(stage.round)
    return _train(stage, context, "sft", settings, examples, context.weights(start), start)


def _train(
    stage: PlannedStage,
    context: Context,
    method: Literal["warmup", "sft"],
    settings: Training,
    examples: Sequence[Example],
    model: str,
    parent: Checkpoint | None,
) -> Checkpoint:
    recipe, folder = context.recipe, context.folder.stage(*stage.key).path
    base = parent.base or parent.path if parent and settings.lora else None
    output = folder / CHECKPOINT
    steps = settings.steps and round(settings.steps * settings.steps_growth ** max(0, stage.round - 1))
    job = SftJob(
        model=model,
        base=None if base is None else str(context.locate(base)),
        examples=(folder / "training" / "examples.parquet").resolve(),
        output=output.resolve(),
        settings=settings,
        steps=steps,
        seed=derive_seed(recipe.seed, "train", stage.round),
        chat=context.prompts.chat is not None,
        dtype=recipe.model.dtype,
        device=recipe.model.device,
        threads=recipe.engine.threads,
    )
    if output.exists():  # renamed whole before a kill came between it and its record
        result = TrainResult.model_validate_json((output / RESULT).read_text())
    else:
        job.workspace.mkdir(parents=True, exist_ok=True)
        write_part(job.examples, Example, examples)
        context.close_engine()
        result = _run(job, context)
        context.clock.model += result.seconds
        context.clock.imports += result.import_seconds
        context.clock.count(trained=result.tokens)
    shutil.rmtree(job.workspace, ignore_errors=True)
    context.clock.metrics.update(result.model_dump(mode="json", exclude={"seconds", "import_seconds", "tokens"}))
    return Checkpoint(
        parents=(*([parent.id] if parent else []), *dict.fromkeys(one.id for one in examples)),
        path=str(output.relative_to(context.folder.path)),
        method=method,
        weights=hash_weights(Path(output)),
        base=base,
    )


def _run(job: SftJob, context: Context) -> TrainResult:
    def report(step: int, steps: int, logged: dict[str, float]) -> None:
        note = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in logged.items())
        context.report.progress(step, steps, note)

    if job.settings.launch == "accelerate":
        from selfimprove.trainers.launch import launch_sft

        return launch_sft(job, report)
    from selfimprove.trainers.sft import train_sft

    return train_sft(job, report)
