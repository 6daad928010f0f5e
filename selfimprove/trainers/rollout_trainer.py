"""TRL's RLOO and GRPO trainers, with the texts that `Rollouts` has written, rewarded and kept."""

from math import isfinite
from statistics import mean
from typing import Any

import torch
from accelerate.utils import gather, gather_object

from selfimprove.engines.live import LiveEngine
from selfimprove.errors import TrainingError
from selfimprove.prompting.chat import find_end
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.recipe import Sampling
from selfimprove.trainers.mixing import Mixture
from selfimprove.trainers.rollouts import Batch, Rollouts
from selfimprove.trainers.watch import OWN, diverged

LOGGED = {"entropy": "entropy", "kl": "KL a token", "clip_ratio/region_mean": "clipped ratios"}
"""Figures that TRL logs, by what they are called here."""
_Base: Any = object  # TRL's class is its base beside this one, once it is known which


def make_rollout_trainer(base: type) -> Any:
    """TRL's RLOOTrainer or GRPOTrainer as a class of trainers that write, reward and keep texts by `Rollouts`."""
    return type(base.__name__, (RolloutTrainer, base), {"ids_alone": base.__name__ == "RLOOTrainer"})


class RolloutTrainer(_Base):  # type: ignore[misc]
    """Writes, rewards and keeps texts by `Rollouts`, where TRL's RLOOTrainer or GRPOTrainer does the rest."""

    ids_alone = False  # what TRL's own method gives beside the tokens of texts

    def __init__(self, *, rollouts: Rollouts, reference: object, **given: object) -> None:
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

    def _hold_to(self, reference: object, kl: float) -> None:
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

    def _tokenize_prompts(self, prompts: list[str]) -> object:
        for one in prompts:
            if one not in self._prompts:
                self._prompts[one] = encode_prompt(self._tokenizer, one, chat=self.rollouts.job.chat)
        return [self._prompts[one] for one in prompts], None, {}

    def _generate_single_turn(self, prompt_ids: object, *_: object) -> object:
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
        return ids if self.ids_alone else (ids, None)

    def _calculate_rewards(self, *_: object) -> torch.Tensor:
        totals = self.rollouts.score(self._batch) if self._batch else []
        values = [[torch.nan if one is None else one] for one in totals]
        found: torch.Tensor = gather(torch.tensor(values, dtype=torch.float32, device=self.accelerator.device))
        return found

    def _get_per_token_logps_and_entropies(self, *values: object, **named: object) -> object:
        found = super()._get_per_token_logps_and_entropies(*values, **named)
        if self._policy_and_reference is not None:
            self._policy_and_reference.append(found[0])
        return found

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, object]:
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

    def compute_loss(self, model: object, inputs: object, *given: object, **named: object) -> object:
        loss = super().compute_loss(model, inputs, *given, **named)
        if self._mixture is None:
            return loss
        job, size = self.rollouts.job, self.args.per_device_train_batch_size
        rows = self._mixture.draw(self.state.global_step, self.accelerator.process_index, size)
        ids, mask, completions = (
            torch.tensor(one, device=self.accelerator.device) for one in self._mixture.pad_rows(rows)
        )
        if job.settings.temperature == 1:
            logps = super()._get_per_token_logps_and_entropies(model, ids, mask, completions.size(1))[0]
        else:  # TRL's are those of the policy at the temperature at which it writes
            logps = self._plain_logps(model, ids, mask, completions.size(1))
        forgotten = -(logps * completions).sum() / completions.sum()
        self._metrics["train"][f"{OWN}loss on demonstrations"].append(float(forgotten.detach()))
        return loss + job.settings.ptx * forgotten

    @staticmethod
    def _plain_logps(model: Any, ids: torch.Tensor, mask: torch.Tensor, last: int) -> torch.Tensor:
        """The log-probabilities of the last tokens of rows, at temperature 1; [rows, last]."""
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, -last - 1 : -1].float()
        return torch.log_softmax(logits, -1).gather(-1, ids[:, -last:, None]).squeeze(-1)

    def log(self, logs: dict[str, float], *more: object) -> None:
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


def _not_asked(**_: object) -> list[float | None]:
    raise AssertionError("rewards are given by Rollouts")
