"""Judge a file of responses with a verifier, and say what it made of them: to trust it, or not, before a run."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfimprove.errors import VerifierError
from selfimprove.recipe.catalog import known as known_of
from selfimprove.recipe.task_settings import ReasoningGymTask, VerifierSettings
from selfimprove.recipe.yaml import not_known, suggest
from selfimprove.records import Outcome, Problem, Rationale, Verdict, derive_seed, replace_surrogates
from selfimprove.records.printable import one_line
from selfimprove.records.stats import wilson
from selfimprove.running.console import SafeConsole
from selfimprove.tasks.gym_data import open_data
from selfimprove.verifiers import Verifier, make_verifier
from selfimprove.verifiers.judge import JUDGE_PROMPT, JudgeVerifier, load_judge_prompt
from selfimprove.verifiers.judging import ask_model, judge_pairs
from selfimprove.verifiers.workers import VerifierPool

BATCH = 1_000
SHOWN = 12
OUTCOMES: tuple[Outcome, ...] = ("correct", "incorrect", "undecided")


@dataclass(frozen=True)
class Columns:
    """The keys of a line's object; a response may be a text or a list of texts."""

    response: str = "response"
    answer: str = "answer"
    question: str | None = None
    options: str | None = None


@dataclass(frozen=True)
class Row:
    """One response of the file, as the verifiers see it."""

    line: int
    sample: int
    problem: Problem
    rationale: Rationale


