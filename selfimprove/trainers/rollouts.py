"""TRL's RLOO and GRPO with texts, rewards and records of ours.

Texts are written as in every other stage, each by a random stream of its own; they are worth what one callable says,
and are on disk before they are trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selfimprove.engines import Completion, Request
from selfimprove.errors import TrainingError
from selfimprove.records import (
    AnyRecord,
    Earned,
    Problem,
    Rationale,
    Record,
    Rollout,
    Verdict,
    derive_seed,
    replace_surrogates,
)
from selfimprove.store import StageFolder
from selfimprove.trainers.job import RlJob
from selfimprove.trainers.worth import Judge, WeightedReward

BLOCK = 16
"""Times at which texts are written whose records stand in one file of a kind."""


@dataclass
class Batch:
    """Texts that were written at once, in the order of their problems: `samples` of each."""

    number: int
    step: int
    problems: list[Problem]
    rationales: list[Rationale]
    verdicts: list[Verdict | None] = field(default_factory=list)
    parts: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    totals: list[float | None] = field(default_factory=list)


class Rollouts:
    """Has texts judged and rewarded, and keeps them in the stage's folder, a file of a kind for `BLOCK` batches.

    What is written again after a kill takes the place of what was there, and is the same.
    """

    def __init__(self, job: RlJob, problems: Sequence[Problem], judge: Judge, reward: WeightedReward) -> None:
        self.job, self.problems, self.judge, self.reward = job, problems, judge, reward
        self._folder = StageFolder(job.output.parent, "", "training")
        self._block = -1
        self._kept: list[list[Record]] = []

    def requests(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Problem, int, Request]]:
        """What is asked for rows, of which each problem's stand together: problem, number of the text, request."""
        asked, place = [], 0
        for at, row in enumerate(rows):
            place = place + 1 if at and rows[at - 1] == row and place + 1 < self.job.settings.samples else 0
            problem, sample = self.problems[row["row"]], row["first"] + place
            seed = derive_seed(self.job.seed, "rollout", problem.id, sample)
            asked.append((problem, sample, Request(row["prompt"], seed)))
        return asked

    def record(
        self, number: int, step: int, asked: Sequence[tuple[Problem, int, Request]], written: Sequence[Completion]
    ) -> Batch:
        """The texts as records."""
        rationales = []
        for (problem, sample, request), one in zip(asked, written, strict=True):
            text = replace_surrogates(one.text)
            rationales.append(
                Rationale(
                    parents=(problem.id, self.job.checkpoint),
                    prompt=request.prompt,
                    text=text,
                    answer=self.judge.extract_answer(problem, text, request.prompt),
                    origin="sampled",
                    round=self.job.round,
                    sample=sample,
                    seed=request.seed,
                    temperature=self.job.settings.temperature,
                    top_p=1.0,
                    tokens=one.tokens,
                    logprob=one.logprob,
                    finish=one.finish,
                    token_ids=one.token_ids,
                )
            )
        return Batch(number, step, [problem for problem, _, _ in asked], rationales)

    def score(self, batch: Batch) -> list[float | None]:
        """What each text is worth; raises TrainingError where a reward is none."""
        batch.verdicts = self.judge.judge(batch.rationales, batch.problems)
        prompts, texts = [one.prompt for one in batch.rationales], [one.text for one in batch.rationales]
        batch.parts = self.reward.each(prompts, texts, batch.problems)
        less = self.job.settings.cut_off
        batch.totals = [
            value if value is None or one.finish != "length" else value - less
            for value, one in zip(self.reward.total(batch.parts), batch.rationales, strict=True)
        ]
        return batch.totals

    def keep(self, batch: Batch, kl: Sequence[float] | None, advantages: Sequence[float], rank: int, of: int) -> None:
        """Have a batch on disk."""
        records: list[Record] = []
        for at, (one, verdict) in enumerate(zip(batch.rationales, batch.verdicts, strict=True)):
            parts = tuple(Earned(reward=name, value=values[at]) for name, values in batch.parts.items())
            rollout = Rollout(
                parents=(one.id, *([verdict.id] if verdict else [])),
                round=self.job.round,
                step=batch.step,
                reward=batch.totals[at],
                parts=parts,
                kl=None if kl is None else kl[at],
                advantage=advantages[at],
            )
            records += [one, *([verdict] if verdict else []), rollout]
        block, place = divmod(batch.number, BLOCK)
        number = block * of + rank
        if block != self._block:
            self._block, self._kept = block, self._read(number, place)
        self._kept.append(records)
        self._folder.keep(number, [one for each in self._kept for one in each])

    def _read(self, number: int, batches: int) -> list[list[Record]]:
        """The batches of a block that were on disk when the checkpoint was saved that training goes on from."""
        if not batches:
            return []

        def read(kind: type[AnyRecord]) -> list[AnyRecord]:
            return self._folder.read_part(kind, number) if self._folder.has_part(kind.kind, number) else []

        rollouts = read(Rollout)
        steps = sorted({one.step for one in rollouts})[:batches]
        if len(steps) < batches:
            raise TrainingError(
                f"{self._folder.file(Rollout.kind, number)}: texts that were trained on are gone; run again with "
                f"--redo {self._folder.path.name}"
            )
        known: dict[str, Record] = {one.id: one for one in (*read(Rationale), *read(Verdict))}
        return [
            [one for rollout in rollouts if rollout.step == step
             for one in (*(known[parent] for parent in rollout.parents), rollout)]
            for step in steps
        ]  # fmt: skip

    def describe(self, batch: Batch, kl: Sequence[float] | None) -> dict[str, list[float]]:
        """The figures of a batch, by name: the values whose mean each is."""
        settings = self.job.settings
        known = [value for value in batch.totals if value is not None]
        groups = [batch.totals[at : at + settings.samples] for at in range(0, len(batch.totals), settings.samples)]
        right = [float(one.outcome == "correct") for one in batch.verdicts if one and one.outcome != "undecided"]
        weighted = [name for name in batch.parts if settings.rewards.get(name)]
        found = {
            "reward": known,
            **{
                f"{'reward' if name in weighted else 'gold'} of {name}": [one for one in values if one is not None]
                for name, values in batch.parts.items()
            },
            "KL": list(kl or []),
            "tokens": [float(one.tokens) for one in batch.rationales],
            "cut off": [float(one.finish == "length") for one in batch.rationales],
            "undecided": [float(value is None) for value in batch.totals],
            "groups without difference": [float(len({one for one in each if one is not None}) < 2) for each in groups],
            "right": right,
        }
        if weighted == ["verifier"] and settings.require == "answer":
            del found["right"]  # it is the reward
        if len(weighted) == 1:
            del found[f"reward of {weighted[0]}"]
        return found
