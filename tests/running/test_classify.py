"""A stage of others from start to end: a classifier and best-of-n, one file outside the package."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from extending import TRAINED, forgotten_afterwards, imports, run_command, run_tiny, save_classifier, tiny_recipe
from small import record_ids

from selfimprove.records import KINDS, Checkpoint, Decision, Evaluation, Example, Preference, Rationale, Record
from selfimprove.settings import Settings
from selfimprove.stages.base import Stage, declare
from selfimprove.store import RunFolder
from selfimprove.store.index import Index
from selfimprove.store.query import Query
from selfimprove.trainers.job import SftJob

FLOW = ("frontier", "generate", "classify", "pick", "sft", "evaluate", "promote")


def classify_recipe(folder: Path, rounds: int = 2) -> Path:
    recipe = tiny_recipe(folder, FLOW, rounds=rounds, classify=f"{{path: {folder / 'classifier'}, part_size: 10}}")
    save_classifier(folder)
    return recipe


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two rounds; a test that changes it works on what it is afterwards, which is the same run."""
    with forgotten_afterwards():
        return run_tiny(classify_recipe(tmp_path_factory.mktemp("ranked")), "classify")


def times(folder: RunFolder) -> dict[str, int]:
    """When each file of records and each manifest was written."""
    files = [*folder.path.glob("round-*/*/*.parquet"), *folder.path.glob("round-*/*/stage.json")]
    return {str(file.relative_to(folder.path)): file.stat().st_mtime_ns for file in files}


def again(folder: RunFolder, *more: str) -> RunFolder:
    return run_tiny(folder.path.parent / "tiny.yaml", "classify", more=more)


def test_generate_classify_pick_sft(ranked: RunFolder) -> None:
    again(ranked)  # imports the file, and does nothing
    values = {one.parents[0]: one.value for one in ranked.stage(1, "classify").read(KINDS["classified"])}
    texts = {one.id: one for one in ranked.stage(1, "generate").read(Rationale)}
    assert values.keys() == texts.keys() and len(set(values.values())) > 5
    examples = ranked.stage(1, "pick").read(Example)
    for one in examples:
        (chosen,) = one.parents
        others = [other.id for other in texts.values() if other.problem == texts[chosen].problem]
        assert values[chosen] == max(values[other] for other in others)
    assert len(examples) == len({one.problem for one in texts.values()})
    assert set(ranked.stage(1, "sft").read(Checkpoint)[0].parents[1:]) == {one.id for one in examples}
    assert len(ranked.stage(1, "classify").files()) == 3
    (manifest,) = [one for one in [ranked.stage(2, "classify").manifest()] if one]
    assert manifest.packages["classify.py"].startswith("sha256:")


def test_a_part_that_is_lost_is_made_again_and_no_other(ranked: RunFolder) -> None:
    ids, before = record_ids(ranked), times(ranked)
    lost = "round-01/classify/classified-00001.parquet"
    (ranked.path / lost).unlink()
    again(ranked)
    changed = {name for name, when in times(ranked).items() if before.get(name) != when}
    assert changed == {lost, "round-01/classify/stage.json"}
    assert record_ids(ranked) == ids


def test_redo_does_again_what_follows_and_nothing_before(ranked: RunFolder) -> None:
    ids, before = record_ids(ranked), times(ranked)
    again(ranked, "--redo", "round-02/classify")
    changed = {name.rpartition("/")[0] for name, when in times(ranked).items() if before.get(name) != when}
    assert changed == {f"round-02/{name}" for name in ("classify", "pick", "sft", "evaluate", "promote")}
    assert record_ids(ranked) == ids


