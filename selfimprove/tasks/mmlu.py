"""MMLU (Hendrycks et al., 2021): exam questions with four options, by subject."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from selfimprove.errors import TaskError, suggest
from selfimprove.recipe.task_settings import MmluTask, VerifierSettings
from selfimprove.records import Problem
from selfimprove.tasks.base import PoolTask, load_hub, read_text, take
from selfimprove.tasks.standard import mmlu_standards

LETTERS = "ABCD"
_LAST_CELL = re.compile(r",[0-3A-D]\s*$")
_QUOTED = re.compile(r'"(.*)",([0-3A-D])', re.DOTALL)
SUBJECTS = frozenset(
    [
        "abstract_algebra",
        "anatomy",
        "astronomy",
        "business_ethics",
        "clinical_knowledge",
        "college_biology",
        "college_chemistry",
        "college_computer_science",
        "college_mathematics",
        "college_medicine",
        "college_physics",
        "computer_security",
        "conceptual_physics",
        "econometrics",
        "electrical_engineering",
        "elementary_mathematics",
        "formal_logic",
        "global_facts",
        "high_school_biology",
        "high_school_chemistry",
        "high_school_computer_science",
        "high_school_european_history",
        "high_school_geography",
        "high_school_government_and_politics",
        "high_school_macroeconomics",
        "high_school_mathematics",
        "high_school_microeconomics",
        "high_school_physics",
        "high_school_psychology",
        "high_school_statistics",
        "high_school_us_history",
        "high_school_world_history",
        "human_aging",
        "human_sexuality",
        "international_law",
        "jurisprudence",
        "logical_fallacies",
        "machine_learning",
        "management",
        "marketing",
        "medical_genetics",
        "miscellaneous",
        "moral_disputes",
        "moral_scenarios",
        "nutrition",
        "philosophy",
        "prehistory",
        "professional_accounting",
        "professional_law",
        "professional_medicine",
        "professional_psychology",
        "public_relations",
        "security_studies",
        "sociology",
        "us_foreign_policy",
        "virology",
        "world_religions",
    ]
)


def _problem(subject: str, question: str, options: Sequence[str], answer: str) -> Problem:
    letter = LETTERS[int(answer)] if answer in ("0", "1", "2", "3") else answer
    if len(options) != len(LETTERS) or letter not in tuple(LETTERS):
        raise ValueError(f"{len(options)} options and the answer {answer!r}: {question[:60]!r}")
    texts = tuple(option.strip() for option in options)
    lines = [f"{name}. {text}" for name, text in zip(LETTERS, texts, strict=True)]
    return Problem(
        question="\n".join([question.strip(), *lines]),
        answer=letter,
        task=f"mmlu/{subject}",
        group=subject.replace("_", " "),
        options=texts,
    )


def _rows(text: str) -> list[list[str]]:
    """The rows of a CSV file; some copies do not double the quotes inside a cell, and are split between the cells."""
    try:
        rows = [row for row in csv.reader(text.splitlines(keepends=True), strict=True) if row]
        if all(len(row) == len(LETTERS) + 2 for row in rows):
            return rows
    except csv.Error:
        pass  # the copies with quotes of their own, below
    cells, record = [], ""
    for line in text.splitlines():
        record = f"{record}\n{line}" if record else line
        if not record.strip() or not (_LAST_CELL.search(line) or _is_header(line.split(","))):
            continue  # a cell may hold line ends
        quoted = _QUOTED.fullmatch(record.rstrip())
        cells.append([*quoted[1].split('","'), quoted[2]] if quoted else next(csv.reader([record])))
        record = ""
    if record.strip():
        raise ValueError(f"no answer ends the row {record[:60]!r}")
    return cells


def _is_header(row: Sequence[str]) -> bool:
    """Whether a row names the columns: the options are A to D, or in some copies choice0 to choice3."""
    names = [cell.strip() for cell in row]
    return len(names) == len(LETTERS) + 2 and (names[0], names[-1]) == ("question", "answer")


def _read(path: Path, subject: str) -> list[Problem]:
    problems = []
    try:
        rows = _rows(read_text(path))
        for row in rows[1:] if rows and _is_header(rows[0]) else rows:
            question, *options, answer = row
            problems.append(_problem(subject, question, options, answer.strip()))
    except (ValueError, csv.Error) as error:
        raise TaskError(f"{path}: not MMLU's format ({error})") from None
    if not problems:
        raise TaskError(f"{path}: holds no question")
    return problems


def _find(folder: Path, subject: str) -> Path:
    """The test file of a subject; raises TaskError with the nearest subject that is there."""
    path = next((one for one in _files(folder) if one.name == f"{subject}_test.csv"), None)
    if path is None:
        known = {one.name.removesuffix("_test.csv") for one in _files(folder)}
        hint = suggest(subject, known) if known else "; expected files such as test/anatomy_test.csv"
        raise TaskError(f"{folder}: no subject '{subject}' of MMLU{hint}")
    return path


def _files(folder: Path) -> Iterable[Path]:
    return [*sorted(folder.glob("*_test.csv")), *sorted(folder.glob("test/*_test.csv"))]


def load_mmlu(settings: MmluTask) -> PoolTask:
    """Load a subject of MMLU from its CSV file or the folder of all, or from the hub; it may have no training part."""
    subject = settings.subject
    if settings.path is None:
        if subject not in SUBJECTS:
            raise TaskError(f"unknown subject '{subject}' of MMLU{suggest(subject, SUBJECTS)}")
        train, test, dev = (
            [
                _problem(subject, row["question"], row["choices"], str(row["answer"]))
                for row in load_hub("cais/mmlu", split, subject)
            ]
            for split in ("validation", "test", "dev")
        )
    else:
        path = Path(settings.path)
        path = _find(path, subject) if path.is_dir() else path
        test = _read(path, subject)
        train, dev = (
            _read(file, subject) if (file := path.parent.parent / split / f"{subject}_{split}.csv").is_file() else []
            for split in ("val", "dev")
        )
    return PoolTask(
        settings.name,
        take(train, settings.limit),
        take(test, settings.held_out),
        verifier=VerifierSettings(name="choice", answers=settings.answers),
        standards=mmlu_standards(subject, dev),
    )
