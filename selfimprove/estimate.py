"""What a run would do before it does it: stages to reuse and to do, with their tokens and time."""

import json
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from selfimprove.console import SafeConsole
from selfimprove.constitution.transcript import Prompter
from selfimprove.context import Context
from selfimprove.errors import SelfImproveError
from selfimprove.models import resolve_folder
from selfimprove.plan import PlannedStage, in_order
from selfimprove.recipe import Recipe
from selfimprove.status import read_manifests
from selfimprove.store import Manifest, RunFolder

WRITES = ("generate", "repair", "rationalize", "revise", "evaluate")
TRAINS = ("warmup", "sft", "dpo")
PLAIN = ("generate", "repair", "rationalize", "evaluate")  # write texts of one kind


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
        if any(one.stage in WRITES for one in manifests):
            return _rates(manifests, candidate.path.name)
    return Rates({}, None, None, None, "")


def _rates(manifests: list[Manifest], source: str) -> Rates:
    def total(stages: tuple[str, ...], tokens: str) -> tuple[int, float]:
        mine = [one for one in manifests if one.stage in stages]
        return sum(one.tokens.get(tokens, 0) for one in mine), sum(one.seconds.model for one in mine)

    length = {}
    for name in WRITES:
        tokens, _ = total((name,), "written")
        # A step of a chain is a critique, or a revision where there are no critiques, and costs what both do.
        kinds = ("critique", "revision") if name == "revise" else ("rationale",)
        counted = [[one.counts.get(kind, 0) for kind in kinds] for one in manifests if one.stage == name]
        count = sum(next((one for one in row if one), 0) for row in counted)
        if count:
            length[name] = tokens / count
    written, writing = total(WRITES, "written")
    trained, training = total(TRAINS, "trained")
    rows = [one for one in manifests if one.stage in ("warmup", "sft") and one.tokens.get("trained")]
    row = rows[-1].metrics["curve"] and rows[-1].tokens["trained"] / max(1, _rows_seen(rows[-1])) if rows else None
    return Rates(length, written / writing if writing else None, trained / training if training else None, row, source)


def _rows_seen(manifest: Manifest) -> int:
    settings = manifest.settings
    steps = manifest.metrics["steps"] - manifest.metrics["resumed_from"]
    return int(steps * settings["batch_size"] * settings["accumulate"])


def estimate(stage: PlannedStage, recipe: Recipe, held_out: int, rates: Rates, kept: float) -> Estimate:
    """The tokens and seconds of one stage; without a measurement tokens are the most there can be."""
    stages = recipe.stages
    generate, problems = stages.generate, stages.frontier.problems
    repair, hint = stages.repair, stages.rationalize
    steps, longest = chain_steps(recipe)
    problems += recipe.open.draw if recipe.open else 0
    again = held_out * (stages.revise.revisions if stages.revise else 0) if stages.evaluate.revise else 0
    thoughts = stages.prefer.feedback if stages.prefer else None
    asked = {
        "generate": (problems * generate.samples, generate.max_tokens),
        "revise": (steps, longest),
        "prefer": (
            2 * problems * thoughts.per_problem if thoughts and thoughts.thought else 0,
            thoughts.max_tokens if thoughts else 0,
        ),
        "repair": (min(problems, repair.limit or problems) * repair.samples if repair else 0, generate.max_tokens),
        "rationalize": (min(problems, hint.limit or problems) * hint.samples if hint else 0, generate.max_tokens),
        "evaluate": (
            held_out * stages.evaluate.samples,
            stages.evaluate.max_tokens or generate.max_tokens,
        ),
    }
    if stage.name in asked:
        count, most = asked[stage.name]
        length = rates.length.get(stage.name) or (rates.length.get("generate") if stage.name in PLAIN else None)
        tokens = round(count * (length or most))
        if stage.name == "evaluate":
            tokens += round(again * (rates.length.get("revise") or longest))
        return Estimate(tokens, tokens / rates.written if rates.written else None, length is None)
    if stage.name in TRAINS:
        training = {"warmup": stages.warmup, "dpo": stages.dpo}.get(stage.name) or stages.sft
        assert training is not None
        batch = training.batch_size * training.accumulate
        if training.steps:
            rows = training.steps * training.steps_growth ** max(0, stage.round - 1) * batch
        else:
            rounds = stage.round if stages.select.pool == "cumulative" else 1
            rows = kept * rounds * training.epochs
            if stage.name == "dpo" and stages.prefer:
                pairs = problems * stages.prefer.per_problem
                rows = min(pairs, stages.prefer.limit or pairs) * training.epochs
        if stage.name == "dpo":
            rows *= 2  # both texts of a pair
        tokens = round(rows * (rates.row or training.max_length))
        return Estimate(tokens, tokens / rates.trained if rates.trained else None, rates.row is None)
    return Estimate(0, 0.0, False)


