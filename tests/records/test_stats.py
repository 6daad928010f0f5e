"""Intervals and tests against their formulas, worked out here by other means."""

from math import comb, sqrt

import pytest
from scipy.stats import binomtest

from selfimprove.records.stats import mcnemar, wilson

Z = 1.959963984540054  # the normal distribution's 97.5% point


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # With z² = 3.841459: none of 1 gives z²/(1 + z²) = 3.841459/4.841459 at the upper end; 50 of 100 gives
    # 0.5 ± 1.959964 sqrt(0.0025 + 0.000096036)/1.038415 = 0.5 ± 0.096168.
    [(0, 1, 0.0, 0.793451), (1, 1, 0.206549, 1.0), (8, 10, 0.490162, 0.943318), (50, 100, 0.403832, 0.596168)],
)
def test_wilson_is_what_is_worked_out_by_hand(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=1e-6)


def test_wilson_is_scipys_to_the_last_digit() -> None:
    """Its bounds stand in records, whose ids are hashes of all digits."""
    for n in (1, 2, 3, 7, 50, 498, 1319):
        for correct in {0, 1, n // 3, n // 2, n - 1, n}:
            found = binomtest(correct, n).proportion_ci(0.95, method="wilson")
            assert wilson(correct, n) == (found.low, found.high)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 1319])
def test_wilson_solves_its_equation(n: int) -> None:
    for correct in range(0, n + 1, max(1, n // 9)):
        share = correct / n
        middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
        assert wilson(correct, n) == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_nothing_counted_is_nothing_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert mcnemar(0, 0) == 1.0


@pytest.mark.parametrize("won", range(12))
@pytest.mark.parametrize("lost", range(12))
def test_mcnemar_is_the_exact_binomial_test(won: int, lost: int) -> None:
    n, fewer = won + lost, min(won, lost)
    expected = min(1.0, 2 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n)
    assert mcnemar(won, lost) == pytest.approx(expected, rel=1e-9)
