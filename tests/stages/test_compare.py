"""What a model prefers, without the place deciding, and the pairs that are made of it."""

import gzip
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import (
    CHECKPOINT,
    by_problem,
    make_comparison,
    make_constitution,
    make_problem,
    make_rationale,
    make_revised,
    make_verdict,
)
from small import SMALL, small_recipe

from selfimprove.constitution.model import ComparisonExemplar
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines.base import Score, ScriptedEngine
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Prompting
from selfimprove.records import (
    Comparison,
    Outcome,
    Preference,
    Problem,
    Rationale,
    Record,
    Revision,
    Verdict,
    by_id,
)
from selfimprove.running.desk import StageDesk
from selfimprove.running.plan import build_plan
from selfimprove.running.session import Session
from selfimprove.stages.compare import Feedback, Match, compare, correlation, measure_comparisons, pair_responses
from selfimprove.stages.prefer import Prefer, prefer, read_pairs
from selfimprove.stages.select import Select
from selfimprove.store import RunFolder

CONSTITUTION = make_constitution("kind")
OPEN = make_problem("How?", None, task="prompts/mine", group="risky")
SUM = make_problem("2+2+3=", "7", task="jsonl", group="sums")
TEXTS = ("Go away.", "Please go now, if you do not mind.", "So.", "Thus it is.", "{choice} (A) is better.")
RESPONSES = [make_rationale(OPEN, text, sample=at) for at, text in enumerate(TEXTS)]
MATCHES = [
    Match(OPEN, first, second, CONSTITUTION.principles[0])
    for first in RESPONSES
    for second in RESPONSES
    if first is not second
]
PROMPTS = PromptFormat(Prompting(question="Q: {question}"))

Judge = Callable[[str, str], tuple[float, float]]


class Judging(ScriptedEngine):
    """A scripted judge: the log-probabilities of (A) and (B) by the two responses as they stand in the prompt."""

    def __init__(self, judge: Judge, think: Callable[[str, int], str] = lambda *_: "", longest: int = 10_000) -> None:
        super().__init__(think)
        self.judge, self.longest = judge, longest
        self.asked: list[str] = []

    def score(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[Score]:
        return [self._score(prompt, option) for prompt, option in pairs]

    def _score(self, prompt: str, option: str) -> Score:
        self.asked.append(prompt)
        if len(prompt) > self.longest:
            return Score(0.0, 0, too_long=True)
        first, second = re.findall(r"^\(A\) (.*)\n\(B\) (.*)$", prompt, re.MULTILINE)[-1]
        chances = self.judge(first, second)
        return Score(chances[(" (A)", " (B)").index(option)], 1)


def ask(judge: Judging, matches: Sequence[Match] = MATCHES, **settings: Any) -> list[Comparison]:
    return compare(
        matches,
        engine=judge,
        checkpoint=CHECKPOINT,
        prompter=Prompter(CONSTITUTION),
        settings=Feedback(**settings),
        round_=2,
        seed=3,
    )


def pair(
    rationales: Sequence[Rationale],
    *,
    verdicts: Sequence[Verdict] = (),
    revisions: Sequence[Revision] = (),
    comparisons: Sequence[Comparison] = (),
    require: str = "answer",
    **settings: Any,
) -> list[Preference]:
    """The pairs; a rationale without a verdict is undecided."""
    judged = {one.id: make_verdict(one, "undecided") for one in rationales} | {one.rationale: one for one in verdicts}
    problems = [OPEN, SUM, *OTHERS]
    return list(
        prefer(
            by_problem((one, judged[one.id]) for one in rationales),
            problems=by_id(problems),
            named=[(one, judged[one.id]) for one in rationales],
            prompts=PROMPTS,
            shown=False,
            require=Select(require=require),  # type: ignore[arg-type]
            settings=Prefer(**{"feedback": Feedback(), **settings}),
            revisions={one.rationale: one for one in revisions},
            comparisons=comparisons,
        )
    )


OTHERS = [make_problem(f"{at}?", None, task="prompts/mine", group="risky") for at in range(4)]


# --- comparing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"), [(-0.1, -2.3), (-5.0, -0.01), (-1.0, -1.0), (0.0, -5000.0), (-1e6, 0.0), (-0.3, -1 / 3)]
)
@pytest.mark.parametrize("thought", [False, True])
def test_a_judge_that_goes_by_the_place_gives_ties_alone(first: float, second: float, thought: bool) -> None:
    found = ask(Judging(lambda *_: (first, second)), thought=thought)
    assert len(found) == 20 and {one.preferred for one in found} == {0.5}
    assert pair(RESPONSES, comparisons=found) == []
    assert pair(RESPONSES, comparisons=found, feedback=Feedback(tie=0.0)) == []
    figures = measure_comparisons(found, {one.id: len(one.text) for one in RESPONSES}, 0.02)
    assert (figures["compared"], figures["ties"], figures["correlation with length"]) == (20, 20, None)
    assert (figures["for the first place"] > 0.5) is (first > second)


