"""The settings of tasks: where problems come from, and how their answers are compared."""

from typing import Annotated, ClassVar, Literal

from pydantic import (
    Discriminator,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
)

from selfimprove.recipe.catalog import Named
from selfimprove.settings import Settings, added, unhashed

Comparison = Annotated[str, Named("verifier", ("math", "text", "choice", "judge"))]
"""Who compares answers that a file gives."""
Mark = Annotated[str, Field(min_length=3, max_length=100)]
Marks = tuple[Mark, Mark]
EVERY = 1_000_000
"""As many problems as a task has."""
THINKING: tuple[Marks, ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<|channel|>analysis", "<|channel|>final"),
    ("<|channel|>analysis", "assistantfinal"),
    ("<|channel|>commentary", "<|channel|>final"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
)
"""The marks between which known reasoning models think: DeepSeek R1 and Qwen 3, gpt-oss (its channels, and what is
left of them without special tokens), Sky-T1, Command A, Magistral, Seed-OSS, Kimi."""


class Answers(Settings):
    """How strictly an answer is compared with the expected one."""

    strict: bool = False
    """The answer must be the same characters as the expected one; nothing is read as a number or an option."""
    tolerance: NonNegativeFloat = 0.0
    """Numbers may differ by this much."""
    relative_tolerance: NonNegativeFloat = 0.0
    """Numbers may differ by this share of the expected one."""
    units: Literal["ignore", "match"] = "ignore"
    """ignore: `7 apples` is 7; match: where the expected answer states a unit, the answer must state the same."""


class Limits(Settings):
    """What one verdict may take where a parser of others is asked; one that takes more is undecided."""

    cpu_seconds: PositiveFloat = 5.0
    """CPU seconds."""
    wall_seconds: PositiveFloat = 30.0
    """Seconds on the clock: more than the CPU time, so that a busy machine does not change verdicts."""
    memory_mb: PositiveInt = 1024
    """Megabytes, not counting what the worker's program itself takes."""


class TaskSettings(Settings):
    """What all tasks share; `family` is the part of the name before a slash."""

    family: ClassVar[str]
    isolates: ClassVar[bool] = False
    """Whether it makes problems in which only a given step is hard (`tasks.base.Isolating`)."""
    name: str


class ArithmeticTask(TaskSettings):
    """Addition with a column-by-column rationale; a group is a shape such as `4+3` (digits of each operand)."""

    family = "arithmetic"
    isolates = True
    name: Literal["arithmetic"] = "arithmetic"
    """The task."""
    max_digits: Annotated[PositiveInt, Field(le=100)] = 5
    """Operands have 1 to this many digits."""
    seed_total_digits: PositiveInt = 6
    """The two operands of a seed rationale have at most this many digits together."""
    held_out: PositiveInt = 20
    """Held-out problems of each shape; one pair of operands in ten is held out, whatever the seed."""
    hide_answers: bool = added(False)
    """Draw training problems without their answers, to measure what a majority vote is worth; seed rationales and
    held-out problems keep theirs."""


class LongAdditionTask(TaskSettings):
    """Addition of long operands whose digits stand after the letters of their places; a group is the number of digits
    of the longer operand, such as `7`."""

    family = "long-addition"
    name: Literal["long-addition"] = "long-addition"
    """The task."""
    max_digits: Annotated[PositiveInt, Field(le=100)] = 30
    """Operands have 1 to this many digits; half of the problems have two of the same length."""
    seed_digits: PositiveInt = 3
    """The operands of a seed rationale have at most this many digits."""
    held_out: PositiveInt = 20
    """Held-out problems of each length; one pair of operands in ten is held out, whatever the seed."""
    reach: Annotated[float, Field(ge=1.0, le=10.0)] = 1.5
    """How far ahead lengths open: one of at most this many times the digits of a length opens after that one, and so
    does in any case the length that follows it."""


class RisingTask(TaskSettings):
    """Strings of digits that should rise, after three digits: open-ended texts that the reward `rising` grades, to try
    reward models on."""

    family = "rising"
    name: Literal["rising"] = "rising"
    """The task."""
    held_out: PositiveInt = 200
    """Of the 1,000 problems, at most half."""


class PoolTask(TaskSettings):
    """What tasks with a fixed pool of problems share."""

    path: str | None = unhashed(None, "a local file or folder; by default the data set is loaded from the hub")
    held_out: PositiveInt = 200
    """Problems kept for evaluation, chosen by a hash of the question (the test split where the data has one)."""
    limit: PositiveInt | None = None
    """At most n training problems; by default all."""
    answers: Answers = Answers()
    """How answers are compared."""


class OnePartTask(PoolTask):
    """What tasks share whose data has no split of its own."""

    whole: bool = added(False)
    """Hold out all problems, at most `held_out` of them, and train on none: for evaluations alone."""


class Gsm8kTask(PoolTask):
    """Grade-school word problems (openai/gsm8k), with their own train and test splits."""

    family = "gsm8k"
    name: Literal["gsm8k"] = "gsm8k"
    """The task."""


class SvampTask(OnePartTask):
    """SVAMP word problems; groups are the four types of operation."""

    family = "svamp"
    name: Literal["svamp"] = "svamp"
    """The task."""


class AsdivTask(OnePartTask):
    """ASDiv word problems with one number as the answer; levels are school grades."""

    family = "asdiv"
    name: Literal["asdiv"] = "asdiv"
    """The task."""
    grades: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """The school grades that problems are taken from."""


class CommonsenseqaTask(PoolTask):
    """CommonsenseQA: questions with five options; its dev split is held out, because its test split has no answers."""

    family = "commonsenseqa"
    name: Literal["commonsenseqa"] = "commonsenseqa"
    """The task."""


class MmluTask(PoolTask):
    """A subject of MMLU such as `mmlu/anatomy`; its test split is held out, its validation split is what trains."""

    family = "mmlu"
    name: str = Field(pattern=r"^mmlu/[a-z0-9_]{1,80}$")
    """`mmlu/` and a subject."""

    @property
    def subject(self) -> str:
        return self.name.partition("/")[2]


class BbhTask(OnePartTask):
    """A task of BIG-Bench Hard such as `bbh/navigate`, with its chain-of-thought exemplars; it has no training split,
    and `held_out` of its problems are set aside by a hash of the question."""

    family = "bbh"
    name: str = Field(pattern=r"^bbh/[a-z0-9_]{1,80}$")
    """`bbh/` and a task."""

    @property
    def subject(self) -> str:
        return self.name.partition("/")[2]


class ReasoningGymTask(TaskSettings):
    """A generator of reasoning-gym such as `reasoning_gym/leg_counting`, judged by its own scorer; needs the extra
    `gym`."""

    family = "reasoning_gym"
    name: str = Field(pattern=r"^reasoning_gym/[a-z0-9_]{1,80}$")
    """`reasoning_gym/` and a generator."""
    held_out: PositiveInt = 200
    """Problems kept for evaluation."""
    limit: PositiveInt = 2000
    """Number of training problems."""
    seed: NonNegativeInt = 0
    """The generator's seed."""
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """The generator's own settings, such as {min_animals: 3}."""
    credit: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """The lowest score that counts as correct; many scorers give part of a point for a form that is not quite right."""

    @property
    def subject(self) -> str:
        return self.name.partition("/")[2]


class JsonlTask(PoolTask):
    """A user's own problems: one JSON object a line."""

    family = "jsonl"
    name: Literal["jsonl"] = "jsonl"
    """The task."""
    question: str = "question"
    """The key of the question."""
    answer: str = "answer"
    """The key of the answer."""
    options: str | None = None
    """The key of a list of options, for `compare: choice`; the answer is then a letter or the text of one."""
    level: str | None = None
    """The key of a whole number that orders problems from easy to hard; by default all are level 0."""
    compare: Comparison = "math"
    """math: numbers, and whatever sympy can compare; text: without case and surrounding space; choice: options by
    letter or text; judge: a model decides, by the recipe's `judge`."""
    evaluate_path: str | None = unhashed(
        None, "a file of held-out problems; by default `held_out` problems of `path` are set aside"
    )


def _kind_of(wanted: object) -> str:
    return "span" if isinstance(wanted, dict) else "values" if isinstance(wanted, (list, tuple)) else "value"


Plain = bool | int | float | str | None
Wanted = Annotated[
    Annotated[dict[Literal["at_least", "at_most"], float], Tag("span")]
    | Annotated[tuple[Plain, ...], Tag("values")]
    | Annotated[Plain, Tag("value")],
    Discriminator(_kind_of),
]
"""What a filter asks of a column."""


class DatasetTask(PoolTask):
    """Problems from a file of any common form, a folder that `datasets` saved, or a data set on the hub.

    A column is named by its key or by a path such as `meta.solution` or `choices.text`, in which a number is a place
    in a list.
    """

    family = "dataset"
    name: Literal["dataset"] = "dataset"
    """The task."""
    path: str = unhashed(
        ...,
        "a file (.jsonl, .json, .csv, .tsv, all of them also .gz; .parquet, .arrow), a folder that `datasets` saved, "
        "or a name on the hub",
    )
    config: str | None = unhashed(None, "of a data set with several: which one")
    split: str = unhashed("train", "of a folder or a hub name: the part that is trained on")
    revision: str | None = unhashed(None, "of a hub name: a branch, a tag or a commit")
    sql: str | None = None
    """Of a .parquet file, or a folder of them: the rows that this SELECT gives of the table `data`."""
    question: str = "question"
    """The column of the question."""
    answer: str = "answer"
    """The column of the answer: a text, a number, true or false, or a list of them."""
    messages: str | None = None
    """The column of a conversation, in place of the question: a list of `{role: …, content: …}`. Where there is no
    answer, the last turn of the assistant is it. Earlier turns are shown as a transcript."""
    options: str | None = None
    """The column of a list of options, for `compare: choice`; the answer is then a letter, the text of one, or its
    place in the list, 0 the first."""
    level: str | None = None
    """The column of a whole number that orders problems from easy to hard; by default all are level 0."""
    where: dict[str, Wanted] = Field(default_factory=dict)
    """Only rows in which each of these columns has this value, one of these, or a number in a span:
    {subject: [algebra, geometry], level: {at_most: 3}}."""
    rows: PositiveInt | None = None
    """Read at most n of these rows, the first ones; by default all."""
    bad: Literal["skip", "stop"] = "skip"
    """skip: a row that makes no problem is left out, counted and named; stop: it ends the run."""
    compare: Comparison = "math"
    """math: numbers, and whatever sympy can compare; text: without case and surrounding space; choice: options by
    letter or text; judge: a model decides, by the recipe's `judge`."""
    evaluate_path: str | None = unhashed(
        None, "another file, folder or hub name whose problems are held out; by default `held_out` of `path`'s are"
    )
    evaluate_split: str | None = unhashed(None, "the split whose problems are held out, such as test")


class PromptsTask(PoolTask):
    """Open prompts without answers, such as `prompts/red-team`: one JSON object a line with `prompt`, and `tag` where a
    principle's scope asks for one."""

    family = "prompts"
    name: str = Field(pattern=r"^prompts/[a-z0-9_-]{1,80}$")
    """`prompts/` and a name: `prompts/red-team` is in policies/prompts, any other needs a `path`."""
    held_out: PositiveInt = 20
    """Prompts kept for evaluation, chosen by a hash."""
    draw: PositiveInt = 50
    """Prompts in a round, where they are the recipe's `open`, in addition to the training task."""


class ScoredTask(TaskSettings):
    """Multiple choice by log-probability, such as `scored/hhh`: the model picks the text that is most likely to follow
    the prompt as it stands, and writes nothing. It is only evaluated, never trained on."""

    family = "scored"
    name: str = Field(pattern=r"^scored/[a-z0-9_-]{1,80}$")
    """`scored/` and any name."""
    path: str = unhashed(
        ...,
        "a file of one JSON object a line: `prompt`, `corrects` and `incorrects` (BIG-bench's format, and that of the "
        "Constitutional AI paper's evaluations), or hh-rlhf's `chosen` and `rejected`; .gz is unpacked",
    )
    held_out: PositiveInt = 10_000
    """At most n problems, chosen by a hash of the prompt."""


class MixtureTask(PoolTask):
    """Data sets in clusters of tasks, such as `mixture/t0`: whole clusters are held out, and the stage `mix` draws what
    is trained from the others."""

    family = "mixture"
    name: str = Field(pattern=r"^mixture/[a-z0-9_-]{1,80}$")
    """`mixture/` and the name of a file in policies/mixtures; any other needs a `file`."""
    file: str | None = unhashed(None, "the mixture's file, by default the one of this name")
    path: str | None = unhashed(
        None, "the folder with the files of its data sets; by default that of the mixture's file"
    )
    held_out: PositiveInt = 50
    """Problems of each data set of the clusters that are held out."""
    seen: NonNegativeInt = 0
    """Problems of each other data set that are kept for evaluation as well, and not trained on."""
    hold_out: tuple[str, ...] | None = None
    """The clusters that are held out, in place of those that the file names."""
    limit: PositiveInt | None = None
    """At most n rows of each data set to train on; by default all."""
    compare: Comparison = "text"
    """How answers are compared: text, without case and surrounding space; choice; math; judge."""


VERIFIERS = (
    "addition", "long-addition", "math", "text", "choice", "math-verify", "reasoning_gym", "judge", "rising",
    "lm-eval/gsm8k", "lm-eval/gsm8k_cot", "lm-eval/gsm8k-flexible", "lm-eval/bbh",
)  # fmt: skip


class VerifierSettings(Settings):
    """Which verifier judges, and how: all that a worker process must know to build it."""

    name: Annotated[str, Named("verifier", VERIFIERS)]
    stated: bool = False
    """An answer counts only where it is announced: by `####`, a box or "the answer is"."""
    thinking: tuple[Marks, ...] = added(THINKING)
    """The marks between which a model thinks."""
    answers: Answers = Answers()
    gym: ReasoningGymTask | None = None
