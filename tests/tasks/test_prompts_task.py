"""Open prompts from files: a user's own, and the project's."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import PromptsTask
from selfimprove.tasks import check_disjoint, load_task
from selfimprove.tasks.base import PoolTask, question_key

GOOD = {"prompt": "How are you?"}
EXPECTED = ':2: expected an object such as {"prompt": "…", "tag": "…"}'


def write_rows(path: Path, rows: list[Any]) -> str:
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows), encoding="utf-8")
    return str(path)


def load(path: str | None, name: str = "prompts/mine", **settings: Any) -> PoolTask:
    task = load_task(PromptsTask(name=name, path=path, **settings))
    assert isinstance(task, PoolTask)
    return task


def many(count: int = 12) -> list[Any]:
    return [{"prompt": f"Tell me about {at}.", "tag": "odd" if at % 2 else "even"} for at in range(count)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", ":2: not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        ("How?", ":2: not JSON (Expecting value: line 1 column 1 (char 0))"),
        (["How?"], EXPECTED),
        ('"How?"', EXPECTED),
        ("null", EXPECTED),
        ({}, EXPECTED),
        ({"question": "How?"}, EXPECTED),
        ({"prompt": ""}, EXPECTED),
        ({"prompt": " \n"}, EXPECTED),
        ({"prompt": 7}, EXPECTED),
        ({"prompt": ["How?"]}, EXPECTED),
        ({"prompt": "How?", "tag": 7}, EXPECTED),
        ({"prompt": "How?", "tag": None}, EXPECTED),
    ],
    ids=str,
)
def test_a_bad_line_is_named(row: Any, message: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "own.jsonl", [GOOD, row, *many()])
    with pytest.raises(TaskError) as caught:
        load(path)
    assert str(caught.value) == f"{path}{message}"


def test_a_line_that_is_nested_too_deeply_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "own.jsonl", [GOOD, "[" * 100_000])
    with pytest.raises(TaskError, match="^" + re.escape(f"{path}:2: not JSON (")):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": 0 prompts are too few to train on some and hold others out"),
        (b'{"prompt": "How?"}\n', ": 1 prompts are too few to train on some and hold others out"),
        (b"\xff", ": not a UTF-8 text file"),
        (None, ": No such file or directory"),
    ],
)
def test_a_bad_file_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        load(str(path))
    assert str(caught.value) == f"{path}{message}"


def test_a_name_that_is_not_the_projects_own_needs_a_path() -> None:
    with pytest.raises(TaskError) as caught:
        load(None, "prompts/blue-team")
    assert str(caught.value) == (
        "task 'prompts/blue-team': set 'path' to a file of prompts "
        "(in policies/prompts: asked, everyday, instructions, red-team)"
    )


def test_prompts_are_read_with_their_tags(tmp_path: Path) -> None:
    rows = [{"prompt": " How \ud800 are\u2028you? ", "tag": "risky \udfff", "more": 1}, "", " ", *many(3), GOOD]
    task = load(write_rows(tmp_path / "own.jsonl", rows), held_out=1)
    found = {one.question: one for one in (*task.train(), *task.held_out())}
    assert found.keys() == {"How \ufffd are\u2028you?", "How are you?", *(one["prompt"] for one in many(3))}
    strange = found["How \ufffd are\u2028you?"]
    assert (strange.group, strange.answer, strange.task, strange.level) == ("risky \ufffd", None, "prompts/mine", 0)
    assert found["How are you?"].group == "" and found["Tell me about 1."].group == "odd"


def test_held_out_prompts_are_never_trained_on(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "own.jsonl", [*many(12), {"prompt": "TELL me  about 3.", "tag": "again"}])
    task = load(path, held_out=5)
    assert (len(task.held_out()), len(task.train())) == (5, 7), "the same words in another case are the same prompt"
    check_disjoint([task], task.held_out())
    assert {one.id for one in load(path, held_out=5, limit=3).held_out()} == {one.id for one in task.held_out()}
    limited = {one.id for one in load(path, held_out=5, limit=3).train()}
    assert len(limited) == 3 and limited < {one.id for one in task.train()}
    # However many are asked for, half is left to train on, and the order of the file makes no difference.
    assert len(load(path, held_out=100).held_out()) == 6
    other = load(write_rows(tmp_path / "other.jsonl", many(12)[::-1]), held_out=5)
    assert {one.question for one in other.held_out()} == {one.question for one in task.held_out()}


def test_a_prompt_that_another_task_holds_out_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "own.jsonl", many(12))
    with pytest.raises(TaskError, match="task 'prompts/mine': a training problem is held out too: 'Tell me about"):
        check_disjoint([load(path, held_out=2)], load(path, held_out=6).held_out())


def test_the_projects_own_red_team_prompts_load() -> None:
    task = load(None, "prompts/red-team")
    train, test = task.train(), list(task.held_out())
    assert (len(train), len(test)) == (40, 20)
    check_disjoint([task], test)
    assert len({question_key(one.question) for one in (*train, *test)}) == 60, "a prompt stands there twice"
    assert all(one.answer is None and one.group for one in (*train, *test))
    assert task.levels.keys() == {one.group for one in train} and set(task.levels.values()) == {0}
    drawn = task.draw("risky", 5, seed=1)
    assert len(drawn) == 5 and all(one in train and one.group == "risky" for one in drawn)
