"""In a real browser: what a run is judged by, its control, and a loss that is shown while it is logged."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from builders import make_constitution
from test_viewer_browser import AXE, TEXTS, Watched, browser
from viewing import BASE, serving, write_run, write_stage

from selfimprove.constitution import write_constitution
from selfimprove.records import Checkpoint, Decision, Example, Promotion
from selfimprove.store import RunFolder

__all__ = ["browser"]  # the fixture


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, RunFolder]]:
    """A run with all that a loop is judged by: a control, promotions, KL, pairs, versions of its constitution."""
    folder = tmp_path_factory.mktemp("judged")
    write_run(folder, TEXTS, rounds=1, name="made-control")
    run = write_run(folder, TEXTS, rounds=2)
    for at, name in enumerate(("made-control", "made")):
        text = write_constitution(make_constitution("kind", f"rule-{at}", version=at + 1))
        RunFolder(folder / name).write_constitution(text)
    kl = {"texts": 5, "nats a text": 1.5, "standard error": 0.1, "nats a token": 0.2, "temperature": 1.0, "top_p": 1.0}
    sides = {"chosen": -1.0, "rejected": -2.0, "loss": 0.5, "accuracy": 1.0}
    curve = [{"step": at, "loss": 1 / at} for at in (1, 2, 3)]
    for round_ in (1, 2):
        made = run.stage(round_, "dpo").read(Checkpoint)
        trained = {"curve": curve, "rows": 8, "left_out": 0, "steps": 3, "pairs": 8}
        write_stage(run, round_, "dpo", "checkpoint", made, settings={"batch_size": 4, "accumulate": 1},
                    metrics={**trained, "measured": {"before": sides, "after": sides}})  # fmt: skip
        kept = run.stage(round_, "select")
        write_stage(run, round_, "select", "decision", [*kept.read(Decision), *kept.read(Example)],
                    metrics={"KL from the base": {**kl, "checkpoint": BASE.id}})  # fmt: skip
        one = Promotion(parents=(made[0].id, BASE.id), promoted=True, won=3, lost=1, p_value=0.6, reason="by the test")
        write_stage(run, round_, "promote", "promotion", [one])
    with serving(folder, tmp_path_factory.mktemp("cache")) as address:
        yield address, run


@pytest.mark.parametrize(("width", "scheme"), [pytest.param(1280, "dark", marks=pytest.mark.long), (400, "light")])
def test_what_a_loop_is_judged_by_fits_and_is_accessible(
    browser: Any, judged: tuple[str, RunFolder], width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text()
    one = Watched(browser, judged[0], viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    traces = one.page.request.get(f"{judged[0]}/api/runs/made/traces?origin=revised").json()["traces"]
    shown = {
        "/runs/made": ("its control", "Promotions and roll-backs", "as it was measured", "before and after DPO"),
        "/runs/made/constitution": ("'rule-1' is new", "this run's"),
        f"/runs/made/traces/{traces[0]['id']}": ("1 epoch and 50% of another one", "promoted"),
    }
    for path, words in shown.items():
        page = one.open(path)
        page.wait_for_load_state("networkidle")
        said = re.sub(r"\s+", " ", page.locator("main").inner_text())
        assert all(word in said for word in words), (path, said)
        assert page.locator("img[data-chart]").evaluate_all("all => all.every((one) => one.naturalWidth > 0)"), path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.evaluate(script)
        found = page.evaluate(AXE)["violations"]
        assert [(rule["id"], node["html"][:160]) for rule in found for node in rule["nodes"]] == [], path
    one.context.close()
    assert one.said == []


@pytest.mark.long
def test_another_run_is_chosen_to_stand_beside(browser: Any, judged: tuple[str, RunFolder]) -> None:
    one = Watched(browser, judged[0], java_script_enabled=False)
    page = one.open("/runs/made?graph=1")
    page.locator("#accuracy select").select_option("")
    page.locator("#accuracy button").click()
    page.wait_for_url("**?graph=1&against=#accuracy")
    assert "its control" not in page.locator("main").inner_text()
    page.locator("#accuracy select").select_option("made-control")
    page.locator("#accuracy button").click()
    page.wait_for_url("**against=made-control**")
    page.locator("#accuracy a", has_text="compare").first.click()
    page.wait_for_url("**a=made-control&b=made**")
    assert page.locator("h1").inner_text() == "Compare"
    one.context.close()
    assert one.said == []


def test_a_loss_is_shown_as_it_is_logged(browser: Any, judged: tuple[str, RunFolder]) -> None:
    one = Watched(browser, judged[0])
    page = one.open("/runs/made")
    page.wait_for_timeout(500)  # the page listens
    folder = judged[1].stage(3, "dpo").path / "training"
    folder.mkdir(parents=True)
    for steps in (2, 7):
        curve = [{"step": at, "loss": 1 / at} for at in range(1, steps + 1)]
        (folder / "curve.json").write_text(json.dumps({"steps": 40, "curve": curve}))
        page.locator("td", has_text=f"{steps} of 40").wait_for()
        # Another address: the same one would not be asked for again.
        assert f"n={6 + steps}" in (page.locator("img[src*=loss-dpo]").get_attribute("src") or "")
    assert "round 3, so far" in page.request.get(f"{judged[0]}/runs/made/charts/loss-dpo.svg").text()
    one.context.close()
    assert one.said == []
