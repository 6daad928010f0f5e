"""Real questions: the expected option is accepted in each way to write it, and no other option is."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from selfimprove.recipe.task_settings import BbhTask, CommonsenseqaTask, MmluTask, VerifierSettings
from selfimprove.records import Problem, Rationale
from selfimprove.tasks.bbh import NUMBERS, TASKS, load_bbh
from selfimprove.tasks.commonsenseqa import load_commonsenseqa
from selfimprove.tasks.mmlu import SUBJECTS, load_mmlu
from selfimprove.verifiers.choice import ChoiceVerifier
from selfimprove.verifiers.options import LETTERS

VERIFIER = ChoiceVerifier(VerifierSettings(name="choice"))
ALL = 1_000_000
PART = 16
"""Every so many problems are read by default, all of them in the long tests."""
TURNS = 3
"""Each option is written in every third form, the next one in those that follow."""
EVERY = pytest.mark.parametrize("every", [PART, pytest.param(1, marks=pytest.mark.long)])


def outcome(problem: Problem, text: str) -> str:
    rationale = Rationale(
        parents=(problem.id, "checkpoint"), prompt="", text=text, answer=VERIFIER.extract_answer(text, problem),
        origin="sampled", round=0, sample=0, seed=0, temperature=1.0, top_p=1.0, tokens=1, logprob=0.0, finish="stop",
    )  # fmt: skip
    return VERIFIER.verify(problem=problem, rationale=rationale).outcome


def is_letter(text: str) -> bool:
    return text.strip(".").upper() in tuple(LETTERS)


def check(problems: Sequence[Problem]) -> tuple[int, list[Problem]]:
    """Count the texts that were read, and list the problems whose expected answer is not one of the options."""
    read, turn, wrong = 0, 0, []
    for problem in problems:
        lettered = problem.answer in LETTERS[: len(problem.options)]
        if not lettered and problem.answer not in problem.options:
            assert outcome(problem, "The answer is (A).") == "undecided", problem
            wrong.append(problem)
            continue
        names = LETTERS if lettered else problem.options
        texts = [" ".join(option.split()) for option in problem.options]
        for name, option, text in zip(names, problem.options, texts, strict=False):
            forms = [name, f"({name})", f"{name}.", f"The answer is ({name}).", f"answer: ({name.lower()}) {option}"]
            if not lettered:
                forms = [name, f"{name}.", f"The answer is {name}."]
            if texts.count(text) == 1 and not is_letter(text):
                forms += [option, f"The answer is {option}"]
            turn += 1
            for form in forms[turn % TURNS :: TURNS]:
                assert VERIFIER.extract_answer(form, problem) == name, (form, problem)
                read += 1
        others = [name for name, _ in zip(names, texts, strict=False) if name != problem.answer]
        assert outcome(problem, f"The answer is {problem.answer}.") == "correct", problem
        assert others == [] or outcome(problem, f"The answer is {others[0]}.") == "incorrect", problem
    return read, wrong


def has_twins(problem: Problem) -> bool:
    texts = [" ".join(option.split()) for option in problem.options]
    return len(set(texts)) < len(texts)


@EVERY
def test_commonsenseqa(data_folder: Path, every: int) -> None:
    task = load_commonsenseqa(CommonsenseqaTask(path=str(data_folder / "commonsenseqa"), held_out=ALL))
    problems = [*task.train(), *task.held_out()]
    read, wrong = check(problems[::every])
    assert (len(task.train()), len(task.held_out())) == (9741, 1221)
    assert wrong == []
    assert sum(map(has_twins, problems)) == 146
    assert read > 380_000 / TURNS / every


@EVERY
def test_mmlu(data_folder: Path, every: int) -> None:
    problems: list[Problem] = []
    for subject in sorted(SUBJECTS):
        problems += load_mmlu(MmluTask(name=f"mmlu/{subject}", path=str(data_folder / "mmlu"), held_out=ALL)).held_out()
    read, wrong = check(problems[::every])
    assert len(problems) == 9183 - 16  # rows that stand there twice
    assert wrong == []
    assert sum(map(has_twins, problems)) == 9
    assert read > 250_000 / TURNS / every


@EVERY
def test_bbh(data_folder: Path, every: int) -> None:
    problems: list[Problem] = []
    for name in sorted(TASKS - NUMBERS):
        task = load_bbh(BbhTask(name=f"bbh/{name}", path=str(data_folder / "bbh")))
        problems += [*task.train(), *task.held_out()]
    chosen = [problem for problem in problems if problem.options]
    read, wrong = check(chosen[::every])
    # Names with commas were taken apart into options, and two rows were found twice in each of two tasks.
    known = {"Monsters, Inc", "dearth, wind, & fire", "rita, sue and bob poo"}
    found = {problem.answer for problem in wrong}
    assert found == known if every == 1 else found <= known
    assert sum(map(has_twins, chosen)) == 3
    assert len(problems) == 6511 - 500 - 4
    assert read > 130_000 / TURNS / every


@pytest.mark.parametrize("name", ["dyck_languages", "word_sorting"])
def test_bbh_without_options(data_folder: Path, name: str) -> None:
    task = load_bbh(BbhTask(name=f"bbh/{name}", path=str(data_folder / "bbh")))
    problems = [*task.train(), *task.held_out()]
    assert len(problems) == 250
    for problem, other in zip(problems, [*problems[1:], problems[0]], strict=True):
        gold = problem.answer or ""
        commas = gold if name == "dyck_languages" else ", ".join(gold.title().split())
        for form in (
            gold,
            f"So the answer is {gold}.",
            f"#### {gold}",
            f"\\boxed{{{gold}}}",
            commas,
            gold.replace(" ", "\n"),
        ):
            if name == "word_sorting" or "\n" not in form:
                assert outcome(problem, form) == "correct", (form, problem)
        assert (outcome(problem, f"#### {other.answer}") == "correct") == (other.answer == gold)
        assert outcome(problem, f"#### {gold} extra )") == "incorrect"


def test_worked_problems_are_judged_right(data_folder: Path) -> None:
    count = 0
    for name in sorted(TASKS - NUMBERS):
        task = load_bbh(BbhTask(name=f"bbh/{name}", path=str(data_folder / "bbh")))
        options = task.held_out()[0].options
        for shown in task.exemplars:
            one = Problem(question=shown.question, answer=shown.answer, task=task.name, options=options)
            if len(shown.answer) == 1 and shown.answer not in LETTERS[: len(options)]:
                continue  # the worked problem has more options than the first one of the task
            for answer in (shown.answer, f"({shown.answer})" if len(shown.answer) == 1 else shown.answer):
                assert outcome(one, f"{shown.rationale} So the answer is {answer}.") == "correct", shown
            count += 1
    assert count == 75
