"""Training as a child under `accelerate launch`: its own memory, any number of processes."""

import json
import os
import signal
import subprocess
import sys
import time

from selfimprove.errors import TrainingError
from selfimprove.trainers.job import PROGRESS, RESULT, Report, TrainingJob, TrainResult

POLL = 0.2  # seconds


def launch_training(job: TrainingJob, report: Report | None = None) -> TrainResult:
    """Run a job in a child process and follow its progress; raises TrainingError with the end of its log."""
    started = time.perf_counter()
    job.workspace.mkdir(parents=True, exist_ok=True)
    description, log = job.workspace / "job.json", job.workspace / "log.txt"
    progress = job.workspace / PROGRESS
    progress.unlink(missing_ok=True)
    description.write_text(job.model_dump_json(indent=1))
    module = ["-m", "selfimprove.trainers.common", str(description)]
    command = [sys.executable, "-m", "accelerate.commands.launch", *job.settings.launch_arguments, *module]
    with log.open("a") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "SELFIMPROVE_PARENT": str(os.getpid())},
            start_new_session=True,
        )
        try:
            while child.poll() is None:
                time.sleep(POLL)
                if report and progress.exists():
                    _follow(progress.read_text(), report)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGTERM)
                child.wait()
    if child.returncode or not (job.output / RESULT).exists():
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1][:200] if lines else "no output"
        raise TrainingError(
            f"{job.output}: the training process ended with code {child.returncode} ({last}); see {log}"
        )
    result = TrainResult.model_validate_json((job.output / RESULT).read_text())
    # What the child needed to start counts as imports: the launcher, two interpreters and their packages.
    return result.model_copy(update={"import_seconds": time.perf_counter() - started - result.seconds})


def _follow(text: str, report: Report) -> None:
    try:
        step, steps, logged = json.loads(text)
    except ValueError:
        return
    report(step, steps, logged)