@pytest.mark.parametrize("bias", [-3.0, 0.0, 0.4, 3.0])
def test_a_judge_that_prefers_a_text_prefers_it_in_either_place(bias: float) -> None:
    """With a bias for a place beside it: sigmoid(2 + bias) and sigmoid(-2 + bias)."""
    liked = RESPONSES[1]
    found = ask(Judging(lambda first, second: (bias + 2 * (first == liked.text), 2.0 * (second == liked.text))))
    for one in found:
        if liked.id in one.parents:
            as_first = one.parents[0] == liked.id
            assert one.preferred > 0.5 if as_first else one.preferred < 0.5
            high, low = 1 / (1 + math.exp(-2 - bias)), 1 / (1 + math.exp(2 - bias))
            assert (one.forward, one.backward) == pytest.approx((high, low) if as_first else (low, high))
        else:
            assert one.preferred == 0.5
    pairs = pair(RESPONSES, comparisons=found)
    assert {one.chosen for one in pairs} == {liked.text}
    assert {one.rejected for one in pairs} == {one.text for one in RESPONSES if one is not liked}


def test_a_comparison_keeps_what_was_asked() -> None:
    judge = Judging(lambda first, second: (-0.5, -0.5))
    (found,) = ask(judge, MATCHES[:1])
    prompt = (
        "How?\n\nWhich response follows this principle better? It is kind.\nOptions:\n"
        f"(A) {TEXTS[0]}\n(B) {TEXTS[1]}\nThe answer is:"
    )
    assert found.prompt == prompt and found.parents == (RESPONSES[0].id, RESPONSES[1].id, CHECKPOINT)
    assert (found.principle, found.constitution, found.reasoning) == ("kind", CONSTITUTION.label, ())
    assert (found.round, found.tokens) == (2, 0)
    swapped = prompt.replace(f"(A) {TEXTS[0]}\n(B) {TEXTS[1]}", f"(A) {TEXTS[1]}\n(B) {TEXTS[0]}")
    assert judge.asked == [prompt, prompt, swapped, swapped]


@pytest.mark.parametrize(
    ("gap", "clamp", "chances"),
    [
        (9.0, (0.4, 0.6), (0.6, 0.4)),
        (5000.0, (0.4, 0.6), (0.6, 0.4)),
        (math.log(0.55 / 0.45), (0.4, 0.6), (0.55, 0.45)),
        (math.log(0.55 / 0.45), (0.5, 0.5), (0.5, 0.5)),
        (9.0, (0.0, 1.0), (1 / (1 + math.exp(-9)), 1 / (1 + math.exp(9)))),
    ],
)
def test_after_a_chain_of_thought_probabilities_are_clamped(
    gap: float, clamp: tuple[float, float], chances: tuple[float, float]
) -> None:
    judge = Judging(lambda first, second: (gap if first == TEXTS[0] else -gap, 0.0), lambda *_: " It is \ud800 short.")
    (found,) = ask(judge, MATCHES[:1], thought=True, clamp=clamp)
    assert (found.forward, found.backward) == pytest.approx(chances)
    assert found.reasoning == (" It is \ufffd short.",) * 2 and found.tokens == 2 * (len(" It is . short.") + 1)
    assert found.prompt.endswith("\nLet's think step by step: It is \ufffd short.\nThe answer is:")


