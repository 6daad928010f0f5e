"""Serving the application."""

import secrets
import socket
from pathlib import Path

import uvicorn

from selfimprove.errors import StoreError
from selfimprove.store.run import start_command
from selfimprove.viewer.app import create_app
from selfimprove.viewer.connections import Limits, bound_logs, bound_protocol
from selfimprove.viewer.library import PATIENCE
from selfimprove.viewer.security import is_wildcard

AT_ONCE = 64
"""Connections that are accepted before those that are too many are closed: all of them are open files meanwhile."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(runs: Path, *, host: str, port: int) -> None:
    """Serve the runs until Ctrl-C; from another address than the loopback only with a token, which is printed."""
    if not runs.is_dir():
        raise StoreError(f"{runs}: no such folder of runs; start a run with: {start_command(runs)}")
    with listen(host, port) as listening:
        address, port = listening.getsockname()[:2]
        everywhere = is_wildcard(address)
        host = address if everywhere else host  # also where it was written in another way, such as 0
        token = None if host in LOOPBACK else secrets.token_urlsafe(24)
        shown = socket.gethostname() if everywhere else f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{port}/{f'?token={token}' if token else ''}  (Ctrl-C ends it)", flush=True)
        make_server(runs, host=host, port=port, token=token).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises StoreError where the address is taken or is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise StoreError(f"{host}:{port}: {error.strerror or error}; choose another --host or --port") from None


def make_server(
    runs: Path,
    *,
    host: str,
    port: int,
    token: str | None = None,
    cache: Path | None = None,
    limits: Limits | None = None,
    patience: float = PATIENCE,
) -> uvicorn.Server:
    """A server of the application for an address."""
    app = create_app(runs, host=host, port=port, token=token, cache=cache, patience=patience)
    config = uvicorn.Config(
        app,
        http=bound_protocol(limits or Limits()),
        ws="none",
        log_level="warning",
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        backlog=AT_ONCE,
    )
    bound_logs()
    return uvicorn.Server(config)
