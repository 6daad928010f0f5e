"""The runs of a sweep: each combination of settings with each seed, a run of its own that goes on where it stopped."""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from selfimprove.errors import RecipeError

MOST = 1000  # runs of one sweep
LONGEST = 100  # characters of a run's name
RECIPE = "recipe"
"""The key by which a grid runs several recipes beside each other."""


@dataclass(frozen=True)
class Variant:
    """One run of a sweep."""

    name: str
    settings: tuple[str, ...]
    """Those of the grid, as `--set` takes them."""
    seed: int | None
    recipe: str | None = None
    """The recipe that is run, where the grid has several; it is told in `settings` too, for whoever reads a report."""

    @property
    def changes(self) -> list[str]:
        """What `--set` takes to make the run's recipe."""
        seed = [] if self.seed is None else [f"seed={self.seed}"]
        settings = [one for one in self.settings if self.recipe is None or one != f"{RECIPE}={self.recipe}"]
        return [*settings, *seed, f"name={self.name}"]


def read_seeds(text: str) -> list[int]:
    """The seeds of `0..4`, of `0,3,7`, or of both mixed; raises RecipeError."""
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,9})(?:\.\.(\d{1,9}))?\s*", part)
        first = int(ends[1]) if ends else 0
        last = int(ends[2]) if ends and ends[2] else first
        if not ends or last < first or last - first >= MOST:
            raise RecipeError(f"--seeds {text}: expected seeds such as 0..4 or 0,3,7")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        raise RecipeError(f"--seeds {text}: a seed stands there twice")
    return found


def read_grid(text: str) -> tuple[str, list[str]]:
    """The setting and the values of `key=value,value,…`; a comma in brackets parts nothing. Raises RecipeError."""
    key, equals, rest = text.partition("=")
    values, depth, begin = [], 0, 0
    for at, letter in enumerate(rest):
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            values.append(rest[begin:at].strip())
            begin = at + 1
    values.append(rest[begin:].strip())
    if not key.strip() or not equals or not all(values):
        raise RecipeError(f"--grid {text}: expected key=value,value such as generate.samples=4,8")
    if len(set(values)) < len(values):
        raise RecipeError(f"--grid {text}: a value stands there twice")
    return key.strip(), values


def make_variants(base: str, seeds: str | None, grids: Sequence[str]) -> list[Variant]:
    """Every combination, the seeds of one after the other; raises RecipeError where they are no sweep.

    A run is called by the end of each setting's key and its value, `mine-samples-8-seed-0`, and after its recipe where
    the grid has several.
    """
    read = [read_grid(one) for one in grids]
    keys = [key for key, _ in read]
    for key in keys:
        if keys.count(key) > 1 or key in ("name", "seed"):
            why = "--seeds chooses seeds" if key == "seed" else "stands there twice or names the run"
            raise RecipeError(f"--grid {key}: {why}")
    chosen: list[int | None] = list(read_seeds(seeds)) if seeds is not None else [None]
    count = len(chosen) * math.prod(len(values) for _, values in read)
    if count > MOST:
        raise RecipeError(f"a sweep of {count:,} runs; at most {MOST:,} are possible")
    found: dict[str, Variant] = {}
    for values in itertools.product(*(values for _, values in read)):
        settings = tuple(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        for seed in chosen:
            name = _name(base, keys, values, seed)
            if name in found or len(name) > LONGEST:
                name = f"{name[: LONGEST - 5]}-{len(found) + 1:04d}"
            recipe = values[keys.index(RECIPE)] if RECIPE in keys else None
            found[name] = Variant(name, settings, seed, recipe)
    return list(found.values())


def _name(base: str, keys: Sequence[str], values: Sequence[str], seed: int | None) -> str:
    parts = [base]
    for key, value in zip(keys, values, strict=True):
        called = value.rstrip("/").rpartition("/")[2]
        if key == RECIPE:
            parts[0] = called.removesuffix(".yaml")
        else:
            parts += [key.rpartition(".")[2], called]
    parts += [] if seed is None else ["seed", str(seed)]
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.") or "x" for part in parts)
