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

from selfimprove.store import RunFolder

SEED = 13


def kill_randomly(folder: Path, recipe: str, kills: int) -> list[dict[str, str]]:
    """What happened to each process of the recipe's runs."""
    command = [sys.executable, str(SUPPORT / "random_kills.py"), str(folder), recipe, str(kills), str(SEED)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, cwd=SUPPORT, capture_output=True, text=True, timeout=1800)
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


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["star", "constitution"])
def test_thirty_random_kills_change_nothing(recipe: str, tmp_path: Path) -> None:
    told = kill_randomly(tmp_path, recipe, 30)
    assert sum(one["result"] == "killed" for one in told) == 30
    reference = RunFolder(tmp_path / "reference")
    expected = content(reference)
    assert len(expected["weights"]) >= 2
    runs = sorted(tmp_path.glob("run-*"))
    assert {one["run"] for one in told if one["result"] == "finished"} == {one.name for one in runs}
    for path in runs:
        run, moments = RunFolder(path), [one["moment"] for one in told if one["run"] == path.name]
        for name, found in content(run).items():
            assert found == expected[name], f"{name} of {path.name}, killed at {moments}"
        assert not [*path.glob("round-*/*/*.partial")], moments
        for stage in reference.stages():
            before, after = stage.manifest(), run.stage(*stage.key).manifest()
            assert before and after
            # What a kill took with it is counted as far as it was written, and never less than what was kept.
            assert all(after.tokens.get(name, 0) >= count for name, count in before.tokens.items()), moments
