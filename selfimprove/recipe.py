"""The recipe file: how a model improves, as pydantic models with every policy switch that papers differ in."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from selfimprove.engine_settings import EngineSettings, Ray
from selfimprove.settings import Settings, Share, added, unhashed
from selfimprove.task_settings import Limits, PromptsTask, Task
from selfimprove.trackers import Name

# --- the model -----------------------------------------------------------------------------------------------


class Build(Settings):
    """A Llama of this shape with random weights and a character-level tokenizer, both plain transformers objects."""

    hidden_size: PositiveInt = 64
    intermediate_size: PositiveInt = 256
    layers: PositiveInt = 2
    heads: PositiveInt = 2
    head_size: PositiveInt = 32
    """At least 32, so that vLLM can serve the model."""
    rope_theta: PositiveFloat = 10000.0
    max_positions: PositiveInt = 512
    alphabet: str = "0123456789+=#? \n"
    """Every character that prompts and rationales use."""


class Model(Settings):
    """The model to start from: `path` (a folder or a hub name) or `build`."""

    path: str | None = None
    build: Build | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = unhashed("auto", "auto, cpu, cuda, cuda:1, …")
    overrule: tuple[str, ...] = unhashed(
        (), "run although `selfimprove doctor` finds these wrong: the names of its findings, such as begin"
    )


# --- prompts and sampling ------------------------------------------------------------------------------------


class Prompting(Settings):
    """How a problem is shown to the model."""

    style: Literal["zero-shot", "zero-shot-cot", "few-shot", "few-shot-cot"] = "zero-shot"
    question: str = "{question}"
    """The template of a question."""
    hint: str = "{question} (the answer is {answer})"
    """The template of a question with its answer, for rationalization (STaR, section 3.2)."""
    cue: str = ""
    """What stands between the question and the completion, such as "\\nA:"."""
    trigger: str = "Let's think step by step."
    """Zero-shot CoT's trigger (Kojima et al., 2022)."""
    exemplars: str | None = unhashed(
        None, "a YAML file of exemplars (question, rationale, answer), beside the recipe or by path"
    )
    shots: PositiveInt | None = None
    """Use only the first so many exemplars."""
    answer: str = "{answer}"
    """How an exemplar states its answer, such as "The answer is {answer}."."""
    stop: tuple[str, ...] = ()
    """A completion ends before any of these."""
    chat: Literal["auto", "never"] = "auto"
    """Use the tokenizer's chat template where it has one."""


class Sampling(Settings):
    """How completions are sampled."""

    temperature: NonNegativeFloat = 0.7
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_tokens: PositiveInt = 256


# --- stages --------------------------------------------------------------------------------------------------


class Lora(Settings):
    """Train a low-rank adapter (Hu et al., 2021) through peft instead of all weights."""

    rank: PositiveInt = 8
    alpha: PositiveInt = 16
    dropout: Share = 0.0
    targets: str | tuple[str, ...] = "all-linear"


class Training(Settings):
    """A training run through TRL."""

    steps: PositiveInt | None = None
    """Optimiser steps; without it `epochs` counts."""
    steps_growth: PositiveFloat = 1.0
    """Steps are multiplied by this each round (STaR, section 4.1: 40 steps, 20% more each iteration)."""
    epochs: PositiveFloat = 1.0
    batch_size: PositiveInt = 32
    """Rows a batch, shared out evenly among the processes that train; several fill up a short last one with the first
    rows."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are summed before a step."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """muon: torch.optim.Muon for the hidden matrices, AdamW for embeddings, norms and biases."""
    learning_rate: PositiveFloat = 1e-4
    adamw_share: PositiveFloat = 0.15
    """With muon: AdamW's learning rate as a share of Muon's."""
    weight_decay: NonNegativeFloat = 0.01
    momentum: Share = 0.95
    """Muon's momentum."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final_share: Share = 0.1
    """The cosine ends at this share of the learning rate."""
    warmup_steps: NonNegativeInt = 0
    clip: NonNegativeFloat = 1.0
    """The largest gradient norm."""
    max_length: PositiveInt = 512
    """Longer rows are left out and counted, never cut."""
    lora: Lora | None = None
    gradient_checkpointing: bool = False
    launch: Literal["auto", "process", "accelerate"] = unhashed(
        "auto",
        "train in this process, or in a child under `accelerate launch`, whose memory is free when it ends; "
        "auto: in a child where there is a GPU, several processes or a 'launch_config'",
    )
    launch_config: str | None = unhashed(
        None, "an accelerate config file, or the name of one in policies/accelerate: one-gpu, ddp, fsdp or zero3"
    )
    processes: PositiveInt | None = unhashed(None, "processes in place of the config file's, one a GPU")
    launch_arguments: tuple[str, ...] = unhashed((), "more arguments of `accelerate launch`")
    checkpoint_every: PositiveInt | None = unhashed(
        None, "save the trainer's state every so many steps, for a kill; a fifth of the run without it"
    )


