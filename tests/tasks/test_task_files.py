"""Tasks that are read from files: a user's own, and the public ones."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import TaskError
from selfimprove.prompting.prompts import load_exemplars
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.task_settings import AsdivTask, Gsm8kTask, JsonlTask, SvampTask
from selfimprove.records import Problem
from selfimprove.tasks import Task, check_disjoint, load_task
from selfimprove.tasks.base import PoolTask, question_key
from selfimprove.verifiers.numbers import read_number
from selfimprove.verifiers.response_file import make_problem


def write_rows(path: Path, rows: list[Any]) -> str:
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows), encoding="utf-8")
    return str(path)


def rows(count: int = 10) -> list[dict[str, Any]]:
    return [{"question": f"How many is {number}?", "answer": number} for number in range(count)]


def every(task: Task) -> list[Problem]:
    assert isinstance(task, PoolTask)
    return [*task.train(), *task.held_out()]


GOOD = {"question": "Q?", "answer": "7"}


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ("{", {}, ":2: not JSON (Expecting property name"),
        ("nothing", {}, ":2: not JSON (Expecting value"),
        ("[" * 100_000, {}, ":2: not JSON ("),
        ([1, 2], {}, ':2: expected an object such as {"question": …, "answer": …}'),
        ("7", {}, ":2: expected an object"),
        ({"q": "Q?", "answer": 1}, {}, ":2: no key 'question' (keys: 'q', 'answer'); name yours with 'train.question'"),
        ({"question": "Q?"}, {}, ":2: no key 'answer' (keys: 'question'); name yours with"),
        ({}, {}, ":2: no key 'question' (keys: none)"),
        (GOOD, {"question": "q"}, ":1: no key 'q'"),
        ({**GOOD, "question": "  "}, {}, ":2: 'question' is not a text"),
        ({**GOOD, "question": 7}, {}, ":2: 'question' is not a text"),
        ({**GOOD, "question": None}, {}, ":2: 'question' is not a text"),
        ({**GOOD, "answer": [7]}, {}, ":2: 'answer' is neither a text nor a number"),
        ({**GOOD, "answer": {"value": 7}}, {}, ":2: 'answer' is neither a text nor a number"),
        ({**GOOD, "level": "hard"}, {"level": "level"}, ":2: 'level' is not a whole number"),
        ({**GOOD, "level": 1.5}, {"level": "level"}, ":2: 'level' is not a whole number"),
        ({**GOOD, "level": True}, {"level": "level"}, ":2: 'level' is not a whole number"),
        ({**GOOD, "level": None}, {"level": "level"}, ":2: 'level' is not a whole number"),
    ],
    ids=lambda one: str(one)[:50],
)
def test_a_bad_line_is_named(row: Any, settings: dict[str, str], message: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "own.jsonl", [GOOD, row, *rows()])
    with pytest.raises(TaskError, match="^" + re.escape(f"{path}{message}")):
        load_task(JsonlTask(path=path, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": holds no problem"),
        (b"\n \n", ": holds no problem"),
        (b'{"question": "Q?", "answer": 1}', ": 1 problems are too few to train on some and hold others out"),
        (b"\xff", ": not a UTF-8 text file"),
        (None, ": No such file or directory"),
    ],
)
def test_a_bad_file_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TaskError, match="^" + re.escape(f"{path}{message}")):
        load_task(JsonlTask(path=str(path)))


def test_own_problems_are_read_as_they_are(tmp_path: Path) -> None:
    lines = [
        '{"q": " 1 + 1? ", "a": " 2 ", "grade": 3, "more": []}',
        "",
        '{"q": "half \\ud800 line\u2028end", "a": "x\\udfff"}\r',
        '{"q": "open", "a": null}',
        '{"q": "float", "a": 7.5, "grade": -1}',
    ]
    path = write_rows(tmp_path / "own.jsonl", lines)
    task = load_task(JsonlTask(path=path, question="q", answer="a", level="grade", compare="text", held_out=1))
    assert task.verifier.name == "text"
    found = {one.question: one for one in every(task)}
    assert {question: one.answer for question, one in found.items()} == {
        "1 + 1?": "2", "half \ufffd line\u2028end": "x\ufffd", "open": None, "float": "7.5",
    }  # fmt: skip
    assert {question: one.level for question, one in found.items()} == {
        "1 + 1?": 3, "half \ufffd line\u2028end": 0, "open": 0, "float": -1,
    }  # fmt: skip
    assert isinstance(task, PoolTask)
    assert task.levels == {f"level {one.level}": one.level for one in task.train()}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (5, "5"), (7.5, "7.5"), (True, "true"), (" 5 ", "5"), (None, None), ("", None), (" \n", None), ("####", None),
        ("Two and three.\n#### 1,234", "1,234"), ("#### 1\n#### 5", "5"), ("x\ud800", "x\ufffd"),
        (r"So we get $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        (r"\boxed{5}", r"\boxed{5}"),
        (r"$\boxed{5}$", r"$\boxed{5}$"),
        (r"\boxed{1} or \boxed{2}", r"\boxed{1} or \boxed{2}"), (r"so \boxed{5", r"so \boxed{5"),
        ("5 apples", "5 apples"),
    ],
)  # fmt: skip
def test_an_expected_answer_is_read_in_one_way(written: Any, expected: str | None, tmp_path: Path) -> None:
    """In a task's file as in a file of responses, and as `verify` reads it."""
    path = write_rows(tmp_path / "own.jsonl", [{"question": "Q?", "answer": written}, *rows(3)])
    (task,) = (one for one in every(load_task(JsonlTask(path=path))) if one.question == "Q?")
    assert (task.answer, make_problem(written).answer) == (expected, expected)


