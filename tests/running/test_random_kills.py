"""Runs that are killed at random moments, again and again, end as one that was never killed."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from places import SUPPORT
from small import record_ids, weight_hashes

from selfimprove.records import Action, Advice, Probed, Rationale
from selfimprove.store import RunFolder

SEED = 13


def kill_randomly(folder: Path, recipe: str, kills: int, *places: str) -> list[dict[str, str]]:
    """What happened to each process of the recipe's runs, which are killed in these places of it alone if there are
    any."""
    command = [sys.executable, str(SUPPORT / "random_kills.py"), str(folder), recipe, str(kills), str(SEED), *places]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, cwd=SUPPORT, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def content(run: RunFolder) -> dict[str, Any]:
    """All that is the same however often a run was interrupted."""
    parts = sorted(run.path.glob("round-*/*/*.parquet"))
    manifests = {stage.name: stage.manifest() for stage in run.stages()}
    return {
        "ids": record_ids(run),
        "rows": {str(one.relative_to(run.path)): pq.read_table(one).to_pylist() for one in parts},
        "bytes": {str(one.relative_to(run.path)): hashlib.sha256(one.read_bytes()).hexdigest() for one in parts},
        "weights": weight_hashes(run),
        "stages": {name: (one.fingerprint, one.counts, one.files) for name, one in manifests.items() if one},
        "curves": {name: one.metrics.get("curve") for name, one in manifests.items() if one},
        "recipe": (run.path / "recipe.yaml").read_bytes(),
    }


def compare_with_reference(folder: Path, told: list[dict[str, str]]) -> None:
    """Each run that was killed is as the one that was not."""
    reference = RunFolder(folder / "reference")
    expected = content(reference)
    runs = sorted(folder.glob("run-*"))
    assert {one["run"] for one in told if one["result"] == "finished"} == {one.name for one in runs}
    for path in runs:
        run, moments = RunFolder(path), [one["moment"] for one in told if one["run"] == path.name]
        for name, found in content(run).items():
            assert found == expected[name], f"{name} of {path.name}, killed at {moments}"
        assert not [*path.glob("round-*/*/*.partial")], moments
        for stage in reference.stages():
            before, after = stage.manifest(), run.stage(*stage.key).manifest()
            assert before and after
            # Parts that were made twice count twice; a training that went on counts what it did since.
            least = {name: count if name != "trained" else 1 for name, count in before.tokens.items()}
            assert all(after.tokens.get(name, 0) >= count for name, count in least.items()), moments


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["star", "constitution"])
def test_thirty_random_kills_change_nothing(recipe: str, tmp_path: Path) -> None:
    told = kill_randomly(tmp_path, recipe, 30)
    assert sum(one["result"] == "killed" for one in told) == 30
    compare_with_reference(tmp_path, told)
    assert len(content(RunFolder(tmp_path / "reference"))["weights"]) >= 2


@pytest.mark.long
def test_kills_inside_decisions_probes_forced_steps_and_branches_change_nothing(tmp_path: Path) -> None:
    """Each kill lies in a place that steers a run, or in the round that goes back to an earlier checkpoint."""
    told = kill_randomly(tmp_path, "steered", 8, "decide", "probe", "repair", "round-03")
    assert sum(one["result"] == "killed" for one in told) == 8
    compare_with_reference(tmp_path, told)
    reference = RunFolder(tmp_path / "reference")
    actions = {one.round: one for at in (2, 3) for one in reference.stage(at, "decide").read(Action)}
    assert [one.taken for one in reference.stage(2, "decide").read(Advice)] == [True]
    assert actions[2].rule == "proposed" and actions[3].back_to == 1
    for round_ in (1, 2, 3):
        assert reference.stage(round_, "probe").read(Probed)
        tried = reference.stage(round_, "repair").read(Rationale)
        assert {1, 2} <= {one.sample for one in tried}, "no step was forced"