class Warmup(Training):
    """Teach a model built from nothing by seed rationales of the task."""

    examples: PositiveInt = 800
    """Seed rationales."""
    critiques: NonNegativeInt = 0
    """Seed critiques, each of a rationale with made-up mistakes or with none, and the revisions by them, in the form of
    the recipe's constitution; for a model that could not criticise otherwise. They count towards the cap of their
    problem's group where rows are balanced."""
    hinted: Share = 0.0
    """The share of them that is also shown with the hint, so that the model knows rationalization's prompt."""
    steps: PositiveInt | None = 350


class FrontierSettings(Settings):
    """Which problems a round draws from, decided by the yields so far."""

    problems: PositiveInt = 1000
    """Problems a round."""
    policy: Literal["yields", "all"] = "yields"
    """yields: by the rule below, per group; all: evenly over all groups."""
    open_at: Share = 0.3
    """A group opens once a group that leads to it has at least this yield."""
    mastered_at: Share = 0.97
    """A group with at least this yield is drawn from at `mastered_weight`."""
    mastered_weight: Share = 0.25
    """The weight of a mastered group against an open one."""


class Generate(Sampling):
    """Sample rationales (STaR, section 3.1)."""

    samples: PositiveInt = 2
    """Rationales a problem."""
    kl_samples: NonNegativeInt = unhashed(
        0, "so many of a round's samples are scored by the model before round 1 too, for the KL divergence from it"
    )
    part_size: PositiveInt = 256
    """Problems a part: what a kill can lose."""


class Second(Settings):
    """Another verifier that judges a share of what the first one judged; where they differ is kept and shown."""

    verifier: Literal["math", "text", "choice", "math-verify", "judge"]
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """The share of rationales, chosen by a hash."""


class Judge(Settings):
    """The model that judges for tasks with `compare: judge`, and as a second verifier."""

    path: str | None = None
    """A folder or a hub name; the run's first model judges without it."""
    prompt: str | None = unhashed(
        None, "a YAML file with the judge's prompt (its content counts); policies/judges/answer.yaml without it"
    )
    max_tokens: PositiveInt = 8


class Verify(Settings):
    """Give each rationale a verdict."""

    answer: Literal["any", "stated"] = "any"
    """any: the last number counts where no answer is announced; stated: it must be, by `####`, a box or "the answer
    is". A base model that copies the question ends on a number too."""
    second: Second | None = None
    limits: Limits = Limits()
    workers: PositiveInt = unhashed(1, "processes for what our own code cannot judge; none is started before")
    part_size: PositiveInt = 4096
    """Rationales a part."""
    overlap: bool = unhashed(
        True,
        "judge whole parts while `generate` still writes; not where a model judges, which the engine would wait for",
    )


class Repair(Settings):
    """Write on after the last right step where no sample was right; needs a verifier that checks steps."""

    samples: PositiveInt = 4
    temperature: NonNegativeFloat = 1.3
    """Higher than generation's: the likeliest next step was the wrong one."""
    limit: PositiveInt | None = None
    """At most so many failed problems a round, chosen by a hash; all without it."""
    part_size: PositiveInt = 256


class Rationalize(Settings):
    """Show the answer as a hint where no sample was correct (STaR, section 3.2)."""

    enabled: bool = True
    samples: PositiveInt = 1
    temperature: NonNegativeFloat | None = None
    """Generation's own without it."""
    limit: PositiveInt | None = None
    """At most so many failed problems a round, chosen by a hash; all without it."""
    part_size: PositiveInt = 256


