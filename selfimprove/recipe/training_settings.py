"""The settings of training: what all methods share, what each adds, and what is trained beside held-out problems."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from selfimprove.records.collapse import SIGNS, Sign
from selfimprove.settings import Settings, Share, added, unhashed


class Lora(Settings):
    """Train a low-rank adapter (Hu et al., 2021) through peft instead of all weights."""

    rank: PositiveInt = 8
    """Rank of the update of each matrix (peft: r)."""
    alpha: PositiveInt = 16
    """The update is multiplied by alpha / rank (peft: lora_alpha)."""
    dropout: Share = 0.0
    """Dropout on the adapter's input while it trains."""
    targets: str | tuple[str, ...] = "all-linear"
    """Names of the adapted modules, or all-linear: every linear layer but the output (peft: target_modules)."""


class Training(Settings):
    """A training run through TRL."""

    steps: PositiveInt | None = None
    """Optimizer steps; by default `epochs` decides."""
    steps_growth: PositiveFloat = 1.0
    """Steps are multiplied by this each round (STaR, section 4.1: 40 steps, 20% more each iteration)."""
    epochs: PositiveFloat = 1.0
    """Passes over the rows, where `steps` is not set."""
    batch_size: PositiveInt = 32
    """Rows in a batch, divided evenly among the processes that train; with several, a short last batch is filled up
    with the first rows."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are summed before a step."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: Muon (Jordan et al., 2024) for the hidden matrices, AdamW for embeddings, norms and biases; on a CPU Muon
    works in single precision."""
    learning_rate: PositiveFloat = 1e-4
    """The highest learning rate of the schedule."""
    adamw_share: PositiveFloat = 0.15
    """With muon: AdamW's learning rate as a share of Muon's."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay."""
    momentum: Share = 0.95
    """Muon's momentum."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate changes after the warm-up steps."""
    final_share: Share = 0.1
    """The cosine ends at this share of the learning rate."""
    warmup_steps: NonNegativeInt = 0
    """Steps in which the learning rate rises from 0."""
    restarts: NonNegativeInt = added(0)
    """How often the cosine begins anew at the full learning rate, in equal parts of the steps after the warm-up (SGDR;
    Loshchilov and Hutter, 2017). Each round is a warm restart already, with a new optimizer; these are within it."""
    clip: NonNegativeFloat = 1.0
    """The largest gradient norm."""
    max_length: PositiveInt = 512
    """Longer rows are left out and counted, never cut."""
    lora: Lora | None = None
    """Train a LoRA adapter; by default all weights are trained."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    launch: Literal["auto", "process", "accelerate"] = unhashed(
        "auto",
        "train in this process, or in a child under `accelerate launch`, whose memory is free when it ends; "
        "auto: in a child where there is a GPU, several processes or a 'launch_config'",
    )
    launch_config: str | None = unhashed(
        None, "an accelerate config file, or the name of one in policies/accelerate: one-gpu, ddp, fsdp or zero3"
    )
    processes: PositiveInt | None = unhashed(
        None, "training processes, one per GPU; by default what the config file says"
    )
    launch_arguments: tuple[str, ...] = unhashed((), "further arguments of `accelerate launch`")
    checkpoint_every: PositiveInt | None = unhashed(
        None,
        "save the trainer's state every n steps, to continue after a kill; by default once a minute, and less often "
        "where saving takes long",
    )


class SupervisedTraining(Training):
    """A training run on prompts and completions."""

    loss_on: Literal["completion", "all"] = added("completion")
    """The tokens that are learned: those of completions alone, or those of prompts too."""
    packing: bool = added(False)
    """Put several rows into one of `max_length` tokens, each of which sees itself alone: less padding, fewer and larger
    batches. Steps and `batch_size` then count packed rows."""


class PairTraining(Training):
    """A training run on preference pairs (Rafailov et al., 2023)."""

    beta: PositiveFloat = 0.1
    """How strongly the policy is held to the reference."""
    loss: Literal["sigmoid", "sigmoid_norm", "ipo", "hinge", "robust"] = "sigmoid"
    """TRL's name; sigmoid is DPO's own, sigmoid_norm divides log-probabilities by lengths."""
    nll: NonNegativeFloat = 1.0
    """The weight of the chosen text's negative log-likelihood per token, added to the loss (IRPO, section 2: 1)."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """The share of labels that are taken to be wrong (cDPO; with `robust` its own correction)."""
    labels: Literal["hard", "soft"] = "hard"
    """soft: a pair counts as right with the probability that its judge gave (Constitutional AI, section 4.1), instead
    of `label_smoothing`; for the loss sigmoid."""
    learning_rate: PositiveFloat = 1e-6
    """The highest learning rate of the schedule."""


class DistillTraining(Training):
    """A training run towards the distributions of a model that is shown more (self-distillation)."""

    divergence: Literal["reverse", "forward"] = "reverse"
    """Of each next token: reverse is KL(trained || shown), which is what the trained model's own samples call for (GKD;
    Agarwal et al., 2024, section 3); forward is KL(shown || trained), which covers all that the other would say."""
    learning_rate: PositiveFloat = 1e-5
    """The highest learning rate of the schedule."""


class RewardTraining(Training):
    """A training run of a reward model on preference pairs (Bradley and Terry, 1952; Christiano et al., 2017)."""

    labels: Literal["hard", "soft"] = "hard"
    """soft: a pair counts as right with the probability that its judge gave, (1 + margin) / 2."""
    margin: NonNegativeFloat = 0.0
    """The chosen text's reward must be higher by this times the pair's own margin, which is 0 for a tie and 1 for a
    certain pair (Touvron et al., 2023, section 3.2.2)."""
    center: NonNegativeFloat = 0.01
    """The weight of the squared sum of a pair's rewards, which keeps them around 0 (Eisenstein et al., 2023)."""
    layers: PositiveInt | None = added(None)
    """Keep only the first n layers of what the model is made of: a smaller reward model of the same family (Gao et al.,
    2022, vary its size); by default all."""
    learning_rate: PositiveFloat = 1e-5
    """The highest learning rate of the schedule."""


class Collapse(Settings):
    """When a run ends because the texts that it trains on collapse, compared with those of its first round."""

    rounds: PositiveInt = 2
    """After so many rounds in a row that show it."""
    fewest: PositiveInt = 2
    """A round shows it by so many of the signs at once, or by all where there are fewer: one alone may come of
    learning, as other lengths do, or fewer different forms of right steps."""
    signs: Annotated[tuple[Sign, ...], Field(min_length=1)] = SIGNS
    """The signs that count, as `status` warns of them: texts that repeat each other, several samples that find less
    than before, samples that take the same steps, lengths that went to half or double, rows that were there before."""


class Decontamination(Settings):
    """Compare what is to be trained with the problems that are evaluated, just before each training: the prompts and
    texts of examples, of preference pairs and of seed rationales, and the problems of reinforcement learning."""

    action: Literal["warn", "drop", "stop"] = "warn"
    """What is done where they share text: go on, say so, and report the accuracy on the other held-out problems beside
    the whole; leave such rows out; or stop before anything is trained."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """A row is found where runs of 8 words cover this much of a question. One run of 13 words is enough for a question
    of 100 words or more, and a prompt that is a question as a whole is found however short it is."""
    numbers: bool = True
    """Find questions too of which four fifths are there but for the numbers."""