def chain_steps(recipe: Recipe) -> tuple[int, int]:
    """At most so many critiques with their revisions a round, and the most tokens of one of both."""
    revise, critique = recipe.stages.revise, recipe.stages.critique
    if revise is None:
        return 0, 0
    problems = recipe.stages.frontier.problems + (recipe.open.draw if recipe.open else 0)
    responses = problems * min(revise.per_problem, recipe.stages.generate.samples)
    longest = revise.max_tokens + (critique.max_tokens if critique else 0)
    return (min(responses, revise.limit or responses) + revise.earlier) * revise.revisions, longest


def describe_chains(context: Context) -> str:
    """What a round's pass by the constitution asks of the model, in requests and in what each of them reads."""
    recipe, constitution = context.recipe, context.constitution
    steps, _ = chain_steps(recipe)
    if constitution is None or not steps:
        return ""
    prompter = Prompter(constitution)
    lengths = [len(prompter.critique(one, "", "")) for one in constitution.applying("critique", recipe.train.name)]
    kinds = f"{steps:,} critiques and {steps:,} revisions" if recipe.stages.critique else f"{steps:,} direct revisions"
    feedback = recipe.stages.prefer.feedback if recipe.stages.prefer else None
    prompts = recipe.stages.frontier.problems if recipe.train.family == "prompts" else 0
    prompts += recipe.open.draw if recipe.open else 0
    pairs = prompts * feedback.per_problem if feedback else 0
    compared = f", {2 * pairs:,} comparisons" if pairs else ""
    read = f"; beside question and response a prompt for a critique has {max(lengths):,} characters" if lengths else ""
    return f"the constitution asks for at most {kinds} a round{compared}{read}"


def print_plan(recipe: Recipe, folder: RunFolder, console: Console | None = None) -> None:
    """Print the stages of a run with what each would cost."""
    console = console or SafeConsole()
    context = Context(recipe, folder)
    rates = measure(recipe, folder)
    stages = recipe.stages
    kept = float(stages.frontier.problems * (stages.select.per_problem or stages.generate.samples))
    table = Table(
        title=f"{folder.path}: {recipe.description}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in ("stage", "state", "tokens", "time"):
        table.add_column(name, justify="left" if name in ("stage", "state") else "right")
    tokens, seconds, known, bound = 0, 0.0, True, False
    for stage in in_order(context.graph()):
        state = describe_state(stage, folder)
        if state == "done":
            table.add_row(str(stage), state, "", "")
            continue
        one = estimate(stage, recipe, len(context.held_out), rates, kept)
        tokens, bound = tokens + one.tokens, bound or one.bound
        known, seconds = known and one.seconds is not None, seconds + (one.seconds or 0.0)
        shown = f"{'at most ' if one.bound else ''}{one.tokens:,}" if one.tokens else ""
        table.add_row(str(stage), state, shown, show_time(one.seconds) if one.tokens else "")
    console.print(table)
    if chains := describe_chains(context):
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
