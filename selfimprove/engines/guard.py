"""Runs a command that must not outlive whoever asked for it: `python guard.py PARENT COMMAND…`.

It is run by its path and imports only the standard library, so that it costs next to nothing. It leads a process group
of its own; when the parent is gone, the command ends or it is told to stop, the whole group ends.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

POLL = 0.3  # seconds
GRACE = 8.0  # seconds that the command has to end by itself
PR_SET_PDEATHSIG = 1


def die_with_parent(number: int) -> None:
    """Ask Linux to send a signal when the parent dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def main(parent: int, command: list[str]) -> None:
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGTERM)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=lambda: die_with_parent(signal.SIGKILL))
    while child.poll() is None and not stopped and os.getppid() == parent:
        time.sleep(POLL)
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    os.killpg(0, signal.SIGKILL)  # the command's own children, and this process


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
