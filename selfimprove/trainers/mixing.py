"""Texts of before that are mixed into RL, so that what they taught is not forgotten (PPO-ptx; Ouyang et al., 2022)."""

import random
from collections.abc import Sequence

from selfimprove.errors import TrainingError
from selfimprove.prompting.prompts import encode_completion, encode_prompt
from selfimprove.prompting.tokenizer import Tokenizer
from selfimprove.records import derive_seed
from selfimprove.trainers.job import RlJob
from selfimprove.trainers.tokens import longest_row


class Mixture:
    """Batches of a job's `mixed` texts, drawn anew for each optimizer step by its number alone."""

    def __init__(self, job: RlJob, tokenizer: Tokenizer, end: int, pad: int) -> None:
        """`end` is the token after each text; raises TrainingError where none fits `max_length`."""
        self.job, self.pad = job, pad
        rows = [
            (encode_prompt(tokenizer, prompt, chat=job.chat), encode_completion(tokenizer, text, end))
            for prompt, text in job.mixed
        ]
        longest = longest_row(job)
        self.rows = [row for row in rows if len(row[0]) + len(row[1]) <= longest]
        if not self.rows:
            raise TrainingError(
                f"{job.output}: 'ptx' has nothing to mix in: none of {len(rows)} texts fits 'max_length: {longest}'"
            )

    def draw(self, step: int, rank: int, size: int) -> list[tuple[list[int], list[int]]]:
        """So many rows: the tokens of a prompt and of its completion."""
        rng = random.Random(derive_seed(self.job.seed, "mixed", step, rank))
        return rng.choices(self.rows, k=size)

    def pad_rows(self, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[list[list[int]], ...]:
        """Ids and mask of prompts padded on the left and completions on the right, as TRL has them, and the mask of the
        completions alone; [rows, prompt + completion] twice, [rows, completion]."""
        before, after = (max(len(row[at]) for row in rows) for at in (0, 1))
        ids, mask, completions = [], [], []
        for prompt, completion in rows:
            left, right = before - len(prompt), after - len(completion)
            ids.append([*[self.pad] * left, *prompt, *completion, *[self.pad] * right])
            mask.append([0] * left + [1] * (len(prompt) + len(completion)) + [0] * right)
            completions.append([1] * len(completion) + [0] * right)
        return ids, mask, completions
