"""Strangers at the viewer's door: half-sent requests, many connections, endless mistakes."""

import logging
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
import web
from viewing import write_run

from selfimprove.errors import StoreError
from selfimprove.viewer.connections import LINES, FewLines, Limits
from selfimprove.viewer.live import MAX_LISTENERS
from selfimprove.viewer.serve import listen, make_server, serve

ARRIVAL = 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[uvicorn.Server]:
    """A server with a token, and short patience."""
    folder = tmp_path_factory.mktemp("limits")
    write_run(folder / "runs")
    listening = listen("127.0.0.1", 0)
    place = listening.getsockname()[1]
    limits = Limits(most=40, arrival=ARRIVAL)
    server = make_server(
        folder / "runs", host="127.0.0.1", port=place, token="secret", cache=folder / "cache", limits=limits
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join(10)
    listening.close()


@pytest.fixture(scope="module")
def port(server: uvicorn.Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


def connect(port: int, sent: bytes = b"") -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=20)
    one.sendall(sent)
    return one


def is_closed(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionError:
        return True


def ask(port: int) -> httpx.Response:
    return web.get(f"http://127.0.0.1:{port}/", headers={"authorization": "Bearer secret"}, timeout=20)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nmark=",
        b"GET /static/view.css HTTP/1.1\r\nHost: x\r\n\r\nGET / HT",
    ],
)
def test_a_request_that_does_not_arrive_is_not_waited_for(port: int, sent: bytes) -> None:
    with connect(port, sent) as one:
        started = time.monotonic()
        one.settimeout(ARRIVAL * 10)
        while one.recv(1 << 16):  # an answer to what did arrive, then the end
            pass
        assert time.monotonic() - started < ARRIVAL * 9


def test_a_request_that_drips_gets_no_more_time(port: int) -> None:
    with connect(port, b"GET / HTTP/1.1\r\n") as one:
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            for at in range(200):
                one.sendall(b"X-%d: y\r\n" % at)
                time.sleep(0.1)
        assert time.monotonic() - started < ARRIVAL * 9


def test_half_sent_requests_lock_nobody_out_for_long(port: int) -> None:
    held = [connect(port, b"GET / HTTP/1.1\r\nHost: x\r\n") for _ in range(60)]
    try:
        time.sleep(ARRIVAL * 2)
        assert ask(port).status_code == 200
        assert all(map(is_closed, held))
    finally:
        for one in held:
            one.close()


MANY = """
import socket, sys
print("ready", flush=True)
sys.stdin.readline()
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20) for _ in range(500)]
print(len(held), flush=True)
sys.stdin.read()
"""


def test_many_connections_at_once_do_not_take_all_open_files(
    server: uvicorn.Server, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len([*Path("/proc/self/fd").iterdir()])
    with subprocess.Popen(
        [sys.executable, "-c", MANY, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stranger:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 320, before[1]))
        try:
            assert stranger.stdout is not None and stranger.stdin is not None and stranger.stdout.readline()
            server.servers[0].get_loop().call_soon_threadsafe(time.sleep, 1.0)  # so that they wait together
            stranger.stdin.write("\n")
            stranger.stdin.flush()
            assert stranger.stdout.readline() == "500\n"
            time.sleep(ARRIVAL * 2)
            assert ask(port).status_code == 200
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            stranger.kill()
    assert "Too many open files" not in caplog.text and "out of system resource" not in caplog.text


def test_connections_are_counted_by_address_and_in_all() -> None:
    limits = Limits(each=2, most=4)
    assert [limits.admit("10.0.0.7") for _ in range(3)] == [True, True, False]
    assert limits.admit("10.0.0.8") and limits.admit("127.0.0.1") and not limits.admit("10.0.0.9")
    limits.leave("10.0.0.7")
    assert limits.admit("127.0.0.1") and not limits.admit("127.0.0.1")
    for address in ("10.0.0.7", "10.0.0.8", "127.0.0.1", "127.0.0.1"):
        limits.leave(address)
    assert not limits.by_address


def test_as_many_listen_as_may_when_all_ask_at_once(port: int) -> None:
    head = f"GET /runs/made/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer secret\r\n\r\n".encode()
    asked = [connect(port) for _ in range(MAX_LISTENERS + 10)]
    try:
        for one in asked:
            one.sendall(head)
        answers = [one.recv(12) for one in asked]
        assert answers.count(b"HTTP/1.1 200") == MAX_LISTENERS
        assert answers.count(b"HTTP/1.1 503") == 10
    finally:
        for one in asked:
            one.close()


def test_what_strangers_can_have_logged_is_bounded() -> None:
    few = FewLines()
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "Invalid %s", ("request",), None)
    assert sum(few.filter(record) for _ in range(LINES * 50)) == LINES
    few._since -= 61
    assert few.filter(record) and record.getMessage() == f"Invalid request ({LINES * 49} messages before were left out)"


@pytest.mark.parametrize(
    "path", ["/", "/runs/made", "/api/runs", "/runs/made/traces.jsonl", "/runs/made/traces.parquet", "/nowhere"]
)
def test_nothing_of_a_run_is_kept_in_a_cache(port: int, path: str) -> None:
    known = {"authorization": "Bearer secret"}
    answer = web.get(f"http://127.0.0.1:{port}{path}", headers=known, timeout=20)
    assert answer.headers["cache-control"] == "no-store"
    refused = web.get(f"http://127.0.0.1:{port}{path}", timeout=20)
    welcome = web.get(f"http://127.0.0.1:{port}{path}?token=secret", timeout=20)
    assert (refused.status_code, welcome.status_code) == (401, 303)
    for one in (refused, welcome):
        assert one.headers["cache-control"] == "no-store" and "default-src 'none'" in one.headers[
            "content-security-policy"]  # fmt: skip


def test_where_there_is_no_folder_of_runs_the_command_that_makes_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"start a run with: selfimprove run RECIPE --runs '{tmp_path}/my runs'"):
        serve(tmp_path / "my runs", host="127.0.0.1", port=0)
