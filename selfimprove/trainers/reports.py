"""A trainer's own reports: TRL's callbacks for trackers, with what they raise kept from the training."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from selfimprove.trainers.trackers import ENVIRONMENTS, PATIENCE, PROJECT, QUIET, Destination

MAX_FAILURES = 3  # after which a tracker is left alone until the next training
FINISH = 30.0  # seconds


def report_to(kind: Any, destination: Destination | None) -> dict[str, Any]:
    """TRL's arguments that name trackers; some versions know fewer of them."""
    if destination is None:
        return {"report_to": "none"}
    given = {"report_to": list(destination.to), "run_name": destination.run, "project": PROJECT}
    return {name: value for name, value in given.items() if name in kind.__dataclass_fields__}


class TrainerReports:
    """What trackers are told of one training; counts what was lost, by tracker."""

    def __init__(self, to: tuple[str, ...], workspace: Path) -> None:
        self.to = to
        self.lost: dict[str, int] = {}
        self._path = workspace / "reported.json"
        self._told: dict[str, int] = {}
        with suppress(OSError, ValueError):
            self._told = TypeAdapter(dict[str, int]).validate_json(self._path.read_text())
        self._before = dict(self._told)

    def told(self, name: str, step: int) -> bool:
        """Whether a tracker was told of a step before a kill, after which the training began again before it."""
        return step <= self._before.get(name, -1)

    def note(self, name: str, step: int) -> None:
        """A tracker was told of a step."""
        self._told[name] = step
        with suppress(OSError):
            self._path.write_text(json.dumps(self._told))

    def attempt(self, name: str, call: Callable[..., Any], *values: object, **more: object) -> Any:
        """Call a tracker; what it raises is a warning, counted, and gives None."""
        if self.lost.get(name, 0) >= MAX_FAILURES:
            self.lost[name] += 1
            return None
        try:
            with redirect_stdout(StringIO()):  # what a run prints is its own
                return call(*values, **more)
        except Exception as error:  # any library's own
            self.lost[name] = self.lost.get(name, 0) + 1
            if self.lost[name] == 1:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                print(f"selfimprove: {name}: {reason}; the training goes on without its report", file=sys.stderr)
            return None

    def guard(self, trainer: Any) -> None:
        """Put a guard around each callback that `report_to` made."""
        from transformers.integrations import get_reporting_integration_callbacks

        handler = trainer.callback_handler
        kinds = dict(zip(get_reporting_integration_callbacks(list(self.to)), self.to, strict=True))
        handler.callbacks = [
            _guarded(one, kinds[type(one)], self) if type(one) in kinds else one for one in handler.callbacks
        ]


def _guarded(callback: Any, name: str, reports: TrainerReports) -> object:
    from transformers import TrainerCallback

    class Guarded(TrainerCallback):  # type: ignore[misc]
        """Does what the tracker's callback does, as long as that works."""

    def wrap(event: str) -> Callable[..., None]:
        def handle(self: Any, args: Any, state: Any, control: Any, **values: Any) -> None:
            if event == "on_log" and reports.told(name, state.global_step):
                return
            lost = reports.lost.get(name, 0)
            reports.attempt(name, getattr(callback, event), args, state, control, **values)
            if event == "on_log" and state.is_world_process_zero and reports.lost.get(name, 0) == lost:
                reports.note(name, state.global_step)

        return handle

    for event in dir(TrainerCallback):
        if event.startswith("on_"):
            setattr(Guarded, event, wrap(event))
    return Guarded()


@contextmanager
def reporting(destination: Destination | None, workspace: Path) -> Iterator[TrainerReports]:
    """What trackers' callbacks read from the environment, for the time of one training."""
    reports = TrainerReports(destination.to if destination else (), workspace)
    if destination is None:
        yield reports
        return
    before = dict(os.environ)
    os.environ.update({**PATIENCE, **QUIET, **before})
    try:
        for name in destination.to if int(before.get("RANK", "0")) == 0 else ():
            os.environ.update(reports.attempt(name, ENVIRONMENTS[name], destination) or {})
        yield reports
    finally:
        for name in destination.to:
            reports.attempt(name, _finish, name)
        for key in set(os.environ) - set(before):
            del os.environ[key]
        os.environ.update(before)


def _finish(name: str) -> None:
    """Close what a callback leaves open in this process; a tracker that cannot be reached is not waited for long."""
    module = sys.modules.get(name)
    if module is None:
        return
    if name == "mlflow":
        while module.active_run():
            module.end_run()
        module.set_tracking_uri(None)
    if name == "wandb" and module.run is not None:
        closing = threading.Thread(target=_close_wandb, args=[module], daemon=True)
        closing.start()
        closing.join(FINISH)
        if closing.is_alive():
            raise TimeoutError(f"did not take the last reports within {FINISH:g} s")


def _close_wandb(module: Any) -> None:
    module.finish()
    module.teardown()  # it would keep this run's environment for the next one
