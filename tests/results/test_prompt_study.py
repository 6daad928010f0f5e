"""Forms of asking: compared in pairs, kept, gone on with; and the search for a trigger by the model itself."""

import contextlib
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selfimprove.cli import main
from selfimprove.cli.prompts import load_ask
from selfimprove.engines import Engine, ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.errors import RecipeError, StoreError
from selfimprove.prompting.triggers import Trigger, clean, load_triggers, why_not
from selfimprove.recipe import Build, Recipe
from selfimprove.records import Checkpoint, Outcome, Problem, Proposal, Rationale
from selfimprove.records.stats import holm, mcnemar, wilson
from selfimprove.results.prompt_search import Found, Search, search
from selfimprove.results.prompt_study import Asked, Form, SharedEngine, ask, compare_forms, make_forms, trigger_form
from selfimprove.running.session import Session
from selfimprove.store import RunFolder, find_run
from selfimprove.store.query import Query

GIVEN = (Trigger(text="Think.", source="mine"), Trigger(text="Well,", source="mine"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_model(Build(hidden_size=32, intermediate_size=32, layers=1, heads=1, max_positions=4096), folder, seed=1)
    return folder


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"question": f"What is {at} and {at % 7}?", "answer": at + at % 7} for at in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(model: Path, problems: Path, *more: str) -> Recipe:
    return load_ask("jsonl", str(model), str(problems), "ask", ["generate.max_tokens=8", *more], 10, "mine")


class Scripted(SharedEngine):
    """Answers by a function of the prompt; what was asked is noted."""

    def __init__(self, write: Any) -> None:
        super().__init__()
        self.write, self.prompts = write, []  # type: ignore[var-annotated]

    def __call__(self, checkpoint: Checkpoint, session: Session) -> Engine:
        def write(prompt: str, seed: int) -> str:
            self.prompts.append(prompt)
            return str(self.write(prompt, seed))

        return ScriptedEngine(write)


def refuse(prompt: str, seed: int) -> str:
    raise AssertionError(f"asked twice: {prompt}")


def add_up(prompt: str) -> str:
    """The right answer to the last question of a prompt."""
    words = prompt.rsplit("What is ", 1)[1].split("?")[0].split(" and ")
    return f" The answer is {sum(map(int, words))}."


# --- the table ------------------------------------------------------------------------------------------------


def asked(name: str, outcomes: Sequence[Outcome], tokens: int = 10) -> Asked:
    return Asked(Form(name, "zero-shot"), {str(at): one for at, one in enumerate(outcomes)}, tokens)


def test_holm_is_that_of_the_paper() -> None:
    # Worked out by hand: 3 x .01, then 2 x .03, then the larger of that and 1 x .04.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == [] and holm([0.7, 0.9]) == [1.0, 1.0]


def test_forms_are_compared_in_pairs() -> None:
    right, wrong, unclear = "correct", "incorrect", "undecided"
    one = asked("zero-shot", [right, wrong, wrong, wrong, wrong, wrong, unclear], 70)  # type: ignore[list-item]
    two = asked("cot", [wrong, right, right, right, right, right, right])  # type: ignore[list-item]
    three = asked("few", [right, wrong, wrong, wrong, wrong, right, right])  # type: ignore[list-item]
    rows = compare_forms([one, two, three], "zero-shot")
    assert rows[0].p_value is None and rows[0].tokens == 10
    assert (rows[0].n, rows[0].correct, rows[0].undecided) == (6, 1, 1)
    assert (rows[0].low, rows[0].high) == wilson(1, 6)
    assert (rows[1].won, rows[1].lost, rows[1].p_value) == (5, 1, mcnemar(5, 1))
    assert (rows[2].won, rows[2].lost, rows[2].p_value) == (1, 0, 1.0)
    assert [row.adjusted for row in rows[1:]] == holm([mcnemar(5, 1), 1.0])
    assert [row.p_value is None for row in compare_forms([one, two, three], "best")] == [False, True, False]
    with pytest.raises(RecipeError, match="no such form; did you mean 'cot'"):
        compare_forms([one, two], "coot")


def test_a_form_without_exemplars_is_left_out() -> None:
    names = [one.name for one in make_forms(GIVEN, exemplars=False)]
    assert names[0] == "zero-shot" and len(names) == 3
    assert [one.style for one in make_forms(GIVEN[:1], exemplars=True)][1:3] == ["few-shot", "few-shot-cot"]
    assert trigger_form(GIVEN[0]).name != trigger_form(GIVEN[1]).name


# --- asking ---------------------------------------------------------------------------------------------------


def test_each_form_asks_in_its_own_way_and_nothing_twice(model: Path, problems: Path, tmp_path: Path) -> None:
    recipe, folder = load(model, problems), RunFolder(tmp_path / "runs" / "mine")
    engine = Scripted(lambda prompt, seed: add_up(prompt) if "Think." in prompt else " No.")
    plain, thinks = (ask(form, recipe, folder, load=engine) for form in make_forms(GIVEN[:1], exemplars=False))
    assert (plain.correct, thinks.correct, thinks.n) == (0, 10, 10)
    assert plain.outcomes.keys() == thinks.outcomes.keys()
    assert sum("Think." in one for one in engine.prompts) == 10 and len(engine.prompts) == 20
    assert sum(one.endswith("\nA: Think.") for one in engine.prompts) == 10
    again = [ask(form, recipe, folder, load=Scripted(refuse)) for form in make_forms(GIVEN[:1], exemplars=False)]
    assert [one.outcomes for one in again] == [plain.outcomes, thinks.outcomes]
    run = find_run(f"mine/{thinks.form.name}", tmp_path / "runs")
    assert Query(run).count(stage="evaluate", outcome="correct") == 10


def test_the_second_prompt_follows_each_answer(model: Path, problems: Path, tmp_path: Path) -> None:
    recipe = load(model, problems, "evaluate.extract=So the number is")
    folder = RunFolder(tmp_path / "runs" / "mine")

    def write(prompt: str, seed: int) -> str:
        return add_up(prompt).split()[-1] if prompt.endswith("So the number is") else " I know 99 and 100."

    engine = Scripted(write)
    plain, thinks = (ask(form, recipe, folder, load=engine) for form in make_forms(GIVEN[:1], exemplars=False))
    assert (plain.correct, thinks.correct) == (0, 10)
    second = [one for one in engine.prompts if one.endswith("A: Think. I know 99 and 100. So the number is")]
    assert len(second) == 10 and len(engine.prompts) == 30
    disk = RunFolder(folder.path / thinks.form.name).stage(0, "evaluate")
    texts = disk.read(Rationale)
    assert len(texts) == 20 and sum(len(one.parents) == 3 for one in texts) == 10
    assert thinks.tokens == sum(one.tokens for one in texts)


# --- triggers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ('1. "Let us think."\nmore', "Let us think."),
        ("\n\n- Think first.", "Think first."),
        ("Instruction: Go slowly", "Go slowly"),
        ("“Add up.”", "Add up."),
        ("", ""),
        ("x" * 5000, "x" * 2000),
    ],
)
def test_a_proposal_is_cleaned(text: str, trigger: str) -> None:
    assert clean(text) == trigger


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        ("Go slowly.", ""),
        ("Let's THINK", "already known"),
        ("", "no words"),
        ("...", "no words"),
        ("x" * 201, "longer than 200 characters"),
        ("Add 3 and 4.", "holds a number, which belongs to a problem"),
        ("What is it?", "is a question"),
        ("Go\u202eslowly", "holds characters that cannot be printed"),
        ("Ann has many apples and eats", "copied from a problem"),
    ],
)
def test_a_proposal_is_tried_or_says_why_not(trigger: str, reason: str) -> None:
    assert why_not(trigger, {"let's think"}, "Input: Ann has many apples and eats some.") == reason


