"""THE LOOP: start reading here.

    for each round, for each stage of the flow: make the parts that are missing, close it

A stage is closed once its records are on disk; what is closed is never done again, what is open keeps its parts. Where
the recipe has a budget, no stage is begun once it is used up, and with `stop_at_collapse` no round once texts have.
"""

import sys
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import version
from typing import Any

from selfimprove.constitution import write_constitution
from selfimprove.errors import StoreError, suggest
from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import extensions
from selfimprove.recipe.flow import last_of_round
from selfimprove.records import Rationale, Record
from selfimprove.records.printable import printable
from selfimprove.running.answer_check import check_answers, check_asked
from selfimprove.running.changes import describe_redo
from selfimprove.running.clock import Clock
from selfimprove.running.collapse import measure_texts
from selfimprove.running.decontaminate import measure_clean
from selfimprove.running.find_model import with_model_found
from selfimprove.running.model_check import check_start
from selfimprove.running.parts import KEPT, Job, PartRunner, Sequential
from selfimprove.running.plan import Plan, PlannedStage, descendants
from selfimprove.running.rehearsal import check_training
from selfimprove.running.remarks import find_remarks
from selfimprove.running.report import Report
from selfimprove.running.report_rounds import Reports
from selfimprove.running.session import Loader, Session
from selfimprove.running.verify_beside import verify_beside
from selfimprove.store import Manifest, RunFolder, StageFolder
from selfimprove.store.manifest import CUT_OFF, Seconds
from selfimprove.store.overlaps import describe_overlaps
from selfimprove.store.parts import count_rows, named_full_disk
from selfimprove.store.usage import Usage, sum_counted
from selfimprove.trainers.peaks import Phase, join_phases

PACKAGES = ("torch", "transformers", "trl", "peft", "selfimprove")


def run_loop(
    recipe: Recipe,
    folder: RunFolder,
    *,
    report: Report | None = None,
    load: Loader | None = None,
    redo: Collection[str] = (),
    runner: PartRunner | None = None,
    until: str = "",
) -> None:
    """Run a recipe to its end, continuing where an earlier process stopped; raises SelfImproveError.

    `until` names a stage before which it ends, nothing having been trained. `runner` makes the parts of stages; this
    process by default. `redo` names stages (`sft`, `round-02/sft`) to do again, and `all` stands for every stage that
    the recipe changed.
    """
    recipe = with_model_found(recipe, folder.path.parent)
    reports = Reports(recipe.report_to, folder)
    with folder.dropped_if_in_vain(), folder:
        session = Session(recipe, folder, report=report, load=load)
        for disk in prepare_redo(session.plan, folder, redo, recipe):
            folder.discard(disk)
        session.plan = session.make_plan()  # what was decided by a stage that is gone now is decided anew
        folder.write_recipe(recipe)
        if session.inputs.constitution:
            folder.write_constitution(write_constitution(session.inputs.constitution))
        examined = False
        try:
            for stage in stages_to_run(session):
                if stage.name == until:
                    break
                disk = folder.stage(*stage.key, stage.fingerprint)
                if not disk.closed:
                    if why := session.why_ended(stage):
                        _tell(f"ends before {stage}: {why}")
                        break
                    session.check_start()
                    if not examined:
                        _examine(session, trains=not until)
                        examined = True
                    with named_full_disk(disk.path):
                        run_stage(stage, disk, session, runner or Sequential())
                    if stage.name == last_of_round(recipe, stage.round):
                        reports.follow()
                session.forget(stage.round - 1)
        finally:
            session.close()
            reports.close()


def _examine(session: Session, *, trains: bool) -> None:
    """What a run could be refused for, and what is odd about it: before anything is paid for."""
    check_answers(session)
    check_start(session)
    if trains:
        check_training(session)
    for line in find_remarks(session.inputs):
        _tell(line)


def _tell(line: str) -> None:
    print(f"selfimprove: {printable(line)}", file=sys.stderr, flush=True)


def stages_to_run(session: Session) -> Iterator[PlannedStage]:
    """Every stage in order; what follows a steering stage is planned once that is closed."""
    done = 0
    while done < len(session.plan):
        stage = list(session.plan.values())[done]
        yield stage
        done += 1
        if stage.declared.steers:
            session.plan = session.make_plan()


