"""Two rounds beside each other: which ones without being asked, where they differ, and both texts of a problem."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from builders import make_problem, make_rationale
from fastapi.testclient import TestClient
from test_viewer import check
from test_viewer_run import text_of
from viewing import BASE, judge, write_run, write_stage

from selfimprove.recipe.file import load_recipe
from selfimprove.records import Evaluation, Problem
from selfimprove.records.stats import wilson
from selfimprove.store import RunFolder
from selfimprove.viewer.app import create_app

FAMILIES = ("1+1", "1+2", "2+2")


def write_round(folder: RunFolder, round_: int, problems: Sequence[Problem], right: set[str]) -> None:
    """An evaluation in which the problems of some families are right."""
    rationales = [
        make_rationale(one, f"{one.question}: {round_}\nso {'#3' if one.group in right else '#4'}", round=round_,
                       answer="3" if one.group in right else "4", parents=(one.id, BASE.id))
        for one in problems
    ]  # fmt: skip
    verdicts = [
        judge(one, "correct" if problem.group in right else "incorrect")
        for one, problem in zip(rationales, problems, strict=True)
    ]
    found = []
    for family in FAMILIES:
        n = sum(one.group == family for one in problems)
        correct = n if family in right else 0
        low, high = wilson(correct, n)
        found.append(Evaluation(parents=(BASE.id,), task="arithmetic", level=2, group=family, n=n, correct=correct,
                                undecided=0, wrong_reason=0, low=low, high=high))  # fmt: skip
    write_stage(folder, round_, "evaluate", "rationale", [*rationales, *verdicts, *found])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Two runs over the same problems; `best` is better in its round 1 than in its last one."""
    runs = tmp_path_factory.mktemp("compared")
    problems = [make_problem(f"{family} <b>{at}</b>", "3", group=family) for family in FAMILIES for at in range(6)]
    rights = {
        "mine": [set(), {"1+1"}, {"1+1", "1+2"}],
        "best": [set(), {"1+1", "1+2", "2+2"}, {"2+2"}],
        "again": [set(), {"1+1"}],
    }
    for name, rounds in rights.items():
        folder = write_run(runs, (), rounds=0, name=name)
        write_stage(folder, 0, "problems", "problem", problems)
        for round_, right in enumerate(rounds):
            write_round(folder, round_, problems, right)
    late = write_run(runs, (), rounds=0, name="late")
    shutil.rmtree(late.path / "round-00" / "evaluate")
    write_stage(late, 0, "problems", "problem", problems)
    for round_, right in enumerate((set(), {"1+1"}), 1):
        write_round(late, round_, problems, right)
    with TestClient(
        create_app(runs, cache=runs.parent / f"{runs.name}-cache", patience=60.0), base_url="http://127.0.0.1:8000"
    ) as one:
        yield one


@pytest.mark.parametrize(
    ("asked", "rounds", "only_b", "only_a"),
    [
        ("a=mine&b=best", ("A: mine 2", "B: best 2"), 6, 12),  # the last ones
        ("a=mine&b=best&second=best", ("A: mine 2", "B: best 1"), 6, 0),
        ("a=mine&b=best&first=1&second=last", ("A: mine 1", "B: best 2"), 6, 6),
        ("a=mine", ("A: mine 0", "B: mine 2"), 12, 0),  # a run from its start
        ("a=mine&b=mine", ("A: mine 0", "B: mine 2"), 12, 0),
        ("a=late", ("A: late 1", "B: late 2"), 6, 0),  # from the first round that was evaluated
        ("a=late&b=late", ("A: late 1", "B: late 2"), 6, 0),
    ],
)
def test_rounds_are_chosen_without_being_asked_for(
    client: TestClient, asked: str, rounds: tuple[str, str], only_b: int, only_a: int
) -> None:
    page = client.get(f"/compare?{asked}").text
    check(page)
    said = text_of(page)
    assert all(one in said for one in rounds)
    assert f"{only_b} are right only in B and {only_a} only in A" in said


def test_differences_stand_by_family_first_and_then_the_problems_with_both_texts(client: TestClient) -> None:
    page = client.get("/compare?a=mine&b=best").text
    families = text_of(page[page.index('id="families"') : page.index('id="problems"')])
    assert re.findall(r"level 2, (\S+) (\d+) (\d+) (\d+)", families) == [
        ("1+1", "6", "6", "0"), ("1+2", "6", "6", "0"), ("2+2", "6", "0", "6")
    ]  # fmt: skip
    one = page[page.index('<article class="compared"') : page.index("</article>")]
    said = text_of(one)
    assert "1+1 <b>" in said and "Expected: 3" in said and "answered 3" in said and "answered 4" in said
    assert "First wrong step: 1+1 <b>" in said and "line 0" in said
    assert one.count('<mark class="step') == 4 and "<ins>" in one and "&lt;b&gt;" in one
    assert page.count("<article") == 10 and "1 to 10 of 18" in text_of(page)
    assert "1+1" not in text_of(client.get("/compare?a=mine&b=best&offset=12").text.split('id="problems"')[1])


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("kind=first", 12), ("kind=second", 6), ("kind=neither", 0), ("kind=both", 0), ("group=1%2B2", 6), ("level=3", 0),
     ("task=arithmetic&level=2&group=2%2B2&kind=first", 0), ("kind=second&level=2", 6)],
)  # fmt: skip
def test_problems_are_filtered(client: TestClient, asked: str, shown: int) -> None:
    page = client.get(f"/compare?a=mine&b=best&{asked}").text
    check(page)
    assert re.search(r'<h2>Problems <span class="count">(\d+)', page)[1] == str(shown)  # type: ignore[index]


def test_a_round_that_is_not_there_is_named_beside_those_that_are(client: TestClient) -> None:
    page = client.get("/compare?a=mine&b=best&first=99").text
    assert "mine: round 99 was not evaluated; rounds that were: 0, 1, 2" in page and "<form" in page
    assert client.get("/compare?a=mine&b=best&first=x").status_code == 422
    assert client.get("/compare?a=mine&b=nobody").status_code == 404
    further = text_of(client.get("/compare?a=mine&b=best&more=again&more=nobody").text)
    assert "again 1 33.3%" in further and "nobody" not in further


@pytest.mark.parametrize("seed", [0, 1])
def test_runs_of_other_seeds_say_why_they_share_no_problem(seed: int, tmp_path: Path) -> None:
    for name, own in (("one", 0), ("two", seed)):
        folder = write_run(tmp_path, (), rounds=0, name=name)
        folder.write_recipe(load_recipe("arithmetic", [f"name={name}", f"seed={own}", "rounds=0"]))
        problems = [make_problem(f"{name} {at}", "3", group="1+1") for at in range(3)]
        write_round(folder, 0, problems, {"1+1"})
    with TestClient(
        create_app(tmp_path, port=8000, cache=tmp_path / "cache"), base_url="http://127.0.0.1:8000"
    ) as client:
        shown = text_of(client.get("/compare?a=one&b=two").text)
    assert "The two share no held-out problem that both decided." in shown
    assert ("Their seeds differ, by which held-out problems are drawn." in shown) is bool(seed)
