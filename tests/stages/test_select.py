from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest
from builders import make_problem, make_rationale, make_revised, make_verdict

from selfimprove.prompting.prompts import Exemplar, PromptFormat
from selfimprove.recipe import Prompting
from selfimprove.records import Decision, Example, Outcome, Problem, Rationale, Revision, Verdict, by_id
from selfimprove.stages.select import HintCheck, Select, select
from selfimprove.stages.whole_round import OpenTexts

PROMPTS = PromptFormat(Prompting(question="{question}", hint="{answer}?{question}"))
FEW_SHOT = PromptFormat(
    Prompting(style="few-shot", question="Q: {question}", hint="Q: {question} (hint: {answer})", cue=" A:"),
    (Exemplar(question="2+2=", answer="4"),),
)
A, B, C, D = (make_problem(f"1+{number}=", str(1 + number)) for number in range(4))
OPEN = [make_problem(f"What of {number}?", None, task="prompts/mine", group="risky") for number in range(4)]

Written = tuple[Rationale, Verdict]


def write(
    problem: Problem, text: str = "#", outcome: Outcome = "correct", steps: Iterable[Outcome] = (), **fields: Any
) -> Written:
    """A judged sample; its number keeps samples of one problem apart."""
    rationale = make_rationale(problem, text, **fields)
    return rationale, make_verdict(rationale, outcome, list(steps))


def hinted(problem: Problem, text: str = "#") -> Written:
    return write(problem, text, origin="rationalized", prompt=PROMPTS.render_hint(problem))


def choose(
    written: list[Written],
    *,
    earlier: Iterable[Example] = (),
    prompts: PromptFormat = PROMPTS,
    shown: bool = False,
    revisions: Iterable[Revision] = (),
    all_revisions: bool = False,
    **settings: Any,
) -> tuple[dict[str, str], list[Example]]:
    """The decision's reason by rationale, and the examples."""
    records = list(
        select(
            written,
            problems=by_id([A, B, C, D, *OPEN]),
            earlier=earlier,
            prompts=prompts,
            shown=shown,
            settings=Select(**settings),
            revisions={one.rationale: one for one in revisions},
            all_revisions=all_revisions,
        )
    )
    decisions = [one for one in records if isinstance(one, Decision)]
    examples = [one for one in records if isinstance(one, Example)]
    assert [one.kept for one in decisions].count(True) == len(examples)
    assert {one.rationale for one in decisions} == {rationale.id for rationale, _ in written}, "one is not decided on"
    return {one.rationale: one.reason for one in decisions}, examples


def reasons(written: list[Written], **settings: Any) -> list[str]:
    """The reasons in the order in which the rationales were given."""
    found, _ = choose(written, **settings)
    return [found[rationale.id] for rationale, _ in written]


CUT = "cut off at the length limit, so its end would be learned wrong"
NO_STEP = "right answer, no step could be checked"
DUPLICATE = "duplicate of an example that is trained already"
FULL = "over the cap on rationalized examples"


@pytest.mark.parametrize(
    ("written", "settings", "reason"),
    [
        (write(A), {}, "kept"),
        (write(A, outcome="incorrect"), {}, "incorrect: scripted"),
        (write(A, outcome="undecided"), {}, "undecided: scripted"),
        (write(A, outcome="incorrect", steps=["correct"]), {"require": "steps"}, "incorrect: scripted"),
        (write(A, finish="length"), {}, CUT),
        (write(A, finish="length", steps=["correct"]), {"require": "steps"}, CUT),
        (write(A, steps=["correct", "correct"]), {"require": "steps"}, "kept"),
        (write(A, steps=["correct", "incorrect"]), {"require": "steps"}, "right answer, wrong step: step 1"),
        (write(A, steps=["correct", "incorrect"]), {"require": "answer"}, "kept"),
        (write(A, steps=["correct", "undecided"]), {"require": "steps"}, NO_STEP),
        (write(A), {"require": "steps"}, NO_STEP),
        (write(A, f"{A.answer}?{A.question}\n#"), {}, "hint text in the rationale: '1?'"),
        (hinted(A, f"as {A.answer}? says"), {}, "hint text in the rationale: '1?'"),
        (hinted(A), {}, "kept"),
    ],
)
def test_a_rationale_is_kept_or_turned_away_with_a_reason(
    written: Written, settings: dict[str, Any], reason: str
) -> None:
    assert reasons([written], **settings) == [reason]


