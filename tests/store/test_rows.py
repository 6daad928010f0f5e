"""Rounds that are read some rows at a time: the same records, ids and decisions as all at once."""

import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from builders import by_problem, make_problem, make_rationale, make_verdict

from selfimprove.errors import StoreError
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Prompting
from selfimprove.records import (
    Checkpoint,
    Decision,
    Example,
    Outcome,
    Preference,
    Problem,
    Rationale,
    Record,
    Verdict,
    by_id,
)
from selfimprove.stages.failed import failed_problems
from selfimprove.stages.frontier import measure_yields
from selfimprove.stages.prefer import Prefer, prefer
from selfimprove.stages.repair import find_beginnings
from selfimprove.stages.select import OF_RATIONALE, Select, select
from selfimprove.store.join import Chosen, Judged, in_turn
from selfimprove.store.light import make
from selfimprove.store.parts import PartFile, read_part, to_records
from selfimprove.store.rows import Rows, join_rows

R = TypeVar("R", bound=Record)
PROMPTS = PromptFormat(Prompting(question="{question}", hint="{answer}?{question}"))
HOSTILE = ["", "\0\x01\x1f\x7f", '"\\/\b\f\n\r\t', "\u2028\u2029\u0085", "é😀\U0010ffff", "{}[]:,", "a\0b", "\ufffd"]
SOME = [1, 7, 4096]


def write(path: Path, records: Sequence[R], batch: int = 100) -> Path:
    """A file of several row groups."""
    file = PartFile(path, type(records[0]), batch=batch)
    for one in records:
        file.add(one)
    file.commit()
    return path