def run_stage(stage: PlannedStage, disk: StageFolder, session: Session, runner: PartRunner) -> None:
    """Make the parts of a stage that are missing, then close it."""
    session.report.begin(stage)
    disk.begin(dict(stage.settings))
    job = Job(stage, session, disk, session.clock)
    numbers = range(len(job.parts))
    missing = [number for number in numbers if not disk.whole(stage.main, number)]
    there = set(numbers) - set(missing)
    done = finished = sum(map(job.units, there))
    made: dict[int, Sequence[Record]] = {}

    def advance(units: int) -> None:
        nonlocal done
        done += units
        session.report.progress(done, job.total, session.clock.speed())

    with verify_beside(job) as follow:
        for number in there:
            follow(number, None)
        for part in runner.make(job, missing, advance):
            finished += job.units(part.number)
            done = max(done, finished)  # a part may write fewer records than it has room for
            if part.records is not None and sum(map(len, made.values())) + len(part.records) <= KEPT:
                made[part.number] = part.records
            follow(part.number, part.records)
        check_asked(job)
        measure_clean(stage, disk, session)
        measure_texts(stage, disk, session)
        disk.close(describe(stage, disk, len(job.parts), session.clock))
    manifest = disk.manifest()
    assert manifest is not None
    # All of it was made just now, and nothing was kept meanwhile.
    if len(made) == len(numbers) and sum(map(len, made.values())) == sum(manifest.counts.values()):
        session.remember(stage.key, [one for number in numbers for one in made[number]])
    said = [stage.declared.say(job.desk), *describe_overlaps(manifest.metrics)]
    session.report.end(stage, manifest, "; ".join(filter(None, said)))


def describe(stage: PlannedStage, disk: StageFolder, parts: int, clock: Clock) -> Manifest:
    """The manifest of a stage whose parts are all there."""
    usage = [*disk.usage(), Usage(part=-1, **clock.lap(), counts={})]
    files, sizes = disk.describe_files()
    counts: dict[str, int] = {}
    tokens: dict[str, int] = {}
    metrics: dict[str, Any] = {**sum_counted(usage)}
    phases: list[Phase] = []
    served: list[dict[str, Any]] = []
    for file in disk.files():
        kind = file.name.rsplit("-", 1)[0]
        counts[kind] = counts.get(kind, 0) + count_rows(file)
    for row in usage:
        for name, count in row.tokens.items():
            tokens[name] = tokens.get(name, 0) + count
        phases += [Phase(**one) for one in row.metrics.pop("phases", ())]
        served += row.metrics.pop("weights served", ())
        metrics.update(row.metrics)
    if served:
        metrics["weights served"] = served
    if counts.get(Rationale.kind):
        metrics[CUT_OFF] = sum(one == "length" for one in disk.rows(Rationale).values("finish"))
    if phases:
        metrics["phases"] = [one.model_dump() for one in join_phases(phases)]
    return Manifest(
        round=stage.round,
        stage=stage.name,
        declared="" if stage.name == stage.declared.name else stage.declared.name,
        version=stage.version,
        fingerprint=stage.fingerprint,
        settings=dict(stage.settings),
        main=stage.main,
        counts=counts,
        parts=parts,
        seconds=Seconds(**{name: sum(_seconds(row, name) for row in usage) for name in Seconds.model_fields}),
        tokens=tokens,
        metrics=metrics,
        packages={**{name: version(name) for name in PACKAGES}, **_extensions()},
        files=files,
        sizes=sizes,
    )


def _extensions() -> dict[str, str]:
    """What was declared beside this package, with the hash of its file."""
    return {one.name: f"{one.version} sha256:{one.hash}".strip() for one in extensions()}


def _seconds(row: Usage, name: str) -> float:
    return row.wall if name == "elapsed" and row.elapsed is None else float(getattr(row, name))


def prepare_redo(plan: Plan, folder: RunFolder, redo: Collection[str], recipe: Recipe) -> list[StageFolder]:
    """The folders to discard; raises StoreError where the recipe changed and `redo` does not say `all`, or names what
    is no stage."""
    stages = list(plan.values())
    known = {name for stage in stages for name in (stage.name, str(stage))}
    for name in redo:
        if name not in known and name != "all":
            names = dict.fromkeys(stage.name for stage in stages)
            raise StoreError(
                f"--redo {name}: no such stage{suggest(name, known)}; name one such as 'sft' or 'round-02/sft', or "
                f"'all'; the stages are {', '.join(names)}"
            )
    begun = [stage for stage in stages if folder.stage(*stage.key).path.exists()]
    named = {stage.key for stage in begun if {stage.name, str(stage)} & set(redo)}
    again = descendants(plan, named)
    changed = {
        stage.key: stage
        for stage in begun
        if folder.stage(*stage.key).opened_as() not in (stage.fingerprint, None) and stage.key not in again
    }
    vain = {key for key in changed if folder.stage(*key).empty}  # such as by a model that could not be loaded
    again |= vain
    changed = {key: stage for key, stage in changed.items() if key not in vain}
    if "all" in redo:
        planned = {stage.key for stage in stages}
        again |= set(changed)
        again |= {disk.key for disk in folder.stages() if disk.key not in planned and disk.key[0] <= stages[-1].round}
    elif changed:
        raise StoreError(f"{folder.path}: {describe_redo(list(changed.values()), folder, recipe)}")
    return [disk for disk in folder.stages() if disk.key in again]
