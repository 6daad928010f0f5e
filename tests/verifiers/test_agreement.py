"""Our verdicts and math-verify's differ only where they are meant to."""

from pathlib import Path
from types import ModuleType

import pytest
from places import TESTS

from selfimprove.records import Outcome

BENCHMARKS = TESTS / "benchmarks"


@pytest.fixture
def agreement(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, whose folder is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import agreement

    return agreement


def check(agreement: ModuleType, folder: Path, pairs: int, seed: int) -> None:
    report = agreement.compare(folder, pairs, seed)
    assert len(report.judged) == pairs
    assert "\n".join(map(agreement.describe, report.unexplained)) == ""
    assert "\n".join(map(agreement.describe, report.mistakes("ours"))) == ""
    assert len(report.disagreements) < pairs * 0.25
    assert all(agreed > pairs * 0.2 for agreed in report.agreed.values())


def test_every_disagreement_with_math_verify_is_meant(agreement: ModuleType, data_folder: Path) -> None:
    check(agreement, data_folder, pairs=250, seed=1)


@pytest.mark.long
@pytest.mark.parametrize(("pairs", "seed"), [(5000, 0), (1000, 2)])
def test_every_disagreement_of_thousands_is_meant(
    agreement: ModuleType, data_folder: Path, pairs: int, seed: int
) -> None:
    check(agreement, data_folder, pairs, seed)


@pytest.mark.parametrize(
    ("gold", "text", "right", "ours", "theirs", "name"),
    [
        ("7", "+7", True, "correct", "incorrect", "plus sign"),
        ("7", "+7", False, "correct", "incorrect", None),
        ("7", "+7", True, "incorrect", "correct", None),
        ("7", "7", True, "correct", "incorrect", None),
        ("7", "The answer is 7 or 8.", False, "incorrect", "correct", "hedge or range"),
        ("8", "The answer is 7. The answer is 8.", False, "incorrect", "correct", "two different answers"),
        ("7", "The answer is 7. The answer is 7.", True, "incorrect", "correct", None),
        ("7", "#### 7", True, "undecided", "correct", None),
    ],
)
def test_a_class_looks_at_the_pair_and_at_who_says_what(
    agreement: ModuleType, gold: str, text: str, right: bool, ours: Outcome, theirs: Outcome, name: str | None
) -> None:
    """A verdict of ours against how a pair was made is never explained away."""
    judged = agreement.Judged(agreement.Pair(gold, text, "written here", right), ours, theirs, "", "")
    report = agreement.Report([judged])
    assert [one.name for one in [report.explain(judged)] if one] == ([name] if name else [])
    assert report.unexplained == ([] if name else [judged])
