"""What reinforcement learning can be told; the stage and its trainer both know it."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from selfimprove.recipe.training_settings import Training
from selfimprove.settings import added


class RlTraining(Training):
    """A training run on texts that the policy writes while it is trained."""

    method: Literal["rloo", "grpo"] = "rloo"
    """rloo: each text against the mean of the others of its problem, KL taken from the reward (Ahmadian et al., 2024);
    grpo: against the mean of all of them by their deviation, KL in the loss (Shao et al., 2024)."""
    rewards: dict[str, float] = Field(default_factory=lambda: {"verifier": 1.0})
    """What a text is worth, as a sum with weights: `verifier` (1 for a right answer, 0 for a wrong one), `constitution`
    (the share of its principles' checks that it passes, by their weights), `model` (the reward model of this round's
    stage `reward`, in standard deviations), `rising` (the points of that task's rule), or a reward that an extension
    declares. A text of which one is undecided gives no gradient. One of weight 0 is only measured, as the gold reward
    of which the others are a proxy: where it falls while they rise, the run says so, and `promote` rolls back."""
    require: Literal["answer", "steps", "grounded"] = "answer"
    """What `verifier` calls right, as in `select`: the answer; no wrong step either; no number from nowhere either."""
    combine: Literal["mean", "min"] = "mean"
    """Of several reward models: their mean, or the lowest (Coste et al., 2023)."""
    cut_off: NonNegativeFloat = 0.0
    """Taken from the reward of a text that was cut off at `max_tokens`."""
    kl: NonNegativeFloat = 0.05
    """What a nat of KL divergence from the reference costs; 0 only with `reference: none`."""
    reference: Literal["start", "base", "none"] = "start"
    """What the policy is held to: the checkpoint that the stage starts from, the model before round 1, or nothing."""
    samples: PositiveInt = 4
    """Texts for each problem, which are compared with each other; at least 2."""
    temperature: PositiveFloat = 1.0
    """Other than 1, what is optimised is the policy at this temperature."""
    max_tokens: PositiveInt = 256
    """The longest text in tokens; a longer one is cut off there and judged as it stands."""
    batch_size: PositiveInt = 32
    """Texts in a batch, of all processes; with `accumulate` and `batches` a multiple of `samples`."""
    batches: PositiveInt = 1
    """Steps for which texts are written at once; from the second on they are those of an earlier policy."""
    passes: PositiveInt = 1
    """How often the same texts are trained on."""
    ptx: NonNegativeFloat = added(0.0)
    """The weight of the log-likelihood, a mean over tokens, of a batch of the demonstrations that the first checkpoint
    was trained on, so that they are not forgotten (PPO-ptx; Ouyang et al., 2022, section 3.5); it needs `warmup`."""
    clip_ratio: PositiveFloat = 0.2
    """The ratio of new to old probability counts up to 1 ± this (PPO; Schulman et al., 2017)."""
    loss: Literal["dapo", "grpo", "bnpo", "dr_grpo"] = "dapo"
    """GRPO: how tokens are weighed, by TRL's names; grpo gives each text the same weight, dapo each token."""
    scale: Literal["group", "batch", "none"] = "group"
    """GRPO: whose standard deviation advantages are divided by."""
    normalize: bool = False
    """RLOO: shift and scale the advantages of texts written at once to mean 0 and standard deviation 1."""
    learning_rate: PositiveFloat = 1e-6
    """The highest learning rate of the schedule."""
    max_length: PositiveInt = 512
    """Problems whose prompt and `max_tokens` are longer together are left out and counted."""

    @property
    def boundary(self) -> int:
        """Optimizer steps between two times at which texts are written: training can only go on from there as if
        nothing had happened."""
        return self.batches * self.passes