def test_the_published_triggers_name_their_sources() -> None:
    found = load_triggers("published")
    assert found[0].text == "Let's think step by step." and all(one.source for one in found)
    with pytest.raises(RecipeError, match="did you mean 'published'"):
        load_triggers("publisht")


# --- the search -----------------------------------------------------------------------------------------------


def propose(prompt: str, seed: int) -> str:
    """A model to which one trigger helps, and which finds it once it sees scores."""
    if prompt.endswith('It said: "'):
        return 'Think."'
    if prompt.endswith("Instruction:"):
        return " Add them up carefully." if seed % 2 else " Add 3 and 4."
    return add_up(prompt) if "carefully" in prompt else " No."


def test_the_search_finds_what_helps_on_training_problems_alone(model: Path, problems: Path, tmp_path: Path) -> None:
    recipe, folder = load(model, problems), RunFolder(tmp_path / "runs" / "mine")
    engine, settings = Scripted(propose), Search(steps=2, proposals=6, problems=12)
    found = search(recipe, folder, GIVEN, settings, load=engine)
    assert found.best.text == "Add them up carefully." and found.tried[0].accuracy == 1.0
    assert [one.reason for one in found.proposals[:6]] == ["already known"] * 6
    assert sorted({one.reason for one in found.proposals[6:]}) == [
        "already known",
        "holds a number, which belongs to a problem",
        "tried",
    ]
    assert len(found.tried) == 3 and "selection bias" in found.describe()
    # The scored list stands in the second step's prompt, the worst first.
    listed = next(one for one in engine.prompts if one.endswith("Instruction:"))
    assert "Instruction: Think.\nScore: 0" in listed
    # No held-out problem was seen.
    held_out = {one.question for one in Session(recipe, RunFolder(tmp_path / "none")).inputs.held_out}
    assert len(held_out) == 10
    assert not any(question in prompt for prompt in engine.prompts for question in held_out)
    again = search(recipe, folder, GIVEN, settings, load=Scripted(refuse))
    assert again == found
    with pytest.raises(StoreError, match="was made with other settings"):
        search(recipe, folder, GIVEN, Search(steps=2, proposals=7, problems=12), load=Scripted(refuse))


