"""The viewer in a real browser: keyboard, live pages, small screens, accessibility, and text that wants to be code."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from hostile_run import HOSTILE, NAME, RUN, write_hostile  # noqa: E402
from small import small_recipe  # noqa: E402
from viewing import serving, write_evaluation, write_round, write_run  # noqa: E402

from selfimprove.records import Problem  # noqa: E402
from selfimprove.store import RunFolder  # noqa: E402
from selfimprove.viewer.report import write_report  # noqa: E402

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
TEXTS = ("1+2=3\n#3", "1+2=4\n#4", "2+1=3\n#3", "3+0=3\n#3")
FORMS = ((400, "dark"), (1280, "dark"), (400, "light"))  # of pages, beside 1280 pixels in light
# What a page may not have: axe's rules for WCAG 2 A and AA.
AXE = "() => axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("no Chromium here; name one with CHROMIUM")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder, TEXTS, rounds=2)
    write_hostile(folder)
    with serving(folder, tmp_path_factory.mktemp("cache")) as address:
        yield address, folder


class Watched:
    """A page with all that it said, asked for or opened."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address = address
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(40_000)
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.text} {message.location}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", self._note)
        self.page.on("download", lambda download: self.said.append(f"download of {download.url}"))
        self.context.on("page", lambda page: self.said.append(f"opened {page.url}"))

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:image/svg+xml;base64,")):
            self.said.append(f"request to {request.url}")

    def open(self, path: str) -> Any:
        self.page.goto(self.address + path)
        return self.page


@pytest.fixture
def watched(browser: Any, site: tuple[str, Path]) -> Iterator[Watched]:
    one = Watched(browser, site[0], viewport={"width": 1280, "height": 800})
    yield one
    one.context.close()
    assert one.said == []


def path_of(page: Any) -> str:
    return re.sub(r"^http://[^/]+", "", page.url)


def test_filter_open_and_walk_from_a_trained_row_to_its_prompt(watched: Watched) -> None:
    page = watched.open("/runs/made/traces")
    page.locator(".facet a", has_text="example").click()
    page.wait_for_url("**trained=example**")
    assert page.locator("ol.traces > li").count() == 4
    page.locator("a.trace").first.click()
    page.locator("h2", has_text="Where it went").wait_for()
    page.locator(".lineage a", has_text="checkpoint").first.click()
    page.locator("a", has_text="example").first.click()
    page.locator("a", has_text="rationale").first.click()
    page.locator("summary", has_text="The exact prompt").wait_for()
    assert page.locator("details", has_text="The exact prompt").locator("pre").inner_text().startswith("asked: ")


def test_the_keyboard_is_enough(watched: Watched) -> None:
    page = watched.open("/runs/made/traces")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.locator("li.selected").count() == 1 and page.locator("ol.traces > li").first.get_attribute("class")
    page.keyboard.press("Enter")
    page.wait_for_url("**/traces/*")
    first = path_of(page)
    page.keyboard.press("j")
    page.wait_for_url("**at=1")
    page.keyboard.press("k")
    page.wait_for_url("**at=0")
    assert path_of(page) == first
    page.keyboard.press("Escape")
    page.wait_for_url("**/traces*")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("2=4")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=2%3D4**")
    assert set(page.locator("a.trace .text").all_inner_texts()) == {"1+2=4 ⏎ #4"}
    page.keyboard.press("Escape")
    page.wait_for_url("**/runs/made")


def test_a_word_diff_shows_what_came(watched: Watched) -> None:
    page = watched.open("/runs/made/traces?origin=revised&round=1")
    page.locator("a.trace").first.click()
    assert page.locator("#diff ins").inner_text().strip() == "and more"
    assert page.locator("#diff del").count() == 0
    step = page.locator("#rationale mark.step").first
    assert "step 1, correct: line 0" in (step.get_attribute("title") or "")


def test_a_note_is_kept_and_found_again(watched: Watched) -> None:
    page = watched.open("/runs/made/traces?stage=evaluate&round=2")
    page.locator("a.trace").first.click()
    page.locator("input[value=unsure]").wait_for()
    shown = path_of(page)
    page.locator("input[value=unsure]").check()
    page.locator("textarea").fill("two\nlines")
    page.locator("input[name=by]").fill("Ada")
    page.locator("button", has_text="Keep the note").click()
    page.wait_for_url("**#notes")
    assert path_of(page).split("#")[0] == shown  # back in the list's place
    assert "Ada" in page.locator(".said").inner_text() and "two\nlines" in page.locator(".said").inner_text()
    assert page.locator("input[name=by]").input_value() == "Ada"
    page.keyboard.press("Escape")
    page.wait_for_url("**stage=evaluate**")
    page.locator(".facet a", has_text="unsure").click()
    page.wait_for_url("**note=unsure**")
    assert page.locator("ol.traces > li").count() == 1


