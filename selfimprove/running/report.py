"""What a run tells whoever watches."""

from typing import Protocol

from selfimprove.running.plan import PlannedStage
from selfimprove.store import Manifest


class Report(Protocol):
    """What a run tells whoever watches; `done` and `total` count a stage's records or training steps."""

    def begin(self, stage: PlannedStage) -> None: ...

    def progress(self, done: int, total: int, note: str = "") -> None: ...

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None: ...


class Silent:
    """A report that nobody reads."""

    def begin(self, stage: PlannedStage) -> None: ...

    def progress(self, done: int, total: int, note: str = "") -> None: ...

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None: ...
