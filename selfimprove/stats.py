"""Intervals and paired tests, by scipy."""

CONFIDENCE = 0.95


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The Wilson 95% interval of a proportion (Wilson, 1927); (0, 1) where nothing was counted."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    interval = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(won: int, lost: int) -> float:
    """The two-sided p-value of the exact McNemar test (McNemar, 1947) on discordant pairs; 1 where there are none."""
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0
