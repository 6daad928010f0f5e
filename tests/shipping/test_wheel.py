"""The wheel: installed alone and used in an empty folder, it finds its recipes, constitutions and documents."""

import json
import os
import shlex
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest
from installed import install_wheel
from make_docs import documents
from places import REPOSITORY

from selfimprove.shipping.documents import TOPICS

ROOT = REPOSITORY
# Several commands in one process, because starting one takes longer than most of them.
COMMANDS = """
import contextlib, io, json, sys
from selfimprove.cli import main
for arguments in json.load(sys.stdin):
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the wheel alone is installed."""
    return install_wheel(tmp_path_factory.mktemp("wheel"))


def call(installed: Path, folder: Path, *commands: str) -> list[tuple[int, str, str]]:
    """Commands of the installed package in a folder, with a home that holds nothing: exit code, output and errors."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(folder), "XDG_CONFIG_HOME": "",
                   "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
    given = json.dumps([shlex.split(command) for command in commands])
    done = subprocess.run([sys.executable, "-c", COMMANDS], cwd=folder, env=environment, input=given,
                          capture_output=True, text=True)  # fmt: skip
    assert not done.returncode, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_it_holds_all_policies_documents_and_pictures(installed: Path) -> None:
    """Every shipped file by its content: what the checkout has, the installed package has."""
    package, shipped = installed / "selfimprove", installed / "selfimprove" / "shipped"
    policies = [path for path in (ROOT / "policies").rglob("*") if path.is_file()]
    pictures = list((ROOT / "tests" / "screenshots").glob("*.png"))
    assert len(policies) > 20 and len(pictures) > 5
    for path in (*documents(), *policies, *pictures):
        inside = path.relative_to(ROOT)
        there = package.parent / inside if inside.parts[0] == "selfimprove" else shipped / inside
        assert there.read_bytes() == path.read_bytes(), inside
    assert not (installed / "policies").exists() and not (installed / "tests").exists()
    assert not list(shipped.rglob("*.py"))


def test_in_an_empty_folder_names_are_found(installed: Path, tmp_path: Path) -> None:
    show, diff, wrong, *read = call(
        installed, tmp_path, "constitution show short", "constitution diff clear-mathematics self-correct",
        "run arithmetics", *(f"docs {topic}" for topic in TOPICS),
    )  # fmt: skip
    assert show[0] == 0 and "kind" in show[1], show
    assert diff[0] == 0 and "right-steps" in diff[1], diff
    assert wrong[0] == 2 and "did you mean 'arithmetic'?" in wrong[2]
    assert all(code == 0 and text.startswith("# ") and len(text) > 500 for code, text, _ in read)
    assert list(tmp_path.iterdir()) == []


def test_ones_own_files_come_first(installed: Path, tmp_path: Path) -> None:
    """./policies before ~/.config/selfimprove/policies before what is shipped."""
    own = tmp_path / ".config" / "selfimprove" / "policies" / "constitutions"
    here = tmp_path / "policies" / "constitutions"
    for folder, text in ((own, "Be slow."), (here, "Be quick.")):
        folder.mkdir(parents=True)
        (folder / "short.yaml").write_text(f"name: short\nprinciples: [{{id: speed, text: {text}}}]\n")
    (own / "slow.yaml").write_text("name: slow\nprinciples: [{id: speed, text: Be slow too.}]\n")
    (here / "long.yaml").write_text("name: long\nextends: helpful-honest-harmless\n")
    short, slow, long = call(installed, tmp_path, *(f"constitution show {name}" for name in ("short", "slow", "long")))
    assert "Be quick." in short[1] and "Be slow too." in slow[1] and "no-sermon" in long[1]
    shutil.rmtree(here)
    (short,) = call(installed, tmp_path, "constitution show short")
    assert "Be slow." in short[1]


@pytest.mark.long
def test_in_an_empty_folder_it_runs_evaluates_and_compares(installed: Path, tmp_path: Path) -> None:
    from tiny_models import make_llama

    model = make_llama(tmp_path / "model", alphabet=string.printable)
    (tmp_path / "problems.jsonl").write_text(
        "".join(json.dumps({"question": f"What is {at} + 1?", "answer": str(at + 1)}) + "\n" for at in range(8))
    )
    asked = f"--model {model} --path problems.jsonl --limit 2 --set generate.max_tokens=4"
    commands = (
        "plan",
        "run arithmetic --set rounds=0 --set warmup.steps=2 --set train.held_out=1",
        f"evaluate jsonl --recipe ask {asked}",
        f"prompts compare jsonl {asked}",
        f"plan constitutional --model {model}",
        f"plan word-problems --model {model} --set 'train={{name: jsonl, path: problems.jsonl}}'",
    )
    for command, (code, _, errors) in zip(commands, call(installed, tmp_path, *commands), strict=True):
        assert code == 0, (command, errors)
    assert (tmp_path / "runs" / "arithmetic" / "round-00" / "evaluate" / "stage.json").is_file()
