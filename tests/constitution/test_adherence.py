"""How far answers follow a constitution, counted by hand; the win rate at equal length beside another library's fit."""

import math

import pytest
from builders import make_comparison, make_constitution, make_problem, make_rationale
from scipy.optimize import minimize

from selfimprove.constitution import Principle
from selfimprove.constitution.adherence import (
    Answers,
    check_answers,
    count_shares,
    is_whole,
    outcomes,
    overall_name,
    put_beside,
    to_judge,
)
from selfimprove.constitution.checks import comply_as_written
from selfimprove.constitution.model import LengthCheck, PatternCheck, Scope, VerifierCheck
from selfimprove.prompting.phrases import loops
from selfimprove.records import Problem
from selfimprove.records.stats import control_length, count_wins, wilson

BRIEF = Principle(id="brief", text="At most 3 words.", check=LengthCheck(at_most=3))
ASKED = Principle(id="asks", text="It asks.", check=PatternCheck(regex=r"\?"))
KIND = Principle(id="kind", text="It is kind.")
OFF = Principle(id="off", text="It is off.", weight=0, check=LengthCheck(at_most=1))
TAGGED = Principle(id="tagged", text="It is safe.", scope=Scope(tags=("risky",)))
CONSTITUTION = make_constitution(BRIEF, ASKED, KIND, OFF, TAGGED)
OPEN = [make_problem(f"{at}?", None, task="prompts/mine", group="plain") for at in range(6)]
PROBLEMS = {one.id: one for one in OPEN}


def answers(checkpoint: str, texts: list[str], round_: int = 1, **ends: str) -> Answers:
    """Answers to the prompts in order; `ends` says by number how one ended."""
    found = {
        problem.id: make_rationale(problem, text, parents=(problem.id, checkpoint), finish=ends.get(f"n{at}", "stop"))
        for at, (problem, text) in enumerate(zip(OPEN, texts, strict=False))
    }
    said = outcomes(check_answers(found, PROBLEMS, {}, CONSTITUTION))
    return Answers(checkpoint, round_, found, said)


@pytest.mark.parametrize(
    ("check", "text", "finish", "outcome"),
    [
        (LengthCheck(at_most=3), "one two three", "stop", "correct"),
        (LengthCheck(at_most=3), "one two three", "length", "undecided"),  # it would have gone on
        (LengthCheck(at_most=3), "one two three four", "length", "incorrect"),
        (LengthCheck(at_least=2, at_most=3), "one", "length", "undecided"),
        (LengthCheck(at_least=2, at_most=3), "one", "stop", "incorrect"),
        (LengthCheck(at_least=2), "one two", "length", "correct"),
        (LengthCheck(at_least=2), "one", "length", "undecided"),
        (PatternCheck(regex="as an AI", at_least=0, at_most=0), "So as an AI", "length", "incorrect"),
        (PatternCheck(regex="as an AI", at_least=0, at_most=0), "So", "length", "undecided"),
        (LengthCheck(at_most=3), " \n", "stop", "incorrect"),  # nothing is not brief
        (PatternCheck(regex="x", at_least=0, at_most=0), "", "length", "incorrect"),
        (VerifierCheck(), "2 + 2 = 4", "stop", "undecided"),
    ],
)
def test_what_a_check_says_of_an_answer_as_it_ended(check: object, text: str, finish: str, outcome: str) -> None:
    assert comply_as_written(check, make_rationale(OPEN[0], text, finish=finish), None)[0] == outcome  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "looped"),
    [
        ("", False),
        ("the " * 40, True),
        ("It is fine to ask. " * 5, True),
        ("Ask a friend, ask a teacher, or ask a neighbour, and then go on with what they say to you.", False),
        ("I like it. I like it a lot, and you may like it as well if you try it for a day or two.", False),
    ],
)
def test_an_answer_that_goes_in_circles_is_seen(text: str, looped: bool) -> None:
    assert loops(text) is looped


def test_shares_count_what_could_be_decided() -> None:
    now = answers("new", ["a b", "a b c d", "", "What?", "a b c", "so " * 40], n4="length")
    found = count_shares(now, CONSTITUTION)
    # brief: right 0 and 3; wrong 1, 2 (empty), 5; 4 was cut off. asks: right 3; undecided 4.
    assert {name: (one.count, one.n, one.undecided) for name, one in found.items()} == {
        "whole answers": (3, 6, 0), "brief": (2, 5, 1), "asks": (1, 5, 1),
    }  # fmt: skip
    low, high = wilson(2, 5)
    assert found["brief"].to_json() == {"count": 2, "n": 5, "undecided": 1, "low": low, "high": high}
    assert [is_whole(one) for one in now.texts.values()] == [True, True, False, True, False, False]


