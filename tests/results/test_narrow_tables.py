"""Every table at 80 characters: no column is cut, no number is wrapped, and long texts go on in the next line."""

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem, make_rationale
from rich.console import Console
from viewing import BASE, judge, write_run, write_stage

from selfimprove.records import CrossCheck, Evaluation, Record
from selfimprove.records.collapse import Texts
from selfimprove.records.console import make_table
from selfimprove.records.stats import wilson
from selfimprove.results.principle_report import print_report
from selfimprove.results.prompt_study import Row, print_comparison
from selfimprove.results.status import print_status
from selfimprove.results.status_tables import texts_table
from selfimprove.results.verify_file import Totals, choose_verifier, judge_file
from selfimprove.results.verify_report import print_totals
from selfimprove.store import RunFolder
from selfimprove.store.query import Query
from selfimprove.verifiers.response_file import Columns
from selfimprove.verifiers.workers import VerifierPool

WIDTH = 80
LONG = "reasoning_gym/family_relationships"


def shown(print_it: Callable[..., object], *arguments: Any) -> str:
    out = StringIO()
    print_it(*arguments, Console(file=out, width=WIDTH))
    return out.getvalue()


def check(text: str, *words: str) -> None:
    """That nothing is cut, and that each of these words stands whole in a line."""
    tables = [line for line in text.splitlines() if "─" in line]
    assert tables and max(map(len, tables)) <= WIDTH
    assert not re.search(r"\S…|…\S", text), text
    for one in words:
        assert re.search(rf"(?<!\S){re.escape(one)}(?!\S)", text), f"{one!r} is not whole in\n{text}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two tasks, one of many levels, a second verifier that differs, a constitution, preferences."""
    folder = write_run(tmp_path_factory.mktemp("runs"), ("1+2=3\n#3", "1+2=4\n#4"), rounds=2)
    problems = [make_problem(f"{at}", "3", level=at) for at in range(2, 20)]
    for round_ in range(3):
        records: list[Record] = []
        for problem in problems:
            rationale = make_rationale(problem, parents=(problem.id, BASE.id), round=round_)
            verdict = judge(rationale, "correct")
            other = CrossCheck(parents=(rationale.id, verdict.id), first="correct", second="incorrect",
                               verifier="math-verify", version=1, reason="not equal")  # fmt: skip
            records += [rationale, verdict, other]
            low, high = wilson(1000, 1000)
            records += [
                Evaluation(parents=(BASE.id,), task=task, level=problem.level, group="", n=1000, correct=1000,
                           undecided=0, wrong_reason=0, low=low, high=high)
                for task in ("arithmetic", LONG)
            ]  # fmt: skip
        write_stage(folder, round_, "evaluate", "rationale", records)
    return folder


def test_the_tables_of_a_run(run: RunFolder) -> None:
    text = shown(print_status, run)
    check(text, "round", "promotion", "undecided", "wrong step", "written", "correct", "differs", "tokens/s", "cut off")
    check(text, "36000", LONG, *(str(level) for level in range(2, 20)))
    assert text.count("100.0% of 18000") == 6  # of two tasks in three rounds, each in one line
    check(shown(print_report, Query(run)), "principle", "drawn", "changed", "leaks", "tokens")


def test_the_tables_of_verdicts(tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    rows = [{"response": f"It is {'very ' * 40}{at}", "answer": "no number"} for at in range(3)]
    file.write_text("".join(json.dumps({**one, "right": True}) + "\n" for one in rows))
    compared: dict[str, Any] = {"strict": False, "tolerance": 0.0, "relative_tolerance": 0.0, "units": "ignore"}
    chosen = choose_verifier("math", compared, stated=False, judge=(None, None))
    with VerifierPool(workers=1) as pool:
        totals: Totals = judge_file(file, Columns("response", "answer", label="right"), chosen, pool=pool)
    text = shown(print_totals, totals)
    check(text.replace("'…'", ""), "outcome", "count", "share", "interval", "reason", "example", "undecided")


def test_the_table_of_forms_of_a_prompt() -> None:
    form = "a-name-of-a-form-that-somebody-has-made-rather-long"
    row = Row(form=form, trigger="", source="", n=1319, correct=700, undecided=0, accuracy=0.531, low=0.504, high=0.558,
              tokens=1234.5, won=120, lost=80, p_value=0.0059, adjusted=0.012)  # fmt: skip
    check(shown(print_comparison, [row, row], "Forms"), "53.1%", "50.4% to 55.8%", "0.0059", "0.012", "1234.5", "Holm")


def test_a_text_is_wrapped_and_a_number_is_not() -> None:
    table = make_table("A plan", "stage", "state", "tokens", "time", left=("stage", "state"))
    numbers = ("12,345,678 to 123,456,789", "12.5 h to 123.1 h")
    table.add_row("round-11/" + "rationalize-" * 4, "to do, 123 parts are there", *numbers)
    out = StringIO()
    Console(file=out, width=WIDTH).print(table)
    check(out.getvalue(), *numbers)
    column = "".join(re.findall(r"^ (\S+)", out.getvalue().rpartition("─")[2], re.MULTILINE))
    assert column == "round-11/" + "rationalize-" * 4


def test_columns_that_do_not_fit_go_on_in_a_second_table() -> None:
    names = [f"column-{at}" for at in range(12)]
    table = make_table("Wide", "round", *names)
    for round_ in range(2):
        table.add_row(f"round-{round_}", *(f"{round_}{at:02d}.1234" for at in range(12)))
    out = StringIO()
    Console(file=out, width=WIDTH).print(table)
    check(out.getvalue(), *names, *(f"{round_}{at:02d}.1234" for round_ in range(2) for at in range(12)))
    assert out.getvalue().count("round-1") == 2 and out.getvalue().count("Wide") == 1


def test_the_table_of_how_texts_differ() -> None:
    passes = {"1": (0.5, 10), "16": (0.9375, 10)}
    found = Texts(texts=160, sampled=True, distinct={"2": 0.53, "3": 0.8}, passes=passes, answers=0.5, skeletons=1.0,
                  lengths=[128.0, 1024.0, 2048.0], own=1.0, again=0.25)  # fmt: skip
    out = StringIO()
    Console(file=out, width=WIDTH).print(texts_table({10: found}))
    check(out.getvalue(), "round", "distinct-2", "pass@k", "94% (k = 16)", "again", "25%", "128/1024/2048")
