"""Problems from data of any form, each with good and with bad rows."""

import csv
import datetime
import gzip
import json
import pickle
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfimprove.errors import RecipeError, TaskError
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.task_settings import DatasetTask
from selfimprove.records import Problem
from selfimprove.tasks import load_task
from selfimprove.tasks.base import PoolTask
from selfimprove.tasks.dataset import Read, read_problems

GOOD: list[dict[str, Any]] = [
    {"question": f"How many is {at}?", "answer": str(at), "level": at % 2, "kind": "ab"[at % 2], "more": "x" * at}
    for at in range(8)
]
BAD = {**GOOD[0], "question": "", "answer": "1"}
ROWS = [*GOOD[:3], BAD, *GOOD[3:]]


def read(path: Path | str, split: str = "train", **settings: Any) -> Read:
    asked = DatasetTask(path=str(path), **settings)
    return read_problems(asked.path, asked, split)


def load(path: Path | str, **settings: Any) -> PoolTask:
    task = load_task(DatasetTask(path=str(path), **settings))
    assert isinstance(task, PoolTask)
    return task


def answers(found: Read) -> dict[str, str | None]:
    return {one.question: one.answer for one in found.problems.values()}


def lines(rows: list[Any]) -> str:
    return "".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in rows)


def cells(rows: list[dict[str, Any]], path: Path, delimiter: str) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer", "level", "kind", "more"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_arrow(path: Path, new: Callable[[Any, pa.Schema], Any]) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def packed(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def make(form: str, folder: Path) -> Path:
    """The same rows in a form; the fourth one is bad."""
    path = folder / f"data.{form.removesuffix('.gz')}"
    if form in ("jsonl", "ndjson", "jsonl.gz"):
        path.write_text(lines(ROWS), encoding="utf-8-sig")
    elif form in ("json", "json.gz"):
        path.write_text(json.dumps(ROWS, indent=1))
    elif form == "held.json":
        path.write_text(json.dumps({"version": 1, "data": ROWS}))
    elif form == "lines.json":
        path.write_text(lines(ROWS))
    elif form in ("csv", "csv.gz"):
        cells(ROWS, path, ",")
    elif form == "tsv":
        cells(ROWS, path, "\t")
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=3)
    elif form == "stream.arrow":
        write_arrow(path, pa.ipc.new_stream)
    elif form == "file.arrow":
        write_arrow(path, pa.ipc.new_file)
    elif form == "saved":
        datasets.Dataset.from_list(ROWS).save_to_disk(path)
    elif form == "splits":
        whole = datasets.Dataset.from_list(ROWS)
        datasets.DatasetDict({"train": whole, "test": whole.select(range(2))}).save_to_disk(path)
    if form.endswith(".gz"):
        packed(path)
        return path.with_name(path.name + ".gz")
    return path


PLACES = {"csv": "line 5", "csv.gz": "line 5", "tsv": "line 5", "json": "line 23", "json.gz": "line 23"}
PLACES |= dict.fromkeys(("jsonl", "ndjson", "jsonl.gz", "lines.json"), "line 4")
FORMS = (*PLACES, "held.json", "parquet", "stream.arrow", "file.arrow", "saved", "splits")


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_problems_and_names_its_bad_row(form: str, tmp_path: Path) -> None:
    path = make(form, tmp_path)
    settings: dict[str, Any] = {"level": "level", "where": {"kind": ["a", "b"]}}
    found = read(path, **settings)
    assert answers(found) == {row["question"]: row["answer"] for row in GOOD}
    assert {one.question: one.level for one in found.problems.values()} == {
        row["question"]: row["level"] for row in GOOD
    }
    place = PLACES.get(form, "row 4")
    assert found.bad == [f"{place}: 'question' is empty"]
    task = load(path, held_out=3, **settings)
    assert (len(task.held_out()), len(task.train()), task.left_out) == (3, 5, 1)
    assert sorted(task.levels.values()) == [0, 1]
    said = f"{path}: 1 of 9 rows make no problem and are left out ({place}: 'question' is empty)"
    assert task.remarks == (said,)
    with pytest.raises(TaskError, match=f"^{path}: {place}: 'question' is empty$"):
        read(path, bad="stop", **settings)
    with pytest.raises(
        TaskError, match=r"holds no problem; .*: no column 'q' \(columns: 'question', 'answer', 'level'"
    ):
        read(path, question="q", **settings)
    # Which form it was makes no difference to the run's fingerprints.
    assert task.fingerprint() == load(make("jsonl", tmp_path), held_out=3, **settings).fingerprint()


