"""The recipe best-of-n as it is shipped: a rule is learned from noisy comparisons, and what it likes grows."""

from pathlib import Path

import pytest

from selfimprove.recipe.file import load_recipe
from selfimprove.running.loop import run_loop
from selfimprove.store import Manifest, RunFolder


@pytest.mark.long
def test_what_the_rule_likes_grows_though_only_the_reward_model_chooses(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "best-of-n")
    run_loop(load_recipe("best-of-n", ["rounds=2"]), run)

    def closed(round_: int, stage: str) -> Manifest:
        manifest = run.stage(round_, stage).manifest()
        assert manifest is not None
        return manifest

    before, after = (closed(at, "gold").metrics["rewards"]["mean"] for at in (1, 2))
    assert after > before + 0.5
    held_out = closed(1, "reward").metrics["held out"]
    assert held_out["accuracy"]["low"] > 0.55
    rows = closed(1, "best").metrics["best of n"]
    assert [one["n"] for one in rows][:4] == [1, 2, 4, 8]
    assert [one["reward"] for one in rows] == sorted(one["reward"] for one in rows)
    assert rows[3]["gold"] > rows[0]["gold"] + 0.5
    right = [closed(at, "evaluate") for at in (0, 2)]
    assert right[0].counts["evaluation"] == right[1].counts["evaluation"] == 1
