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
    """Width of the residual stream."""
    intermediate_size: PositiveInt = 256
    """Width of the feed-forward layers."""
    layers: PositiveInt = 2
    """Decoder layers."""
    heads: PositiveInt = 2
    """Attention heads of a layer."""
    head_size: PositiveInt = 32
    """Width of an attention head; at least 32, so that vLLM can serve the model."""
    rope_theta: PositiveFloat = 10000.0
    """Base of the rotary position embeddings."""
    max_positions: PositiveInt = 512
    """The longest sequence in tokens."""
    alphabet: str = "0123456789+=#? \n"
    """Every character that prompts and rationales use."""


class Model(Settings):
    """The model to start from: `path` (a folder or a hub name) or `build`."""

    path: str | None = None
    """A folder or a hub name; this or `build` is needed."""
    build: Build | None = None
    """Build a small model with random weights instead of loading one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision in which the weights are loaded, sampled from and trained."""
    device: str = unhashed("auto", "where the model is loaded: auto, cpu, cuda, cuda:1, …; auto: a GPU if there is one")


# --- prompts and sampling ------------------------------------------------------------------------------------


class Prompting(Settings):
    """How a problem is shown to the model."""

    style: Literal["zero-shot", "zero-shot-cot", "few-shot", "few-shot-cot"] = "zero-shot"
    """With or without exemplars; -cot: with reasoning, by the trigger or in the exemplars."""
    question: str = "{question}"
    """The template of a question."""
    hint: str = "{question} (the answer is {answer})"
    """The template of a question with its answer, for rationalization (STaR, section 3.2)."""
    cue: str = ""
    """The text between the question and the completion, such as "\\nA:"."""
    trigger: str = "Let's think step by step."
    """Zero-shot CoT's trigger (Kojima et al., 2022)."""
    exemplars: str | None = unhashed(
        None, "a YAML file of exemplars (question, rationale, answer), beside the recipe or by path"
    )
    shots: PositiveInt | None = None
    """Use only the first n exemplars; by default all."""
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
    """Nucleus sampling: draw from the likeliest tokens that hold this probability together; 1 is off."""
    max_tokens: PositiveInt = 256
    """The longest completion in tokens; a longer one is cut off there and recorded as such."""


# --- stages --------------------------------------------------------------------------------------------------


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
    """muon: torch.optim.Muon for the hidden matrices, AdamW for embeddings, norms and biases."""
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
        None, "save the trainer's state every n steps, to continue after a kill; by default five times in a run"
    )


class Warmup(Training):
    """Teach a model built from nothing by seed rationales of the task."""

    examples: PositiveInt = 800
    """Number of seed rationales."""
    critiques: NonNegativeInt = 0
    """Seed critiques, each of a rationale with made-up mistakes or with none, and the revisions by them, in the form of
    the recipe's constitution; for a model that could not criticise otherwise. They count towards the cap of their
    problem's group where rows are balanced."""
    hinted: Share = 0.0
    """The share of seed rationales that is also shown with the hint, so that the model knows that prompt."""
    steps: PositiveInt | None = 350
    """Optimizer steps; with null `epochs` decides."""


class FrontierSettings(Settings):
    """Which problems a round draws from, decided by the yields so far."""

    problems: PositiveInt = 1000
    """Problems in a round."""
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
    """Rationales sampled for each problem."""
    kl_samples: NonNegativeInt = unhashed(
        0, "score n of a round's samples by the model before round 1 too, to estimate the KL divergence from it"
    )
    part_size: PositiveInt = 256
    """Problems in a part: the most that a kill can lose."""