def test_another_split_or_file_is_held_out(tmp_path: Path) -> None:
    splits, single = make("splits", tmp_path), make("saved", tmp_path)
    task = load(splits, evaluate_split="test")
    assert {one.question for one in task.held_out()} == {"How many is 0?", "How many is 1?"}
    assert len(task.train()) == 6
    assert f"{splits}: 2 problems are held out too, and are not trained on" in task.remarks
    other = tmp_path / "other.csv"
    other.write_text("question,answer\nHow far?,7\n")
    assert [one.answer for one in load(single, evaluate_path=str(other)).held_out()] == ["7"]
    for path in (single, make("csv", tmp_path)):
        with pytest.raises(TaskError, match="has no splits; name what is held out with 'evaluate_path'"):
            load(path, evaluate_split="test")
    with pytest.raises(TaskError, match="its split is 'dev'"):
        load(splits, split="dev")


def test_a_folder_of_files_is_read_by_its_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    cells(GOOD, tmp_path / "data/train.csv", ",")
    cells(GOOD[:2], tmp_path / "data/test.csv", ",")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert len(load(tmp_path / "data", evaluate_split="test").train()) == 6
    # As on the hub, where a data set may have several.
    cells([*GOOD[:4], BAD], tmp_path / "data/few.csv", ",")
    files = {"whole": "train.csv", "few": "few.csv"}
    configs = [{"config_name": name, "data_files": [{"split": "train", "path": file}]} for name, file in files.items()]
    (tmp_path / "data/README.md").write_text(f"---\n{json.dumps({'configs': configs})}\n---\n")
    found = read(tmp_path / "data", config="few")
    assert (len(found.problems), found.bad) == (4, ["row 5: 'question' is not a text"])
    assert len(read(tmp_path / "data", config="whole").problems) == len(GOOD)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("7", "7"), (" 7 ", "7"), (7, "7"), (0.5, "0.5"), (True, "true"), (False, "false"), (None, None), ("", None),
        ("so it is\n#### 12", "12"), (["Paris"], "Paris"), (["Paris", "Paris"], "Paris"), ([2, 3], "2, 3"), ([], None),
    ],
)  # fmt: skip
def test_answers_of_any_plain_form(answer: Any, expected: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([{"question": "Q?", "answer": answer}]))
    found = read(path)
    assert answers(found) == {"Q?": expected}
    assert any("have no answer" in one for one in found.remarks()) == (expected is None)


