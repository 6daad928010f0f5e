"""The pages, the JSON and the downloads, asked of a real server; who is refused; what hostile text becomes."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small import small_recipe

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
web = pytest.importorskip("web", reason="httpx is not installed")

from hostile_run import HOSTILE, NAME, RUN, Poison, write_hostile  # noqa: E402
from viewing import serving, write_evaluation, write_run  # noqa: E402

from selfimprove.records import Problem  # noqa: E402
from selfimprove.results.traces import export_rows  # noqa: E402
from selfimprove.running.loop import run_loop  # noqa: E402
from selfimprove.store import RunFolder  # noqa: E402
from selfimprove.store.notes import Notes, note_pairs, write_note  # noqa: E402
from selfimprove.store.query import Query  # noqa: E402
from selfimprove.viewer.app import create_app  # noqa: E402
from selfimprove.viewer.report import write_report  # noqa: E402
from selfimprove.viewer.security import COOKIE, allowed_hosts  # noqa: E402
from selfimprove.viewer.text import word_diff  # noqa: E402

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server over a run that was really made, one by hand, and one of hostile texts."""
    folder = tmp_path_factory.mktemp("runs")
    run_loop(small_recipe(tmp_path_factory.mktemp("recipe"), "rounds=1"), RunFolder(folder / "small"))
    write_run(folder, ("1+2=3\n#3", "1+2=4\n#4", "2+1=3\n#3"), rounds=2)
    write_hostile(folder)
    with serving(folder, tmp_path_factory.mktemp("cache")) as address:
        yield address, folder


def get(site: tuple[str, Path], path: str, status: int = 200, **options: Any) -> Any:
    answer = web.get(site[0] + path, timeout=60, **options)
    assert answer.status_code == status, (path, answer.text[:300])
    return answer


