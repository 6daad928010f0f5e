"""Problems from any data set: columns by name or path, answers of any plain form, a filter, and bad rows counted."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from selfimprove.errors import TaskError
from selfimprove.recipe.task_settings import DatasetTask
from selfimprove.records import Problem, replace_surrogates
from selfimprove.tasks.base import PoolTask, compare_as, question_key, split_pool, take
from selfimprove.tasks.expected import read_expected
from selfimprove.tasks.jsonl import MAX_LEVEL, SHOWN, Asked, show_answer
from selfimprove.tasks.tables import Columns, Unreadable, has_splits, read_rows

MISSING = object()
MAX_STEPS = 20  # of a column's path
ROLES = {"system": "", "user": "User: ", "human": "User: ", "assistant": "Assistant: ", "gpt": "Assistant: "}
"""Roles of turns, as chat data sets call them, with what stands before one in a transcript."""


class BadRow(Exception):
    """A row makes no problem; its text is the reason."""


@dataclass
class Read:
    """What a data set holds, and what is odd about it."""

    path: str
    problems: dict[Asked, Problem] = field(default_factory=dict)
    places: dict[Asked, str] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    """What is wrong with the rows that make no problem, with their places."""
    repeated: list[str] = field(default_factory=list)
    contradicted: list[str] = field(default_factory=list)
    passed: int = 0
    """Rows that the filter let through."""

    def add(self, problem: Problem, place: str) -> None:
        """Add a problem; of a question that stands there more than once the first one counts."""
        key = question_key(problem.question), problem.options
        first = self.problems.setdefault(key, problem)
        if key in self.places:
            self.repeated.append(f"{self.places[key]} and {place}")
            if first.answer != problem.answer:
                answers = f"{show_answer(first.answer)} and {show_answer(problem.answer)}"
                self.contradicted.append(f"{self.places[key]} and {place}: {answers}")
        self.places.setdefault(key, place)

    def remarks(self) -> Iterator[str]:
        """What is odd, in a line each."""
        empty = [self.places[key] for key, one in self.problems.items() if one.answer is None]
        for found, said in (
            (self.bad, f"of {self.passed} rows make no problem and are left out"),
            (self.repeated, f"of {self.passed} rows repeat a question and are left out"),
            (self.contradicted, "questions have different answers, of which the first one counts"),
            (empty, f"of {len(self.problems)} problems have no answer and stay undecided"),
        ):
            if found:
                yield f"{self.path}: {len(found)} {said} ({_some(found)})"


def _some(found: list[str]) -> str:
    return "; ".join(found[:SHOWN]) + (" …" if len(found) > SHOWN else "")


def load_dataset(settings: DatasetTask) -> PoolTask:
    """Load the problems of a data set; raises TaskError that names what cannot be read, and where."""
    if settings.evaluate_split and not settings.evaluate_path and not has_splits(settings.path):
        raise TaskError(f"{settings.path}: has no splits; name what is held out with 'evaluate_path'")
    read = read_problems(settings.path, settings, settings.split)
    problems, remarks, left_out = list(read.problems.values()), list(read.remarks()), len(read.bad)
    if settings.evaluate_path or settings.evaluate_split:
        path = settings.evaluate_path or settings.path
        other = read_problems(path, settings, settings.evaluate_split or settings.split)
        test = take(list(other.problems.values()), settings.held_out)
        remarks, left_out = remarks + list(other.remarks()), left_out + len(other.bad)
        held_out = {question_key(one.question) for one in test}
        train = [one for one in problems if question_key(one.question) not in held_out]
        if both := len(problems) - len(train):
            remarks.append(f"{settings.path}: {both} problems are held out too, and are not trained on")
    else:
        train, test = split_pool(problems, settings.held_out)
    if not train or not test:
        raise TaskError(f"{settings.path}: {len(problems)} problems are too few to train on some and hold others out")
    verifier = compare_as(settings.compare, settings)
    return PoolTask("dataset", take(train, settings.limit), test, verifier=verifier, left_out=left_out, remarks=remarks)


def read_problems(path: str, settings: DatasetTask, split: str) -> Read:
    """Read the problems of one split; raises TaskError where there are none, or at a bad row with `bad: stop`."""
    read = Read(path)
    for place, row in read_rows(path, settings, _columns(settings), split):
        try:
            if not passes(row, settings):
                continue
            read.add(make_problem(row, settings), place)
        except BadRow as error:
            if settings.bad == "stop":
                raise TaskError(f"{path}: {place}: {error}") from None
            read.bad.append(f"{place}: {error}")
        read.passed += 1
        if read.passed == settings.rows:
            break
    if not read.problems:
        why = f"; {read.bad[0]}" if read.bad else " that passes 'train.where'" if settings.where else ""
        raise TaskError(f"{path}: holds no problem{why}")
    return read


def _columns(settings: DatasetTask) -> Columns:
    """The names at the top of the columns that are read; a name may have dots in it."""
    asked = settings.messages or settings.question
    needed = [asked, *filter(None, (settings.options, settings.level)), *settings.where]
    answer = _beginnings(settings.answer)
    if settings.messages is None:
        return Columns((answer, *map(_beginnings, needed)))
    return Columns((*map(_beginnings, needed),), optional=answer)


def _beginnings(path: str) -> tuple[str, ...]:
    parts = path.split(".")[:MAX_STEPS]
    return tuple(".".join(parts[: at + 1]) for at in range(len(parts)))


def look_up(row: object, path: str) -> object:
    """What stands at a path in a row, MISSING where nothing does; a key that has dots in it is found too."""
    if not path:
        return row
    parts = path.split(".")[:MAX_STEPS]
    if isinstance(row, list):
        at = int(parts[0]) if parts[0].isascii() and parts[0].isdigit() and len(parts[0]) < 7 else len(row)
        return look_up(row[at], ".".join(parts[1:])) if at < len(row) else MISSING
    if isinstance(row, dict):
        for length in range(len(parts), 0, -1):
            if (name := ".".join(parts[:length])) in row:
                return look_up(row[name], ".".join(parts[length:]))
    return MISSING


def _column(row: object, path: str, setting: str) -> object:
    if isinstance(row, Unreadable):
        raise BadRow(row.reason)
    if not isinstance(row, dict):
        raise BadRow("is no object with columns")
    value = look_up(row, path)
    if value is MISSING:
        names = ", ".join(repr(str(name)) for name in list(row)[:20]) or "none"
        raise BadRow(f"no column '{path}' (columns: {names}); name yours with 'train.{setting}'")
    return value


# --- the filter


def passes(row: object, settings: DatasetTask) -> bool:
    """Whether a row has all that `where` asks for; raises BadRow where it has no such column."""
    return all(_fits(_column(row, path, "where"), wanted) for path, wanted in settings.where.items())


def _fits(value: object, wanted: object) -> bool:
    if isinstance(wanted, dict):
        number = _number(value)
        return number is not None and wanted.get("at_least", number) <= number <= wanted.get("at_most", number)
    if isinstance(wanted, tuple):
        return any(_fits(value, one) for one in wanted)
    if value is None or wanted is None or isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted or (
            isinstance(value, str) and isinstance(wanted, bool) and value.lower() == str(wanted).lower()
        )
    number, other = _number(value), _number(wanted)
    return number == other if None not in (number, other) else str(value).strip() == str(wanted).strip()


def _number(value: object) -> float | None:
    """The number that a value is, or that a text such as a cell of a CSV file spells."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        number = float(value[:40] if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


