"""Runs a recipe in child processes and kills them with SIGKILL at random moments, until so many have been killed.

The parent only imports, so that a child starts in no time. Half of the moments are amounts of CPU time that a child has
used, the other half are operations on files: just before the n-th one that opens, renames or removes a file.
Usage: python random_kills.py FOLDER RECIPE KILLS SEED [PLACE…]   Runs are made in FOLDER/run-NN one after the other,
each killed and continued until it is finished, and FOLDER/reference is never killed. Each kill is a line of JSON. With
places, such as `repair` or `round-03`, all moments are operations on files there.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import datasets  # noqa: F401
import trl.trainer.dpo_trainer
import trl.trainer.sft_trainer  # noqa: F401
from chain import CHAIN, load_adder
from forced import STEERED, load_steered
from small import SMALL, small_recipe

import selfimprove.engines.transformers  # noqa: F401
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder
from selfimprove.trainers import dpo, sft  # noqa: F401

RECIPES = {
    "star": (SMALL, None, ["rounds=1", "frontier.problems=8", "evaluate.part_size=3"]),
    "constitution": (CHAIN, load_adder, ["dpo.checkpoint_every=1", "revise.part_size=2", "evaluate.part_size=3"]),
    "steered": (SMALL, load_steered, [
        "rounds=3", "decide.rules={rules}", "decide.proposer={traces: 2}",
        "probe={problems: 6, part_size: 3, scales: [1.3]}",
        "frontier.problems=8", "repair={samples: 1, explore: 2, part_size: 3}", "rationalize=null", "sft.steps=2",
        "evaluate.controller=0.5", "evaluate.part_size=100", "verify.part_size=100", "warmup.steps=2",
    ]),
}  # fmt: skip
FILES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
PATIENCE = 1200.0  # seconds on the clock, of which a busy machine takes many
SHARES = (1.0, 0.5, 0.25, 0.1)  # of a whole run, within which a moment lies


def start(folder: Path, name: str, watch: Callable[[], None], places: Sequence[str] = ()) -> int:
    """A child that runs the recipe; `watch` is called in it before each operation on a file of the run, or of folders
    with these names in it."""
    pid = os.fork()
    if pid:
        return pid
    inside, chosen = str(folder), set(places)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        path = str(arguments[0]) if arguments else ""
        if event not in FILES or not path.startswith(inside):
            return
        if not chosen or chosen.intersection(path.removeprefix(inside).split("/")):
            watch()

    sys.addaudithook(hook)
    text, load, changes = RECIPES[name]
    rules = folder.parent / "mine.yaml"
    changes = [one.replace("{rules}", str(rules)) for one in changes]
    try:
        run_loop(small_recipe(folder.parent / "recipe", *changes, text=text), RunFolder(folder), load=load)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def cpu_of(pid: int) -> float:
    """The seconds that a process has computed for, of which a busy machine makes no more."""
    return time.clock_gettime((~pid << 3) | 2)


def wait(pid: int, until: float = float("inf")) -> str:
    """Wait for a child, and kill it once it has computed for so long: killed, finished or failed."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return "killed" if os.WIFSIGNALED(status) else "failed" if status else "finished"
        if cpu_of(pid) >= until:
            os.kill(pid, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "late"


def measure(folder: Path, name: str, places: Sequence[str]) -> tuple[float, int]:
    """Make the reference, and give its seconds of CPU time and its number of operations on files."""
    noted, count = folder.parent / "measured", 0

    def watch() -> None:
        nonlocal count
        count += 1
        noted.write_text(f"{time.process_time()} {count}")

    result = wait(start(folder, name, watch, places))
    if result != "finished":
        sys.exit(f"the reference {result}")
    seconds, operations = noted.read_text().split()
    return float(seconds), int(operations)


def suicide(after: int) -> Callable[[], None]:
    """Kills the process just before the n-th operation."""
    left = after

    def watch() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def main(folder: Path, name: str, kills: int, seed: int, places: Sequence[str]) -> None:
    rng, done, number = random.Random(seed), 0, 0
    (folder / "mine.yaml").write_text(STEERED)
    seconds, operations = measure(folder / "reference", name, places)
    while True:
        run, share = folder / f"run-{number:02d}", rng.random() * rng.choice(SHARES)
        if done >= kills:
            result, moment = wait(start(run, name, lambda: None)), "never"
        elif not places and rng.random() < 0.5:
            moment = f"{share * seconds:.3f} s"
            result = wait(start(run, name, lambda: None), share * seconds)
        else:
            at = 1 + int(share * operations)
            moment, result = f"operation {at}", wait(start(run, name, suicide(at), places))
        print(json.dumps({"run": run.name, "result": result, "moment": moment}), flush=True)
        if result not in ("killed", "finished"):
            sys.exit(1)
        done += result == "killed"
        number += result == "finished"
        if result == "finished" and done >= kills:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
