"""Verdicts: correct, incorrect, or undecided where a verifier cannot judge."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from builders import make_problem, make_rationale
from growth import cpu_seconds

from selfimprove.recipe.task_settings import BbhTask, VerifierSettings
from selfimprove.records import Problem, Verdict
from selfimprove.tasks import load_task
from selfimprove.tasks.addition import MAX_LINES
from selfimprove.tasks.base import PoolTask
from selfimprove.verifiers import Verifier, make_verifier
from selfimprove.verifiers.base import MAX_TEXT
from selfimprove.verifiers.text import normalize

VERIFIERS = ["math", "text", "addition"]


def make(name: str, **settings: Any) -> Verifier:
    return make_verifier(VerifierSettings.model_validate({"name": name} | settings))


def judge(verifier: Verifier, problem: Problem, text: str, **fields: Any) -> Verdict:
    rationale = make_rationale(problem, text, **{"answer": verifier.extract_answer(text, problem)} | fields)
    verdict = verifier.verify(problem=problem, rationale=rationale)
    assert verdict.parents == (rationale.id,)
    assert (verdict.verifier, verdict.version) == (verifier.name, verifier.version)
    return verdict


def test_a_stated_answer_must_be_stated() -> None:
    problem = make_problem("I have 7. How many?", "7")
    assert judge(make("math"), problem, "I have 7.").outcome == "correct"
    assert judge(make("math", stated=True), problem, "I have 7.").outcome == "incorrect"
    assert judge(make("math", stated=True), problem, "The answer is 7.").outcome == "correct"


@pytest.mark.parametrize(
    ("text", "outcome", "reasoning"),
    [
        ("3 + 4 = 7. The answer is 7.", "correct", "correct"),
        ("3 + 4 = 8. The answer is 7.", "correct", "incorrect"),
        ("3 + 4 = 7. The answer is 8.", "incorrect", "correct"),
        ("3 and 4. The answer is 7.", "correct", "undecided"),
    ],
)
def test_the_equations_are_judged_apart_from_the_answer(text: str, outcome: str, reasoning: str) -> None:
    verdict = judge(make("math"), make_problem("How many?", "7"), text)
    assert (verdict.outcome, verdict.reasoning) == (outcome, reasoning)
    assert verdict.wrong_reason == (outcome == "correct" and reasoning == "incorrect")


@pytest.mark.parametrize(
    ("text", "answer", "outcome"),
    [
        ("Paris", "Paris", "correct"),
        ("It is warm.\n  PARIS. \n\n", "paris", "correct"),
        ("Thinking.\n#### New   York", "new york.", "correct"),
        ("The answer is: Paris.", "Paris", "correct"),
        ("The answer is Rome. Answer: Paris", "Paris", "incorrect"),  # a line is one answer
        ("The answer is Rome.\nThe answer is Paris.\nBye", "Paris", "correct"),
        ("STRASSE", "straße", "correct"),
        ("Paris and Rome", "Paris", "incorrect"),
        ("7.0", "7", "incorrect"),
        ("", "Paris", "incorrect"),
        ("\n \n", "Paris", "incorrect"),
    ],
    ids=ascii,
)
def test_answers_are_compared_as_texts(text: str, answer: str, outcome: str) -> None:
    assert judge(make("text"), make_problem("Where?", answer), text).outcome == outcome


def test_normalize_keeps_what_tells_texts_apart() -> None:
    assert normalize(" A  b.\n") == "a b"
    assert len({normalize(text) for text in ("a b", "ab", "a-b", "a b!", "")}) == 5


@pytest.mark.parametrize("name", VERIFIERS)
@pytest.mark.parametrize(
    ("answer", "text", "finish", "outcome", "reason"),
    [
        (None, "#3", "stop", "undecided", "the problem has no answer to compare with"),
        ("3", "", "too_long", "undecided", "the prompt was too long for the model, nothing was written"),
        ("3", "3" * (MAX_TEXT + 1), "length", "undecided", "the text has 50001 characters, over the limit of 50000"),
        ("3", "", "stop", "incorrect", "no answer found"),
        ("3", "", "length", "incorrect", "no answer found before the length limit"),
    ],
)
def test_what_cannot_be_judged_is_undecided(
    name: str, answer: str | None, text: str, finish: str, outcome: str, reason: str
) -> None:
    verdict = judge(make(name), make_problem(answer=answer), text, finish=finish)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


@pytest.mark.parametrize("name", VERIFIERS)
def test_a_text_of_the_largest_length_is_judged(name: str) -> None:
    text = "x\n" * ((MAX_TEXT - 2) // 2) + "#3"
    assert len(text) == MAX_TEXT
    expected = {"math": "correct", "addition": "correct", "text": "incorrect"}[name]
    verdict = judge(make(name), make_problem(), text)
    assert verdict.outcome == expected
    assert len(verdict.steps) == {"math": 0, "addition": MAX_LINES + 1, "text": 0}[name]


def test_the_equations_of_a_text_of_the_largest_length_are_checked() -> None:
    text = "1+1=3" + " ." * ((MAX_TEXT - 5) // 2) + "."  # `3...` would be a decimal that goes on
    assert len(text) == MAX_TEXT
    assert [step.outcome for step in judge(make("math"), make_problem(), text).steps] == ["incorrect"]
    assert judge(make("math"), make_problem(), text + ".").steps == ()


@pytest.mark.parametrize("name", VERIFIERS)
def test_no_answer_is_looked_for_in_a_longer_text(name: str) -> None:
    text = "x\n" * (MAX_TEXT // 2) + "#3"
    assert make(name).extract_answer(text, make_problem()) is None
    assert make(name).extract_answer(text[2:], make_problem()) is not None


@pytest.mark.parametrize("name", VERIFIERS)
def test_a_megabyte_is_refused_quickly(name: str) -> None:
    verifier, problem, text = make(name), make_problem(), "1+1=2 " * 170_000
    verdict = judge(verifier, problem, text)
    assert verdict.outcome == "undecided" and verdict.steps == ()
    assert cpu_seconds(lambda: judge(verifier, problem, text)) < 0.5


def test_each_verifier_has_its_own_name() -> None:
    assert [make(name).name for name in VERIFIERS] == VERIFIERS


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.long), "test"])
@pytest.mark.parametrize("stated", [True, False])
def test_every_gold_solution_of_gsm8k_is_correct(split: str, stated: bool, data_folder: Path) -> None:
    verifier = make("math", stated=stated)
    lines = (data_folder / "gsm8k" / f"{split}.jsonl").read_text().splitlines()
    wrong = []
    for line in lines:
        row = json.loads(line)
        problem = make_problem(row["question"], row["answer"].rpartition("####")[2].strip())
        if judge(verifier, problem, row["answer"]).outcome != "correct":
            wrong.append(row["answer"])
    assert wrong == [] and len(lines) > 1000


FORMS = ("{0}", "{0}.0", "+{0}", "{0} apples", "${0}", "#### {0}", "\\boxed{{{0}}}")


def judge_forms(gold: str, forms: tuple[str, ...]) -> list[str]:
    """The forms of a gold answer that its own verifier does not accept."""
    problem, verifier = make_problem("How many?", gold), make("math")
    whole = gold.removesuffix(".0")
    written = [form.format(whole).replace("+-", "-") for form in forms if form != "{0}.0" or "." not in whole]
    return [text for text in written if judge(verifier, problem, text).outcome != "correct"]


def test_every_gold_answer_of_svamp_equals_itself_in_all_forms(data_folder: Path) -> None:
    golds = [str(row["Answer"]) for row in json.loads((data_folder / "svamp" / "SVAMP.json").read_text())]
    assert len(golds) == 1000
    assert [text for gold in set(golds) for text in judge_forms(gold, FORMS)] == []


def test_every_gold_answer_of_asdiv_equals_itself_in_all_forms(data_folder: Path) -> None:
    nodes = ElementTree.parse(data_folder / "asdiv" / "ASDiv.xml").iter("Problem")
    answers = [node.findtext("Answer", "").strip() for node in nodes]
    golds = [re.sub(r" \([^()]*\)$", "", answer) for answer in answers]
    numbers = {gold for gold in golds if re.fullmatch(r"-?[\d,]*\.?\d+", gold)}
    assert (len(golds), sum(gold in numbers for gold in golds)) == (2305, 2083)
    assert [text for gold in numbers for text in judge_forms(gold, FORMS)] == []
    # As the data writes them, with their units: `36 (apples)` as `36 apples`.
    with_units = {(gold, answer.replace("(", "").replace(")", "")) for gold, answer in zip(golds, answers, strict=True)}
    wrong = [
        text
        for gold, text in with_units
        if gold in numbers and judge(make("math"), make_problem("How many?", gold), text).outcome != "correct"
    ]
    assert wrong == []
    # Ratios, times, names and lists, in the forms that do not say that they are a number.
    others = set(golds) - numbers
    assert [text for gold in others for text in judge_forms(gold, ("{0}", "#### {0}", "\\boxed{{{0}}}"))] == []


@pytest.mark.parametrize("subject", ["multistep_arithmetic_two", "object_counting"])
def test_the_number_tasks_of_big_bench_hard_accept_their_targets_and_nothing_else(
    subject: str, data_folder: Path
) -> None:
    task = load_task(BbhTask(name=f"bbh/{subject}", path=str(data_folder / "bbh"), held_out=200))
    assert isinstance(task, PoolTask)
    verifier = make_verifier(task.verifier)
    problems = [*task.train(), *task.held_out()]
    assert len(problems) == 250
    targets = {str(problem.answer) for problem in problems}
    for problem in problems:
        for target in targets:
            text = f"Let's think step by step. So the answer is {target}."
            outcome = judge(verifier, problem, text).outcome
            assert (outcome == "correct") == (target == problem.answer), (problem.answer, target)