class Second(Settings):
    """Another verifier that judges a share of what the first one judged; where they differ is kept and shown."""

    verifier: Literal["math", "text", "choice", "math-verify", "judge"]
    """The verifier that is asked as well."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """The share of rationales that it judges, chosen by a hash."""


class Judge(Settings):
    """The model that judges for tasks with `compare: judge`, and as a second verifier."""

    path: str | None = None
    """A folder or a hub name; by default the run's first model judges."""
    prompt: str | None = unhashed(
        None, "a YAML file with the judge's prompt (its content counts); by default policies/judges/answer.yaml"
    )
    max_tokens: PositiveInt = 8
    """The longest judgement in tokens; one word is asked for."""


class Verify(Settings):
    """Give each rationale a verdict."""

    answer: Literal["any", "stated"] = "any"
    """any: the last number counts where no answer is announced; stated: it must be, by `####`, a box or "the answer
    is". A base model that copies the question ends on a number too."""
    second: Second | None = None
    """Cross-check a share of the verdicts by another verifier."""
    limits: Limits = Limits()
    """What one verdict may cost."""
    workers: PositiveInt = unhashed(
        1, "worker processes for answers that need a parser which may hang; started when first needed"
    )
    part_size: PositiveInt = 4096
    """Rationales in a part."""
    overlap: bool = unhashed(
        True,
        "judge finished parts while `generate` still writes (never where a model judges: it would need the engine)",
    )


class Repair(Settings):
    """Write on after the last right step where no sample was right; needs a verifier that checks steps."""

    samples: PositiveInt = 4
    """Attempts for each problem."""
    temperature: NonNegativeFloat = 1.3
    """Higher than generation's: the likeliest next step was the wrong one."""
    limit: PositiveInt | None = None
    """At most n failed problems a round, chosen by a hash; by default all."""
    part_size: PositiveInt = 256
    """Problems in a part."""


class Rationalize(Settings):
    """Show the answer as a hint where no sample was correct (STaR, section 3.2)."""

    enabled: bool = True
    """Turn rationalization off without removing its settings."""
    samples: PositiveInt = 1
    """Rationales written for each failed problem."""
    temperature: NonNegativeFloat | None = None
    """By default the temperature of `generate`."""
    limit: PositiveInt | None = None
    """At most n failed problems a round, chosen by a hash; by default all."""
    part_size: PositiveInt = 256
    """Problems in a part."""


class Critique(Sampling):
    """Ask the model what goes against a principle of the constitution (Constitutional AI, section 3.1)."""

    temperature: NonNegativeFloat = 0.0
    """0 is greedy."""
    max_tokens: PositiveInt = 128
    """The longest critique in tokens."""


class Revise(Sampling):
    """Have the model rewrite its responses by the constitution: after a critique, or directly without that stage."""

    temperature: NonNegativeFloat = 0.7
    """0 is greedy."""
    revisions: PositiveInt = 1
    """Critiques and revisions of each response, one after the other (the paper: 4)."""
    principles: Literal["random", "in-turn"] = "random"
    """random: each time one is drawn by weight; in-turn: one after the other, in the order of the file."""
    of: Literal["all", "failed"] = "all"
    """failed: only responses that are not known to be correct; those to open prompts never are."""
    per_problem: PositiveInt = 1
    """At most n samples of a problem are revised."""
    limit: PositiveInt | None = None
    """At most n responses a round, chosen by a hash; by default all."""
    earlier: NonNegativeInt = 0
    """Also revise n wrong responses of earlier rounds. A model that gets better makes few mistakes
    that it could learn from, and sees through those that it made before."""
    reject: tuple[Literal["unchanged", "leak", "exemplar", "refusal", "about itself"], ...] = (
        "unchanged",
        "leak",
        "exemplar",
        "refusal",
    )
    """Revisions that are not kept. unchanged: only spaces changed; leak: it repeats the words of the prompt; exemplar:
    it is an exemplar's answer word for word; refusal: it only refuses, and the response before did not; about itself:
    it speaks of itself as an AI. All are counted."""
    train: Literal["last", "all"] = "last"
    """Train on the last kept revision of a chain on an open prompt, or on all of them."""
    lessons: bool = False
    """Also train on critiques and revisions that the verifier confirms, so that the model gets better at writing them;
    needs problems with answers."""
    part_size: PositiveInt = 64
    """Responses in a part."""


