import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem, make_rationale, make_verdict
from small import small_recipe

from selfimprove.engines import ScriptedEngine
from selfimprove.errors import RecipeError
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.task_settings import ArithmeticTask
from selfimprove.records import Checkpoint, Frontier, Outcome, Problem, Step, by_id
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.stages.frontier import FrontierSettings, frontier, measure_yields
from selfimprove.stages.isolate import Failing, draw_group, find_failing
from selfimprove.store import RunFolder
from selfimprove.tasks.addition import write_rationale
from selfimprove.tasks.arithmetic import Arithmetic, is_held_out

LEVELS = {"1+1": 2, "1+2": 3, "2+1": 3, "2+2": 4}
LEADS_TO = {"1+1": (), "1+2": ("1+1",), "2+1": ("1+1",), "2+2": ("1+2", "2+1")}
RULE: dict[str, Any] = {"problems": 100, "open_at": 0.3, "mastered_at": 0.9, "mastered_weight": 0.25}


def decide(
    yields: Mapping[str, tuple[int, int]],
    *,
    seeded: Iterable[str] = (),
    before: Iterable[Frontier] = (),
    round_: int = 1,
    **settings: Any,
) -> dict[str, Frontier]:
    decisions = frontier(
        task="arithmetic",
        levels=LEVELS,
        leads_to=LEADS_TO,
        seeded=frozenset(seeded),
        before=before,
        yields=yields,
        settings=FrontierSettings(**RULE | settings),
        round_=round_,
    )
    assert [(one.group, one.level, one.round) for one in decisions] == [(*row, round_) for row in LEVELS.items()]
    return {one.group: one for one in decisions}


def states(decisions: Mapping[str, Frontier]) -> list[str]:
    return [decisions[group].state for group in LEVELS]


def draws(decisions: Mapping[str, Frontier]) -> list[int]:
    return [decisions[group].draw for group in LEVELS]


def test_nothing_but_the_first_group_is_open_at_the_start() -> None:
    decisions = decide({})
    assert states(decisions) == ["open", "closed", "closed", "closed"]
    assert draws(decisions) == [100, 0, 0, 0]
    assert {(one.attempts, one.correct, one.share) for one in decisions.values()} == {(0, 0, 0.0)}
    assert decisions["1+1"].reason == "the first of its task"


def test_a_seeded_group_counts_as_mastered_and_opens_the_next() -> None:
    decisions = decide({}, seeded=["1+1"])
    assert states(decisions) == ["mastered", "open", "open", "closed"]
    assert draws(decisions) == [11, 45, 44, 0] or draws(decisions) == [11, 44, 45, 0]


@pytest.mark.parametrize(
    ("passed", "expected"),
    [
        (0, ["open", "closed", "closed", "closed"]),
        (29, ["open", "closed", "closed", "closed"]),
        (30, ["open", "open", "open", "closed"]),
        (89, ["open", "open", "open", "closed"]),
        (90, ["mastered", "open", "open", "closed"]),
        (100, ["mastered", "open", "open", "closed"]),
    ],
)
def test_a_group_opens_by_the_yield_of_one_that_leads_to_it(passed: int, expected: list[str]) -> None:
    assert states(decide({"1+1": (100, passed)})) == expected


def test_one_of_several_ways_is_enough() -> None:
    assert states(decide({"1+1": (10, 10), "1+2": (10, 0), "2+1": (10, 3)}))[3] == "open"
    assert states(decide({"1+1": (10, 10), "1+2": (10, 2), "2+1": (10, 2)}))[3] == "closed"
    assert states(decide({"1+1": (10, 10), "1+2": (10, 2)}))[3] == "closed"


def test_a_reason_gives_the_numbers() -> None:
    decisions = decide({"1+1": (100, 95), "1+2": (50, 10), "2+1": (20, 0)})
    assert [decisions[group].reason for group in LEVELS] == [
        "95 of 100 samples pass, at least 90%",
        "10 of 50 samples pass, below 90%",
        "0 of 20 samples pass, below 90%",
        "1+2 has a yield of 20%, below 30%",
    ]
    assert decide({"1+1": (100, 95)})["2+1"].reason == "1+1 has a yield of 95%, at least 30%"
    assert (decisions["1+1"].attempts, decisions["1+1"].correct, decisions["1+1"].share) == (100, 95, 0.95)


def test_a_mastered_group_is_drawn_at_its_weight_and_a_closed_one_never() -> None:
    yields = {"1+1": (10, 10), "1+2": (10, 2), "2+1": (10, 0)}
    assert draws(decide(yields, problems=90)) == [10, 40, 40, 0]
    assert draws(decide(yields, problems=90, mastered_weight=0.0)) == [0, 45, 45, 0]
    assert draws(decide(yields, problems=90, mastered_weight=1.0)) == [30, 30, 30, 0]


