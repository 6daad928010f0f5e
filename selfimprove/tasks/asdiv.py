"""ASDiv (Miao et al., 2020): word problems by school grade."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import AsdivTask
from selfimprove.records import Problem
from selfimprove.tasks.base import PoolTask, compare_as, load_hub, read_text, split_pool, take

_NUMBER = re.compile(r"\s*(-?[\d,]*\.?\d+)\s*(\([^()]*\))?\s*")  # of `5 (years); 15 (years)` the 5 is no answer


def _problems(rows: Iterable[Mapping[str, str]], grades: tuple[int, ...]) -> list[Problem]:
    """Problems whose answer is one number; ASDiv's ratios, pairs, times and words are left out."""
    problems = []
    for row in rows:
        number = _NUMBER.fullmatch(row["answer"])
        grade = int(row.get("grade") or 0)
        if number is None or (grade and grade not in grades):
            continue
        problems.append(
            Problem(
                question=f"{row['body'].strip()} {row['question'].strip()}",
                answer=number[1].replace(",", ""),
                task="asdiv",
                level=grade,
                group=f"grade {grade}" if grade else "all grades",
            )
        )
    return problems


def _parse(path: Path) -> list[dict[str, str]]:
    try:
        root = ElementTree.fromstring(read_text(path))
    except ElementTree.ParseError as error:
        raise TaskError(f"{path}: not ASDiv's XML ({error})") from None
    rows = [
        {
            "body": node.findtext("Body", ""),
            "question": node.findtext("Question", ""),
            "answer": node.findtext("Answer", ""),
            "grade": node.get("Grade", "0"),
        }
        for node in root.iter("Problem")
    ]
    if odd := next((row["grade"] for row in rows if not re.fullmatch("[0-9]{0,3}", row["grade"])), None):
        raise TaskError(f"{path}: not ASDiv's XML (the grade {odd[:40]!r} is no number)")
    return rows


def load_asdiv(settings: AsdivTask) -> PoolTask:
    """Load ASDiv from ASDiv.xml (or its folder), or from the hub, whose copy has no grades."""
    if settings.path is None:
        rows: Iterable[Mapping[str, str]] = load_hub("EleutherAI/asdiv", "validation", "asdiv")
    else:
        path = Path(settings.path)
        rows = _parse(path / "ASDiv.xml" if path.is_dir() else path)
    problems = _problems(rows, settings.grades)
    if not problems:
        raise TaskError(f"asdiv: no problem of the grades {settings.grades} in {settings.path or 'the hub copy'}")
    train, test = split_pool(problems, settings.held_out, whole=settings.whole)
    return PoolTask("asdiv", take(train, settings.limit), test, verifier=compare_as("math", settings))
