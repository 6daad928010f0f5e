"""Reads a JSONL file of responses with the answers that were expected, and with labels where it has them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfimprove.errors import VerifierError, suggest
from selfimprove.records import Problem, Rationale, replace_surrogates
from selfimprove.tasks.expected import read_expected
from selfimprove.verifiers import Verifier
from selfimprove.verifiers.labelled import read_label


@dataclass(frozen=True)
class Columns:
    """The keys of a line's object; a response may be a text or a list of texts."""

    response: str = "response"
    answer: str = "answer"
    question: str | None = None
    options: str | None = None
    label: str | None = None
    """Whether the response is right, as a person or another judge knows it."""


@dataclass(frozen=True)
class Row:
    """One response of the file, as the verifiers see it."""

    line: int
    sample: int
    problem: Problem
    rationale: Rationale
    label: bool | None = None


@dataclass
class Skipped:
    """The lines that could not be read, and why."""

    reasons: Counter[str] = field(default_factory=Counter)
    lines: list[int] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        self.reasons[reason] += 1
        self.lines.append(line)

    def describe(self, shown: int = 12) -> str:
        """The reasons with the first lines; empty where all could be read."""
        lines = ", ".join(map(str, self.lines[:shown])) + (" …" if len(self.lines) > shown else "")
        reasons = "; ".join(f"{count} × {reason}" for reason, count in self.reasons.most_common(shown))
        return f"{reasons} (lines {lines})" if reasons else ""


def read_rows(path: Path, columns: Columns, verifier: Verifier, skipped: Skipped) -> Iterator[Row]:
    """The responses of a JSONL file; a line that cannot be read is counted, a column that no line has is an error."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            known: set[str] | None = None
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if not isinstance(row, dict):
                    skipped.add(number, "not a JSON object")
                    continue
                if known is None:
                    known = set(row)
                    _check_columns(path, number, known, columns)
                yield from _read_row(row, number, columns, verifier, skipped)
    except OSError as error:
        raise VerifierError(f"{path}: {error.strerror or error}") from None


def read_labelled(path: Path, verifier: Verifier) -> list[Row]:
    """The responses of a labelled file with the usual keys; VerifierError where a line cannot be read, or there is
    none."""
    keys = _first_keys(path)
    optional = {name: name for name in ("question", "options") if name in keys}
    skipped = Skipped()
    rows = list(read_rows(path, Columns(**optional, label="label"), verifier, skipped))
    if skipped.reasons or not rows:
        raise VerifierError(f"{path}: {skipped.describe() or 'holds no labelled response'}")
    return rows


def _first_keys(path: Path) -> set[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return set(json.loads(next(filter(str.strip, file), "{}")))
    except OSError as error:
        raise VerifierError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError, TypeError):
        return set()  # what is wrong with the line is said where it is read


def _check_columns(path: Path, number: int, known: set[str], columns: Columns) -> None:
    for option, name in vars(columns).items():
        if name is not None and name not in known:
            raise VerifierError(f"{path}:{number}: no key '{name}'{suggest(name, known)}; name yours with --{option}")


def _read_row(
    row: dict[str, Any], number: int, columns: Columns, verifier: Verifier, skipped: Skipped
) -> Iterator[Row]:
    responses = row.get(columns.response)
    options = row.get(columns.options) if columns.options else []
    answer = row.get(columns.answer)
    if isinstance(responses, str):
        responses = [responses]
    if not isinstance(responses, list) or not all(isinstance(one, str) for one in responses):
        skipped.add(number, f"'{columns.response}' is neither a text nor a list of texts")
        return
    if not isinstance(options, list) or isinstance(answer, (list, dict)):
        skipped.add(number, "the options are no list, or the answer is not one text or number")
        return
    labels = _read_labels(row.get(columns.label), len(responses)) if columns.label else [None] * len(responses)
    if labels is None:
        skipped.add(number, f"'{columns.label}' does not say of each response whether it is right")
        return
    problem = make_problem(answer, row.get(columns.question, "") if columns.question else "", options)
    for sample, (response, label) in enumerate(zip(responses, labels, strict=True)):
        yield Row(number, sample, problem, make_rationale(response, problem, verifier, sample), label)


def make_problem(answer: object, question: object = "", options: Iterable[object] = ()) -> Problem:
    """The problem that responses from outside a run are judged by; of a whole solution its answer counts."""
    return Problem(
        question=_text(question),
        answer=read_expected(answer),
        task="file",
        options=tuple(map(_text, options)),
    )


def make_rationale(response: str, problem: Problem, verifier: Verifier, sample: int = 0) -> Rationale:
    """A response from outside a run as the verifiers see it."""
    text = replace_surrogates(response)
    return Rationale(
        parents=(problem.id, "file"), prompt="", text=text, answer=verifier.extract_answer(text, problem),
        origin="sampled", round=0, sample=sample, seed=0, temperature=0.0, top_p=1.0, tokens=0, logprob=0.0,
        finish="stop",
    )  # fmt: skip


def _read_labels(value: object, count: int) -> list[bool | None] | None:
    """The labels of a line's responses, one or as many; None where one of them cannot be read."""
    values = value if isinstance(value, list) else [value] * count
    labels = [read_label(one) for one in values]
    return None if len(labels) != count or None in labels else labels


def _text(value: object) -> str:
    return replace_surrogates(value if isinstance(value, str) else json.dumps(value)).strip()
