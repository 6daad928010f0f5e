"""TRL's RLOO and GRPO with texts, rewards and records of ours.

Texts are written as in every other stage, each by a random stream of its own; they are worth what one callable says,
and are on disk before they are trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import mean
from typing import Any

import torch
from accelerate.utils import gather, gather_object

from selfimprove.engines import Completion, Request
from selfimprove.engines.live import LiveEngine
from selfimprove.errors import TrainingError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.recipe import Sampling
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
from selfimprove.trainers.mixing import Mixture
from selfimprove.trainers.watch import OWN, diverged
from selfimprove.trainers.worth import Judge, WeightedReward

BLOCK = 16
"""Times at which texts are written whose records stand in one file of a kind."""
LOGGED = {"entropy": "entropy", "kl": "KL a token", "clip_ratio/region_mean": "clipped ratios"}
"""Figures that TRL logs, by what they are called here."""


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


def make_rollout_trainer(base: Any) -> Any:
    """TRL's RLOOTrainer or GRPOTrainer as a class of trainers that write, reward and keep texts by `Rollouts`."""

    class RolloutTrainer(base):  # type: ignore[misc]
        def __init__(self, *, rollouts: Rollouts, reference: Any, **given: Any) -> None:
            super().__init__(reward_funcs=_not_asked, **given)
            self.rollouts, self.written = rollouts, 0
            self._prompts: dict[str, list[int]] = {}
            self._inputs: list[dict[str, Any]] = []
            self._batch: Batch | None = None
            self._policy_and_reference: list[torch.Tensor] | None = None
            self._mixture: Mixture | None = None
            job = rollouts.job
            self.engine = LiveEngine(
                self.accelerator.unwrap_model(self.model), self._tokenizer, batch_size=job.write_at_once, chat=job.chat
            )
            self.eos_token_ids = self.engine.ends
            if job.settings.ptx:
                end = find_end(self._tokenizer, chat=job.chat)
                self._mixture = Mixture(job, self._tokenizer, end, self._tokenizer.pad_token_id)
            if reference is not None:
                self._hold_to(reference, job.settings.kl)

        def _hold_to(self, reference: Any, kl: float) -> None:
            """A reference as TRL prepares the one that it loads."""
            from trl.models import prepare_deepspeed, prepare_fsdp
            from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

            disable_dropout_in_model(reference)
            add_fused_lm_head(reference, temperature=self.temperature)
            if self.is_deepspeed_enabled:
                reference = prepare_deepspeed(reference, self.accelerator)
            elif self.is_fsdp_enabled:
                reference = prepare_fsdp(reference, self.accelerator)
            else:
                reference = self.accelerator.prepare_model(reference, evaluation_mode=True)
            self.ref_model, self.beta = reference, kl

        def _tokenize_prompts(self, prompts: list[str]) -> Any:
            for one in prompts:
                if one not in self._prompts:
                    self._prompts[one] = encode_prompt(self._tokenizer, one, chat=self.rollouts.job.chat)
            return [self._prompts[one] for one in prompts], None, {}

        def _generate_single_turn(self, prompt_ids: Any, *_: Any) -> Any:
            from trl.models import unwrap_model_for_generation

            settings, step = self.rollouts.job.settings, self.state.global_step
            asked = self.rollouts.requests(self._inputs)
            sampling = Sampling(temperature=settings.temperature, max_tokens=settings.max_tokens)
            with unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
            ):
                written = self.engine.write([request for _, _, request in asked], sampling, self.rollouts.job.stop)
            if any(one.finish == "too_long" for one in written):
                raise TrainingError(
                    f"the model has {self.engine.max_positions} positions, too few for a prompt and 'max_tokens: "
                    f"{settings.max_tokens}'; set 'max_length' to at most that"
                )
            if not all(isfinite(one.logprob or 0.0) for one in written):
                raise diverged(self.rollouts.job, f"the policy writes texts of no probability at step {step}")
            self._batch = self.rollouts.record(step // settings.boundary, step, asked, written)
            self.written += sum(one.tokens for one in written)
            ids = [self.engine.sampled[at] for at in range(len(written))]
            return ids if base.__name__ == "RLOOTrainer" else (ids, None)

        def _calculate_rewards(self, *_: Any) -> torch.Tensor:
            totals = self.rollouts.score(self._batch) if self._batch else []
            values = [[torch.nan if one is None else one] for one in totals]
            found: torch.Tensor = gather(torch.tensor(values, dtype=torch.float32, device=self.accelerator.device))
            return found

        def _get_per_token_logps_and_entropies(self, *values: Any, **named: Any) -> Any:
            found = super()._get_per_token_logps_and_entropies(*values, **named)
            if self._policy_and_reference is not None:
                self._policy_and_reference.append(found[0])
            return found

        def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
            self._inputs, self._policy_and_reference = inputs, []
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
            kl = self._measure_kl(output, self._policy_and_reference) if self.beta else None
            self._policy_and_reference = None
            batch = self._batch
            assert batch is not None
            self._leave_out(output, batch)
            rank, of = self.accelerator.process_index, self.accelerator.num_processes
            self.rollouts.keep(batch, kl, output["advantages"].tolist(), rank, of)
            metrics = self._metrics["train"]
            for name, values in self.rollouts.describe(batch, kl).items():
                known = [one for each in gather_object([values]) for one in each]
                if known:
                    metrics[f"{OWN}{name}"].append(mean(known))
            return output

        def compute_loss(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
            loss = super().compute_loss(model, inputs, *given, **named)
            if self._mixture is None:
                return loss
            job, size = self.rollouts.job, self.args.per_device_train_batch_size
            rows = self._mixture.draw(self.state.global_step, self.accelerator.process_index, size)
            ids, mask, completions = (
                torch.tensor(one, device=self.accelerator.device) for one in self._mixture.pad_rows(rows)
            )
            found = super()._get_per_token_logps_and_entropies(model, ids, mask, completions.size(1))
            forgotten = -(found[0] * completions).sum() / completions.sum()
            self._metrics["train"][f"{OWN}loss on demonstrations"].append(float(forgotten.detach()))
            return loss + job.settings.ptx * forgotten

        def log(self, logs: dict[str, float], *more: Any) -> None:
            metrics = self._metrics["train"]
            for name, called in LOGGED.items():
                if name in metrics:
                    metrics[f"{OWN}{called}"] = list(metrics[name])
            super().log(logs, *more)

        def _measure_kl(self, output: dict[str, Any], found: list[torch.Tensor]) -> list[float]:
            """log policy - log reference of each text; TRL only logs it by token, and GRPO may not ask the policy."""
            mask = output["completion_mask"]
            if len(found) < 2:
                ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
                seen = torch.cat([output["prompt_mask"], mask], dim=1)
                with torch.no_grad():
                    size = self.args.per_device_train_batch_size
                    logps, *_ = super()._get_per_token_logps_and_entropies(self.model, ids, seen, mask.size(1), size)
                found = [logps, *found]
            policy, reference = found
            texts: list[float] = ((policy - reference) * mask).double().sum(1).tolist()
            return texts

        def _leave_out(self, output: dict[str, Any], batch: Batch) -> None:
            """An undecided text gives no gradient, not even by the KL divergence that GRPO has in its loss."""
            undecided = [at for at, value in enumerate(batch.totals) if value is None]
            if undecided and self.beta:
                for name in ("completion_mask", "old_per_token_logps", "ref_per_token_logps"):
                    if name in output:
                        output[name][undecided] = 0

    RolloutTrainer.__name__ = base.__name__
    return RolloutTrainer


def _not_asked(**_: Any) -> list[float | None]:
    raise AssertionError("rewards are given by Rollouts")
