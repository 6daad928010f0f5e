"""Charts drawn once, in a form for a phone, and as SVG, PNG and CSV; and a page that prints."""

import csv
import io
import re
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from fastapi.testclient import TestClient
from PIL import Image
from test_viewer import check, check_image
from viewing import write_run

from selfimprove.records import Evaluation
from selfimprove.viewer import charts
from selfimprove.viewer.app import create_app
from selfimprove.viewer.caching import Kept
from selfimprove.viewer.canvas import FORM, LEGEND_LINE, PALETTE, Form
from selfimprove.viewer.chart_tables import csv_of
from selfimprove.viewer.drawings import family_bars
from selfimprove.viewer.library import Figures


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    runs = tmp_path_factory.mktemp("charts")
    write_run(runs, ("1+2=3\n#3", "1+2=4\n#4", "2+1=3\n#3"), rounds=2)
    app = create_app(runs, cache=runs.parent / "charts-cache", patience=60.0)
    with TestClient(app, base_url="http://127.0.0.1:8000") as one:
        yield one


def test_the_charts_of_a_page_are_drawn_once(client: TestClient) -> None:
    kept = client.app.app.state.charts  # type: ignore[attr-defined]
    drawn = [link for link in check(client.get("/runs/made").text) if "/charts/" in link and ".svg" in link]
    assert len(drawn) >= 4
    tags = {link: client.get(link).headers["etag"] for link in drawn}
    before = kept.drawn
    for link, tag in tags.items():
        unchanged, whole = client.get(link, headers={"if-none-match": tag}), client.get(link)
        assert unchanged.status_code == 304
        # A browser takes the headers of the later answer: without this one it drops the colours of what it has.
        policy = "content-security-policy"
        assert "sandbox" in whole.headers[policy] and unchanged.headers[policy] == whole.headers[policy]
        assert client.get(link, headers={"if-none-match": '"another"'}).status_code == 200
    assert kept.drawn == before


def test_what_is_kept_is_bounded() -> None:
    kept = Kept(most=100)
    for at in range(20):
        assert kept.get(at, lambda: "x" * 30) == b"x" * 30
    assert kept.drawn == 20 and sum(map(len, kept._charts.values())) <= 100
    kept.get(0, lambda: "y")  # it went long ago
    kept.get(19, lambda: "another")
    assert kept.drawn == 21


def test_a_phone_gets_a_narrow_chart(client: TestClient) -> None:
    page = client.get("/runs/made").text
    assert '<source media="(max-width: 760px)" srcset="/runs/made/charts/funnel.svg?' in page
    wide, narrow = (client.get(f"/runs/made/charts/funnel.svg?narrow={one}").text for one in ("false", "true"))
    check_image(narrow)
    assert 'width="576pt"' in wide and 'width="331.2pt"' in narrow


@pytest.mark.parametrize(
    ("chart", "columns", "rows"),
    [
        ("accuracy", "round,name,correct,n,undecided,accuracy,low,high", 3),
        ("levels", "round,name,correct,n,undecided,accuracy,low,high", 3),
        ("families", "round,name,correct,n,undecided,accuracy,low,high", 3),
        ("funnel", "round,sampled", 2),
        ("health", "round,problems", 2),
        ("signs", "round,name,value", 5),
        ("stages", "from,to,records", 3),
    ],
)
def test_a_chart_is_loaded_down_with_its_figures(client: TestClient, chart: str, columns: str, rows: int) -> None:
    answer = client.get(f"/runs/made/charts/{chart}.csv?graph=1")
    head, *found = csv.reader(io.StringIO(answer.text))
    assert ",".join(head).startswith(columns) and len(found) >= rows, answer.text
    assert answer.headers["content-disposition"] == f'attachment; filename="made-{chart}.csv"'
    assert client.get(f"/runs/made/charts/{chart}x.csv").status_code == 404


@pytest.mark.parametrize("chart", ["accuracy", "signs", "stages"])
def test_a_png_has_the_colours_of_a_light_page(client: TestClient, chart: str) -> None:
    answer = client.get(f"/runs/made/charts/{chart}.png?graph=1")
    assert answer.headers["content-type"] == "image/png"
    image = Image.open(io.BytesIO(answer.content)).convert("RGB")
    found = {"#{:02x}{:02x}{:02x}".format(*color) for _, color in image.getcolors(1 << 20) or ()}
    assert {"#ffffff", PALETTE["#010203"][0], PALETTE["#0a0101"][0]} <= found
    assert not found & {*PALETTE}  # none of those that stand for another
    assert image.width > 500