def test_what_is_odd_about_answers_is_remarked_with_its_lines(tmp_path: Path) -> None:
    asked = [*rows(4), {"question": "how many is  1?", "answer": "7"}, {"question": "How many is 2?", "answer": "2"}]
    path = write_rows(tmp_path / "own.jsonl", [*asked, {"question": "Q?", "answer": ""}])
    both = load_task(JsonlTask(path=path, held_out=2))
    assert isinstance(both, PoolTask)
    assert both.remarks == (
        f"{path}: 1 of 5 problems have no answer (lines 7) and stay undecided",
        f"{path}: the same question has different answers (lines 2 and 5: '1' and '7'); the first one counts",
    )
    assert sorted(str(one.answer) for one in every(both)) == ["0", "1", "2", "3", "None"]
    other = write_rows(tmp_path / "other.jsonl", [*asked[:2], asked[4]])
    apart = load_task(JsonlTask(path=write_rows(tmp_path / "train.jsonl", rows(4)), evaluate_path=other))
    assert isinstance(apart, PoolTask) and len(apart.held_out()) == 2 and f"{other}: the same" in apart.remarks[0]


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    """As some editors write one: problems, exemplars and recipes."""
    plain, marked = tmp_path / "plain.jsonl", tmp_path / "marked.jsonl"
    write_rows(plain, rows())
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    expected, found = (every(load_task(JsonlTask(name="jsonl", path=str(one), held_out=2))) for one in (plain, marked))
    assert found == expected
    exemplars = tmp_path / "exemplars.yaml"
    exemplars.write_bytes(b"\xef\xbb\xbfexemplars: [{question: 'one', answer: '1'}]\n")
    assert [one.question for one in load_exemplars(str(exemplars), None)] == ["one"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_bytes(b"\xef\xbb\xbfname: marked\nmodel: {path: own/model}\ntrain: {name: arithmetic}\nrounds: 0\n")
    assert load_recipe(str(recipe), ()).name == "marked"


def test_own_problems_are_split_or_evaluated_from_a_second_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "own.jsonl", rows(10))
    split = load_task(JsonlTask(path=path, held_out=4))
    assert isinstance(split, PoolTask) and (len(split.train()), len(split.held_out())) == (6, 4)
    assert split.verifier.name == "math" and split.levels == {"level 0": 0}
    limited = load_task(JsonlTask(path=path, held_out=4, limit=2))
    assert set(limited.held_out()) == set(split.held_out()) and len(every(limited)) == 6
    second = write_rows(tmp_path / "second.jsonl", [{"question": "Other?", "answer": 1}, *rows(1)])
    both = load_task(JsonlTask(path=path, evaluate_path=second))
    assert isinstance(both, PoolTask) and len(both.train()) == 10
    assert [one.question for one in both.held_out()] == ["Other?", "How many is 0?"]
    with pytest.raises(TaskError, match=re.escape("'How many is 0?'")):
        check_disjoint([both], both.held_out())


