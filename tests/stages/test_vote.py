"""Majorities: who wins, what they let in, and what they are worth."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from builders import make_problem, make_rationale, make_verdict
from small import SMALL, small_recipe

from selfimprove.errors import RecipeError
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Prompting
from selfimprove.recipe.task_settings import JsonlTask
from selfimprove.records import (
    Decision,
    Evaluation,
    Example,
    Problem,
    Promotion,
    Rationale,
    Verdict,
    Vote,
    by_id,
)
from selfimprove.results.status import print_status, to_json
from selfimprove.running.figures import read_funnels
from selfimprove.running.loop import run_loop
from selfimprove.stages.asking import counted, measure_votes
from selfimprove.stages.evaluate import evaluate
from selfimprove.stages.select import Select, select
from selfimprove.stages.verify import Verify
from selfimprove.stages.vote import MajorityVote, Votes, count_shares, vote
from selfimprove.store import RunFolder
from selfimprove.store.query import Query
from selfimprove.tasks import load_task
from selfimprove.verifiers.judging import Judging

A, B = make_problem("1+2=", None), make_problem("2+2=", None)
PROMPTS = PromptFormat(Prompting())


def write(problem: Problem, *answers: str | None, **fields: object) -> list[Rationale]:
    """Samples of a problem with these answers."""
    return [
        make_rationale(problem, f"#{answer} {at}", answer=answer, sample=at, **fields)
        for at, answer in enumerate(answers)
    ]


def by_words(asked: Sequence[tuple[Problem, Rationale, str]]) -> list[bool]:
    """Numbers are the same where they are equal, as a verifier has it."""
    return [float(str(one.answer)) == float(other) for _, one, other in asked]


def count(*answers: str | None) -> Vote:
    (found,) = vote(by_id([A]), write(A, *answers), same=by_words)
    return found


@pytest.mark.parametrize(
    ("answers", "answer", "votes", "answered", "tie"),
    [
        (("3", "3", "4"), "3", 2, 2, False),
        (("4", "3", "3"), "3", 2, 2, False),
        (("3", "3.0", "4", "4", "03"), "3", 3, 2, False),  # equal by the verifier, not as texts
        (("4", "3", "3", "4"), "4", 2, 2, True),  # the first one sampled
        (("3", None, None, None), "3", 1, 1, False),  # no answer is no vote
        ((None, None), None, 0, 0, False),
        (("1", "2", "3"), "1", 1, 3, True),
        (("3",), "3", 1, 1, False),
    ],
)
def test_the_answer_with_most_votes_wins(
    answers: Sequence[str | None], answer: str | None, votes: int, answered: int, tie: bool
) -> None:
    found = count(*answers)
    assert (found.answer, found.votes, found.answers, found.tie) == (answer, votes, answered, tie)
    assert found.samples == len(answers) and found.problem == A.id
    assert len(found.agreeing) == votes


def test_the_order_of_the_samples_decides_nothing() -> None:
    samples = write(A, "4", "3", "3", "4", None)
    one, other = (list(vote(by_id([A]), some, same=by_words)) for some in (samples, samples[::-1]))
    assert one == other


def test_a_text_that_is_whole_stands_for_the_others() -> None:
    samples = write(A, "3", "3", "4")
    samples[0] = make_rationale(A, "#3 and on", answer="3", sample=0, finish="length")
    (found,) = vote(by_id([A]), samples, same=by_words)
    assert found.winner == samples[1].id and set(found.agreeing) == {samples[0].id, samples[1].id}


def test_answers_are_asked_about_once_a_group_and_all_problems_at_once() -> None:
    asked: list[int] = []

    def same(pairs: Sequence[tuple[Problem, Rationale, str]]) -> list[bool]:
        asked.append(len(pairs))
        return by_words(pairs)

    samples = [*write(A, "1", "2", "3", "1"), *write(B, "5", "5.0", "6")]
    assert [one.votes for one in vote(by_id([A, B]), samples, same=same)] == [2, 2]
    assert asked == [0, 2, 3]


# --- what a majority lets in ----------------------------------------------------------------------------------


def decide(samples: Sequence[Rationale], problems: Sequence[Problem] = (A, B), **settings: object) -> dict[int, str]:
    """The reason of each sample of A, by its number."""
    found = list(vote(by_id(problems), samples, same=by_words))
    votes = Votes(found, samples, by_id(problems), MajorityVote(**settings))  # type: ignore[arg-type]
    records = select(
        [(one, make_verdict(one, "undecided")) for one in samples],
        problems=by_id(problems),
        earlier=(),
        prompts=PROMPTS,
        shown=False,
        settings=Select(),
        votes=votes,
    )
    names = {one.id: one for one in samples}
    records = list(records)
    kept = {one.parents[0] for one in records if isinstance(one, Example)}
    decisions = [one for one in records if isinstance(one, Decision)]
    assert kept == {one.rationale for one in decisions if one.kept}
    return {names[one.rationale].sample: one.reason for one in decisions if names[one.rationale].problem == A.id}


def test_the_majority_is_trained_and_says_why() -> None:
    reasons = decide(write(A, "3", "3", "3", "4"), share=0.6, votes=3)
    assert [reasons[at] for at in range(3)] == ["kept by vote: 3 of 4 samples agree"] * 3
    assert reasons[3] == "outvoted: 3 of 4 samples agree on another answer"


@pytest.mark.parametrize(
    ("answers", "settings", "reason"),
    [
        (("3", "3", "4", "5"), {"votes": 2}, "no majority: 2 of 4 samples agree, fewer than 2 or than 60%"),
        (("3", "3", None, None), {"votes": 2}, "no majority: 2 of 4 samples agree, fewer than 2 or than 60%"),
        (("3", "3", "3"), {"votes": 4}, "no majority: 3 of 3 samples agree, fewer than 4 or than 60%"),
        (("3", "3", "4", "4"), {"share": 0.5, "votes": 2}, "no majority: two answers have 2 of 4 votes each"),
        ((None, None), {"share": 0.0, "votes": 1}, "no vote: none of 2 samples gives an answer"),
    ],
)
def test_what_is_no_majority_is_turned_away(
    answers: Sequence[str | None], settings: dict[str, float], reason: str
) -> None:
    assert set(decide(write(A, *answers), **settings).values()) == {reason}


def test_a_text_that_is_short_beside_the_others_of_its_group_is_turned_away() -> None:
    long = write(B, "4", "4", "4", tokens=20)
    samples = [*write(A, "3", "3", tokens=20), make_rationale(A, "#3 short", answer="3", sample=2, tokens=9), *long]
    assert set(decide(samples, votes=2).values()) == {"kept by vote: 3 of 3 samples agree"}
    reasons = decide(samples, votes=2, length=0.5)
    assert reasons[2] == "too short: 9 tokens, fewer than 50% of the longest one of its group, 20"
    assert reasons[0] == reasons[1] == "kept by vote: 3 of 3 samples agree"
    # Another group is no measure.
    other = make_problem("12+12=", None, group="2+2")
    apart = [*samples[:3], *write(other, "24", "24", tokens=90)]
    assert decide(apart, (A, other), votes=2, length=0.5, against="median")[0].startswith("kept")


def test_a_cut_off_text_of_the_majority_is_not_trained() -> None:
    samples = [*write(A, "3", "3"), make_rationale(A, "#3", answer="3", sample=2, finish="length")]
    assert decide(samples, votes=2)[2] == "cut off at the length limit, so its end would be learned wrong"


def test_without_the_setting_a_problem_without_an_answer_trains_nothing() -> None:
    samples = write(A, "3", "3", "3")
    records = select(
        [(one, make_verdict(one, "undecided")) for one in samples],
        problems=by_id([A]),
        earlier=(),
        prompts=PROMPTS,
        shown=False,
        settings=Select(),
    )
    assert {one.kept for one in records if isinstance(one, Decision)} == {False}


def test_what_a_majority_lets_in_stands_for_the_yield() -> None:
    samples = [*write(A, "3", "3", "3", "4"), *write(B, "1", "2", "3", "4")]
    found = list(vote(by_id([A, B]), samples, same=by_words))
    votes = Votes(found, samples, by_id([A, B]), MajorityVote())
    assert votes.yields(samples) == {"1+1": (8, 3)}


# --- as an evaluation -----------------------------------------------------------------------------------------


def test_the_majority_is_evaluated_beside_a_single_sample() -> None:
    known = [make_problem("1+2=", "3"), make_problem("2+2=", "4"), make_problem("3+3=", "6")]
    samples = [*write(known[0], "3", "3", "9"), *write(known[1], "5", "5", "4"), *write(known[2], "1", "6", "6")]
    right = {one.id: one.answer for one in known}
    verdicts = {
        one.id: make_verdict(one, "correct" if one.answer == right[one.problem] else "incorrect") for one in samples
    }
    votes = list(vote(by_id(known), samples, same=by_words))
    chosen = counted(samples, votes)
    assert sorted(str(one.answer) for one in chosen) == ["3", "5", "6"]
    found = list(evaluate(known, chosen, verdicts, "c"))
    assert [(one.correct, one.n) for one in found] == [(2, 3)]
    assert count_shares(samples, verdicts) == {known[0].id: (2, 3), known[1].id: (1, 3), known[2].id: (2, 3)}
    measured = measure_votes(votes, samples, verdicts, found)
    assert measured["majority"] == pytest.approx(2 / 3) and measured["single sample"] == pytest.approx(5 / 9)
    assert (measured["samples"], measured["problems"], measured["ties"]) == (3, 3, 0)


@pytest.mark.parametrize(
    ("compare", "one", "other", "same"),
    [
        ("math", "1,000", "1000.0", True),
        ("math", "1/2", "0.5", True),
        ("math", "7 apples", "7", True),
        ("math", "7", "8", False),
        ("math", "\\frac{6}{4}", "3/2", True),
        ("text", "Paris.", "paris", True),
        ("text", "Paris", "London", False),
        ("choice", "A", "B", False),
        ("choice", "B", "B", True),
    ],
)
def test_the_verifier_says_which_answers_are_the_same(
    compare: str, one: str, other: str, same: bool, tmp_path: Path
) -> None:
    path = tmp_path / "problems.jsonl"
    options = ', "options": ["x", "y", "z"]' if compare == "choice" else ""
    path.write_text("".join(f'{{"question": "q{at}", "answer": null{options}}}\n' for at in range(4)))
    settings = JsonlTask(path=str(path), compare=compare, options="options" if options else None)  # type: ignore[arg-type]
    task = load_task(settings)
    problem = task.held_out()[0]
    judging = Judging(Verify(), small_recipe(tmp_path).judge, [task], lambda _: [])
    try:
        assert judging.same_answers([(problem, make_rationale(problem, answer=one), other)]) == [same]
    finally:
        judging.close()


# --- in a run -------------------------------------------------------------------------------------------------

VOTED = ["train.hide_answers=true", "generate.samples=4", "select.vote={share: 0.5, votes: 2}", "repair=null"]
LEARNS = [f"warmup.{name}" for name in ("examples=200", "steps=100", "batch_size=16")]
LEARNS += ["warmup.optimizer=muon", "warmup.learning_rate=0.02", "generate.temperature=0.5"]


def test_a_run_without_answers_trains_on_majorities(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path / "recipe", *VOTED, *LEARNS, "rounds=1", "generate.max_tokens=48")
    folder = RunFolder(tmp_path / "run")
    run_loop(recipe, folder)
    problems = by_id(folder.stage(1, "frontier").read(Problem))
    assert problems and all(one.answer is None for one in problems.values())
    votes = folder.stage(1, "verify").read(Vote)
    assert {one.problem for one in votes} == set(problems) and {one.samples for one in votes} == {4}
    assert {one.outcome for one in folder.stage(1, "verify").read(Verdict)} == {"undecided"}
    decisions = folder.stage(1, "select").read(Decision)
    rationales = by_id(folder.stage(1, "generate").read(Rationale))
    agreeing = {name for one in votes for name in one.agreeing}
    for one in decisions:
        assert not one.kept or one.rationale in agreeing
        assert one.kept == one.reason.startswith("kept by vote")
        assert rationales[one.rationale].finish == "stop" or not one.kept
    kept = sum(one.kept for one in decisions)
    assert read_funnels(Query(folder))[1].kept_vote == kept > 0
    assert to_json(folder)["votes"][0]["problems"] == len(problems)
    print_status(folder)


def test_an_evaluation_by_several_samples_keeps_them_all(tmp_path: Path) -> None:
    more = ("rounds=0", "evaluate.samples=3", "evaluate.temperature=1.0")
    folder = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path / "recipe", *more), folder)
    disk = folder.stage(0, "evaluate")
    problems = folder.stage(0, "problems").read(Problem)
    rationales = disk.read(Rationale)
    assert len(rationales) == 3 * len(problems) and {one.sample for one in rationales} == {0, 1, 2}
    assert len(disk.read(Verdict)) == len(rationales)
    assert {one.problem for one in disk.read(Vote)} == {one.id for one in problems}
    assert sum(one.n for one in disk.read(Evaluation)) == len(problems)
    manifest = disk.manifest()
    assert manifest and manifest.metrics["self-consistency"]["samples"] == 3
    assert to_json(folder)["self-consistency"][0]["problems"] == len(problems)


def test_checkpoints_are_paired_by_their_majorities(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    more = ("rounds=1", "evaluate.samples=3", "evaluate.temperature=1.0", "promote.rule=not-worse")
    run_loop(small_recipe(tmp_path / "recipe", *more), folder)
    (promotion,) = folder.stage(1, "promote").read(Promotion)
    right = []
    for round_ in (0, 1):
        disk = folder.stage(round_, "evaluate")
        chosen = {one.winner: one.problem for one in disk.read(Vote)}
        judged = {one.rationale: one.outcome for one in disk.read(Verdict)}
        right.append({problem for name, problem in chosen.items() if judged[name] == "correct"})
    assert (promotion.won, promotion.lost) == (len(right[1] - right[0]), len(right[0] - right[1]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluate.samples=4", "4 greedy samples are all the same; set 'evaluate.temperature'"),
        ("select.vote={votes: 9}", "2 samples at temperature 1 have no majority of 9"),
        ("evaluate.training=5", "'evaluate.training' is for recipes without rounds"),
    ],
)
def test_settings_that_cannot_work_are_one_line(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        small_recipe(tmp_path, override, text=SMALL)
