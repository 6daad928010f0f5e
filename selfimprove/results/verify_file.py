"""Judge a file of responses with a verifier, and say what it made of them: to trust it, or not, before a run."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from selfimprove.errors import VerifierError, not_known, plain_words
from selfimprove.recipe.catalog import known as known_of
from selfimprove.recipe.task_settings import ReasoningGymTask, VerifierSettings
from selfimprove.records import Outcome, Verdict, derive_seed
from selfimprove.running.find_model import locate_model
from selfimprove.tasks.gym_data import open_data
from selfimprove.verifiers import Verifier, make_verifier
from selfimprove.verifiers.judge import JUDGE_PROMPT, JudgeVerifier, load_judge_prompt
from selfimprove.verifiers.judging import ask_model, judge_pairs
from selfimprove.verifiers.labelled import LabelledReport, classify_reason
from selfimprove.verifiers.response_file import Columns, Row, Skipped, read_rows
from selfimprove.verifiers.workers import VerifierPool

BATCH = 1_000
OUTCOMES: tuple[Outcome, ...] = ("correct", "incorrect", "undecided")


@dataclass
class Totals:
    """What is counted while a file is judged."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)
    skipped: Skipped = field(default_factory=Skipped)
    labelled: LabelledReport | None = None
    steps: Counter[str] = field(default_factory=Counter)
    coverage: list[float] = field(default_factory=list)
    wrong_reason: int = 0
    ungrounded: int = 0
    both: Counter[tuple[str, str]] = field(default_factory=Counter)
    disagreements: list[tuple[Row, Verdict, Verdict]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, row: Row, verdict: Verdict) -> None:
        self.outcomes[verdict.outcome] += 1
        if row.label is not None:
            self.labelled = self.labelled or LabelledReport()
            self.labelled.add(row.label, verdict, f"line {row.line}")
        key = (verdict.outcome, classify_reason(verdict.reason))
        self.reasons[key] += 1
        self.examples.setdefault(key, f"line {row.line}: {verdict.reason}")
        self.steps.update(step.outcome for step in verdict.steps)
        if verdict.coverage is not None:
            self.coverage.append(verdict.coverage)
        self.wrong_reason += verdict.wrong_reason
        self.ungrounded += verdict.outcome == "correct" and bool(verdict.ungrounded)

    def compare(self, row: Row, first: Verdict, second: Verdict) -> None:
        self.both[first.outcome, second.outcome] += 1
        if first.outcome != second.outcome:
            self.disagreements.append((row, first, second))


def choose_verifier(
    name: str, compared: Mapping[str, object], *, stated: bool, judge: tuple[str | None, Path | None]
) -> Verifier:
    """The verifier of a name on the command line; raises VerifierError with the nearest one."""
    judge = (locate_model(judge[0], Path("runs")) if judge[0] else None, judge[1])
    family = name.partition("/")[0]
    known = [*known_of("verifier"), "judge"]
    if family not in known or (family == "reasoning_gym") != ("/" in name):
        raise VerifierError(not_known("verifier", name, [one for one in known if one != "reasoning_gym"]))
    try:
        gym = ReasoningGymTask(name=name) if family == "reasoning_gym" else None
        settings = VerifierSettings.model_validate({"name": family, "stated": stated, "answers": compared, "gym": gym})
    except ValidationError as error:
        first = error.errors()[0]
        raise VerifierError(f"--{first['loc'][-1]}: {plain_words(first['msg'])}") from None
    if gym:
        open_data(gym)  # an unknown data set is said before anything is judged
    if family != "judge":
        return make_verifier(settings)
    if judge[0] is None:
        raise VerifierError("the verifier 'judge' needs --judge-model: a folder or a hub name")
    return JudgeVerifier(settings, load_judge_prompt(judge[1] or JUDGE_PROMPT), ask_model(judge[0]))


