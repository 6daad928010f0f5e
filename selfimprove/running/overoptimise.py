"""Reward models that are followed too far, as an experiment (Gao et al., 2022): a grid of runs, best-of-n from each.

A cell is a run of the recipe with so many comparisons, a seed and a KL coefficient; controls have another reward. Runs
that differ in their RL alone begin as copies of the first one, so that comparisons and reward model are made once.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from selfimprove.engines import Request
from selfimprove.errors import RecipeError
from selfimprove.recipe import Recipe, Sampling
from selfimprove.recipe.flow import Step, flow_of, own_settings, trains_full_prompt
from selfimprove.records import Checkpoint, Problem, derive_seed, digest
from selfimprove.records.files import parse_json, read_bounded
from selfimprove.records.stats import best_of, best_of_kl
from selfimprove.running.loop import prepare_redo
from selfimprove.running.rewarding import load_rewards
from selfimprove.running.session import Session
from selfimprove.running.upkeep import copy_run, move_run, remove_run
from selfimprove.stages.as_sampled import prompt_as_trained
from selfimprove.stages.label import LABEL
from selfimprove.stages.reward import REWARD
from selfimprove.stages.rl import OURS, RL
from selfimprove.store import RunFolder
from selfimprove.store.parts import named_errors, write_text
from selfimprove.trainers.rewarding import RULES, rule_function

FREE = 1e-9
"""A nat for next to nothing: KL is measured, and holds the policy to nothing."""
COIN = 1e9
"""Noise of a labeller whose choices say nothing."""
MEMBERS = 3
"""Reward models of an ensemble."""
MOST_KEPT = 1 << 20  # bytes of a file of best-of-n
WORTH = ("reward", "gold", "length")
ROW = ("n", "KL", "problems", *WORTH, *(f"{one} error" for one in WORTH))
CONTROLS = ("gold as reward", "shuffled labels", "ensemble, mean", "ensemble, lowest")


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    name: str
    comparisons: int
    seed: int
    kl: float
    control: str
    changes: tuple[str, ...]
    """What `--set` takes to make its recipe."""
    like: str = ""
    """An earlier cell's run, which begins in the same way."""
    layers: int | None = None
    """Of the reward model; None where it is as the recipe has it."""

    @property
    def proxy(self) -> str:
        """What the reward model is, in words."""
        size = "" if self.layers is None else f", {self.layers} layer{'s' * (self.layers > 1)}"
        return f"{self.comparisons} comparisons{size}"


@dataclass(frozen=True)
class Names:
    """What a recipe calls the stages that are varied, and the reward that is gold."""

    label: str
    reward: str
    rl: str
    gold: str


def find_names(recipe: Recipe) -> Names:
    """The stages of a recipe that a grid varies; raises RecipeError where it has none, or no gold reward."""

    def find(declared: Any) -> Step:
        found = [step for step in flow_of(recipe) if step.stage is declared]
        if len(found) != 1:
            raise RecipeError(
                f"{recipe.name}: over-optimisation is measured with one stage '{declared.name}', and its flow has "
                f"{len(found)}; the recipe 'rlhf' is one to begin with"
            )
        return found[0]

    label, reward, rl = find(LABEL), find(REWARD), find(RL)
    rewards = own_settings(recipe, rl).rewards
    gold = [one for one, weight in rewards.items() if not weight and (one not in OURS or one in RULES)]
    if len(gold) != 1 or not rewards.get("model"):
        raise RecipeError(
            f"{recipe.name}: '{rl.name}.rewards' needs the reward model and one rule of weight 0 as gold, such as "
            f"{{model: 1, rising: 0}}"
        )
    if recipe.rounds != 1:
        raise RecipeError(f"{recipe.name}: over-optimisation is measured over one round; set 'rounds: 1'")
    return Names(label.name, reward.name, rl.name, gold[0])


