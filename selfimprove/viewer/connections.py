"""Connections of strangers: how many there may be, how long a request may take to arrive, and how much is logged."""

import asyncio
import ipaddress
import logging
import resource
import time
from collections import Counter

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVAL = 10.0  # seconds for a request to arrive whole, head and body
MAX_EACH = 64  # connections of one address; those of this machine share what is left
MAX_ALL = 512
LINES = 20  # of a kind that strangers may cause, in a minute


class Limits:
    """Counts a server's connections; the operating system's limit of open files leaves room for files beside them."""

    def __init__(self, *, each: int = MAX_EACH, most: int = MAX_ALL, arrival: float = ARRIVAL) -> None:
        self.each, self.arrival = each, arrival
        self.most = min(most, max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
        self.by_address: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count a connection; False where there are too many of its address, or in all."""
        mine = self.by_address[address]
        if self.by_address.total() >= self.most or (mine >= self.each and not _is_local(address)):
            return False
        self.by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """A connection that was admitted is gone."""
        self.by_address[address] -= 1
        self.by_address += Counter()  # drops those without a connection


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class BoundedProtocol(H11Protocol):  # type: ignore[misc]
    """HTTP/1.1 of which strangers cannot take more than their share: too many connections are closed at once, and so
    is one whose request does not arrive in time."""

    limits: Limits
    _address: str | None = None
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self.limits.admit(address):
            transport.abort()
            return
        self._address = address
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is None:
            return
        self.limits.leave(self._address)
        if self._late:
            self._late.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._address is None:
            return
        super().data_received(data)
        self._watch()

    def eof_received(self) -> None:
        if self._address is not None:
            super().eof_received()

    def _watch(self) -> None:
        """Give a request that has not arrived whole until `arrival` after it began; more of it gives no more time."""
        arriving = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if arriving and self._late is None:
            self._late = asyncio.get_running_loop().call_later(self.limits.arrival, self._close_late)
        elif not arriving and self._late is not None:
            self._late.cancel()
            self._late = None

    def _close_late(self) -> None:
        self.transport.abort()


def bound_protocol(limits: Limits) -> type[BoundedProtocol]:
    """The protocol of one server."""
    return type("Protocol", (BoundedProtocol,), {"limits": limits})


class FewLines(logging.Filter):
    """Lets `LINES` messages a minute pass, and says how many it kept back."""

    def __init__(self) -> None:
        super().__init__()
        self._since, self._passed, self._kept = 0.0, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._since >= 60:
            if self._kept:
                record.msg, record.args = f"{record.getMessage()} ({self._kept} messages before were left out)", ()
            self._since, self._passed, self._kept = now, 0, 0
        self._passed += 1
        self._kept += self._passed > LINES
        return self._passed <= LINES


_FEW = FewLines()


def bound_logs() -> None:
    """Keep what strangers can have logged from filling the disk."""
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(_FEW)
