"""Charts drawn once: kept by what they show, and told apart by a browser that has them already."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from fastapi import Request
from fastapi.responses import Response

from selfimprove.viewer.canvas import FORM, Form

MAX_KEPT = 32 << 20  # bytes of all kept charts


class Kept:
    """The latest charts by their keys, as many as fit."""

    def __init__(self, most: int = MAX_KEPT) -> None:
        self.most, self.drawn = most, 0
        self._charts: OrderedDict[Hashable, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, draw: Callable[[], str | bytes]) -> bytes:
        """A chart; drawn where it is not kept. Two who ask for it at once may both draw it."""
        with self._lock:
            if key in self._charts:
                self._charts.move_to_end(key)
                return self._charts[key]
        drawn = draw()
        chart = drawn.encode() if isinstance(drawn, str) else drawn
        with self._lock:
            self.drawn += 1
            self._size += len(chart) - len(self._charts.pop(key, b""))
            self._charts[key] = chart
            while self._size > self.most and len(self._charts) > 1:
                self._size -= len(self._charts.popitem(last=False)[1])
        return chart


def image_of(request: Request, key: Hashable, draw: Callable[[], str | bytes], form: Form | None = None) -> Response:
    """A chart as an image; nothing but its tag where the browser has it already."""
    kept: Kept = request.app.state.charts
    form = form or Form()

    def make() -> str | bytes:
        before = FORM.set(form)
        try:
            return draw()
        finally:
            FORM.reset(before)

    image = kept.get((key, form), make)
    # No-cache is: keep it, and ask whether it is still the same.
    headers = {"cache-control": "no-cache", "etag": f'"{hashlib.sha256(image).hexdigest()[:20]}"'}
    kind = "image/svg+xml" if form.kind == "svg" else "image/png"
    if headers["etag"] in request.headers.get("if-none-match", ""):
        # Of the same kind: a browser takes what the image may do from this answer, too.
        return Response(status_code=304, headers=headers, media_type=kind)
    return Response(image, media_type=kind, headers=headers)