def test_a_bad_line_of_the_second_file_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "own.jsonl", rows(10))
    second = write_rows(tmp_path / "second.jsonl", [GOOD, "{"])
    with pytest.raises(TaskError, match="^" + re.escape(f"{second}:2: not JSON")):
        load_task(JsonlTask(path=path, evaluate_path=second))


def check_pool(task: Task, train: int, test: int) -> None:
    assert isinstance(task, PoolTask)
    assert (len(task.train()), len(task.held_out())) == (train, test)
    assert len({question_key(one.question) for one in every(task)}) == train + test, "a question stands there twice"
    check_disjoint([task], task.held_out())
    assert all(one.answer and read_number(one.answer) is not None for one in every(task))
    assert {one.group: one.level for one in every(task)} == task.levels


def test_gsm8k_has_its_own_split_and_levels_by_steps(data_folder: Path) -> None:
    task = load_task(Gsm8kTask(path=str(data_folder / "gsm8k"), held_out=2000))
    check_pool(task, 7473, 1319)
    assert task.levels == {f"{steps} steps": steps for steps in range(2, 8)} | {"8+ steps": 8}
    ducks = next(one for one in task.held_out() if one.question.startswith("Janet’s ducks lay 16 eggs per day"))
    assert (ducks.answer, ducks.level, ducks.group) == ("18", 2, "2 steps")
    levels = Counter(one.level for one in every(task))
    with (data_folder / "gsm8k" / "train.jsonl").open() as train, (data_folder / "gsm8k" / "test.jsonl").open() as test:
        steps = Counter(min(8, json.loads(line)["answer"].count("\n")) for line in [*train, *test])
    assert levels == steps, "a gold solution has one line a step and the answer's line"


def test_svamp_is_split_and_grouped_by_operation(data_folder: Path) -> None:
    task = load_task(SvampTask(path=str(data_folder / "svamp"), held_out=200))
    check_pool(task, 800, 200)
    given = json.loads((data_folder / "svamp" / "SVAMP.json").read_text())
    types = Counter(one["Type"].replace("Common-Divison", "Common-Division") for one in given)
    assert Counter(one.group for one in every(task)) == types
    first = next(one for one in every(task) if one.question.startswith(given[0]["Body"]))
    assert first.question.endswith(given[0]["Question"]) and float(first.answer or "") == given[0]["Answer"]
    assert set(load_task(SvampTask(path=str(data_folder / "svamp" / "SVAMP.json"))).held_out()) == set(task.held_out())


def test_svamp_joins_body_and_question_and_reads_whole_answers(tmp_path: Path) -> None:
    given = [("Two birds.", 8.0), ("Two cats", 8.5), ("Why?", -1), ("Wow!", 3.0)]
    rows_ = [{"Body": f" {body} ", "Question": " How many? ", "Answer": answer, "Type": "T"} for body, answer in given]
    (tmp_path / "SVAMP.json").write_text(json.dumps(rows_))
    assert {one.question: one.answer for one in every(load_task(SvampTask(path=str(tmp_path))))} == {
        "Two birds. How many?": "8",
        "Two cats. How many?": "8.5",
        "Why? How many?": "-1",
        "Wow! How many?": "3",
    }


ASDIV = """<Problems>
<Problem Grade="2"><Body> Two birds. </Body><Question> How many? </Question><Answer>1,000 (birds)</Answer></Problem>
<Problem Grade="3"><Body>Two cats.</Body><Question>How many?</Question><Answer>2.5</Answer></Problem>
<Problem><Body>Two dogs.</Body><Question>How many?</Question><Answer>-2 (dogs)</Answer></Problem>
<Problem Grade="2"><Body>A pair.</Body><Question>Which?</Question><Answer>2; 3</Answer></Problem>
<Problem Grade="2"><Body>Two ages.</Body><Question>Which?</Question><Answer>5 (years); 15 (years)</Answer></Problem>
<Problem Grade="2"><Body>A time.</Body><Question>When?</Question><Answer>5:30</Answer></Problem>
<Problem Grade="2"><Body>A ratio.</Body><Question>Which?</Question><Answer>2:3</Answer></Problem>
<Problem Grade="4"><Body>Hard.</Body><Question>How many?</Question><Answer>4</Answer></Problem>
</Problems>"""