def test_two_people_at_once_see_each_others_notes(browser: Any, site: tuple[str, Path]) -> None:
    people = {name: Watched(browser, site[0]) for name in ("Ada", "Émile", "")}
    pages = {name: one.open("/runs/made/traces?stage=evaluate&round=1") for name, one in people.items()}
    for page in pages.values():  # all have the trace open before anyone writes
        page.locator("a.trace").nth(1).click()
    for (name, page), mark in zip(pages.items(), ("good", "bad", "unsure"), strict=True):
        page.locator(f"input[value={mark}]").check()
        page.locator("textarea").fill(f"{mark} <b>says</b> {name}")
        page.locator("input[name=by]").fill(name)
        page.locator("button", has_text="Keep the note").click()
        page.wait_for_url("**#notes")
    for page in pages.values():
        page.reload()
        assert page.locator(".said").count() == 3
        said = " ".join(page.locator(".said").all_inner_texts())
        assert all(f"{mark} <b>says</b>" in said for mark in ("good", "bad", "unsure")) and "somebody" in said
    page = pages[""]
    page.locator("input[value=withdrawn]").check()
    page.locator("button", has_text="Keep the note").click()
    page.locator(".said").nth(2).wait_for(state="detached")
    assert "somebody" not in " ".join(page.locator(".said").all_inner_texts())
    for one in people.values():
        one.context.close()
        assert one.said == []


def test_a_run_that_goes_on_is_shown_as_it_goes(browser: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path, TEXTS, rounds=1)
    held_out = run.stage(0, "problems").read(Problem)
    with serving(tmp_path, tmp_path / "cache") as address:
        one = Watched(browser, address)
        page = one.open("/runs/made")
        assert page.locator("table").first.locator("tbody tr").count() == 2
        page.wait_for_timeout(500)  # the page listens
        write_round(run, 2, TEXTS)
        write_evaluation(run, 2, held_out, TEXTS)
        page.locator("table").first.locator("tbody tr").nth(2).wait_for()
        # A torn part of the next round is named, and the page stands.
        write_round(run, 3, TEXTS)
        torn = next(run.path.glob("round-03/verify/verdict-*.parquet"))
        torn.write_bytes(torn.read_bytes()[:60])
        page.locator(".banner", has_text="could not be read").wait_for()
        one.context.close()
        assert one.said == []


@pytest.mark.long
def test_a_run_of_another_process_is_followed_to_its_end(browser: Any, tmp_path: Path) -> None:
    small_recipe(tmp_path)
    runs = tmp_path / "runs"
    runs.mkdir()
    command = [sys.executable, "-m", "selfimprove.cli", "run", str(tmp_path / "small.yaml"), "--name", "small",
               "--runs", str(runs)]  # fmt: skip
    with (
        serving(runs, tmp_path / "cache") as address,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running,
    ):
        one = Watched(browser, address)
        try:
            while not (runs / "small" / "recipe.yaml").exists():
                assert running.poll() is None
                one.page.wait_for_timeout(100)
            page = one.open("/runs/small")  # and never asked for again
            page.locator(".state.live", has_text="running").wait_for()
            page.locator(".state", has_text="finished").wait_for(timeout=120_000)
            page.locator("table").first.locator("tbody tr").nth(2).wait_for()
        finally:
            running.kill()
        one.context.close()
        assert one.said == []


PAGES = ("/", "/runs/made", "/runs/made/traces", "/compare?a=made&b=made&first=0&second=2", "/api", "trace", "problem",
         "record", "/runs/made/constitution", "/runs/made/rate")  # fmt: skip


def some_pages(page: Any, address: str) -> Iterator[str]:
    """Each page's address."""
    rows = page.request.get(f"{address}/api/runs/made/traces?origin=revised").json()["traces"]
    view = page.request.get(f"{address}/api/runs/made/traces/{rows[0]['id']}").json()
    pair = next(one["child"] for one in view["children"] if one["kind"] == "preference")
    known = {"trace": f"/runs/made/traces/{rows[0]['id']}", "problem": f"/runs/made/problems/{rows[0]['problem']}",
             "record": f"/runs/made/records/{pair}"}  # fmt: skip
    yield from (known.get(one, one) for one in PAGES)