# --- problems


def make_problem(row: object, settings: DatasetTask) -> Problem:
    """The problem of a row; raises BadRow with the reason why it makes none."""
    if settings.messages is None:
        question = _column(row, settings.question, "question")
        if not isinstance(question, str) or not question.strip():
            raise BadRow(f"'{settings.question}' is {'empty' if isinstance(question, str) else 'not a text'}")
        answer = _column(row, settings.answer, "answer")
    else:
        turns = _column(row, settings.messages, "messages")
        question, said = read_messages(turns, settings.messages)
        answer = look_up(row, settings.answer)
        answer = said if answer is MISSING else answer
    options = () if settings.options is None else _options(_column(row, settings.options, "options"), settings.options)
    level = 0 if settings.level is None else _level(_column(row, settings.level, "level"), settings.level)
    return Problem(
        question=replace_surrogates(question.strip()),
        answer=_in_options(answer, options) if options else read_answer(answer, settings.answer),
        task="dataset",
        level=level,
        group=f"level {level}",
        options=options,
    )


def read_messages(turns: object, column: str) -> tuple[str, str | None]:
    """The question that a conversation ends in, and what the assistant says to it, if it does; raises BadRow.

    A single turn of the user is the question as it stands; of several turns a transcript is made.
    """
    if not isinstance(turns, list) or not turns:
        raise BadRow(f"'{column}' is no list of turns")
    said: list[tuple[str, str]] = []
    for turn in turns:
        role = (turn.get("role") or turn.get("from")) if isinstance(turn, dict) else None
        text = (turn.get("content") or turn.get("value")) if isinstance(turn, dict) else None
        if not isinstance(role, str) or role.lower() not in ROLES or not isinstance(text, str) or not text.strip():
            raise BadRow(f"'{column}' has a turn that is not {{role: system, user or assistant, content: a text}}")
        said.append((ROLES[role.lower()], text.strip()))
    answer = said.pop()[1] if said[-1][0] == ROLES["assistant"] else None
    if not said or said[-1][0] != ROLES["user"]:
        raise BadRow(f"'{column}' has no turn of the user at its end")
    if len(said) == 1:
        return said[0][1], answer
    return "\n\n".join(before + text for before, text in said), answer


def read_answer(value: object, column: str) -> str | None:
    """The expected answer that a value stands for; None where there is none. Raises BadRow.

    A list of one value is that value, and so is one in which all are equal; other lists are written with commas.
    """
    if isinstance(value, list):
        parts = [read_answer(one, column) for one in value if not isinstance(one, list)]
        if len(parts) != len(value) or None in parts:
            raise BadRow(f"'{column}' is a list with something in it that is no answer")
        return (
            ", ".join(dict.fromkeys(str(one) for one in parts))
            if len({*parts}) == 1
            else ", ".join(map(str, parts)) or None
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRow(f"'{column}' is not a number")
    if isinstance(value, Decimal):
        value = str(value)
    if value is not None and not isinstance(value, (str, bool, int, float)):
        raise BadRow(f"'{column}' is neither a text, a number, true or false, nor a list of them")
    return read_expected(value)


def _options(value: object, column: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, (str, int, float)) for one in value):
        raise BadRow(f"'{column}' is not a list of options")
    return tuple(replace_surrogates(str(one).strip()) for one in value)


def _in_options(value: object, options: tuple[str, ...]) -> str | None:
    """The letter of an option that is given by its place; other answers as they are."""
    if isinstance(value, int) and not isinstance(value, bool) and str(value) not in options:
        if not 0 <= value < min(len(options), 26):
            raise BadRow(f"the answer is the option {value}, and there are {len(options)}")
        return chr(ord("A") + value)
    return read_answer(value, "answer")


def _level(value: object, column: str) -> int:
    number = _number(value)
    if number is None or number != int(number) or abs(number) > MAX_LEVEL:
        raise BadRow(f"'{column}' is not a whole number")
    return int(number)
