"""Verdicts by kind, of this checkout and of one from before: right answers and wrong ones that are accepted.

    python tests/benchmarks/kinds.py --before FOLDER [--limit 300] [--data FOLDER] [--show] [--record]

FOLDER is a checkout of before (`git worktree add FOLDER COMMIT`); without it this one stands alone. Both judge the same
rows by their own `selfimprove verify` in processes of their own. The rows are `verdicts.jsonl` and `outputs.jsonl`, a
grammar of forms by kind with right and with changed numbers, the answers of GSM8K in each form that published answers
have, the formulas of `formulas.jsonl` in six forms, and options of MMLU, right and swapped. It ends with status 1 where
a wrong answer is accepted. `--record` writes what the one of before said into `outputs.jsonl`, as `was`, and no table.
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from equality import make_formulas
from pairs import DATA

HERE = Path(__file__).resolve()
TESTS, ROOT = HERE.parents[1], HERE.parents[2]
OUTPUTS = TESTS / "verifiers" / "outputs.jsonl"
PUBLISHED = (
    "{work}\n#### {said}", "{work}\nThe answer is {said}.", "{work}\nThe final answer is: \\boxed{{{said}}}",
    "{work}\nA: {said}", "{work}\n**Answer: {said}**", "{work}\n\n**{said}**", "<think>{work}</think>\nAnswer: {said}",
    "{work}\nSo the answer is ${said}.", "{work}\nFinal Answer: The final answer is ${said}$. I hope it is correct.",
    '{{"answer": "{said}"}}', "<answer>{said}</answer>", "The answer is {said}.\n\nWe", "{work}\n∴ {said}",
)  # fmt: skip
GRAMMAR = {
    "thinking": (
        "<think>Is the answer 40? No.</think>\nThe answer is {}.", "Maybe the answer is 40.\n</think>\n\\boxed{{{}}}",
        "◁think▷the answer is 40◁/think▷The answer is {}.", "<reasoning>answer is 41?</reasoning>\n<answer>{}</answer>",
        "<thinking>The answer is \\boxed{{40}}.</thinking>#### {}",
    ),
    "announcements": (
        "A: {}", "=> {}", "→ {}", "∴ {}", "✅ {}", "**{}**\n\nWe started from 9 boxes.", "The answer is {}.\n\nSo",
        "Answer:\n\n\\[\n\\boxed{{{}}}\n\\]", "```json\n{{\"answer\": \"{}\"}}\n```", "<answer>{}</answer>",
        "Final Answer: The final answer is $x = {}$. I hope it is correct.", "We get {}. So our answer is correct.",
    ),
    "languages": (
        "答案是{}", "答えは{}です。", "정답은 {}입니다.", "La respuesta es {}.", "La réponse est {}.",
        "Die Antwort ist {}.", "Ответ: {}", "A resposta é {}.", "La risposta è {}.", "الجواب هو {}", "उत्तर: {}",
    ),
    "units and boxes": (
        "\\boxed{{{}}}^\\circ", "\\boxed{{{}}}\\text{{ boxes}}", "\\boxed{{\\boxed{{{}}}}}", "${}$ miles",
        "{} (apples)", "\\boxed{{{}}} is what remains of the 90.",
    ),
    "numbers": ("{}€", "₹{}", "Rs. {}", "The answer is {}\x07.", "The answer is Rs. {}."),
}  # fmt: skip
LETTERS = "ABCD"
CHOICES = (
    "{}", "The correct answer is **{}**.", "*{}*", "`{}`", "The answer is \\boxed{{{}}} as shown.", "\"{}\"",
    "{}. It must be so.", "The answer is {}.", "Answer: ({})", "I choose {}.",
)  # fmt: skip


class Row(NamedTuple):
    """A response, what is expected, and whether it gives that; of a row about steps whether its steps are right."""

    kind: str
    gold: str
    text: str
    must: str
    options: tuple[str, ...] = ()


def shared() -> Iterator[Row]:
    """The rows of `verdicts.jsonl`."""
    for line in next(TESTS.rglob("verdicts.jsonl")).read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        gold = str(one.get("expected_answer", "0"))
        yield Row(f"shared: {one['kind']}", gold, one["response"], one["must_be"], tuple(one.get("options", ())))


def outputs() -> Iterator[Row]:
    """The rows of `outputs.jsonl`; what must be undecided is no right answer."""
    for one in read_outputs():
        must = say_steps(one["steps"]) if "steps" in one else one["outcome"]
        yield Row(f"outputs: {one['kind']}", one.get("gold", "0"), one["text"], must, tuple(one.get("options", ())))


def read_outputs() -> list[dict[str, Any]]:
    return [json.loads(line) for line in OUTPUTS.read_text(encoding="utf-8").splitlines()]


def say_steps(outcomes: list[str]) -> str:
    """What a verdict says of the whole reasoning, by the outcomes of its steps."""
    return "incorrect" if "incorrect" in outcomes else "correct" if outcomes else "undecided"


def record(before: Path) -> None:
    """Write what a checkout says of `outputs.jsonl` into it."""
    was = judge(list(outputs()), before)
    lines = [
        json.dumps({**one, "was": said}, ensure_ascii=False) for one, said in zip(read_outputs(), was, strict=True)
    ]
    OUTPUTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def grammar(rng: random.Random) -> Iterator[Row]:
    """Each form of the grammar with five numbers, right and changed."""
    for kind, forms in GRAMMAR.items():
        for form in forms:
            for _ in range(5):
                number = rng.randrange(100, 1_000)
                yield Row(kind, str(number), form.format(number), "correct")
                yield Row(kind, str(number), form.format(number + rng.choice((1, -1, 10, 100))), "incorrect")


def published(folder: Path, limit: int, rng: random.Random) -> Iterator[Row]:
    """Worked solutions of GSM8K with their answer in each form, right and changed."""
    lines = (folder / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    for line in rng.sample(lines, min(limit, len(lines))):
        work, _, gold = json.loads(line)["answer"].rpartition("\n#### ")
        plain = gold.strip().replace(",", "")
        for form in PUBLISHED:
            yield Row("GSM8K", plain, form.format(work=work, said=gold.strip()), "correct")
            yield Row("GSM8K", plain, form.format(work=work, said=str(int(plain) + rng.choice((1, -1, 10)))), "wrong")


def formulas() -> Iterator[Row]:
    """The formulas in six forms: as expected, in another notation, and another one."""
    for case in make_formulas():
        yield Row(f"formula: {case.kind}", case.gold, case.text, "correct" if case.right else "wrong")


def choices(folder: Path, limit: int, rng: random.Random) -> Iterator[Row]:
    """Questions of MMLU, answered by their letter and by that of another option."""
    rows = [
        row
        for path in sorted((folder / "mmlu").rglob("*.csv"))
        for row in csv.reader(path.open(encoding="utf-8"))
        if len(row) == 6 and row[5] in "0123"
    ]
    for _, *options, place in rng.sample(rows, min(limit, len(rows))):
        right = LETTERS[int(place)]
        other = rng.choice([one for one in LETTERS if one != right])
        for form in CHOICES:
            yield Row("options", right, form.format(right), "correct", tuple(options))
            yield Row("options", right, form.format(other), "wrong", tuple(options))


def judge(rows: list[Row], checkout: Path) -> list[str]:
    """The outcome of each row by the command of a checkout; of rows about steps that of the steps."""
    outcomes = [""] * len(rows)
    for verifier in ("math", "choice"):
        places = [at for at, row in enumerate(rows) if bool(row.options) == (verifier == "choice")]
        if not places:
            continue
        with tempfile.TemporaryDirectory() as name:
            file, out = Path(name) / "rows.jsonl", Path(name) / "out.jsonl"
            lines = [
                json.dumps({"response": rows[at].text, "answer": rows[at].gold, "options": rows[at].options})
                for at in places
            ]
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
            command = [sys.executable, "-P", "-m", "selfimprove.cli", "verify", str(file), "--out", str(out)]
            extra = ["--verifier", verifier, *(["--options", "options"] if verifier == "choice" else [])]
            subprocess.run(
                [*command, *extra, "--json"], cwd=name, check=True, stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(checkout)},
            )  # fmt: skip
            for line in out.read_text(encoding="utf-8").splitlines():
                verdict = json.loads(line)
                at = places[verdict["line"] - 1]
                outcomes[at] = verdict["reasoning" if rows[at].kind.endswith(": steps") else "outcome"]
    return outcomes


def table(rows: list[Row], judged: dict[str, list[str]]) -> Iterator[str]:
    """By kind what is as it must be of right answers, and what is accepted of all others."""
    heads = [f"right accepted, {name} | wrong accepted, {name}" for name in judged]
    yield f"| kind | right | wrong | {' | '.join(heads)} |"
    yield "|---" * (3 + 2 * len(heads)) + "|"
    counts: dict[str, Counter[tuple[str, bool]]] = defaultdict(Counter)
    for at, row in enumerate(rows):
        right = row.must == "correct"
        counts[row.kind]["all", right] += 1
        for name, outcomes in judged.items():
            counts[row.kind][name, right] += outcomes[at] == "correct"
    for kind, one in counts.items():
        cells = [f"{one[name, True]} | {one[name, False]}" for name in judged]
        yield f"| {kind} | {one['all', True]} | {one['all', False]} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--limit", type=int, default=300, help="questions of GSM8K and of MMLU")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--show", action="store_true", help="list what is not as it must be now")
    parser.add_argument("--record", action="store_true", help="write what the one of before says into outputs.jsonl")
    options = parser.parse_args()
    if options.record:
        record(options.before)
        return
    rng = random.Random(0)
    rows = [
        *shared(), *outputs(), *grammar(rng), *published(options.data, options.limit, rng), *formulas(),
        *choices(options.data, options.limit, rng),
    ]  # fmt: skip
    judged = {"before": judge(rows, options.before)} if options.before else {}
    judged["now"] = judge(rows, ROOT)
    print("\n".join(table(rows, judged)))
    accepted = False
    for row, outcome in zip(rows, judged["now"], strict=True):
        right = row.must == "correct"
        accepted |= outcome == "correct" and not right
        if options.show and (outcome == "correct") != right:
            print(f"- {row.kind}: expected {row.gold!r}, must be {row.must}, is {outcome}: {row.text[-120:]!r}")
    raise SystemExit(accepted)


if __name__ == "__main__":
    main()
