"""A run of a million traces with the shapes and lengths of real ones, made by pyarrow in a minute, for view.py."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfimprove.recipe.file import load_recipe
from selfimprove.records import KINDS
from selfimprove.store import RunFolder
from selfimprove.store.parts import schema_of

PART = 4096
DISTINCT = 4000  # texts written out in full in each round; every trace ends in a number of its own
NAMES = ("Natalia", "Weng", "Betty", "Julie", "James", "Mark", "Albert", "Ken", "Alexis", "Tina")
THINGS = ("clips", "apples", "pages", "letters", "flowers", "slices", "dollars", "minutes", "miles", "marbles")
SENTENCES = (
    "{name} starts with {a} {thing} and gets {b} more, which makes {a}+{b}={c} {thing} in all.",
    "Each of the {a} boxes holds {b} {thing}, so together they hold {a}*{b}={c} {thing}.",
    "Half of that is {a}/2={c} {thing}, because the other half was given away in the morning.",
    "After {name} gives away {a} of the {b} {thing}, there are {b}-{a}={c} {thing} left over.",
    "The total number of {thing} that {name} needs is therefore {c}.",
)  # fmt: skip


def write_store(path: Path, traces: int = 1_000_000, rounds: int = 16, seed: int = 0) -> RunFolder:
    """Write a run of `rounds` rounds with `traces` rationales, their verdicts, decisions, examples and checkpoints."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.write_recipe(load_recipe("arithmetic", ["name=million", f"rounds={rounds}"]))
    draw, numbers = random.Random(seed), np.random.default_rng(seed)
    held_out = _ids(numbers, max(1, traces // rounds // 8))
    _write(path, 0, "problems", "problem", _problems(held_out, draw, "held out"))
    checkpoint = _checkpoint(path, 0, "warmup", [], numbers)
    for round_ in range(1, rounds + 1):
        size = traces // rounds
        evaluated, tried = len(held_out), size // 5
        sampled = size - evaluated - tried
        problems = _ids(numbers, max(1, sampled // 4))
        _write(path, round_, "frontier", "problem", _problems(problems, draw, "open"))
        kept: list[str] = []
        for stage, judge, of in (
            ("generate", "verify", np.repeat(problems, 4)[:sampled]),
            ("rationalize", "rationalize", np.resize(problems, tried)),
            ("evaluate", "evaluate", held_out),
        ):
            share = 0.35 + 0.5 * round_ / rounds
            kept += _traces(path, round_, stage, judge, of, checkpoint, share, draw, numbers)
        checkpoint = _checkpoint(path, round_, "sft", [checkpoint, *kept], numbers)
    return folder


def _ids(numbers: np.random.Generator, count: int) -> np.ndarray:
    raw = numbers.bytes(10 * count).hex()
    return np.array([raw[at : at + 20] for at in range(0, 20 * count, 20)])


def _write(path: Path, round_: int, stage: str, kind: str, columns: dict[str, object]) -> None:
    schema, count = schema_of(KINDS[kind]), len(columns["id"])  # type: ignore[arg-type]
    # A field that came later is empty, as in a run of before.
    every = {
        field.name: columns[field.name] if field.name in columns else pa.nulls(count, field.type) for field in schema
    }
    table = pa.table(every, schema=schema)
    folder = path / f"round-{round_:02d}" / stage
    folder.mkdir(parents=True, exist_ok=True)
    for part, start in enumerate(range(0, max(1, len(table)), PART)):
        pq.write_table(table.slice(start, PART), folder / f"{kind}-{part:05d}.parquet", compression="zstd")


def _problems(ids: Sequence[str], draw: random.Random, what: str) -> dict[str, object]:
    count = len(ids)
    levels = [draw.randint(2, 8) for _ in ids]
    return {
        "id": pa.array(ids),
        "parents": pa.array([[]] * count, pa.list_(pa.string())),
        "question": [
            f"{_sentences(draw, 3)} How many {draw.choice(THINGS)} are there in the end ({what})?" for _ in ids
        ],
        "answer": [str(draw.randint(1, 999)) for _ in ids],
        "task": [draw.choice(("gsm8k", "svamp", "asdiv")) for _ in ids],
        "level": levels,
        "group": [f"level {level}" for level in levels],
        "options": pa.array([[]] * count, pa.list_(pa.string())),
    }


def _sentences(draw: random.Random, count: int) -> str:
    return " ".join(
        draw.choice(SENTENCES).format(
            name=draw.choice(NAMES), thing=draw.choice(THINGS), a=draw.randint(2, 99), b=draw.randint(2, 99),
            c=draw.randint(2, 999),
        )
        for _ in range(count)
    )  # fmt: skip


def _steps(text: str, right: bool) -> list[dict[str, object]]:
    found, start = [], 0
    for sentence in text.split(". "):
        outcome = "correct" if right or start else "incorrect"
        found.append({"start": start, "end": start + len(sentence), "outcome": outcome, "reason": "checked",
                      "uses": [], "unknown": [], "needed": True})  # fmt: skip
        start += len(sentence) + 2
    return found


def _traces(
    path: Path, round_: int, stage: str, judge: str, problems: np.ndarray, checkpoint: str, share: float,
    draw: random.Random, numbers: np.random.Generator,
) -> list[str]:  # fmt: skip
    """A stage's rationales with their verdicts and, but for the held-out ones, decisions; gives the examples' ids."""
    count = len(problems)
    # GSM8K's solutions have two to eight sentences.
    pool = [_sentences(draw, draw.choice((2, 3, 3, 4, 4, 5, 6, 8))) for _ in range(DISTINCT)]
    outcomes = numbers.choice(["correct", "incorrect", "undecided"], count, p=[share, 0.97 - share, 0.03])
    chosen = numbers.integers(0, DISTINCT, count)
    pools = {right: [_steps(text, right) for text in pool] for right in (True, False)}
    answers = numbers.integers(1, 9999, count)
    ids, verdicts = _ids(numbers, count), _ids(numbers, count)
    texts = [f"{pool[at]} The answer is {answer}." for at, answer in zip(chosen, answers, strict=True)]
    origin = "rationalized" if stage == "rationalize" else "sampled"
    _write(path, round_, stage, "rationale", {
        "id": ids, "parents": _lists(problems, [checkpoint] * count),
        "prompt": [f"Q: {pool[at][:250]} How many?\nA: Let's think step by step." for at in chosen],
        "text": texts, "answer": answers.astype(str), "origin": [origin] * count, "round": [round_] * count,
        "sample": np.arange(count) % 4, "seed": numbers.integers(0, 1 << 62, count), "temperature": [1.0] * count,
        "top_p": [1.0] * count, "tokens": [len(text) // 4 for text in texts],
        "logprob": -numbers.exponential(30, count),
        "finish": ["stop"] * count,
    })  # fmt: skip
    right = numbers.random(count) < 0.8
    _write(path, round_, judge, "verdict", {
        "id": verdicts, "parents": _lists(ids), "outcome": outcomes,
        "reason": [f"the answer is {answer}" for answer in answers],
        "steps": [pools[bool(one)][at] for one, at in zip(right, chosen, strict=True)],
        "coverage": [1.0] * count, "verifier": ["math"] * count, "version": [3] * count,
    })  # fmt: skip
    if stage == "evaluate":
        return []
    kept = (outcomes == "correct") & right & (numbers.random(count) < 0.4)
    reasons = np.where(kept, "kept", np.where(outcomes == "correct", "another sample is kept", "the answer is wrong"))
    # A second stage's decisions go into parts after those of the first.
    at_stage = "select" if stage == "generate" else "select-again"
    _write(path, round_, at_stage, "decision", {
        "id": _ids(numbers, count), "parents": _lists(ids, verdicts), "kept": kept, "reason": reasons,
    })  # fmt: skip
    rows = np.flatnonzero(kept)
    examples = _ids(numbers, len(rows))
    _write(path, round_, at_stage, "example", {
        "id": examples, "parents": _lists(ids[rows], verdicts[rows]),
        "prompt": [f"Q: {pool[chosen[at]][:250]}" for at in rows],
        "completion": [texts[at] for at in rows], "origin": [origin] * len(rows), "group": ["level 2"] * len(rows),
    })  # fmt: skip
    return list(examples)


def _lists(*columns: Sequence[str]) -> pa.Array:
    """Arrow lists of one text of each column."""
    count = len(columns[0])
    flat = np.stack([np.asarray(column) for column in columns], axis=1).reshape(-1)
    return pa.ListArray.from_arrays(np.arange(count + 1) * len(columns), pa.array(flat))


def _checkpoint(path: Path, round_: int, stage: str, parents: list[str], numbers: np.random.Generator) -> str:
    identity = str(_ids(numbers, 1)[0])
    _write(path, round_, stage, "checkpoint", {
        "id": [identity], "parents": pa.array([parents], pa.list_(pa.string())),
        "path": [f"round-{round_:02d}/{stage}/checkpoint"],
        "method": [stage], "weights": ["0" * 64], "base": pa.nulls(1, pa.string()),
    })  # fmt: skip
    return identity
