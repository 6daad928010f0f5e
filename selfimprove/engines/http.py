"""One request to one OpenAI-compatible server, and what can be done about an answer that is none."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from selfimprove.errors import EngineError

SHOWN = 300  # characters of what a server says
LARGEST = 256 << 20  # bytes of an answer: log-probabilities of a prompt of a million tokens
TOO_LONG = re.compile(
    r"context[ _](length|size|window)|maximum (model|context) length|max_(model|seq)_len|too long|too many tokens",
    re.IGNORECASE,
)
ANSWERS = {"choices", "data", "results"}  # what a good answer holds one of
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Busy(Exception):
    """The server lives and wants to be left alone for a while; `after` is how many seconds, where it says so."""

    def __init__(self, message: str, after: float | None) -> None:
        super().__init__(message)
        self.after = after


class Failed(Exception):
    """No answer, or one that makes no sense: another try may bring one. `status` is None where nothing came."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Refused(Exception):
    """The server understood and will not: the same request will be refused again."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def too_long(self) -> bool:
        """Whether it is because of the prompt's length."""
        return self.status in (400, 413, 422) and TOO_LONG.search(str(self)) is not None


class Http:
    """Requests to one server; raises Busy, Failed, Refused.

    `url` is the address that the API's paths follow (…/v1). `key` is the secret itself, which stands in no message.
    """

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        self.url, self.root = split_url(url)
        self._key, self._timeout = key, aiohttp.ClientTimeout(total=timeout, connect=min(30.0, timeout))
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make ready, in the event loop that will ask."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),  # uvicorn closes what is idle for 5 s
            timeout=self._timeout,
            headers=headers,
            trust_env=urlsplit(self.url).hostname not in LOOPBACK,
        )

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def get(self, path: str, *, timeout: float | None = None) -> Any:
        """Ask for `path` under the API's address, or under the server's own where it begins with `//`."""
        return await self._ask("GET", path, None, timeout)

    async def post(self, path: str, body: Mapping[str, object] | None = None, *, timeout: float | None = None) -> Any:
        """Send JSON; see `get`."""
        return await self._ask("POST", path, body, timeout)

    async def tell(self, path: str, body: Mapping[str, object] | None = None, *, timeout: float | None = None) -> None:
        """Send JSON to where the answer is a text that nobody reads."""
        await self._send("POST", path, body, timeout)

    async def _ask(self, method: str, path: str, body: Mapping[str, object] | None, timeout: float | None) -> Any:
        raw = await self._send(method, path, body, timeout)
        try:
            found = json.loads(raw) if raw.strip() else None
        except (ValueError, RecursionError):
            raise Failed("an answer that is not JSON") from None
        if isinstance(found, dict) and found.get("error") and not found.keys() & ANSWERS:
            self._refuse(read_code(found["error"]), raw, None)  # an error that calls itself a success
        return found

    async def _send(self, method: str, path: str, body: Mapping[str, object] | None, timeout: float | None) -> bytes:
        assert self._session is not None
        url = self.root + path[1:] if path.startswith("//") else self.url + path
        limit = self._timeout if timeout is None else aiohttp.ClientTimeout(total=timeout)
        try:
            async with self._session.request(method, url, json=body, timeout=limit, allow_redirects=False) as answer:
                raw = await _read(answer)
                if answer.status != 200:
                    self._refuse(answer.status, raw, answer.headers.get("Retry-After"))
        except (TimeoutError, aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise Failed(self._hide(describe(error))) from None
        return raw

    def _refuse(self, status: int, raw: bytes, after: str | None) -> None:
        message = self._hide(f"{status} {read_message(raw)}".strip())
        if status == 429:
            raise Busy(message, read_seconds(after))
        if status in (408, 409, 425) or status >= 500:
            raise Failed(message, status)
        raise Refused(status, message)

    def quote(self, answer: object) -> str:
        """The beginning of an answer that makes no sense, as a message shows it."""
        return self._hide(" ".join(json.dumps(answer, ensure_ascii=False).split()))

    def _hide(self, message: str) -> str:
        """Servers repeat the key in their messages."""
        return (message.replace(self._key, "…") if self._key else message)[:SHOWN]


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The whole answer, or an error where it has no end."""
    if answer.content_length is not None and answer.content_length <= LARGEST:
        return await answer.read()
    pieces, size = [], 0
    async for piece in answer.content.iter_chunked(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise aiohttp.ClientPayloadError("an answer without end")
    return b"".join(pieces)


def describe(error: BaseException) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error.strerror or error.os_error)
    return " ".join(str(error).split()) or type(error).__name__


def read_message(raw: bytes) -> str:
    """What an error answer says: the APIs disagree on where it stands."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = raw.decode(errors="replace")
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return " ".join(str(found).split())


def read_code(error: object) -> int:
    """The status that an error names; 400, which is not asked again, where it names none."""
    code = error.get("code") or error.get("status") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 400


def read_seconds(after: str | None) -> float | None:
    """The header Retry-After in seconds from now: it holds a number or a date."""
    if not after:
        return None
    with suppress(ValueError):
        return max(0.0, float(after))
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def split_url(url: str) -> tuple[str, str]:
    """The address of the API and that of the server's own calls; raises EngineError."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket that is not closed, or a port that is none
        known = False
    if not known:
        shown = re.sub(r"//.*@|\?.*", "…", url)  # a password or a key may stand in it
        raise EngineError(f"engine.server.urls: {shown!r} is no address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise EngineError(
            "engine.server.urls: an address must not hold a name, a password or a query, which would be kept in the "
            "run's recipe.yaml; put the key into an environment variable and name that with engine.server.key"
        )
    path = parts.path.rstrip("/") or "/v1"
    root = f"{parts.scheme}://{parts.netloc}"
    return root + path, root + path.removesuffix("/v1")