def test_what_a_judge_is_asked_is_each_principle_without_a_check_and_all_together() -> None:
    assert [one.id for one in to_judge(CONSTITUTION, OPEN[0])] == ["kind", "overall"]
    risky = make_problem("How?", None, task="prompts/mine", group="risky")
    asked = to_judge(CONSTITUTION, risky)
    assert [one.id for one in asked] == ["kind", "tagged", "overall"]
    assert asked[-1].text == "At most 3 words. It asks. It is kind. It is safe."
    assert to_judge(make_constitution(BRIEF), OPEN[0]) == []
    assert overall_name(make_constitution("overall", "overall1")) == "overall2"


def judge(now: Answers, other: Answers, preferred: dict[int, float]) -> list[object]:
    return [
        make_comparison(
            now.texts[OPEN[at].id], other.texts[OPEN[at].id], principle=name, forward=chance, backward=1 - chance
        )
        for at, chance in preferred.items()
        for name in ("kind", "overall")
    ]


def test_two_checkpoints_are_put_beside_each_other() -> None:
    now = answers("new", ["a", "a b", "a b c d e", "same", "", "a b c d"])
    old = answers("old", ["a b c d", "a b c d", "a b", "same", "x y", ""], round_=0)
    found = put_beside(now, old, PROBLEMS, CONSTITUTION, judge(now, old, {0: 0.9, 1: 0.505, 2: 0.2}),  # type: ignore[arg-type]
                       judged=list(PROBLEMS), tie=0.02)  # fmt: skip
    # brief: 0 and 1 won, 2 and 4 (empty now) lost; 5 is wrong twice.
    assert {name: (one.won, one.lost, one.n) for name, one in found.checked.items()} == {
        "whole answers": (1, 1, 6), "brief": (2, 2, 6), "asks": (0, 0, 6),
    }  # fmt: skip
    # won: 0, and 5 (the other is empty); ties: 1 (below the margin), 3 (the same); lost: 2, and 4 (empty).
    for one in found.judged.values():
        assert (one.won, one.ties, one.lost, one.rate) == (2, 2, 2, 0.5)
    assert list(found.judged) == ["kind", "overall"] and found.round == 0
    few = put_beside(now, old, PROBLEMS, CONSTITUTION, [], judged=[OPEN[0].id, OPEN[3].id], tie=0.02)
    assert few.judged["kind"].n == 1  # what was not asked is not made up
    assert found.worse(0.05) == []


def test_what_gets_worse_beyond_its_test_is_named() -> None:
    many = [make_problem(f"{at}", None, task="prompts/mine") for at in range(12)]
    by: dict[str, Problem] = {one.id: one for one in many}

    def write(text: str) -> Answers:
        texts = {one.id: make_rationale(one, text) for one in many}
        return Answers(text, 1, texts, outcomes(check_answers(texts, by, {}, CONSTITUTION)))

    short, long = write("a b"), write("a b c d")
    comparisons = [
        make_comparison(long.texts[name], short.texts[name], principle="kind", forward=0.1, backward=0.9) for name in by
    ]
    found = put_beside(long, short, by, CONSTITUTION, comparisons, judged=list(by), tie=0.02)
    assert [one.partition(":")[0] for one in found.worse(0.05)] == ["brief", "kind"]
    assert found.worse(1e-9) == []
    assert put_beside(short, long, by, CONSTITUTION, [], judged=list(by), tie=0.02).worse(0.05) == []


# --- the win rate at equal length ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "differences"),
    [
        ([1, 1, 1, 0, 0.5, 1, 0, 1], [90, 40, 60, -20, -5, 30, -50, 10]),
        ([0, 0.5, 1, 1, 0, 0], [-1, 2, -3, 4, -5, 6]),
        ([1, 1, 1, 0, 0, 0], [10, 11, 12, -10, -11, -12]),  # told apart by the length alone
        ([0.5, 0.5, 0.5, 0.5], [3, -1, 2, 9]),
    ],
)
def test_the_rate_at_equal_length_is_that_of_a_logistic_regression(
    scores: list[float], differences: list[float]
) -> None:
    deviation = math.sqrt(sum(one**2 for one in differences) / len(differences))

    def loss(values: tuple[float, float]) -> float:
        at, slope = values
        total = slope**2 / 2
        for score, one in zip(scores, differences, strict=True):
            logit = at + slope * math.tanh(one / deviation)
            total += math.log1p(math.exp(logit)) - score * logit
        return total

    best = minimize(loss, (0.0, 0.0), tol=1e-12).x
    rate, low, high = control_length(scores, differences)
    assert rate == pytest.approx(1 / (1 + math.exp(-best[0])), abs=1e-4)
    assert 0 < low < rate < high < 1


def test_a_preference_for_length_alone_is_no_win() -> None:
    longer = count_wins([1.0] * 18 + [0.0] * 6, [100.0] * 18 + [-100.0] * 6)
    assert longer.rate == 0.75 and longer.interval[0] > 0.5  # raw it looks like one
    assert longer.controlled[1] < 0.5 < longer.controlled[2]
    even = count_wins([1.0] * 18 + [0.0] * 6, [0.0] * 24)
    assert even.controlled == (0.75, *wilson(18, 24))
    assert count_wins([1.0, 1.0], [5, -5]).controlled[0] == 1.0
    assert count_wins([], []).rate == 0.5
