"""Judging inside a run: a second verifier beside the first, a model as the judge, choices, and what they leave."""

import json
from pathlib import Path

import pytest
from small import small_recipe

from selfimprove.engines import ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.errors import RecipeError
from selfimprove.recipe import Build
from selfimprove.records import Checkpoint, CrossCheck, Rationale, Verdict
from selfimprove.results.status import to_json
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.store import RunFolder
from selfimprove.store.query import Query

QUESTIONS = [("What is the capital of Peru?", "Lima"), ("What is 2 + 2?", "4"), ("Is ice cold?", "Yes")]
ALPHABET = "".join(chr(code) for code in range(32, 127)) + "\n"


def base_model(folder: Path) -> Path:
    model = folder / "model"
    shape = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, alphabet=ALPHABET, max_positions=2048)
    build_model(shape, model, seed=1)
    return model


def plain(folder: Path, model: Path, rows: list[dict[str, object]], *changes: str) -> tuple[str, ...]:
    """The small recipe on a file of questions."""
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return (
        *("warmup=null", "model.build=null", f"model.path={model}", "rationalize=null", "repair=null"),
        *("select.sources=samples", "rounds=1", "sft.steps=2", "generate.max_tokens=8"),
        f"train={{name: jsonl, path: {path}, held_out: 2}}",
        *changes,
    )


def test_a_second_verifier_judges_a_share_and_differences_are_kept(tmp_path: Path) -> None:
    # Written 0<digits>: the exact string is wrong, the number is right.
    load = lambda checkpoint, session: ScriptedEngine(  # noqa: E731
        lambda prompt, seed: f"# 0{sum(map(int, prompt.rpartition('?')[2].rstrip('=').split('+')))}"
    )
    run = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path, "rounds=1", "verify.second={verifier: math, share: 1.0}"), run, load=load)
    checks = run.stage(1, "verify").read(CrossCheck)
    verdicts = run.stage(1, "verify").read(Verdict)
    assert [one.parents for one in checks] == [(one.rationale, one.id) for one in verdicts]
    assert {(one.first, one.second, one.verifier) for one in checks} == {("incorrect", "correct", "math")}
    assert not any(one.agrees for one in checks)
    query = Query(run)
    assert query.count(stage="generate", disputed=True) == len(checks) == query.count(stage="generate")
    assert to_json(run)["cross-checks"] == [
        {"round": 1, "verifier": "math", "first": "incorrect", "second": "correct", "count": len(checks)}
    ]


def test_a_share_of_the_rationales_is_chosen_by_their_hash(tmp_path: Path) -> None:
    runs = []
    for name, share in (("half", 0.5), ("whole", 1.0)):
        run = RunFolder(tmp_path / name)
        run_loop(small_recipe(tmp_path, "rounds=1", f"verify.second={{verifier: text, share: {share}}}"), run)
        runs.append({one.parents[0] for one in run.stage(1, "verify").read(CrossCheck)})
    assert runs[0] < runs[1] and 0 < len(runs[0]) < len(runs[1])


def test_a_model_judges_and_what_it_does_not_answer_is_undecided(tmp_path: Path) -> None:
    def write(prompt: str, seed: int) -> str:
        if "Verdict:" not in prompt:
            return "Lima"
        shown = prompt.rpartition("Question:")[2]
        return "CORRECT" if "Peru" in shown else "INCORRECT" if "2 + 2" in shown else "It is hard to say"

    rows: list[dict[str, object]] = [
        {"question": f"{question} ({at})", "answer": answer} for at in range(4) for question, answer in QUESTIONS
    ]
    run = RunFolder(tmp_path / "run")
    recipe = small_recipe(tmp_path, *plain(tmp_path, base_model(tmp_path), rows, "train.compare=judge"))
    asked: list[str] = []

    def load(checkpoint: Checkpoint, session: Session) -> ScriptedEngine:
        asked.append(checkpoint.path)
        return ScriptedEngine(write)

    run_loop(recipe, run, load=load)
    problems = {one["id"]: one["question"] for one in Query(run).rows("SELECT id, question FROM problem")}
    of = {one.id: problems[one.problem] for one in run.stage(1, "generate").read(Rationale)}
    for verdict in run.stage(1, "verify").read(Verdict):
        question = of[verdict.rationale]
        expected = "correct" if "Peru" in question else "incorrect" if "2 + 2" in question else "undecided"
        assert verdict.outcome == expected and verdict.verifier == "judge"
        if expected == "undecided":
            assert verdict.reason == "the judge did not answer with one of its words: 'It is hard to say'"


def test_a_real_model_that_cannot_judge_leaves_everything_undecided(tmp_path: Path) -> None:
    model = base_model(tmp_path)
    rows: list[dict[str, object]] = [
        {"question": f"{one} ({at})", "answer": two} for at in range(2) for one, two in QUESTIONS
    ]
    run = RunFolder(tmp_path / "run")
    judge = (f"judge.path={model}", "train.compare=judge", "rounds=0")
    run_loop(small_recipe(tmp_path, *plain(tmp_path, model, rows), *judge), run)
    verdicts = run.stage(0, "evaluate").read(Verdict)
    assert verdicts and {one.outcome for one in verdicts} == {"undecided"}
    assert "the judge did not answer with one of its words" in verdicts[0].reason


def test_choices_of_ones_own_are_judged_by_letter_or_text(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"question": f"Where is {at}?\nOptions:\n(A) here\n(B) there", "answer": "B", "options": ["here", "there"]}
        for at in range(12)
    ]
    run = RunFolder(tmp_path / "run")
    changes = ("train.compare=choice", "train.options=options", "rounds=0")
    recipe = small_recipe(tmp_path, *plain(tmp_path, base_model(tmp_path), rows), *changes)
    run_loop(recipe, run, load=lambda checkpoint, session: ScriptedEngine(lambda prompt, seed: "It is there."))
    verdicts = run.stage(0, "evaluate").read(Verdict)
    assert {(one.outcome, one.verifier) for one in verdicts} == {("correct", "choice")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nversion: 1\ntemplate: '{question} {fence}'\n", "judge.yaml:3: 'template' lacks {response}"),
        (
            "name: x\nversion: 1\ntemplate: '{question} {response} {fence}'\nlabels: {correct: No, incorrect: no}\n",
            "judge.yaml:4: 'labels.correct'",
        ),
        ("name: x\nversion: 1\ntemplate: '{question} {response} {fence}'\nlabel: {}\n", "judge.yaml:4: unknown key"),
    ],
)
def test_a_mistake_in_a_judges_prompt_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text(text)
    recipe = small_recipe(tmp_path, "verify.second={verifier: judge}", f"judge.prompt={path}")
    with pytest.raises(RecipeError) as error:
        Session(recipe, RunFolder(tmp_path / "run"))
    assert message in str(error.value)