class Balance(Settings):
    """Cap and repeat what is trained by group."""

    cap: PositiveInt = 300
    """At most n examples of a group, seed rationales included, the newest first."""
    mastered_cap: PositiveInt = 50
    """The same for groups whose yield is at least the frontier's `mastered_at`."""
    final_cap: PositiveInt = 100
    """The same once every group is mastered."""
    repeat: PositiveInt = 10
    """Examples of a rare group are repeated at most n times."""
    repeat_to: PositiveInt = 120
    """A group is repeated up to n rows."""


class MajorityVote(Settings):
    """Keep the samples of a problem without an answer whose answer is the majority's (Huang et al., 2022; Lee et al.,
    2025, section 5): self-consistency (Wang et al., 2022) in place of a verdict."""

    share: Share = 0.6
    """The majority must have at least this share of the problem's samples; those without an answer count."""
    votes: PositiveInt = 3
    """The majority must have at least n votes."""
    length: Share = 0.0
    """Drop a text with less than this share of the tokens of `against`; 0 is no filter. A model that
    skips steps agrees with itself on a wrong answer, and writes less (Lee et al., 2025, section 5.1)."""
    against: Literal["longest", "median"] = "longest"
    """Of the texts that the round sampled for the same group of problems."""


class Select(Settings):
    """Turn rationales into SFT examples."""

    vote: MajorityVote | None = added(None)
    """Train on the majority's answer where a problem has none; by default such problems train nothing."""

    require: Literal["answer", "steps", "grounded"] = "answer"
    """answer: a correct answer suffices (STaR); steps: no step may be wrong either; grounded: in addition, every number
    that the answer follows from must come from the question or an earlier step."""
    per_problem: PositiveInt | None = None
    """Keep at most n rationales of a problem (STaR keeps 1, RFT all distinct ones); by default all."""
    rationalized_cap: Share | None = None
    """Rationalized examples are at most this share of a round's kept ones; by default there is no cap (STaR)."""
    hard_below: Share = 0.0
    """In groups with a yield below this, keep only problems on which at most `hard_share` of the samples are correct.
    Where a wrong rule is right on some problems by coincidence, it is right on all samples of them, and would be
    rewarded."""
    hard_share: Share = 0.5
    """The largest share of correct samples of a problem that `hard_below` keeps."""
    pool: Literal["fresh", "cumulative"] = "fresh"
    """Train on this round's examples (STaR), or on all rounds' (as in expert iteration)."""
    sources: Literal["samples", "seed+samples", "seed"] = "samples"
    """seed+samples mixes in the warm-up's rationales; seed alone is the control: the same steps, nothing new."""
    balance: Balance | None = None
    """Cap and repeat groups; by default all examples of the pool are trained, once each."""


class Sft(Training):
    """Train the round's checkpoint."""

    start: Literal["base", "last"] = "base"
    """base: restart from the model before round 1 (STaR, section 3.1); last: continue from the best checkpoint."""
    mastered_rate: Share = 1.0
    """The learning rate is multiplied by this in rounds in which every group is mastered."""
    prompt: Literal["question", "shown"] = "question"
    """question: rows hold the question alone; shown: with the exemplars or the trigger that the sample was given."""
    steps: PositiveInt | None = None
    """Optimizer steps; by default `epochs` decides."""


class Feedback(Settings):
    """Have a model say which of two responses to one prompt is better, by a principle (Constitutional AI, section 4.1).

    The recipe's `judge` is asked; the run's first model without one.
    """

    per_problem: PositiveInt = 1
    """At most n comparisons for each problem."""
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
    """Drop pairs with a smaller margin than this."""
    max_tokens: PositiveInt = 128
    """The longest chain of thought in tokens."""


