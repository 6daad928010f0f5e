"""Figures by step on a run's page: of stages that declare them, once closed and while it trains."""

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from test_viewer import check, get
from viewing import BASE, serving, write_run, write_stage

from selfimprove.recipe.file import load_recipe
from selfimprove.records import Audit, Checkpoint


def point(step: int, **values: float) -> dict[str, object]:
    return {"step": step, "loss": 0.0, "learning_rate": 0.1, "values": values}


def test_a_stage_that_declares_it_shows_figures_by_step_and_no_loss(tmp_path: Path) -> None:
    run = write_run(tmp_path, rounds=2)
    run.write_recipe(load_recipe("rlvr", ["name=made", "rounds=2"]))
    made = Checkpoint(parents=(BASE.id,), path="p", method="rl", weights="w")
    audit = Audit(parents=(made.id,), gold="<b>rule</b>", reward_first=0.0, reward_last=1.0, gold_first=1.0,
                  gold_last=0.5, gold_highest=2.0, step=3, rose=True, fell=True, worse=False)  # fmt: skip
    curve = [point(1, reward=0.0, KL=0.0), point(2, reward=1.0, KL=float("nan")), point(3, reward=2.5, KL=1.5)]
    write_stage(run, 1, "rl", "checkpoint", [made, audit], metrics={"curve": curve})
    going_on = run.stage(2, "rl").path / "training"
    going_on.mkdir(parents=True)
    (going_on / "curve.json").write_text(json.dumps({"steps": 9, "curve": [point(1, reward=0.25, KL=float("nan"))]}))
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        page = get(site, "/runs/made").text
        check(page)
        assert "rl by step" in page and "loss-rl" not in page
        assert "the reward rose from 0 to 1 while &lt;b&gt;rule&lt;/b&gt; fell from 2 (step 3) to 0.5" in page
        status = get(site, "/api/runs/made").json()
        assert "rl" not in status["losses"]
        first, second = status["by step"]["rl"]
        assert first["curves"] == {"reward": [[1, 0.0], [2, 1.0], [3, 2.5]], "KL": [[1, 0.0], [3, 1.5]]}
        assert second["going_on"] and second["curves"] == {"reward": [[1, 0.25]]}
        svg = get(site, "/runs/made/charts/steps-rl.svg").text
        assert "KL" in svg and "round 2, so far" in svg
        get(site, "/runs/made/charts/steps-sft.svg", 404)