@pytest.mark.parametrize(
    ("row", "settings", "reason"),
    [
        ("{\n", {}, "not JSON ("),
        ("[" * 100_000 + "\n", {}, "not JSON ("),
        ([1], {}, "is no object with columns"),
        ({"answer": 1}, {}, "no column 'question' (columns: 'answer'); name yours with 'train.question'"),
        ({"question": "Q?"}, {}, "no column 'answer' (columns: 'question'); name yours with 'train.answer'"),
        ({"question": 7, "answer": 1}, {}, "'question' is not a text"),
        ({"question": "Q?", "answer": {"a": 1}}, {}, "'answer' is neither a text, a number, true or false, nor a list"),
        ({"question": "Q?", "answer": [{"a": 1}]}, {}, "'answer' is neither a text"),
        ({"question": "Q?", "answer": [[1]]}, {}, "'answer' is a list with something in it that is no answer"),
        ({"question": "Q?", "answer": [1, None]}, {}, "'answer' is a list with something in it that is no answer"),
        ('{"question": "Q?", "answer": NaN}\n', {}, "'answer' is not a number"),
        ({"question": "Q?", "answer": 1, "l": "x"}, {"level": "l"}, "'l' is not a whole number"),
        ({"question": "Q?", "answer": 1, "l": 1.5}, {"level": "l"}, "'l' is not a whole number"),
        ({"question": "Q?", "answer": 1, "l": True}, {"level": "l"}, "'l' is not a whole number"),
        ({"question": "Q?", "answer": 1, "l": 10**9}, {"level": "l"}, "'l' is not a whole number"),
        ({"question": "Q?", "answer": 4, "o": ["x", "y"]}, {"options": "o"}, "the answer is the option 4, and there"),
        ({"question": "Q?", "answer": 1, "o": "xy"}, {"options": "o"}, "'o' is not a list of options"),
        ({"question": "Q?", "answer": 1}, {"where": {"k": 1}}, "no column 'k'"),
        ({"m": "hello", "answer": 1}, {"messages": "m"}, "'m' is no list of turns"),
        ({"m": [{"role": "judge", "content": "x"}]}, {"messages": "m"}, "'m' has a turn that is not {role: system"),
        ({"m": [{"role": "user", "content": [1]}]}, {"messages": "m"}, "'m' has a turn that is not"),
        ({"m": [{"role": "assistant", "content": "x"}]}, {"messages": "m"}, "'m' has no turn of the user at its end"),
    ],
    ids=lambda one: str(one)[:40],
)  # fmt: skip
def test_a_bad_row_is_named_with_its_reason(row: Any, settings: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    fine = {"question": "Q?", "answer": "7", "l": 1, "o": ["x", "y"], "k": 1, "m": [{"role": "user", "content": "Q?"}]}
    path.write_text(lines([{**fine, "answer": "A"}, row]))
    found = read(path, **settings)
    assert len(found.problems) == 1
    assert len(found.bad) == 1 and found.bad[0].startswith(f"line 2: {reason}"), found.bad
    assert next(found.remarks()).startswith(f"{path}: 1 of 2 rows make no problem and are left out (line 2: ")


def test_columns_by_path_options_and_conversations(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = {
        "in": {"text": "Which?", "a.b": "Dotted?"},
        "choices": {"text": ["red", "blue"], "label": ["A", "B"]},
        "key": 1,
        "solutions": [{"final": "12"}],
        "chat": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "4"},
            {"from": "human", "value": "And 1 more?"},
            {"role": "assistant", "content": "so\n#### 5"},
        ],
        "short": [{"role": "user", "content": "Hi?"}],
    }
    path.write_text(lines([row]))

    def only(**settings: Any) -> Problem:
        (problem,) = read(path, **settings).problems.values()
        return problem

    picked = only(question="in.text", answer="key", options="choices.text", compare="choice")
    assert (picked.question, picked.answer, picked.options) == ("Which?", "B", ("red", "blue"))
    assert only(question="in.a.b", answer="solutions.0.final").question == "Dotted?"
    assert only(question="in.a.b", answer="solutions.0.final").answer == "12"
    talk = only(messages="chat")
    assert talk.question == "Be brief.\n\nUser: 2+2?\n\nAssistant: 4\n\nUser: And 1 more?"
    assert talk.answer == "5"
    single = only(messages="short", answer="key")
    assert (single.question, single.answer) == ("Hi?", "1")


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"k": "a"}, [0, 2, 4]), ({"k": ["a", "b"]}, [0, 1, 2, 3, 4, 5]), ({"n": 3}, [3]), ({"n": "3"}, [3]),
        ({"n": {"at_least": 2, "at_most": 3}}, [2, 3]), ({"n": {"at_least": 4}}, [4, 5]), ({"t": True}, [0, 1, 2]),
        ({"k": "a", "n": {"at_most": 2}}, [0, 2]), ({"none": None}, [0, 1, 2, 3, 4, 5]), ({"none": "x"}, []),
        ({"deep.x": 1}, [1]), ({"t": 1}, []),
    ],
)  # fmt: skip
def test_the_filter(where: dict[str, Any], kept: list[int], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"question": f"{at}?", "answer": at, "k": "ab"[at % 2], "n": at, "t": at < 3, "none": None, "deep": {"x": at}}
        for at in range(6)
    ]
    path.write_text(lines(rows))
    if not kept:
        with pytest.raises(TaskError, match=r"holds no problem that passes 'train\.where'"):
            read(path, where=where)
        return
    assert [one.answer for one in read(path, where=where).problems.values()] == [str(at) for at in kept]
    first = read(path, where=where, rows=1)
    assert (list(answers(first).values()), first.passed) == ([str(kept[0])], 1)


def test_repeated_questions_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,answer\nHow many?,1\nhow  MANY?,1\nHow many?,2\n\nWhat?,\n")
    found = read(path)
    assert answers(found) == {"How many?": "1", "What?": None}
    assert list(found.remarks()) == [
        f"{path}: 2 of 4 rows repeat a question and are left out (line 2 and line 3; line 2 and line 4)",
        f"{path}: 1 questions have different answers, of which the first one counts (line 2 and line 4: '1' and '2')",
        f"{path}: 1 of 2 problems have no answer and stay undecided (line 6)",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"question,answer\n\"open,1\n", ":2: not CSV (unexpected end of data)"),
        ("a.csv", b"question,question\n1,2\n", ":1: two columns are called 'question'"),
        ("a.csv", b"question,answer\na,b,c\n", ": holds no problem; line 2: 3 cells instead of 2"),
        ("a.csv", b"", ": holds no problem"),
        ("a.csv", b"\xff\xfe", ": not a UTF-8 text file"),
        ("a.json", b'[{"question": "a"', ":1: not JSON (Expecting ',' delimiter)"),
        ("a.json", b'[\n{"question": "Q?", "answer": 1}\n{"a": 1}]', ":2: not JSON (a comma or the array's end is"),
        ("a.json", b'{"a": [1],\n "b": [2]}', ": expected an array of objects, an object that holds one such array"),
        ("a.json", b"7", ": expected an array of objects"),
        ("a.jsonl.gz", b"no gzip", ": Not a gzipped file"),
        ("a.parquet", b"PAR1 no", ": cannot be read as Parquet ("),
        ("a.arrow", b"no arrow at all", ": cannot be read as Arrow ("),
        ("a.arrow", b"", ": cannot be read as Arrow ("),
        ("a.pkl", pickle.dumps(GOOD), ": is of no known form; known are .jsonl,"),
        ("a.parquet.gz", b"", ": is of no known form"),
        ("a", b"", ": is of no known form"),
        ("missing.csv", None, ": there is no such file, and it is no name on the hub"),
        ("a b", None, ": there is no such file, and it is no name on the hub"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TaskError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}{message}"), raised.value