class HumanPairs(Settings):
    """Pairs that people chose between, in hh-rlhf's format: `chosen` and `rejected` as whole dialogues."""

    path: str = unhashed(..., "a JSONL file, or one packed by gzip")
    limit: PositiveInt = 100
    """Pairs taken in a round, chosen by a hash."""


class Prefer(Settings):
    """Pair what is better with what is worse: correct rationales with incorrect ones of the same problem (IRPO; Pang et
    al., 2024, section 2), kept revisions with what they revise, and what a model or people say is better."""

    revisions: bool = True
    """Pair kept revisions with the response that they revise, unless a check, a verifier or the feedback says
    otherwise."""
    feedback: Feedback | None = None
    """Have a model compare responses by a principle; by default no model is asked."""
    files: HumanPairs | None = None
    """Pairs that people chose between."""

    per_problem: PositiveInt = 10
    """At most n pairs for each problem."""
    require: Literal["answer", "steps", "grounded"] | None = None
    """What the chosen text must pass; by default what `select` requires. The rejected one has a wrong answer."""
    cut: Literal["whole", "step"] = "whole"
    """whole: the texts as they are; step: the first wrong step over the right one in its place, after what both share
    (Step-DPO; Lai et al., 2024), which needs a verifier of steps and texts that begin alike."""
    limit: PositiveInt | None = None
    """At most n pairs a round, not counting those of `files`, chosen by a hash, evenly over the problems; by default
    all."""


class Dpo(Training):
    """Train on preference pairs (Rafailov et al., 2023), from the round's SFT checkpoint; without the stage `sft` from
    the best checkpoint so far, which wrote the pairs (IRPO)."""

    beta: PositiveFloat = 0.1
    """How strongly the policy is held to the reference."""
    loss: Literal["sigmoid", "sigmoid_norm", "ipo", "hinge", "robust"] = "sigmoid"
    """TRL's name; sigmoid is DPO's own, sigmoid_norm divides log-probabilities by lengths."""
    nll: NonNegativeFloat = 1.0
    """The weight of the chosen text's negative log-likelihood per token, added to the loss (IRPO, section 2: 1)."""
    prompt: Literal["question", "shown"] = "question"
    """As in `sft`, whose setting counts if there is that stage."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """The share of labels that are taken to be wrong (cDPO; with `robust` its own correction)."""
    labels: Literal["hard", "soft"] = "hard"
    """soft: a pair counts as right with the probability that its judge gave (Constitutional AI, section 4.1), instead
    of `label_smoothing`; for the loss sigmoid."""
    reference: Literal["start", "base"] = "start"
    """What the policy is held to: the checkpoint that the stage starts from (IRPO), or the model before round 1."""
    learning_rate: PositiveFloat = 1e-6
    """The highest learning rate of the schedule."""
    measure: NonNegativeInt = 200
    """Pairs that are scored before and after, for margins and log-probabilities that do not depend on a batch."""


class Evaluate(Settings):
    """Answer all held-out problems, greedily where the temperature is 0."""

    max_tokens: PositiveInt | None = None
    """The longest answer in tokens; by default that of `generate`, or of the standard."""
    samples: PositiveInt = added(1)
    """Answers to each problem; with more than one the majority counts (self-consistency; Wang et al., 2022)."""
    temperature: NonNegativeFloat = added(0.0)
    """0 is greedy; several samples need a temperature above 0 (the paper: 0.5 to 0.7)."""
    standard: Literal["lm-eval", "lm-eval-cot"] | None = added(None)
    """Ask as lm-evaluation-harness 0.4.13 does, where it has the task: GSM8K, MMLU and BIG-Bench Hard. lm-eval: by its
    gsm8k, mmlu and bbh; lm-eval-cot: by gsm8k_cot instead of gsm8k. All other tasks are asked by `prompt`."""
    extract: str | None = added(None)
    """Zero-shot CoT's second prompt, such as "Therefore, the answer (arabic numerals) is" (Kojima et al., 2022, section
    3): it follows each answer, and what the model writes then is what counts. By default the verifier reads the
    answer out of the text."""
    limit: PositiveInt | None = added(None)
    """At most n held-out problems, chosen by a hash of the question; by default all."""
    training: PositiveInt | None = added(None)
    """Answer n training problems instead of the held-out ones, to choose a prompt by; for recipes without rounds."""
    revise: bool = False
    """Criticise and revise every answer as well, to see what the model can correct; the accuracy is of the answers
    before it."""
    part_size: PositiveInt = 512
    """Problems in a part."""


class Promote(Settings):
    """Keep the better checkpoint by the paired McNemar test on held-out problems."""

    rule: Literal["not-worse", "better", "always"] = "not-worse"
    """not-worse: roll back only if the test says worse; better: keep only if it says better; always: no test."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """The significance level of the test."""
    tasks: tuple[str, ...] = ()
    """The names of the tasks whose held-out problems decide; by default all that are evaluated."""


class Stages(Settings):
    """The stages in order, with their settings; a stage that is left out does not run."""

    warmup: Warmup | None = None
    """Before round 1: teach a model built from nothing the form of a rationale."""
    frontier: FrontierSettings = FrontierSettings()
    """Draw the round's problems."""
    generate: Generate = Generate()
    """Sample rationales for them."""
    verify: Verify = Verify()
    """Judge the rationales."""
    repair: Repair | None = None
    """Continue failed rationales after their last right step."""
    rationalize: Rationalize | None = None
    """Show failed problems again with the answer as a hint."""
    critique: Critique | None = None
    """Have the model criticise its responses by the constitution."""
    revise: Revise | None = None
    """Have the model rewrite its responses by the constitution."""
    select: Select = Select()
    """Decide which rationales are trained."""
    sft: Sft | None = Sft()
    """Fine-tune on them; null leaves the training to `dpo`."""
    prefer: Prefer | None = None
    """Make preference pairs."""
    dpo: Dpo | None = None
    """Train on the pairs."""
    evaluate: Evaluate = Evaluate()
    """Answer the held-out problems."""
    promote: Promote = Promote()
    """Keep the new checkpoint, or go back to the best one before."""

    @property
    def shown(self) -> bool:
        """Whether trained prompts hold the exemplars or the trigger that the samples were given."""
        training = self.sft or self.dpo
        return training is not None and training.prompt == "shown"


