"""Who may call the servers that are started here."""

import asyncio
from typing import Any

import pytest

from selfimprove.engines.server_key import KEY, NeedsKey, developer_mode, read_key, without_developer_mode
from selfimprove.errors import EngineError
from selfimprove.running.serve import describe

BEARER = (b"authorization", b"Bearer s3cret")


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"answered": scope.get("path")})


@pytest.mark.parametrize(
    ("kind", "path", "headers", "answered"),
    [
        ("lifespan", None, [], True),
        ("http", "/health", [], True),
        ("http", "/v1/completions", [BEARER], True),
        ("http", "/collective_rpc", [(b"Authorization", BEARER[1])], True),
        ("http", "/collective_rpc", [], False),
        ("http", "/collective_rpc", [(b"authorization", b"Bearer s3cre")], False),
        ("http", "/collective_rpc", [(b"authorization", b"s3cret")], False),
        ("http", "/collective_rpc", [BEARER, BEARER], False),
        ("http", "/collective_rpc", [(b"authorization", "Bearer s3cret\u00e9".encode())], False),
        ("http", "/v1/completions", [], False),
        ("http", "/health/../collective_rpc", [], False),
        ("http", "//health", [], False),
        ("http", "/sleep", [], False),
        ("websocket", "/v1/realtime", [], False),
        ("websocket", "/health", [], False),
    ],
)
def test_nothing_but_health_is_answered_without_the_key(
    kind: str, path: str, headers: list[Any], answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "s3cret")
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(NeedsKey(application)({"type": kind, "path": path, "headers": headers}, None, send))
    if answered:
        assert sent == [{"answered": path}]
    else:
        assert sent[0].get("status", sent[0].get("code")) in (401, 1008) and "answered" not in sent[0]


def test_there_is_no_developer_mode_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert developer_mode(None) == {}
    asked = developer_mode("s3cret")
    assert asked["VLLM_SERVER_DEV_MODE"] == "1" and asked[KEY] == "s3cret"
    assert without_developer_mode({**asked, "PATH": "/bin"}) == {"PATH": "/bin"}
    monkeypatch.delenv("SERVERS_KEY", raising=False)
    with pytest.raises(EngineError, match=r"^--key: the environment variable SERVERS_KEY is not set"):
        read_key("SERVERS_KEY", "--key")
    assert "with --key" in describe(["http://h/v1"]) and "key:" not in describe(["http://h/v1"])
    assert "server: {urls: [http://h/v1], key: SERVERS_KEY}}'" in describe(["http://h/v1"], "SERVERS_KEY")
