"""Printing findings, and the tokens of a prompt and a row beside each other."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from selfimprove.doctor.findings import Finding
from selfimprove.doctor.subject import Subject, Use
from selfimprove.prompting.prompts import encode_completion, encode_prompt
from selfimprove.records.console import SafeConsole
from selfimprove.records.printable import printable

STYLES = {"ok": "green", "doubtful": "yellow", "wrong": "red"}
START, END = 12, 28  # tokens shown of a sequence's beginning and end


def describe_tokens(subject: Subject, use: Use) -> dict[str, list[str]]:
    """The exact tokens of a sampled prompt and of a trained row of the same problem."""
    problem = use.problems[0]
    answer = use.texts[0] if use.texts else use.prompts.settings.answer.replace("{answer}", str(problem.answer or ""))
    sampled = encode_prompt(subject.tokenizer, use.prompts.render(problem), chat=use.chat)
    row = encode_prompt(subject.tokenizer, use.trained(problem), chat=use.chat)
    completion = encode_completion(subject.tokenizer, answer, subject.end(use.chat))

    def show(ids: Sequence[int]) -> list[str]:
        return [subject.token(one) for one in ids]

    return {"sampled prompt": show(sampled), "trained row's prompt": show(row), "trained completion": show(completion)}


def to_json(found: Sequence[Finding], subject: Subject, use: Use) -> dict[str, object]:
    """Findings and tokens as plain data."""
    rows = [{"id": one.id, "level": one.level, "text": one.text, "advice": one.advice} for one in found]
    return {"model": subject.name, "findings": rows, "tokens": describe_tokens(subject, use)}


def print_findings(found: Sequence[Finding], subject: Subject, use: Use) -> None:
    """A line a finding, what to do below it, and the tokens."""
    console = SafeConsole()
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    for one in found:
        said = Text(printable(one.text))
        if one.advice:
            said.append(f"\n→ {printable(one.advice)}", style="bold")
        table.add_row(Text(one.level, style=STYLES[one.level]), Text(one.id), said)
    console.print(table)
    console.print()
    for name, tokens in describe_tokens(subject, use).items():
        console.print(Text(f"{name} ({len(tokens)} tokens): ", style="bold").append(_shorten(tokens), style="not bold"))
    counts = {level: sum(one.level == level for one in found) for level in STYLES}
    console.print()
    console.print(", ".join(f"{count} {level}" for level, count in counts.items()))


def _shorten(tokens: Sequence[str]) -> str:
    """Tokens between bars, the middle of many left out."""
    left = len(tokens) - START - END
    parts = [*tokens[:START], f"… {left} more …", *tokens[-END:]] if left > 1 else list(tokens)
    return printable("│".join(parts))