def test_asdiv_reads_answers_with_units_and_leaves_others_out(tmp_path: Path) -> None:
    (tmp_path / "ASDiv.xml").write_text(ASDIV)
    found = every(load_task(AsdivTask(path=str(tmp_path), grades=(2, 3))))
    assert {one.question: (one.answer, one.level, one.group) for one in found} == {
        "Two birds. How many?": ("1000", 2, "grade 2"),
        "Two cats. How many?": ("2.5", 3, "grade 3"),
        "Two dogs. How many?": ("-2", 0, "all grades"),
    }


def test_asdiv_keeps_the_problems_with_one_number_by_grade(data_folder: Path) -> None:
    task = load_task(AsdivTask(path=str(data_folder / "asdiv"), held_out=200))
    check_pool(task, 1883, 200)
    assert task.levels == {f"grade {grade}": grade for grade in range(1, 7)}
    assert task.leads_to["grade 1"] == () and task.leads_to["grade 3"] == ("grade 2",)
    counts = Counter(one.level for one in every(task))
    assert counts == {1: 194, 2: 325, 3: 799, 4: 291, 5: 128, 6: 346}
    first = next(one for one in every(task) if one.question.startswith("Seven red apples and two green apples"))
    assert (first.answer, first.level) == ("9", 1)


def test_asdiv_can_be_limited_to_grades(data_folder: Path) -> None:
    task = load_task(AsdivTask(path=str(data_folder / "asdiv"), grades=(1, 2), held_out=100, limit=50))
    check_pool(task, 50, 100)
    assert set(task.levels) == {"grade 1", "grade 2"}
    with pytest.raises(TaskError, match=re.escape("no problem of the grades (9,)")):
        load_task(AsdivTask(path=str(data_folder / "asdiv"), grades=(9,)))


@pytest.mark.parametrize(
    ("settings", "files", "message"),
    [
        (Gsm8kTask(), {"train.jsonl": '{"question": "Q?"}'}, "train.jsonl: not GSM8K's format (KeyError: 'answer')"),
        (Gsm8kTask(), {"train.jsonl": "[1]"}, "train.jsonl: not GSM8K's format (TypeError"),
        (Gsm8kTask(), {"train.jsonl": '{"question": "Q?", "answer": 7}'}, "train.jsonl: not GSM8K's format (Attribute"),
        (SvampTask(), {"SVAMP.json": '[{"Body": 7, "Answer": 1}]'}, "SVAMP.json: not SVAMP's format (AttributeError"),
        (Gsm8kTask(), {}, "train.jsonl: No such file or directory"),
        (SvampTask(), {"SVAMP.json": "{"}, "SVAMP.json: not SVAMP's format (JSONDecodeError"),
        (SvampTask(), {"SVAMP.json": '[{"Body": "B"}]'}, "SVAMP.json: not SVAMP's format (KeyError: 'Answer')"),
        (AsdivTask(), {"ASDiv.xml": "<a>"}, "ASDiv.xml: not ASDiv's XML (no element found"),
        (AsdivTask(), {"ASDiv.xml": '<a><Problem Grade="K"/></a>'}, "ASDiv.xml: not ASDiv's XML (the grade 'K' is no"),
        (Gsm8kTask(), {"train.jsonl": "[" * 100_000}, "train.jsonl: not GSM8K's format (RecursionError"),
        (SvampTask(), {"SVAMP.json": "[" * 100_000}, "SVAMP.json: not SVAMP's format (RecursionError"),
    ],
)
def test_a_public_file_of_another_format_is_named(
    settings: Gsm8kTask | SvampTask | AsdivTask, files: dict[str, str], message: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(TaskError, match="^" + re.escape(f"{tmp_path}/{message}")):
        load_task(settings.model_copy(update={"path": str(tmp_path)}))
