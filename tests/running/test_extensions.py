"""What others add by one file: a stage, a task, a verifier, an engine, a trainer, a reward; each example is run."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from extending import EXTENSIONS, TRAINED, imports, run_command, run_tiny, tiny_recipe

import selfimprove
from selfimprove.cli.new import read_example, write_extension
from selfimprove.errors import RecipeError
from selfimprove.records import (
    KINDS,
    Checkpoint,
    CrossCheck,
    Decision,
    Evaluation,
    Example,
    Problem,
    Rationale,
    Verdict,
)

ROUND = ("frontier", "generate", "verify", "select", "sft", "evaluate", "promote")
LONGEST = {"classify": 90}  # lines; an example has 40 at most


@pytest.mark.parametrize("path", sorted(EXTENSIONS.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST.get(path.stem, 40)


def test_a_stage_an_engine_and_a_reward(tmp_path: Path) -> None:
    flow = ("frontier", "generate", "verify", "shortest", "grade", "sft", "evaluate", "promote")
    folder = run_tiny(tiny_recipe(tmp_path, flow, shortest="{keep: 2}"), "shortest", "brevity")
    texts = {one.id: one for one in folder.stage(1, "generate").read(Rationale)}
    right = [one.rationale for one in folder.stage(1, "verify").read(Verdict) if one.outcome == "correct"]
    decisions = folder.stage(1, "shortest").read(Decision)
    assert 0 < len(right) < len(texts) == 24 and {one.rationale for one in decisions} == set(right)
    for problem in {texts[one].problem for one in right}:
        mine = sorted((texts[one] for one in right if texts[one].problem == problem), key=lambda one: len(one.text))
        kept = [texts[one.rationale] for one in decisions if one.kept and texts[one.rationale].problem == problem]
        assert [len(one.text) for one in kept] == [len(one.text) for one in mine[:2]]
    checkpoint = folder.stage(1, "sft").read(Checkpoint)[0]
    assert {one.id for one in folder.stage(1, "shortest").read(Example)} == set(checkpoint.parents[1:])
    grades = {one.parents[0]: one.value for one in folder.stage(1, "grade").read(KINDS["grade"])}
    assert grades == {one.id: 1 / len(one.text) for one in texts.values()}
    manifest = folder.stage(1, "sft").manifest()
    assert manifest is not None and {"adder.py", "shortest.py", "brevity.py"} < manifest.packages.keys()
    assert manifest.packages["adder.py"].startswith("sha256:")


def test_a_task_and_a_verifier_in_its_worker_processes(tmp_path: Path) -> None:
    twice = "{second: {verifier: contains, share: 1}}"
    recipe = tiny_recipe(tmp_path, ROUND, train="{name: doubles, largest: 30, held_out: 5}", verify=twice)
    folder = run_tiny(recipe, "doubles", "contains")
    checks, verdicts = folder.stage(1, "verify").read(CrossCheck), folder.stage(1, "verify").read(Verdict)
    texts = {one.id: one for one in folder.stage(1, "generate").read(Rationale)}
    assert len(checks) == len(verdicts) > 12 and {one.verifier for one in checks} == {"contains"}
    assert {one.second for one in checks} == {"correct", "incorrect"}
    assert all(one.second == "correct" for one in checks if one.first == "correct")
    asked = {one.question for one in folder.stage(0, "problems").read(Problem)}
    assert len(asked) == 5 and asked < {f"{one}+{one}=" for one in range(31)}
    assert {one.task for one in folder.stage(1, "evaluate").read(Evaluation)} == {"doubles"}
    assert all(texts[one.parents[0]].text for one in checks)


@pytest.mark.parametrize("launch", ["process", pytest.param("accelerate", marks=pytest.mark.long)])
def test_a_trainer_in_this_process_or_in_a_child(launch: str, tmp_path: Path) -> None:
    flow = ("frontier", "generate", "verify", "select", "neftune", "evaluate", "promote")
    folder = run_tiny(tiny_recipe(tmp_path, flow, neftune=f"{{{TRAINED}, noise: 9, launch: {launch}}}"), "neftune")
    (noisy,) = folder.stage(1, "neftune").read(Checkpoint)
    assert (noisy.method, noisy.role) == ("neftune", "policy")
    if launch == "process":
        still = f"{{{TRAINED}, noise: 0.000001, launch: process}}"
        folder = run_tiny(tiny_recipe(tmp_path, flow, neftune=still), "neftune", more=["--redo", "all"])
        assert folder.stage(1, "neftune").read(Checkpoint)[0].weights != noisy.weights


MISTAKES = {
    "train.name=dubles": "--set train.name=dubles: unknown task 'dubles'; did you mean 'doubles'?",
    "train.name=painting": "the task 'painting' is not known; --import the file that declares it; known: arith",
    "engine.name=ader": "'engine.name': unknown engine 'ader'; did you mean 'adder'?",
    "verify.second.verifier=contain": "second.verifier': unknown verifier 'contain'; did you mean 'contains'?",
    "verify.second.verifier=addition": "second.verifier': the verifier 'addition' is not known; --import the file",
    "grade.reward=short": "the reward 'short' is not known; --import the file that declares it; known: brevity",
}


@pytest.mark.parametrize("change", MISTAKES)
def test_an_unknown_name_is_one_line_with_the_nearest_one(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe(tmp_path, ("frontier", "generate", "verify", "grade", "select", "sft", "evaluate"))
    files = imports("adder", "doubles", "contains", "brevity")
    assert run_command("plan", recipe, "--runs", tmp_path, *files, "--set", change) == 2
    said = capsys.readouterr().err
    assert MISTAKES[change] in said and said.count("\n") == 1


FAULTY = {
    "import nothing_of_this_name": ":1: ModuleNotFoundError: No module named 'nothing_of_this_name'",
    "x = 1\ny = = 2": ":2: SyntaxError: invalid syntax",
    "from selfimprove.verifiers import declare_verifier\ndef make(settings): ...\ndeclare_verifier('math', make)":
    ":3: two verifiers are called 'math': of selfimprove.verifiers.math and imported_faulty",
    "from selfimprove.records import Record\nclass Mine(Record):\n    kind = 'verdict'":
    ":2: TypeError: two kinds of records are called 'verdict'",
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTY)
def test_a_file_that_cannot_be_imported_is_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "faulty.py"
    file.write_text(text)
    assert run_command("plan", "arithmetic", "--import", file) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"selfimprove: --import {file}{FAULTY[text]}") and said.count("\n") == 1


GUIDE = Path(selfimprove.__file__).parent / "stages" / "README.md"


def test_the_guide_shows_the_examples_as_they_are() -> None:
    shown = re.findall(r"^<!-- (\w+)\.py -->$", GUIDE.read_text(), re.MULTILINE)
    assert shown == ["shortest", "doubles", "contains", "adder", "neftune", "brevity"]
    for name in shown:
        assert read_example(GUIDE.read_text(), name) == (EXTENSIONS / f"{name}.py").read_text()


@pytest.mark.parametrize(
    "what", ["task", *(pytest.param(one, marks=pytest.mark.long) for one in ("stage", "verifier"))]
)
def test_what_new_writes_works_with_its_test(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command("new", what, "my_own") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_own.py", "test_my_own.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_own.py"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0 and " passed" in ran.stdout, ran.stdout
    for style in (
        ["check", "--select", "E,F,W,B,UP", "--line-length", "120"],
        ["format", "--check", "--line-length", "120"],
    ):
        ruff = Path(sys.executable).with_name("ruff")
        checked = subprocess.run([ruff, *style, "."], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


NEW = {
    ("stage", "taken"): "new: taken.py is there already, and nothing was written; choose another name",
    ("stage", "sft"): "new: there is a stage 'sft' already; choose another name",
    ("stage", "../up"): "new: '../up' is no name: small letters, digits and _, and a letter first",
    ("stag", "mine"): "new: 'stag' cannot be written; did you mean 'stage'?; the guide shows the others",
}


@pytest.mark.parametrize("given", NEW)
def test_new_writes_over_nothing(
    given: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.py").write_text("mine")
    assert run_command("new", *given) == 2
    assert capsys.readouterr().err == f"selfimprove: {NEW[given]}\n"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_new_in_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"new: .*/none/mine\.py: No such file or directory$"):
        list(write_extension("task", "mine", tmp_path / "none"))


ACME = """
from selfimprove.records import Rationale, Record
from selfimprove.settings import Settings
from selfimprove.stages.base import Stage, declare

