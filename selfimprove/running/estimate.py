"""What a run would do before it does it: stages to reuse and to do, with their tokens and time."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from selfimprove.engines.model_files import read_header
from selfimprove.engines.model_folders import resolve_folder
from selfimprove.errors import SelfImproveError
from selfimprove.recipe import Recipe
from selfimprove.records.console import SafeConsole, make_table
from selfimprove.running.answer_check import check_answers
from selfimprove.running.changes import describe_redo
from selfimprove.running.display import show_time
from selfimprove.running.figures import read_manifests
from selfimprove.running.find_model import with_model_found
from selfimprove.running.flow_tree import draw_flow
from selfimprove.running.plan import Plan, PlannedStage
from selfimprove.running.rehearsal import check_training
from selfimprove.running.remarks import find_remarks, look_ahead, measure_sizes
from selfimprove.running.session import Session
from selfimprove.stages.base import Cost, CutOff, Look, Sizes
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.branches import describe_branches, read_branches
from selfimprove.store.manifest import CUT_OFF


@dataclass(frozen=True)
class Rates:
    """What was measured: by this run in earlier rounds, and by it or another run of the same model."""

    stages: dict[str, Manifest]  # this run's own last closed manifest of each stage
    length: dict[str, float]  # tokens a completion, by stage
    written: float | None  # tokens a second
    trained: float | None
    row: float | None  # trained tokens a row
    source: str
    cut_off: Mapping[str, CutOff] = field(default_factory=dict)  # by the declared name of a stage


@dataclass(frozen=True)
class Estimate:
    """Tokens and seconds, from the least to the most that is to be expected; seconds are None where nothing was
    measured."""

    tokens: tuple[int, int]
    seconds: tuple[float, float] | None
    measured: bool
    """Whether an earlier round did the same, and the range is one of chance and not of what is possible."""


TEXTS = ("stage", "state")  # columns
OTHERWISE = "made with another recipe"
SPREAD = 1.5  # how far one round may be from the next, to both sides
SHORT = 16  # texts may be so much shorter than they may be at most
ALIKE = ("samples", "part_size", "limit", "data", "pool", "sources")  # settings on which the length of a text hangs not


def measure(recipe: Recipe, folder: RunFolder, plan: Plan) -> Rates:
    """Rates from this run's closed stages, else from the newest run beside it with the same model and device.

    Of another run only stages count that wrote for the same task by the same settings: others have other lengths.
    """
    candidates = [folder]
    others = [RunFolder(path.parent) for path in folder.path.parent.glob("*/recipe.yaml") if path.parent != folder.path]
    candidates += sorted(others, key=lambda one: one.path.stat().st_mtime, reverse=True)[:10]
    own: dict[str, Manifest] = {}
    for candidate in candidates:
        if not candidate.has_recipe():
            continue
        try:
            theirs = candidate.recipe()
            same = candidate is folder or theirs.model == recipe.model
            manifests = read_manifests(candidate) if same else []
        except SelfImproveError:
            if candidate is folder:
                raise
            continue  # another run that is damaged says nothing
        if candidate is folder:
            manifests = [one for one in manifests if _fits(one, plan)]
            own = {one.stage: one for one in manifests}  # the last round's
        if any(one.tokens.get("written") for one in manifests):
            alike = candidate is folder or _same_task(theirs, recipe)
            return _rates(manifests, candidate.path.name, own, plan if alike else {})
    return Rates(own, {}, None, None, None, "")


def _same_task(one: Recipe, other: Recipe) -> bool:
    return (one.train, one.open, one.evaluate_on) == (other.train, other.open, other.evaluate_on)


def _fits(manifest: Manifest, plan: Plan) -> bool:
    """Whether a closed stage is what the plan has in its place."""
    planned = plan.get((manifest.round, manifest.stage))
    return planned is not None and planned.fingerprint == manifest.fingerprint


def _alike(manifest: Manifest, plan: Plan) -> bool:
    """Whether a stage that the plan has wrote texts that are as long as its own will be."""
    planned = next((one for one in plan.values() if one.name == manifest.stage), None)
    if planned is None:
        return False
    now = json.loads(json.dumps(dict(planned.settings), default=str))
    return all(now.get(key) == manifest.settings.get(key) for key in {*now, *manifest.settings} - {*ALIKE})


def _rates(manifests: list[Manifest], source: str, own: dict[str, Manifest], plan: Plan) -> Rates:
    def rate(tokens: str) -> float | None:
        mine = [one for one in manifests if one.tokens.get(tokens)]
        seconds = sum(one.seconds.model for one in mine)
        return sum(one.tokens[tokens] for one in mine) / seconds if seconds else None

    length = {}
    fitting = [one for one in manifests if _alike(one, plan)]
    for name in dict.fromkeys(one.stage for one in fitting):
        mine = [one for one in fitting if one.stage == name]
        tokens = sum(one.tokens.get("written", 0) for one in mine)
        count = sum(_texts(one) for one in mine)
        if tokens and count:
            length[name] = tokens / count
    rows = [one for one in fitting if one.tokens.get("trained") and one.metrics.get("curve")]
    row = rows[-1].tokens["trained"] / max(1, _rows_seen(rows[-1])) if rows else None
    cut_off: dict[str, CutOff] = {}
    for one in fitting:
        if CUT_OFF in one.metrics:
            name = one.declared or one.stage
            before = cut_off.get(name, CutOff(0, 0, source))
            cut_off[name] = CutOff(before.cut_off + one.metrics[CUT_OFF], before.texts + _texts(one), source)
    return Rates(own, length, rate("written"), rate("trained"), row, source, cut_off)


def _texts(manifest: Manifest) -> int:
    """What the tokens that a stage wrote were written for: critiques with their revisions count once."""
    counts = manifest.counts
    return counts.get("critique") or counts.get("revision") or counts.get("rationale", 0)


def _rows_seen(manifest: Manifest) -> int:
    settings = manifest.settings
    if manifest.metrics.get("sequences"):
        return int(manifest.metrics["sequences"])
    steps = manifest.metrics["steps"] - manifest.metrics["resumed_from"]
    return int(steps * settings["batch_size"] * settings["accumulate"])


def estimate(stage: PlannedStage, sizes: Sizes, rates: Rates) -> Estimate:
    """The tokens and seconds of one stage: by what it took in an earlier round, else by lengths and speeds."""
    before = rates.stages.get(stage.name)
    if before is not None and (before.round or stage.declared.when == "always"):
        return _as_before(stage, sizes, before)
    low = high = fast = slow = 0.0
    known, measured = True, True
    for one in _cost(stage, sizes, stage.round):
        lengths = (rates.length.get(name) for name in (stage.name, stage.declared.name, *one.measured_as))
        length = rates.row if one.rows else next((found for found in lengths if found), None)
        count, rate = one.rows or one.texts, rates.trained if one.rows else rates.written
        most = count * min(length * SPREAD if length else one.longest, one.longest or math.inf)
        least = count * (length / SPREAD if length else one.longest / SHORT)
        if one.upto:  # how many there will be hangs on what is right, and nothing may be left to do
            least = 0.0
        low, high = low + min(least, most), high + most
        measured, known = measured and (length is not None or not most), known and (rate is not None or not most)
        fast, slow = fast + (min(least, most) / rate if rate else 0.0), slow + (most / rate if rate else 0.0)
    return Estimate((round(low), round(high)), (fast, slow * SPREAD) if known else None, measured)


def _cost(stage: PlannedStage, sizes: Sizes, round_: int) -> Sequence[Cost]:
    return stage.declared.cost(Look(stage.own, stage.recipe, sizes, round_))


def _as_before(stage: PlannedStage, sizes: Sizes, before: Manifest) -> Estimate:
    """As much as in an earlier round, by the growth of what there can be at most."""

    def most(round_: int) -> float:
        return sum((one.rows or one.texts) * one.longest for one in _cost(stage, sizes, round_))

    there = most(before.round)
    growth = most(stage.round) / there if there else 1.0
    tokens = growth * sum(before.tokens.values())
    took = before.seconds.wall if before.seconds.elapsed is None else before.seconds.elapsed
    # What is imported once is not imported again.
    seconds = growth * max(0.0, took - before.seconds.imports)
    low, high = tokens / SPREAD, tokens * SPREAD
    return Estimate((round(low), round(high)), (seconds / SPREAD, seconds * SPREAD), True)


def print_plan(recipe: Recipe, folder: RunFolder, console: Console | None = None) -> None:
    """Print the stages of a run with what each would cost."""
    console = console or SafeConsole()
    recipe = with_model_found(recipe, folder.path.parent)
    session = Session(recipe, folder)
    check_answers(session)
    check_training(session)
    rates, sizes = measure(recipe, folder, session.plan), measure_sizes(session.inputs)
    table = make_table(f"{folder.path}: {recipe.description}", *("stage", "state", "tokens", "time"), left=TEXTS)
    total: list[Estimate] = []
    changed: list[PlannedStage] = []
    for stage in session.plan.values():
        state = describe_state(stage, folder)
        if state == "done":
            table.add_row(str(stage), state, "", "")
            continue
        changed += [stage] if state == OTHERWISE else []
        total.append(one := estimate(stage, sizes, rates))
        takes = one.tokens[1] or (one.measured and one.seconds and one.seconds[1] >= 1)
        shown = show_tokens(one) if one.tokens[1] else ""
        table.add_row(str(stage), state, shown, show_times(one.seconds) if takes else "")
    console.print(draw_flow(session.plan), highlight=False)
    console.print(table)
    ledger = session.ledger()
    lines = [*look_ahead(session.inputs, rates.cut_off), describe_total(recipe, total, rates)]
    lines += find_remarks(session.inputs)
    lines += [f"a {ledger.said}; no stage begins once it is used up"] if ledger else []
    lines += describe_lineage(session)
    if changed:
        lines.append(describe_redo(changed, folder, recipe))
    for line in filter(None, lines):
        console.print(line, highlight=False, markup=False)


def describe_lineage(session: Session) -> list[str]:
    """The tree of the rounds so far where it is not a line, and those ahead that start elsewhere than at the last
    one."""
    ways = describe_branches(read_branches(session.folder))
    starts = {stage.round: stage.parent for stage in session.plan.values() if stage.parent != stage.round - 1}
    back = [f"round {at} starts from the checkpoint that was kept in round {start}" for at, start in starts.items()]
    return [f"lineage of rounds: {'; '.join(ways)}", *back] if len(ways) > 1 or back else []


def describe_total(recipe: Recipe, found: Sequence[Estimate], rates: Rates) -> str:
    """What all that is to do takes, from the least to the most that is to be expected."""
    low, high = (sum(one.tokens[at] for one in found) for at in (0, 1))
    whole = Estimate((low, high), None, all(one.measured for one in found))
    tokens = f"{show_tokens(whole) if high else '0'} tokens"
    if all(one.seconds is not None for one in found):
        seconds = tuple(sum(one.seconds[at] for one in found if one.seconds) for at in (0, 1))
        source = f" at the speed of run '{rates.source}'" if rates.source else ""
        return f"{tokens}, {show_times((seconds[0], seconds[1]))}{source}"
    rough = show_times((guess_seconds(recipe, low), guess_seconds(recipe, high)))
    return (
        f"{tokens}, roughly {rough} by the model's size and this machine's speed; nothing was measured yet with this "
        f"model (a first round gives better figures)"
    )


def show_tokens(one: Estimate) -> str:
    """A range of tokens; the upper end alone where nothing of it was measured, and nothing may be left to do."""
    low, high = one.tokens
    if low == high:
        return f"{high:,}"
    return f"{low:,} to {high:,}" if low else f"at most {high:,}"


def show_times(seconds: tuple[float, float] | None) -> str:
    """A range of times."""
    if seconds is None:
        return "?"
    low, high = show_time(seconds[0]), show_time(seconds[1])
    return low if low == high else f"{low} to {high}"


def describe_state(stage: PlannedStage, folder: RunFolder) -> str:
    """done, to do, how many parts are there, or that it was made with other settings."""
    disk = folder.stage(*stage.key, stage.fingerprint)
    opened = disk.opened_as()
    if opened is None:
        return "to do"
    if opened != stage.fingerprint:
        return OTHERWISE
    parts = sum(file.name.startswith(f"{stage.main}-") for file in disk.files())
    return "done" if disk.closed else f"to do, {parts} parts are there"


def guess_seconds(recipe: Recipe, tokens: int, *, reads: bool = False) -> float:
    """A rough time from the number of parameters and a short matrix product: 6 operations a parameter and token, 2 of a
    prompt that is read."""
    import time

    import torch

    size = 1024
    matrix = torch.rand(size, size)
    started, rounds = time.perf_counter(), 0
    while time.perf_counter() - started < 0.2:
        matrix @ matrix
        rounds += 1
    speed = rounds * 2 * size**3 / (time.perf_counter() - started)
    # Small models are bound by the calls and not by the arithmetic: 20,000 tokens a second at best.
    return tokens * max((2 if reads else 6) * count_parameters(recipe) / (0.3 * speed), 1 / 20_000)


def count_parameters(recipe: Recipe) -> int:
    """Parameters of the recipe's model, from its shape or its files."""
    build = recipe.model.build
    if build:
        attention = 4 * build.hidden_size * build.heads * build.head_size
        return build.layers * (attention + 3 * build.hidden_size * build.intermediate_size)
    folder = resolve_folder(str(recipe.model.path))
    count = 0
    for file in Path(folder).glob("*.safetensors"):
        count += sum(map(math.prod, read_header(file).values()))
    return count