class Checker(HTMLParser):
    """Collects what a page links to, and what no page of ours may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name.startswith("on") or name == "style" or (value or "").strip().lower().startswith("javascript:"):
                self.wrong.append(f"<{tag} {name}={value!r}>")
            if name != "value" and CONTROL.search(value or ""):  # what a form sends is exact, and is not shown
                self.wrong.append(f"<{tag} {name}={value!r}>")
            if name in ("href", "src") and value is not None:
                self.links.add(value)
        if tag in ("iframe", "object", "embed", "base", "style", "svg"):
            self.wrong.append(f"<{tag}>")
        if tag == "script" and dict(attributes).get("src") not in ("/static/view.js", "/static/rate.js"):
            self.wrong.append("<script>")

    def handle_data(self, data: str) -> None:
        if CONTROL.search(data):
            self.wrong.append(data)


def check(page: str) -> set[str]:
    checker = Checker()
    checker.feed(page)
    assert checker.wrong == []
    assert all(link.startswith(("/", "?", "#")) or link == "" for link in checker.links), checker.links
    return checker.links


def check_image(svg: str) -> None:
    """That a chart is XML that draws, and holds nothing that runs, links or loads."""
    assert CONTROL.search(svg) is None
    for element in ElementTree.fromstring(svg).iter():
        name = str(element.tag).rpartition("}")[2]
        assert name not in ("script", "a", "image", "foreignObject", "iframe", "animate", "set"), name
        for key, value in element.attrib.items():
            assert not key.startswith("on") and (not key.endswith("href") or value.startswith("#")), (key, value)


@pytest.mark.parametrize("run", ["small", "made", pytest.param(RUN, marks=pytest.mark.long)])
def test_every_page_and_everything_it_links_to_is_there(site: tuple[str, Path], run: str) -> None:
    seen: set[str] = set()
    todo = ["/", f"/runs/{run}", f"/runs/{run}/traces", f"/compare?a={run}&b={run}&first=0&second=1", "/api",
            f"/runs/{run}/traces?text=3&sort=longest&outcome=correct"]  # fmt: skip
    kinds: dict[str, int] = {}
    while todo and len(seen) < 130:
        path = todo.pop(0)
        # Two of each kind of page, which is its address without ids and parameters.
        kind = re.sub(r"[0-9a-f]{20}", "ID", path.split("?")[0].split("#")[0])
        kind = re.sub(r"/charts/[^/]+\.(png|csv)$", r"/charts/ANY.\1", kind)
        if path in seen or path.startswith(("#", "?")) or not path or kinds.get(kind, 0) >= 2:
            continue
        kinds[kind] = kinds.get(kind, 0) + 1
        seen.add(path)
        answer = get(site, path)
        if answer.headers["content-type"].startswith("text/html"):
            todo += sorted(link for link in check(answer.text) if f"/runs/{run}" in link or "/runs/" not in link)
        elif answer.headers["content-type"].startswith("image/svg"):
            check_image(answer.text)
    assert {f"/runs/{run}/traces/ID", f"/runs/{run}/problems/ID", f"/runs/{run}/records/ID"} <= kinds.keys()
    assert {f"/runs/{run}/charts/accuracy.svg", f"/runs/{run}/charts/stages.svg"} <= kinds.keys()


def test_a_real_run_shows_its_figures(site: tuple[str, Path]) -> None:
    status = get(site, "/api/runs/small").json()
    assert [one["round"] for one in status["accuracy"]] == [0, 1] and status["state"] == "finished"
    page = get(site, "/runs/small").text
    for one in status["accuracy"]:
        assert f"{one['accuracy']:.1%}" in page and f"({one['low']:.1%} to {one['high']:.1%})" in page
    for row in status["funnel"]:
        assert f"{row['sampled']:,}" in page


def test_a_trained_row_is_followed_back_to_its_prompt(site: tuple[str, Path]) -> None:
    trained = get(site, "/api/runs/made/traces?trained=example&limit=1").json()["traces"][0]
    view = get(site, f"/api/runs/made/traces/{trained['id']}").json()
    example = next(one for one in view["children"] if one["kind"] == "example")
    assert example["checkpoints"] and example["record"]["completion"] == view["rationale"]["text"]
    checkpoint = get(site, f"/runs/made/records/{example['checkpoints'][0]['child']}").text
    assert "Checkpoint" in checkpoint
    page = get(site, f"/runs/made/records/{example['child']}").text
    assert f"/runs/made/traces/{trained['id']}" in check(page)
    shown = get(site, f"/runs/made/traces/{trained['id']}").text
    assert view["rationale"]["prompt"].split("\n")[0] in shown and "The exact prompt" in shown


def test_steps_revision_and_pair_are_shown(site: tuple[str, Path]) -> None:
    revised = get(site, "/api/runs/made/traces?origin=revised&round=1").json()["traces"][0]["id"]
    page = get(site, f"/runs/made/traces/{revised}").text
    assert page.count('<mark class="step') == 2 + 3  # two lines, and three in the legend
    assert "line 1; from step 1" in page
    assert '<pre class="model diff" id="diff">' in page and "<ins>" in page
    assert "critique of" in page and "as the chosen text" in page and "round-01/dpo/checkpoint" in page
    svg = get(site, f"/runs/made/traces/{revised}/steps.svg").text
    assert svg.startswith("<svg") and "1: 1+2=3" in svg


def test_the_json_says_what_the_pages_say(site: tuple[str, Path]) -> None:
    asked = "outcome=correct&round=1&sort=longest"
    listed = get(site, f"/api/runs/made/traces?{asked}").json()
    page = get(site, f"/runs/made/traces?{asked}").text
    shown = list(dict.fromkeys(re.findall(r"/runs/made/traces/([0-9a-f]{20})\?", page)))
    assert shown == [row["id"] for row in listed["traces"]] and len(shown) == listed["count"] > 0
    facets = get(site, f"/api/runs/made/facets?{asked}").json()
    assert sum(count for _, count in facets["stage"]) == listed["count"]
    assert get(site, "/api/openapi.json").json()["paths"].keys() >= {"/api/runs/{name}/traces", "/api/runs"}


@pytest.mark.parametrize("run", ["small", "made", RUN])
def test_downloads_read_back_and_agree(site: tuple[str, Path], run: str) -> None:
    asked = "stage=generate"
    lines = get(site, f"/runs/{run}/traces.jsonl?{asked}").content
    assert all(byte == 10 or 32 <= byte < 127 for byte in lines[:2_000_000])
    rows = [json.loads(line) for line in lines.splitlines()]
    table = pq.read_table(io.BytesIO(get(site, f"/runs/{run}/traces.parquet?{asked}").content)).to_pylist()
    assert rows == [{name: row[name] for name in rows[0]} for row in table] and rows
    assert len(rows) == get(site, f"/api/runs/{run}/traces?{asked}").json()["count"]
    if run == RUN:
        assert sorted(row["text"] for row in rows) == sorted(HOSTILE)


def test_hostile_text_stands_there_as_text(site: tuple[str, Path]) -> None:
    rows = get(site, f"/api/runs/{RUN}/traces?stage=generate").json()["traces"]
    assert len(rows) == len(HOSTILE)
    for row in rows:
        page = get(site, f"/runs/{RUN}/traces/{row['id']}").text
        check(page)
        assert len(page) < 4_000_000
    page = get(site, f"/runs/{RUN}/traces?stage=generate").text
    assert "&lt;script&gt;alert(1)" in page and "U+202E RIGHT-TO-LEFT OVERRIDE" in page and "\\u001b" in page


def test_a_text_of_five_megabytes_is_cut_and_said_to_be(site: tuple[str, Path]) -> None:
    long = get(site, f"/api/runs/{RUN}/traces?stage=generate&sort=longest&limit=1").json()["traces"][0]["id"]
    page = get(site, f"/runs/{RUN}/traces/{long}").text
    assert "more characters" in page and len(page) < 2_000_000


@pytest.mark.long
def test_half_a_megabyte_in_every_field_leaves_every_page_bounded(tmp_path: Path) -> None:
    write_run(tmp_path, ("1+2=3\n#3", "#4"), name="huge", change=Poison(500_000))
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        while get(site, "/api/runs/huge").json()["indexing"]:
            time.sleep(0.5)
        todo, seen = ["/", "/runs/huge", "/runs/huge/traces", "/runs/huge/constitution"], set[str]()
        todo.append("/compare?a=huge&b=huge&first=0&second=1")
        while todo:
            path = todo.pop()
            kind = re.sub(r"[0-9a-f]{20}", "ID", path.split("?")[0])
            if path.startswith("#") or path in seen or len([one for one in seen if one.startswith(kind)]) > 3:
                continue
            seen.add(path)
            answer = get(site, path)
            if answer.headers["content-type"].startswith("text/html"):
                assert len(answer.text) < 15_000_000, path
                todo += sorted(link for link in check(answer.text) if link.startswith("/runs/huge"))
        for row in get(site, "/api/runs/huge/traces").json()["traces"]:
            page = get(site, f"/runs/huge/traces/{row['id']}").text
            assert len(page) < 15_000_000 and "more characters" in page
        lines = get(site, "/runs/huge/traces.jsonl?stage=generate").text.splitlines()
        assert [len(json.loads(line)["text"]) > 500_000 for line in lines] == [True, True]
    assert write_report(RunFolder(tmp_path / "huge"), tmp_path / "huge.html", tmp_path / "cache") < 20_000_000


def test_strange_addresses_are_answered_in_one_line(site: tuple[str, Path]) -> None:
    for path, status in (
        ("/runs/..%2f..%2fetc", 404), ("/runs/%2e%2e/traces", 404), ("/runs/none", 404),
        ("/runs/made/traces/zzzz", 422),
        ("/runs/made/traces/ffffffffffffffffffff", 404), ("/runs/made/traces?round=x", 404),
        ("/runs/made/charts/x.svg", 404), ("/runs/made/traces?text=" + "x" * 300, 422),
        ("/runs/made/traces?regex=true&text=(", 404), ("/static/../app.py", 404), ("/static/%2e%2e/app.py", 404),
        ("/runs/made/traces?offset=-1", 422), ("/runs/made/records?id='", 404),
        ("/nowhere", 404), ("/runs/made/traces?" + "a=b&" * 3000, 414), ("/api/runs/none", 404),
        ("/runs/made%00/traces", 404), ("/runs/\u202e", 404),
    ):  # fmt: skip
        answer = get(site, path, status)
        assert "Traceback" not in answer.text
        if "html" in answer.headers["content-type"]:
            check(answer.text)


def test_what_cannot_be_asked_leads_back_to_the_page_that_was_asked(site: tuple[str, Path]) -> None:
    assert 'href="/runs/made/traces">' in get(site, "/runs/made/traces?regex=true&text=(", 404).text
    assert "what was asked for" not in get(site, "/runs/none", 404).text


def test_names_in_the_description_of_the_api_are_code(site: tuple[str, Path]) -> None:
    page = get(site, "/api").text
    assert "`" not in page and "<code>against</code>" in page


def test_every_answer_says_what_it_may_load(site: tuple[str, Path]) -> None:
    for path in ("/", "/runs/made", "/api/runs", "/static/view.js", "/nowhere"):
        headers = web.get(site[0] + path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    chart = web.get(site[0] + "/runs/made/charts/accuracy.svg").headers
    assert "sandbox" in chart["content-security-policy"] and "script-src" not in chart["content-security-policy"]


def test_foreign_hosts_and_origins_are_refused(site: tuple[str, Path]) -> None:
    port = site[0].rsplit(":", 1)[1]
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "127.0.0.1", ""):
        assert web.get(site[0], headers={"host": host}).status_code in (400, 421), host
    assert web.get(site[0], headers={"host": f"localhost:{port}"}).status_code == 200
    for origin in ({}, {"origin": "http://evil.example"}, {"origin": "null"}):
        assert web.post(site[0] + "/runs/made/traces", headers=origin).status_code == 403
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert web.get(site[0] + "/api/runs", headers=embedded).status_code == 403


@pytest.fixture(scope="module")
def guarded(site: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the same runs that asks for a token."""
    with serving(site[1], tmp_path_factory.mktemp("guarded"), token="secret") as address:
        yield address