def test_without_a_chain_of_thought_nothing_is_clamped() -> None:
    (found,) = ask(Judging(lambda first, _: (9.0 if first == TEXTS[0] else -9.0, 0.0)), MATCHES[:1])
    assert found.forward > 0.999 and found.backward < 0.001


def test_each_order_goes_on_from_its_own_thought() -> None:
    def think(prompt: str, _: int) -> str:
        return f" I saw {prompt.rpartition('(A) ')[2].partition(chr(10))[0]}"

    judge = Judging(lambda *_: (0.0, 0.0), think)
    (found,) = ask(judge, MATCHES[:1], thought=True)
    assert found.reasoning == (f" I saw {TEXTS[0]}", f" I saw {TEXTS[1]}")
    assert [one.rpartition("step: ")[2] for one in judge.asked[::2]] == [
        f"I saw {one}\nThe answer is:" for one in TEXTS[:2]
    ]


@pytest.mark.parametrize(
    ("first", "second", "preferred"),
    [(0.0, -5000.0, 1.0), (-5000.0, 0.0, 0.0), (-1e300, 0.0, 0.0), (0.0, -1e300, 1.0), (-4000.0, -4000.5, 0.6225)],
)
def test_distant_log_probabilities_do_not_overflow(first: float, second: float, preferred: float) -> None:
    judge = Judging(lambda one, _: (first, second) if one == TEXTS[0] else (second, first))
    (found,) = ask(judge, MATCHES[:1])
    assert found.preferred == pytest.approx(preferred, abs=1e-4)


def test_a_pair_that_is_too_long_in_one_order_is_a_tie() -> None:
    """As with a thought that is longer in one order; the other order alone would show the place."""

    def think(prompt: str, _: int) -> str:
        return "x" * 5000 if prompt.rpartition("(A) ")[2].startswith(TEXTS[0]) else "x"

    judge = Judging(lambda *_: (0.0, -9.0), think, longest=3000)
    (found,) = ask(judge, MATCHES[:1], thought=True)
    assert (found.forward, found.backward) == (0.5, 0.5)


def test_exemplars_stand_before_a_comparison() -> None:
    shown = make_constitution(
        "kind", comparisons=[ComparisonExemplar(question="Hello?", chosen="Hello!", rejected="What?")]
    )
    judge = Judging(lambda *_: (0.0, 0.0))
    compare(MATCHES[:1], engine=judge, checkpoint=CHECKPOINT, prompter=Prompter(shown), settings=Feedback(), round_=1,
            seed=0)  # fmt: skip
    assert all(one.startswith("Hello?\n\n") and "The answer is: (A)\n\nHow?" in one for one in judge.asked)


# --- figures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xs", "ys", "expected"),
    [
        # Means 2 and 0.5; products -1 * -0.2 + 0 + 1 * 0.1 = 0.3; squares 2 and 0.04 + 0.01 + 0.01 = 0.06.
        ([1, 2, 3], [0.3, 0.6, 0.6], 0.3 / math.sqrt(2 * 0.06)),
        ([1, 2, 3], [2, 4, 6], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([-1, 1, -1, 1], [1, 1, 0, 0], 0.0),
        ([1, 1, 1], [1, 2, 3], None),
        ([1, 2, 3], [5, 5, 5], None),
        ([1], [1], None),
        ([], [], None),
    ],
)
def test_correlation_is_pearsons(xs: list[float], ys: list[float], expected: float | None) -> None:
    assert correlation(xs, ys) == (None if expected is None else pytest.approx(expected))


def test_comparisons_are_described() -> None:
    a, b, c = (make_rationale(OPEN, "x" * length) for length in (10, 30, 20))
    # Differences in length of -20, 10 and 10; preferred at 0.3, 0.7 and 0.505: means 0 and 0.50167, products
    # 4.0333 + 1.9833 + 0.0333 = 6.05, squares 600 and 0.04067 + 0.03934 + 0.00001 = 0.08002.
    compared = [make_comparison(a, b, 0.5, 0.9), make_comparison(b, c, 0.9, 0.5), make_comparison(c, a, 0.51, 0.5)]
    figures = measure_comparisons(compared, {one.id: len(one.text) for one in (a, b, c)}, 0.02)
    assert (figures["compared"], figures["ties"]) == (3, 1)
    assert figures["for the first place"] == pytest.approx((0.7 + 0.7 + 0.505) / 3)
    assert figures["correlation with length"] == pytest.approx(6.05 / math.sqrt(600 * 0.08002), abs=1e-4)