class Critique(Sampling):
    """Ask the model what goes against a principle of the constitution (Constitutional AI, section 3.1)."""

    temperature: NonNegativeFloat = 0.0
    max_tokens: PositiveInt = 128


class Revise(Sampling):
    """Have the model rewrite its responses by the constitution: after a critique, or directly without that stage."""

    temperature: NonNegativeFloat = 0.7
    revisions: PositiveInt = 1
    """Critiques and revisions one after the other for each response (the paper: 4)."""
    principles: Literal["random", "in-turn"] = "random"
    """random: each time one is drawn by weight; in-turn: one after the other, in the order of the file."""
    of: Literal["all", "failed"] = "all"
    """failed: only responses that are not known to be correct; those to open prompts never are."""
    per_problem: PositiveInt = 1
    """So many samples of a problem are taken up."""
    limit: PositiveInt | None = None
    """At most so many responses a round, chosen by a hash; all without it."""
    earlier: NonNegativeInt = 0
    """So many wrong responses of earlier rounds are taken up beside them. A model that gets better makes few mistakes
    that it could learn from, and sees through those that it made before."""
    reject: tuple[Literal["unchanged", "leak", "exemplar", "refusal", "about itself"], ...] = (
        "unchanged",
        "leak",
        "exemplar",
        "refusal",
    )
    """Revisions that are not kept: nothing changed but spaces, the prompt's own words stand in it, it is an exemplar's
    answer word by word, it only refuses what the response before did not refuse, it speaks of itself as an AI. All are
    counted."""
    train: Literal["last", "all"] = "last"
    """Of a chain on an open prompt the last kept revision is trained on, or all of them."""
    lessons: bool = False
    """Train on critiques and revisions too where the verifier says that they were right, so that the model gets better
    at them; needs problems with answers."""
    part_size: PositiveInt = 64
    """Responses a part."""


class Balance(Settings):
    """Cap and repeat what is trained by group."""

    cap: PositiveInt = 300
    """At most so many examples of a group, seed rationales counted, the newest first."""
    mastered_cap: PositiveInt = 50
    """The same for groups whose yield is at least the frontier's `mastered_at`."""
    final_cap: PositiveInt = 100
    """The same once every group is mastered."""
    repeat: PositiveInt = 10
    """Examples of a rare group are repeated at most so many times."""
    repeat_to: PositiveInt = 120
    """Repetition stops at so many rows."""


class MajorityVote(Settings):
    """Keep the samples of a problem without an answer whose answer is the majority's (Huang et al., 2022; Lee et al.,
    2025, section 5): self-consistency (Wang et al., 2022) in place of a verdict."""

    share: Share = 0.6
    """The majority must have at least this share of the problem's samples; those without an answer count."""
    votes: PositiveInt = 3
    """The majority must have at least so many votes."""
    length: Share = 0.0
    """A text is turned away where it has less than this share of the tokens of `against`; 0 is no filter. A model that
    skips steps agrees with itself on a wrong answer, and writes less (Lee et al., 2025, section 5.1)."""
    against: Literal["longest", "median"] = "longest"
    """Of the texts that the round sampled for the same group of problems."""


class Select(Settings):
    """Turn rationales into SFT examples."""

    vote: MajorityVote | None = added(None)
    """For training problems without an answer; without it none of their samples is trained."""

    require: Literal["answer", "steps", "grounded"] = "answer"
    """answer: a correct answer suffices (STaR); steps: no step may be wrong either; grounded: nor may a number that the
    answer follows from stand neither in the question nor in an earlier step."""
    per_problem: PositiveInt | None = None
    """Keep at most so many rationales a problem (STaR keeps 1, RFT all distinct ones)."""
    rationalized_cap: Share | None = None
    """Rationalized examples are at most this share of a round's kept ones; no cap without it (STaR has none)."""
    hard_below: Share = 0.0
    """In groups whose yield is below this, only problems with at most `hard_share` correct samples are kept. Where a
    wrong rule is right on some problems by coincidence, it is right on all samples of them, and would be rewarded."""
    hard_share: Share = 0.5
    pool: Literal["fresh", "cumulative"] = "fresh"
    """Train on this round's examples (STaR), or on all rounds' (as in expert iteration)."""
    sources: Literal["samples", "seed+samples", "seed"] = "samples"
    """seed+samples mixes the warm-up's rationales in; seed alone is the control: the same steps, nothing new."""
    balance: Balance | None = None
    """Without it all examples of the pool are trained, once each."""


