"""Training for a stage: the job and where it lies, the engine out of the way, a checkpoint that says what it saw."""

import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfimprove.engines.model_files import read_base
from selfimprove.engines.model_folders import resolve_folder
from selfimprove.engines.tensors import hash_weights
from selfimprove.recipe import Training
from selfimprove.recipe.catalog import extensions
from selfimprove.records import OF_BASE, Checkpoint, derive_seed
from selfimprove.running.decontaminate import decontaminate
from selfimprove.running.plan import PlannedStage
from selfimprove.running.session import Session
from selfimprove.stages.base import Trainable
from selfimprove.stages.training import adapter_before, with_adapter
from selfimprove.store.join import Chosen
from selfimprove.store.parts import PartFile, write_part
from selfimprove.store.rows import Rows
from selfimprove.store.stage import CHECKPOINT
from selfimprove.trainers.checkpoints import is_finished
from selfimprove.trainers.job import RESULT, TrainingJob, TrainResult
from selfimprove.trainers.peaks import Phase
from selfimprove.trainers.trackers import Destination, Ledger


def train(
    stage: PlannedStage,
    session: Session,
    kind: type[TrainingJob],
    rows: Trainable,
    start: Checkpoint | None,
    given: Mapping[str, Any],
) -> Checkpoint:
    """Train on rows, unless that was done before a kill; the checkpoint's parents are the one before and the rows."""
    rows, given = decontaminate(stage, session, rows, given)
    if "mixed" in given:
        given = {**given, "mixed": tuple((one.prompt, one.completion) for one in given["mixed"])}
    job = _make_job(stage, session, kind, start, given)
    disk = session.folder.stage(*stage.key)
    if is_finished(job.output):  # renamed whole before a kill came between it and its record
        result = TrainResult.model_validate_json((job.output / RESULT).read_text())
        if not any("trained" in one.tokens for one in disk.usage()):
            session.clock.count_earlier(result.seconds, result.import_seconds)
            count_tokens(result, session)
    else:
        job.workspace.mkdir(parents=True, exist_ok=True)
        write_rows(job.examples, rows)
        session.slot.rest()
        result = _run(job, session)
        session.clock.model += result.seconds
        session.clock.imports += result.import_seconds
        count_tokens(result, session)
    shutil.rmtree(job.workspace, ignore_errors=True)
    told = result.model_dump(mode="json", exclude={"seconds", "import_seconds", "tokens", "written", "peaks"})
    session.clock.metrics.update(told)
    if (before := goes_on_with(stage, start)) and stage.own.lora is None:
        session.clock.metrics["adapter of"] = before[0]
    adapts = stage.declared.trains == "policy" and job.settings.lora  # a reward model's adapter is merged
    base = find_base(start, job.model, session) if adapts else None
    if base and start is None:
        session.clock.metrics[OF_BASE] = hash_weights(resolve_folder(str(session.locate(base))))
    return Checkpoint(
        parents=(*([start.id] if start else []), *dict.fromkeys(_ids(rows))),
        path=str(job.output.relative_to(session.folder.path.resolve())),
        method=stage.declared.name,
        weights=hash_weights(Path(job.output)),
        base=base,
        role=stage.declared.trains or "policy",
    )


def count_tokens(result: TrainResult, session: Session) -> None:
    """Count what was trained, and what was written to be trained on meanwhile."""
    session.clock.count(trained=result.tokens, **({"written": result.written} if result.written else {}))


def write_rows(path: Path, rows: Trainable) -> None:
    """Write what is trained on; what lies on disk goes there as it is."""
    if not isinstance(rows, Rows | Chosen):
        write_part(path, type(rows[0]), rows)
        return
    file = PartFile(path, rows.kind)
    try:
        for batch in rows.batches():
            file.add_batch(batch)
        file.commit()
    finally:
        file.close()


def _ids(rows: Trainable) -> Iterator[str]:
    return rows.ids() if isinstance(rows, Rows | Chosen) else (one.id for one in rows)


def _make_job(
    stage: PlannedStage,
    session: Session,
    kind: type[TrainingJob],
    start: Checkpoint | None,
    given: Mapping[str, Any],
) -> TrainingJob:
    recipe, folder = stage.recipe, session.folder.stage(*stage.key).path
    settings: Training = given.get("settings", stage.own)
    settings = with_adapter(settings, goes_on_with(stage, start))
    given = {**given, "settings": settings}
    base = find_base(start, given.get("model"), session) if settings.lora else start.base if start else None
    common: dict[str, Any] = {
        "model": session.weights(start) if start else None,
        "base": None if base is None else str(session.locate(base)),
        "examples": (folder / "training" / "examples.parquet").resolve(),
        "output": (folder / CHECKPOINT).resolve(),
        "steps": settings.steps and steps_of_round(settings.steps, settings.steps_growth, stage.round),
        "seed": derive_seed(recipe.seed, "train", stage.round),
        "chat": session.prompts.chat is not None,
        "dtype": recipe.model.dtype,
        "device": recipe.model.device,
        "threads": recipe.engine.threads,
        "reporting": _reporting(stage, session),
        "files": tuple(one.path for one in extensions() if one.path),
    }
    return kind(**{**common, **given})


def find_base(start: Checkpoint | None, model: str | None, session: Session) -> str | None:
    """The whole model under an adapter that is trained, as a record names it; `model` is the folder that training
    begins with where no checkpoint was there before."""
    if start:
        return start.base or start.path
    if model is None:
        return None
    under, run = read_base(resolve_folder(model)) or model, session.folder.path.resolve()
    place = Path(under).resolve()
    return str(place.relative_to(run)) if place.is_relative_to(run) else under


def steps_of_round(steps: int, growth: float, round_: int) -> int:
    """The steps of a round (STaR, section 4.1): one at least, for none would stand for whole epochs."""
    return max(1, round(steps * growth ** max(0, round_ - 1)))


def goes_on_with(stage: PlannedStage, start: Checkpoint | None) -> tuple[str, Training] | None:
    """The stage whose adapter a training goes on with, and its settings."""
    if start is None or start.base is None or stage.declared.trains != "policy":
        return None
    return adapter_before(stage.recipe, stage.name)


def _reporting(stage: PlannedStage, session: Session) -> Destination | None:
    """Where a stage's trainer reports to: under the same name for as long as it can go on where it was."""
    folder = session.folder
    if not session.recipe.report_to:
        return None
    ledger, part = Ledger(folder.path), str(stage).replace("/", "-")
    if not (folder.stage(*stage.key).path / "training").exists():
        ledger.begin(part)
    return ledger.destination(session.recipe.report_to, folder.path.resolve().name, part)


def _run(job: TrainingJob, session: Session) -> TrainResult:
    def report(step: int, steps: int, logged: dict[str, float]) -> None:
        note = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in logged.items())
        session.report.progress(step, steps, note)

    from selfimprove.trainers.launch import launch_training, runs_in_child

    if runs_in_child(job.settings):
        started = time.perf_counter()
        result = launch_training(job, report)
        seconds = time.perf_counter() - started
        where = f"in {result.processes} children" if result.processes > 1 else "in a child"
        session.clock.phases.add(Phase(phase=f"training {where}", seconds=seconds, **result.peaks))
        return result
    from selfimprove.trainers.run import run_job

    session.clock.phases.begin("training in this process")
    result = run_job(job, report)
    session.clock.phases.begin("")
    return result