# --- what is compared ------------------------------------------------------------------------------------------

REVISED, KEPT = make_revised(RESPONSES[0], "Please go.")
AGAIN, KEPT_AGAIN = make_revised(REVISED, "Please go now.", step=2)
REFUSED, TURNED_AWAY = make_revised(AGAIN, "I won't.", step=3, kept=False, reason="it only refuses")


def matched(rationales: Sequence[Rationale], revisions: Sequence[Revision], limit: int) -> list[tuple[str, str]]:
    became = {one.rationale: one for one in revisions}
    found = pair_responses(rationales, became, by_id([OPEN, SUM, *OTHERS]), limit)
    return [(first.text, second.text) for _, first, second in found]


def test_a_last_revision_is_compared_with_what_it_began_with_first() -> None:
    rationales = [RESPONSES[1], RESPONSES[0], REVISED, AGAIN, REFUSED]
    revisions = [KEPT, KEPT_AGAIN, TURNED_AWAY]
    one, zero, again = TEXTS[1], TEXTS[0], AGAIN.text
    assert matched(rationales, revisions, 1) == [(zero, again)]
    assert matched(rationales, revisions, 9) == [(zero, again), (one, zero), (one, again)]


def test_only_whole_different_answers_to_open_prompts_are_compared() -> None:
    rationales = [
        make_rationale(OPEN, "Go."),
        make_rationale(OPEN, " Go. ", sample=1),
        make_rationale(OPEN, "Stay", sample=2, finish="length"),
        make_rationale(OPEN, " ", sample=3),
        make_rationale(SUM, "2+2=4"),
        make_rationale(SUM, "2+3=5", sample=1),
        make_rationale(OTHERS[0], "Alone."),
    ]
    assert matched(rationales, [], 9) == []
    assert matched([*rationales, make_rationale(OPEN, "Stay.", sample=4)], [], 9) == [
        ("Go.", "Stay."),
        (" Go. ", "Stay."),
    ]


# --- pairs of revisions ----------------------------------------------------------------------------------------


def sums(before: Outcome, after: Outcome, /, **fields: Any) -> tuple[list[Rationale], list[Verdict], list[Revision]]:
    first = make_rationale(SUM, "2+2=5")
    revised, revision = make_revised(first, "2+2=4", **fields)
    return [first, revised], [make_verdict(first, before), make_verdict(revised, after)], [revision]


@pytest.mark.parametrize(
    ("before", "after", "fields", "require", "paired"),
    [
        ("incorrect", "correct", {}, "answer", True),
        ("incorrect", "incorrect", {}, "answer", False),
        ("incorrect", "undecided", {}, "answer", False),
        ("undecided", "correct", {}, "answer", False),  # what is undecided is never rejected
        ("correct", "correct", {}, "answer", False),
        ("incorrect", "correct", {}, "steps", False),  # no step could be checked
        ("incorrect", "correct", {"kept": False}, "answer", False),
        ("incorrect", "correct", {"before": "incorrect", "after": "incorrect"}, "answer", False),
        ("incorrect", "correct", {"before": "incorrect", "after": "correct"}, "answer", True),
    ],
)
def test_the_verifier_and_the_check_must_not_contradict(
    before: Outcome, after: Outcome, fields: dict[str, Any], require: str, paired: bool
) -> None:
    rationales, verdicts, revisions = sums(before, after, **fields)
    found = pair(rationales, verdicts=verdicts, revisions=revisions, require=require)
    assert [one.source for one in found if one.source == "revision"] == ["revision"] * paired


