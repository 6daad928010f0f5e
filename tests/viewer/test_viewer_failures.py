"""What went wrong, in groups; searching question and text with the hits marked; filters kept under a name."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from builders import make_problem, make_rationale
from fastapi.testclient import TestClient
from test_viewer import check
from test_viewer_run import text_of
from viewing import BASE, judge, write_run, write_stage

from selfimprove.errors import StoreError
from selfimprove.records import Decision, Step
from selfimprove.store import RunFolder
from selfimprove.store.index import Index
from selfimprove.store.labels import MAX_FILTERS, read_filters, write_filter
from selfimprove.store.search import Filters, Search
from selfimprove.viewer.app import create_app
from selfimprove.viewer.text import hits

HOST = "http://127.0.0.1:8000"
COINCIDENCE = "likely a coincidence: over 50% of the samples are correct"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two rounds in which the family 5+5 is turned away as a coincidence, and others for answers of their own."""
    folder = write_run(tmp_path_factory.mktemp("failing"), (), rounds=0)
    for round_ in (1, 2):
        problems = [make_problem(f"{family}, number {at}", "3", group=family) for family in ("1+1", "5+5")
                    for at in range(4)]  # fmt: skip
        rationales = [
            make_rationale(one, f"{'x' * 500} column 5 is 0\nso #{at % 4}", round=round_, answer=str(at % 4),
                           parents=(one.id, BASE.id), sample=at // 8)
            for at, one in enumerate(problems * 2)
        ]  # fmt: skip
        verdicts, decisions = [], []
        for at, one in enumerate(rationales):
            five = at % 8 >= 4
            reason = f"column 5 holds the digits {at % 3} and 9, not 0 and 9"
            steps = (Step(start=501, end=514, outcome="incorrect", reason=reason),)
            verdict = judge(one, "correct" if five else "incorrect", steps=() if five else steps,
                            reason=f"answered {at % 4}, expected 3")  # fmt: skip
            verdicts.append(verdict)
            said = COINCIDENCE if five else f"incorrect: answered {at % 4}, expected 3"
            decisions.append(Decision(parents=(one.id, verdict.id), kept=False, reason=said))
        write_stage(folder, round_, "frontier", "problem", problems)
        write_stage(folder, round_, "generate", "rationale", rationales)
        write_stage(folder, round_, "verify", "verdict", verdicts)
        write_stage(folder, round_, "select", "decision", decisions)
    return folder


@pytest.fixture(scope="module")
def client(run: RunFolder) -> Iterator[TestClient]:
    app = create_app(run.path.parent, cache=run.path.parent.with_name("failing-cache"), patience=60.0)
    with TestClient(app, base_url=HOST) as one:
        yield one


def section(page: str, name: str) -> str:
    start = page.index(f'id="{name}"')
    return page[start : page.index("</section>", start)]


def test_the_cause_of_a_stuck_family_is_two_clicks_away(client: TestClient) -> None:
    page = client.get("/runs/made").text
    first = next(link for link in check(page) if link.endswith("/failures"))
    page = client.get(first).text
    links = check(page)
    reasons = text_of(section(page, "reasons"))
    assert f"{COINCIDENCE} 16 8 8" in reasons and "incorrect: another answer than the expected one 16 8 8" in reasons
    family = re.search(r"5\+5 level 2 16 16 0 0 16 likely a coincidence", text_of(section(page, "families")))
    assert family, text_of(section(page, "families"))
    second = next(link for link in links if "/failures?" in link and "5%2B5" in link)
    narrow = client.get(second.replace("&amp;", "&")).text
    check(narrow)
    assert f"{COINCIDENCE} 16 8 8" in text_of(narrow) and "another answer" not in text_of(section(narrow, "reasons"))


def test_every_count_leads_to_as_many_traces(client: TestClient) -> None:
    page = client.get("/runs/made/failures").text
    linked = re.findall(r'<a href="(/runs/made/traces\?[^"]+)">(?:round \d+: |[\d+]+: )?(\d+)</a>', page)
    assert len(linked) >= 6
    for link, count in linked:
        found = client.get("/api" + link.replace("&amp;", "&")).json()
        assert "answer=" in link or found["count"] == int(count), link
    steps = text_of(section(page, "steps"))
    assert "column 5 holds the digits # and #, not # and # 16 texts, 4 problems" in steps
    assert "column 5 is 0 : column 5 holds the digits" in steps and "round 1: 8 · round 2: 8" in steps
    answer = re.search(r'href="(/runs/made/traces\?[^"]*answer=[^"]*)"', section(page, "answers"))
    assert answer and client.get("/api" + answer[1].replace("&amp;", "&")).json()["count"] == 4


def test_the_reason_is_a_facet_and_stands_in_the_list(client: TestClient) -> None:
    assert "turned away because" in client.get("/runs/made/traces").text
    page = client.get("/runs/made/traces?group=5%2B5").text
    check(page)
    assert f"turned away: {COINCIDENCE}" in text_of(page)
    found = client.get("/api/runs/made/facets").json()["cause"]
    assert sorted(n for _, n in found) == [16, 16]


@pytest.mark.parametrize(
    ("asked", "count", "hit"),
    [("text=NUMBER+2", 8, "number 2"), ("text=column+5", 32, "column 5"), ("text=5%2B5%2C", 16, "5+5,"),
     ("text=num%5Bb%5Der+%5B12%5D&regex=true", 16, "number 1"), ("text=%25", 0, ""), ("text=so%0A%23", 0, "")],
)  # fmt: skip
def test_question_and_text_are_searched_and_the_hits_are_marked(
    client: TestClient, asked: str, count: int, hit: str
) -> None:
    assert client.get(f"/api/runs/made/traces?{asked}").json()["count"] == count
    page = client.get(f"/runs/made/traces?{asked}").text
    links = check(page)
    assert (f'<mark class="hit">{hit}</mark>' in page) == bool(count)
    if count:
        trace = next(link for link in sorted(links) if re.search("/traces/[0-9a-f]{20}", link))
        assert '<mark class="hit">' in client.get(trace.replace("&amp;", "&")).text


def test_hits_are_escaped_and_marked_in_capitals_too() -> None:
    assert hits("<b>A</b> a\u202e", ["a", "<"]) == (
        '<mark class="hit">&lt;</mark>b&gt;<mark class="hit">A</mark><mark class="hit">&lt;</mark>/b&gt; '
        '<mark class="hit">a</mark><span class="unseen" title="U+202E RIGHT-TO-LEFT OVERRIDE">\\u202e</span>'
    )


@pytest.mark.parametrize(
    ("reason", "shape"),
    [
        ("column 5 holds the digits 6 and 9, not 0 and 9", "column 5 holds the digits # and #, not # and #"),
        ("3*4 is 12.5, not 1,300", "#*# is #, not #"),
        ("hint text: 'ab c' in it", "hint text: … in it"),
        ("the problem's samples", "the problem's samples"),
        ("", ""),
    ],
)
def test_reasons_are_one_that_differ_in_their_numbers(run: RunFolder, tmp_path: Path, reason: str, shape: str) -> None:
    assert Index(run, tmp_path).rows("SELECT shape_of(?) AS shape", reason) == [{"shape": shape}]


def test_a_hostile_expression_is_refused_in_one_line(run: RunFolder, client: TestClient, tmp_path: Path) -> None:
    assert client.get("/runs/made/traces?regex=true&text=(").status_code == 404
    search = Search(Index(run, tmp_path))
    search.index.refresh(force=True)
    assert search.words(Filters(text="x*", regex=True), ["x" * 300, "ab", None, ""]) == []  # longer than a search


def test_filters_are_kept_under_a_name_and_removed(run: RunFolder, client: TestClient) -> None:
    post = lambda **fields: client.post(  # noqa: E731
        "/runs/made/filters", data=fields, headers={"origin": HOST}, follow_redirects=False
    )
    answer = post(name=' stuck  "one" ', query="group=5%2B5&cause=x")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/made/traces?group=5%2B5&cause=x")
    page = client.get("/runs/made/traces").text
    assert "/runs/made/traces?group=5%2B5&cause=x" in check(page) and "stuck &#34;one&#34;" in page
    post(name='stuck "one"', query="level=2")  # the same name again
    assert [parse_qs(one.query) for one in read_filters(run)] == [{"level": ["2"]}]
    (run.path / "notes" / "filter-torn.json").write_text("{")
    post(name='stuck "one"', query="")
    assert read_filters(run) == []
    for fields in ({"query": "a=b"}, {"name": "x" * 70, "query": "a=b"}, {"name": "x", "query": "a" * 5000}):
        assert post(**fields).status_code == 404
    assert urlsplit(post(name="x", query="//evil.example\r\n").headers["location"]).path == "/runs/made/traces"
    write_filter(run, "x", "")
    assert client.post("/runs/made/filters", data={"name": "x", "query": "a=b"}).status_code == 403


def test_as_many_filters_as_there_may_be_can_still_be_changed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for at in range(MAX_FILTERS):
        write_filter(run, f"filter {at}", "level=1")
    write_filter(run, "filter 3", "level=2")
    assert [one.query for one in read_filters(run)].count("level=2") == 1
    with pytest.raises(StoreError, match="at most 50 saved filters"):
        write_filter(run, "one more", "level=1")
