import itertools
import random
import re
from pathlib import Path

import pytest
from builders import make_problem

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import ArithmeticTask, JsonlTask, VerifierSettings
from selfimprove.records import Problem
from selfimprove.tasks import Arithmetic, check_disjoint, load_task
from selfimprove.tasks.addition import check_rationale, extract_answer, parse_addition
from selfimprove.tasks.arithmetic import is_held_out
from selfimprove.tasks.base import PoolTask, question_key, split_pool, take

THREE = Arithmetic(ArithmeticTask(max_digits=3, seed_total_digits=4, held_out=30))


def operands(problem: Problem) -> tuple[int, int]:
    found = parse_addition(problem.question)
    assert found is not None
    return int(found[0]), int(found[1])


def test_a_drawn_pair_is_never_held_out_in_either_order() -> None:
    held_out = {tuple(sorted(operands(one))) for one in THREE.held_out()}
    drawn = [one for group in THREE.levels for seed in range(3) for one in THREE.draw(group, 500, seed)]
    assert len(held_out) > 100 and len(drawn) > 5000
    assert not held_out & {tuple(sorted(operands(one))) for one in drawn}


def test_a_pair_is_held_out_in_both_orders_or_in_none() -> None:
    assert all(is_held_out(a, b) == is_held_out(b, a) for a, b in itertools.combinations(range(60), 2))


def test_the_held_out_pairs_are_the_same_for_ever() -> None:
    """Another set would make all earlier runs incomparable."""
    found = [(a, b) for a in range(10) for b in range(a, 10) if is_held_out(a, b)]
    assert found == [(0, 4), (1, 4), (2, 8), (3, 6), (4, 4), (4, 6), (4, 9), (5, 8), (6, 7), (7, 7)]


def test_one_pair_in_ten_is_held_out() -> None:
    count = sum(is_held_out(a, b) for a in range(100) for b in range(a, 100))
    assert 420 < count < 590  # of 5,050: 505 with a standard deviation of 21


def test_a_drawn_problem_has_the_asked_shape_and_the_right_answer() -> None:
    for group, level in THREE.levels.items():
        for problem in THREE.draw(group, 40, 7):
            a, b = operands(problem)
            assert f"{len(str(a))}+{len(str(b))}" == group == problem.group
            assert problem.answer == str(a + b) and problem.level == level == len(str(a)) + len(str(b))
            assert problem.question == f"{a}+{b}="


def test_the_same_seed_draws_the_same_problems_and_another_seed_others() -> None:
    assert THREE.draw("3+2", 50, 1) == THREE.draw("3+2", 50, 1)
    assert len(set(THREE.draw("3+2", 50, 1)) & set(THREE.draw("3+2", 50, 2))) < 5
    assert THREE.draw("3+2", 50, 1)[:20] == THREE.draw("3+2", 20, 1)


def test_drawn_problems_are_distinct() -> None:
    drawn = THREE.draw("3+3", 2000, 3)
    assert len({one.question for one in drawn}) == len(drawn) == 2000


def test_a_shape_with_few_pairs_ends_with_all_of_them() -> None:
    drawn = THREE.draw("1+1", 10_000, 0)
    everything = {(a, b) for a in range(10) for b in range(10) if not is_held_out(a, b)}
    assert {operands(one) for one in drawn} == everything
    held_out = [operands(one) for one in Arithmetic(ArithmeticTask(max_digits=1, held_out=99)).held_out()]
    assert len(held_out) == 100 - len(everything) and not set(held_out) & everything


def test_held_out_problems_are_the_same_for_every_run() -> None:
    again = Arithmetic(ArithmeticTask(max_digits=3, seed_total_digits=2, held_out=30)).held_out()
    assert again == THREE.held_out()
    assert all(is_held_out(*operands(one)) for one in again)
    fewer = Arithmetic(ArithmeticTask(max_digits=3, held_out=5)).held_out()
    assert set(fewer) < set(again)


def test_held_out_counts_are_by_shape() -> None:
    groups = [one.group for one in THREE.held_out()]
    assert {group: groups.count(group) for group in THREE.levels if group != "1+1"} == dict.fromkeys(
        ["1+2", "2+1", "1+3", "2+2", "3+1", "2+3", "3+2", "3+3"], 30
    )


def test_shapes_lead_to_the_shapes_that_are_a_digit_longer() -> None:
    assert THREE.levels == {
        "1+1": 2, "1+2": 3, "2+1": 3, "1+3": 4, "2+2": 4, "3+1": 4, "2+3": 5, "3+2": 5, "3+3": 6,
    }  # fmt: skip
    assert {group: set(before) for group, before in THREE.leads_to.items()} == {
        "1+1": set(), "1+2": {"1+1"}, "2+1": {"1+1"}, "1+3": {"1+2"}, "2+2": {"1+2", "2+1"}, "3+1": {"2+1"},
        "2+3": {"1+3", "2+2"}, "3+2": {"2+2", "3+1"}, "3+3": {"2+3", "3+2"},
    }  # fmt: skip


