"""Each kind of file of a run, harmed in each way: who reads the run or goes on with it gets the same, or is told which
file it is in one line."""

import contextlib
import io
import itertools
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from chain import CHAIN, load_adder
from harm import HARMS, Harm, flip, swap_with
from small import record_ids, small_recipe
from starlette.testclient import TestClient

from selfimprove.cli import main
from selfimprove.errors import SelfImproveError
from selfimprove.recipe import Recipe
from selfimprove.records import Checkpoint, Rationale
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import PlannedStage
from selfimprove.running.report import Silent
from selfimprove.store import RunFolder
from selfimprove.store.notes import write_note
from selfimprove.store.parts import read_part
from selfimprove.viewer.app import create_app

SETTINGS = ("rounds=1", "frontier.problems=6", "warmup.checkpoint_every=3")
LOOKS = ("commands", "pages", "a continuation")
WHOLE = bool(os.environ.get("WHOLE_MATRIX"))
"""All looks at each cell; by default each harm to a file is looked at in one way, which takes a third of the time: the
ways take turns over the files and over the harms."""
Read = dict[str, tuple[int, str]]
"""What each reader answered: its exit code or status, and its text."""


class Stopped(Exception):
    """What ends a run in the middle of a stage."""


class StopAt(Silent):
    """Watches a run and ends it in a stage, once so much of it is done."""

    def __init__(self, stage: str, after: int) -> None:
        self.stage, self.after, self.now = stage, after, ""

    def begin(self, stage: PlannedStage) -> None:
        self.now = str(stage)

    def progress(self, done: int, total: int, note: str = "") -> None:
        if self.now == self.stage and done >= self.after:
            raise Stopped


@dataclass
class State:
    """A run to do harm to: what its readers say of it, and what it is when a recipe went on with it."""

    name: str
    run: RunFolder
    recipe: Recipe
    after: RunFolder
    identity: str
    said: Read


class Readers:
    """All that reads a run, the viewer's pages among it; answers do not depend on where the run lies."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        app = create_app(runs, cache=runs.parent / "cache")
        self.client = TestClient(app, base_url="http://127.0.0.1:8000")  # which raises what a page raises

    def commands(self, run: RunFolder, identity: str) -> Read:
        asked: dict[str, tuple[str, ...]] = {
            "status": ("--json",), "traces": ("--json", "--limit", "500"), "show": (identity,),
        }  # fmt: skip
        return {name: self._command(name, str(run.path), *more) for name, more in asked.items()}

    def _command(self, *arguments: str) -> tuple[int, str]:
        with (
            contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err,
            pytest.raises(SystemExit) as ended,
        ):  # fmt: skip
            main(arguments)
        code = int(str(ended.value.code))
        assert code in (0, 2), err.getvalue()
        assert not code or re.fullmatch(r"selfimprove: [^\n]+\n", err.getvalue()), err.getvalue()
        return code, out.getvalue() if not code else err.getvalue()

    def pages(self, run: RunFolder, identity: str) -> Read:
        name = run.path.name
        asked = {
            "page": f"/runs/{name}", "rate": f"/runs/{name}/rate", "constitution": f"/runs/{name}/constitution",
            "trace page": f"/runs/{name}/traces/{identity}", "api": f"/api/runs/{name}",
            "api traces": f"/api/runs/{name}/traces?limit=200",
        }  # fmt: skip
        found = {}
        while self.client.get(f"/api/runs/{name}").json().get("indexing"):  # of a busy machine
            time.sleep(0.1)
        for what, path in asked.items():
            answer = self.client.get(path)
            assert answer.status_code in (200, 303, 404), f"{path}: {answer.status_code} {answer.text[:300]}"
            found[what] = (answer.status_code, answer.text)
        return found

    def ask(self, run: RunFolder, identity: str, looks: Sequence[str]) -> Read:
        found = self.commands(run, identity) if "commands" in looks else {}
        found |= self.pages(run, identity) if "pages" in looks else {}
        return {what: (code, text.replace(run.path.name, "RUN")) for what, (code, text) in found.items()}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Readers:
    runs = tmp_path_factory.mktemp("matrix") / "runs"
    runs.mkdir()
    return Readers(runs)


_numbers = itertools.count()


def copy(run: RunFolder, readers: Readers) -> RunFolder:
    """A copy under a name that no reader has seen."""
    return RunFolder(Path(shutil.copytree(run.path, readers.runs / f"copy{next(_numbers):05d}")))


def make_state(name: str, run: RunFolder, recipe: Recipe, readers: Readers, folder: Path) -> State:
    identity = run.stage(0, "evaluate").read(Rationale)[0].id
    write_note(run, identity, "good", "as it should be", "me")
    seen, after = copy(run, readers), RunFolder(Path(shutil.copytree(run.path, folder / f"after {name}")))
    said = readers.ask(seen, identity, LOOKS)
    assert {code for code, _ in said.values()} == {0, 200}
    shutil.rmtree(seen.path)
    run_loop(recipe, after, load=load_adder)
    return State(name, run, recipe, after, identity, said)


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory, readers: Readers) -> dict[str, State]:
    """A run that was ended while it trained, and a finished one, each with what it becomes."""
    folder = tmp_path_factory.mktemp("states")
    recipe, run = small_recipe(folder, *SETTINGS, text=CHAIN), RunFolder(folder / "run")
    with pytest.raises(Stopped):
        run_loop(recipe, run, load=load_adder, report=StopAt("round-01/sft", 5))
    kept = RunFolder(Path(shutil.copytree(run.path, folder / "training")))
    run_loop(recipe, run, load=load_adder)
    further = recipe.model_copy(update={"rounds": 2})
    return {
        "training": make_state("training", kept, recipe, readers, folder),
        "finished": make_state("finished", run, further, readers, folder),
    }


# --- cells ---------------------------------------------------------------------------------------------------------


# Of the half-done run what the stage at work has and reads; all else is as in the finished one.
MANIFESTS = ("generate", "sft", "evaluate", "promote")
HALF_DONE = ("round-01/sft/", "round-01/select/", "round-00/warmup/checkpoint/model.safetensors", "recipe.yaml")


def files_of(state: State) -> list[str]:
    """One file of each kind: a part of each kind of record, some stages' manifests, and all others by name."""
    found: dict[str, str] = {}
    for path in sorted(state.run.path.rglob("*")):
        inside = str(path.relative_to(state.run.path))
        if not path.is_file() or (state.name == "training" and not inside.startswith(HALF_DONE)):
            continue
        if path.name == "stage.json" and path.parent.name not in MANIFESTS:
            continue
        kind = re.sub(r"-\d{5}(?=\.parquet)|(?<=note-)\w+", "", path.name)
        kind = f"{path.parent.name}/{kind}" if path.name == "stage.json" else kind
        found[kind] = inside  # of several the last one, which is what goes on
    return sorted(found.values())


