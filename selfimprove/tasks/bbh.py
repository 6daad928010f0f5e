"""BIG-Bench Hard (Suzgun et al., 2022): 27 tasks, each with three worked problems."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import TaskError, suggest
from selfimprove.prompting.prompts import Exemplar
from selfimprove.recipe.task_settings import BbhTask, VerifierSettings
from selfimprove.records import Problem
from selfimprove.tasks.base import PoolTask, load_hub, question_key, read_text, split_pool, take
from selfimprove.tasks.standard import bbh_standards

TASKS = frozenset(
    [
        "boolean_expressions",
        "causal_judgement",
        "date_understanding",
        "disambiguation_qa",
        "dyck_languages",
        "formal_fallacies",
        "geometric_shapes",
        "hyperbaton",
        "logical_deduction_five_objects",
        "logical_deduction_seven_objects",
        "logical_deduction_three_objects",
        "movie_recommendation",
        "multistep_arithmetic_two",
        "navigate",
        "object_counting",
        "penguins_in_a_table",
        "reasoning_about_colored_objects",
        "ruin_names",
        "salient_translation_error_detection",
        "snarks",
        "sports_understanding",
        "temporal_sequences",
        "tracking_shuffled_objects_five_objects",
        "tracking_shuffled_objects_seven_objects",
        "tracking_shuffled_objects_three_objects",
        "web_of_lies",
        "word_sorting",
    ]
)
NUMBERS = frozenset({"multistep_arithmetic_two", "object_counting"})
LABELS: Mapping[str, tuple[str, ...]] = {  # where the question does not list them
    "boolean_expressions": ("True", "False"),
    "sports_understanding": ("yes", "no"),
    "web_of_lies": ("Yes", "No"),
}
_OPTION = re.compile(r"^(?:\(([A-Z])\)|-)[ \t]*(.*?)[ \t]*$")
_SOLVED = re.compile(r"(.*)\bSo the answer is (.+?)\.?\s*", re.DOTALL)


def parse_options(question: str) -> tuple[str, ...]:
    """The texts of the lines `(A) …` or `- …` after the last line "Options:"; none where there is no such line."""
    _, mark, listed = question.rpartition("\nOptions:\n")
    options: list[str] = []
    for line in listed.split("\n") if mark else []:
        found = _OPTION.match(line)
        if found:
            options.append(found[2])
        elif options and line.strip():
            options[-1] += f"\n{line.strip()}"
    return tuple(options)


def _answer(target: str) -> str:
    letter = re.fullmatch(r"\(([A-Z])\)", target)
    return letter[1] if letter else target


def _problems(rows: Iterable[Mapping[str, Any]], subject: str) -> list[Problem]:
    problems = []
    for row in rows:
        question, target = row["input"].strip(), row["target"].strip()
        problems.append(
            Problem(
                question=question,
                answer=_answer(target),
                task=f"bbh/{subject}",
                group=subject.replace("_", " "),
                options=parse_options(question) or LABELS.get(subject, ()),
            )
        )
    return problems


def parse_exemplars(text: str) -> tuple[Exemplar, ...]:
    """The worked problems of a file of `cot-prompts`; raises ValueError for one without an answer."""
    exemplars = []
    for block in re.split(r"\n\s*\nQ: ", text.replace("\r\n", "\n"))[1:]:
        question, mark, solution = block.partition("\nA: ")
        solved = _SOLVED.fullmatch(solution)
        if not mark or solved is None:
            raise ValueError(f"no worked answer for {question[:60]!r}")
        exemplars.append(
            Exemplar(question=question.strip(), rationale=solved[1].strip(), answer=_answer(solved[2].strip()))
        )
    return tuple(exemplars)


def _read(folder: Path, subject: str) -> tuple[list[Problem], tuple[Exemplar, ...], str]:
    path, worked = folder / f"{subject}.json", folder / "cot-prompts" / f"{subject}.txt"
    if folder.is_dir() and not path.is_file():
        known = [one.stem for one in folder.glob("*.json")]
        raise TaskError(f"{folder}: no task '{subject}' of BIG-Bench Hard{suggest(subject, known)}")
    try:
        problems = _problems(json.loads(read_text(path))["examples"], subject)
        path = worked
        text = read_text(path) if path.is_file() else ""
        exemplars = parse_exemplars(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TaskError(f"{path}: not BIG-Bench Hard's format ({type(error).__name__}: {error})") from None
    return problems, exemplars, text


def load_bbh(settings: BbhTask) -> PoolTask:
    """Load a task of BIG-Bench Hard from a folder, or from the hub, whose copy has no worked problems."""
    subject = settings.subject
    if settings.path is not None:
        problems, exemplars, worked = _read(Path(settings.path), subject)
    elif subject in TASKS:
        problems, exemplars, worked = _problems(load_hub("lukaemon/bbh", "test", subject), subject), (), ""
    else:
        raise TaskError(f"unknown task '{subject}' of BIG-Bench Hard{suggest(subject, TASKS)}")
    shown = {question_key(exemplar.question) for exemplar in exemplars}
    others = [one for one in problems if question_key(one.question) not in shown]
    train, test = split_pool(others, settings.held_out, whole=settings.whole)
    return PoolTask(
        settings.name,
        take(train, settings.limit),
        test,
        verifier=VerifierSettings(name="math" if subject in NUMBERS else "choice", answers=settings.answers),
        exemplars=exemplars,
        standards=bbh_standards(subject, worked),
    )
