"""The checker of reasoning on solutions that people wrote: GSM8K, ASDiv and the exemplars of this project.

`python tests/verifiers/test_steps_data.py GSM8K_FOLDER` lists what does not check.
"""

import json
import re
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from places import REPOSITORY

from selfimprove.verifiers.steps import Reasoning, check_steps

ANNOTATION = re.compile(r"<<.*?>>")
EXEMPLARS = REPOSITORY / "policies" / "exemplars" / "word-problems.yaml"


Gold = tuple[tuple[str, Reasoning], ...]
EVERYTHING, PART = ("train", "test"), ("test",)


@lru_cache(maxsize=1)
def check_gold(folder: Path, splits: tuple[str, ...]) -> Gold:
    """Every gold solution of GSM8K with what is found in it."""
    rows = [json.loads(line) for name in splits for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return tuple((row["answer"], check_steps(row["answer"], row["question"])) for row in rows)


def says_something(annotation: str) -> bool:
    """Whether an annotation is more than a number said twice, such as `<<12=12>>`."""
    return re.search(r"[0-9)][-+*/]", annotation) is not None


def unchecked_annotations(gold: Gold) -> Iterator[tuple[str, str]]:
    """The annotations that stand in no correct step, and why."""
    for answer, reasoning in gold:
        for found in ANNOTATION.finditer(answer):
            over = [step for step in reasoning.steps if step.start <= found.start() and found.end() <= step.end]
            if says_something(found[0]) and [step.outcome for step in over] != ["correct"]:
                yield found[0], over[0].reason if over else "not read"


def blamed_steps(gold: Gold) -> Iterator[tuple[str, str]]:
    """The steps of gold solutions that are called incorrect, as written, and why."""
    for answer, reasoning in gold:
        for step in reasoning.steps:
            if step.outcome == "incorrect":
                yield answer[step.start : step.end], step.reason


@pytest.fixture(scope="module", params=[PART, pytest.param(EVERYTHING, marks=pytest.mark.long)], ids=["test", "all"])
def gold(request: pytest.FixtureRequest, data_folder: Path) -> Gold:
    return check_gold(data_folder / "gsm8k", request.param)


def share(gold: Gold) -> float:
    """How much of the 8,792 solutions is read; by default the test split, all in the long tests."""
    return len(gold) / 8792


# What people wrote around these annotations is another equation, such as `8*3 = <<80*3=240>>240`, or `//` divides.
UNCHECKED = {
    "<<4080+4080/2=6120>>", "<<560//10=56>>", "<<80*3=240>>", "<<180//3=60>>", "<<52-8=44>>", "<<1+1+1=3>>",
    "<<6*3=18.00>>", "<<3/4*364=273>>",
}  # fmt: skip


def test_annotations_of_gsm8k_check(gold: Gold) -> None:
    annotations = [found for answer, _ in gold for found in ANNOTATION.findall(answer)]
    some = sum(map(says_something, annotations))
    assert (len(gold), len(annotations), some) in ((1319, 4282, 4206), (8792, 27998, 27565))
    unchecked = {annotation for annotation, _ in unchecked_annotations(gold)}
    assert unchecked == (UNCHECKED if share(gold) == 1 else {"<<3/4*364=273>>"})


def test_gold_steps_are_blamed_only_where_people_were_wrong(gold: Gold) -> None:
    """All were looked at: each is an error, a remainder left out, or brackets left out of the text."""
    blamed = list(blamed_steps(gold))
    assert len(blamed) <= 32 * share(gold)
    assert ("364 / 4 = <<3/4*364=273>>273", "364 / 4 is 91, not 273") in blamed
    assert share(gold) < 1 or ("50-8 = <<52-8=44>>44", "50-8 is 42, not 44") in blamed


def test_most_of_a_gold_solution_is_read(gold: Gold) -> None:
    found = [reasoning for _, reasoning in gold]
    steps = [step for reasoning in found for step in reasoning.steps]
    assert len(steps) > 29_000 * share(gold)
    assert sum(bool(step.unknown) for step in steps) / len(steps) < 0.02
    assert sum(all(step.needed for step in reasoning.steps) for reasoning in found) / len(found) > 0.94
    coverages = [reasoning.coverage for reasoning in found if reasoning.coverage is not None]
    assert sum(coverages) / len(coverages) > 0.7


def test_written_equations_outside_annotations_check(gold: Gold) -> None:
    signs = checked = 0
    for answer, reasoning in gold:
        plain = ANNOTATION.sub(lambda found: " " * len(found[0]), answer)
        right = [(step.start, step.end) for step in reasoning.steps if step.outcome == "correct"]
        for found in re.finditer(r"(?<![=<>!])=(?!=)", plain):
            signs += 1
            checked += any(start <= found.start() < end for start, end in right)
    assert signs > 31_000 * share(gold)
    assert checked / signs > 0.92  # the rest is algebra


def test_formulas_of_asdiv_are_not_blamed_for_rounding(data_folder: Path) -> None:
    tree = ElementTree.parse(data_folder / "asdiv" / "ASDiv.xml")
    formulas = [formula.text or "" for formula in tree.iter("Formula")]
    found = [check_steps(formula).steps for formula in formulas]
    blamed = [step.reason for steps in found for step in steps if step.outcome == "incorrect"]
    assert len(formulas) == 2305
    assert sum(bool(steps) for steps in found) > 1850
    assert blamed == []


def test_the_shipped_exemplars_teach_right_and_grounded_steps() -> None:
    yaml = pytest.importorskip("yaml")
    exemplars = yaml.safe_load(EXEMPLARS.read_text())["exemplars"]
    for exemplar in exemplars:
        reasoning = check_steps(exemplar["rationale"], exemplar["question"])
        assert [(step.outcome, step.unknown) for step in reasoning.steps] == [("correct", ())]
        assert (reasoning.coverage, reasoning.values) == (1.0, (exemplar["answer"],))


def test_checking_is_fast(data_folder: Path) -> None:
    """Half a millisecond a solution where it was measured; the bound leaves room for a slow machine."""
    rows = [json.loads(line) for line in (data_folder / "gsm8k" / "test.jsonl").read_text().splitlines()[:400]]
    started = time.process_time()
    for row in rows:
        check_steps(row["answer"], row["question"])
    assert (time.process_time() - started) / len(rows) < 0.005
    started = time.process_time()
    for _ in range(2000):
        check_steps("The answer is 18.", "How many?")
    assert (time.process_time() - started) / 2000 < 0.0001


if __name__ == "__main__":
    for title, lines in [
        ("annotations that do not check", unchecked_annotations(check_gold(Path(sys.argv[1]), EVERYTHING))),
        ("steps called incorrect", blamed_steps(check_gold(Path(sys.argv[1]), EVERYTHING))),
    ]:
        print(title)
        for written, reason in lines:
            print(f"  {written!r}: {reason}")