def test_seed_rationales_have_known_shapes_in_equal_parts_and_check_as_correct() -> None:
    rows = THREE.seed_rationales(63, 0)
    groups = [problem.group for problem, _ in rows]
    assert {group: groups.count(group) for group in set(groups)} == {
        "1+1": 11, "1+2": 11, "1+3": 11, "2+1": 10, "2+2": 10, "3+1": 10,
    }  # fmt: skip
    for problem, rationale in rows:
        steps = check_rationale(problem.question, rationale)
        assert steps and {step.outcome for step in steps} == {"correct"}
        assert extract_answer(rationale) == problem.answer
        assert not is_held_out(*operands(problem))
    assert rows == THREE.seed_rationales(63, 0) != THREE.seed_rationales(63, 1)


def make_pool(name: str, train: list[Problem], test: list[Problem]) -> PoolTask:
    return PoolTask(name, train, test, verifier=VerifierSettings(name="math"))


def pool(count: int = 40) -> list[Problem]:
    return [make_problem(f"How many is {number}?", str(number), task="jsonl") for number in range(count)]


def test_a_split_depends_on_the_questions_and_not_on_their_order() -> None:
    train, test = split_pool(pool(), 10)
    shuffled = pool()
    random.Random(0).shuffle(shuffled)
    again_train, again_test = split_pool(shuffled, 10)
    assert len(train) == 30 and len(test) == 10
    assert set(train) == set(again_train) and set(test) == set(again_test)
    assert set(train) | set(test) == set(pool()) and not set(train) & set(test)
    assert [one for one in pool() if one in set(test)] == test, "a split keeps the order of the file"


def test_a_problem_that_is_added_moves_few_others() -> None:
    _, before = split_pool(pool(40), 10)
    _, after = split_pool(pool(41), 10)
    assert len(set(before) - set(after)) <= 1


def test_half_of_a_small_pool_stays_for_training() -> None:
    train, test = split_pool(pool(5), 200)
    assert (len(train), len(test)) == (3, 2)


def test_a_question_stands_on_one_side_however_often_it_is_asked() -> None:
    copies = [make_problem(one.question.upper().replace(" ", "  "), one.answer, task="jsonl") for one in pool()]
    other_answers = [make_problem(one.question, "0", task="jsonl") for one in pool()]
    train, test = split_pool([*pool(), *copies, *other_answers, *pool()], 10)
    sides = [{question_key(one.question) for one in side} for side in (train, test)]
    assert (len(sides[0]), len(sides[1])) == (30, 10) and not sides[0] & sides[1]
    assert set(train) | set(test) == set(pool()), "the first of several is kept"


def test_take_chooses_by_the_question_and_keeps_the_order() -> None:
    chosen = take(pool(), 7)
    assert len(chosen) == 7 and chosen == [one for one in pool() if one in chosen] != pool()[:7]
    assert set(take(list(reversed(pool())), 7)) == set(chosen)
    assert set(take(pool(), 5)) < set(chosen)
    assert take(pool(), None) == take(pool(), 99) == pool()


def test_a_pool_draws_distinct_problems_and_no_more_than_it_has() -> None:
    task = make_pool("jsonl", pool(20), pool(40)[20:])
    drawn = task.draw("1+1", 8, 3)
    assert len(set(drawn)) == 8 and drawn == task.draw("1+1", 8, 3) != task.draw("1+1", 8, 4)
    assert set(task.draw("1+1", 99, 3)) == set(pool(20))
    assert task.draw("nowhere", 3, 0) == []


def test_the_groups_of_a_pool_open_by_level() -> None:
    problems = [
        make_problem(group, level=level, group=group)
        for group, level in [("c", 5), ("a", 1), ("b", 2), ("B", 2), ("held out", 9)]
    ]
    task = make_pool("jsonl", problems[:4], problems[4:])  # a group without training problems cannot be drawn from
    assert task.levels == {"a": 1, "b": 2, "B": 2, "c": 5}
    assert task.seeded == frozenset()
    assert {group: set(before) for group, before in task.leads_to.items()} == {
        "a": set(), "b": {"a"}, "B": {"a"}, "c": {"b", "B"},
    }  # fmt: skip


def test_a_fingerprint_follows_the_problems() -> None:
    prints = {
        make_pool("jsonl", pool(5), pool(9)[5:]).fingerprint(),
        make_pool("jsonl", pool(6), pool(9)[6:]).fingerprint(),
        make_pool("jsonl", pool(9), []).fingerprint(),
        make_pool("other", pool(9), []).fingerprint(),
        Arithmetic(ArithmeticTask()).fingerprint(),
        Arithmetic(ArithmeticTask(max_digits=3)).fingerprint(),
    }
    assert len(prints) == 6
    assert make_pool("jsonl", pool(5), []).fingerprint() == make_pool("jsonl", pool(5), []).fingerprint()


def test_training_on_a_held_out_question_is_an_error() -> None:
    held_out = [make_problem("how many  is 3?", "three")]
    with pytest.raises(
        TaskError, match=re.escape("task 'jsonl': a training problem is held out too: 'How many is 3?'")
    ):
        check_disjoint([make_pool("jsonl", pool(), [])], held_out)
    check_disjoint([make_pool("jsonl", pool(3), []), THREE], held_out)


def test_load_task_without_a_path_says_what_to_set() -> None:
    with pytest.raises(TaskError, match="task 'jsonl': set 'path' to your file"):
        load_task(JsonlTask())
    with pytest.raises(TaskError, match="No such file or directory"):
        load_task(JsonlTask(path=str(Path("nowhere") / "own.jsonl")))
