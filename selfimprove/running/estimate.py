"""What a run would do before it does it: stages to reuse and to do, with their tokens and time."""

import json
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from selfimprove.constitution.transcript import Prompter
from selfimprove.engines.models import resolve_folder
from selfimprove.errors import SelfImproveError
from selfimprove.recipe import Recipe
from selfimprove.records.console import SafeConsole
from selfimprove.running.figures import read_manifests
from selfimprove.running.flow_tree import draw_flow
from selfimprove.running.plan import PlannedStage
from selfimprove.running.rehearsal import check_training
from selfimprove.running.session import Session
from selfimprove.stages.base import Look, Sizes
from selfimprove.stages.critique import CritiqueSettings
from selfimprove.stages.frontier import FrontierSettings
from selfimprove.stages.generate import Generate
from selfimprove.stages.prefer import Prefer
from selfimprove.stages.revise import Revise, chain_steps
from selfimprove.stages.select import Select
from selfimprove.store import Manifest, RunFolder


@dataclass(frozen=True)
class Rates:
    """What was measured, by this run or by another one of the same model; None where nothing was."""

    length: dict[str, float]  # tokens a completion, by stage
    written: float | None  # tokens a second
    trained: float | None
    row: float | None  # trained tokens a row
    source: str


@dataclass(frozen=True)
class Estimate:
    tokens: int
    seconds: float | None
    bound: bool  # tokens are an upper bound


def measure(recipe: Recipe, folder: RunFolder) -> Rates:
    """Rates from this run's closed stages, else from the newest run beside it with the same model and device."""
    candidates = [folder]
    others = [RunFolder(path.parent) for path in folder.path.parent.glob("*/recipe.yaml") if path.parent != folder.path]
    candidates += sorted(others, key=lambda one: one.path.stat().st_mtime, reverse=True)[:10]
    for candidate in candidates:
        if not candidate.has_recipe():
            continue
        try:
            same = candidate is folder or candidate.recipe().model == recipe.model
            manifests = read_manifests(candidate) if same else []
        except SelfImproveError:
            if candidate is folder:
                raise
            continue  # another run that is damaged says nothing
        if any(one.tokens.get("written") for one in manifests):
            return _rates(manifests, candidate.path.name)
    return Rates({}, None, None, None, "")


def _rates(manifests: list[Manifest], source: str) -> Rates:
    def rate(tokens: str) -> float | None:
        mine = [one for one in manifests if one.tokens.get(tokens)]
        seconds = sum(one.seconds.model for one in mine)
        return sum(one.tokens[tokens] for one in mine) / seconds if seconds else None

    length = {}
    for name in dict.fromkeys(one.stage for one in manifests):
        mine = [one for one in manifests if one.stage == name]
        tokens = sum(one.tokens.get("written", 0) for one in mine)
        count = sum(_texts(one) for one in mine)
        if tokens and count:
            length[name] = tokens / count
    rows = [one for one in manifests if one.tokens.get("trained") and one.metrics.get("curve")]
    row = rows[-1].tokens["trained"] / max(1, _rows_seen(rows[-1])) if rows else None
    return Rates(length, rate("written"), rate("trained"), row, source)


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
    """The tokens and seconds of one stage; without a measurement tokens are the most there can be."""
    tokens, seconds, bound = 0.0, 0.0, False
    known = True
    for one in stage.declared.cost(Look(stage.own, stage.recipe, sizes, stage.round)):
        lengths = (rates.length.get(name) for name in (stage.name, stage.declared.name, *one.measured_as))
        length = rates.row if one.rows else next((found for found in lengths if found), None)
        mine = (one.rows or one.texts) * (length or one.longest)
        rate = rates.trained if one.rows else rates.written
        tokens, bound = tokens + mine, bound or (length is None and mine > 0)
        known, seconds = known and (rate is not None or not mine), seconds + (mine / rate if rate else 0.0)
    return Estimate(round(tokens), seconds if known else None, bound)


def measure_sizes(session: Session) -> Sizes:
    """What a round of a run draws, keeps and evaluates, at most."""
    recipe = session.recipe
    drawn = recipe.of(FrontierSettings).problems
    open_ = recipe.open.draw if recipe.open else 0
    each = recipe.of(Select).per_problem or recipe.of(Generate).samples
    return Sizes(problems=drawn + open_, held_out=len(session.inputs.held_out), open=open_, kept=float(drawn * each))


