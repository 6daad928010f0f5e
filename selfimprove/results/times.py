"""Where the time of a run went, summed up from the manifests of its stages."""

from dataclasses import dataclass

from rich.table import Table

from selfimprove.recipe.catalog import known_stages
from selfimprove.records.console import make_table
from selfimprove.store import Manifest
from selfimprove.store.manifest import CUT_OFF


def outside_model(manifests: list[Manifest]) -> tuple[float, float]:
    """Seconds of orchestration, store and verification, and seconds in all, imports aside."""
    wall = sum(one.seconds.wall - one.seconds.imports for one in manifests)
    model = sum(one.seconds.model for one in manifests)
    return wall - model, wall


@dataclass(frozen=True)
class EngineTime:
    """Seconds in which engines were loaded, and those of them in which they neither wrote nor scored."""

    loaded: float
    idle: float

    @property
    def share(self) -> float | None:
        return self.idle / self.loaded if self.loaded else None


def engine_time(manifests: list[Manifest]) -> EngineTime:
    """How long engines were loaded and idle, over all that worked at the same time."""
    return EngineTime(sum(one.seconds.loaded for one in manifests), sum(one.seconds.idle for one in manifests))


def elapsed(manifests: list[Manifest]) -> float:
    """Seconds that passed on the clock, imports and all; less than the work where some of it was done side by side."""
    return sum(one.seconds.wall if one.seconds.elapsed is None else one.seconds.elapsed for one in manifests)


def verified_beside(manifests: list[Manifest]) -> float:
    """Seconds of verification that ran while the engine wrote: what the overlap saved, less what it slowed the engine
    down by."""
    mine = [one for one in manifests if _may_overlap(one) and "ray" not in one.metrics]
    return max(0.0, sum(one.seconds.wall for one in mine) - elapsed(mine))


def _may_overlap(manifest: Manifest) -> bool:
    declared = known_stages().get(manifest.declared or manifest.stage)
    return bool(declared and declared.beside)


def stages_table(manifests: list[Manifest]) -> Table:
    columns = ["stage", "seconds", "in the\nmodel", "engine\nidle", "CPU\nseconds", "tokens", "tokens/s", "cut off"]
    table = make_table("Time and tokens by stage", *columns, left=("stage",))
    for name in dict.fromkeys(one.stage for one in manifests):
        mine = [one for one in manifests if one.stage == name]
        wall = sum(one.seconds.wall - one.seconds.imports for one in mine)
        model = sum(one.seconds.model for one in mine)
        tokens = sum(sum(one.tokens.values()) for one in mine)
        engine = engine_time(mine)
        table.add_row(
            name,
            f"{wall:.1f}",
            f"{model:.1f}",
            "" if engine.share is None else f"{engine.share:.0%}",
            f"{sum(one.seconds.cpu for one in mine):.1f}",
            str(tokens) if tokens else "",
            f"{tokens / model:.0f}" if tokens and model else "",
            _cut_off(mine),
        )
    return table


def _cut_off(manifests: list[Manifest]) -> str:
    """How many of a stage's texts ended at the longest length; empty where it writes none, or that was not counted."""
    counted = [one for one in manifests if CUT_OFF in one.metrics]
    texts = sum(one.counts.get("rationale", 0) for one in counted)
    return f"{sum(one.metrics[CUT_OFF] for one in counted)} of {texts}" if texts else ""


def describe_times(manifests: list[Manifest]) -> list[str]:
    """The time of a run in words: in all, outside the model, idle, and what was done at the same time."""
    outside, wall = outside_model(manifests)
    lines = [
        f"{wall:.1f} s in all ({sum(one.seconds.cpu for one in manifests):.1f} CPU s of this program), outside the "
        f"model {outside:.1f} s ({outside / wall if wall else 0:.1%}: orchestration, store, verification), "
        f"imports {sum(one.seconds.imports for one in manifests):.1f} s beside"
    ]
    engine, beside = engine_time(manifests), verified_beside(manifests)
    if engine.share is not None:
        lines.append(f"engines were loaded for {engine.loaded:.1f} s and idle for {engine.share:.1%} of it")
    if beside >= 0.05:
        lines.append(f"{beside:.1f} s of verification ran while the engine wrote")
    workers = {one.metrics["ray"]["workers"] for one in manifests if "ray" in one.metrics}
    if workers:
        lines.append(f"by up to {max(workers)} Ray workers, {elapsed(manifests):.1f} s on the clock, imports and all")
    return lines


def seconds_to_json(manifests: list[Manifest]) -> dict[str, float]:
    """The same as plain data."""
    outside, wall = outside_model(manifests)
    return {
        "wall": wall,
        "elapsed": elapsed(manifests),
        "outside the model": outside,
        "engine loaded": engine_time(manifests).loaded,
        "engine idle": engine_time(manifests).idle,
        "verified beside generation": verified_beside(manifests),
    }