def harms_of(run: RunFolder, name: str) -> list[Harm]:
    """All that may happen to a file, the bytes of another file of the same name or kind among it."""
    file = run.path / name
    others = [one for one in sorted(run.path.rglob(f"*{file.suffix or file.name}")) if one.is_file() and one != file]
    content = file.read_bytes()
    others = [one for one in others if one.read_bytes() != content]
    same = [one for one in others if one.name == file.name] or others
    return [*HARMS, *([swap_with(same[0])] if same else [])]


def names_file(text: str, name: str) -> bool:
    """Whether an answer names the file, or the folder that it lies in."""
    return name in text or (name.count("/") > 1 and name.rpartition("/")[0] in text)


def volatile(what: str, text: str) -> str:
    """An answer without what a run says of itself that is no result: times of files, and what an index is numbered."""
    if what == "page":
        text = re.sub(r"generation=\d+|data-[a-z]+=\"\d+\"", "", text)
    return text


def check_readers(cell: str, state: State, name: str, said: Read) -> Iterator[str]:
    """The outcome of each reader; asserts that it is the same as before, or names the file."""
    files = json.loads(said["api"][1]).get("files", {}) if "api" in said and said["api"][0] == 200 else {}
    shown = json.dumps(files) + (said["page"][1] if "page" in said else "")
    for what, (code, text) in said.items():
        good, before = state.said[what]
        if (code, volatile(what, text)) == (good, volatile(what, before)):
            yield "same"
        elif code == 2:
            assert names_file(text, name), f"{cell}, {what}: {text}"
            yield "one line"
        else:
            assert code, f"{cell}, {what}: another answer"
            assert names_file(shown, name) or names_file(text, name), f"{cell}, {what}: {text[:600]}"
            yield "said on the page"


def weights(run: RunFolder, name: str) -> dict[str, list[str]]:
    """The hashes of all checkpoints' weights but for those that the file of this name speaks of."""
    files = sorted(run.path.glob("round-*/*/checkpoint-*.parquet"))
    known = {str(file.relative_to(run.path)): [one.weights for one in read_part(file, Checkpoint)] for file in files}
    return {one: found for one, found in known.items() if one != name}


def check_cell(state: State, name: str, harm: Harm, readers: Readers, looks: Sequence[str]) -> Counter[str]:
    """Do one harm to one file of a copy; counts what all readers and a continuation came to."""
    run, cell = copy(state.run, readers), f"{state.name}: {harm.__name__} of {name}"
    outcomes: Counter[str] = Counter()
    try:
        harm(run.path / name)
        said = readers.ask(run, state.identity, looks)
        if not (name.endswith("/curve.json") and harm is flip):  # a loss so far has no hash to be known by
            outcomes.update(check_readers(cell, state, name, said))
        if "a continuation" not in looks:
            return outcomes
        try:
            run_loop(state.recipe, run, load=load_adder)
        except SelfImproveError as error:
            assert "\n" not in str(error) and names_file(str(error), name), f"{cell}, run: {error}"
            outcomes["one line"] += 1
        else:
            if name.endswith(".parquet"):
                (run.path / name).unlink(missing_ok=True)  # what it has no need of, a run does not read
            ids, expected = record_ids(run), record_ids(state.after)
            same = (
                ids == {one: expected[one] for one in expected if one in ids or one != name},
                weights(run, name) == weights(state.after, name),
            )
            assert same == (True, True), f"{cell}, run: {same}"
            outcomes["same"] += 1
    finally:
        shutil.rmtree(run.path)
    return outcomes


@pytest.mark.long
@pytest.mark.parametrize("name", ["training", "finished"])
def test_every_harm_to_every_kind_of_file(name: str, states: dict[str, State], readers: Readers) -> None:
    state, failed, outcomes, cells = states[name], [], Counter[str](), 0
    for at, file in enumerate(files_of(state)):
        for harm_at, harm in enumerate(harms_of(state.run, file)):
            cells += 1
            try:
                looks = LOOKS if WHOLE else LOOKS[(at + harm_at) % 3 :][:1]
                outcomes += check_cell(state, file, harm, readers, looks)
            except Exception as error:  # all cells are looked at before the test fails
                failed.append(f"{harm.__name__} of {file}: {type(error).__name__}: {str(error)[:400]}")
                print(failed[-1], flush=True)
    print(f"{name}: {cells} cells, {dict(outcomes)}, {len(failed)} failed")
    assert cells > 100
    assert not failed, "\n".join(failed)