def describe_chains(session: Session) -> str:
    """What a round's pass by the constitution asks of the model, in requests and in what each of them reads."""
    recipe, constitution = session.recipe, session.inputs.constitution
    settings, prefer = recipe.find(Revise), recipe.find(Prefer)
    if constitution is None or settings is None:
        return ""
    steps, _ = chain_steps(Look(settings, recipe, measure_sizes(session), 1))
    prompter = Prompter(constitution)
    lengths = [len(prompter.critique(one, "", "")) for one in constitution.applying("critique", recipe.train.name)]
    kinds = f"{steps:,} critiques and {steps:,} revisions"
    if recipe.find(CritiqueSettings) is None:
        kinds = f"{steps:,} direct revisions"
    feedback = prefer.feedback if prefer else None
    prompts = recipe.of(FrontierSettings).problems if recipe.train.family == "prompts" else 0
    prompts += recipe.open.draw if recipe.open else 0
    pairs = prompts * feedback.per_problem if feedback else 0
    compared = f", {2 * pairs:,} comparisons" if pairs else ""
    read = f"; beside question and response a prompt for a critique has {max(lengths):,} characters" if lengths else ""
    return f"the constitution asks for at most {kinds} a round{compared}{read}"


def print_plan(recipe: Recipe, folder: RunFolder, console: Console | None = None) -> None:
    """Print the stages of a run with what each would cost."""
    console = console or SafeConsole()
    session = Session(recipe, folder)
    check_training(session)
    rates, sizes = measure(recipe, folder), measure_sizes(session)
    table = Table(
        title=f"{folder.path}: {recipe.description}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in ("stage", "state", "tokens", "time"):
        table.add_column(name, justify="left" if name in ("stage", "state") else "right")
    tokens, seconds, known, bound = 0, 0.0, True, False
    for stage in session.plan.values():
        state = describe_state(stage, folder)
        if state == "done":
            table.add_row(str(stage), state, "", "")
            continue
        one = estimate(stage, sizes, rates)
        tokens, bound = tokens + one.tokens, bound or one.bound
        known, seconds = known and one.seconds is not None, seconds + (one.seconds or 0.0)
        shown = f"{'at most ' if one.bound else ''}{one.tokens:,}" if one.tokens else ""
        table.add_row(str(stage), state, shown, show_time(one.seconds) if one.tokens else "")
    console.print(draw_flow(session.plan), highlight=False)
    console.print(table)
    if chains := describe_chains(session):
        console.print(chains, highlight=False, markup=False)
    total = f"{'at most ' if bound else 'about '}{tokens:,} tokens"
    if known:
        source = f" at the speed of run '{rates.source}'" if rates.source else ""
        console.print(f"{total}, {show_time(seconds)}{source}", highlight=False, markup=False)
    else:
        rough = guess_seconds(recipe, tokens)
        console.print(
            f"{total}, roughly {show_time(rough)} at most by the model's size and this machine's speed; "
            f"nothing was measured yet with this model (a first round gives better figures)",
            highlight=False,
            markup=False,
        )


def describe_state(stage: PlannedStage, folder: RunFolder) -> str:
    """done, to do, how many parts are there, or that it was made with other settings."""
    disk = folder.stage(*stage.key, stage.fingerprint)
    opened = disk.opened_as()
    if opened is None:
        return "to do"
    if opened != stage.fingerprint:
        return "made with another recipe"
    parts = sum(file.name.startswith(f"{stage.main}-") for file in disk.files())
    return "done" if disk.closed else f"to do, {parts} parts are there"


def show_time(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def guess_seconds(recipe: Recipe, tokens: int) -> float:
    """A rough time from the number of parameters and a short matrix product: 6 operations a parameter and token."""
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
    return tokens * max(6 * count_parameters(recipe) / (0.3 * speed), 1 / 20_000)


def count_parameters(recipe: Recipe) -> int:
    """Parameters of the recipe's model, from its shape or its files."""
    build = recipe.model.build
    if build:
        attention = 4 * build.hidden_size * build.heads * build.head_size
        return build.layers * (attention + 3 * build.hidden_size * build.intermediate_size)
    folder = resolve_folder(str(recipe.model.path))
    count = 0
    for file in Path(folder).glob("*.safetensors"):
        with file.open("rb") as handle:
            header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for one in tensor["shape"]:
                    size *= one
                count += size
    return count
