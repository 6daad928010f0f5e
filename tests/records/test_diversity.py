"""Figures of collapse: against numbers worked out by hand."""

import itertools
import random

import pytest

from selfimprove.records.collapse import Texts, compare_texts, find_collapse, find_signs
from selfimprove.records.diversity import CHUNK, distinct, pass_at, quantiles, skeleton


@pytest.mark.parametrize(("samples", "passed"), [(4, 0), (4, 1), (5, 2), (6, 6)])
def test_pass_at_k_is_the_mean_over_all_choices_of_k_samples(samples: int, passed: int) -> None:
    right = [at < passed for at in range(samples)]
    for k in range(1, samples + 1):
        chosen = [any(some) for some in itertools.combinations(right, k)]
        assert pass_at(k, samples, passed) == pytest.approx(sum(chosen) / len(chosen))


def test_distinct_counts_different_runs_of_words_whatever_their_number() -> None:
    assert distinct(["a b a b"], 2) == 2 / 3
    assert distinct(["A b", "a B"], 2) == 1 / 2
    assert distinct(["a"], 2) is None
    rng = random.Random(1)
    words = [" ".join(rng.choices("abcdefghijklmnop", k=40)) for _ in range(400)]
    few, many = distinct(words[: CHUNK // 30], 2), distinct(words, 2)
    assert few is not None and many is not None and abs(few - many) < 0.05  # of all together it would be a tenth


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("3 + 4 = 7 apples", "13 + 40 = 53 pears", True),
        ("3 + 4 = 7", "3 * 4 = 12", False),
        ("She has 3.\nSo 3 + 1 = 4.", "He had 12,000.\n\nThen 12,000 + 5 = 12,005.", True),
        ("First we look at it closely.", "First we look elsewhere.", True),
        ("First we look.", "Let us see.", False),
    ],
)
def test_a_skeleton_is_the_form_of_the_steps(one: str, other: str, same: bool) -> None:
    assert (skeleton(one) == skeleton(other)) is same


def test_quantiles_are_values_that_are_there() -> None:
    assert quantiles(range(1, 101)) == [11, 51, 91]
    assert quantiles([5]) == [5, 5, 5] and quantiles([]) == []


def texts(**fields: object) -> Texts:
    plain = {"texts": 100, "sampled": True, "distinct": {"2": 0.8}, "passes": {"1": (0.4, 400), "4": (0.8, 400)},
             "skeletons": 0.9, "lengths": [5.0, 20.0, 40.0]}  # fmt: skip
    return Texts.model_validate(plain | fields)


@pytest.mark.parametrize(
    ("fields", "rule", "said"),
    [
        ({"distinct": {"2": 0.5}}, "repetition", "distinct-2 fell from 0.8 to 0.5"),
        ({"passes": {"1": (0.5, 400), "4": (0.6, 400)}}, "fewer ways", "pass@4 fell from 0.8 to 0.6"),
        ({"skeletons": 0.4}, "same steps", "different forms fell from 0.9 to 0.4"),
        ({"lengths": [5.0, 50.0, 90.0]}, "length", "the median went from 20 to 50 tokens"),
        ({"again": 0.95}, "same rows", "95% of the new rows stand in the round before too"),
        ({}, "", ""),
        ({"skeletons": 0.4, "passes": {"1": (0.9, 400), "4": (0.95, 400)}}, "", ""),  # as they should, being right
        ({"passes": {"1": (0.4, 20), "4": (0.6, 20)}}, "", ""),  # of so few it may be chance
        ({"sampled": False, "lengths": [5.0, 90.0, 99.0]}, "", ""),  # not to be compared
    ],
)
def test_collapse_is_told_with_the_round_since_which_it_lasts(fields: dict[str, object], rule: str, said: str) -> None:
    worse = texts(**fields)
    found = find_collapse({1: texts(), 2: worse, 3: texts(), 4: worse, 5: worse})
    assert [one["rule"] for one in found] == [rule] * bool(rule)
    if rule:
        assert found[0]["since"] == 4 and said in found[0]["said"] and found[0]["said"].endswith("since round 4")
    assert find_collapse({1: texts(), 2: worse, 3: texts()}) == [] and find_collapse({1: worse}) == []


def test_a_round_is_compared_with_the_first_one() -> None:
    found = {1: texts(), 3: texts(distinct={"2": 0.4}, skeletons=0.45, again=0.95, own=0.25)}
    assert find_signs(found, 3) == ["repetition", "same steps", "same rows"]
    assert find_signs(found, 1) == find_signs(found, 2) == []
    assert compare_texts(found, 3) == {"distinct left": 0.5, "forms left": 0.5, "rows again": 0.95, "own text": 0.25}
    assert compare_texts({2: Texts(texts=1, sampled=True)}, 2) == {}