def test_with_a_token_nothing_is_shown_without_it(guarded: str) -> None:
    address = guarded
    for path in ("/", "/runs/made", "/static/view.js", "/api/runs", "/?token=wrong"):
        answer = web.get(address + path, timeout=60)
        assert answer.status_code == 401 and "made" not in answer.text
    assert web.get(f"{address}/api/runs", headers={"authorization": "Bearer secret"}, timeout=60).status_code == 200
    with web.Client(timeout=60) as client:
        welcome = client.get(f"{address}/runs/made?token=secret&graph=1")
        assert welcome.status_code == 303 and welcome.headers["location"] == "/runs/made?graph=1"
        assert "HttpOnly" in welcome.headers["set-cookie"]
        assert client.get(f"{address}/runs/made").status_code == 200


def test_on_all_addresses_any_name_is_answered_to_with_the_token(tmp_path: Path) -> None:
    """What DNS rebinding brings is a foreign name without the token: its page was given none."""
    write_run(tmp_path)
    get, post = partial(web.get, timeout=60), partial(web.post, timeout=60)
    with serving(tmp_path, tmp_path / "cache", token="secret", host="0.0.0.0") as address:
        port = address.rsplit(":", 1)[1]
        for name in (f"gpu-7.lab.example:{port}", f"192.168.0.7:{port}", f"[fe80::1]:{port}"):
            known = {"host": name, "authorization": "Bearer secret"}
            assert get(f"{address}/runs/made", headers=known).status_code == 200
            assert get(f"{address}/runs/made", headers={"host": name}).status_code == 401
            assert get(f"{address}/runs/made", headers={"host": name, "cookie": f"{COOKIE}=x"}).status_code == 401
            trace = get(f"{address}/api/runs/made/traces", headers=known).json()["traces"][0]["id"]
            place = f"{address}/runs/made/traces/{trace}/notes"
            for origin, status in ((f"http://{name}", 303), (f"http://evil.example:{port}", 403), ("null", 403)):
                answer = post(place, data={"mark": "good"}, headers={**known, "origin": origin})
                assert answer.status_code == status, origin
            rebound = {"host": name, "origin": f"http://{name}"}
            assert post(place, data={"mark": "bad"}, headers=rebound).status_code == 401
    assert len(Notes(RunFolder(tmp_path / "made")).all()) == 3
    for host in ("0.0.0.0", "::", "0:0::0", ""):
        with pytest.raises(ValueError, match="needs a token"):
            create_app(tmp_path, host=host)
    assert allowed_hosts("127.0.0.1", 80) and "evil.example" not in (allowed_hosts("10.0.0.7", 80) or ())