def test_no_cell_is_a_formula() -> None:
    table = csv_of("a/b\r\n", (("name",), [("=1+1",), ("+x",), (-1.5,), ("5+5",), ('"',)]))
    assert table.headers["content-disposition"] == 'attachment; filename="a-b-.csv"'
    assert [row[0] for row in csv.reader(io.StringIO(bytes(table.body).decode()))] == [
        "name", "'=1+1", "'+x", "-1.5", "5+5", '"'
    ]  # fmt: skip


def test_a_page_leads_to_sections_that_it_has(client: TestClient) -> None:
    """This one has a single family of problems, and no table of families."""
    page = client.get("/runs/made").text
    named = re.findall(r'<a href="#([^"]+)">', page)
    assert "accuracy" in named and [one for one in named if f'id="{one}"' not in page] == ["main"][:0]


def test_what_is_typed_comes_back_as_it_was(client: TestClient) -> None:
    page = client.get("/runs/made/traces", params={"text": "a\u200b<b>"}).text
    assert 'name="text" value="a\u200b&lt;b&gt;"' in page


def test_lines_without_room_are_counted_and_move_no_point() -> None:
    lines = {f"task {at}": [(0, 0.5, 0.4, 0.6), (1, 0.5, 0.4, 0.6)] for at in range(57)}
    many = str(charts.accuracy_chart(lines, "many"))
    some = str(charts.accuracy_chart(dict(list(lines.items())[: charts.MAX_LINES]), "some"))
    assert "24 of 57" in many and " of " not in re.sub("<metadata.*?</metadata>", "", some, flags=re.DOTALL)
    assert _places(many) == _places(some) != []


@pytest.mark.filterwarnings("error")
def test_a_narrow_chart_has_room_below_it_for_the_names_of_its_lines() -> None:
    heights = []
    for count in (2, 24):
        lines = {f"a name that is long, {at}": [(0, 0.5, 0.4, 0.6), (1, 0.5, 0.4, 0.6)] for at in range(count)}
        before = FORM.set(Form("svg", narrow=True))
        drawn = str(charts.accuracy_chart(lines, "names"))
        FORM.reset(before)
        heights.append(float(drawn[drawn.index('height="') + 8 :].partition("pt")[0]))
    assert heights[1] - heights[0] == pytest.approx(72 * LEGEND_LINE * 11)  # two of them beside each other


def test_a_mean_says_of_how_many_runs_it_is() -> None:
    short, long = [(0, 0.1), (1, 0.2)], [(0, 0.3), (1, 0.4), (2, 0.5)]
    drawn = str(charts.bands_chart([("even", [long, long]), ("uneven", [long, short]), ("one", [long])], "runs"))
    assert re.findall(r">(even|uneven|one)( [^<]*)?</text>", drawn) == [
        ("even", " (mean of 2 runs)"), ("uneven", " (mean of 1 to 2 runs)"), ("one", "")
    ]  # fmt: skip


def _places(svg: str) -> list[str]:
    """Where marks lie from left to right."""
    return re.findall(r'<use [^>]*\bx="([\d.]+)"', svg)


def test_families_stand_by_task_and_level() -> None:
    made = [Evaluation(parents=("c",), task="t", level=level, group="", n=4, correct=1, undecided=0, wrong_reason=0,
                       low=0.0, high=1.0) for level in (10, 2, 1)]  # fmt: skip
    bars = family_bars(Figures(None, "finished", False, [], {0: made}, {}, {}))
    assert [bar[0] for bar in bars] == ["t, level 1", "t, level 2", "t, level 10"]


def test_many_runs_are_loaded_down_too(client: TestClient) -> None:
    head, *rows = csv.reader(io.StringIO(client.get("/charts/runs.csv").text))
    assert head == ["group", "run", "round", "accuracy", "low", "high"] and [row[2] for row in rows] == ["0", "1", "2"]
    assert client.get("/charts/runs.png").headers["content-type"] == "image/png"
