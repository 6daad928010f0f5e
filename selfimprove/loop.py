"""THE LOOP: start reading here.

    for each round: draw problems, write rationales, judge them, rationalize the failures, select examples,
                    train, evaluate, promote or roll back

A stage is closed once its records are on disk; what is closed is never done again, what is open keeps its parts.
"""

from collections.abc import Collection
from importlib.metadata import version
from typing import Any

import networkx as nx

from selfimprove.constitution import write_constitution
from selfimprove.context import Clock, Context, Loader, Report
from selfimprove.doctor import check_start
from selfimprove.errors import StoreError
from selfimprove.memory import Phase, join_phases
from selfimprove.overlap import verify_beside
from selfimprove.pipeline import prepare
from selfimprove.plan import Key, PlannedStage, in_order
from selfimprove.recipe import Recipe
from selfimprove.reporting import Reports
from selfimprove.store import Manifest, RunFolder, StageFolder
from selfimprove.store.parts import count_rows, hash_file, named_full_disk
from selfimprove.store.stage import Seconds
from selfimprove.summary import summarize
from selfimprove.work import InTurn, Maker

PACKAGES = ("torch", "transformers", "trl", "peft", "selfimprove")


def run_loop(
    recipe: Recipe,
    folder: RunFolder,
    *,
    report: Report | None = None,
    load: Loader | None = None,
    redo: Collection[str] = (),
    maker: Maker | None = None,
) -> None:
    """Run a recipe to its end, continuing where an earlier process stopped; raises SelfImproveError.

    `maker` makes the parts of stages; this process does without one. `redo` names stages (`sft`, `round-02/sft`) to do
    again, and `all` stands for every stage that the recipe changed.
    """
    reports = Reports(recipe.report_to, folder)
    with folder:
        context = Context(recipe, folder, report=report, load=load)
        graph = context.graph()
        stages = list(in_order(graph))
        context.plan = {stage.key: stage for stage in stages}
        for disk in prepare_redo(graph, folder, redo):
            folder.discard(disk)
        folder.write_recipe(recipe)
        if context.constitution:
            folder.write_constitution(write_constitution(context.constitution))
        examined = False
        try:
            for stage in stages:
                disk = folder.stage(*stage.key, stage.fingerprint)
                if not disk.closed:
                    if not examined:
                        check_start(context)
                        examined = True
                    with named_full_disk(disk.path):
                        run_stage(stage, disk, context, maker or InTurn())
                    reports.follow(stage.name)
                context.forget(stage.round - 1)
        finally:
            context.close()
            reports.close()


def run_stage(stage: PlannedStage, disk: StageFolder, context: Context, maker: Maker) -> None:
    """Make the parts of a stage that are missing, then close it."""
    context.report.begin(stage)
    disk.begin(dict(stage.settings))
    work = prepare(stage, context)
    missing = [number for number in range(len(work.parts)) if not disk.whole(stage.main, number)]
    there = set(range(len(work.parts))) - set(missing)
    done, made = sum(map(work.units, there)), {}

    def advance(units: int) -> None:
        nonlocal done
        done += units
        context.report.progress(done, work.total)

    with verify_beside(stage, work, disk, context) as follow:
        for number in there:
            follow(number, None)
        for part in maker.make(stage, work, missing, disk, context, advance):
            disk.add_usage(part.number, part.usage)
            made[part.number] = part.records
            follow(part.number, part.records)
        disk.close(describe(stage, disk, len(work.parts), context.clock))
    records = [made.get(number) for number in range(len(work.parts))]
    if None not in records:
        context.remember(stage.key, [one for part in records for one in part or ()])
    manifest = disk.manifest()
    assert manifest is not None
    context.report.end(stage, manifest, summarize(stage, context))


def describe(stage: PlannedStage, disk: StageFolder, parts: int, clock: Clock) -> Manifest:
    """The manifest of a stage whose parts are all there."""
    usage = [*disk.usage(), {**clock.lap(), "counts": {}}]
    files = [*disk.files(), *sorted(disk.path.glob("checkpoint/*.safetensors"))]
    counts: dict[str, int] = {}
    tokens: dict[str, int] = {}
    metrics: dict[str, Any] = {}
    phases: list[Phase] = []
    served: list[dict[str, Any]] = []
    for file in disk.files():
        kind = file.name.rsplit("-", 1)[0]
        counts[kind] = counts.get(kind, 0) + count_rows(file)
    for row in usage:
        for name, count in row["tokens"].items():
            tokens[name] = tokens.get(name, 0) + count
        phases += [Phase(**one) for one in row["metrics"].pop("phases", ())]
        served += row["metrics"].pop("weights served", ())
        metrics.update(row["metrics"])
    if served:
        metrics["weights served"] = served
    if phases:
        metrics["phases"] = [one.model_dump() for one in join_phases(phases)]
    return Manifest(
        round=stage.round,
        stage=stage.name,
        version=stage.version,
        fingerprint=stage.fingerprint,
        settings=dict(stage.settings),
        main=stage.main,
        counts=counts,
        parts=parts,
        seconds=Seconds(**{name: sum(_seconds(row, name) for row in usage) for name in Seconds.model_fields}),
        tokens=tokens,
        metrics=metrics,
        packages={name: version(name) for name in PACKAGES},
        files={str(file.relative_to(disk.path)): hash_file(file) for file in files},
        sizes={str(file.relative_to(disk.path)): file.stat().st_size for file in files},
    )


def _seconds(row: dict[str, Any], name: str) -> float:
    return float(row.get(name, row["wall"] if name == "elapsed" else 0.0))


def prepare_redo(graph: "nx.DiGraph[Key]", folder: RunFolder, redo: Collection[str]) -> list[StageFolder]:
    """The folders to discard; raises StoreError where the recipe changed and `redo` does not say `all`."""
    stages = list(in_order(graph))
    begun = [stage for stage in stages if folder.stage(*stage.key).path.exists()]
    named = {stage.key for stage in begun if {stage.name, str(stage)} & set(redo)}
    again = named.union(*(nx.descendants(graph, key) for key in named))
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
        names = [str(stage) for stage in changed.values()]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        raise StoreError(
            f"{folder.path}: was made with another recipe or other data; {len(changed)} of its stages would have to "
            f"be done again ({shown}); choose another --name, or discard them with --redo all"
        )
    unknown = set(redo) - {"all"} - {stage.name for stage in stages} - {str(stage) for stage in stages}
    if unknown:
        raise StoreError(f"--redo {min(unknown)}: no such stage; name one such as 'sft' or 'round-02/sft', or 'all'")
    return [disk for disk in folder.stages() if disk.key in again]
