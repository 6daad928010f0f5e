"""Which responses are revised where some were cut off."""

from typing import Any

import pytest
from builders import make_constitution, make_problem, make_rationale, make_verdict

from selfimprove.constitution import Constitution, Principle
from selfimprove.constitution.model import LengthCheck, PatternCheck, Scope
from selfimprove.records import Outcome, Rationale, Verdict, by_id
from selfimprove.stages.revise import Revise
from selfimprove.stages.taking import choose, describe_left_out, may_change

BRIEF = Principle(id="brief", text="Short.", check=LengthCheck(at_most=9))
LONG = Principle(id="long", text="Long.", check=LengthCheck(at_least=9))
PLAIN = Principle(id="plain", text="Plain.", check=PatternCheck(regex="x"))
PROBLEMS = [make_problem(f"{at}", None, task="prompts/mine", group="risky" if at == 1 else "") for at in range(3)]


def sample(of: int, number: int, finish: str = "stop", outcome: Outcome = "undecided") -> tuple[Rationale, Verdict]:
    text = make_rationale(PROBLEMS[of], f"{of}{number}", sample=number, finish=finish)
    return text, make_verdict(text, outcome)


def chosen(
    judged: list[tuple[Rationale, Verdict]], constitution: Constitution, **settings: Any
) -> tuple[str, str, str, int]:
    """The texts that are whole, taken instead, cut off and revised all the same, and how many are left out."""
    limit = settings.pop("limit", None)
    found = choose(judged, by_id(PROBLEMS), constitution, Revise(**settings)).limited(limit)
    texts = {one.id: one.text for one, _ in judged}
    names = [" ".join(texts[one] for one in some) for some in (found.whole, found.replaced, found.shortened)]
    return names[0], names[1], names[2], found.left_out


JUDGED = [
    sample(0, 0), sample(0, 1),
    sample(1, 0, "length"), sample(1, 1, "length"), sample(1, 2), sample(1, 3),
    sample(2, 0, "length"), sample(2, 1, "length"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "principles", "expected"),
    [
        # A whole sample stands for a first one that was cut off; where there is none, it is shortened where asked for.
        ({}, (PLAIN, BRIEF), ("00", "12", "20", 0)),
        ({}, (PLAIN, LONG), ("00", "12", "", 1)),
        ({"cut_off": "never"}, (BRIEF,), ("00", "12", "", 1)),
        ({"cut_off": "always"}, (PLAIN,), ("00", "12", "20", 0)),
        ({"per_problem": 2}, (BRIEF,), ("00 01", "12 13", "20 21", 0)),
        ({"limit": 2}, (BRIEF,), ("00", "12", "", 0)),
        ({"limit": 1}, (BRIEF,), ("00", "", "", 0)),
        # A principle of another scope asks nothing of this prompt.
        ({}, (PLAIN, Principle(id="brief", text="S.", check=LengthCheck(at_most=9), scope=Scope(tags=("risky",)))),
         ("00", "12", "", 1)),
    ],
)  # fmt: skip
def test_what_stands_for_a_response_that_was_cut_off(
    settings: dict[str, Any], principles: tuple[Principle, ...], expected: tuple[str, str, str, int]
) -> None:
    assert chosen(JUDGED, make_constitution(*principles), **settings) == expected


def test_where_nothing_was_cut_off_the_first_samples_are_revised() -> None:
    whole = [sample(of, number) for of in range(3) for number in range(3)]
    assert chosen(whole, make_constitution(BRIEF)) == ("00 10 20", "", "", 0)
    assert chosen(whole, make_constitution(BRIEF), per_problem=2)[0] == "00 01 10 11 20 21"


def test_a_right_answer_is_replaced_by_nothing() -> None:
    """With `of: failed` only first samples that are not known to be right are looked at, whole or not."""
    judged = [
        sample(0, 0, "stop", "correct"),
        sample(0, 1),
        sample(1, 0, "length", "incorrect"),
        sample(1, 1, "stop", "correct"),
    ]
    assert chosen(judged, make_constitution(BRIEF), of="failed") == ("", "", "10", 0)


def test_a_prompt_without_room_is_no_cut_off_response() -> None:
    assert chosen([sample(0, 0, "too_long"), sample(0, 1)], make_constitution(BRIEF)) == ("", "", "", 0)


def test_a_response_that_was_cut_off_is_revised_to_be_brief_alone() -> None:
    whole, cut = make_rationale(PROBLEMS[0], "a"), make_rationale(PROBLEMS[0], "a", finish="length")
    assert may_change((PLAIN, LONG, BRIEF), whole, "brevity") == (PLAIN, LONG, BRIEF)
    assert may_change((PLAIN, LONG, BRIEF), cut, "brevity") == (BRIEF,)
    assert may_change((PLAIN, LONG, BRIEF), cut, "always") == (PLAIN, LONG, BRIEF)
    assert may_change((PLAIN, LONG, BRIEF), cut, "never") == ()


def test_what_was_left_out_is_said_with_what_to_do() -> None:
    counts = {"responses": 32, "replaced": 3, "shortened": 5, "not revised": 20, "max_tokens": 160}
    assert describe_left_out(counts) == (
        "28 of 32 responses were cut off: for 3 another sample is taken, 5 are revised to be brief, 20 are neither "
        "criticised nor revised nor trained: raise 'generate.max_tokens' (160)"
    )
    assert describe_left_out({**counts, "not revised": 0}).endswith("5 are revised to be brief")
    assert describe_left_out({**counts, "cut_off": "always"}).count("5 are revised like any other") == 1
    assert describe_left_out(None) == ""
