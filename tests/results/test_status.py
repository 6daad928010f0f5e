"""What it takes to say how a run stands: few imports, and each of its files read once."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from viewing import BASE, write_run

from selfimprove.errors import SelfImproveError
from selfimprove.records.console import SafeConsole
from selfimprove.results.show import print_record
from selfimprove.results.status import print_status
from selfimprove.results.traces import export_rows
from selfimprove.store.query import Query

# In a process of its own, because this one has imported nearly all; opened files are told by the interpreter itself.
WATCHED = """
import json, sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
sys.argv = ["selfimprove", "status", sys.argv[1]]
from selfimprove.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps({"opened": opened, "modules": sorted(sys.modules)}))
"""
SLOW = {
    "torch", "transformers", "trl", "peft", "datasets", "pandas", "scipy", "networkx", "sympy", "math_verify", "regex",
    "vllm", "ray", "aiohttp", "asyncio", "fastapi", "jinja2", "matplotlib",
}  # fmt: skip


def test_the_status_imports_no_verifier_and_reads_each_manifest_once(tmp_path: Path) -> None:
    run = write_run(tmp_path, ["1+2=3\n#3"] * 3, rounds=3)
    told = subprocess.run([sys.executable, "-c", WATCHED, str(run.path)], capture_output=True, text=True, check=True)
    seen = json.loads(told.stdout.splitlines()[-1])
    assert "Rounds" in told.stdout
    slow = {*SLOW, "selfimprove.verifiers", "pyarrow.compute"}
    imported = {name for name in seen["modules"] if name in slow or name.split(".")[0] in SLOW}
    assert imported == set()
    opened = Counter(name for name in seen["opened"] if name.startswith(str(run.path)) and not name.endswith("lock"))
    manifests = {name: times for name, times in opened.items() if name.endswith("stage.json")}
    assert len(manifests) == len(list(run.stages())) and set(manifests.values()) == {1}
    assert opened[str(run.path / "recipe.yaml")] == 2  # for its hash, and to be parsed


def test_what_was_read_once_is_read_again_where_it_changed(tmp_path: Path) -> None:
    run = write_run(tmp_path, rounds=1)
    stage = run.stage(1, "generate")
    assert run.recipe().rounds == 1 and run.recipe() is run.recipe()
    first = stage.manifest()
    assert first is not None and stage.manifest() is first
    stage.close(first.model_copy(update={"tokens": {"written": 77}}))
    again = run.stage(1, "generate").manifest()
    assert again is not None and again.tokens == {"written": 77}
    run.write_recipe(run.recipe().model_copy(update={"rounds": 2}))
    assert run.recipe().rounds == 2


def test_a_checkpoint_of_which_nothing_was_decided_has_no_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, (), rounds=0)
    print_record(Query(run), BASE.id, SafeConsole(width=100))
    assert "arithmetic 1+1: nothing was decided\n" in capsys.readouterr().out
    # Nor is it passed over that what people say has no round.
    with pytest.raises(SelfImproveError, match="--round 1: what people say is of all rounds"):
        export_rows(Query(run), tmp_path / "pairs.jsonl", "pairs", 1)


def test_the_tables_hold_what_closed_stages_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, ["1+2=3\n#3"] * 3, rounds=2)
    print_status(run, SafeConsole(width=100))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if "% of 3" in line] == [
        f"{round_} {share}% of 3 {interval}"
        for round_, share, interval in (
            (0, "0.0", "0.0% to 56.1%"), (1, "33.3", "6.1% to 79.2%"), (2, "66.7", "20.8% to 93.9%"),
        )
    ]  # fmt: skip
