"""Runs the small recipe in child processes and kills each with SIGKILL at one moment; the last one may finish.

The parent only imports, so that a child starts in no time; each child is a whole process with a run of its own.
Usage: python kill_run.py FOLDER [SETTING=VALUE…] MOMENT…   A moment is a path inside the run whose appearance is waited
for, and may hold a *.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import datasets  # noqa: F401
import trl.trainer.rloo_trainer
import trl.trainer.sft_trainer  # noqa: F401
from small import small_recipe

import selfimprove.engines.transformers  # noqa: F401
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder
from selfimprove.trainers import sft  # noqa: F401

PATIENCE = 600.0  # seconds on the clock, of which a busy machine takes many


def start(folder: Path, changes: Sequence[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        run_loop(small_recipe(folder.parent / "recipe", *changes), RunFolder(folder))
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def kill_at(folder: Path, moment: str, changes: Sequence[str]) -> str:
    """Start the run, kill it once the moment has come; says `killed`, or `finished` where it was too quick."""
    pid = start(folder, changes)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if any(folder.glob(moment)):
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            return "killed" if os.WIFSIGNALED(status) else "finished"
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return "finished" if status == 0 else "failed"
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    return "late"


if __name__ == "__main__":
    run = Path(sys.argv[1])
    settings = [one for one in sys.argv[2:] if "=" in one]
    for one in sys.argv[2:]:
        if one not in settings:
            print(kill_at(run, one, settings), one, flush=True)
    print(kill_at(run, "never", settings), "the end", flush=True)
