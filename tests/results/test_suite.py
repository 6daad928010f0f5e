"""Suites: their files, the problems that are asked, averages by hand, models in pairs, and the command."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_prompt_study import call

from selfimprove.cli.prompts import load_ask
from selfimprove.engines.build import build_model
from selfimprove.errors import RecipeError
from selfimprove.recipe import Build
from selfimprove.recipe.policies import policy_names
from selfimprove.recipe.suite import FILE, choose_problems, load_suite
from selfimprove.recipe.task_settings import EVERY, BbhTask, MmluTask, SvampTask
from selfimprove.records import Outcome, Problem
from selfimprove.records.stats import mcnemar
from selfimprove.results.suite import (
    ALL,
    ModelOutcomes,
    average,
    compare_pairs,
    rows_of,
    suite_recipe,
    tasks_of,
)
from selfimprove.running.estimate import guess_seconds
from selfimprove.running.reading import count_read
from selfimprove.running.session import Session
from selfimprove.store import RunFolder
from selfimprove.tasks import load_task
from selfimprove.tasks.bbh import TASKS
from selfimprove.tasks.mmlu import SUBJECTS

OUTCOMES: dict[str, Outcome] = {"+": "correct", "-": "incorrect", "?": "undecided"}
GROUPS = {"a": "letters", "b": "letters", "c": "other"}


def answered(model: str = "m", **tasks: str) -> ModelOutcomes:
    """Outcomes of each task's problems, a sign each."""
    outcomes = {f"{task}{at}": OUTCOMES[sign] for task, signs in tasks.items() for at, sign in enumerate(signs)}
    return ModelOutcomes(model, model, outcomes, {name: name[0] for name in outcomes})


# --- figures --------------------------------------------------------------------------------------------------


def test_averages_over_problems_and_over_tasks() -> None:
    rows = {one.group: one for one in rows_of(answered(a="++--", b="+?", c="+++-----"), GROUPS)}
    assert list(rows) == ["letters", "other", ALL]
    whole = rows[ALL]
    assert whole.micro and whole.macro
    assert (whole.tasks, whole.n, whole.correct, whole.undecided) == (3, 13, 6, 1)
    assert whole.micro.value == pytest.approx(6 / 13)
    assert whole.macro.value == pytest.approx((2 / 4 + 1 / 1 + 3 / 8) / 3)
    assert rows["other"].micro == rows["other"].macro  # of one task
    assert [one.group for one in rows_of(answered(c="+-"), {"c": "other"})] == ["other"]
    assert tasks_of(answered(a="+-?")) == {"a": {"n": 2, "correct": 1, "undecided": 1}}


def test_intervals_are_those_of_draws_within_each_task() -> None:
    """By the normal approximation, and narrower than if all problems were of one task."""
    counts = [(90, 10), (10, 90), (250, 250)]
    micro, macro = average(counts, (1, 0), 0)
    parts = [(right / (right + wrong), right + wrong) for right, wrong in counts]
    sizes = sum(n for _, n in parts)
    of_micro = math.sqrt(sum(n * p * (1 - p) for p, n in parts)) / sizes
    of_macro = math.sqrt(sum(p * (1 - p) / n for p, n in parts)) / len(parts)
    for found, sd in ((micro, of_micro), (macro, of_macro)):
        assert found.low == pytest.approx(found.value - 1.96 * sd, abs=0.1 * sd + 1 / sizes)
        assert found.high == pytest.approx(found.value + 1.96 * sd, abs=0.1 * sd + 1 / sizes)
    [alone, _] = average([(350, 350)], (1, 0), 0)
    assert micro.high - micro.low < alone.high - alone.low


def test_averages_are_those_of_the_harness() -> None:
    metrics = pytest.importorskip("lm_eval.api.metrics", reason="the extra [eval] is not installed")
    counts = [(3, 5), (1, 0), (40, 60), (7, 7)]
    micro, macro = average(counts, (1, 0), 0)
    accuracies, sizes = [right / (right + wrong) for right, wrong in counts], [sum(one) for one in counts]
    assert micro.value == pytest.approx(metrics.aggregate_subtask_metrics(accuracies, sizes, True))
    assert macro.value == pytest.approx(metrics.aggregate_subtask_metrics(accuracies, sizes, False))


