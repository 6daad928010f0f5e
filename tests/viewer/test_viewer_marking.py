"""Marking traces one after the other and many at once, exports with notes, and how far people agree."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from fastapi.testclient import TestClient
from test_viewer import check
from test_viewer_run import text_of
from viewing import write_run

from selfimprove.store import RunFolder
from selfimprove.store.notes import Notes, find_agreements, write_note
from selfimprove.viewer.app import create_app

HOST = "http://127.0.0.1:8000"
ORIGIN = {"origin": HOST}
ASKED = "stage=evaluate&round=1"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / "runs", ("1+2=3\n#3", "1+2=4\n#4", "2+1=3\n#3"), rounds=1)


@pytest.fixture
def client(run: RunFolder, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(run.path.parent, cache=tmp_path / "cache", patience=60.0), base_url=HOST) as one:
        yield one


def fields_of(page: str) -> dict[str, str]:
    return {name: value.replace("&amp;", "&") for name, value in
            re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)}  # fmt: skip


def press(client: TestClient, page: str, mark: str, **more: str) -> str:
    """What a key of the queue does: send its form, and follow to the next trace."""
    answer = client.post("/runs/made/mark", data={**fields_of(page), "mark": mark, "by": "Ada", **more}, headers=ORIGIN)
    assert answer.status_code == 200, answer.text
    check(answer.text)
    return answer.text


def test_a_queue_goes_on_by_itself_and_counts(run: RunFolder, client: TestClient) -> None:
    page = client.get(f"/runs/made/mark?{ASKED}").text
    assert "0 of 3 marked by you" in text_of(page)
    assert re.findall(r'data-press="(\d)"', page) == ["1", "2", "3", "4", "5"]
    first = fields_of(page)["trace"]
    page = press(client, page, "good", comment="fine <b>")
    second = fields_of(page)["trace"]
    assert second != first and "1 of 3 marked by you (Ada)" in text_of(page)
    page = press(client, page, "undo")  # the first one comes again
    assert fields_of(page)["trace"] == first and "0 of 3" in text_of(page)
    page = press(client, press(client, press(client, page, "bad"), "skip"), "unsure")
    assert "Nothing is left to mark here" in page and "2 of 3" in text_of(page)
    again = client.get(f"/runs/made/mark?{ASKED}").text
    assert fields_of(again)["trace"] == second  # what was passed over, from the start
    held = {trace: [note.mark for note in notes] for trace, notes in Notes(run).current().items()}
    assert held[first] == ["bad"] and second not in held and len(held) == 2


def test_many_are_marked_at_once_from_the_list(run: RunFolder, client: TestClient) -> None:
    page = client.get(f"/runs/made/traces?{ASKED}").text
    check(page)
    chosen = re.findall(r'type="checkbox" name="trace" value="(\w+)"', page)
    assert len(chosen) == 3
    sent = {"trace": chosen[:2], "mark": "bad", "by": "Ada", "query": ASKED}
    answer = client.post("/runs/made/marks", data=sent, headers=ORIGIN, follow_redirects=False)
    assert answer.headers["location"] == f"/runs/made/traces?{ASKED}"
    assert {*Notes(run).current()} == {*chosen[:2]}
    for wrong in ({"mark": "bad"}, {"mark": "superb", "trace": chosen}, {"mark": "bad", "trace": [*chosen, "f" * 20]}):
        assert client.post("/runs/made/marks", data=wrong, headers=ORIGIN).status_code == 404
    assert len(Notes(run).all()) == 2  # one that is not there keeps the others from being marked
    assert client.post("/runs/made/marks", data=sent).status_code == 403
    assert client.post("/runs/made/mark", data={"mark": "good", "trace": "f" * 20}, headers=ORIGIN).status_code == 404


def test_an_export_of_noted_traces_holds_notes_and_prompts(run: RunFolder, client: TestClient) -> None:
    rows = client.get("/api/runs/made/traces?stage=generate").json()["traces"]
    plain = json.loads(client.get("/runs/made/traces.jsonl").text.splitlines()[0])
    assert "notes" not in plain and "cause" in plain
    write_note(run, rows[0]["id"], "bad", "the sum is wrong", "Ada")
    write_note(run, rows[0]["id"], "good", "", "Bo")
    (line,) = client.get("/runs/made/traces.jsonl?note=bad&note=good").text.splitlines()
    found = json.loads(line)
    assert sorted((one["mark"], one["comment"], one["by"]) for one in found["notes"]) == [
        ("bad", "the sum is wrong", "Ada"), ("good", "", "Bo")
    ]  # fmt: skip
    assert found["prompt"].startswith("asked: ")
    table = pq.read_table(io.BytesIO(client.get("/runs/made/traces.parquet").content)).to_pylist()
    assert [row for row in table if row["notes"]] == [found] and len(table) > 3


def test_two_people_agree_as_far_as_their_marks_do(run: RunFolder, client: TestClient) -> None:
    # By hand: 6 in common, 4 the same; chance is 1/2 * 2/3 + 1/2 * 1/3 = 1/2, kappa (2/3 - 1/2) / (1 - 1/2) = 1/3.
    ids = [row["id"] for row in client.get("/api/runs/made/traces").json()["traces"]][:7]
    for trace, one, other in zip(ids, "gggbbb", "gggbgb"[:5] + "g", strict=False):
        for by, mark in (("Ada", one), ("Bo <i>", other)):
            write_note(run, trace, {"g": "good", "b": "bad"}[mark], "", by)
    write_note(run, ids[6], "good", "", "Ada")
    (pair,) = find_agreements(Notes(run))
    assert (pair.people, pair.both, pair.same, len(pair.differ)) == (("Ada", "Bo <i>"), 6, 4, 2)
    assert pair.kappa == pytest.approx((4 / 6 - 0.5) / 0.5)
    page = client.get("/runs/made/notes").text
    links = check(page)
    said = text_of(page)
    assert "Ada and Bo <i> 6 4 (67%) 0.33" in said and "Ada 4 3 0" in said
    assert {f"/runs/made/traces/{trace}#notes" for trace in pair.differ} <= links


def test_where_all_marks_are_the_same_kappa_has_no_value(run: RunFolder, client: TestClient) -> None:
    assert "Nobody has marked a trace" in client.get("/runs/made/notes").text
    trace = client.get("/api/runs/made/traces").json()["traces"][0]["id"]
    for by in ("Ada", "Bo"):
        write_note(run, trace, "good", "", by)
    (pair,) = find_agreements(Notes(run))
    assert (pair.same, pair.kappa) == (1, None)
    assert "Ada and Bo 1 1 (100%) none" in text_of(client.get("/runs/made/notes").text)