def test_an_example_comes_from_its_rationale_and_its_verdict() -> None:
    rationale, verdict = written = write(A, "the text")
    _, (example,) = choose([written])
    assert example.parents == (rationale.id, verdict.id)
    assert (example.prompt, example.completion, example.origin) == (A.question, "the text", "sampled")
    assert example.group == A.group


def test_every_decision_names_its_rationale_and_its_verdict() -> None:
    rationale, verdict = write(A, outcome="incorrect")
    records = select(
        [(rationale, verdict)],
        problems=by_id([A]),
        earlier=(),
        prompts=PROMPTS,
        shown=False,
        settings=Select(),
    )
    assert [one.parents for one in records] == [(rationale.id, verdict.id)]


@pytest.mark.parametrize(
    ("shown", "prompt"), [(False, "Q: 1+0= A:"), (True, "Q: 2+2= A: 4\n\nQ: 1+0= A:")], ids=["question", "shown"]
)
@pytest.mark.parametrize("written", [write(A, prompt=FEW_SHOT.render(A)), hinted(A)], ids=["sampled", "rationalized"])
def test_the_trained_prompt_never_holds_the_hint(written: Written, shown: bool, prompt: str) -> None:
    _, (example,) = choose([written], prompts=FEW_SHOT, shown=shown)
    assert example.prompt == prompt
    assert count_hinted([example], [A]) == 0


def count_hinted(examples: Iterable[Example], problems: Iterable[Problem]) -> int:
    check = HintCheck(FEW_SHOT, problems)
    for one in examples:
        check.see(one)
    return check.hinted


@pytest.mark.parametrize(
    ("prompts", "shown", "expected"),
    [(PROMPTS, False, "as it was"), (PROMPTS, True, "as it was"), (FEW_SHOT, True, "as it was"),
     (FEW_SHOT, False, "Q: 1+0= A:")],
)  # fmt: skip
def test_a_sample_is_trained_with_the_prompt_that_it_was_given(
    prompts: PromptFormat, shown: bool, expected: str
) -> None:
    """Also where prompts are written otherwise now, as by a chat template that was changed."""
    written, taken = write(A, prompt="as it was"), hinted(B)
    _, (example, other) = choose([written, taken], prompts=prompts, shown=shown)
    assert example.prompt == expected
    assert other.prompt == (prompts.render(B) if shown else prompts.render_question(B))
    check = HintCheck(prompts, [A, B], lambda: [written[0].prompt])
    for one in (example, other, example):
        check.see(one)
    assert (check.checked, check.hinted, check.otherwise) == (3, 0, 2 * (expected == "as it was"))


def test_check_no_hint_counts_prompts_that_no_problem_has() -> None:
    prompts = [FEW_SHOT.render(A), FEW_SHOT.render_question(A), FEW_SHOT.render_hint(A), "1?1+0=", FEW_SHOT.render(B)]
    examples = [Example(prompt=one, completion="#", origin="rationalized", group="1+1") for one in prompts]
    assert count_hinted(examples, [A]) == 3
    assert count_hinted(examples, [A, B]) == 2


def test_a_repeated_text_is_trained_once_for_each_problem() -> None:
    written = [write(A, "x", sample=0), write(A, "x", sample=1), write(A, "y", sample=2), write(B, "x"), hinted(A, "x")]
    assert reasons(written) == ["kept", DUPLICATE, "kept", "kept", DUPLICATE]


def test_a_text_that_an_earlier_round_trained_is_a_duplicate() -> None:
    earlier = [
        Example(prompt=A.question, completion="x", origin="seed", group="1+1"),
        Example(prompt="other", completion="y", origin="sampled", group="1+1"),
    ]
    assert reasons([write(A, "x"), write(A, "y"), write(B, "x")], earlier=earlier) == [DUPLICATE, "kept", "kept"]


def test_a_cap_a_problem_keeps_the_first_ones() -> None:
    written = [write(A, text, sample=at) for at, text in enumerate(["x", "x", "y", "z"])] + [write(B, "x")]
    over = "over the cap of 2 a problem"
    assert reasons(written, per_problem=2) == ["kept", DUPLICATE, "kept", over, "kept"]
    assert reasons(written, per_problem=None) == ["kept", DUPLICATE, "kept", "kept", "kept"]


def test_samples_are_preferred_to_rationalizations() -> None:
    written = [hinted(A, "x"), write(A, "y"), hinted(B, "x")]
    assert reasons(written, per_problem=1) == ["over the cap of 1 a problem", "kept", "kept"]