def test_models_are_compared_on_the_problems_that_both_decide() -> None:
    one, other = answered("x", a="+++++-", b="++?", c="-+"), answered("y", a="-----+", b="+-+", c="-+")
    pairs = {pair.group: pair for pair in compare_pairs([one, other], GROUPS)}
    assert {name: (pair.n, pair.won, pair.lost) for name, pair in pairs.items()} == {
        "letters": (8, 6, 1), "other": (2, 0, 0), ALL: (10, 6, 1),
    }  # fmt: skip
    whole = pairs[ALL]
    assert (whole.first, whole.second) == ("x", "y")
    assert whole.micro.value == pytest.approx(5 / 10)
    assert whole.macro.value == pytest.approx((4 / 6 + 1 / 2 + 0) / 3)
    assert whole.p_value == pytest.approx(mcnemar(6, 1)) and whole.adjusted >= whole.p_value
    assert pairs["other"].p_value == 1.0 and whole.micro.low <= whole.micro.value <= whole.micro.high
    assert compare_pairs([one], GROUPS) == [] == compare_pairs([one, answered("z")], GROUPS)


# --- files ----------------------------------------------------------------------------------------------------


def test_the_suites_that_are_shipped_hold_all_of_their_benchmarks() -> None:
    mmlu = load_suite("mmlu")
    assert {one.name for one in mmlu.tasks} == {f"mmlu/{one}" for one in SUBJECTS} and len(mmlu.tasks) == 57
    assert [*mmlu.groups] == ["STEM", "humanities", "social sciences", "other"]
    for name in ("bbh", "bbh-direct"):
        suite = load_suite(name)
        assert {one.name for one in suite.tasks} == {f"bbh/{one}" for one in TASKS} and len(suite.tasks) == 27
    assert [one.name for one in load_suite("word-problems").tasks] == ["gsm8k", "svamp", "asdiv"]


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_all_problems_are_asked_or_so_many_of_each_task(tmp_path: Path) -> None:
    path = write(tmp_path, "groups: {one: [mmlu/anatomy, {name: bbh/navigate, held_out: 7}], two: [svamp, arithmetic]}")
    suite = load_suite(path)
    mmlu, bbh, svamp, arithmetic = choose_problems(suite, data="folder")
    assert isinstance(mmlu, MmluTask) and isinstance(bbh, BbhTask) and isinstance(svamp, SvampTask)
    assert (mmlu.held_out, bbh.held_out, svamp.held_out) == (EVERY, 7, EVERY)
    assert (bbh.whole, svamp.whole) == (True, True)
    assert [one.path for one in (mmlu, bbh, svamp)] == ["folder/mmlu", "folder/bbh", "folder/svamp"]
    assert arithmetic.name == "arithmetic"
    assert [getattr(one, "held_out", None) for one in choose_problems(suite, limit=3)][:3] == [3, 3, 3]
    [alone] = choose_problems(load_suite(write(tmp_path, "groups: {one: [svamp]}")), data="folder")
    assert isinstance(alone, SvampTask) and alone.path == "folder"


def make_svamp(folder: Path, count: int) -> Path:
    rows = [
        {"Body": f"Tom has {at} pens.", "Question": f"How many are {at} and 2?", "Answer": at + 2.0, "Type": "Addition"}
        for at in range(count)
    ]
    path = folder / "SVAMP.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, (10, 10)),
        ({"held_out": 4}, (16, 4)),
        ({"whole": True}, (0, 20)),
        ({"whole": True, "held_out": 15}, (0, 15)),
    ],
)
def test_a_task_of_one_part_can_be_held_out_whole(tmp_path: Path, settings: Any, sizes: Sequence[int]) -> None:
    task = load_task(SvampTask(path=str(make_svamp(tmp_path, 20)), **settings))
    assert (sum(len(task.draw(group, 99, 0)) for group in task.levels), len(task.held_out())) == tuple(sizes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("groups: {one: [gsm9k]}", "mine.yaml:1: unknown task 'gsm9k'; did you mean 'gsm8k'?"),
        ("groups: {one: [gsm8k]}\ngroup: {}", "mine.yaml:2: unknown key 'group'; did you mean 'groups'?"),
        ("groups: {one: [gsm8k], two: [{name: gsm8k}]}", "mine.yaml: the task 'gsm8k' stands in it twice"),
        ("groups:\n  one: [{name: gsm8k, held_oud: 3}]", "mine.yaml:2: unknown key 'held_oud'"),
        ("groups: {}", "mine.yaml:1: the suite has no groups"),
        ("groups: {one: [gsm8k], two: []}", "mine.yaml:1: the group 'two' has no tasks"),
        ("groups: {arithmetic: [bbh/A]}", "mine.yaml:1: 'groups.arithmetic.0.name' is 'bbh/A'"),
        ("description: nothing", "mine.yaml"),
    ],
)
def test_a_mistake_in_a_suite_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_suite(write(tmp_path, text))
    assert message in str(raised.value) and "\n" not in str(raised.value)


