"""What a stage is: one declaration, by which loop, plan, schema, estimate, status, trackers and viewer know it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from selfimprove.constitution import Constitution
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import Engine
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Model, Recipe
from selfimprove.recipe.catalog import Mistake, register
from selfimprove.recipe.flow import Step
from selfimprove.records import Checkpoint, Example, Problem, Rationale, Record, Role
from selfimprove.settings import Settings, hashed_settings
from selfimprove.store import Manifest
from selfimprove.store.join import Chosen
from selfimprove.store.rows import Rows
from selfimprove.tasks import Task
from selfimprove.tasks.standard import Standard
from selfimprove.trainers.job import TrainingJob
from selfimprove.verifiers.judging import Judging

Key: TypeAlias = tuple[int, str]  # round, name in the flow
S = TypeVar("S", bound=Settings)
T = TypeVar("T")
AnySettings = TypeVar("AnySettings", bound=Settings)
AnyRecord = TypeVar("AnyRecord", bound=Record)
Records: TypeAlias = Iterable[Record]
Trainable: TypeAlias = Sequence[Record] | Chosen[Any]
"""Rows in the order in which they are trained."""
Shared = Literal["answer", "prompt", "open prompt", "model", "constitution", "judge"]
SHOWN: tuple[Shared, ...] = ("answer", "prompt", "open prompt", "model")
"""What the text of a completion depends on besides a stage's own settings."""


class NoSettings(Settings):
    """Of a stage in which there is nothing to choose."""


@dataclass(frozen=True)
class Cost:
    """What a stage will ask for: `texts` of at most `longest` tokens each, or `rows` to train on.

    `measured_as` names the stages whose measured length of a text stands in for `longest`, the first one that was
    measured.
    """

    texts: float = 0
    longest: int = 0
    rows: float = 0
    measured_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sizes:
    """How many records a stage will meet, as far as it can be told before the run."""

    problems: int
    """Problems a round, open prompts among them."""
    held_out: int
    open: int = 0
    """Open prompts a round."""
    kept: float = 0
    """Examples that a round keeps at most."""


@dataclass(frozen=True)
class Writer:
    """Who writes for which round: what every rationale of a stage has in common."""

    engine: Engine
    checkpoint: str
    extract_answer: Callable[[Problem, str, str], str | None]
    """Of a problem, a text and its prompt."""
    stop: tuple[str, ...]
    round: int
    seed: int
    """The run's seed; each sample's own is derived from it."""


