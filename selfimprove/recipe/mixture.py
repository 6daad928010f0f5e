"""Mixtures: data sets in clusters of tasks with the templates that ask for them, as instruction tuning draws on."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from selfimprove.errors import RecipeError, suggest
from selfimprove.recipe.policies import find_policy
from selfimprove.recipe.yaml import Document, read_document, validate
from selfimprove.settings import Settings, Share

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,80}$")]


class Rendered(Settings):
    """Rows that are rendered already, as T0's: each file is one template, called as what sets its name apart."""

    prompt: str = "prompt"
    """The column of the prompt."""
    completion: str = "completion"
    """The column of the completion."""
    end: str = ""
    """What stands at the end of completions and is taken off, such as <|endoftext|>."""


class Template(Settings):
    """One's own template, in Jinja; its values are the columns of a row."""

    prompt: str
    """The prompt, such as "{{question}}"."""
    completion: str
    """What shall be answered, such as "{{answer}}"."""
    rationale: str | None = None
    """The reasoning that leads there, for the share `cot` of the rows."""
    options: str | None = None
    """The texts that the completion is one of, with ||| between them, such as "yes ||| no" or
    "{{choices | join('|||')}}"; the other parts know them as `answer_choices`."""
    shows_options: bool = False
    """Whether the prompt shows the options itself; else they are added to it in the share `options` of the rows."""
    inverts: bool = False
    """Whether it asks for what the task gives, such as a question to an answer."""


class DataSet(Settings):
    """Where the rows of a data set are, and how they are asked for."""

    cluster: Name
    """The cluster of tasks that it belongs to, which is trained on or held out as a whole."""
    path: str
    """A file (.jsonl, .json, .csv, .tsv, .parquet, .arrow), a folder that `datasets` saved, or a name on the hub; of
    rendered rows several files, such as t0/rte_*.jsonl. Looked for in the task's `path` or beside the mixture."""
    config: str | None = None
    """Of a data set with several: which one."""
    split: str = "train"
    """Of a folder or a hub name: the part that is read."""
    header: tuple[str, ...] = ()
    """The names of the columns, for a .csv or .tsv file whose first line does not name them."""
    quoted: bool = True
    """Whether cells of such a file may stand in quotation marks; not so in FLAN's."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Further columns by the path of what they hold, such as {question: question.stem, texts: choices.*.text}, where
    * stands for each of a list."""
    limit: PositiveInt | None = None
    """Read at most n rows, the first ones."""
    weight: PositiveFloat | None = None
    """How much of the mixture it is, beside the weights of the others; by default it counts by its number of rows."""
    loss_weight: PositiveFloat = 1.0
    """How much its rows count in the loss."""
    rendered: Rendered | None = None
    """Its rows are prompts and completions as they stand."""
    promptsource: str | None = None
    """A templates.yaml of promptsource (Bach et al., 2022); those that do not ask for the original task count as
    inverted."""
    use: tuple[str, ...] = ()
    """The templates of `promptsource` that are used; by default all."""
    templates: dict[Name, Template] = Field(default_factory=dict)
    """Templates of one's own, by name."""
    inverted: tuple[str, ...] = ()
    """Of rendered rows: the templates that ask for what the task gives."""


class Forms(Settings):
    """In which forms rows are asked, each in a share of those that can be (FLAN; Longpre et al., 2023)."""

    few_shot: Share = 0.0
    """Shown after worked rows of the same data set by the same template; all others zero-shot."""
    shots: PositiveInt = 3
    """How many these are."""
    join: str = "\n"
    """What stands between the prompt of a worked row and its completion."""
    cot: Share = 0.0
    """With the rationale before the answer, where the template has one."""
    trigger: str = "Let's think step by step."
    """What the prompt ends in then."""
    answer: str = "The answer is {answer}."
    """What the rationale is followed by."""
    options: Share = 1.0
    """With the options that the answer is one of, where the template knows them."""
    options_before: str = "OPTIONS:"
    """The line before options that are added to a prompt (FLAN)."""
    inverted: Share = 0.0
    """By templates that ask for what the task gives, where a data set has some."""


class Mixture(Settings):
    """A YAML file of data sets in clusters of tasks."""

    description: str = ""
    """A sentence for people."""
    hold_out: tuple[str, ...] = ()
    """Clusters that are never trained on: what is claimed of instruction tuning is claimed on these."""
    cap: PositiveInt | None = None
    """A data set counts as at most n rows (T5: Raffel et al., 2020, section 3.5.2; FLAN: 3,000 and 30,000)."""
    temperature: PositiveFloat = 1.0
    """Sizes are taken to the power of 1 / this: above 1 the data sets come closer to each other, as in T5."""
    forms: Forms = Forms()
    """In which forms rows are asked."""
    data_sets: dict[Name, DataSet]
    """The data sets, by name."""

    @property
    def clusters(self) -> dict[str, list[str]]:
        """The names of each cluster's data sets."""
        found: dict[str, list[str]] = {}
        for name, one in self.data_sets.items():
            found.setdefault(one.cluster, []).append(name)
        return found


def load_mixture(name: str) -> tuple[Mixture, Document]:
    """Read a mixture by path or by name; raises RecipeError with the file and the line."""
    path = find_policy("mixtures", name)
    document = read_document(path)
    mixture = validate(Mixture, document)
    for where, said in _mistakes(mixture):
        raise RecipeError(f"{document.where(where)}: {said}")
    return mixture, document


def _mistakes(mixture: Mixture) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with a mixture that can be read, each with its place."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    if not mixture.data_sets:
        found.append((("data_sets",), "the mixture has no data sets"))
    for at, cluster in enumerate(mixture.hold_out):
        if cluster not in mixture.clusters:
            found.append((("hold_out", at), f"there is no cluster '{cluster}'{suggest(cluster, mixture.clusters)}"))
    if mixture.data_sets and not set(mixture.clusters) - set(mixture.hold_out):
        found.append((("hold_out",), "all clusters are held out, and none is left to train on"))
    weighed = [name for name, one in mixture.data_sets.items() if one.weight is not None]
    rest = [
        name for name, one in mixture.data_sets.items() if one.weight is None and one.cluster not in mixture.hold_out
    ]
    if weighed and rest:
        found.append(
            (("data_sets", rest[0]), f"'{rest[0]}' has no 'weight' and '{weighed[0]}' has one; give all of them one")
        )
    if "{answer}" not in mixture.forms.answer:
        found.append((("forms", "answer"), "'forms.answer' lacks {answer}"))
    for name, one in mixture.data_sets.items():
        found += [((*("data_sets", name), key), said) for key, said in _source_mistakes(one)]
    return found


def _source_mistakes(one: DataSet) -> list[tuple[str, str]]:
    if one.rendered and (one.promptsource or one.templates):
        return [("rendered", "rows that are rendered have no templates; leave one of the two out")]
    if not (one.rendered or one.promptsource or one.templates):
        return [("path", "says nothing of how it is asked; add 'templates', 'promptsource' or 'rendered: {}'")]
    if one.use and not one.promptsource:
        return [("use", "'use' names templates of 'promptsource', which is not set")]
    if one.inverted and not one.rendered:
        return [("inverted", "'inverted' is for rendered rows; a template of one's own has 'inverts'")]
    if one.header and not one.path.endswith((".csv", ".tsv")):
        return [("header", "'header' is for a .csv or .tsv file")]
    return []