# --- the command ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    shape = Build(hidden_size=32, intermediate_size=32, layers=1, heads=1, max_positions=8192)
    for at, name in enumerate(("one", "two")):
        build_model(shape, folder / name, seed=at)
    return [str(folder / name) for name in ("one", "two")]


def evaluate(suite: str, models: Sequence[str], runs: Path, *more: str) -> tuple[dict[str, Any], str]:
    named = [part for one in models for part in ("--model", one)]
    code, output, errors = call("evaluate", suite, *named, "--runs", str(runs), "--json", *more)
    assert code == 0, errors
    return json.loads(output), errors


def test_a_suite_is_a_run_for_each_model_which_goes_on_and_a_table_of_them(tmp_path: Path, models: list[str]) -> None:
    make_svamp(tmp_path, 8)
    (tmp_path / "sums.jsonl").write_text('{"question": "1+1?", "answer": 2}\n{"question": "2+2?", "answer": 4}\n')
    suite = write(
        tmp_path,
        "settings: [prompt.exemplars=null, prompt.style=zero-shot, generate.max_tokens=3]\n"
        "groups: {words: [{name: svamp, path: SVAMP.json}], sums: [{name: jsonl, path: sums.jsonl, held_out: 1}]}",
    )
    found, said = evaluate(suite, models[:1], tmp_path / "runs", "--name", "mine")
    assert f"{models[0]}: 9 problems of 2 tasks, prompts of about " in said and "; written are " in said
    [first] = found["models"]
    assert [(row["group"], row["tasks"], row["n"] + row["undecided"]) for row in first["averages"]] == [
        ("words", 1, 8), ("sums", 1, 1), (ALL, 2, 9),
    ]  # fmt: skip
    assert found["pairs"] == [] and set(first["tasks"]) == {"svamp", "jsonl"}
    place = tmp_path / "runs" / "mine"
    closed = {path: path.stat().st_mtime_ns for path in place.glob("*/round-00/*/stage.json")}
    found, said = evaluate(suite, models, tmp_path / "runs", "--name", "mine")
    assert models[0] not in said and f"{models[1]}: 9 problems" in said  # the first one is done
    again = {path: path.stat().st_mtime_ns for path in place.glob("*/round-00/*/stage.json")}
    assert closed and closed.items() < again.items() and len(again) == 2 * len(closed)
    assert [one["model"] for one in found["models"]] == models and found["models"][0] == first
    assert [(one["group"], one["n"]) for one in found["pairs"]][-1][0] == ALL
    code, table, _ = call("evaluate", suite, "--model", models[0], "--runs", str(tmp_path / "runs"), "--name", "mine")
    assert code == 0 and "micro is over problems, macro over tasks" in table and "selfimprove status" in table


def test_the_figures_and_the_pictures_of_models_are_kept(tmp_path: Path, models: list[str]) -> None:
    pytest.importorskip("matplotlib", reason="the extra [view] is not installed")
    make_svamp(tmp_path, 4)
    suite = write(
        tmp_path,
        "settings: [prompt.exemplars=null, prompt.style=zero-shot, generate.max_tokens=3]\n"
        "groups: {words: [{name: svamp, path: SVAMP.json}]}",
    )
    found, said = evaluate(suite, models, tmp_path / "runs")
    place = tmp_path / "runs" / "suite-mine"
    assert json.loads((place / FILE).read_text()) == found
    for name in ("averages", "differences"):
        assert "<svg" in (place / f"{name}.svg").read_text()
    assert "held out and not" not in said  # all of them were asked for, as many as there are
    named = [part for one in models for part in ("--model", one)]
    code, table, _ = call("evaluate", suite, *named, "--runs", str(tmp_path / "runs"))
    assert code == 0 and f"the pictures: {place / 'averages.svg'}, {place / 'differences.svg'}" in table


