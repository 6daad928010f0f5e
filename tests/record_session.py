"""Runs the commands of a document in an empty folder and writes down what they print: `python tests/record_session.py
selfimprove/cli/README.md --link smollm2=/models/SmolLM2-135M-Instruct`.

A block of the document that begins with ```` ```yaml file=NAME ```` is a file, which is written where the session
is. One that begins with ```` ```console ```` holds commands, each after `$`, with their seconds and what they printed.
They are run as the wheel has them, which is installed alone.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS / "support"))

BLOCK = re.compile(r"^```(?P<kind>[a-z]+)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = re.compile(r"\s+# [\d.]+ s$")
WIDTH, HEAD, TAIL = 118, 16, 10  # characters of a line; lines of a long output that stay


@dataclass(frozen=True)
class Said:
    """A command of a session: what it printed, how long it took, and how it ended."""

    command: str
    output: str
    seconds: float
    code: int


def commands_of(text: str) -> list[str]:
    """The commands of a console block, without their times."""
    return [SECONDS.sub("", line[2:]) for line in text.splitlines() if line.startswith("$ ")]


class Session:
    """A shell in a folder that is empty at first, which knows the installed package alone."""

    def __init__(self, folder: Path, installed: Path, links: Mapping[str, Path]) -> None:
        self.here = folder / "here"
        self.here.mkdir(parents=True)
        program = folder / "bin" / "selfimprove"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m selfimprove "$@"\n')
        program.chmod(0o755)
        self._places = {str(folder): "~"}  # what a path of this machine is called in the document
        for name, model in links.items():
            (self.here / name).symlink_to(model.resolve())
            self._places[str(model.resolve())] = f"~/here/{name}"
        self._environment = {
            **os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(installed),
            "HOME": str(folder), "XDG_CONFIG_HOME": "", "HF_HUB_OFFLINE": "1", "COLUMNS": "116",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }  # fmt: skip

    def write(self, name: str, text: str) -> None:
        (self.here / name).write_text(text)

    def say(self, command: str) -> Said:
        """Run a command; `cd` moves the session."""
        if command.startswith("cd "):
            self.here = self.here / command[3:]
            return Said(command, "", 0, 0 if self.here.is_dir() else 1)
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.here, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        seconds, output = time.monotonic() - began, done.stdout
        for path, called in self._places.items():
            output = output.replace(path, called)
        return Said(command, output, seconds, done.returncode)


def play(text: str, session: Session) -> Iterator[tuple[re.Match[str], list[Said]]]:
    """Go through a document: write its files, run its commands; gives each console block with what was said."""
    for block in BLOCK.finditer(text):
        if block["file"]:
            session.write(block["file"], block["text"])
        elif block["kind"] == "console":
            yield block, [session.say(command) for command in commands_of(block["text"])]


def shorten(output: str) -> str:
    """An output as it stands in a document: the middle of a long one and the ends of long lines are left out."""
    lines = [line.rstrip() for line in output.rstrip().splitlines()]
    lines = [line if len(line) <= WIDTH else line[: WIDTH - 2] + " …" for line in lines]
    if len(lines) > HEAD + TAIL + 1:
        lines[HEAD:-TAIL] = [f"… {len(lines) - HEAD - TAIL} more lines"]
    return "\n".join(lines)


def shown(said: Said) -> str:
    time_taken = f"   # {said.seconds:.1f} s" if said.seconds >= 0.05 else ""
    return "\n".join(filter(None, (f"$ {said.command}{time_taken}", shorten(said.output)))) + "\n"


def record(text: str, session: Session) -> str:
    """The document with what its commands print now; raises SystemExit where one of them fails."""
    written, at = [], 0
    for block, all_said in play(text, session):
        written += [text[at : block.start("text")], *map(shown, all_said)]
        at = block.end("text")
        for said in all_said:
            print(shown(said), flush=True)
            if said.code:
                raise SystemExit(f"'{said.command}' ended with exit code {said.code}")
    return "".join((*written, text[at:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("--link", action="append", default=[], help="NAME=PATH: a folder that the session finds there")
    given = parser.parse_args()
    links = {name: Path(path) for name, _, path in (one.partition("=") for one in given.link)}
    from installed import install_wheel

    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder), install_wheel(Path(folder) / "wheel"), links)
        given.document.write_text(record(given.document.read_text(), session))


if __name__ == "__main__":
    main()