def judge_file(
    path: Path,
    columns: Columns,
    verifier: Verifier,
    *,
    pool: VerifierPool,
    second: Verifier | None = None,
    share: float = 1.0,
    out: Path | None = None,
    limit: int | None = None,
) -> Totals:
    """Judge every response of a file, in batches; verdicts go to `out` as they come, which is renamed at the end."""
    totals, started = Totals(), time.perf_counter()
    rows = islice(read_rows(path, columns, verifier, totals.skipped), limit)
    with _Out(out, path) as file:
        _judge_rows(rows, verifier, totals, pool=pool, second=second, share=share, file=file)
        if not totals.outcomes:
            raise VerifierError(
                f"{path}: holds no response that can be read ({totals.skipped.describe() or 'it is empty'})"
            )
    totals.seconds = time.perf_counter() - started
    return totals


class _Out:
    """The file of verdicts: written beside its place and renamed at the end; a device or a pipe is written to.

    Of a command that is stopped the part beside it stays, because verdicts of a model are paid for.
    """

    def __init__(self, out: Path | None, source: Path) -> None:
        self.out = self.partial = out
        if out is None:
            return
        if out.is_dir() or not out.name:
            raise VerifierError(f"--out {out}: is a folder; name a file in it")
        if out.exists() and source.exists() and out.samefile(source):
            raise VerifierError(f"--out {out}: is the file that is judged; name another one")
        special = out.exists() and (not out.is_file() or out.is_symlink())
        self.partial = out if special else out.with_name(out.name + ".partial")

    def __enter__(self) -> TextIO | None:
        try:
            self.file = self.partial.open("w", encoding="utf-8") if self.partial else None
        except OSError as error:
            raise VerifierError(f"--out {self.out}: {error.strerror or error}") from None
        return self.file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.file and self.partial and self.out:
            self.file.close()
            if kind is None and self.partial != self.out:
                self.partial.replace(self.out)
            elif kind is VerifierError and self.partial != self.out and not self.partial.stat().st_size:
                self.partial.unlink()


def _judge_rows(
    rows: Iterator[Row],
    verifier: Verifier,
    totals: Totals,
    *,
    pool: VerifierPool,
    second: Verifier | None,
    share: float,
    file: TextIO | None,
) -> None:
    while batch := list(islice(rows, BATCH)):
        verdicts = list(_judge(batch, verifier, pool))
        checked = [row for row in batch if _is_chosen(row, share)] if second else []
        seconds = dict(zip(map(id, checked), _judge_again(checked, second, pool), strict=True)) if second else {}
        for row, verdict in zip(batch, verdicts, strict=True):
            totals.add(row, verdict)
            again = seconds.get(id(row))
            if again:
                totals.compare(row, verdict, again)
            if file:
                file.write(json.dumps(_line(row, verdict, again), ensure_ascii=False) + "\n")


def _judge(rows: Sequence[Row], verifier: Verifier, pool: VerifierPool) -> Iterator[Verdict]:
    return judge_pairs(((row.problem, row.rationale) for row in rows), lambda _: verifier, pool)


def _judge_again(rows: Sequence[Row], second: Verifier, pool: VerifierPool) -> Iterator[Verdict]:
    pairs = []
    for row in rows:
        answer = second.extract_answer(row.rationale.text, row.problem)
        pairs.append((row.problem, row.rationale.model_copy(update={"answer": answer})))
    return judge_pairs(pairs, lambda _: second, pool)


def _is_chosen(row: Row, share: float) -> bool:
    return derive_seed("cross-check", row.line, row.rationale.id) < share * 2**63


def _line(row: Row, verdict: Verdict, second: Verdict | None) -> dict[str, object]:
    line = {
        "line": row.line,
        "sample": row.sample,
        "expected": row.problem.answer,
        "extracted": row.rationale.answer,
        **verdict.model_dump(mode="json", include={"outcome", "reason", "coverage", "verifier", "version", "steps"}),
        "reasoning": verdict.reasoning,
    }
    if row.label is not None:
        line["label"] = row.label
    if second:
        line["second"] = second.model_dump(mode="json", include={"outcome", "reason", "verifier", "version"})
    return line