def test_prompts_count_in_what_a_suite_takes(tmp_path: Path, models: list[str]) -> None:
    make_svamp(tmp_path, 40)
    suite = load_suite(write(tmp_path, "groups: {words: [{name: svamp, path: SVAMP.json}]}"))

    def count(*changes: str) -> tuple[int, list[Problem], Session]:
        recipe = suite_recipe(suite, models[0], name="m", runs=tmp_path, data=None, limit=None, changes=changes)
        session = Session(recipe, RunFolder(tmp_path / "run"))
        return count_read(session), list(session.inputs.held_out), session

    read, problems, session = count("prompt.exemplars=null", "prompt.style=zero-shot")
    whole = sum(len(session.prompts.render(one)) + 1 for one in problems)  # a token a character, and one that begins
    assert len(problems) == 40 and whole / 2 < read < whole  # what all begin with is read once
    few, _, session = count("evaluate.part_size=10")
    each = len(session.prompts.render(problems[0]))
    assert each * 4 < few < each * 4 + 1.2 * read  # the worked problems once for each of four parts
    assert guess_seconds(session.recipe, 10**9, reads=True) <= guess_seconds(session.recipe, 10**9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mmlu"], "evaluate mmlu: name a model with --model"),
        (["mmlu", "--model", "a", "--model", "a"], "name each model once with --model"),
        (["none.yaml", "--model", "a"], "none.yaml: no such suite"),
        (["gsm9k", "--model", "a", "--model", "b"], "unknown task 'gsm9k'"),
        (["mmlu", "--model", "a", "--all"], "--all is for one task and one model"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    code, _, errors = call("evaluate", *arguments, "--runs", str(tmp_path))
    assert code == 2 and message in errors and errors.count("\n") == 1


@pytest.mark.parametrize("name", sorted(policy_names("suites")))
def test_each_suite_can_be_asked_as_it_is_shipped(name: str, tmp_path: Path, models: list[str]) -> None:
    """Its settings are checked with the tasks that it has, and not with another one's."""
    recipe = suite_recipe(load_suite(name), models[0], name="x", runs=tmp_path, data=str(tmp_path), limit=1, changes=[])
    assert recipe.evaluate_on[0] == recipe.train and len(recipe.evaluate_on) == len(load_suite(name).tasks)


@pytest.mark.parametrize("recipe", sorted(policy_names("recipes")))
def test_each_recipe_says_how_to_ask(recipe: str, models: list[str]) -> None:
    """What its rounds would need is not asked for where there are none."""
    assert load_ask("prompts/everyday", models[0], None, recipe, None, 5, "x").rounds == 0


def test_suites_are_listed() -> None:
    code, output, _ = call("list", "suites")
    assert code == 0 and all(name in output for name in ("mmlu", "bbh", "bbh-direct", "word-problems"))


@pytest.mark.long
@pytest.mark.parametrize(("name", "count"), [("mmlu", 57), ("bbh", 27)])
def test_all_tasks_of_a_benchmark_in_one_run(
    name: str, count: int, tmp_path: Path, models: list[str], data_folder: Path
) -> None:
    """With the shots of the dev split; the averages are those of the harness's formulas on the same answers."""
    data = data_folder / name
    if name == "mmlu":
        data = tmp_path / "mmlu"
        data.mkdir()
        (data / "test").symlink_to(data_folder / "mmlu" / "test")
        (data / "dev").symlink_to(data_folder / "mmlu-dev" / "dev")
    found, said = evaluate(name, models[:1], tmp_path / "runs", "--path", str(data), "--limit", "1",
                           "--set", "evaluate.max_tokens=4")  # fmt: skip
    assert f"{count} problems of {count} tasks" in said
    [one] = found["models"]
    assert len(one["tasks"]) == count
    decided = [task for task in one["tasks"].values() if task["n"]]
    whole = one["averages"][-1]
    if decided:
        assert whole["micro"]["value"] == pytest.approx(
            sum(t["correct"] for t in decided) / sum(t["n"] for t in decided)
        )
        assert whole["macro"]["value"] == pytest.approx(sum(t["correct"] / t["n"] for t in decided) / len(decided))
