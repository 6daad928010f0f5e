"""Where nothing could be asked or judged a run says so, before it pays for texts where that can be known."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from selfimprove.engines import Completion, Request, ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.errors import EngineError, TaskError, VerifierError
from selfimprove.recipe import Build, Sampling
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Evaluation
from selfimprove.results.judged import check_judged
from selfimprove.running.estimate import print_plan
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder

SOLUTION = "Four apples and one more.\nThat makes 4 + 1 = 5.\n#### 5"


class NoRoom(ScriptedEngine):
    """Has no room for any prompt."""

    def generate(self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()) -> Iterator[Any]:
        yield from (Completion(at, "", 0, 0.0, "too_long") for at in range(len(requests)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1), folder, seed=1)
    return folder


def own_recipe(model: Path, folder: Path) -> dict[str, Any]:
    return {
        "name": "own", "rounds": 0, "model": {"path": str(model)}, "stages": {"sft": {}},
        "train": {"name": "jsonl", "path": str(folder / "own.jsonl"), "held_out": 3},
    }  # fmt: skip


def evaluate(
    model: Path,
    folder: Path,
    answers: Sequence[Any],
    *changes: str,
    engine: ScriptedEngine | None = None,
    text: str = "5",
) -> tuple[RunFolder, list[str]]:
    """Evaluate problems with these answers by what writes `text`; also gives the prompts that it was asked."""
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps({"question": f"{at}+1=?", "answer": answer, "options": ["3", "5"]})
        for at, answer in enumerate(answers)
    ]
    (folder / "own.jsonl").write_text("\n".join(lines))
    asked: list[str] = []

    def write(prompt: str, seed: int) -> str:
        asked.append(prompt)
        return text

    run = RunFolder(folder / "run")
    run_loop(load_recipe(own_recipe(model, folder), changes), run, load=lambda *_: engine or ScriptedEngine(write))
    return run, asked


def test_a_whole_solution_is_an_expected_answer(model: Path, tmp_path: Path) -> None:
    run, _ = evaluate(model, tmp_path, [SOLUTION, SOLUTION, "so $\\boxed{5}$", SOLUTION, SOLUTION, "5"])
    assert [(one.correct, one.n) for one in run.stage(0, "evaluate").read(Evaluation)] == [(3, 3)]
    check_judged(run)


@pytest.mark.parametrize(
    ("answers", "changes", "message"),
    [
        ([None] * 6, (), "none of its 3 problems has an answer, so no text could be judged; give them answers$"),
        (["", " "] * 3, (), "none of its 3 problems has an answer"),
        ([None] * 6, ("rounds=1",), r"none of its 3 problems has an answer.*select.vote=\{\}$"),
        (
            ["7"] * 6,
            ("train.compare=choice", "train.options=options"),
            "the verifier 'choice' can judge by none of its 3 expected answers, such as '7' .*not one of the options",
        ),
    ],
    ids=["none", "empty", "none in a round", "no option"],
)
def test_what_nothing_can_be_judged_by_is_refused_before_a_text_is_paid_for(
    answers: list[Any], changes: tuple[str, ...], message: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match=message):
        evaluate(model, tmp_path, answers, *changes, engine=ScriptedEngine(lambda prompt, seed: 1 / 0))  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=message):
        print_plan(load_recipe(own_recipe(model, tmp_path), changes), RunFolder(tmp_path / "run"), Console(quiet=True))


def test_what_some_problems_lack_is_said_at_the_start(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = evaluate(model, tmp_path, ["5", "", None, *"5555"], "train.held_out=3", text="5")
    file = tmp_path / "own.jsonl"
    assert f"{file}: 2 of 7 problems have no answer (lines 2, 3) and stay undecided" in capsys.readouterr().err
    counted = run.stage(0, "evaluate").read(Evaluation)
    assert [(one.correct, one.n + one.undecided) for one in counted] == [(counted[0].n, 3)]


def test_prompts_without_room_are_no_evaluation_and_leave_nothing_behind(model: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"round-00/evaluate: none of its 3 prompts was asked.*up to 40 tokens"):
        evaluate(model, tmp_path, "555555", "generate.max_tokens=40", engine=NoRoom(lambda prompt, seed: ""))
    run, asked = evaluate(model, tmp_path, "555555", "generate.max_tokens=20")  # no --redo is needed
    assert len(asked) == 3 and run.stage(0, "evaluate").closed


def test_answers_of_which_none_could_be_judged_are_no_success(model: Path, tmp_path: Path) -> None:
    run, _ = evaluate(model, tmp_path, "555555", text="一共有五个苹果。")
    with pytest.raises(VerifierError, match=r"none of 3 held-out answers could be judged.*selfimprove traces .*/run"):
        check_judged(run)