class Sft(Training):
    """Train the round's checkpoint."""

    start: Literal["base", "last"] = "base"
    """base: restart from the model before round 1 (STaR, section 3.1); last: continue from the best checkpoint."""
    mastered_rate: Share = 1.0
    """The learning rate is multiplied by this in rounds in which every group is mastered."""
    prompt: Literal["question", "shown"] = "question"
    """question: rows hold the question alone; shown: with the exemplars or trigger that the sample was given."""
    steps: PositiveInt | None = None


class Feedback(Settings):
    """Have a model say which of two responses to one prompt is better, by a principle (Constitutional AI, section 4.1).

    The recipe's `judge` is asked; the run's first model without one.
    """

    per_problem: PositiveInt = 1
    """At most so many comparisons a problem."""
    thought: bool = False
    """Ask for a chain of thought first."""
    clamp: tuple[Share, Share] = (0.4, 0.6)
    """With a chain of thought, probabilities are clamped to this range, because they are nearly always 0 or 1."""

    @field_validator("clamp")
    @classmethod
    def _in_order(cls, clamp: tuple[float, float]) -> tuple[float, float]:
        if clamp[0] > clamp[1]:
            raise ValueError("should be a lower and a higher probability")
        return clamp

    tie: Share = 0.02
    """Pairs whose margin is below this are dropped."""
    max_tokens: PositiveInt = 128
    """Of a chain of thought."""


class HumanPairs(Settings):
    """Pairs that people chose between, in hh-rlhf's format: `chosen` and `rejected` as whole dialogues."""

    path: str = unhashed(..., "a JSONL file, or one packed by gzip")
    limit: PositiveInt = 100
    """So many pairs a round, chosen by a hash."""


class Prefer(Settings):
    """Pair what is better with what is worse: correct rationales with incorrect ones of the same problem (IRPO; Pang et
    al., 2024, section 2), kept revisions with what they revise, and what a model or people say is better."""

    revisions: bool = True
    """Pair kept revisions with the response that they revise, unless a check, a verifier or the feedback says
    otherwise."""
    feedback: Feedback | None = None
    files: HumanPairs | None = None

    per_problem: PositiveInt = 10
    """At most so many pairs a problem."""
    require: Literal["answer", "steps", "grounded"] | None = None
    """What the chosen one must pass; what `select` requires without it. The rejected one has a wrong answer."""
    cut: Literal["whole", "step"] = "whole"
    """whole: the texts as they are; step: the first wrong step over the right one in its place, after what both share
    (Step-DPO; Lai et al., 2024), which needs a verifier of steps and texts that begin alike."""
    limit: PositiveInt | None = None
    """At most so many pairs a round beside those of `files`, chosen by a hash, evenly over the problems."""