class Desk(Protocol[S]):
    """All that a stage may touch while it runs; what its declaration does not name in `uses` is not shown to it."""

    @property
    def settings(self) -> S: ...
    @property
    def round(self) -> int: ...
    @property
    def name(self) -> str:
        """The stage's name in the flow."""
        ...

    @property
    def title(self) -> str:
        """Round and name, as in `round-01/sft`."""
        ...

    @property
    def seed(self) -> int:
        """The run's seed."""
        ...

    @property
    def folder(self) -> Path:
        """The stage's own folder."""
        ...

    @property
    def run(self) -> str:
        """What commands call the run."""
        ...

    def other(self, kind: type[AnySettings]) -> AnySettings:
        """The settings of another stage, by their class; the class's own defaults where the recipe has none."""
        ...

    def find(self, kind: type[AnySettings]) -> AnySettings | None:
        """The settings of another stage where it is part of the run."""
        ...

    def once(self, make: Callable[["Desk[S]"], T]) -> T:
        """What all parts of a stage share, made when the first of them asks for it."""
        ...

    # --- what earlier stages wrote

    def read(self, kind: type[AnyRecord], *names: str) -> list[AnyRecord]:
        """The records of a kind that the stages of this round wrote which this one reads, in the order of the flow;
        with `names` only those of stages declared so."""
        ...

    def by_id(self, kind: type[AnyRecord], *names: str) -> dict[str, AnyRecord]:
        """The same, by id."""
        ...

    def read_of(self, round_: int, kind: type[AnyRecord], *names: str) -> list[AnyRecord]:
        """The same, of another round that this stage reads."""
        ...

    def written(self, kind: type[AnyRecord]) -> list[AnyRecord]:
        """What this stage itself wrote, once it is closed or in parts that are done."""
        ...

    def scan(self, kind: type[AnyRecord], *names: str) -> Rows[AnyRecord]:
        """What `read` gives, left on disk and read some at a time: for what grows with the samples of a round."""
        ...

    def scan_of(self, round_: int, kind: type[AnyRecord], *names: str) -> Rows[AnyRecord]:
        """The same, of another round that this stage reads."""
        ...

    def scan_written(self, kind: type[AnyRecord]) -> Rows[AnyRecord]:
        """The same, of this stage itself."""
        ...

    @property
    def manifest(self) -> Manifest | None:
        """Of this stage, once it is closed."""
        ...

    # --- the run's data

    @property
    def task(self) -> Task: ...
    @property
    def held_out(self) -> Sequence[Problem]: ...
    @property
    def held_out_tasks(self) -> Sequence[Task]: ...
    @property
    def pairs(self) -> Sequence[Problem]:
        """Pairs that people chose between."""
        ...

    @property
    def standards(self) -> Mapping[str, Standard]: ...
    def draw_open(self) -> list[Problem]:
        """This round's open prompts."""
        ...

    @property
    def prompts(self) -> PromptFormat: ...
    @property
    def prompter(self) -> Prompter: ...
    @property
    def constitution(self) -> Constitution: ...
    @property
    def model(self) -> Model: ...
    @property
    def trains_shown(self) -> bool:
        """Whether trained prompts hold the exemplars or the trigger that the samples were given."""
        ...

    @property
    def judging(self) -> Judging: ...

    # --- models

    @property
    def incumbent(self) -> Checkpoint:
        """The checkpoint that the round starts from."""
        ...

    @property
    def first_checkpoint(self) -> Checkpoint: ...
    @property
    def trained(self) -> Checkpoint:
        """The policy as the stages before this one leave it."""
        ...

    def engine(self, checkpoint: Checkpoint) -> Engine: ...
    def writer(self, checkpoint: Checkpoint) -> Writer:
        """Who writes with a checkpoint; it is loaded when something is asked of it."""
        ...

    def judge(self) -> tuple[Checkpoint, Prompter]:
        """The model that compares responses, and what writes its prompts."""
        ...

    def weights(self, checkpoint: Checkpoint) -> str:
        """The folder of a checkpoint."""
        ...

    def import_models(self) -> None:
        """Import what loads models, on the imports' account."""
        ...

    def train(self, job: type[TrainingJob], rows: Trainable, start: Checkpoint | None, **given: Any) -> Checkpoint:
        """Train on rows and give the new checkpoint, of the stage's own role; raises TrainingError.

        `given` are fields of the job; `settings` the stage's own without it, `model` the folder of `start`.
        """
        ...

    def keep(self, number: int, records: Sequence[Record]) -> None:
        """Write records of the kinds in `also` while a part is still being made: they survive a kill, and a later call
        with the same number replaces them."""
        ...

    def kept(self, kind: type[AnyRecord]) -> list[AnyRecord]:
        """What `keep` has written, in the order of the numbers."""
        ...

    def note(self, name: str, value: Any) -> None:
        """Put a figure into the stage's manifest; a mapping is merged into one that is there."""
        ...


