"""The stage `distill`: which texts it takes, a run in which a rule switches it on, and a kill in the midst of it."""

import subprocess
import sys
from pathlib import Path

import pytest
from builders import make_problem, make_rationale, make_verdict
from small import SMALL, record_ids, small_recipe, weight_hashes

from selfimprove.errors import RecipeError
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Prompting
from selfimprove.records import Action, Checkpoint, Distillation, Example, Outcome, Rationale, Verdict
from selfimprove.records.lineage import ancestors, build_graph, orphans
from selfimprove.running.loop import run_loop
from selfimprove.stages.distill import Distill, choose, describe_distill
from selfimprove.store import RunFolder
from selfimprove.store.query import Query

PROMPTS = PromptFormat(Prompting(hint="{answer}?{question}", question="{question}", cue=""))
PROBLEM = make_problem("14+27=", "41")
RULES = """
name: mine
rules:
  - name: show-it
    reason: a test wants it
    when: [{figure: tokens so far, op: ">", value: 0}]
    change: [{setting: distill.limit, set: 7}]
    expects: {figure: trained, direction: up, by: 0}
"""
OWN = "distill: {steps: 4, batch_size: 4, learning_rate: 0.01, fewest: 2, limit: 0, checkpoint_every: 2}"
TEXT = SMALL.replace("  evaluate: {part_size: 6}\n", f"  {OWN}\n  evaluate: {{part_size: 6}}\n")


def write(text: str, outcome: Outcome, **changes: object) -> tuple[Rationale, Verdict]:
    rationale = make_rationale(PROBLEM, text).model_copy(update={"prompt": PROBLEM.question, "tokens": 3, **changes})
    return rationale, make_verdict(rationale, outcome)


def texts(*judged: tuple[Rationale, Verdict], **settings: object) -> list[str]:
    made = choose(PROBLEM, judged, PROMPTS, Distill(**{"per_problem": 9, **settings}), shown=False)
    assert all((one.prompt, one.hinted, one.group) == ("14+27=", "41?14+27=", PROBLEM.group) for one in made)
    return [one.completion for one in made]


def test_what_the_model_wrote_by_itself_and_ended_is_taken_once() -> None:
    wrong, right = write("wrong", "incorrect"), write("right", "correct")
    assert texts(wrong, right, write("wrong", "incorrect", sample=7), write("other", "incorrect")) == ["wrong", "other"]
    assert texts(wrong, right, of="all") == ["wrong", "right"]
    assert texts(wrong, write("other", "incorrect"), per_problem=1) == ["wrong"]


@pytest.mark.parametrize(
    "judged",
    [
        write("undecided", "undecided"),
        write("cut", "incorrect", finish="length"),
        write("hinted", "incorrect", origin="rationalized"),
        write("repaired", "incorrect", origin="revised"),
        write("gone on", "incorrect", parents=(PROBLEM.id, "checkpoint", "another")),
    ],
    ids=["undecided", "cut off", "with the answer in sight", "repaired", "a second part"],
)
def test_what_was_written_otherwise_is_not_taken(judged: tuple[Rationale, Verdict]) -> None:
    assert texts(judged, of="all") == []


def test_sft_after_it_would_throw_away_what_it_made(tmp_path: Path) -> None:
    flow = "flow=[frontier, generate, verify, select, distill, sft, evaluate, promote]"
    without = ("repair=null", "rationalize=null")
    with pytest.raises(RecipeError, match="'sft' stands after 'distill' and does not go on from what it made"):
        small_recipe(tmp_path, flow, *without, text=TEXT)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("distill")
    run_loop(small_recipe(folder, *settings(folder), text=TEXT), run := RunFolder(folder / "run"))
    return run


def settings(folder: Path) -> tuple[str, ...]:
    (folder / "mine.yaml").write_text(RULES)
    return (f"decide.rules={folder / 'mine.yaml'}", "repair=null", "rationalize=null", "select.sources=seed")


def test_a_rule_switches_it_on_for_a_round(done: RunFolder) -> None:
    first, second = (done.stage(round_, "distill") for round_ in (1, 2))
    assert not first.read(Distillation) and first.read(Checkpoint) == done.stage(1, "sft").read(Checkpoint)
    assert done.stage(2, "decide").read(Action)[0].changes == ("distill.limit=7",)
    rows, (trained,) = second.read(Distillation), second.read(Checkpoint)
    (sft,) = done.stage(2, "sft").read(Checkpoint)
    assert len(rows) == 7 == len({one.parents[0] for one in rows}) and trained.weights != sft.weights
    assert (trained.method, trained.parents) == ("distill", (sft.id, *(one.id for one in rows)))
    wrong = {one.rationale for one in done.stage(2, "verify").read(Verdict) if one.outcome == "incorrect"}
    assert {one.parents[0] for one in rows} <= wrong
    manifest = second.manifest()
    assert manifest is not None and manifest.tokens["trained"] > 0
    assert describe_distill(manifest.metrics, 2).startswith("7 texts; KL from the model with the answer in sight: ")
    assert describe_distill({"distilled": 3}, 8) == "3 texts, fewer than 'fewest: 8': the checkpoint is kept as it is"


def test_the_answer_stands_in_no_prompt_that_is_trained_and_each_row_is_walked_to_its_problem(done: RunFolder) -> None:
    for one in done.stage(2, "distill").read(Distillation):
        assert "?" in one.hinted and "?" not in one.prompt and one.hinted.endswith(one.prompt)
    graph = build_graph(Query(done).nodes())
    assert not orphans(graph)
    kinds = {graph.nodes[one]["kind"] for one in ancestors(graph, done.stage(2, "distill").read(Checkpoint)[0].id)}
    assert kinds >= {"problem", "rationale", "verdict", "distillation", Example.kind}


@pytest.mark.long
def test_a_kill_while_it_trains_changes_nothing(done: RunFolder, tmp_path: Path) -> None:
    support, killed = Path(__file__).parents[1] / "support", RunFolder(tmp_path / "killed")
    changes = [*settings(tmp_path), OWN.replace(": ", "=", 1)]
    moments = ["round-02/distill/training/checkpoint-2/trainer_state.json", "round-02/distill/checkpoint"]
    command = [sys.executable, str(support / "kill_run.py"), str(killed.path), *changes, *moments]
    ended = subprocess.run(command, cwd=support, capture_output=True, text=True, timeout=500, check=False)
    assert ended.stdout.endswith("finished the end\n") and "killed" in ended.stdout, ended.stdout + ended.stderr
    assert record_ids(killed) == record_ids(done) and weight_hashes(killed) == weight_hashes(done)