class Dpo(Training):
    """Train on preference pairs (Rafailov et al., 2023), from the round's SFT checkpoint; without the stage `sft` from
    the best checkpoint so far, which wrote the pairs (IRPO)."""

    beta: PositiveFloat = 0.1
    loss: Literal["sigmoid", "sigmoid_norm", "ipo", "hinge", "robust"] = "sigmoid"
    """TRL's name; sigmoid is DPO's own, sigmoid_norm divides log-probabilities by lengths."""
    nll: NonNegativeFloat = 1.0
    """The weight of the chosen text's negative log-likelihood a token beside the loss (IRPO, section 2: 1)."""
    prompt: Literal["question", "shown"] = "question"
    """As in `sft`, whose setting counts where there is one."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """The share of labels that are taken to be wrong (cDPO; with `robust` its own correction)."""
    labels: Literal["hard", "soft"] = "hard"
    """soft: a pair counts as right with the probability that who judged it gave (Constitutional AI, section 4.1), in
    place of `label_smoothing`; for the loss sigmoid."""
    reference: Literal["start", "base"] = "start"
    """What the policy is held to: the checkpoint that the stage starts from (IRPO), or the model before round 1."""
    learning_rate: PositiveFloat = 1e-6
    measure: NonNegativeInt = 200
    """Pairs that are scored before and after, for margins and log-probabilities that do not depend on a batch."""


class Evaluate(Settings):
    """Answer all held-out problems, greedily where the temperature is 0."""

    max_tokens: PositiveInt | None = None
    """Generation's own without it, or the standard's."""
    samples: PositiveInt = added(1)
    """Answers a problem; with more than one the majority's counts (self-consistency; Wang et al., 2022)."""
    temperature: NonNegativeFloat = added(0.0)
    """Several samples need one above 0 (the paper: 0.5 to 0.7)."""
    standard: Literal["lm-eval", "lm-eval-cot"] | None = added(None)
    """Ask as lm-evaluation-harness 0.4.13 does, where it has the task: GSM8K, MMLU and BIG-Bench Hard. lm-eval: by its
    gsm8k, mmlu and bbh; lm-eval-cot: by gsm8k_cot in place of gsm8k. All other tasks are asked by `prompt`."""
    extract: str | None = added(None)
    """Zero-shot CoT's second prompt, such as "Therefore, the answer (arabic numerals) is" (Kojima et al., 2022, section
    3): it follows each answer, and what the model writes then is what counts. Without it the verifier reads the answer
    out of the text."""
    limit: PositiveInt | None = added(None)
    """At most so many held-out problems, chosen by a hash of the question."""
    training: PositiveInt | None = added(None)
    """Answer so many training problems in place of the held-out ones, to choose a prompt by; for recipes without
    rounds."""
    revise: bool = False
    """Criticise and revise every answer as well, to see what the model can correct; the accuracy is of the answers
    before it."""
    part_size: PositiveInt = 512


class Promote(Settings):
    """Keep the better checkpoint by the paired McNemar test on held-out problems."""

    rule: Literal["not-worse", "better", "always"] = "not-worse"
    """not-worse: roll back only if the test says worse; better: keep only if it says better; always: no test."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    tasks: tuple[str, ...] = ()
    """The names of the tasks whose held-out problems decide; all that are evaluated without it."""


class Stages(Settings):
    """The stages in order, with their settings; a stage that is left out does not run."""

    warmup: Warmup | None = None
    frontier: FrontierSettings = FrontierSettings()
    generate: Generate = Generate()
    verify: Verify = Verify()
    repair: Repair | None = None
    rationalize: Rationalize | None = None
    critique: Critique | None = None
    revise: Revise | None = None
    select: Select = Select()
    sft: Sft | None = Sft()
    prefer: Prefer | None = None
    dpo: Dpo | None = None
    evaluate: Evaluate = Evaluate()
    promote: Promote = Promote()

    @property
    def shown(self) -> bool:
        """Whether trained prompts hold the exemplars or the trigger that the samples were given."""
        training = self.sft or self.dpo
        return training is not None and training.prompt == "shown"


STAGES = tuple(Stages.model_fields)


class Recipe(Settings):
    """How a model improves itself."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """The run's name, and its folder under `runs/`."""
    description: str = ""
    seed: NonNegativeInt = 0
    rounds: NonNegativeInt = unhashed(4, "rounds after the first evaluation; raise it to go on with a finished run")
    model: Model
    constitution: str | None = unhashed(
        None, "a constitution file, or the name of one in policies/constitutions (its content counts)"
    )
    train: Task
    open: PromptsTask | None = None
    """Open prompts that each round draws beside the training task's problems."""
    open_prompt: Prompting | None = None
    """How open prompts are shown; as everything else without it. A text ends before any stop mark of both formats."""
    evaluate_on: tuple[Task, ...] = ()
    """Tasks whose held-out problems are evaluated; the training task's own without it."""
    prompt: Prompting = Prompting()
    engine: EngineSettings = EngineSettings()
    ray: Ray = Ray()
    judge: Judge = Judge()
    report_to: tuple[Name, ...] = unhashed(
        (), "trackers that are told of the trainers' steps and of each round's figures"
    )
    stages: Stages = Stages()