class Round(Generic[S]):
    """What a stage may name while the plan is made: other stages of the flow, settings, and what fingerprints hold."""

    def __init__(
        self,
        number: int,
        name: str,
        settings: S,
        *,
        flow: Sequence[Step],
        recipe: Recipe,
        data: str = "",
        constitution: str = "",
    ) -> None:
        """`data` and `constitution` are hashes of what the recipe only names."""
        self.number, self.name, self.settings, self.recipe, self.data = number, name, settings, recipe, data
        self._flow, self._constitution = flow, constitution
        self._place = next(at for at, step in enumerate(flow) if step.name == name)

    # --- other stages

    @property
    def problems(self) -> Key:
        """What is held out."""
        return 0, "problems"

    @property
    def start(self) -> Key:
        """The stage that gives the first checkpoint."""
        return 0, next(step.name for step in self._flow if step.stage.starts)

    @property
    def incumbent(self) -> Key:
        """What says which checkpoint the round starts from."""
        if self.number < 2:
            return self.start
        deciding = [step.name for step in self._flow if step.stage.decides or step.stage.trains == "policy"]
        later = [name for name in deciding if name != self.start[1]]
        return (self.number - 1, later[-1]) if later else self.start

    @property
    def trained(self) -> Key:
        """The last stage before this one that trains the policy in this round; the incumbent where there is none."""
        if not self.number:
            return self.start
        mine = [step.name for step in self._before() if step.stage.trains == "policy"]
        return (self.number, mine[-1]) if mine else self.incumbent

    def this(self, *names: str) -> list[Key]:
        """The stages of this round before this one that are declared under these names."""
        return [(self.number, step.name) for step in self._before() if step.stage.name in names]

    def every(self, *kinds: type[Record]) -> list[Key]:
        """The stages of this round before this one that write a kind of record, but for what is held out."""
        return [(self.number, step.name) for step in self._before() if step.stage.gives(kinds)]

    def last(self, *names: str) -> list[Key]:
        """The stages of these names in the round before."""
        return self.earlier(*names, since=max(1, self.number - 1))

    @property
    def seeds(self) -> list[Key]:
        """The stage that gives the first checkpoint, where it wrote examples for it."""
        return [(0, step.name) for step in self._flow if step.stage.starts and Example in step.stage.also]

    def earlier(self, *names: str, since: int = 1) -> list[Key]:
        """The stages of these names in all rounds before."""
        mine = [step.name for step in self._flow if step.stage.name in names and step.stage.when != "first"]
        return [(one, name) for one in range(since, self.number) for name in mine]

    def earlier_writers(self, kind: type[Record], since: int = 1) -> list[Key]:
        """The stages of all rounds before that write a kind of record, but for what is held out."""
        mine = [step.name for step in self._flow if step.stage.when != "first" and step.stage.gives((kind,))]
        return [(one, name) for one in range(since, self.number) for name in mine]

    def evaluations(self) -> list[Key]:
        """All evaluations so far."""
        mine = [step.name for step in self._flow if step.stage.about == "held out" and step.stage.when == "always"]
        return [(one, name) for one in range(self.number) for name in mine] + [
            (self.number, step.name) for step in self._before() if step.name in mine
        ]

    def _before(self) -> Iterator[Step]:
        return (step for step in self._flow[: self._place] if step.stage.when != "first" or not self.number)

    # --- settings, and what a fingerprint holds of them

    def other(self, kind: type[AnySettings]) -> AnySettings:
        return self.recipe.of(kind)

    def find(self, kind: type[AnySettings]) -> AnySettings | None:
        return self.recipe.find(kind)

    @property
    def own(self) -> dict[str, Any]:
        return hashed_settings(self.settings)

    def hashed(self, kind: type[AnySettings]) -> dict[str, Any] | None:
        found = self.recipe.find(kind)
        return None if found is None else hashed_settings(found)

    def shared(self, *names: Shared) -> dict[str, Any]:
        """The shared settings of these names, as fingerprints hold them."""
        recipe = self.recipe
        known: dict[str, Callable[[], Any]] = {
            "answer": lambda: recipe.answer,
            "prompt": lambda: hashed_settings(recipe.prompt),
            "open prompt": lambda: recipe.open_prompt and hashed_settings(recipe.open_prompt),
            "model": lambda: hashed_settings(recipe.model),
            "constitution": lambda: self._constitution,
            "judge": lambda: recipe.judge.path,
        }
        return {name: known[name]() for name in names}


@dataclass(frozen=True)
class Look(Generic[S]):
    """What an estimate goes by: a stage's settings, the others', and how much there is."""

    settings: S
    recipe: Recipe
    sizes: Sizes
    round: int


def whole(_: Desk[Any]) -> Sequence[Sequence[Any]]:
    """One part for the whole stage."""
    return [[None]]


def say_nothing(_: Desk[Any]) -> str:
    return ""


def cost_nothing(_: Look[Any]) -> Sequence[Cost]:
    return ()


def no_figures(_: Manifest) -> dict[str, float | None]:
    return {}


def no_mistakes(recipe: Recipe, settings: Any) -> Iterable[Mistake]:
    return ()


def always(_: Any) -> bool:
    return True


def by_uses(stage: "Stage[Any]", round_: Round[Any]) -> dict[str, Any]:
    """What a fingerprint holds of a stage that says nothing else: its own settings and the shared ones that it uses."""
    return {**round_.own, **round_.shared(*stage.uses)}


