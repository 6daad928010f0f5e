"""The tasks with options are loaded from local copies; mistakes are one line that names the nearest right name."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import Answers, BbhTask, CommonsenseqaTask, MmluTask
from selfimprove.tasks import load_task
from selfimprove.tasks.base import check_disjoint
from selfimprove.tasks.bbh import TASKS, load_bbh, parse_exemplars, parse_options
from selfimprove.tasks.commonsenseqa import load_commonsenseqa
from selfimprove.tasks.mmlu import SUBJECTS, load_mmlu

ROWS = [["2 + 2?", "3", "4", "5", "6", "1"], ['Who said "I, too"?', "he", "she, then", "it", "they", "0"]]


def write_csv(path: Path, rows: list[list[str]], *, header: bool = False, letters: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(["question", "A", "B", "C", "D", "answer"])
        writer.writerows([*row[:-1], "ABCD"[int(row[-1])] if letters else row[-1]] for row in rows)
    return path


def test_commonsenseqa_shows_lettered_options(data_folder: Path) -> None:
    settings = CommonsenseqaTask(
        path=str(data_folder / "commonsenseqa"), held_out=50, limit=40, answers=Answers(strict=True)
    )
    task = load_task(settings)
    assert task.verifier.name == "choice"
    assert task.verifier.answers.strict
    assert (len(task.held_out()), len(task.draw("all questions", 100, 0))) == (50, 40)
    whole = load_commonsenseqa(CommonsenseqaTask(path=settings.path, held_out=10_000))
    first = whole.held_out()[0]
    assert first.question.startswith("A revolving door")
    assert first.question.endswith("Options:\n(A) bank\n(B) library\n(C) department store\n(D) mall\n(E) new york")
    assert (first.answer, first.options[2]) == ("A", "department store")
    check_disjoint([whole], whole.held_out())


@pytest.mark.parametrize("row", ["{}", "[]", '{"answerKey": "F", "question": {"stem": "?", "choices": []}}', "{"])
def test_commonsenseqa_says_which_file_is_not_its_own(tmp_path: Path, row: str) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}_rand_split.jsonl").write_text(row)
    with pytest.raises(TaskError, match=r"train_rand_split\.jsonl: not CommonsenseQA's format"):
        load_commonsenseqa(CommonsenseqaTask(path=str(tmp_path)))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("letters", [True, False])
def test_mmlu_reads_its_files_in_each_place(tmp_path: Path, header: bool, letters: bool) -> None:
    path = write_csv(tmp_path / "mmlu" / "test" / "anatomy_test.csv", ROWS, header=header, letters=letters)
    for place in (path, path.parent, path.parent.parent):
        task = load_mmlu(MmluTask(name="mmlu/anatomy", path=str(place)))
        assert [problem.question for problem in task.held_out()] == [
            "2 + 2?\nA. 3\nB. 4\nC. 5\nD. 6",
            'Who said "I, too"?\nA. he\nB. she, then\nC. it\nD. they',
        ]
        assert [problem.answer for problem in task.held_out()] == ["B", "A"]
        assert task.train() == [] and task.levels == {} and task.draw("anatomy", 3, 0) == []
    write_csv(tmp_path / "mmlu" / "val" / "anatomy_val.csv", [["1 + 1?", "1", "2", "3", "4", "1"]])
    trained = load_mmlu(MmluTask(name="mmlu/anatomy", path=str(path)))
    assert [problem.answer for problem in trained.draw("anatomy", 9, 0)] == ["B"]
    assert trained.levels == {"anatomy": 0}


def test_mmlu_reads_cells_with_line_ends_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "anatomy_test.csv"
    path.write_text(
        'question,A,B,C,D,answer\n"Who\nis "x", then?","a "b" c","d, "e", f","g\nh","i",2\n"Why?","j","k","l","m",3\n'
    )
    first, second = load_mmlu(MmluTask(name="mmlu/anatomy", path=str(path))).held_out()
    assert first.options == ('a "b" c', 'd, "e", f', "g\nh", "i")
    assert (first.answer, second.answer) == ("C", "D")


@pytest.mark.parametrize("text", ["a,b,c\n", "q,1,2,3,4,5\n", "q,1,2,3,4,E\n", "q,1,2,3,1\n"])
def test_mmlu_says_that_a_file_is_not_its_own(tmp_path: Path, text: str) -> None:
    (tmp_path / "anatomy_test.csv").write_text(text)
    with pytest.raises(TaskError, match=r"anatomy_test\.csv: not MMLU's format"):
        load_mmlu(MmluTask(name="mmlu/anatomy", path=str(tmp_path)))


def test_an_unknown_subject_is_named_with_the_nearest(tmp_path: Path, data_folder: Path) -> None:
    assert (len(SUBJECTS), len(TASKS)) == (57, 27)
    for path in (str(data_folder / "mmlu"), None):
        with pytest.raises(TaskError, match="did you mean 'anatomy'"):
            load_mmlu(MmluTask(name="mmlu/anatomie", path=path))
    for path in (str(data_folder / "bbh"), None):
        with pytest.raises(TaskError, match="did you mean 'navigate'"):
            load_bbh(BbhTask(name="bbh/navigat", path=path))
    with pytest.raises(TaskError, match="test/anatomy_test"):
        load_mmlu(MmluTask(name="mmlu/anatomy", path=str(tmp_path)))


def test_options_are_parsed_out_of_a_question() -> None:
    assert parse_options("Options: none.\nWhich?\nOptions:\n(A) one\n(B) two (C) three") == ("one", "two (C) three")
    assert parse_options("Is it?\nOptions:\n- Yes \n- No") == ("Yes", "No")
    assert parse_options("Is it (A) or (B)?") == ()


def test_bbh_brings_its_worked_problems(data_folder: Path) -> None:
    for name in sorted(TASKS):
        task = load_task(BbhTask(name=f"bbh/{name}", path=str(data_folder / "bbh"), held_out=1000))
        assert len(task.exemplars) == 3
        numbers = name in ("multistep_arithmetic_two", "object_counting")
        assert task.verifier.name == ("math" if numbers else "choice")
        train = task.draw(name.replace("_", " "), 1000, 0)
        assert 0 <= len(train) - len(task.held_out()) <= 1
        check_disjoint([task], task.held_out())
        shown = {exemplar.question for exemplar in task.exemplars}
        assert not shown & {problem.question for problem in [*train, *task.held_out()]}
        for exemplar in task.exemplars:
            assert exemplar.rationale.startswith("Let's think step by step.")
            assert "So the answer is" not in exemplar.rationale
            assert exemplar.answer and "BENCHMARK" not in exemplar.question


def test_bbh_needs_no_worked_problems(data_folder: Path, tmp_path: Path) -> None:
    shutil.copy(data_folder / "bbh" / "navigate.json", tmp_path)
    assert load_bbh(BbhTask(name="bbh/navigate", path=str(tmp_path))).exemplars == ()
    (tmp_path / "navigate.json").write_text(json.dumps({"examples": [{"input": "?"}]}))
    with pytest.raises(TaskError, match=r"navigate\.json: not BIG-Bench Hard's format"):
        load_bbh(BbhTask(name="bbh/navigate", path=str(tmp_path)))
    with pytest.raises(ValueError, match="no worked answer"):
        parse_exemplars("canary\n-----\nTask.\n\nQ: Why?\nA: Because.")