@pytest.mark.parametrize(
    ("cap", "own", "kept"),
    # Of own + kept rationales, kept are at most the share: kept / (own + kept) <= cap.
    [
        (None, 1, 40), (0.0, 10, 0), (0.1, 9, 1), (0.1, 8, 0), (0.3, 7, 3), (0.3, 6, 2), (0.5, 10, 10), (0.75, 2, 6),
        (0.6, 2, 3), (0.7, 3, 7), (1.0, 1, 40), (0.5, 0, 0),
    ],
)  # fmt: skip
def test_the_share_of_rationalizations_is_exact(cap: float | None, own: int, kept: int) -> None:
    samples = [write(A, str(number)) for number in range(own)]
    rationalized = [hinted(B, str(number)) for number in range(40)]
    found = reasons([*rationalized, *samples], rationalized_cap=cap)
    assert found == ["kept"] * kept + [FULL] * (40 - kept) + ["kept"] * own
    if cap is not None and own:
        assert Fraction(kept, own + kept) <= Fraction(str(cap))


@pytest.mark.parametrize(
    ("samples", "settings"),
    [
        ([write(A, "x", sample=number) for number in range(10)], {}),  # nine duplicates
        ([write(A, str(number)) for number in range(10)], {"per_problem": 1}),
        ([write(A, f"{A.answer}? {number}") for number in range(9)] + [write(A, "x")], {}),
    ],
    ids=["duplicates", "cap a problem", "hint text"],
)
def test_samples_that_are_turned_away_make_no_room_for_rationalizations(
    samples: list[Written], settings: dict[str, Any]
) -> None:
    found = reasons([*samples, *(hinted(B, str(number)) for number in range(1)), hinted(C), hinted(D)],
                    rationalized_cap=0.5, **settings)  # fmt: skip
    assert found.count("kept") == 2, "one sample is kept, so half of the kept ones is one rationalization"


def test_rationalizations_that_are_turned_away_take_no_room() -> None:
    written = [write(A, "x"), hinted(B, f"{B.answer}? {B.question}"), hinted(C), hinted(D)]
    assert reasons(written, rationalized_cap=0.5) == ["kept", "hint text in the rationale: '2?'", "kept", FULL]


COINCIDENCE = "likely a coincidence: over 50% of the problem's samples are correct, in a group with a yield below 70%"
# Of the group's 8 samples 5 are correct, a yield of 62.5%: all four of A's, and one of B's four.
HARD = [write(A, str(number)) for number in range(4)] + [
    write(B, str(number), "correct" if number == 0 else "incorrect") for number in range(4)
]


def test_a_problem_that_a_hard_group_gets_right_too_often_is_no_example() -> None:
    found = reasons(HARD, hard_below=0.7, hard_share=0.5)
    assert found == [COINCIDENCE] * 4 + ["kept"] + ["incorrect: scripted"] * 3


@pytest.mark.parametrize(
    "settings", [{}, {"hard_below": 0.625, "hard_share": 0.5}, {"hard_below": 0.7, "hard_share": 1.0}]
)
def test_an_easy_group_keeps_all_its_correct_samples(settings: dict[str, float]) -> None:
    assert reasons(HARD, **settings).count("kept") == 5


def test_a_share_at_the_limit_is_kept() -> None:
    written = [write(A, str(number), "correct" if number < 2 else "incorrect") for number in range(4)]
    assert reasons(written, hard_below=0.9, hard_share=0.5).count("kept") == 2
    assert reasons(written, hard_below=0.9, hard_share=0.4).count("kept") == 0


def test_groups_are_hard_on_their_own_and_rationalizations_count_for_none() -> None:
    other = make_problem("10+1=", "11", group="2+1")
    easy = [write(other, str(number)) for number in range(8)]
    written = [*HARD, *easy, hinted(C, "x"), hinted(C, "y")]
    records = select(
        written,
        problems=by_id([A, B, C, other]),
        earlier=(),
        prompts=PROMPTS,
        shown=False,
        settings=Select(hard_below=0.7, hard_share=0.5),
    )
    kept = [one.prompt for one in records if isinstance(one, Example)]
    assert kept == [B.question] + [other.question] * 8 + [C.question] * 2


# --- revisions -------------------------------------------------------------------------------------------------