def test_a_revision_pair_says_where_it_is_from() -> None:
    rationales, verdicts, revisions = sums("incorrect", "correct")
    (found,) = pair(rationales, verdicts=verdicts, revisions=revisions)
    assert (found.prompt, found.chosen, found.rejected) == ("2+2+3=", "2+2=4", "2+2=5")
    assert found.parents == (rationales[1].id, rationales[0].id, revisions[0].id)
    assert (found.source, found.principle, found.margin, found.group) == ("revision", "kind", 1.0, "sums")


def test_revision_pairs_can_be_left_out() -> None:
    rationales, verdicts, revisions = sums("incorrect", "correct")
    judged = {one.rationale: one for one in verdicts}
    pairs = [(one, judged[one.id]) for one in rationales]
    found = [
        list(
            prefer(
                by_problem(pairs), problems=by_id([SUM]), named=pairs, prompts=PROMPTS, shown=False, require=Select(),
                settings=Prefer(revisions=revised), revisions={one.rationale: one for one in revisions},
            )
        )
        for revised in (True, False)
    ]  # fmt: skip
    assert ([one.source for one in found[0]], found[1]) == (["revision"], [])  # nor by the verifier's word


@pytest.mark.parametrize(
    ("fields", "paired"),
    [
        ({}, True),
        ({"kept": False}, False),
        ({"before": "incorrect", "after": "correct"}, True),
        ({"before": "incorrect", "after": "undecided"}, True),
        ({"before": "incorrect", "after": "incorrect"}, False),
    ],
)
def test_a_revision_of_an_open_prompt_must_pass_its_check(fields: dict[str, Any], paired: bool) -> None:
    revised, revision = make_revised(RESPONSES[0], "Please go.", **fields)
    assert bool(pair([RESPONSES[0], revised], revisions=[revision])) is paired
    # Nor does a model's preference help a revision that its check speaks against.
    liked = make_comparison(revised, RESPONSES[0], 0.9, 0.1)
    assert bool(pair([RESPONSES[0], revised], revisions=[revision], comparisons=[liked])) is paired


