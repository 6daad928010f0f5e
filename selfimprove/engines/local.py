"""What a supervisor of servers asks of this machine: GPUs, ports, answers, and the ends of logs."""

import json
import os
import re
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import EngineError
from selfimprove.recipe import Model

HOST = "127.0.0.1"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
PREFIX = re.compile(r"^(\([^)]*pid=\d+\)\s*)?((ERROR|WARNING|INFO)\b[^]]*\]\s*)?")  # vLLM's, of each line
ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")


def choose_gpus(model: Model, count: int, each: int) -> list[list[str]] | None:
    """The GPUs of each server, or None on a CPU; raises EngineError where there are too few."""
    import torch

    if model.device == "cpu" or not torch.cuda.is_available():
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]
    if count * each > len(names):
        raise EngineError(f"{count} servers of {each} GPUs: there are only {len(names)} GPUs; start fewer servers")
    return [names[number * each : (number + 1) * each] for number in range(count)]


def choose_ports(count: int, first: int | None) -> list[int]:
    """Ports of this machine that nobody listens on; raises EngineError where one of those asked for is taken."""
    sockets = []
    try:
        for number in range(count):
            one = socket.socket()
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port = 0 if first is None else first + number
            try:
                one.bind((HOST, port))
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or error
                raise EngineError(f"port {port} cannot be used ({reason}); choose others with --port") from None
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def answers(port: int) -> bool:
    """Whether a server says that it is well."""
    try:
        with DIRECT.open(f"http://{HOST}:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def ask(port: int, path: str, body: Mapping[str, object], timeout: float = 5.0, key: str | None = None) -> Any:
    """Post to a server on this machine; None where it does not answer."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", json.dumps(body).encode(), headers)
    try:
        with DIRECT.open(request, timeout=timeout) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def end_of(log: Path) -> str:
    """The line of a log that says why its program ended: the last one that names an error, or simply the last one."""
    lines = [PREFIX.sub("", line).strip() for line in log.read_text(errors="replace").splitlines()[-400:]]
    said = [line for line in lines if line]
    # What only says that something else failed before is no reason.
    errors = [
        line for line in said if ERROR.match(line) and "root cause above" not in line and "EngineDeadError" not in line
    ]
    return (errors or said or ["it said nothing"])[-1][:300]