def make_cells(
    base: str,
    names: Names,
    comparisons: Sequence[int],
    seeds: Sequence[int],
    kls: Sequence[float],
    controls: bool,
    layers: Sequence[int | None] = (None,),
) -> list[Cell]:
    """All runs of a grid; controls have the median number of comparisons, the lowest KL coefficient, and the first
    size of a reward model."""
    found: list[Cell] = []
    for seed in seeds:
        begun: dict[int, str] = {}
        for size in layers:
            for many in comparisons:
                like = begun.get(many, "")  # of another size, with the same comparisons
                for kl in kls:
                    name = f"{base}-n-{many}{f'-layers-{size}' if size else ''}-kl-{kl:g}-seed-{seed}"
                    changes = _changes(names, name, many, seed, kl, size)
                    found.append(Cell(name, many, seed, kl, "", changes, like, size))
                    begun.setdefault(many, name)
                    like = name if kl == kls[0] else like
        if controls:
            middle = sorted(comparisons)[len(comparisons) // 2]
            plain = next(
                one for one in found
                if (one.comparisons, one.seed, one.kl, one.layers) == (middle, seed, min(kls), layers[0])
            )  # fmt: skip
            found += _controls(base, names, plain)
    return found


def _changes(names: Names, name: str, many: int, seed: int, kl: float, layers: int | None) -> tuple[str, ...]:
    size = () if layers is None else (f"{names.reward}.layers={layers}",)
    return (f"name={name}", f"seed={seed}", f"{names.label}.limit={many}", f"{names.rl}.kl={kl or FREE}", *size)


def _controls(base: str, names: Names, plain: Cell) -> Iterator[Cell]:
    """The same as a cell with the gold reward itself, with labels that say nothing, and with several reward models."""
    rl, seed = names.rl, plain.seed
    ensemble = f"{names.reward}.models={MEMBERS}"
    made = {
        "gold as reward": (f"{rl}.rewards={{model: 0, {names.gold}: 1}}",),
        "shuffled labels": (f"{names.label}.noise={COIN}",),
        "ensemble, mean": (ensemble, f"{rl}.combine=mean"),
        "ensemble, lowest": (ensemble, f"{rl}.combine=min"),
    }
    like = {"gold as reward": plain.name, "ensemble, lowest": f"{base}-ensemble-mean-seed-{seed}"}
    for control in CONTROLS:
        name = f"{base}-{control.replace(', ', '-').replace(' ', '-')}-seed-{seed}"
        changes = (*_changes(names, name, plain.comparisons, seed, plain.kl, plain.layers), *made[control])
        yield replace(plain, name=name, control=control, changes=changes, like=like.get(control, ""))


def begin_as_copy(cell: Cell, recipe: Recipe, runs: Path) -> None:
    """Have a cell's run begin with what an earlier one made in the same way; nothing where it was begun already.

    The copy has its own name once only what is the same is left in it.
    """
    if not cell.like or (runs / cell.name).exists() or not (runs / cell.like).exists():
        return
    halfway = RunFolder(runs / f"copy-{digest(cell.name)}")
    if halfway.path.exists():
        remove_run(halfway, runs)
    copy_run(RunFolder(runs / cell.like), halfway.path.name, runs)
    session = Session(recipe, halfway)
    with closing(session), halfway:
        for disk in prepare_redo(session.plan, halfway, ["all"], recipe):
            halfway.discard(disk)
    move_run(halfway, cell.name, runs)


def measure_best_of_n(recipe: Recipe, folder: RunFolder, gold: str, out: Path, problems: int, samples: int) -> Any:
    """The best of n by a run's reward models among texts that its first checkpoint writes for held-out problems, which
    no reward model has seen: a row for each n of 1, 2, 4, …, kept in the folder `out` for all runs that share them.

    A row has the mean over problems of reward, gold and length without bias (`best_of`), each with its standard error.
    """
    session = Session(recipe, folder)
    with closing(session):
        start = session.first_checkpoint()
        [key] = [one for one, stage in session.plan.items() if stage.declared is REWARD]
        models: list[Checkpoint] = session.read(key, Checkpoint)
        [settings] = [stage.own for stage in session.plan.values() if stage.declared is RL]
        asked = {"start": start.weights, "models": [one.weights for one in models], "combine": settings.combine,
                 "gold": gold, "problems": problems, "samples": samples, "seed": recipe.seed}  # fmt: skip
        if recipe.prompt.style != "zero-shot":
            asked["by"] = "prompts of training"  # another version asked by those of sampling
        kept = out / f"best-of-n-{digest(asked)}.json"
        if (before := read_kept(kept, asked)) is not None:
            return before
        texts = _write_pool(session, start, problems, samples)
        rows = _rows(session, models, gold, texts)
    with named_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_text(kept, json.dumps({**asked, "rows": rows}, indent=1))
    return {**asked, "rows": rows}


def read_kept(path: Path, asked: Mapping[str, object]) -> dict[str, Any] | None:
    """What was measured before and kept in a file; None where there is none, or somebody changed it."""
    try:
        found = parse_json(read_bounded(path, MOST_KEPT))
        rows = found.pop("rows")
        sound = found == asked and bool(rows) and all({*row} == {*ROW} for row in rows)
        whole = sound and all(math.isfinite(one) for row in rows for one in row.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {**asked, "rows": rows} if whole else None


def _write_pool(
    session: Session, start: Checkpoint, problems: int, samples: int
) -> list[tuple[Problem, str, list[str]]]:
    """Held-out problems, each with its prompt and texts."""
    recipe = session.recipe
    [settings] = [stage.own for stage in session.plan.values() if stage.declared is RL]
    chosen = sorted(session.inputs.held_out, key=lambda one: derive_seed("over-optimisation", one.id))[:problems]
    prompts = [session.prompts.render(one) for one in chosen]
    requests = [
        Request(prompt, derive_seed(recipe.seed, "over-optimisation", one.id, at))
        for one, prompt in zip(chosen, prompts, strict=True)
        for at in range(samples)
    ]
    sampling = Sampling(temperature=settings.temperature, max_tokens=settings.max_tokens)
    written = [""] * len(requests)
    for one in session.engine(start).generate(requests, sampling, session.prompts.stop):
        written[one.index] = one.text
    return [
        (one, prompt, written[at * samples : (at + 1) * samples])
        for at, (one, prompt) in enumerate(zip(chosen, prompts, strict=True))
    ]


def _rows(
    session: Session, models: Sequence[Checkpoint], gold: str, texts: Sequence[tuple[Problem, str, list[str]]]
) -> list[dict[str, float]]:
    """What the best of n is worth, by n."""
    problems = [problem for problem, _, some in texts for _ in some]
    prompts = [prompt for _, prompt, some in texts for _ in some]
    shown = trains_full_prompt(session.recipe)
    asked = [prompt_as_trained(one, session.prompts, shown) for one in problems]
    written = [text for _, _, some in texts for text in some]
    [settings] = [stage.own for stage in session.plan.values() if stage.declared is RL]
    proxies = load_rewards(session, models, settings.combine)(asked, written, problems)
    golds = rule_function(gold)(prompts, written, problems)
    samples = len(texts[0][2])
    known = [one is not None and other is not None for one, other in zip(proxies, golds, strict=True)]
    pools = [
        [(float(proxies[at] or 0.0), float(golds[at] or 0.0), float(len(written[at])))
         for at in range(start, start + samples) if known[at]]
        for start in range(0, len(written), samples)
    ]  # fmt: skip
    rows, n = [], 1
    while n <= samples:
        enough = [pool for pool in pools if len(pool) >= n]
        row: dict[str, float] = {"n": n, "KL": best_of_kl(n), "problems": len(enough)}
        for place, name in enumerate(WORTH):
            values = [best_of([one[0] for one in pool], [one[place] for one in pool], n) for pool in enough]
            row[name] = fmean(values) if values else 0.0
            row[f"{name} error"] = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        rows += [row] if enough else []
        n *= 2
    return rows
