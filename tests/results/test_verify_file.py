"""`selfimprove verify`: a file of responses, its totals, and a user's mistakes."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_cli import call

ROWS: list[dict[str, object]] = [
    {"q": "I had 3 and got 4. How many?", "a": 7, "r": ["3 + 4 = 7. The answer is 7.", "3 + 4 = 8. The answer is 8."]},
    {"q": "I had 3 and got 4. How many?", "a": "so 7\n#### 7", "r": "3 + 4 = 8. The answer is 7."},
    {"q": "How many?", "a": "seven", "r": "7"},
    {"q": "Half?", "a": "\\frac{\\sqrt{2}}{2}", "r": "$\\frac{1}{\\sqrt{2}}$"},
    {"q": "Comma?", "a": "1.234", "r": "The answer is 1,234."},
    {"q": "Bad", "a": "7", "r": 7},
]
ARGUMENTS = ("--response", "r", "--answer", "a", "--question", "q")


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [json.dumps(row) for row in ROWS]
    (tmp_path / "rows.jsonl").write_text("\n".join([*lines[:3], "{not json", "", *lines[3:]]) + "\n")
    return tmp_path


def test_totals_reasons_steps_and_what_could_not_be_read(folder: Path) -> None:
    done = call("verify", "rows.jsonl", *ARGUMENTS, "--out", "out.jsonl", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    totals = json.loads(done.stdout)
    assert totals["outcomes"] == {"correct": 4, "incorrect": 1, "undecided": 1}
    assert totals["steps"] == {"correct": 1, "incorrect": 2} and totals["wrong_reason"] == 1
    assert totals["unreadable"] == {"not a JSON object": 1, "'r' is neither a text nor a list of texts": 1}
    assert {one["reason"] for one in totals["reasons"]} >= {"equal as whole numbers", "equal as formulas", "not equal"}
    out = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [(one["line"], one["sample"], one["outcome"]) for one in out] == [
        (1, 0, "correct"), (1, 1, "incorrect"), (2, 0, "correct"), (3, 0, "correct"), (6, 0, "correct"),
        (7, 0, "undecided"),
    ]  # fmt: skip
    assert out[0]["expected"] == "7" and out[0]["extracted"] == "7" and out[2]["reasoning"] == "incorrect"
    assert out[2]["steps"][0]["reason"] == "3 + 4 is 7, not 8"
    assert not (folder / "out.jsonl.partial").exists()


def test_tables_for_people(folder: Path) -> None:
    with (folder / "rows.jsonl").open("a") as file:
        file.write(json.dumps({"q": "?", "a": "8", "r": "The answer is 7. The answer is 8."}) + "\n")
    done = call("verify", "rows.jsonl", *ARGUMENTS, "--second", "math-verify", folder=folder)
    assert done.returncode == 0, done.stderr
    for shown in (
        "correct", "57.1%", "Undecided", "may set off decimals", "right answers by a wrong step: 1",
        "Second verifier: agrees on", "Where they differ", "Not judged: 1 × not a JSON object", "(lines 4, 8)",
        "7 responses in",
    ):  # fmt: skip
        assert shown in done.stdout, (shown, done.stdout)


def test_a_second_verifier_sees_only_a_share(folder: Path) -> None:
    rows = [json.dumps({"response": f"The answer is {at}.", "answer": at}) for at in range(200)]
    (folder / "many.jsonl").write_text("\n".join(rows))
    done = call("verify", "many.jsonl", "--second", "text", "--share", "0.5", "--json", folder=folder)
    checked = sum(one["count"] for one in json.loads(done.stdout)["second"])
    assert 60 < checked < 140


@pytest.mark.parametrize(
    ("arguments", "outcomes"),
    [
        (["--verifier", "text"], {"correct": 1, "incorrect": 1, "undecided": 0}),
        (["--strict"], {"correct": 1, "incorrect": 1, "undecided": 0}),
        (["--tolerance", "0.1"], {"correct": 2, "incorrect": 0, "undecided": 0}),
        (["--stated"], {"correct": 0, "incorrect": 2, "undecided": 0}),
    ],
)
def test_options_reach_the_verifier(arguments: Sequence[str], outcomes: dict[str, int], folder: Path) -> None:
    (folder / "two.jsonl").write_text('{"response": "7.00", "answer": "7"}\n{"response": "7.05", "answer": "7.05"}\n')
    if arguments == ["--tolerance", "0.1"]:
        (folder / "two.jsonl").write_text('{"response": "7.01", "answer": 7}\n{"response": "7.05", "answer": 7}\n')
    done = call("verify", "two.jsonl", *arguments, "--json", folder=folder)
    assert json.loads(done.stdout)["outcomes"] == outcomes


def test_choices_are_judged_by_their_options(folder: Path) -> None:
    row = {"response": "The answer is (B).", "answer": "B", "options": ["here", "there"]}
    (folder / "choice.jsonl").write_text(json.dumps(row))
    arguments = ("--verifier", "choice", "--options", "options")
    done = call("verify", "choice.jsonl", *arguments, "--json", folder=folder)
    assert json.loads(done.stdout)["outcomes"]["correct"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.jsonl",), "none.jsonl: No such file or directory"),
        (("rows.jsonl",), "rows.jsonl:1: no key 'response'; known: a, q, r; name yours with --response"),
        (("rows.jsonl", *ARGUMENTS[:2], "--answer", "x"), "no key 'x'; known: a, q, r; name yours with --answer"),
        (("rows.jsonl", "--verifier", "maths"), "unknown verifier 'maths'; did you mean 'math'?"),
        (("rows.jsonl", "--verifier", "reasoning_gym/nope"), "unknown data set 'nope' of reasoning-gym"),
        (("rows.jsonl", "--verifier", "judge"), "the verifier 'judge' needs --judge-model"),
        (("rows.jsonl", "--units", "metric"), "--units: must be 'ignore' or 'match'"),
        (("empty.jsonl",), "empty.jsonl: holds no response that can be read (it is empty)"),
        (("rows.jsonl", *ARGUMENTS, "--out", "no/such/out.jsonl"), "no/such/out.jsonl: No such file or directory"),
        (("rows.jsonl", "--limit", "0"), "Invalid value for '--limit'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: Sequence[str], message: str, folder: Path) -> None:
    (folder / "empty.jsonl").write_text("")
    done = call("verify", *arguments, folder=folder)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_where_the_verdicts_are_written_is_never_the_wrong_place(folder: Path) -> None:
    (folder / "adir").mkdir()
    before = (folder / "rows.jsonl").read_bytes()
    for out, message in (
        ("adir", "--out adir: is a folder; name a file in it"),
        (".", "--out .: is a folder; name a file in it"),
        ("rows.jsonl", "--out rows.jsonl: is the file that is judged; name another one"),
        ("none/out.jsonl", "--out none/out.jsonl: No such file or directory"),
    ):
        done = call("verify", "rows.jsonl", *ARGUMENTS, "--out", out, folder=folder)
        assert (done.returncode, done.stderr) == (2, f"selfimprove: {message}\n")
    assert (folder / "rows.jsonl").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["adir", "rows.jsonl"]
    os.mkfifo(folder / "pipe")
    reader = subprocess.Popen(["cat", "pipe"], cwd=folder, stdout=subprocess.PIPE, text=True)
    done = call("verify", "rows.jsonl", *ARGUMENTS, "--out", "pipe", folder=folder)
    assert done.returncode == 0, done.stderr
    assert len(reader.communicate(timeout=20)[0].splitlines()) == 6
    assert (folder / "pipe").is_fifo()


def test_a_byte_order_mark_is_no_part_of_the_first_line(folder: Path) -> None:
    (folder / "bom.jsonl").write_text('\ufeff{"response": "7", "answer": "7"}\n')
    done = call("verify", "bom.jsonl", "--json", folder=folder)
    assert json.loads(done.stdout)["outcomes"]["correct"] == 1


def test_what_a_model_wrote_reaches_the_terminal_without_control_characters(folder: Path) -> None:
    (folder / "bad.jsonl").write_text(json.dumps({"response": "The answer is red\x1b[K\x07.", "answer": "7"}))
    done = call("verify", "bad.jsonl", folder=folder)
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout and "red" in done.stdout


def test_responses_of_which_none_could_be_judged_are_no_success(folder: Path) -> None:
    (folder / "open.jsonl").write_text('{"response": "5", "answer": null}\n{"response": "5", "answer": " "}\n')
    done = call("verify", "open.jsonl", folder=folder)
    assert (done.returncode, done.stderr) == (2, "selfimprove: open.jsonl: none of the 2 responses could be judged\n")
    assert "undecided" in done.stdout  # the reasons are shown all the same
