"""Which trainer runs which job; run as `python -m selfimprove.trainers.run JOB.json` it is a training child."""

import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path

from selfimprove.errors import SelfImproveError
from selfimprove.recipe.catalog import import_file
from selfimprove.trainers.job import JOBS, PROGRESS, REFUSAL, Report, TrainingJob, TrainResult


def run_job(job: TrainingJob, report: Report | None = None) -> TrainResult:
    """Run a job by the trainer that its class names; raises TrainingError."""
    module, _, function = type(job).trainer.partition(":")
    result: TrainResult = getattr(importlib.import_module(module), function)(job, report)
    return result


def read_job(text: str) -> TrainingJob:
    """A job from the JSON that it was written as; what its class needs is imported first."""
    data = json.loads(text)
    for file in data["files"]:
        import_file(file)
    return JOBS[data["method"]].model_validate_json(text)


def main(path: str) -> None:
    """Run the job in a file as a child process."""
    if "SELFIMPROVE_PARENT" in os.environ:
        _watch_parent(int(os.environ["SELFIMPROVE_PARENT"]))
    job = read_job(Path(path).read_text())
    progress = job.workspace / PROGRESS

    def report(step: int, steps: int, logged: dict[str, float]) -> None:
        if int(os.environ.get("RANK", "0")) == 0:
            partial = progress.with_suffix(".partial")
            partial.write_text(json.dumps([step, steps, logged]))
            partial.rename(progress)

    try:
        run_job(job, report)
    except SelfImproveError as error:  # one line for whoever waits for this process, instead of the end of its log
        (job.workspace / REFUSAL).write_text(str(error))
        raise


def _watch_parent(parent: int) -> None:
    """End this process with the one that asked for it or the launcher, so that a kill leaves no trainer behind."""
    launcher = os.getppid()

    def watch() -> None:
        while True:
            time.sleep(0.5)
            try:
                os.kill(parent, 0)
            except OSError:
                os._exit(1)
            if os.getppid() != launcher:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