@pytest.mark.parametrize(
    ("width", "scheme"),
    [(1280, "light"), *(pytest.param(*one, marks=pytest.mark.long) for one in FORMS)],
)
def test_pages_fit_and_are_accessible(browser: Any, site: tuple[str, Path], width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text()
    one = Watched(browser, site[0], viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    for path in some_pages(one.page, site[0]):
        page = one.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.evaluate(script)
        found = page.evaluate(AXE)["violations"]
        said = [
            (rule["id"], node["html"][:160], node["failureSummary"][:200]) for rule in found for node in rule["nodes"]
        ]
        assert said == [], path
    one.context.close()
    assert one.said == []


def hostile_pages(page: Any, address: str, traces: int) -> Iterator[str]:
    """Each kind of page, image and answer of the hostile run, and so many of its traces, one for each text first."""
    base, asked = f"/runs/{RUN}", page.request.get(f"{address}/api/runs/{RUN}/traces?limit=200").json()["traces"]
    yield from ("/", base, f"{base}/traces", f"{base}/traces?text=%3Cscript%3Ealert(9)%3C/script%3E&sort=%3Cb%3E",
                f"/compare?a={RUN}&b={RUN}&first=0&second=1", f"{base}/constitution", f"{base}/rate", f"/api{base}",
                f"/api{base}/traces", f"{base}/traces/{'%3Cscript%3E'}", "/charts/spark/" + RUN + ".svg")  # fmt: skip
    yield from (f"{base}/charts/{name}.svg" for name in ("accuracy", "levels", "funnel", "health", "loss-sft"))
    yield f"{base}/charts/stages.svg?graph=1"
    assert {row["text"][:300] for row in asked} >= {text[:300] for text in HOSTILE}
    for row in [one for one in asked if one["stage"] != "evaluate"][:traces]:
        yield f"{base}/traces/{row['id']}"
    yield f"{base}/traces/{asked[-1]['id']}/steps.svg"
    yield f"{base}/problems/{asked[-1]['problem']}"
    revised = next(row["id"] for row in asked if row["origin"] == "revised")
    view = page.request.get(f"{address}/api{base}/traces/{revised}").json()
    made = page.request.get(f"{address}/api{base}/traces/{view['before']['id']}").json()["children"]
    yield from {one["kind"]: f"{base}/records/{one['child']}" for one in (*view["children"], *made)}.values()


@pytest.mark.parametrize(
    "script", [True, pytest.param(False, marks=pytest.mark.long)], ids=["with JavaScript", "without"]
)
def test_nothing_that_a_model_wrote_runs(browser: Any, site: tuple[str, Path], script: bool) -> None:
    """On any page; and each is there, also on a small screen and without JavaScript."""
    one = Watched(browser, site[0], viewport={"width": 400, "height": 800}, java_script_enabled=script)
    opened = []
    for path in hostile_pages(one.page, site[0], 100 if script else 4):
        answer = one.page.goto(site[0] + path)
        assert answer.status == (422 if "traces/%3C" in path else 200), path
        if "html" in answer.headers["content-type"]:
            assert (one.page.locator("main").text_content() or "").strip()
            assert one.page.evaluate("document.documentElement.scrollWidth") <= 400, path
        if script and "html" in answer.headers["content-type"]:
            one.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert one.page.evaluate("document.documentElement.scrollWidth") <= 400, path
            for step in one.page.locator("mark.step").all()[:2]:
                step.hover()
        opened.append(re.sub("[0-9a-f]{20}", "ID", path))
    one.page.wait_for_timeout(200)
    assert len(opened) > (35 if script else 20)
    assert {f"/runs/{RUN}/{kind}/ID" for kind in ("traces", "problems", "records")} <= {*opened}
    one.context.close()
    # That a page was refused is said by the browser itself.
    assert [said for said in one.said if not ("422" in said and "traces/%3C" in said)] == []


def test_the_report_of_hostile_texts_runs_nothing(browser: Any, site: tuple[str, Path], tmp_path: Path) -> None:
    write_report(RunFolder(site[1] / NAME), tmp_path / "report.html", tmp_path / "cache")
    one = Watched(browser, (tmp_path / "report.html").as_uri())
    page = one.open("")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.locator("img").count() > 3
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    one.context.close()
    assert one.said == []


def test_pages_can_be_read_without_javascript(browser: Any, site: tuple[str, Path]) -> None:
    one = Watched(browser, site[0], java_script_enabled=False)
    page = one.open("/runs/made/traces")
    assert page.locator("a.trace").count() > 5
    page.locator("a.trace").first.click()
    page.locator("#rationale").wait_for()
    one.context.close()
    assert one.said == []