@pytest.mark.parametrize(
    ("forward", "backward", "tie", "margin"),
    [
        (0.8, 0.6, 0.02, 0.2),
        (0.515, 0.5, 0.02, None),
        (0.53, 0.5, 0.02, 0.03),
        (0.5, 0.5, 0.02, None),
        (0.4, 0.6, 0.02, None),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_feedback_must_not_contradict(
    forward: float, backward: float, tie: float, margin: float | None, swapped: bool
) -> None:
    """Whichever of the two was shown first."""
    texts = (RESPONSES[0], REVISED) if swapped else (REVISED, RESPONSES[0])
    compared = make_comparison(*texts, *((backward, forward) if swapped else (forward, backward)))
    found = pair([RESPONSES[0], REVISED], revisions=[KEPT], comparisons=[compared], feedback=Feedback(tie=tie))
    assert [one.margin for one in found] == ([] if margin is None else [pytest.approx(margin)])
    for one in found:
        assert one.parents == (REVISED.id, RESPONSES[0].id, KEPT.id, compared.id)
        assert (one.chosen, one.rejected, one.source) == (REVISED.text, RESPONSES[0].text, "revision")


def test_a_chain_gives_its_last_kept_text_over_its_first() -> None:
    rationales = [RESPONSES[0], REVISED, AGAIN, REFUSED]
    (found,) = pair(rationales, revisions=[KEPT, KEPT_AGAIN, TURNED_AWAY])
    assert (found.chosen, found.rejected) == (AGAIN.text, RESPONSES[0].text)
    assert found.parents == (AGAIN.id, RESPONSES[0].id, KEPT_AGAIN.id)


def test_a_chain_that_came_back_to_its_first_text_gives_no_pair() -> None:
    back, kept = make_revised(REVISED, f" {RESPONSES[0].text}\n", step=2)
    assert pair([RESPONSES[0], REVISED, back], revisions=[KEPT, kept]) == []


def test_a_response_that_was_cut_off_is_never_rejected() -> None:
    cut = make_rationale(OPEN, "Go aw", finish="length")
    revised, revision = make_revised(cut, "Please go.")
    revised = Rationale(**{**revised.model_dump(), "finish": "stop"})
    revision = Revision(**{**revision.model_dump(), "parents": (revised.id, cut.id)})
    compared = make_comparison(revised, cut, 0.9, 0.1)
    assert pair([cut, revised], revisions=[revision], comparisons=[compared]) == []


def test_boilerplate_is_never_chosen() -> None:
    same = "It is best to ask an expert about it."
    firsts = [make_rationale(one, f"Do {at}.") for at, one in enumerate(OTHERS)]
    made = [make_revised(one, same if at < 3 else "Ask your neighbour.") for at, one in enumerate(firsts)]
    rationales, revisions = [*firsts, *(one for one, _ in made)], [one for _, one in made]
    assert [one.chosen for one in pair(rationales, revisions=revisions)] == ["Ask your neighbour."]
    liked = [make_comparison(made[0][0], firsts[0], 0.9, 0.1)]
    assert [one.source for one in pair(rationales, revisions=revisions, comparisons=liked)] == ["revision"]


def test_what_stands_in_revised_answers_to_problems_is_no_boilerplate() -> None:
    same = "It is best to ask an expert about it."
    sums = [make_problem(f"{at}+1=", "1", task="jsonl") for at in range(3)]
    firsts = [make_rationale(one, "?") for one in (*sums, OPEN)]
    made = [make_revised(one, same) for one in firsts]
    judged = [(one, make_verdict(one, "undecided")) for one in [*firsts, *(one for one, _ in made)]]
    found = prefer(
        by_problem(judged), problems=by_id([*sums, OPEN]), named=judged, prompts=PROMPTS,
        shown=False, require=Select(), settings=Prefer(), revisions={one.id: two for one, two in made},
    )  # fmt: skip
    assert [one.prompt for one in found] == ["How?"]


# --- pairs that a model prefers --------------------------------------------------------------------------------


def test_what_was_found_better_is_chosen() -> None:
    first, second = RESPONSES[:2]
    compared = make_comparison(first, second, 0.3, 0.5, principle="brief")
    (found,) = pair([first, second], comparisons=[compared])
    assert (found.prompt, found.chosen, found.rejected) == ("How?", second.text, first.text)
    assert found.parents == (second.id, first.id, compared.id)
    assert (found.source, found.principle) == ("feedback", "brief")
    assert found.margin == pytest.approx(0.2)


def test_a_revision_that_was_found_worse_is_dropped_and_not_rejected() -> None:
    worse = make_comparison(RESPONSES[0], REVISED, 0.9, 0.1)
    assert pair([RESPONSES[0], REVISED], revisions=[KEPT], comparisons=[worse]) == []
    beside = make_comparison(RESPONSES[1], REVISED, 0.9, 0.1)
    assert pair([RESPONSES[1], REVISED, RESPONSES[0]], revisions=[KEPT], comparisons=[worse, beside]) == []


def test_no_pair_stands_twice_and_none_the_other_way_round() -> None:
    twin = make_rationale(OPEN, TEXTS[0], sample=9)
    first, second = RESPONSES[:2]
    compared = [make_comparison(first, second, 0.9, 0.1), make_comparison(twin, second, 0.8, 0.1)]
    assert len(pair([first, second, twin], comparisons=compared)) == 1
    compared[1] = make_comparison(twin, second, 0.1, 0.9)
    assert [one.chosen for one in pair([first, second, twin], comparisons=compared)] == [first.text]
    better = make_comparison(REVISED, first, 0.9, 0.1)
    assert len(pair([first, REVISED], revisions=[KEPT], comparisons=[better])) == 1


def test_a_pair_of_a_revision_is_not_made_again_of_verdicts() -> None:
    rationales, verdicts, revisions = sums("incorrect", "correct")
    other = make_rationale(SUM, "2+2=6", sample=1)
    found = pair([*rationales, other], verdicts=[*verdicts, make_verdict(other, "incorrect")], revisions=revisions)
    assert [(one.chosen, one.rejected, one.source) for one in found] == [
        ("2+2=4", "2+2=5", "revision"), ("2+2=4", "2+2=6", "verdicts"),
    ]  # fmt: skip


def test_a_revision_that_was_not_kept_is_neither_chosen_nor_rejected() -> None:
    for after in ("correct", "incorrect"):
        rationales, verdicts, revisions = sums("incorrect", after, kept=False)
        right = make_rationale(SUM, "2+2=4!", sample=1)
        found = pair([*rationales, right], verdicts=[*verdicts, make_verdict(right, "correct")], revisions=revisions)
        assert [(one.chosen, one.rejected) for one in found] == [("2+2=4!", "2+2=5")]


def test_a_kept_revision_with_a_wrong_answer_is_not_rejected() -> None:
    rationales, verdicts, revisions = sums("incorrect", "incorrect")
    right = make_rationale(SUM, "2+2=4!", sample=1)
    found = pair([*rationales, right], verdicts=[*verdicts, make_verdict(right, "correct")], revisions=revisions)
    assert [(one.chosen, one.rejected) for one in found] == [("2+2=4!", "2+2=5")]


@pytest.mark.parametrize("outcome", ["correct", "incorrect"])
def test_open_prompts_give_no_pairs_of_verdicts(outcome: Outcome) -> None:
    verdicts = [make_verdict(RESPONSES[0], outcome), make_verdict(RESPONSES[1], "incorrect")]
    assert pair(RESPONSES[:2], verdicts=verdicts) == []


def test_limits_hold_for_pairs_of_every_source() -> None:
    firsts = [make_rationale(one, f"Do {at}.", sample=at) for one in OTHERS[:2] for at in range(3)]
    made = [make_revised(one, f"Please {one.text}") for one in firsts]
    rationales, revisions = [*firsts, *(one for one, _ in made)], [one for _, one in made]
    assert len(pair(rationales, revisions=revisions)) == 6
    found = pair(rationales, revisions=revisions, per_problem=2)
    assert sorted(one.prompt for one in found) == ["0?", "0?", "1?", "1?"]
    found = pair(rationales, revisions=revisions, limit=2)
    assert {one.prompt for one in found} == {"0?", "1?"}, "a limit is even over the problems"
    problem, verdicts, revised = sums("incorrect", "correct")
    wrong = make_rationale(SUM, "2+2=6", sample=1)
    both = pair(
        [*problem, wrong], verdicts=[*verdicts, make_verdict(wrong, "incorrect")], revisions=revised, per_problem=1
    )
    assert [one.source for one in both] == ["revision"]


def test_another_judge_is_another_preference_and_nothing_else(tmp_path: Path) -> None:
    open_ = ("constitution=short", "revise={}", "train={name: prompts/red-team}", "repair=null", "warmup=null")
    plain = (*open_, "select.sources=samples", "model={path: some/model}", "prefer={feedback: {}}", "dpo={}")
    plans = [build_plan(small_recipe(tmp_path, *plain, *more), "") for more in ((), ("judge={path: other/model}",))]
    first, other = ({key: stage.fingerprint for key, stage in plan.items()} for plan in plans)
    changed = {name for round_, name in first if round_ == 1 and first[1, name] != other[1, name]}
    assert changed == {"prefer", "dpo", "evaluate", "comply", "promote"}


# --- pairs that people chose between ---------------------------------------------------------------------------


def test_pairs_of_people_come_with_their_problems(tmp_path: Path) -> None:
    rows = [
        {"chosen": f"\n\nHuman: {at}?\n\nAssistant: good", "rejected": f"\n\nHuman: {at}?\n\nAssistant: bad"}
        for at in range(5)
    ]
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    files = f"prefer={{files: {{path: {tmp_path / 'pairs.jsonl.gz'}, limit: 3}}}}"
    session = Session(small_recipe(tmp_path, files, "dpo={}", text=SMALL), RunFolder(tmp_path / "run"))
    rounds: list[list[Record]] = [list(read_pairs(StageDesk(session.plan[at, "prefer"], session))) for at in (1, 2)]
    for records in rounds:
        problems = {one.id for one in records if isinstance(one, Problem)}
        pairs = [one for one in records if isinstance(one, Preference)]
        assert len(pairs) == 3 and {parent for one in pairs for parent in one.parents} == problems
        assert all((one.chosen, one.rejected, one.source) == (" good", " bad", "file") for one in pairs)
    assert rounds[0] != rounds[1]