def make_round(count: int) -> tuple[list[Problem], list[Rationale], list[Verdict]]:
    """A round with texts that occur twice, rationalizations between the samples, and verdicts in another order."""
    rng = random.Random(0)
    problems = [make_problem(f"{at}+1=", str(at + 1), group=f"group {at % 5}") for at in range(count // 4)]
    rationales, verdicts = [], []
    for at in range(count):
        problem = problems[at // 4]
        text = rng.choice([f"{at}", f"{at // 2}", f"{problem.answer}? {at}", HOSTILE[at % len(HOSTILE)]])
        origin = "rationalized" if rng.random() < 0.2 else "sampled"
        finish = "length" if rng.random() < 0.1 else "stop"
        rationales.append(make_rationale(problem, text, sample=at % 4, origin=origin, finish=finish))
        outcomes: list[Outcome] = ["correct", "correct", "incorrect", "undecided"]
        steps = [rng.choice(outcomes[:3]) for _ in range(rng.randrange(4))]
        outcome: Outcome = "incorrect" if at // 4 % 3 == 0 else rng.choice(outcomes)
        verdicts.append(make_verdict(rationales[-1], outcome, steps))
    rng.shuffle(verdicts)
    return problems, rationales, verdicts


PROBLEMS, RATIONALES, VERDICTS = make_round(2400)
BY = {one.rationale: one for one in VERDICTS}
WHOLE = [(one, BY[one.id]) for one in RATIONALES]


def store(folder: Path, at_once: int) -> Judged:
    """The round in two files of rationales and one of verdicts."""
    files = [write(folder / "rationale-0", RATIONALES[:1000]), write(folder / "rationale-1", RATIONALES[1000:])]
    return Judged(
        Rows(Rationale, files, at_once=at_once),
        Rows(Verdict, [write(folder / "verdict-0", VERDICTS, batch=700)], at_once=at_once),
    )


def decide(judged: Iterable[tuple[Rationale, Verdict]], problems: Iterable[Problem], **settings: Any) -> list[Record]:
    return list(
        select(
            judged,
            problems=by_id(problems),
            earlier=[Example(prompt="1+1=", completion="1", origin="seed", group="")],
            prompts=PROMPTS,
            shown=False,
            settings=Select(**settings),
        )
    )


@pytest.mark.parametrize("at_once", SOME[1:])
@pytest.mark.parametrize(
    "settings",
    [{}, {"require": "steps", "per_problem": 1}, {"rationalized_cap": 0.1, "hard_below": 0.6, "require": "grounded"}],
    ids=["plain", "steps", "caps"],
)
def test_decisions_do_not_depend_on_how_much_is_read_at_once(
    tmp_path: Path, at_once: int, settings: dict[str, Any]
) -> None:
    rows = store(tmp_path, at_once).pick(OF_RATIONALE, ("outcome", "reason", "steps"))
    problems = Rows(Problem, [write(tmp_path / "problem-0", PROBLEMS)]).pick(*Problem.model_fields)
    expected = decide(WHOLE, PROBLEMS, **settings)
    assert len({one.reason for one in expected if one.kind == "decision"}) > 5  # type: ignore[attr-defined]
    found = decide(rows, problems, **settings)
    assert [(one.kind, one.id) for one in found] == [(one.kind, one.id) for one in expected]
    assert found == expected


@pytest.mark.parametrize("at_once", SOME[1:])
def test_what_looks_over_a_round_finds_the_same(tmp_path: Path, at_once: int) -> None:
    judged = store(tmp_path, at_once)
    narrow, steps = judged.pick(["parents"], ["outcome"]), judged.pick(["parents", "text"], ["outcome", "steps"])
    for require in ("answer", "grounded"):
        yields = measure_yields(by_id(PROBLEMS), steps, require=require)
        assert yields == measure_yields(by_id(PROBLEMS), WHOLE, require=require)
        assert len(yields) == 5
    assert failed_problems(PROBLEMS, narrow) == failed_problems(PROBLEMS, WHOLE) != []
    assert find_beginnings(steps) == find_beginnings(WHOLE) != {}


@pytest.mark.parametrize("at_once", SOME[1:])
@pytest.mark.parametrize("settings", [{}, {"limit": 100}, {"cut": "step", "per_problem": 2}], ids=str)
def test_pairs_do_not_depend_on_how_much_is_read_at_once(
    tmp_path: Path, at_once: int, settings: dict[str, Any]
) -> None:
    def pair(judged: Iterable[Sequence[tuple[Rationale, Verdict]]]) -> list[Preference]:
        return list(
            prefer(
                judged,
                problems=by_id(PROBLEMS),
                prompts=PROMPTS,
                shown=False,
                require=Select(require="steps"),
                settings=Prefer(**settings),
            )
        )

    rows = store(tmp_path, at_once).pick(OF_RATIONALE, ("outcome", "reason", "steps"))
    expected = pair(by_problem(WHOLE))
    assert pair(rows.by_problem()) == expected
    assert len(expected) > 20 and len({one.prompt for one in expected}) > 15


def test_the_first_of_each_come_first() -> None:
    groups = [[make_problem(f"{at}{place}") for place in range(at)] for at in (2, 0, 3, 1)]
    turns = ["20", "30", "10", "21", "31", "32"]
    assert [one.question for one in in_turn(groups, Problem)] == turns
    for limit in (0, 4, 9):
        assert [one.question for one in in_turn(groups, Problem, limit=limit)] == turns[:limit]
    assert list(in_turn([], Problem)) == []


def test_the_last_verdict_counts_and_a_missing_one_is_named(tmp_path: Path) -> None:
    one, other = RATIONALES[:2]
    files = [write(tmp_path / "rationale-0", [one, other])]
    verdicts = [make_verdict(one, "correct"), make_verdict(other, "correct"), make_verdict(one, "incorrect")]
    found = Rows(Verdict, [write(tmp_path / "verdict-0", verdicts)])
    judged = Judged(Rows(Rationale, files), found, of_verdict=["outcome"])
    assert [(each.id, verdict.outcome) for each, verdict in judged] == [(one.id, "incorrect"), (other.id, "correct")]
    lacking = Rows(Verdict, [write(tmp_path / "verdict-1", verdicts[1:2])])
    for read in (iter, Judged.by_problem):
        with pytest.raises(StoreError, match=f"no stage of this round has a verdict on the rationale {one.id}"):
            list(read(Judged(Rows(Rationale, files), lacking)))  # type: ignore[operator]
    some = Judged(Rows(Rationale, files), lacking, of_rationale=["parents"], all_judged=False)
    assert [each.id for each, _ in some] == [each.id for found in some.by_problem() for each, _ in found] == [other.id]
    ((*both,),) = judged.by_problem()
    assert [(each.id, verdict.outcome) for each, verdict in both] == [(one.id, "incorrect"), (other.id, "correct")]


@pytest.mark.parametrize("at_once", SOME)
def test_rows_are_the_records_that_were_written(tmp_path: Path, at_once: int) -> None:
    records = [make_rationale(PROBLEMS[at], text) for at, text in enumerate(HOSTILE * 3)]
    files = [write(tmp_path / "rationale-0", records[:10], 4), write(tmp_path / "rationale-1", records[10:], 100)]
    rows = Rows(Rationale, files, at_once=at_once)
    assert len(rows) == 24
    assert list(rows) == records == [one for file in files for one in read_part(file, Rationale)]
    assert list(rows.ids()) == [one.id for one in records]
    assert [(one.id, one.text, one.problem) for one in rows.pick("text", "parents")] == [
        (one.id, one.text, one.problem) for one in records
    ]
    for start, stop in ((0, 24), (3, 5), (4, 8), (9, 11), (10, 24), (23, 30), (5, 5), (30, 40)):
        assert list(rows[start:stop]) == records[start:stop], (start, stop)
        assert len(rows[start:stop]) == len(records[start:stop])
    assert list(rows[4:20][3:9]) == records[7:13]
    assert rows[11] == records[11] and rows[-1] == records[-1]
    assert list(rows.find({records[2].id, records[20].id})) == [records[2], records[20]]
    again = [one for batch in rows.batches() for one in to_records(batch, Rationale)]
    assert again == records


def test_a_column_that_came_later_has_its_default(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = write(tmp_path / "checkpoint-0", [Checkpoint(path="p", method="sft", weights="w")])
    pq.write_table(pq.read_table(path).drop_columns(["role"]), path)
    rows = Rows(Checkpoint, [path])
    assert list(rows.values("role")) == ["policy"] == [one.role for one in rows]
    pq.write_table(pq.read_table(path).drop_columns(["weights"]), path)
    with pytest.raises(StoreError, match=f"^{re.escape(str(path))}: damaged"):
        list(rows.values("weights"))


def test_what_fails_with_a_row_is_not_the_files_fault(tmp_path: Path) -> None:
    rows = Rows(Problem, [write(tmp_path / "problem-0", PROBLEMS)], at_once=3)
    with pytest.raises(ValueError, match="mine"):
        for _ in rows.pick("question"):
            raise ValueError("mine")


def test_chosen_rows_come_in_their_order_and_as_often_as_they_are_named(tmp_path: Path) -> None:
    records = [Example(prompt=text, completion=str(at), origin="sampled", group="") for at, text in enumerate(HOSTILE)]
    files = [write(tmp_path / "example-0", records[:3]), write(tmp_path / "example-1", records[2:])]  # one is in both
    rows = join_rows(Example, [Rows(Example, [file]) for file in files])
    order = [records[at] for at in (5, 2, 2, 0, 5, 7)]
    chosen = Chosen(rows, [one.id for one in order])
    assert [one for batch in chosen.batches() for one in to_records(batch, Example)] == order
    assert len(chosen) == 6 and list(chosen.ids()) == [one.id for one in order]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_record_made_without_checks_is_the_one_that_its_class_makes(text: str) -> None:
    fields = {"parents": (text, "b"), "prompt": text, "completion": text, "origin": "sampled", "group": text}
    without = Example(**fields)  # type: ignore[arg-type]
    fields |= {"token_ids": (7, 300), "sampled_tokens": None}
    made, known = make(Example, **fields), Example(**fields)  # type: ignore[arg-type]
    assert made == known and made.id == known.id == without.id
    assert made.model_dump_json() == known.model_dump_json()
    for kept in (True, False):
        decision = {"parents": (), "kept": kept, "reason": text}
        assert make(Decision, **decision).id == Decision(**decision).id  # type: ignore[arg-type]


def test_all_characters_are_written_as_pydantic_writes_them() -> None:
    text = "".join(chr(code) for code in range(0x11000) if not 0xD800 <= code < 0xE000)
    assert make(Decision, parents=(), kept=True, reason=text).id == Decision(kept=True, reason=text).id
    with pytest.raises(ValueError, match="surrogates not allowed"):
        make(Decision, parents=(), kept=True, reason="\ud800")  # which no file can hold


def test_a_record_with_other_fields_is_not_made() -> None:
    with pytest.raises(TypeError, match="a decision has the fields parents, kept, reason, in this order"):
        make(Decision, kept=True, reason="")


def test_a_record_made_without_checks_has_the_defaults_of_fields_that_came_later() -> None:
    fields = {"parents": ("a",), "path": "b", "method": "c", "weights": "d", "base": None}
    made, known = make(Checkpoint, **fields), Checkpoint(**fields)  # type: ignore[arg-type]
    assert made == known and made.id == known.id and made.role == "policy"
    with pytest.raises(TypeError, match="a checkpoint has the fields parents, path, method, weights, base, in this"):
        make(Checkpoint, **fields, role="judge")