def test_an_accuracy_is_of_the_problems_that_were_decided() -> None:
    asked = Asked(trigger_form(Trigger(text="Think.")), {"a": "correct", "b": "undecided", "c": "incorrect"}, 9)
    assert "the best has 50.0% of 2 training problems" in Found([asked], [], 3).describe()


def test_what_a_model_proposed_is_kept(model: Path, problems: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "mine")
    found = search(load(model, problems), folder, GIVEN, Search(1, 3, 5), load=Scripted(propose))
    run = find_run("mine/search", tmp_path / "runs")
    rows = Query(run).rows("SELECT * FROM proposal")
    assert {row["id"] for row in rows} == {one.id for one in found.proposals}
    (kept,) = {one.parents[0] for one in run.stage(1, "propose").read(Proposal)}
    first = RunFolder(run.path / trigger_form(GIVEN[0]).name)
    assert [one.id for one in first.stage(0, "base").read(Checkpoint)] == [kept]
    scored = first.stage(0, "problems").read(Problem)
    assert len(scored) == 5


# --- by the command line --------------------------------------------------------------------------------------


def call(*arguments: str) -> tuple[int, str, str]:
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0), output.getvalue(), errors.getvalue()


def test_the_commands_work_with_a_real_model(model: Path, problems: Path, tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path / "runs"), "--model", str(model), "--path", str(problems), "--limit", "4")
    short = ("--set", "generate.max_tokens=4", "--json")
    code, output, _ = call("prompts", "compare", "jsonl", *runs, *short, "--trigger", "Go.")
    assert code == 0
    forms = json.loads(output)["forms"]
    assert [one["n"] for one in forms] == [4] * 9 and forms[-1]["trigger"] == "Go."
    code, output, _ = call(
        "prompts", "search", "jsonl", *runs, *short, "--steps", "1", "--proposals", "2", "--training", "3"
    )
    assert code == 0 and json.loads(output)["search"]["proposals"] == 2
    code, output, _ = call("evaluate", "jsonl", *runs, *short, "--samples", "3")
    assert code == 0 and json.loads(output)["votes"][0]["samples"] == 3


@pytest.mark.parametrize("called", ["other", f"a-{'b' * 39}"])  # the second is cut before its hyphen
def test_another_model_is_evaluated_in_a_folder_of_its_own(
    model: Path, problems: Path, tmp_path: Path, called: str
) -> None:
    other = shutil.copytree(model, tmp_path / called)
    runs = tmp_path / "runs"
    for one in (model, other, model, other):  # the second time each goes on
        code, _, errors = call(
            "evaluate", "jsonl", "--runs", str(runs), "--model", str(one), "--path", str(problems), "--limit", "2",
            "--set", "generate.max_tokens=2", "--json",
        )  # fmt: skip
        assert code == 0, errors
    asked = {path.parent.name: RunFolder(path.parent).recipe().model.path for path in runs.glob("*/recipe.yaml")}
    assert len(asked) == 2 and asked["evaluate-jsonl"] == str(model)
    (second,) = asked.keys() - {"evaluate-jsonl"}
    assert asked[second] == str(other) and second.endswith(called[-39:]) and "--" not in second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prompts", "compare", "gsm9k"], "unknown task 'gsm9k'"),
        (["prompts", "compare", "jsonl", "--triggers", "none"], "no file of triggers 'none'"),
        (["evaluate", "arithmetic", "--recipe", "arithmetic"], "name a trained one with --model"),
        (["evaluate", "jsonl", "--standard", "other", "--model", "m"], "standard"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    code, _, errors = call(*arguments, "--runs", str(tmp_path))
    assert code == 2 and message in errors and errors.count("\n") == 1
