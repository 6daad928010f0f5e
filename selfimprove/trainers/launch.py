"""Training as a child under `accelerate launch`: its own memory, any number of processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from selfimprove.errors import TrainingError
from selfimprove.recipe import Training
from selfimprove.recipe.launch import read_launch
from selfimprove.records.files import parse_json
from selfimprove.trainers.checkpoints import newest_checkpoint
from selfimprove.trainers.job import PROGRESS, REFUSAL, RESULT, Report, TrainingJob, TrainResult

POLL = 0.2  # seconds
GRACE = 20.0  # seconds


def runs_in_child(settings: Training) -> bool:
    """Whether a training run gets a process of its own."""
    if settings.launch != "auto":
        return settings.launch == "accelerate"
    if settings.launch_config or settings.launch_arguments or (settings.processes or 1) > 1:
        return True
    import torch

    return torch.cuda.is_available()


def launch_command(job: TrainingJob, description: Path) -> tuple[list[str], int]:
    """The command that runs a job in other processes, and how many of them."""
    settings = job.settings
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    module = ["-m", "selfimprove.trainers.run", str(description)]
    if settings.launch == "accelerate" and not settings.launch_config and not settings.processes:
        return [*command, *settings.launch_arguments, *module], 0  # the user's own arguments or accelerate's own file
    launch = read_launch(settings.launch_config, settings.processes)
    command += ["--config_file", str(launch.config), "--num_processes", str(launch.processes)]
    if launch.kind == "NO" and job.device == "cpu":
        command.append("--cpu")
    if launch.kind != "NO":
        command += ["--main_process_port", "0"]  # any free one: two runs may train at a time
    return [*command, *settings.launch_arguments, *module], launch.processes


def launch_training(job: TrainingJob, report: Report | None = None) -> TrainResult:
    """Run a job in a child process and follow its progress; raises TrainingError with the end of its log.

    The child's processes end with this one and with the launcher, however those end.
    """
    started = time.perf_counter()
    job.workspace.mkdir(parents=True, exist_ok=True)
    description, log = job.workspace / "job.json", job.workspace / "log.txt"
    progress, refusal = job.workspace / PROGRESS, job.workspace / REFUSAL
    progress.unlink(missing_ok=True)
    refusal.unlink(missing_ok=True)
    newest_checkpoint(job.workspace)  # what is unsound is said here and not in the child's log
    description.write_text(job.model_dump_json(indent=1))
    command, processes = launch_command(job, description)
    with log.open("a") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "SELFIMPROVE_PARENT": str(os.getpid()), "SELFIMPROVE_PROCESSES": str(processes)},
            start_new_session=True,
        )
        try:
            while child.poll() is None:
                time.sleep(POLL)
                if report and progress.exists():
                    _follow(progress.read_text(), report)
        finally:
            _end(child)
    if child.returncode or not (job.output / RESULT).exists():
        if refusal.exists():
            raise TrainingError(refusal.read_text())
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1][:200] if lines else "no output"
        raise TrainingError(
            f"{job.output}: the training process ended with code {child.returncode} ({last}); see {log}"
        )
    result = TrainResult.model_validate_json((job.output / RESULT).read_text())
    # What the child needed to start counts as imports: the launcher, two interpreters and their packages.
    return result.model_copy(update={"import_seconds": time.perf_counter() - started - result.seconds})


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the launcher, which ends its processes; those that it can no longer end, end by themselves."""
    for signal_ in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            os.killpg(child.pid, signal_)
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE)


def _follow(text: str, report: Report) -> None:
    try:
        step, steps, logged = parse_json(text)
    except ValueError:
        return
    report(step, steps, logged)