NOT_REVISED, LATER = "a response to an open prompt that is not a revision", "there is a later revision of it"
BOILERPLATE = "boilerplate: most of it stands in the revisions for other prompts too"


def judged(rationale: Rationale, outcome: Outcome = "undecided") -> Written:
    return rationale, make_verdict(rationale, outcome)


@pytest.mark.parametrize(
    ("all_revisions", "expected"),
    [
        (False, [NOT_REVISED, LATER, "kept", "revision not kept: it only refuses"]),
        (True, [NOT_REVISED, "kept", "kept", "revision not kept: it only refuses"]),
    ],
)
def test_of_a_chain_on_an_open_prompt_the_last_kept_text_is_trained_or_all(
    all_revisions: bool, expected: list[str]
) -> None:
    first = make_rationale(OPEN[0], "Go.")
    revised, kept = make_revised(first, "Please go.")
    again, kept_again = make_revised(revised, "Please go now.", step=2)
    refused, not_kept = make_revised(again, "I won't.", step=3, kept=False, reason="it only refuses")
    written = [judged(one) for one in (first, revised, again, refused)]
    found, examples = choose(written, revisions=[kept, kept_again, not_kept], all_revisions=all_revisions)
    assert [found[one.id] for one, _ in written] == expected
    assert examples[-1].parents == (again.id, written[2][1].id)
    assert (examples[-1].prompt, examples[-1].completion) == (OPEN[0].question, "Please go now.")
    assert (examples[-1].origin, examples[-1].group) == ("revised", "risky")


def test_a_response_that_is_fine_is_trained_as_it_is_where_it_is_whole() -> None:
    whole, blank = make_rationale(OPEN[0], "Go."), make_rationale(OPEN[0], " ")
    cut, loop = make_rationale(OPEN[1], "Go and", finish="length"), make_rationale(OPEN[1], "Go and go on. " * 20)
    texts = [whole, blank, cut, loop, make_rationale(OPEN[2], "Go.")]
    why_not = OpenTexts([], by_id(OPEN), {}, False, fine={one.id for one in texts[:4]})
    part = "cut off at the length limit, empty, or in circles"
    assert [why_not(one) for one in texts] == ["", part, part, part, NOT_REVISED]


def test_a_revision_in_which_nothing_more_is_found_may_still_be_boilerplate() -> None:
    made = [make_revised(make_rationale(one, "Go."), "It is best to ask an expert about it.") for one in OPEN[:3]]
    texts = [one for one, _ in made]
    why_not = OpenTexts(texts, by_id(OPEN), {one.rationale: one for _, one in made}, False, {one.id for one in texts})
    assert {why_not(one) for one in texts} == {BOILERPLATE}


@pytest.mark.parametrize(
    ("outcome", "kept", "reason"),
    [
        ("correct", True, "kept"),
        ("incorrect", True, "incorrect: scripted"),
        ("undecided", True, "undecided: scripted"),
        ("correct", False, "revision not kept: unchanged"),
    ],
)
def test_a_revised_answer_must_be_right_and_be_kept(outcome: Outcome, kept: bool, reason: str) -> None:
    first = make_rationale(A, "#2")
    revised, revision = make_revised(first, "#1", kept=kept, reason="kept" if kept else "unchanged")
    written = [judged(first, "incorrect"), judged(revised, outcome)]
    assert reasons(written, revisions=[revision]) == ["incorrect: scripted", reason]


def test_a_text_that_stands_under_three_prompts_is_not_trained() -> None:
    same = "It is best to ask an expert about it."
    for count, reason in ((2, "kept"), (3, BOILERPLATE)):
        made = [make_revised(make_rationale(one, f"Do {one.question}"), same) for one in OPEN[:count]]
        own, kept = make_revised(make_rationale(OPEN[3], "Do it."), "Ask your neighbour first.")
        written = [judged(one) for one, _ in made] + [judged(own)]
        assert reasons(written, revisions=[*(one for _, one in made), kept]) == [reason] * count + ["kept"]


def test_answers_to_problems_are_no_boilerplate() -> None:
    same = "The sum is what we were looking for."
    made = [make_revised(make_rationale(one, "?"), same) for one in (A, B, C)]
    own, kept = make_revised(make_rationale(OPEN[0], "Do it."), same)
    written = [judged(one, "correct") for one, _ in made] + [judged(own)]
    assert reasons(written, revisions=[*(one for _, one in made), kept]) == ["kept"] * 4