class Praise(Record):
    kind = "praise"

class PraiseSettings(Settings):
    \"\"\"Praise each text.\"\"\"

def praise(part, desk):
    return [Praise(parents=(one.id,)) for one in desk.read(Rationale)]

declare(Stage(name="NAME", version=1, settings=PraiseSettings, writes=Praise, run=praise, needs=(Rationale,),
              reads=lambda round: round.every(Rationale)))
"""
FLOW = "flow=[frontier, generate, verify, acme-praise, select, sft, evaluate, promote]"
PACKAGES = {
    "found": (ACME.replace("NAME", "acme-praise"), 0, "acme 1.2 sha256:"),
    "wrong prefix": (
        ACME.replace("NAME", "praise"), 2, "the stage 'praise' of the extension 'acme' must be called 'acme-…'",
    ),
    "an import that fails": (
        "import nothing_of_this_name", 2, "the package of the extension 'acme' cannot be loaded (ModuleNotFoundError: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PACKAGES)
def test_an_installed_package_is_found_by_its_entry_point(case: str, tmp_path: Path) -> None:
    text, code, said = PACKAGES[case]
    (tmp_path / "acme_improve.py").write_text(text)
    told = tmp_path / "acme-1.2.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.2\n")
    (told / "entry_points.txt").write_text("[selfimprove]\nacme = acme_improve\n")
    command = [sys.executable, "-m", "selfimprove.cli"]
    where = {"env": {**os.environ, "PYTHONPATH": str(tmp_path)}, "cwd": tmp_path}
    listed = subprocess.run([*command, "extensions"], capture_output=True, text=True, timeout=60, **where)
    assert (listed.returncode, said in listed.stdout + listed.stderr) == (code, True), listed
    if code:
        assert listed.stderr.count("\n") == 1
        return
    assert listed.stdout.endswith(" an installed package\n  stage: acme-praise\n")
    plan = [*command, "plan", "arithmetic", "--set", FLOW, "--set", "repair=null", "--set", "rationalize=null"]
    planned = subprocess.run(plan, capture_output=True, text=True, timeout=60, **where)
    assert planned.returncode == 0 and "acme-praise" in planned.stdout, planned.stderr


def test_what_is_loaded_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("extensions") == 0
    assert capsys.readouterr().out.startswith("none: ")
    assert run_command("extensions", *imports("brevity", "doubles")) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    digest = hashlib.sha256((EXTENSIONS / "brevity.py").read_bytes()).hexdigest()
    assert first == f"brevity.py sha256:{digest[:12]} {EXTENSIONS / 'brevity.py'}"
    assert lines[:2] == ["  stage: grade", "  reward: brevity"] and lines[3:] == ["  task: doubles"]