def test_where_no_group_has_a_weight_nothing_is_drawn() -> None:
    decisions = decide(dict.fromkeys(LEVELS, (9, 9)), mastered_weight=0.0)
    assert states(decisions) == ["mastered"] * 4 and draws(decisions) == [0] * 4


@pytest.mark.parametrize("problems", [1, 2, 3, 7, 99, 100, 101, 1000, 12345])
@pytest.mark.parametrize("weight", [0.0, 0.1, 0.25, 1 / 3, 0.7])
@pytest.mark.parametrize("yields", [{"1+1": (9, 9), "1+2": (9, 4)}, dict.fromkeys(("1+1", "2+2"), (9, 9))])
def test_draws_sum_to_the_problems_of_a_round(problems: int, weight: float, yields: dict[str, tuple[int, int]]) -> None:
    decisions = decide(yields, problems=problems, mastered_weight=weight)
    assert sum(draws(decisions)) == problems
    exact = {"open": 1.0, "mastered": weight, "closed": 0.0}
    whole = sum(exact[one.state] for one in decisions.values())
    for one in decisions.values():
        assert abs(one.draw - problems * exact[one.state] / whole) < 1.0
        assert one.draw == 0 or exact[one.state]


def test_a_group_that_was_not_sampled_keeps_its_last_yield() -> None:
    first = decide({"1+1": (100, 95), "1+2": (40, 20)})
    second = decide({"1+2": (40, 38)}, before=first.values(), round_=2)
    assert (second["1+1"].attempts, second["1+1"].correct) == (100, 95)
    assert (second["1+2"].attempts, second["1+2"].correct) == (40, 38)
    assert states(second) == ["mastered", "mastered", "open", "open"]


def test_a_group_stays_open_when_the_yields_fall() -> None:
    first = decide({"1+1": (100, 40)})
    second = decide({"1+1": (100, 0)}, before=first.values(), round_=2)
    assert states(first) == states(second) == ["open", "open", "open", "closed"]
    third = decide({"1+1": (100, 0), "1+2": (100, 0)}, before=second.values(), round_=3)
    assert states(third) == ["open", "open", "open", "closed"]


def test_a_mastered_group_that_falls_back_is_open_again() -> None:
    first = decide({"1+1": (100, 95)})
    assert states(decide({"1+1": (100, 80)}, before=first.values()))[0] == "open"


def test_a_seeded_group_counts_as_mastered_until_it_is_sampled() -> None:
    first = decide({}, seeded=["1+1"], mastered_weight=0.0)
    assert states(first)[0] == "mastered" and first["1+1"].draw == 0
    second = decide({"1+2": (10, 1)}, seeded=["1+1"], mastered_weight=0.0, before=first.values(), round_=2)
    assert states(second)[0] == "mastered", second["1+1"].reason
    third = decide({"1+1": (10, 1)}, seeded=["1+1"], before=second.values(), round_=3)
    assert states(third)[0] == "open"


def test_policy_all_opens_everything_evenly() -> None:
    decisions = decide({"1+1": (10, 10)}, policy="all", problems=40)
    assert states(decisions) == ["open"] * 4 and draws(decisions) == [10] * 4
    assert (decisions["1+1"].attempts, decisions["1+1"].reason) == (10, "policy: all; 10 of 10 samples pass")
    assert decisions["2+2"].reason == "policy: all"


@pytest.mark.parametrize(
    ("require", "expected"),
    [
        ("answer", {"1+1": (5, 4), "2+1": (1, 0)}),
        ("steps", {"1+1": (5, 3), "2+1": (1, 0)}),
        ("grounded", {"1+1": (5, 2), "2+1": (1, 0)}),
    ],
)
def test_yields_count_decided_samples_by_group(require: str, expected: dict[str, tuple[int, int]]) -> None:
    one, other, third = (
        make_problem("1+1=", "2"),
        make_problem("11+1=", "12", group="2+1"),
        make_problem("1+12=", group="1+2"),
    )
    table: list[tuple[Any, Outcome, list[Outcome]]] = [
        (one, "correct", ["correct"]),
        (one, "correct", ["correct", "incorrect"]),
        (one, "correct", []),  # nothing to check is no wrong step
        (one, "incorrect", ["incorrect"]),
        (one, "undecided", []),
        (other, "incorrect", []),
        (third, "undecided", ["correct"]),
    ]
    rationales = [make_rationale(problem, sample=at) for at, (problem, _, _) in enumerate(table)]
    verdicts = [
        make_verdict(rationale, outcome, found)
        for rationale, (_, outcome, found) in zip(rationales, table, strict=True)
    ]
    guess = make_rationale(one, sample=len(table))
    step = Step(start=0, end=1, outcome="correct", reason="", unknown=("20",))
    verdicts.append(make_verdict(guess).model_copy(update={"steps": (step, step.model_copy(update={"needed": False}))}))
    found_yields = measure_yields(
        by_id([one, other, third]), zip([*rationales, guess], verdicts, strict=True), require=require
    )
    assert found_yields == expected


