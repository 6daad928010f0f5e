"""What is documented for Python: the page's snippets in their order, mistakes, and runs of other versions."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from places import REPOSITORY

import selfimprove as si
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.task_settings import JsonlTask
from selfimprove.records import Decision, Problem, Rationale, Verdict
from selfimprove.results import run as api
from selfimprove.results.status import to_json
from selfimprove.store import find_run

PAGE = Path(api.__file__).with_name("README.md")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
# In place of the recipe of five minutes, one of seconds that learns a little.
TINY = """
name: arithmetic
seed: 3
rounds: 1
model:
  build: {hidden_size: 64, intermediate_size: 128, layers: 1, heads: 2, head_size: 32}
  device: cpu
train: {name: arithmetic, max_digits: 1, seed_total_digits: 2, held_out: 8}
engine: {batch_size: 64, threads: 1}
stages:
  warmup: {examples: 90, steps: 200, batch_size: 16, learning_rate: 0.005}
  frontier: {problems: 20}
  generate: {samples: 4, max_tokens: 24}
  rationalize: {enabled: false}
  select: {sources: seed+samples, pool: cumulative}
  sft: {start: last, steps: 20, batch_size: 16, learning_rate: 0.001}
  promote: {rule: always}
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The names that the page's snippets leave behind, in a working folder with the run that they made."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "tiny.yaml").write_text(TINY)
        names: dict[str, Any] = {}
        assert SNIPPETS[0].count('si.run("arithmetic"') == 1
        for snippet in SNIPPETS:
            # The page is ours, and no text of a model is in it.
            exec(compile(snippet.replace('si.run("arithmetic"', 'si.run("tiny.yaml"'), str(PAGE), "exec"), names)
        yield names


def test_the_page_says_what_happens(notebook: dict[str, Any]) -> None:
    assert len(SNIPPETS) == 6
    assert [one.number for one in notebook["run"].rounds] == [0, 1, 2]
    assert Path(notebook["last"].checkpoint, "model.safetensors").is_file()
    assert len(notebook["table"]) == len(notebook["correct"]) > 0
    assert notebook["found"].outcome == "correct" and notebook["found"].reasoning == "incorrect"
    assert [one.outcome for one in notebook["judged"]] == ["correct", "incorrect", "incorrect"]


def test_rounds_say_what_the_status_says(notebook: dict[str, Any]) -> None:
    run = notebook["run"]
    status = to_json(find_run("arithmetic"))
    for one in run.rounds:
        [task] = status["tasks"][one.number]
        assert (one.accuracy, one.n, one.correct, one.undecided) == tuple(
            task[name] for name in ("accuracy", "n", "correct", "undecided")
        )
        assert one.interval == (task["low"], task["high"])
        assert [found.to_json() for found in one.tasks] == [task]
    assert [one.promoted for one in run.rounds] == [None, True, True]
    assert [one.checkpoint for one in run.rounds] == [
        str(run.path.resolve() / place / "checkpoint") for place in ("round-00/warmup", "round-01/sft", "round-02/sft")
    ]