def test_the_command_prints_an_address_that_opens(tmp_path: Path) -> None:
    write_run(tmp_path)
    # 0 is all addresses, written in another way.
    command = [sys.executable, "-m", "selfimprove.cli", "view", str(tmp_path), "--host", "0", "--port", "0"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as view:
        try:
            assert view.stdout
            printed = view.stdout.readline()
            found = re.fullmatch(r"http://([^/]+):(\d+)(/\?token=[\w-]{32})  \(Ctrl-C ends it\)\n", printed)
            assert found, printed
            address = f"http://127.0.0.1:{found[2]}"
            assert web.get(address, headers={"host": f"{found[1]}:{found[2]}"}).status_code == 401
            with web.Client(follow_redirects=True, headers={"host": f"{found[1]}:{found[2]}"}) as client:
                token = client.get(address + found[3], follow_redirects=False).headers["set-cookie"].split(";")[0]
                page = client.get(address, headers={"cookie": token})
            assert page.status_code == 200 and "made" in page.text
        finally:
            view.terminate()


def test_cookies_of_other_programs_do_not_hide_the_token(guarded: str) -> None:
    address = guarded
    mine = f"{COOKIE}=secret"
    for others in ("a=b; {}", "{}; a=b", 'json={{"a":1,"b":[2]}}; {}', "bad name=1; [x]=2; {}; k", "=; ;;{};",
                   "é=ü; {}",
                   f"{COOKIE}=old; {{}}", "x={{{{; {}"):  # fmt: skip
        cookie = others.format(mine).encode()
        assert web.get(f"{address}/runs/made", headers={"cookie": cookie}).status_code == 200, others
    for wrong in ("", f"{COOKIE}=", f"x{mine}", f"{COOKIE}=secret2", f"a={mine}", f"{COOKIE}=\xe9"):
        headers = {"cookie": wrong.encode("latin-1")}
        assert web.get(f"{address}/runs/made", headers=headers).status_code == 401, wrong


def note(address: str, trace: str, **fields: str) -> Any:
    return web.post(f"{address}/runs/made/traces/{trace}/notes", data=fields, headers={"origin": address}, timeout=60)


def test_notes_of_several_people_are_kept_filtered_and_exported(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("1+2=3\n#3", "#4"))
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        rows = get(site, "/api/runs/made/traces?round=1").json()["traces"]
        revised = next(row for row in rows if row["origin"] == "revised")
        before, other = (next(row for row in rows if row["text"] == text) for text in ("1+2=3\n#3", "#4"))
        people = [f"person {at}" for at in range(12)]
        with ThreadPoolExecutor(6) as pool:  # all at once
            answers = list(
                pool.map(lambda by: note(address, before["id"], mark="bad", comment="no <b>", by=by), people)
            )
        assert {answer.status_code for answer in answers} == {303}
        assert {one["by"] for one in get(site, "/api/runs/made/notes").json()} == {*people}
        for mark in ("good", "bad", "good"):  # the last one holds
            note(address, revised["id"], mark=mark, comment="", by="me")
        note(address, other["id"], mark="unsure", comment="\u202e", by="me")
        for mark, expected in (("good", {revised["id"]}), ("bad", {before["id"]}), ("unsure", {other["id"]})):
            found = get(site, f"/api/runs/made/traces?note={mark}").json()
            assert {row["id"] for row in found["traces"]} == expected and found["count"] == 1
        page = get(site, f"/runs/made/traces/{before['id']}").text
        check(page)
        assert page.count("no &lt;b&gt;") == 12
        assert note(address, before["id"], mark="superb").status_code == 404
        assert note(address, "f" * 20, mark="good").status_code == 404
        assert note(address, before["id"], mark="good", comment="x" * 5000).status_code == 404
        assert note(address, before["id"], mark="good", comment="x" * 100_000).status_code == 413
        # The same without saying beforehand how long it is.
        pieces = iter([b"mark=good&comment=", *[b"x" * 10_000] * 10])
        headers = {"origin": address, "content-type": "application/x-www-form-urlencoded"}
        path = f"{address}/runs/made/traces/{before['id']}/notes"
        endless = web.post(path, content=pieces, timeout=60, headers=headers)
        assert endless.status_code == 413
    torn = next((run.path / "notes").iterdir()).read_text()[:20]
    (run.path / "notes" / "note-torn.json").write_text(torn)
    assert len(Notes(run).all()) == 12 + 4


def test_those_who_sign_with_no_name_are_told_apart(site: tuple[str, Path]) -> None:
    run = RunFolder(site[1] / "made")
    address = site[0]
    trace = get(site, "/api/runs/made/traces").json()["traces"][0]["id"]
    place = f"{address}/runs/made/traces/{trace}/notes"
    headers = {"origin": address}
    with web.Client(headers=headers) as one, web.Client(headers=headers) as other:
        marks = lambda: sorted(note.mark for note in Notes(run).current().get(trace, []))  # noqa: E731
        one.post(place, data={"mark": "good"})
        other.post(place, data={"mark": "bad"})
        assert marks() == ["bad", "good"]
        one.post(place, data={"mark": "unsure"})  # the last one of a browser holds
        assert marks() == ["bad", "unsure"]
        one.post(place, data={"mark": "withdrawn"})
        assert marks() == ["bad"]
        assert one.cookies["selfimprove_writer"] not in get(site, "/api/runs/made/notes").text
        one.post(place, data={"mark": "good", "by": "Ada"})
        other.post(place, data={"mark": "unsure", "by": "Ada"})  # a name is the same person in any browser
        assert marks() == ["bad", "unsure"]
    # Who keeps no cookie, or forges one, is another person each time.
    for cookie in ({}, {}, {"cookie": "selfimprove_writer=../../x"}):
        assert web.post(place, data={"mark": "good"}, headers={**headers, **cookie}).status_code == 303
    assert marks() == ["bad", "good", "good", "good", "unsure"]


def test_a_form_that_is_no_note_is_refused_in_one_line(site: tuple[str, Path]) -> None:
    run = RunFolder(site[1] / "made")
    address = site[0]
    trace = get(site, "/api/runs/made/traces").json()["traces"][1]["id"]
    place = f"{address}/runs/made/traces/{trace}/notes"
    headers = {"origin": address, "content-type": "application/x-www-form-urlencoded"}
    for body in (
        "&".join(f"a{at}=1" for at in range(50)),
        "mark=good&" * 50,
        "",
        "mark",
        "\xff\x00",
        "%ff=%ff",
        "{}",
    ):
        answer = web.post(place, content=body.encode("latin-1"), headers=headers)
        assert answer.status_code == 404 and "Traceback" not in answer.text, body
        check(answer.text)
    for back in ("//evil.example", "\r\nset-cookie: a=b", "é", "x" * 3000, "round=1&at=0"):
        answer = web.post(place, data={"mark": "good", "back": back, "by": "é\u202e\r\nx=1"}, headers=headers)
        assert answer.status_code == 303 and answer.headers["location"].startswith(f"/runs/made/traces/{trace}"), back
        assert "a=b" not in answer.headers.get_list("set-cookie")
    assert len([one for one in Notes(run).all() if one.trace == trace]) == 5


def test_notes_are_exported_as_preferences(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("1+2=3\n#3", "#4"))
    write_evaluation(run, 2, run.stage(0, "problems").read(Problem), ("1+2=5\n#5", "#3"))
    first, second = (
        {row["problem"]: row for row in Query(run).traces(stage="evaluate", round=round_)} for round_ in (1, 2)
    )
    problem = next(iter(first))
    write_note(run, first[problem]["id"], "good", "", "me")
    write_note(run, second[problem]["id"], "bad", "", "me")
    for name in ("pairs.jsonl", "pairs.parquet"):
        assert export_rows(Query(run), tmp_path / name, "notes", None) == 1
    row = json.loads((tmp_path / "pairs.jsonl").read_text())
    assert pq.read_table(tmp_path / "pairs.parquet").to_pylist() == [row]
    assert (row["prompt"], row["chosen"], row["rejected"]) == (
        first[problem]["prompt"], first[problem]["text"], second[problem]["text"],
    )  # fmt: skip


def test_notes_become_pairs_of_one_prompt(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    notes = Notes(run)
    traces = {name: {"problem": "p", "prompt": "q", "text": f"text {name}"} for name in ("a", "b", "c", "d")}
    for trace, mark, by in (("a", "good", "x"), ("b", "bad", "x"), ("c", "bad", "x"), ("c", "good", "y"),
                            ("d", "bad", "x"), ("d", "withdrawn", "x")):  # fmt: skip
        write_note(run, trace, mark, "", by)
    assert [(row["chosen"], row["rejected"]) for row in note_pairs(notes, traces)] == [("text a", "text b")]


def test_the_report_is_one_file_that_loads_nothing(site: tuple[str, Path], tmp_path: Path) -> None:
    for name in (NAME, "small"):
        out = tmp_path / f"{name}.html"
        assert write_report(RunFolder(site[1] / name), out, tmp_path / "cache") == out.stat().st_size
        page = out.read_text()
        body = page[page.index("<body>") :]
        checker = Checker()
        checker.feed(body)
        assert checker.wrong == []
        assert checker.links and all(link.startswith("data:image/svg+xml;base64,") for link in checker.links)
        assert "default-src 'none'" in page and "Accuracy per round" in body and "The exact prompt" in body


def test_it_listens_on_the_loopback_alone(site: tuple[str, Path]) -> None:
    port = int(site[0].rsplit(":", 1)[1])
    try:
        own = socket.gethostbyname(socket.gethostname())
    except OSError:
        pytest.skip("this machine has no name")
    if own.startswith("127."):
        pytest.skip("this machine has no address but the loopback")
    with pytest.raises(OSError), socket.create_connection((own, port), timeout=2):
        pass


def test_a_torn_part_takes_no_page_down(tmp_path: Path) -> None:
    run = write_run(tmp_path, ("1+2=3\n#3", "#4"), rounds=1)
    for pattern in ("frontier/problem", "verify/verdict", "select/decision", "evaluate/evaluation"):
        file = next(run.path.glob(f"round-01/{pattern}-*.parquet"))
        file.write_bytes(file.read_bytes()[:50])
    (run.path / "round-01/sft/stage.json").write_text("{")
    (run.path / "recipe.yaml").write_text("name: [")
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        page = get(site, "/runs/made").text
        for name in ("verdict-00000", "decision-00000", "evaluate", "sft/stage.json", "recipe.yaml"):
            assert name in page, name
        for path in (
            "/",
            "/runs/made/traces",
            "/runs/made/traces.parquet",
            "/compare?a=made&b=made&first=0&second=1",
            "/api/runs",
            "/api/runs/made",
        ):
            get(site, path)
        rows = get(site, "/api/runs/made/traces").json()["traces"]
        for file in run.path.glob("round-*/*/checkpoint-*.parquet"):  # torn since they were indexed
            file.write_bytes(file.read_bytes()[:50])
        for row in rows:
            check(get(site, f"/runs/made/traces/{row['id']}").text)
            check(get(site, f"/runs/made/problems/{row['problem']}").text)


def change_first(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change the first row of a part."""
    table = pq.read_table(path)
    first, *rows = table.to_pylist()
    schema = pa.schema([field.with_nullable(True) for field in table.schema])
    pq.write_table(pa.Table.from_pylist([{**first, **change(first)}, *rows], schema), path)


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("generate/rationale", lambda row: {"id": None}, True),
        ("generate/rationale", lambda row: {"text": None}, True),
        ("generate/rationale", lambda row: {"parents": []}, False),
        ("generate/rationale", lambda row: {"parents": None}, False),
        ("verify/verdict", lambda row: {"outcome": None, "reason": None}, True),
        ("verify/verdict", lambda row: {"steps": [dict.fromkeys(row["steps"][0])]}, False),
        ("frontier/problem", lambda row: {"question": None}, True),
    ],
)
def test_a_record_without_its_values_takes_no_page_down(
    tmp_path: Path, name: str, change: Callable[[dict[str, Any]], dict[str, Any]], named: bool
) -> None:
    run = write_run(tmp_path, ("1+2=3\n#3", "#4"), rounds=1)
    change_first(run.path / f"round-01/{name}-00000.parquet", change)
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        assert ("has rows without a value" in get(site, "/runs/made").text) == named
        for path in ("/runs/made/traces", "/runs/made/traces?text=3", "/runs/made/traces.parquet"):
            get(site, path)
        rows = get(site, "/api/runs/made/traces").json()["traces"]
        assert rows
        for row in rows:
            check(get(site, f"/runs/made/traces/{row['id']}").text)


def test_long_texts_without_a_common_word_are_compared_in_no_time() -> None:
    one, other = (" ".join(f"{name}{at}" for at in range(900)) for name in "ab")
    started = time.perf_counter()
    assert word_diff(one, other).count("<del>") == 1
    word_diff("a " * 2000, "a b " * 1000)
    assert time.perf_counter() - started < 5