def test_the_failing_step_is_where_most_wrong_texts_go_wrong_first() -> None:
    problems = [make_problem(f"{number}", "1", group=group) for group in ("2+1", "2+2") for number in range(12)]
    outcomes: list[list[Outcome]] = [["correct", "incorrect", "incorrect"]] * 7 + [["incorrect", "correct"]] * 5
    judged = []
    for problem, steps in zip(problems, [*outcomes, *outcomes[:9], [], [], []], strict=True):
        rationale = make_rationale(problem, "x")
        found = tuple(Step(start=at, end=at + 1, outcome=one, reason="") for at, one in enumerate(steps))
        judged.append((rationale, make_verdict(rationale, "incorrect").model_copy(update={"steps": found})))
    failing = find_failing(by_id(problems), judged)
    assert failing == {"2+1": Failing(step=1, texts=7, wrong=12)}  # of the other group there are too few
    assert failing["2+1"].said == "step 2, where 7 of 12 wrong texts go wrong first"


@pytest.mark.parametrize("shape", ["5+5", "5+3", "2+5", "1+1", "4+4"])
def test_an_isolated_column_is_the_only_hard_one(shape: str) -> None:
    task = Arithmetic(ArithmeticTask(max_digits=5))
    m, n = map(int, shape.split("+"))
    for column in range(max(m, n) + 1):
        drawn = task.isolate(shape, column, 12, seed=3)
        assert drawn == task.isolate(shape, column, 12, seed=3) and len({one.id for one in drawn}) == len(drawn) > 3
        for problem in drawn:
            a, b = map(int, problem.question.strip("=").split("+"))
            assert (problem.group, problem.answer) == (shape, str(a + b)) and not is_held_out(a, b)
            lines = [re.findall(r"\d", line) for line in write_rationale(a, b).split("\n")[:-1]]
            if column == max(m, n):
                assert lines[column][2] == "1"  # a carry alone
                continue
            assert all(sum(map(int, line[:3])) < 10 for at, line in enumerate(lines) if at != column)
            x, y = lines[column][:2]
            assert x != y
            for digit, other in ((x, a), (y, b)):
                digits = str(other)[::-1]
                if column < len(digits):
                    assert digit != "0" and digit not in digits[column + 1 : column + 2]
                    assert not column or digit != digits[column - 1]
    assert task.isolate(shape, max(m, n) + 1, 12, seed=3) == []


def test_a_share_of_an_open_group_isolates_its_failing_step_and_no_problem_comes_twice() -> None:
    task = Arithmetic(ArithmeticTask(max_digits=2))
    decision = decide({"1+1": (50, 50), "1+2": (50, 20)}, seeded=["1+1"])["1+2"]
    plain = draw_group(task, decision, 0, None, seed=5)
    mixed = draw_group(task, decision, 9, Failing(1, 30, 30), seed=5)
    assert len(mixed) == len({one.id for one in mixed}) == len(plain) == decision.draw
    assert mixed[:9] == task.isolate("1+2", 1, 9, seed=5) and set(mixed[9:]) <= set(plain)
    assert draw_group(task, decision, 9, Failing(3, 30, 30), seed=5) == plain  # the answer's line has no such problem


def test_a_run_says_which_step_it_isolates_and_other_tasks_refuse_it(tmp_path: Path) -> None:
    def wrong_in_the_tens(checkpoint: Checkpoint, session: Session) -> ScriptedEngine:
        def write(prompt: str, seed: int) -> str:
            lines = write_rationale(*map(int, prompt.rpartition("?")[2].strip("=").split("+"))).split("\n")
            return "\n".join([lines[0], "9+9+9=99", *lines[2:]])

        return ScriptedEngine(write)

    quick = ("repair=null", "rationalize=null", "select.sources=seed", "select.require=steps", "warmup.steps=1",
             "sft.steps=1")  # fmt: skip
    recipe = small_recipe(tmp_path, *quick, "frontier.isolate=0.5", "frontier.problems=120", "generate.part_size=120")
    run_loop(recipe, run := RunFolder(tmp_path / "run"), load=wrong_in_the_tens)
    assert not [one for one in run.stage(1, "frontier").read(Frontier) if "isolate" in one.reason]
    found = {one.group: one for one in run.stage(2, "frontier").read(Frontier) if "isolate" in one.reason}
    assert found and all("problems isolate step 2, where" in one.reason for one in found.values())
    problems = run.stage(2, "frontier").read(Problem)
    for group, one in found.items():
        assert len([problem for problem in problems if problem.group == group]) == one.draw
    with pytest.raises(RecipeError, match=r"the task 'asdiv' makes no problems that isolate a step"):
        load_recipe("word-problems", ["frontier.isolate=0.5"])