STAGES = tuple(Stages.model_fields)


class Recipe(Settings):
    """How a model improves itself."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", json_schema_extra={"hashed": False})
    """The run's name, and its folder under `runs/`."""
    description: str = unhashed("", "a sentence for people")
    seed: NonNegativeInt = 0
    """Decides every random choice of the run."""
    rounds: NonNegativeInt = unhashed(4, "rounds after the first evaluation; raise it to go on with a finished run")
    model: Model
    """The model to start from."""
    constitution: str | None = unhashed(
        None, "a constitution file, or the name of one in policies/constitutions (its content counts)"
    )
    train: Task
    """The task that the run trains on."""
    open: PromptsTask | None = None
    """Open prompts that each round draws in addition to the training task's problems."""
    open_prompt: Prompting | None = None
    """How open prompts are shown; by default by `prompt`. A text ends before any stop mark of both formats."""
    evaluate_on: tuple[Task, ...] = ()
    """Tasks whose held-out problems are evaluated; by default the training task alone."""
    prompt: Prompting = Prompting()
    """How problems are shown to the model."""
    engine: EngineSettings = EngineSettings()
    """The program that generates text."""
    ray: Ray = Ray()
    """The cluster of `--on ray`."""
    judge: Judge = Judge()
    """The model that judges where a verdict or a comparison needs one."""
    report_to: tuple[Name, ...] = unhashed(
        (), "trackers that the trainers' steps and each round's figures are reported to"
    )
    stages: Stages = Stages()
    """What a round does."""
