from collections import Counter

import pytest

from selfimprove.records import Example
from selfimprove.stages.balance import Balance, balance


def rows(group: str, round_: int, count: int) -> list[Example]:
    return [
        Example(prompt=f"{group} {at}", completion=f"round {round_}", origin="sampled", group=group)
        for at in range(count)
    ]


SEEDS = rows("common", 0, 3)
ROUNDS = [rows("common", 1, 9) + rows("rare", 1, 2), rows("common", 2, 4) + rows("mastered", 2, 9)]
SETTINGS = Balance(cap=10, mastered_cap=5, final_cap=8, repeat=3, repeat_to=7)


def choose(*, finished: bool = False, seed: int = 0) -> list[Example]:
    return balance(
        ROUNDS,
        seeds=SEEDS,
        mastered={"mastered"},
        finished=finished,
        settings=SETTINGS,
        seed=seed,
    )


@pytest.mark.parametrize(
    ("finished", "expected"),
    [
        (
            False,
            {
                ("common", "round 2"): 4,  # all of the newest
                ("common", "round 1"): 3,  # what the cap of 10 leaves beside 3 seeds
                ("mastered", "round 2"): 5,
                ("rare", "round 1"): 6,  # 2 rows 3 times, as 4 times would be more than 7
            },
        ),
        (
            True,
            {
                ("common", "round 2"): 4,
                ("common", "round 1"): 1,  # what the cap of 8 leaves beside 3 seeds
                ("mastered", "round 2"): 8,
                ("rare", "round 1"): 6,
            },
        ),
    ],
)
def test_groups_are_capped_newest_first_and_rare_ones_repeated(
    finished: bool, expected: dict[tuple[str, str], int]
) -> None:
    found = choose(finished=finished)
    assert Counter((one.group, one.completion) for one in found) == expected
    repeated = Counter(one.id for one in found if one.group == "rare")
    assert set(repeated.values()) == {3}


def test_a_seed_draws_the_same_examples_and_another_one_others() -> None:
    assert choose() == choose()
    assert set(choose()) != set(choose(seed=1))


def test_a_group_that_the_seeds_fill_gets_no_row() -> None:
    settings = Balance(cap=10, mastered_cap=5, final_cap=3)
    found = balance(ROUNDS, seeds=SEEDS, mastered=set(), finished=True, settings=settings, seed=0)
    assert "common" not in {one.group for one in found}


def test_without_examples_nothing_is_chosen() -> None:
    assert balance([], seeds=[], mastered=set(), finished=False, settings=SETTINGS, seed=0) == []