@dataclass
class Totals:
    """What is counted while a file is judged."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], str] = field(default_factory=dict)
    unreadable: Counter[str] = field(default_factory=Counter)
    unreadable_lines: list[int] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    coverage: list[float] = field(default_factory=list)
    wrong_reason: int = 0
    ungrounded: int = 0
    both: Counter[tuple[str, str]] = field(default_factory=Counter)
    disagreements: list[tuple[Row, Verdict, Verdict]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, row: Row, verdict: Verdict) -> None:
        self.outcomes[verdict.outcome] += 1
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
    name: str, compared: dict[str, Any], *, stated: bool, judge: tuple[str | None, Path | None]
) -> Verifier:
    """The verifier of a name on the command line; raises VerifierError with the nearest one."""
    family = name.partition("/")[0]
    known = [*known_of("verifier"), "judge"]
    if family not in known or (family == "reasoning_gym") != ("/" in name):
        raise VerifierError(not_known("verifier", name, [one for one in known if one != "reasoning_gym"]))
    try:
        gym = ReasoningGymTask(name=name) if family == "reasoning_gym" else None
        settings = VerifierSettings.model_validate({"name": family, "stated": stated, "answers": compared, "gym": gym})
    except ValidationError as error:
        raise VerifierError(f"--{error.errors()[0]['loc'][-1]}: {error.errors()[0]['msg']}") from None
    if gym:
        open_data(gym)  # an unknown data set is said before anything is judged
    if family != "judge":
        return make_verifier(settings)
    if judge[0] is None:
        raise VerifierError("the verifier 'judge' needs --judge-model: a folder or a hub name")
    return JudgeVerifier(settings, load_judge_prompt(judge[1] or JUDGE_PROMPT), ask_model(judge[0]))


def classify_reason(reason: str) -> str:
    """A reason without the texts and numbers of its case, so that equal reasons are counted together."""
    tail = re.sub(r"^extracted .{1,90}?, expected .{1,90}?: ", "", reason, flags=re.DOTALL)
    return re.sub(r"\d[\d,.]*", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", tail))[:120]


def read_rows(path: Path, columns: Columns, verifier: Verifier, totals: Totals) -> Iterator[Row]:
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
                    _count_unreadable(totals, number, "not a JSON object")
                    continue
                if known is None:
                    known = set(row)
                    _check_columns(path, number, known, columns)
                yield from _read_row(row, number, columns, verifier, totals)
    except OSError as error:
        raise VerifierError(f"{path}: {error.strerror or error}") from None


def _check_columns(path: Path, number: int, known: set[str], columns: Columns) -> None:
    for option, name in vars(columns).items():
        if name is not None and name not in known:
            raise VerifierError(f"{path}:{number}: no key '{name}'{suggest(name, known)}; name yours with --{option}")


def _count_unreadable(totals: Totals, number: int, reason: str) -> None:
    totals.unreadable[reason] += 1
    totals.unreadable_lines.append(number)


def _read_row(row: dict[str, Any], number: int, columns: Columns, verifier: Verifier, totals: Totals) -> Iterator[Row]:
    responses = row.get(columns.response)
    options = row.get(columns.options) if columns.options else []
    answer = row.get(columns.answer)
    if isinstance(responses, str):
        responses = [responses]
    if not isinstance(responses, list) or not all(isinstance(one, str) for one in responses):
        _count_unreadable(totals, number, f"'{columns.response}' is neither a text nor a list of texts")
        return
    if not isinstance(options, list) or isinstance(answer, (list, dict)):
        _count_unreadable(totals, number, "the options are no list, or the answer is not one text or number")
        return
    problem = make_problem(answer, row.get(columns.question, "") if columns.question else "", options)
    for sample, response in enumerate(responses):
        yield Row(number, sample, problem, make_rationale(response, problem, verifier, sample))


def make_problem(answer: object, question: object = "", options: Iterable[object] = ()) -> Problem:
    """The problem that responses from outside a run are judged by; of a solution in GSM8K's form the answer counts."""
    return Problem(
        question=_text(question),
        answer=None if answer is None else _gold(_text(answer)),
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


def _text(value: object) -> str:
    return replace_surrogates(value if isinstance(value, str) else json.dumps(value)).strip()


def _gold(answer: str) -> str:
    """The expected answer; of a whole solution in GSM8K's form what follows its `####`."""
    return answer.rpartition("####")[2].strip()


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
    rows = islice(read_rows(path, columns, verifier, totals), limit)
    with _Out(out, path) as file:
        _judge_rows(rows, verifier, totals, pool=pool, second=second, share=share, file=file)
        if not totals.outcomes:
            raise VerifierError(f"{path}: holds no response that can be read ({_lines(totals) or 'it is empty'})")
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


def _line(row: Row, verdict: Verdict, second: Verdict | None) -> dict[str, Any]:
    line = {
        "line": row.line,
        "sample": row.sample,
        "expected": row.problem.answer,
        "extracted": row.rationale.answer,
        **verdict.model_dump(mode="json", include={"outcome", "reason", "coverage", "verifier", "version", "steps"}),
        "reasoning": verdict.reasoning,
    }
    if second:
        line["second"] = second.model_dump(mode="json", include={"outcome", "reason", "verifier", "version"})
    return line


def print_totals(totals: Totals, console: Console | None = None) -> None:
    """Print the totals, the reasons, what stayed undecided, and where two verifiers differ."""
    console = console or SafeConsole()
    judged = sum(totals.outcomes.values())
    console.print(_outcomes_table(totals, judged))
    console.print(_reasons_table("Reasons", totals, undecided=False))
    if totals.outcomes["undecided"]:
        console.print(_reasons_table("Undecided", totals, undecided=True))
    if totals.steps:
        coverage = sum(totals.coverage) / len(totals.coverage) if totals.coverage else 0.0
        parts = ", ".join(f"{totals.steps[one]} {one}" for one in OUTCOMES if totals.steps[one])
        console.print(
            f"Steps: {parts}; {coverage:.0%} of the sentences with numbers checked on average; right answers by a "
            f"wrong step: {totals.wrong_reason}, from a number that comes from nowhere: {totals.ungrounded}",
            highlight=False,
        )
    if totals.both:
        _print_disagreements(totals, console)
    if totals.unreadable:
        console.print(Text(f"Not judged: {_lines(totals)}"))
    console.print(f"{judged} responses in {totals.seconds:.1f} s", highlight=False)


def _lines(totals: Totals) -> str:
    lines = ", ".join(map(str, totals.unreadable_lines[:SHOWN])) + (
        " …" if len(totals.unreadable_lines) > SHOWN else ""
    )
    reasons = "; ".join(f"{count} × {reason}" for reason, count in totals.unreadable.most_common(SHOWN))
    return f"{reasons} (lines {lines})" if reasons else ""


def _table(title: str, *names: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, min_width=len(title))
    for name in names:
        table.add_column(name, justify="right" if name in ("count", "share") else "left", overflow="fold")
    return table


def _outcomes_table(totals: Totals, judged: int) -> Table:
    table = _table("Verdicts", "outcome", "count", "share", "95% interval")
    for outcome in OUTCOMES:
        count = totals.outcomes[outcome]
        low, high = wilson(count, judged)
        table.add_row(outcome, str(count), f"{count / judged:.1%}", f"{low:.1%} to {high:.1%}")
    return table


def _reasons_table(title: str, totals: Totals, *, undecided: bool) -> Table:
    table = _table(title, "outcome", "reason", "count", "first example")
    chosen = [(key, count) for key, count in totals.reasons.most_common() if (key[0] == "undecided") == undecided]
    for key, count in chosen[:SHOWN]:
        table.add_row(key[0], Text(one_line(key[1])), str(count), Text(one_line(totals.examples[key], 160)))
    if len(chosen) > SHOWN:
        rest = sum(count for _, count in chosen[SHOWN:])
        table.add_row("", f"{len(chosen) - SHOWN} more reasons", str(rest), "")
    return table


def _print_disagreements(totals: Totals, console: Console) -> None:
    checked = sum(totals.both.values())
    agreed = sum(count for (first, second), count in totals.both.items() if first == second)
    console.print(f"Second verifier: agrees on {agreed} of {checked} ({agreed / checked:.1%})", highlight=False)
    if not totals.disagreements:
        return
    table = _table("Where they differ", "line", "expected", "first", "second")
    for row, first, second in totals.disagreements[:SHOWN]:
        shown = [one_line(f"{one.outcome}: {one.reason}", 160) for one in (first, second)]
        table.add_row(str(row.line), Text(one_line(str(row.problem.answer), 40)), *map(Text, shown))
    console.print(table)
    if len(totals.disagreements) > SHOWN:
        console.print(f"{len(totals.disagreements) - SHOWN} more; --out FILE holds all of them", highlight=False)


def to_json(totals: Totals) -> dict[str, Any]:
    """The totals as plain data."""
    return {
        "outcomes": {one: totals.outcomes[one] for one in OUTCOMES},
        "reasons": [{"outcome": key[0], "reason": key[1], "count": count, "example": totals.examples[key]}
                    for key, count in totals.reasons.most_common()],
        "steps": dict(totals.steps),
        "wrong_reason": totals.wrong_reason,
        "ungrounded": totals.ungrounded,
        "second": [{"first": pair[0], "second": pair[1], "count": count} for pair, count in totals.both.items()],
        "unreadable": dict(totals.unreadable),
        "seconds": totals.seconds,
    }  # fmt: skip
