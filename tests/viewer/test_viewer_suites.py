"""Models on a suite: the page, its pictures and files, what a damaged file leads to, and names that want to be code."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from test_viewer import check, get
from test_viewer_browser import AXE, Watched, browser
from viewing import serving

from selfimprove.recipe.suite import FILE
from selfimprove.records import Outcome
from selfimprove.results.suite import ModelOutcomes, to_json
from selfimprove.viewer.canvas import FORM, Form
from selfimprove.viewer.suites import PICTURES, Suite, draw_suite

__all__ = ["browser"]  # the fixture
NAMES = ("small", "<script>alert(1)</script>", "$large$")
GROUP_OF = {"a": "letters", "b": "letters & signs", "c": "=other"}


def make_suite() -> dict[str, Any]:
    """Three models, the second of which solves what the first one does not."""
    answered = []
    for at, name in enumerate(NAMES):
        outcomes: dict[str, Outcome] = {}
        for task in GROUP_OF:
            for number in range(30):
                right = number % 3 == at % 2
                outcomes[f"{task}{number}"] = "undecided" if number == 29 else "correct" if right else "incorrect"
        answered.append(ModelOutcomes(name, f"runs/suite-mine/{at}", outcomes, {one: one[0] for one in outcomes}))
    found: dict[str, Any] = json.loads(json.dumps(to_json("mine", answered, GROUP_OF)))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("suites")
    files = {"suite-mine": json.dumps(make_suite()), "torn": '{"suite": "torn", "models": [', "odd": "{}"}
    for name, text in files.items():
        (folder / name).mkdir()
        (folder / name / FILE).write_text(text)
    with serving(folder, tmp_path_factory.mktemp("cache")) as address:
        yield address, folder


def test_models_on_a_suite_are_a_page_with_intervals_and_the_paired_test(site: tuple[str, Path]) -> None:
    assert 'href="/suites/suite-mine"' in get(site, "/").text
    page = get(site, "/suites/suite-mine").text
    check(page)
    [first, second, _] = make_suite()["models"]
    for row in (*first["averages"], *second["averages"]):
        for kind in ("micro", "macro"):
            ends = [f"{100 * row[kind][one]:.1f}%" for one in ("value", "low", "high")]
            assert f'{ends[0]} <span class="faint">({ends[1]} to {ends[2]})' in page
    pair = make_suite()["pairs"][0]
    assert pair["won"] == pair["lost"] == 10 and f">{pair['p_value']:.2g}<" in page
    assert "small beside the others" in page and "letters &amp; signs" in page
    assert page.count('<th scope="row">') == len(make_suite()["pairs"]) + len(GROUP_OF)
    assert "34.5% <span" in page and "10 of 29, 1 not judged" in page


@pytest.mark.parametrize("picture", PICTURES)
def test_the_pictures_are_images_and_their_figures_a_file(site: tuple[str, Path], picture: str) -> None:
    for more in ("", "?narrow=true"):
        svg = ElementTree.fromstring(get(site, f"/suites/suite-mine/{picture}.svg{more}").text)
        said = " ".join(svg.itertext())
        assert "<script>alert(1)</script>" in said and "$large$" in said and "micro" in said and "macro" in said
    assert get(site, f"/suites/suite-mine/{picture}.png").content.startswith(b"\x89PNG")
    columns, *rows = get(site, f"/suites/suite-mine/{picture}.csv").text.splitlines()
    assert columns.startswith("group,model,") and columns.endswith("macro high" + ",p,Holm" * (picture != "averages"))
    assert len(rows) == (12 if picture == "averages" else 8) and any(row.startswith("'=other,") for row in rows)


def test_a_difference_that_the_test_shows_is_filled() -> None:
    found = make_suite()
    for pair, adjusted in zip(found["pairs"], (0.01, *[0.2] * 7), strict=True):
        pair["adjusted"] = adjusted
    suite = Suite.model_validate(found)
    assert [one.filled for one in suite.dots("differences")["micro"]] == [True] + [False] * 7
    assert all(one.filled for one in suite.dots("averages")["macro"])
    alone = Suite.model_validate({**found, "models": found["models"][:1], "pairs": []})
    assert alone.dots("differences") == {"micro": [], "macro": []}
    FORM.set(Form())
    assert "<svg" in str(draw_suite(alone, "averages"))


def test_models_of_which_nothing_is_decided_have_no_picture(tmp_path: Path) -> None:
    undecided = ModelOutcomes("m", "m", {"a1": "undecided"}, {"a1": "a"})
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / FILE).write_text(json.dumps(to_json("none", [undecided], {"a": "letters"})))
    with serving(tmp_path, tmp_path / "cache") as address:
        page = get((address, tmp_path), "/suites/one").text
        assert "<img" not in page and "beside the others" not in page and "letters" in page


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/suites/none", "there are no such models on a suite"),
        ("/suites/..%2Fsuite-mine", "Not Found"),
        ("/suites/torn", "torn/suite.json: cannot be read"),
        ("/suites/odd/averages.svg", "odd/suite.json: cannot be read"),
    ],
)
def test_what_is_not_there_or_damaged_is_one_line(site: tuple[str, Path], path: str, said: str) -> None:
    answer = get(site, path, status=404)
    assert said in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_the_page_fits_and_is_accessible(browser: Any, site: tuple[str, Path], width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text()
    one = Watched(browser, site[0], viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    page = one.open("/suites/suite-mine")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.locator("img[data-chart]").nth(1).evaluate("(one) => one.decode()")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(script)
    found = page.evaluate(AXE)["violations"]
    assert [(rule["id"], node["html"][:160]) for rule in found for node in rule["nodes"]] == []
    one.context.close()
    assert one.said == []
