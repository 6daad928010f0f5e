"""In a real browser: marks by keys, and the pages of daily work without a finding of axe-core in both modes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from hostile_run import RUN, write_hostile
from test_viewer_browser import AXE, TEXTS, Watched, browser
from viewing import serving, write_run

from selfimprove.store import RunFolder
from selfimprove.store.notes import Notes

__all__ = ["browser"]  # the fixture
LINE = {"name": "gold", "xs": [0.0, 1.0], "ys": [0.0, 0.5], "errors": [0.1, 0.1], "group": 1.0, "dashed": False}
GRID = {"lines": {"best of n": [LINE]}, "tables": [[["alpha", "beta"], ["1", "2"]]]}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("work")
    write_run(folder, TEXTS, rounds=2)
    write_hostile(folder)  # all kinds of records: decisions, instructions, a mixture, audits
    (folder / "mine-overoptimise").mkdir()
    (folder / "mine-overoptimise" / "results.json").write_text(json.dumps(GRID))
    with serving(folder, tmp_path_factory.mktemp("cache")) as address:
        yield address, folder


def test_five_marks_are_five_keys(browser: Any, site: tuple[str, Path]) -> None:
    one = Watched(browser, site[0])
    page = one.open("/runs/made/mark?stage=generate")
    for at, key in enumerate("12312", start=1):
        page.keyboard.press(key)
        page.get_by_text(f"{at} of 8 marked by you").wait_for()
    page.keyboard.press("5")
    page.get_by_text("4 of 8 marked by you").wait_for()
    one.context.close()
    assert one.said == []
    found = Notes(RunFolder(site[1] / "made")).current().values()
    assert sorted(note.mark for notes in found for note in notes) == ["bad", "good", "good", "unsure"]


@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_daily_work_are_accessible(browser: Any, site: tuple[str, Path], width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text()
    one = Watched(browser, site[0], viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    trace = one.page.request.get(f"{site[0]}/api/runs/made/traces?stage=generate").json()["traces"][0]
    own = ("", "/failures", "/traces?text=1", "/traces?text=nothing", "/mark", "/notes", "/rate", "/decisions",
           "/constitution", f"/traces/{trace['id']}", f"/problems/{trace['problem']}?round=1",
           f"/records/{trace['problem']}")  # fmt: skip
    others = (f"/runs/{RUN}", f"/runs/{RUN}/decisions", f"/runs/{RUN}/constitution")
    plain = (
        "/",
        "/compare?a=made",
        "/compare",
        "/compare?a=made&b=made&first=0&second=2",
        "/overoptimise/mine",
        "/api",
        "/docs",
        "/docs/viewer",
    )
    for path in (*plain, *(f"/runs/made{one}" for one in own), *others):
        page = one.open(path)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.evaluate(script)
        found = page.evaluate(AXE)["violations"]
        assert [(rule["id"], node["html"][:160]) for rule in found for node in rule["nodes"]] == [], path
    one.context.close()
    assert one.said == []
