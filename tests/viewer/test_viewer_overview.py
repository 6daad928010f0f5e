"""The list of runs: search, order, columns, seeds in one row, tags and notes, hiding, and all of them in one chart."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from builders import make_problem
from fastapi.testclient import TestClient
from test_viewer import check, check_image
from test_viewer_compare import write_round
from test_viewer_run import text_of
from viewing import write_run, write_stage

from selfimprove.recipe.file import load_recipe
from selfimprove.store import RunFolder
from selfimprove.store.labels import Labels, read_labels
from selfimprove.viewer.app import create_app

HOST = "http://127.0.0.1:8000"
FAMILIES = ("1+1", "1+2", "2+2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of one recipe, a run with another learning rate, and one that was not evaluated."""
    folder = tmp_path_factory.mktemp("overview")
    problems = [make_problem(f"{family} {at}", "3", group=family) for family in FAMILIES for at in range(2)]
    made = {"star-0": (0, "0.01", ["1+1"]), "star-1": (1, "0.01", ["1+1", "1+2"]), "star-2": (2, "0.01", [*FAMILIES]),
            "slow": (0, "0.001", []), "bare": (0, "0.5", None)}  # fmt: skip
    for name, (seed, rate, right) in made.items():
        run = write_run(folder, (), rounds=0, name=name)
        run.write_recipe(
            load_recipe("arithmetic", [f"name={name}", f"seed={seed}", "rounds=1", f"stages.sft.learning_rate={rate}"])
        )
        if right is None:
            for file in (run.path / "round-00" / "evaluate").iterdir():
                file.unlink()
            continue
        write_stage(run, 0, "problems", "problem", problems)
        write_round(run, 0, problems, set())
        write_round(run, 1, problems, set(right))
    return folder


@pytest.fixture(scope="module")
def client(runs: Path) -> Iterator[TestClient]:
    with TestClient(create_app(runs, cache=runs.parent / "overview-cache", patience=60.0), base_url=HOST) as one:
        yield one


def names(page: str) -> list[str]:
    """The rows of the list, in order."""
    return re.findall(r'<th scope="row">.*?<a href="[^"]*">([^<]*)</a>', page, re.DOTALL)


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ("", ["bare", "slow", "star"]),
        ("apart=true", ["bare", "slow", "star-0", "star-1", "star-2"]),
        ("sort=-last", ["star", "slow", "bare"]),
        ("sort=-last&apart=true", ["star-2", "star-1", "star-0", "slow", "bare"]),
        ("sort=gain&apart=true&q=star-", ["star-0", "star-1", "star-2"]),
        ("q=STAR-1", ["star-1"]),
        ("q=arithmetic+slow", ["slow"]),
        ("q=nothing", []),
    ],
)
def test_runs_are_searched_and_sorted_and_seeds_are_one_row(client: TestClient, asked: str, rows: list[str]) -> None:
    page = client.get(f"/?{asked}").text
    check(page)
    assert names(page) == rows


def test_a_row_of_seeds_has_the_mean_and_the_range(client: TestClient) -> None:
    page = client.get("/").text
    said = text_of(page)
    assert "3 seeds: 0 , 1 , 2 66.7% mean, 33.3% to 100.0%" in said
    assert "+66.7 points mean, +33.3 to +100.0" in said and "not evaluated yet" in said
    assert {"/runs/star-0", "/runs/star-1", "/runs/star-2", "/?q=star&apart=true"} <= check(page)


def test_columns_are_those_of_ones_choice_and_settings_too(client: TestClient) -> None:
    page = client.get("/?column=seed&column=best&setting=sft.learning_rate,%20seed,nothing.there&apart=true").text
    check(page)
    head = text_of(page[page.index("<thead>") : page.index("</thead>")]).split()
    assert head == ["run", "▴", "best", "accuracy", "seed", "sft.learning_rate", "seed", "nothing.there"]
    assert re.search(r"slow 0\.0% \([^)]*\) of 6, round 0 0 0\.001 0 ", text_of(page))
    assert client.get("/?sort=nothing").status_code == 422
    # A setting is one of the recipe, and nothing else that Python has of it.
    names = ("__class__", "model_dump", "sft.__class__.__init__.__globals__", "seed.real", "stages.model_fields")
    page = client.get(f"/?column=seed&setting={','.join(names)}&apart=true").text
    rows = re.findall(r"</th>(.*?)</tr>", page[page.index("<tbody>") :], re.DOTALL)
    assert [re.sub(r"<[^>]*>|\s", "", row) for row in rows] == ["0", "0", "0", "1", "2"]