def test_the_same_call_again_makes_nothing_anew(notebook: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    manifests = sorted(Path("runs").rglob("stage.json"))
    before = [path.stat().st_mtime_ns for path in manifests]
    with ThreadPoolExecutor(1) as pool:  # as servers of notebooks may do, where no signal can be handled
        again = pool.submit(si.run, "tiny.yaml", rounds=2).result()
    assert capsys.readouterr().out == ""
    assert [path.stat().st_mtime_ns for path in manifests] == before
    assert again.path == notebook["run"].path


def test_each_stage_is_a_line_unless_nothing_shall_be_said(
    notebook: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    si.run("tiny.yaml", rounds=2, redo="round-02/promote")
    begun, line = capsys.readouterr().out.splitlines()
    assert begun == "begins with round 2 promote"
    assert line.startswith("round 2 promote, ")
    si.run("tiny.yaml", rounds=2, redo=["round-02/promote"], quiet=True)
    assert capsys.readouterr().out == ""
    assert signal.getsignal(signal.SIGINT) is before
    assert repr(notebook["run"]).startswith("<the run 'arithmetic', 2 rounds, ")


def test_traces_are_records_and_tables_of_the_same(notebook: dict[str, Any]) -> None:
    run = notebook["run"]
    traces = run.traces()
    assert len(traces) == len(list(traces)) == traces.to_arrow().num_rows == len(run.records("rationale"))
    found = list(run.traces(round=1, stage="generate", kept=True))
    assert found and all(one.kept and one.round == 1 and one.stage == "generate" for one in found)
    for one, row in zip(found, run.traces(round=1, stage="generate", kept=True).to_datasets(), strict=True):
        assert isinstance(one.problem, Problem) and isinstance(one.rationale, Rationale)
        assert isinstance(one.verdict, Verdict) and isinstance(one.decision, Decision)
        assert (one.id, one.problem.question, one.outcome, one.decision.reason) == (
            row["id"], row["question"], row["outcome"], row["decision"],
        )  # fmt: skip
        # What was read is what was written: its content hashes to its id.
        for record in (one.problem, one.rationale, one.verdict, one.decision):
            assert type(record)(**record.model_dump()).id == record.id
    held_out = run.traces(stage="evaluate")[0]
    assert held_out.verdict and held_out.decision is None and held_out.kept is None


def test_rows_are_indexed_as_lists_are(notebook: dict[str, Any]) -> None:
    traces = notebook["run"].traces(round=1)
    whole = [one.id for one in traces]
    assert [traces[at].id for at in (5, -len(whole))] == [whole[5], whole[0]]
    for part in (slice(-2, None), slice(None, None, -7), slice(4, 40, 9)):
        assert [one.id for one in traces[part]] == whole[part]
    for at in (len(whole), -len(whole) - 1):
        with pytest.raises(IndexError):
            traces[at]
    # Others may be asked for while they are gone through.
    assert [len(traces) for _ in islice(traces, 2)] == [len(whole)] * 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda run: run.traces(bogus=1), "traces: no filter 'bogus'; known: disputed, group, kept, level, origin"),
        (lambda run: run.traces(outcom="x"), "traces: no filter 'outcom'; did you mean 'outcome'?"),
        (lambda run: run.traces(outcome="wrong"), "outcome='wrong': no such outcome; known: correct, incorrect, und"),
        (lambda run: run.traces(outcome="corect"), "outcome='corect': no such outcome; did you mean 'correct'?"),
        (lambda run: run.traces(stage="generat"), "stage='generat': no such stage; did you mean 'generate'?"),
        (lambda run: run.traces(round="2"), "round='2': expected a value of type int"),
        (lambda run: run.traces(kept=1), "kept=1: expected a value of type bool"),
        (lambda run: run.records("evaluations"), "no record of the kind 'evaluations'; did you mean 'evaluation'?"),
        (lambda run: run.record("zz"), "no record's id begins with 'zz'"),
        (lambda run: si.load("arithmetc"), "no run 'arithmetc' in runs/; did you mean 'arithmetic'?"),
        (lambda run: si.run("arithmetc"), "no recipe 'arithmetc' in policies/recipes; did you mean 'arithmetic'?"),
        (lambda run: si.run("tiny.yaml", redo="sfd"), "--redo sfd: no such stage"),
        (lambda run: si.verify("7", "7", task="mth"), "unknown verifier 'mth'; did you mean 'math'?"),
        (lambda run: si.verify("7", "7", task="judge"), "the verifier 'judge' needs judge_model: a folder or a hub n"),
        (lambda run: si.verify("7", "7", units="all"), "units: must be 'ignore' or 'match'"),
        (lambda run: si.verify("7", ["7", "8"]), "answer: 2 of them for 1 responses; give one, or one for each"),
        (lambda run: si.verify(["7", None], "7"), "response 1: is no text but of type NoneType"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(notebook: dict[str, Any], call: Any, says: str) -> None:
    with pytest.raises(si.SelfImproveError) as mistake:
        call(notebook["run"])
    assert says in str(mistake.value) and "\n" not in str(mistake.value)


# --- settings ----------------------------------------------------------------------------------------------------


def test_keywords_change_what_the_command_lines_overrides_change() -> None:
    texts = ["rounds=2", "generate.samples=8", "sft.lora.rank=4", "model.path=null", "evaluate_on=[{name: gsm8k}]"]
    nested = {
        "rounds": 2, "generate": {"samples": 8}, "sft": {"lora": {"rank": 4}}, "model.path": None,
        "evaluate_on": ({"name": "gsm8k"},),
    }  # fmt: skip
    dotted = {"rounds": 2, "stages.generate.samples": 8, "sft": {"lora.rank": 4}, "model": {"path": None},
              "evaluate_on": [{"name": "gsm8k"}]}  # fmt: skip
    changed = load_recipe("arithmetic", texts)
    assert load_recipe("arithmetic", nested) == load_recipe("arithmetic", dotted) == changed
    assert changed != load_recipe("arithmetic")
    assert load_recipe("arithmetic", {}) == load_recipe("arithmetic")


def test_a_recipe_may_be_a_dictionary(tmp_path: Path) -> None:
    whole = load_recipe("arithmetic").model_dump()
    assert load_recipe(whole) == load_recipe("arithmetic")
    # Its keys have no order to keep, and nothing of it is changed.
    turned = {**whole, "stages": dict(reversed(whole["stages"].items()))}
    before = json.dumps(turned, default=str)
    assert load_recipe(turned, {"rounds": 3}) == load_recipe("arithmetic", ["rounds=3"])
    assert json.dumps(turned, default=str) == before
    # A task with its name stands for itself; of another setting of the old one nothing is left.
    task = {"name": "jsonl", "path": tmp_path / "problems.jsonl", "held_out": 8}
    assert load_recipe("word-problems", {"train": task}).train == JsonlTask(**{**task, "path": str(task["path"])})


@pytest.mark.parametrize(
    ("recipe", "changes", "says"),
    [
        ("arithmetic", {"bogus": 1}, "bogus: unknown key 'bogus'"),
        ("arithmetic", {"rouns": 1}, "rouns: unknown key 'rouns'; did you mean 'rounds'?"),
        ("arithmetic", {"generate": {"sampels": 8}}, "generate.sampels=8: unknown key 'sampels'; did you mean 'sampl"),
        ("arithmetic", {"generate.samples": "many"}, "generate.samples='many': 'stages.generate.samples' must be a"),
        ("arithmetic", {"seed.x": 1}, "seed.x: 'seed' is not a group of settings"),
        ("arithmetic", {"rounds": object()}, "rounds: a setting is a number, a text, a list or a dictionary, not obj"),
        ({"name": "x", "train": {"name": "gsm9k"}}, {}, "train.name: unknown task 'gsm9k'; did you mean 'gsm8k'?"),
        ({"name": "x", "rouns": 1}, {}, "rouns: unknown key 'rouns'; did you mean 'rounds'?"),
        ({"name": "x", "stages": {"generate": {"samples": {1, 2}}}}, {}, "the recipe.stages.generate.samples: a setti"),
        ({"rounds": 2}, {}, "the recipe: 'name' is missing"),
    ],
)
def test_a_wrong_setting_is_named_by_its_key(recipe: Any, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(si.SelfImproveError) as mistake:
        load_recipe(recipe, changes)
    assert str(mistake.value).startswith(says) and "\n" not in str(mistake.value)


# --- somebody else's run -----------------------------------------------------------------------------------------


@pytest.fixture
def foreign(notebook: dict[str, Any], tmp_path: Path) -> si.Run:
    """A run of another version: a stage, a kind and settings that are not known here, and a record with a new field."""
    shutil.copytree(notebook["run"].path, tmp_path / "theirs")
    home = tmp_path / "theirs" / "round-01"
    (tmp_path / "theirs" / "recipe.yaml").write_text(
        "name: theirs\nflow: [generate, appraise]\nstages: {appraise: {best: 2}}\n"
    )
    (home / "appraise").mkdir()
    reward = pa.table({"id": ["b", "a"], "parents": [["x"], []], "value": [0.5, None], "round": [7, 7]})
    pq.write_table(reward.slice(0, 1), home / "appraise" / "appraisal-00000.parquet")
    pq.write_table(reward.slice(1).append_column("rank", [[1]]), home / "appraise" / "appraisal-00001.parquet")
    (home / "appraise" / "stage.json").write_text(json.dumps({"round": 1, "stage": "appraise", "something": "else"}))
    rationales = pq.read_table(home / "generate" / "rationale-00000.parquet")
    more = rationales.append_column("entropy", pa.array([0.5] * len(rationales)))
    pq.write_table(more.slice(0, 3), home / "appraise" / "rationale-00000.parquet")
    return si.load(tmp_path / "theirs")


def test_a_run_of_another_version_is_shown_as_it_lies_there(notebook: dict[str, Any], foreign: si.Run) -> None:
    mine = notebook["run"]
    assert foreign.recipe["flow"] == ["generate", "appraise"]
    assert foreign.kinds == sorted([*mine.kinds, "appraisal"])
    rewards = foreign.records("appraisal")
    assert list(rewards) == [
        {"id": "a", "parents": [], "value": None, "rank": 1, "stage": "appraise", "round": 1},
        {"id": "b", "parents": ["x"], "value": 0.5, "rank": None, "stage": "appraise", "round": 1},
    ]
    assert rewards.to_arrow().to_pylist() == list(rewards) and len(rewards) == 2
    assert [one.accuracy for one in foreign.rounds] == [one.accuracy for one in mine.rounds]
    assert len(foreign.traces(stage="appraise")) == 3
    assert {one.stage for one in foreign.traces(round=1)} == {"appraise", "evaluate", "generate"}
    ranked = foreign.traces(stage="appraise")[0]
    assert ranked.problem.question and ranked.rationale == next(
        one.rationale for one in mine.traces(round=1, stage="generate") if one.id == ranked.id
    )


def test_a_verdict_that_lies_there_twice_makes_one_trace_a_row(notebook: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(notebook["run"].path, tmp_path / "twice")
    home = tmp_path / "twice" / "round-01"
    shutil.copytree(home / "verify", home / "verify-again")
    traces = si.load(tmp_path / "twice").traces(round=1)
    assert len(list(traces)) == len(traces) == traces.to_arrow().num_rows


def test_a_damaged_file_of_an_unknown_kind_harms_only_those_who_ask_for_it(foreign: si.Run) -> None:
    (foreign.path / "round-01" / "appraise" / "appraisal-00001.parquet").write_bytes(b"PAR1, not at all")
    assert len(foreign.traces()) and foreign.rounds[-1].n == 8
    with pytest.raises(si.SelfImproveError, match=r"appraisal-00001.parquet: damaged .*move it away to see the rest"):
        len(foreign.records("appraisal"))


def test_a_run_that_goes_on_has_rounds_without_figures(notebook: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(notebook["run"].path, tmp_path / "open")
    for stage in ("evaluate", "promote"):
        shutil.rmtree(tmp_path / "open" / "round-02" / stage)
    last = si.load(tmp_path / "open").rounds[-1]
    assert (last.number, last.accuracy, last.interval, last.promoted, last.checkpoint) == (2, None, None, None, None)


# --- judging texts -----------------------------------------------------------------------------------------------


def test_a_verification_has_no_truth_value() -> None:
    found = si.verify("I do not know", None)
    assert found.outcome == "undecided" and not found.correct
    with pytest.raises(TypeError, match="three outcomes"):
        bool(found)


def test_lists_are_judged_with_one_answer_or_many() -> None:
    texts = ["#### 3", "#### 4"]
    assert [one.correct for one in si.verify(texts, 3)] == [True, False]
    assert [one.correct for one in si.verify(texts, (3, "4"))] == [True, True]
    assert si.verify([], 3) == []
    [first, second] = si.verify(["7 apples", "It is 9"], 7, question=["Has he 7?", ""])
    assert (first.outcome, first.expected, second.outcome) == ("correct", "7", "incorrect")
    assert si.verify("3.2", 3).outcome == "incorrect" and si.verify("3.2", 3, tolerance=0.3).outcome == "correct"


# --- the package -------------------------------------------------------------------------------------------------

LIGHT = """
import sys, json
import selfimprove as si
assert not [name for name in sys.modules if name.startswith("selfimprove.")]
assert set(si.__all__) <= set(dir(si))
run = si.load(sys.argv[1])
run.rounds[-1].interval, run.traces(outcome="correct")[:1], len(run.records("example")), si.verify("3", "3")
assert si.run.__module__ == "selfimprove.results.run"
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "transformers", "trl", "datasets"})))
"""


def test_reading_and_judging_load_no_torch(notebook: dict[str, Any]) -> None:
    command = [sys.executable, "-c", LIGHT, str(notebook["run"].path.resolve())]
    assert json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) == []


def test_no_module_takes_the_name_of_what_the_package_offers() -> None:
    """An import of `selfimprove.running` would put the module in the place of the function."""
    package = Path(si.__file__).parent
    assert {path.stem for path in package.iterdir()} & set(si.__all__) == set()
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        si.runs  # noqa: B018


TYPED = """
import selfimprove as si
from pathlib import Path

run: si.Run = si.run("arithmetic", rounds=2, generate={"samples": 8})
accuracy: float | None = run.rounds[-1].accuracy
for trace in run.traces(outcome="correct", round=2):
    question: str = trace.problem.question
one: si.Verification = si.verify("7", 7)
several: list[si.Verification] = si.verify(["7"], [7])
si.load(Path("runs/x")).traces(outcom="correct")
si.load("x").traces(outcome="wrong")
"""


@pytest.mark.long  # half a minute, or a second where mypy has looked at the package before
def test_the_types_reach_those_who_import_it(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", str(tmp_path / "use.py")]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).stdout
    assert Path(si.__file__).with_name("py.typed").is_file()
    assert re.findall(r"use\.py:(\d+): error", shown) == ["11", "12"], shown
