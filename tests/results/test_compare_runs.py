"""Runs beside each other in the terminal, and a sweep from the command to its report."""

import json
from pathlib import Path

import pytest
from builders import make_problem, make_rationale, make_verdict
from rich.cells import cell_len
from small import small_recipe
from test_cli import call

from selfimprove.cli.sweep import print_sweep
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Evaluation, Outcome, Record
from selfimprove.records.stats import mcnemar, wilson
from selfimprove.running.sweep import Variant
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.manifest import Seconds

HOSTILE = "it is \x1b[31m4\u202e\nso there"


def close(run: RunFolder, round_: int, stage: str, kinds: list[list[Record]], tokens: int = 0) -> None:
    disk = run.stage(round_, stage, "f")
    disk.begin({})
    for records in kinds:
        disk.write_part(records[0].kind, 0, records)
    counts = {records[0].kind: len(records) for records in kinds}
    files, sizes = disk.describe_files()
    disk.close(Manifest(round=round_, stage=stage, version=1, fingerprint="f", settings={}, main=kinds[0][0].kind,
                        counts=counts, parts=1, seconds=Seconds(wall=7.0), tokens={"written": tokens}, metrics={},
                        packages={}, files=files, sizes=sizes))  # fmt: skip


def write_run(folder: Path, right: dict[int, set[int]], n: int = 12, undecided: int = -1, seed: int = 0) -> RunFolder:
    """A run whose rounds have these problems right."""
    run = RunFolder(folder)
    folder.mkdir(parents=True)
    run.write_recipe(load_recipe("arithmetic", [f"seed={seed}", f"name={folder.name}", "rounds=2"]))
    problems = [make_problem(f"{at}+1=", str(at + 1), group=f"g{at % 2}", task="t") for at in range(n)]
    close(run, 0, "problems", [list[Record](problems)])
    for round_, mine in right.items():
        rationales = [make_rationale(one, f"{HOSTILE} {at}", round=round_) for at, one in enumerate(problems)]
        outcomes: list[Outcome] = ["correct" if at in mine else "incorrect" for at in range(n)]
        if undecided >= 0:
            outcomes[undecided] = "undecided"
        verdicts = [make_verdict(one, outcome) for one, outcome in zip(rationales, outcomes, strict=True)]
        low, high = wilson(len(mine), n)
        found = Evaluation(parents=("c",), task="t", level=1, group="g", n=n, correct=len(mine), undecided=0,
                           wrong_reason=0, low=low, high=high)  # fmt: skip
        close(run, round_, "evaluate", [list[Record](rationales), list[Record](verdicts), [found]], tokens=100)
    return run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    write_run(runs / "a", {0: {0, 1}, 2: {0, 1, 2}})
    write_run(runs / "b", {2: set(range(1, 11))}, seed=5)
    write_run(runs / "c", {2: {0, 1, 2}}, undecided=2)
    return tmp_path