def test_chosen_runs_are_compared(client: TestClient) -> None:
    page = client.get("/compare?run=star-0&run=star-2&run=slow").text
    said = text_of(page)
    assert "A: star-0 1 33.3%" in said and "B: star-2 1 100.0%" in said and re.search(r"slow 1 0\.0%", said)
    assert "4 are right only in B" in said


def test_many_runs_stand_in_one_chart_with_mean_and_band(client: TestClient) -> None:
    chart = next(link for link in check(client.get("/?q=s").text) if "/charts/runs.svg" in link)
    svg = client.get(chart).text
    check_image(svg)
    assert "star (mean of 3 runs)" in svg and ">slow<" in svg
    apart = client.get("/charts/runs.svg?apart=true").text
    assert "mean of" not in apart and ">star-2<" in apart
    assert "/charts/runs.svg" not in client.get("/?q=slow").text  # one run is no comparison


def test_a_chart_is_drawn_once_and_asked_for_again_in_vain(client: TestClient) -> None:
    kept = client.app.app.state.charts  # type: ignore[attr-defined]
    first = client.get("/charts/runs.svg?q=star-")
    drawn = kept.drawn
    again = client.get("/charts/runs.svg?q=star-")
    assert (again.text, kept.drawn) == (first.text, drawn)
    unchanged = client.get("/charts/runs.svg?q=star-", headers={"if-none-match": first.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_tags_and_notes_are_kept_found_and_bounded(runs: Path, client: TestClient) -> None:
    def post(**fields: str) -> int:
        return client.post(
            "/runs/slow/labels", data=fields, headers={"origin": HOST}, follow_redirects=False
        ).status_code

    assert post(tags=" paper,<b> x ,paper,", note="why\r\nso", hidden="yes") == 303
    folder = RunFolder(runs / "slow")
    assert read_labels(folder) == Labels(tags=("paper", "<b> x"), note="why\nso", hidden=True)
    assert names(client.get("/").text) == ["bare", "star"]
    page = client.get("/?hidden=true&tag=paper&column=tags&column=note").text
    check(page)
    assert names(page) == ["slow"] and "&lt;b&gt; x" in page and "why ⏎ so" in text_of(page)
    own = client.get("/runs/slow").text
    check(own)
    assert "hidden in the list of runs" in own and 'value="paper, &lt;b&gt; x"' in own
    for fields in ({"tags": "x" * 50}, {"tags": ",".join(map(str, range(20)))}, {"note": "x" * 3000}):
        assert post(**fields) == 404
    assert client.post("/runs/slow/labels", data={"tags": "a"}).status_code == 403
    assert post(tags="", note="") == 303 and names(client.get("/").text) == ["bare", "slow", "star"]
    (folder.path / "notes" / "run.json").write_text("{")
    assert read_labels(folder) == Labels()


def test_many_runs_are_tagged_and_hidden_at_once(runs: Path, client: TestClient) -> None:
    def post(do: str, **fields: object) -> int:
        asked = {"do": do, "query": "q=s", **fields}
        return client.post("/labels", data=asked, headers={"origin": HOST}, follow_redirects=False).status_code

    def tags() -> list[tuple[str, ...]]:
        return [read_labels(RunFolder(runs / name)).tags for name in ("star-0", "star-1", "star-2", "slow", "bare")]

    seeds = re.search(r'name="seeds" value="([^"]*)"', client.get("/").text)
    assert seeds is not None
    assert post("add", run=["slow"], seeds=[seeds[1]], tags="paper, old") == 303
    assert tags() == [("paper", "old")] * 4 + [()]
    assert post("add", run=["slow", "bare"], tags=",".join(map(str, range(11)))) == 404  # too many for `slow`
    assert post("remove", run=["slow", "star-0"], tags="old,nothing") == 303
    assert tags() == [("paper",), ("paper", "old"), ("paper", "old"), ("paper",), ()]
    assert post("hide", run=["slow", "bare"]) == 303 and names(client.get("/").text) == ["star"]
    assert post("show", run=["slow", "bare"]) == 303 and names(client.get("/").text) == ["bare", "slow", "star"]
    assert tags()[3] == ("paper",)
    for wrong in ({"tags": "a"}, {"run": ["slow"]}, {"run": ["slow", "../star-0"], "tags": "a"}):
        assert post("add", **wrong) == 404
    assert client.post("/labels", data={"do": "add", "run": "slow", "tags": "a"}).status_code == 403
    assert post("remove", run=["slow", *seeds[1].split("/")], tags="paper,old") == 303 and tags() == [()] * 5