def test_to_go_on_without_the_file_is_one_line(ranked: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = ranked.path.parent / "tiny.yaml"
    line = len(recipe.read_text().splitlines())
    assert run_command("run", recipe, "--runs", ranked.path.parent, *imports("adder")) == 2
    said = capsys.readouterr().err
    expected = f"selfimprove: {recipe}:{line}: the stage 'classify' is not known; --import the file that declares it"
    assert said.startswith(expected) and said.count("\n") == 1


READ = """
import contextlib, io, json, sys
import selfimprove as si
from selfimprove.cli import main
from selfimprove.records import KINDS
runs, identity = sys.argv[1:]

def say(*words):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            main([*words, "--runs", runs])
        except SystemExit as end:
            assert not end.code, words
    return text.getvalue()

told = {"status": say("status", "tiny"), "json": say("status", "tiny", "--json"), "show": say("show", "tiny", identity),
        "traces": say("traces", "tiny", "--kept", "--round", "1"),
        "stage": say("traces", "tiny", "--stage", "generate")}
run = si.load("tiny", runs=runs)
told["kinds"], told["rows"] = run.kinds, len(run.records("classified"))
told["record"] = run.record(identity)
told["rounds"] = [one.accuracy for one in run.rounds]
from pathlib import Path
from starlette.testclient import TestClient
from selfimprove.viewer.app import create_app
client = TestClient(create_app(Path(runs), port=8765), base_url="http://127.0.0.1:8765")
text = told["record"]["parents"][0]
pages = {"run": "", "record": f"/records/{identity}", "traces": "/traces?stage=generate", "trace": f"/traces/{text}"}
for name, path in pages.items():
    answer = client.get(f"/runs/tiny{path}")
    assert answer.status_code == 200, (path, answer.text[:500])
    told[f"{name} page"] = answer.text
assert "classified" not in KINDS
print(json.dumps(told))
"""


@pytest.mark.long
def test_a_fresh_process_reads_it_without_the_file(ranked: RunFolder) -> None:
    import pyarrow.parquet as pq

    row = pq.read_table(ranked.path / "round-01/classify/classified-00000.parquet").to_pylist()[0]
    command = [sys.executable, "-c", READ, str(ranked.path.parent), row["id"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "classify" in told["status"] and "pick" in told["status"]
    assert told["show"].startswith(f"classified {row['id']}")
    assert f"value {row['value']}" in " ".join(told["show"].split())
    assert told["traces"].count("place 1 of 3") == 8 and "place 3 of 3" in told["stage"]
    assert "classified" in told["kinds"] and told["rows"] > 20
    assert [told["record"][name] for name in ("id", "value", "stage")] == [row["id"], row["value"], "classify"]
    assert len(told["rounds"]) == 3
    assert "classify" in told["run page"] and f"{row['value']}"[:8] in told["record page"]
    assert f"/records/{row['id']}" in told["trace page"]


def test_generate_verify_pick_dpo(tmp_path: Path) -> None:
    flow = ("frontier", "generate", "verify", "pick", "dpo", "evaluate", "promote")
    recipe = tiny_recipe(tmp_path, flow, pick="{pairs: true}", dpo=f"{{fewest: 1, {TRAINED}}}")
    recipe.write_text(recipe.read_text().replace("flaws: 0.05", "flaws: 0.2"))
    folder = run_tiny(recipe, "classify")
    pairs, (checkpoint,) = folder.stage(1, "pick").read(Preference), folder.stage(1, "dpo").read(Checkpoint)
    assert pairs and {one.source for one in pairs} == {"classify"}
    assert checkpoint.method == "dpo" and set(checkpoint.parents[1:]) == {one.id for one in pairs}


class Critic(Settings):
    """Train another model than the policy."""


def train_critic(_: Sequence[Any], desk: Any) -> Iterator[Checkpoint]:
    from selfimprove.recipe.training_settings import SupervisedTraining

    settings = SupervisedTraining(steps=2, batch_size=2)
    yield desk.train(SftJob, desk.read(Example, "pick"), desk.first_checkpoint, settings=settings)


def test_what_a_reward_model_is_trained_on_is_not_trained(tmp_path: Path) -> None:
    declare(Stage(name="critic", version=1, settings=Critic, writes=Checkpoint, run=train_critic, trains="reward",
                  uses=("prompt",), reads=lambda round: [round.start, *round.every(Example)]))  # fmt: skip
    flow = ("frontier", "generate", "verify", "select", "sft", "pick", "critic", "evaluate", "promote")
    folder = run_tiny(tiny_recipe(tmp_path, flow, pick="{keep: 3}"), "classify")
    (critic,), (policy,) = (folder.stage(1, name).read(Checkpoint) for name in ("critic", "sft"))
    assert (critic.role, policy.role) == ("reward", "policy")
    kept = {one.rationale for one in folder.stage(1, "select").read(Decision) if one.kept}
    seen = {one.parents[0] for one in folder.stage(1, "pick").read(Example)}
    assert kept < seen  # the reward model alone saw the others
    index = Index(folder, tmp_path / "cache")
    index.refresh(force=True)
    trained = {row["id"] for row in index.rows("SELECT id FROM trace WHERE trained <> 'no'")}
    assert trained == kept
    assert [row["role"] for row in index.rows("SELECT role FROM apart")] == ["reward"]
    index.close()
    evaluated = {one.parents[0] for one in folder.stage(1, "evaluate").read(Evaluation)}
    assert evaluated == {policy.id}


def test_a_kind_may_be_called_like_a_word_of_sql(ranked: RunFolder) -> None:
    class Left(Record):
        kind: ClassVar[str] = "left"

    query = Query(ranked)
    assert query.count() > 0 and query.rows(f"SELECT count(*) AS n FROM ({query.select_kind('left')})") == [{"n": 0}]