def test_runs_are_compared_at_their_last_round(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    done = call("compare", "a", "b", "c", folder=place)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    low, high = wilson(3, 12)
    assert f"round 2: 25.0% ({low:.1%} to {high:.1%}) of 12, 200 tokens written, 21 s" in lines[0]
    assert "round 2: 18.2%" in lines[2] and "of 11, 1 undecided" in lines[2]
    data = json.loads(call("compare", "a", "b", "c", "--json", folder=place).stdout)
    first, second = data["pairs"]
    assert (first["won"], first["lost"], first["both"], first["p"]) == (8, 1, 12, mcnemar(8, 1))
    assert first["holm"] == pytest.approx(2 * mcnemar(8, 1))
    assert (second["won"], second["lost"], second["both"]) == (0, 0, 11)
    assert first["settings"] == ["seed is 0 and 5"] and second["settings"] == []
    assert first["groups"] == [
        {"task": "t", "group": "g1", "n": 6, "before": 1, "now": 5},
        {"task": "t", "group": "g0", "n": 6, "before": 2, "now": 5},
    ]
    assert (
        "b beside a  8 problems won, 1 lost of 12 (McNemar p = 0.039, 0.078 by Holm): no difference is shown"
        in done.stdout
    )
    assert "c beside a  0 problems won, 0 lost of 11 (McNemar p = 1): no difference is shown" in done.stdout
    alone = call("compare", "a", "b", folder=place).stdout
    assert (
        "(McNemar p = 0.039): better" in alone
        and "(McNemar p = 0.039): worse" in call("compare", "b", "a", folder=place).stdout
    )


@pytest.mark.parametrize("width", [30, 80, 160])
def test_rounds_of_one_run_and_what_was_written(place: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = call("compare", "a/round-00", "a", "--show", "3", folder=place)
    assert done.returncode == 0, done.stderr
    assert "1 problem won, 0 lost" in " ".join(done.stdout.split())
    assert "2+1=" in done.stdout and "expected" in done.stdout and "\\u001b" in done.stdout.replace("\\x1b", "\\u001b")
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    assert all(cell_len(line) <= width for line in done.stdout.splitlines()), done.stdout


def test_runs_with_other_problems_share_none(place: Path) -> None:
    other = RunFolder(place / "runs/d")
    other.path.mkdir()
    other.write_recipe(load_recipe("arithmetic", ["name=d"]))
    problem = make_problem("one?", "1")
    text = make_rationale(problem)
    found = Evaluation(
        parents=("c",), task="t", level=1, group="g", n=1, correct=1, undecided=0, wrong_reason=0, low=0.0, high=1.0
    )
    close(other, 0, "problems", [[problem]])
    close(other, 0, "evaluate", [[text], [make_verdict(text)], [found]])
    shown = " ".join(call("compare", "a", "d", folder=place).stdout.split())
    assert "shares no held-out problem with it that both decided" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a",), "Name two runs or more"),
        (("a", "x"), "no run 'x' in runs/"),
        (("a", "b/round-01"), "round 1 was not evaluated; rounds that were: 2"),
        (("a", "b", "--round", "0"), "round 0 was not evaluated; rounds that were: 2"),
    ],
)
def test_what_cannot_be_compared_is_said(place: Path, arguments: tuple[str, ...], message: str) -> None:
    done = call("compare", *arguments, folder=place)
    assert done.returncode == 2 and message in done.stderr and done.stdout == ""


def test_a_sweep_runs_every_combination_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    small_recipe(tmp_path)
    tiny = ("--set", "rounds=0", "--set", "warmup.examples=4", "--set", "evaluate.max_tokens=2")
    command = ("run", "small.yaml", *tiny, "--seeds", "0..1", "--grid", "warmup.steps=1,2")
    done = call(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [f"small-steps-{steps}-seed-{seed}" for steps in (1, 2) for seed in (0, 1)]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == names
    assert [RunFolder(tmp_path / "runs" / name).recipe().seed for name in names] == [0, 1, 0, 1]
    assert "runs/small-steps-2-seed-1: run 4 of 4" in done.stdout
    assert "warmup.steps=2  mean 0.0% (0.0% to 0.0%) over 2 seeds, worst 0.0% (seed 0)" in done.stdout
    assert f"selfimprove compare {' '.join(names)}" in done.stdout
    again = call(*command, "--json", folder=tmp_path)
    assert [row["settings"] for row in json.loads(again.stdout)] == [["warmup.steps=1"], ["warmup.steps=2"]]
    # One that cannot go on is named, and the others are done all the same.
    (tmp_path / "runs/small-steps-1-seed-1/round-00/evaluate/stage.json").write_text("{")
    failed = call(*command, folder=tmp_path)
    assert failed.returncode == 2
    assert "1 of 4 runs failed, the first one: small-steps-1-seed-1" in failed.stderr
    assert "run 4 of 4" in failed.stdout
    alone = call("run", "small.yaml", "--json", folder=tmp_path)
    assert alone.returncode == 2 and "--json goes with --seeds or --grid" in alone.stderr
    wrong = call("run", "small.yaml", "--grid", "warmup.stepz=1,2", "--runs", "none", folder=tmp_path)
    assert wrong.returncode == 2 and "unknown key 'stepz'" in wrong.stderr and not (tmp_path / "none").exists()


def test_the_command_after_a_sweep_names_its_runs_where_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = [Variant(f"mine {at}", (), at) for at in range(6)]
    for runs, named in (
        (Path("runs"), "'mine {at}'"),
        (tmp_path / "else where", f"'{tmp_path}/else where/mine {{at}}'"),
    ):
        print_sweep(variants, runs, as_json=False)
        said = capsys.readouterr().out  # never broken, or it would not run as it is typed
        assert said.endswith(f"\nnext  selfimprove compare {' '.join(named.format(at=at) for at in range(4))}\n")
