"""The stages that generate, verify, rationalize, evaluate and promote."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pytest
from builders import CHECKPOINT, make_problem, make_rationale, make_verdict

from selfimprove.engines import Completion, Request, ScriptedEngine
from selfimprove.recipe import Sampling
from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Outcome, Problem, Promotion, Rationale, Verdict, derive_seed
from selfimprove.stages.base import Writer, arrange
from selfimprove.stages.evaluate import evaluate
from selfimprove.stages.failed import failed_problems
from selfimprove.stages.generate import generate
from selfimprove.stages.promote import Promote, promote
from selfimprove.stages.rationalize import rationalize
from selfimprove.stages.verify import verify
from selfimprove.verifiers import make_verifier

A, B, C = make_problem("1+2=", "3"), make_problem("2+2=", "4"), make_problem("Why?", None)
GREEDY = Sampling(temperature=0.0, top_p=0.9, max_tokens=7)


class BackwardsEngine(ScriptedEngine):
    """An engine that finishes its last request first."""

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        yield from reversed(list(super().generate(requests, sampling, stop)))


def make_writer(engine: ScriptedEngine, **fields: Any) -> Writer:
    plain: dict[str, Any] = {"checkpoint": CHECKPOINT, "stop": (), "round": 2, "seed": 9}
    return Writer(engine=engine, extract_answer=lambda problem, text, prompt: text[-1:] or None, **plain | fields)


@pytest.mark.parametrize("engine", [ScriptedEngine, BackwardsEngine])
def test_each_problem_gets_its_samples_whatever_the_order(engine: type[ScriptedEngine]) -> None:
    writer = make_writer(engine(lambda prompt, seed: f"{prompt}{seed}"))
    found = list(generate([A, B], writer=writer, render=lambda one: f"<{one.question}>", sampling=GREEDY, samples=3))
    assert Counter(one.problem for one in found) == {A.id: 3, B.id: 3}
    for one in found:
        problem = A if one.problem == A.id else B
        assert one.seed == derive_seed(9, 2, "generate", problem.id, one.sample)
        assert one.text == f"<{problem.question}>{one.seed}" and one.prompt == f"<{problem.question}>"
        assert one.answer == one.text[-1]
        assert (one.origin, one.round, one.checkpoint) == ("sampled", 2, CHECKPOINT)
        assert (one.temperature, one.top_p) == (0.0, 0.9)
        assert one.tokens == len(one.text) + 1 and one.finish == "stop"
    assert sorted(one.sample for one in found if one.problem == A.id) == [0, 1, 2]


def test_it_makes_no_difference_which_text_finishes_first() -> None:
    """Of a part that goes on after a kill the texts that were kept come first."""
    problems = [make_problem(f"{at}+1=", str(at + 1)) for at in range(3)]
    texts = [make_rationale(one, f"#{at}", sample=sample) for at, one in enumerate(problems) for sample in range(2)]
    verdicts = [make_verdict(one, "correct") for one in texts]
    expected = [*texts, *verdicts]
    for places in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4], [4, 5, 0, 1, 3, 2]):
        arrived = [*(texts[at] for at in places), *(verdicts[at] for at in places)]
        assert [one.id for one in arrange(problems, arrived)] == [one.id for one in expected]


def test_a_sample_does_not_depend_on_what_else_is_asked() -> None:
    writer = make_writer(ScriptedEngine(lambda prompt, seed: str(seed)))

    def texts(problems: list[Problem], samples: int) -> dict[tuple[str, int], str]:
        found = generate(problems, writer=writer, render=lambda one: one.question, sampling=GREEDY, samples=samples)
        return {(one.problem, one.sample): one.text for one in found}

    alone, together = texts([B], 2), texts([A, B], 4)
    assert len(set(together.values())) == 8
    assert alone.items() <= together.items()


@pytest.mark.parametrize("change", [{"round": 3}, {"seed": 8}])
def test_another_round_or_seed_is_another_draw(change: dict[str, int]) -> None:
    engine = ScriptedEngine(lambda prompt, seed: str(seed))
    written = [
        next(generate([A], writer=writer, render=lambda one: "", sampling=GREEDY, samples=1)).text
        for writer in (make_writer(engine), make_writer(engine, **change))
    ]
    assert written[0] != written[1]


def test_lone_surrogates_that_a_model_writes_are_replaced() -> None:
    writer = make_writer(ScriptedEngine(lambda prompt, seed: "a\ud800"))
    found = next(generate([A], writer=writer, render=lambda one: one.question, sampling=GREEDY, samples=1))
    assert (found.text, found.answer) == ("a\ufffd", "\ufffd")


def test_rationalize_shows_the_hint_and_draws_on_its_own() -> None:
    writer = make_writer(ScriptedEngine(lambda prompt, seed: f"{prompt} {seed}"))
    found = list(rationalize([A], writer=writer, render_hint=lambda one: f"{one.answer}?", sampling=GREEDY, samples=2))
    assert [one.origin for one in found] == ["rationalized"] * 2
    assert [one.prompt for one in found] == ["3?"] * 2
    sampled = generate([A], writer=writer, render=lambda one: "3?", sampling=GREEDY, samples=2)
    assert not {one.seed for one in found} & {one.seed for one in sampled}


def test_verify_judges_each_rationale_by_its_problems_verifier() -> None:
    words = make_problem("Where?", "Paris", task="jsonl")
    written = [
        make_rationale(words, "PARIS", answer="PARIS"),
        make_rationale(A, "3.0", answer="3.0"),
        make_rationale(A, "4", answer="4"),
    ]
    verifiers = {
        "jsonl": make_verifier(VerifierSettings(name="text")),
        "arithmetic": make_verifier(VerifierSettings(name="math")),
    }
    problems = {one.id: one for one in (A, words)}

    def judge(pairs: Iterable[tuple[Problem, Rationale]]) -> Iterator[Verdict]:
        return (verifiers[problem.task].verify(problem=problem, rationale=one) for problem, one in pairs)

    verdicts = list(verify(written, problems=problems, judge=judge))
    assert [one.rationale for one in verdicts] == [one.id for one in written]
    assert [(one.verifier, one.outcome) for one in verdicts] == [
        ("text", "correct"), ("math", "correct"), ("math", "incorrect"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "failed"),
    [
        (["incorrect"], True),
        (["incorrect", "incorrect"], True),
        (["incorrect", "correct"], False),
        (["correct"], False),
        (["undecided"], False),
        (["incorrect", "undecided"], False),
        ([], False),
    ],
)
def test_a_problem_failed_if_all_its_samples_are_incorrect(outcomes: list[Outcome], failed: bool) -> None:
    rationales = [make_rationale(A, sample=at) for at in range(len(outcomes))]
    judged = [(one, make_verdict(one, outcome)) for one, outcome in zip(rationales, outcomes, strict=True)]
    assert failed_problems([A, B], judged) == ([A] if failed else [])


def test_a_problem_without_an_answer_cannot_be_rationalized() -> None:
    rationale = make_rationale(C)
    assert failed_problems([C], [(rationale, make_verdict(rationale, "incorrect"))]) == []


def test_evaluate_counts_each_group_and_leaves_undecided_ones_out_of_n() -> None:
    hard = [make_problem(f"{number}+10=", level=3, group="1+2") for number in range(2)]
    easy = [make_problem(f"1+{number}=") for number in range(13)]
    outcomes: list[Outcome] = [*["correct"] * 8, *["incorrect"] * 2, *["undecided"] * 5]  # type: ignore[list-item]
    steps: list[list[Outcome]] = [*[["correct"]] * 7, *[["incorrect"]] * 3, *[[]] * 5]  # type: ignore[list-item]
    rationales = [make_rationale(problem) for problem in [*easy, *hard]]
    judged = [make_verdict(*row) for row in zip(rationales, outcomes, steps, strict=True)]
    verdicts = {one.rationale: one for one in judged}
    first, second = evaluate([*easy, *hard], list(reversed(rationales)), verdicts, "weights")
    assert (first.task, first.level, first.group) == ("arithmetic", 2, "1+1")
    assert (first.n, first.correct, first.undecided, first.wrong_reason) == (10, 8, 3, 1)
    assert first.accuracy == 0.8
    # Wilson's interval of 8 in 10: ((p + z²/2n) ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.96.
    assert (first.low, first.high) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert first.parents == ("weights", *(one.id for one in judged[:13]))
    assert (second.group, second.n, second.correct, second.undecided) == ("1+2", 0, 0, 2)
    assert (second.accuracy, second.low, second.high) == (0.0, 0.0, 1.0)


Pairs = Mapping[str, tuple[Outcome, Outcome]]  # the outcomes now and before, by problem


def compare(won: int, lost: int, rule: str, *, alpha: float = 0.05, extra: Pairs | None = None) -> Promotion:
    """Promote after so many problems that only the candidate, or only the incumbent, solved."""
    pairs: dict[str, tuple[Outcome, Outcome]] = {f"won {at}": ("correct", "incorrect") for at in range(won)}
    pairs |= {f"lost {at}": ("incorrect", "correct") for at in range(lost)}
    pairs |= extra or {}
    return promote(
        "candidate",
        "incumbent",
        now={name: pair[0] for name, pair in pairs.items()},
        before={name: pair[1] for name, pair in pairs.items()},
        settings=Promote.model_validate({"rule": rule, "alpha": alpha}),
    )


Rule = Literal["not-worse", "better", "always"]


# Two-sided exact binomial: 2 (C(n,0) + … + C(n,k)) / 2^n for the smaller count k of n.
@pytest.mark.parametrize(
    ("won", "lost", "p_value", "promoted"),
    [
        (0, 0, 1.0, {"not-worse", "always"}),
        (3, 3, 1.0, {"not-worse", "always"}),
        (5, 0, 2 * 1 / 32, {"not-worse", "always"}),
        (0, 5, 2 * 1 / 32, {"not-worse", "always"}),
        (6, 0, 2 * 1 / 64, {"not-worse", "better", "always"}),
        (0, 6, 2 * 1 / 64, {"always"}),
        (8, 1, 2 * (1 + 9) / 512, {"not-worse", "better", "always"}),
        (1, 8, 2 * (1 + 9) / 512, {"always"}),
        (8, 2, 2 * (1 + 10 + 45) / 1024, {"not-worse", "always"}),
    ],
)
@pytest.mark.parametrize("rule", ["not-worse", "better", "always"])
def test_a_candidate_is_promoted_by_the_rule(
    won: int, lost: int, p_value: float, promoted: set[Rule], rule: Rule
) -> None:
    decision = compare(won, lost, rule)
    assert (decision.won, decision.lost) == (won, lost)
    assert decision.p_value == pytest.approx(p_value, rel=1e-12)
    assert decision.promoted is (rule in promoted)
    assert decision.checkpoint == ("candidate" if rule in promoted else "incumbent")
    assert decision.reason.startswith("kept" if rule in promoted else "rolled back")
    if won + lost or rule == "better":
        assert f"{won} problems won, {lost} lost of {won + lost}" in decision.reason
    elif rule == "always":
        assert decision.reason == "kept without a test"
    else:
        assert decision.reason == "kept without a test: no held-out problem has an answer that decides"


def test_alpha_decides_what_is_significant() -> None:
    assert compare(5, 0, "better", alpha=0.07).promoted and not compare(5, 0, "better", alpha=0.06).promoted
    assert not compare(0, 5, "not-worse", alpha=0.07).promoted and compare(0, 5, "not-worse", alpha=0.06).promoted


def test_only_problems_that_both_were_judged_on_count() -> None:
    extra: dict[str, tuple[Outcome, Outcome]] = {
        "a": ("undecided", "correct"),
        "b": ("correct", "undecided"),
        "c": ("correct", "correct"),
        "d": ("incorrect", "incorrect"),
        "e": ("undecided", "undecided"),
    }
    decision = compare(1, 2, "not-worse", extra=extra)
    assert (decision.won, decision.lost) == (1, 2)
    assert "1 problems won, 2 lost of 5" in decision.reason
    alone = promote("a", "b", now={"x": "correct"}, before={"y": "correct"}, settings=Promote())
    assert (alone.won, alone.lost, alone.p_value, alone.parents) == (0, 0, 1.0, ("a", "b"))