@dataclass(frozen=True)
class Stage(Generic[S]):
    """A stage of a round.

    `run` makes the records of one part; a part is finished once its file of the kind `writes` is on disk.
    """

    name: str
    version: int
    """Raised where the same settings and inputs give other records."""
    settings: type[S]
    writes: type[Record]
    run: Callable[[Sequence[Any], Desk[S]], Records]
    reads: Callable[[Round[S]], Iterable[Key]]
    parts: Callable[[Desk[S]], Sequence[Sequence[Any]]] = whole
    also: tuple[type[Record], ...] = ()
    """Kinds that it writes besides."""
    uses: tuple[Shared, ...] = ()
    """Shared settings that its records depend on; its desk shows no others."""
    depends: Callable[[Round[S]], dict[str, Any]] | None = None
    """What its fingerprint holds, where that is more than its own settings and `uses`."""
    when: Literal["first", "later", "always"] = "later"
    """In which rounds it runs: before round 1, in all later ones, or in both."""
    about: Literal["training", "held out"] = "training"
    """What it writes of held-out problems never reaches a stage that trains."""
    optional: bool = True
    """Whether it runs only where the recipe names it, or may be set to null where it runs `by_default`."""
    by_default: bool = False
    enabled: Callable[[S], bool] = always
    starts: bool = False
    """Whether it gives the first checkpoint."""
    decides: bool = False
    """Whether it says which checkpoint the next round starts from."""
    steers: bool = False
    """Whether its records change the settings of what follows it; the plan is then made anew once it is closed."""
    trains: Role | Literal[""] = ""
    needs: tuple[type[Record], ...] = ()
    """Kinds that another stage must have written before it."""
    asks: Literal["", "policy", "judge", "verifier"] = ""
    """What its parts ask, and so where a cluster makes them: an engine, or the verifiers, which need no model."""
    asks_too: Callable[[Recipe], bool] = lambda recipe: False
    """Whether it asks a model as the settings are, although `asks` names none."""
    hints: bool = False
    """Whether its prompts show a problem's answer."""
    scores: Callable[[Recipe], Sequence[str]] = lambda recipe: ()
    """The settings for which it needs log-probabilities of given texts."""
    beside: str = ""
    """The stage while which it may make whole parts of what that one has written already."""
    at_once: Callable[[Desk[S]], int] = lambda desk: 0
    """Items of such a part; 0 where it waits."""
    gathers: bool = False
    """Whether its last part follows from the records of all others."""
    gathering_asks: Callable[[Desk[S]], bool] = lambda desk: False
    """Whether that last part asks a model."""
    sections: Mapping[str, type[Settings]] = field(default_factory=dict)
    """Further groups of settings that a recipe names beside its own."""
    unit: type[Record] | None = None
    """The kind that progress counts; what it writes without it."""
    per_item: Callable[[Desk[S]], int] = lambda desk: 1
    """Units of an item of a part."""
    say: Callable[[Desk[S]], str] = say_nothing
    """One line on what it brought."""
    open: bool = False
    """Whether responses to open prompts, which have no answer, are trained by it."""
    cost: Callable[[Look[S]], Sequence[Cost]] = cost_nothing
    figures: Callable[[Manifest], Mapping[str, float | None]] = no_figures
    """What trackers are told of a closed stage besides time and tokens."""
    check: Callable[[Recipe, S], Iterable[Mistake]] = no_mistakes
    """What is wrong with a recipe that has it."""

    def gives(self, kinds: Iterable[type[Record]]) -> bool:
        """Whether it writes one of these kinds for training problems."""
        return self.about == "training" and any(kind in (self.writes, *self.also) for kind in kinds)

    def hashed(self, round_: Round[S]) -> dict[str, Any]:
        return self.depends(round_) if self.depends else by_uses(self, round_)

    @property
    def named(self) -> bool:
        """Whether a recipe may name it."""
        return self.settings is not NoSettings


def declare(stage: Stage[Any]) -> Stage[Any]:
    """Make a stage known; raises RecipeError where its name is taken by another one."""
    register("stage", stage.name, stage, stage.run)
    return stage


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut into parts; no items make one empty part, so that a stage that ran is seen to have run."""
    return [items[start : start + size] for start in range(0, len(items), size)] or [[]]


def arrange(part: Sequence[Any], records: Sequence[Record]) -> list[Record]:
    """Put the rationales of a part, which come as they finish, in the order of its problems."""
    place = {item.id: at for at, item in enumerate(part) if isinstance(item, Problem)}

    def order(record: Record) -> tuple[int, int]:
        return (place[record.problem], record.sample) if isinstance(record, Rationale) else (len(place), 0)

    return sorted(records, key=order) if place else list(records)
