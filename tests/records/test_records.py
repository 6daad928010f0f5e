import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from builders import make_problem, make_rationale, make_verdict
from pydantic import ValidationError

from selfimprove.records import (
    ID_LENGTH,
    KINDS,
    Decision,
    Evaluation,
    Frontier,
    Outcome,
    Problem,
    Promotion,
    Rationale,
    Record,
    Step,
    by_id,
    derive_seed,
    digest,
    replace_surrogates,
)
from selfimprove.settings import added
from selfimprove.store.parts import read_part, write_part

PROBLEM = make_problem()


def test_an_id_is_the_hash_of_the_kind_and_the_fields() -> None:
    content = b'problem\0{"parents":[],"question":"1+2=","answer":"3","task":"arithmetic","level":2,"group":"1+1",'
    content += b'"options":[]}'
    assert PROBLEM.id == hashlib.blake2b(content, digest_size=10).hexdigest()
    assert len(PROBLEM.id) == ID_LENGTH


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_an_id_is_the_same_in_another_process(hash_seed: str) -> None:
    code = "import sys; from selfimprove.records import Rationale; print(Rationale.model_validate_json(sys.argv[1]).id)"
    rationale = make_rationale(PROBLEM, "7é\n#3", answer=None, logprob=-1 / 3)
    shown = subprocess.run(
        [sys.executable, "-c", code, rationale.model_dump_json()],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.strip() == rationale.id


def test_the_order_in_which_fields_are_given_does_not_matter() -> None:
    content = PROBLEM.model_dump()
    assert Problem(**dict(reversed(content.items()))).id == PROBLEM.id


def test_reading_an_id_does_not_make_a_record_unequal_to_its_copy() -> None:
    copy = make_problem()
    assert PROBLEM.id and copy == PROBLEM and hash(copy) == hash(PROBLEM)


@pytest.mark.parametrize(
    "change",
    [
        {"question": "2+1="},
        {"question": "1+2= "},
        {"answer": None},
        {"answer": ""},
        {"level": 3},
        {"group": ""},
        {"task": "jsonl"},
        {"parents": ("a",)},
    ],
    ids=str,
)
def test_another_content_is_another_id(change: dict[str, Any]) -> None:
    assert make_problem(**change).id != PROBLEM.id


def test_the_order_of_parents_is_content() -> None:
    ids = {make_problem(parents=parents).id for parents in [("a", "b"), ("b", "a"), ("ab",), ("a", "b", "")]}
    assert len(ids) == 4


def test_two_kinds_with_equal_fields_have_different_ids() -> None:
    class Left(Record):
        kind: ClassVar[str] = "left"

    class Right(Record):
        kind: ClassVar[str] = "right"

    assert Left(parents=("a",)).id != Right(parents=("a",)).id


def test_a_digest_does_not_run_its_parts_together() -> None:
    parts: list[tuple[object, ...]] = [("ab",), ("a", "b"), ("a,b",), (["a", "b"],), ("a", "b", None), (1,), ("1",)]
    assert len({digest(*one) for one in parts}) == len(parts)


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PROBLEM.answer = "4"


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Problem.model_validate({**PROBLEM.model_dump(), "hint": "3"})


@pytest.mark.parametrize(("field", "value"), [("origin", "copied"), ("finish", "crashed"), ("tokens", "many")])
def test_a_value_that_no_record_may_hold_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        make_rationale(PROBLEM, **{field: value})


def test_a_rationale_names_its_problem_and_its_checkpoint() -> None:
    rationale = make_rationale(PROBLEM, parents=(PROBLEM.id, "weights"))
    assert (rationale.problem, rationale.checkpoint) == (PROBLEM.id, "weights")


def test_a_verdict_and_a_decision_name_their_rationale() -> None:
    rationale = make_rationale(PROBLEM)
    verdict = make_verdict(rationale)
    assert verdict.rationale == rationale.id
    assert Decision(parents=(rationale.id, verdict.id), kept=True, reason="kept").rationale == rationale.id


@pytest.mark.parametrize(
    ("outcome", "steps", "reasoning", "wrong_reason"),
    [
        ("correct", [], "undecided", False),
        ("correct", ["correct"], "correct", False),
        ("correct", ["correct", "incorrect"], "incorrect", True),
        ("correct", ["incorrect", "correct"], "incorrect", True),
        ("correct", ["correct", "undecided"], "undecided", False),
        ("correct", ["undecided"], "undecided", False),
        ("correct", ["undecided", "incorrect"], "incorrect", True),
        ("incorrect", ["correct", "correct"], "correct", False),
        ("incorrect", ["incorrect"], "incorrect", False),
        ("undecided", ["incorrect"], "incorrect", False),
    ],
)
def test_reasoning_follows_from_the_steps(
    outcome: Outcome, steps: list[Outcome], reasoning: Outcome, wrong_reason: bool
) -> None:
    verdict = make_verdict(make_rationale(PROBLEM), outcome, steps)
    assert (verdict.reasoning, verdict.wrong_reason) == (reasoning, wrong_reason)


def test_steps_are_refused_outside_the_three_outcomes() -> None:
    with pytest.raises(ValidationError):
        Step.model_validate({"start": 0, "end": 1, "outcome": "right", "reason": ""})


def test_derived_seeds_are_63_bits_wide_spread_and_repeatable() -> None:
    seeds = [derive_seed("test", number) for number in range(2000)]
    assert seeds == [derive_seed("test", number) for number in range(2000)]
    assert len(set(seeds)) == 2000
    assert min(seeds) >= 0 and max(seeds) < 2**63
    # Each of the 63 bits is set in about half of 2,000 seeds: 1,000 with a standard deviation of 22.
    counts = [sum(seed >> bit & 1 for seed in seeds) for bit in range(63)]
    assert all(850 < count < 1150 for count in counts)


def test_a_seed_depends_on_each_of_its_parts() -> None:
    seeds = {derive_seed(seed, round_, "generate", "id", 0) for seed in range(3) for round_ in range(3)}
    assert len(seeds) == 9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("é😀\u2028", "é😀\u2028"),
        ("a\ud800b", "a\ufffdb"),
        ("\udfff", "\ufffd"),
        ("é\ud83d", "é\ufffd"),
        ("\ud83d\ude00", "\ufffd\ufffd"),  # two lone halves, not the character that they would be in UTF-16
        ("\ud7ff\ue000", "\ud7ff\ue000"),  # just outside the range
    ],
    ids=ascii,
)
def test_lone_surrogates_become_replacement_characters(text: str, expected: str) -> None:
    assert replace_surrogates(text) == expected
    assert replace_surrogates(text).encode().decode() == expected


