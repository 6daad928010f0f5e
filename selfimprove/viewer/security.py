"""Who may ask: hosts, origins, a token where the server is reached from other machines, and what pages may load."""

import hmac
import ipaddress
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "selfimprove_token"
MAX_BODY = 64 * 1024
MAX_URL = 8 * 1024
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# A chart is an image: its own colours are in it, and nothing in it may run or be fetched.
IMAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Refuses foreign hosts and origins before anything is read, and adds the security headers to every answer."""

    def __init__(self, app: App, *, hosts: tuple[str, ...] | None, token: str | None) -> None:
        """`hosts` None: known under any name, which takes a token."""
        if hosts is None and not token:
            raise ValueError("a server that is known under any name needs a token")
        self.app, self.hosts, self.token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refuse(scope, headers)
        if refused:
            await _answer(send, *refused)
            return
        if self.token and self._given(scope) is not None:
            await self._welcome(scope, send)
            return

        async def add_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                image = any(
                    name == b"content-type" and value.startswith(b"image/svg") for name, value in message["headers"]
                )
                added = {**HEADERS, "content-security-policy": IMAGE_POLICY if image else POLICY}
                if not scope["path"].startswith("/static/"):
                    added["cache-control"] = "no-store"  # what a run holds stays in no cache
                extra = [
                    (name.encode(), value.encode()) for name, value in added.items() if name.encode() not in present
                ]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await self.app(scope, _bounded(receive), add_headers)

    def _refuse(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not host if self.hosts is None else host not in self.hosts:
            return 421, "this server is not known under that name"
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"") > MAX_URL:
            return 414, "the address is too long"
        if (
            int(headers.get("content-length") or 0) > MAX_BODY
            if (headers.get("content-length") or "0").isdecimal()
            else True
        ):
            return 413, "the request is too large"
        if scope["method"] not in ("GET", "HEAD"):
            # Browsers send Origin with every POST; another site's is refused, and so is none at all.
            if headers.get("origin") not in [f"http://{one}" for one in self.hosts or (host,)]:
                return 403, "the request does not come from this server's own pages"
        elif headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return 403, "another site may not load this"
        if self.token and not self._knows(scope, headers):
            return 401, "open the address that `selfimprove view` printed: it holds the token"
        return None

    def _given(self, scope: Scope) -> str | None:
        found = urllib.parse.parse_qs(scope["query_string"].decode("latin-1")).get("token")
        return found[0] if found else None

    def _knows(self, scope: Scope, headers: dict[str, str]) -> bool:
        # Read by hand: cookies of other programs on this host come too, and the library stops at one it does not like.
        pairs = (one.partition("=") for one in headers.get("cookie", "").split(";"))
        known = [self._given(scope), *(value.strip() for name, _, value in pairs if name.strip() == COOKIE)]
        bearer = headers.get("authorization", "")
        known.append(bearer.removeprefix("Bearer ") if bearer.startswith("Bearer ") else None)
        return any(one is not None and hmac.compare_digest(one.encode(), str(self.token).encode()) for one in known)

    async def _welcome(self, scope: Scope, send: Send) -> None:
        """Keep the token in a cookie, so that it stands in no address that is sent on or logged."""
        query = urllib.parse.parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        query.pop("token")
        rest = urllib.parse.urlencode(query, doseq=True)
        path = urllib.parse.quote("/" + scope["path"].lstrip("/"))
        cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", f"{path}{'?' if rest else ''}{rest}".encode()), (b"set-cookie", cookie.encode())]
        headers += _plain_headers()
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _bounded(receive: Receive) -> Receive:
    """The request's body, cut off where it grows beyond what any form of ours sends."""
    seen = 0

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body") or b"")
        return {"type": "http.disconnect"} if seen > MAX_BODY else message

    return bounded


def _plain_headers() -> list[tuple[bytes, bytes]]:
    """The headers of an answer of the guard's own."""
    plain = {**HEADERS, "content-security-policy": POLICY, "cache-control": "no-store"}
    return [(name.encode(), value.encode()) for name, value in plain.items()]


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_plain_headers()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})


def allowed_hosts(host: str, port: int) -> tuple[str, ...] | None:
    """The Host headers that the server answers to; None, for any, where it listens on all addresses of the machine.

    Which names those have is not known here. A foreign page that has its own name lead here (DNS rebinding) comes
    without the token, which browsers keep for the name that it was given under.
    """
    if is_wildcard(host):
        return None
    name = f"[{host}]" if ":" in host else host.lower()
    names = {*LOOPBACK} if host in ("127.0.0.1", "localhost", "::1") else {*LOOPBACK, name}
    return tuple(sorted({f"{name}:{port}" for name in names} | ({*names} if port == 80 else set())))


def is_wildcard(host: str) -> bool:
    """Whether an address stands for all addresses of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host