def test_tables_of_other_types_name_their_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({
        "question": ["a?", "b?"],
        "answer": pa.array([Decimal("1.50"), None]),
        "day": [datetime.date(2020, 1, 1), None],
    })  # fmt: skip
    pq.write_table(table, path)
    assert answers(read(path)) == {"a?": "1.50", "b?": None}
    assert read(path, answer="day").bad == [
        "row 1: 'day' is neither a text, a number, true or false, nor a list of them"
    ]


def test_a_query_over_parquet(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for at in range(3):
        pq.write_table(pa.Table.from_pylist([{"q": f"{at}{more}?", "n": at, "parts": [1] * more} for more in range(3)]),
                       folder / f"{at}.parquet")  # fmt: skip
    query = "SELECT q AS question, n + len(parts) AS answer FROM data WHERE n >= 1 ORDER BY q DESC"
    found = read(folder, sql=query)
    assert answers(found) == {"22?": "4", "21?": "3", "20?": "2", "12?": "3", "11?": "2", "10?": "1"}
    assert list(answers(read(folder, sql=query, rows=2))) == ["22?", "21?"]
    assert len(read(folder / "0.parquet", sql="SELECT q AS question, n AS answer FROM data").problems) == 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT q AS question FROM other", "'sql' cannot be run (Catalog Error"),
        ("SELEC", "'sql' cannot be run (Parser Error"),
        ("", "'sql' is not one SELECT"),
        ("SELECT 1; SELECT 2", "'sql' is not one SELECT"),
        ("COPY data TO '{folder}/out.csv'", "'sql' is not one SELECT"),
        ("COPY (SELECT 1) TO '{folder}/a.parquet'", "'sql' is not one SELECT"),
        ("CREATE TABLE t AS SELECT 1", "'sql' is not one SELECT"),
        ("SET lock_configuration = false", "'sql' is not one SELECT"),
        ("INSTALL httpfs", "'sql' is not one SELECT"),
        ("ATTACH '{folder}/x.db'", "'sql' is not one SELECT"),
        ("SELECT content AS question FROM read_text('{folder}/secret.txt')", "'sql' cannot be run (Permission"),
        ("SELECT question, answer FROM '{folder}/other.csv'", "'sql' cannot be run (Permission"),
        ("SELECT file AS question, 1 AS answer FROM glob('{folder}/*')", "'sql' cannot be run (Permission"),
    ],
)  # fmt: skip
def test_a_query_reads_its_files_alone_and_writes_nothing(query: str, message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["a?"], "answer": [1]}), tmp_path / "a.parquet")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "other.csv").write_text("question,answer\nb?,1\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TaskError) as raised:
        read(tmp_path / "a.parquet", sql=query.replace("{folder}", str(tmp_path)))
    assert message in str(raised.value) and "secret" not in str(raised.value).replace("secret.txt", "")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(TaskError, match=r"'sql' needs a \.parquet file"):
        read(tmp_path / "other.csv", sql="SELECT 1")


def test_no_code_of_a_data_set_is_run(tmp_path: Path) -> None:
    """A script beside the data, as data sets once had, and a pickle in a folder."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "set.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (folder / "train.pkl").write_bytes(pickle.dumps(GOOD))
    with pytest.raises(TaskError, match="cannot be read"):
        read(folder)
    assert not (tmp_path / "ran").exists()


def test_a_recipe_names_a_file_beside_it(tmp_path: Path) -> None:
    make("csv", tmp_path)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: r\nmodel: {path: m}\n"
        "train: {name: dataset, path: data.csv, where: {kind: [a, b], level: {at_most: 1}}}\n"
    )
    task = load_recipe(str(recipe)).train
    assert len(load_task(task).held_out()) == 4
    for change, said in (
        ("train={name: dataset}", "'train.path' is missing"),
        ("train.bad=maybe", "'train.bad' is 'maybe'; known: skip, stop"),
        ("train.where={kind: {least: 1}}", "is 'least'; known: at_least, at_most"),
        ("train.where={kind: {at_least: x}}", "'train.where.kind.span.at_least' must be a number"),
        ("train.trust_remote_code=true", "unknown key 'trust_remote_code'"),
    ):
        with pytest.raises(RecipeError) as raised:
            load_recipe(str(recipe), [change])
        assert said in str(raised.value), raised.value
