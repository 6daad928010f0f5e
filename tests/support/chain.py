"""A small run that goes by a constitution: a scripted writer, real training by examples and by preferences."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

from small import SMALL, small_recipe

from selfimprove.engines import Engine
from selfimprove.engines.base import Score, ScriptedEngine
from selfimprove.recipe import Recipe
from selfimprove.records import Checkpoint, derive_seed
from selfimprove.running.session import Session
from selfimprove.tasks.addition import parse_addition, write_critique, write_flawed, write_rationale

CHAIN = (
    SMALL.replace("head_size: 32}", 'head_size: 32, alphabet: "0123456789+=#? \\n!x."}')
    .replace("rounds: 2", "rounds: 1\nconstitution: self-correct")
    .replace("  repair: {samples: 2, part_size: 5}\n", "")
    .replace("  rationalize: {part_size: 5}\n", "  critique: {}\n  revise: {lessons: true, part_size: 5}\n")
    .replace("hinted: 0.25", "critiques: 6")
    .replace(
        "  evaluate: {part_size: 6}",
        "  prefer: {}\n  dpo: {steps: 2, batch_size: 2, learning_rate: 0.0001, fewest: 1}\n"
        "  evaluate: {part_size: 6, revise: true}",
    )
)

MIXED = (
    CHAIN.replace("constitution: self-correct", "constitution: both.yaml")
    .replace("critiques: 6", "critiques: 0")
    .replace("train:", 'open: {name: prompts/mine, path: prompts.jsonl, draw: 6, held_out: 2}\n'
             'open_prompt: {question: "Human: {question}", cue: "\\n\\nAssistant:"}\n'
             "evaluate_on: [{name: arithmetic, max_digits: 2, seed_total_digits: 3, held_out: 4}, "
             "{name: prompts/mine, path: prompts.jsonl, held_out: 2}]\ntrain:")
    .replace("revise: {lessons: true,", "revise: {revisions: 2,")
    .replace("prefer: {}", "prefer: {feedback: {per_problem: 3}, files: {path: pairs.jsonl.gz, limit: 2}}")
)  # fmt: skip
BOTH = """
name: both
nothing: Nothing.
principles:
  - {id: sums, text: Every sum is right., scope: {tasks: [arithmetic]}, check: {name: verifier}}
  - {id: brief, text: It is brief., scope: {tasks: [prompts]}, check: {name: length, unit: characters, at_most: 12}}
"""


def mixed_recipe(folder: Path, *overrides: str) -> Recipe:
    """Problems with answers and open prompts, compared by a model, with pairs of people."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "both.yaml").write_text(BOTH)
    prompts = [{"prompt": f"Tell me about the number {at}", "tag": "numbers"} for at in range(12)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    rows = [
        {"chosen": f"\n\nHuman: {at}?\n\nAssistant: good", "rejected": f"\n\nHuman: {at}?\n\nAssistant: bad"}
        for at in range(5)
    ]
    with gzip.open(folder / "pairs.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    return small_recipe(folder, *overrides, text=MIXED)


class Adder(ScriptedEngine):
    """Adds wrongly at first, finds its mistakes, and puts them right; it prefers short texts."""

    def __init__(self) -> None:
        super().__init__(self.write_text)

    def write_text(self, prompt: str, seed: int) -> str:
        question, equals, rest = prompt.partition("=")
        operands = parse_addition(question + equals)
        if operands is None:
            return self.write_open(prompt, seed)
        a, b = map(int, operands)
        if not rest:
            wrong = derive_seed(question, seed) % 2
            return write_flawed(a, b, random.Random(seed), 0.9) if wrong else write_rationale(a, b)
        if "!" not in rest:  # the question stands again after the response
            return write_critique(question + "=", rest.partition("?")[0], ".")
        return write_rationale(a, b)

    def write_open(self, prompt: str, seed: int) -> str:
        if prompt.endswith("Critique:"):
            return " It is long."
        if prompt.endswith("Revision:"):
            return f" Short {len(prompt)}."
        return f" A long answer, number {seed % 1000}."

    def score(self, pairs: Any, *, end: bool = False) -> list[Score]:
        return [Score(-float(len(prompt.split("(A)")[-1].split("(B)")[0 if "(A)" in text else -1])), 1)
                for prompt, text in pairs]  # fmt: skip


def load_adder(_: Checkpoint, __: Session) -> Engine:
    return Adder()