def test_accuracy_and_yield_are_shares_and_0_where_nothing_was_counted() -> None:
    counts: dict[str, Any] = {"task": "t", "level": 1, "group": "g"}
    measured: dict[str, Any] = {"undecided": 1, "wrong_reason": 0, "low": 0.0, "high": 1.0}
    assert Evaluation(**counts, **measured, n=8, correct=6).accuracy == 0.75
    assert Evaluation(**counts, **measured, n=0, correct=0).accuracy == 0.0
    decision: dict[str, Any] = {"round": 1, "state": "open", "draw": 3, "reason": ""}
    assert Frontier(**counts, **decision, attempts=8, correct=2).share == 0.25
    assert Frontier(**counts, **decision, attempts=0, correct=0).share == 0.0


@pytest.mark.parametrize(("promoted", "expected"), [(True, "candidate"), (False, "incumbent")])
def test_a_promotion_names_the_checkpoint_that_goes_on(promoted: bool, expected: str) -> None:
    decision = Promotion(
        parents=("candidate", "incumbent"), promoted=promoted, won=1, lost=0, p_value=1.0, reason="scripted"
    )
    assert decision.checkpoint == expected


def test_by_id_indexes_records() -> None:
    other = make_problem("2+2=", "4")
    assert by_id([PROBLEM, other]) == {PROBLEM.id: PROBLEM, other.id: other}


def test_records_survive_json() -> None:
    rationale = make_rationale(PROBLEM, "7é\n#3", answer=None)
    again = Rationale.model_validate(json.loads(rationale.model_dump_json()))
    assert again == rationale and again.id == rationale.id


def test_a_field_that_came_later_keeps_the_ids_and_the_files_of_before(tmp_path: Path) -> None:
    def before() -> type[Record]:
        class Tried(Record):
            kind: ClassVar[str] = "tried"
            value: float

        return Tried

    def after() -> type[Record]:
        class Tried(Record):
            kind: ClassVar[str] = "tried"
            value: float
            unit: str = added("points")

        Tried.__qualname__ = old.__qualname__
        return Tried

    old = before()
    written = old(parents=("a",), value=1.5)
    write_part(tmp_path / "tried-00000.parquet", old, [written])
    KINDS.pop("tried")
    new = after()
    try:
        assert new(parents=("a",), value=1.5).id == written.id != new(parents=("a",), value=1.5, unit="percent").id
        (read,) = read_part(tmp_path / "tried-00000.parquet", new)
        assert (read.id, read.unit) == (written.id, "points")  # type: ignore[attr-defined]
        write_part(tmp_path / "tried-00001.parquet", new, [new(parents=("a",), value=1.5, unit="percent")])
        assert read_part(tmp_path / "tried-00001.parquet", new)[0].unit == "percent"  # type: ignore[attr-defined]
    finally:
        KINDS.pop("tried")


@pytest.mark.parametrize("kind", ["Tried", "tried-again", "", "1st", "x" * 62])
def test_a_kind_is_named_so_that_its_files_can_be(kind: str) -> None:
    with pytest.raises(TypeError, match="is no name of a kind of records"):
        type("Tried", (Record,), {"kind": kind, "__module__": __name__})
    assert kind not in KINDS
