"""The key of a vLLM server that takes calls to its workers: without it nothing is answered but how the server is.

vLLM's own key guards what lies under /v1 alone, and not the developer's calls that load weights.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from selfimprove.errors import EngineError

KEY = "SELFIMPROVE_SERVER_KEY"  # the variable by which a server is given its key
OPEN = ("/health", "/ping")
Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]


def read_key(name: str, setting: str) -> str:
    """The key that an environment variable holds; raises EngineError where it holds none."""
    if not os.environ.get(name):
        raise EngineError(f"{setting}: the environment variable {name} is not set; put the key into it")
    return os.environ[name]


def developer_mode(key: str | None) -> dict[str, str]:
    """The variables by which a vLLM server takes new weights and sleeps; none without a key, for anybody on the
    machine could call it."""
    if key is None:
        return {}
    return {KEY: key, "VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}


def without_developer_mode(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without those variables, which may have come from elsewhere."""
    return {name: value for name, value in environment.items() if name not in developer_mode("")}


class NeedsKey:
    """ASGI middleware that answers only who brings the key, as `Authorization: Bearer …`."""

    def __init__(self, app: Application) -> None:
        self._app, self._expected = app, f"Bearer {os.environ[KEY]}".encode()

    async def __call__(self, scope: Scope, receive: object, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN):
            await self._app(scope, receive, send)
            return
        brought = [value for name, value in scope.get("headers", ()) if bytes(name).lower() == b"authorization"]
        if len(brought) == 1 and hmac.compare_digest(bytes(brought[0]), self._expected):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            said = b'{"error": {"message": "this server wants its key", "code": 401}}'
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(said)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": said})
        else:
            await send({"type": "websocket.close", "code": 1008})
