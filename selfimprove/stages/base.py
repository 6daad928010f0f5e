"""What a stage is: one declaration, by which loop, plan, schema, estimate, status, trackers and viewer know it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from selfimprove.recipe import Recipe
from selfimprove.recipe.catalog import Mistake, register
from selfimprove.records import Problem, Rationale, Record, Role
from selfimprove.settings import Settings
from selfimprove.stages.cost import Ahead, Cost, CutOff, Look, Sizes
from selfimprove.stages.desk import Desk, Trainable, Writer
from selfimprove.stages.round import SHOWN, Key, Round, Shared
from selfimprove.store import Manifest

__all__ = [
    "SHOWN", "Ahead", "Cost", "CutOff", "Desk", "Key", "Look", "NoSettings", "Records", "Round", "Shared", "Sizes",
    "Stage", "Trainable", "Writer", "arrange", "chunks", "declare",
]  # fmt: skip

S = TypeVar("S", bound=Settings)
Records: TypeAlias = Iterable[Record]


class NoSettings(Settings):
    """Of a stage in which there is nothing to choose."""


def whole(_: Desk[Settings]) -> Sequence[Sequence[Any]]:
    """One part for the whole stage."""
    return [[None]]


def say_nothing(_: Desk[Settings]) -> str:
    return ""


def cost_nothing(_: Look[Settings]) -> Sequence[Cost]:
    return ()


def same_sizes(ahead: Ahead[Settings]) -> Sizes:
    return ahead.sizes


def no_lines(_: Ahead[Settings]) -> Iterable[str]:
    return ()


def no_figures(_: Manifest) -> dict[str, float | None]:
    return {}


def no_mistakes(recipe: Recipe, settings: object) -> Iterable[Mistake]:
    return ()


def always(_: object) -> bool:
    return True


def by_uses(stage: "Stage[Any]", round_: Round[Settings]) -> dict[str, object]:
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
    applies: Callable[[Recipe], bool] = always
    """Whether a recipe has something for it; where not it does not run."""
    starts: bool = False
    """Whether it gives the first checkpoint."""
    decides: bool = False
    """Whether it says which checkpoint the next round starts from."""
    steers: bool = False
    """Whether its records change the settings of what follows it; the plan is then made anew once it is closed."""
    trains: Role | Literal[""] = ""
    loss_tells: bool = True
    """Whether the loss of its training says how that goes."""
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
    apart: bool = False
    """Whether a cluster makes its parts on many machines although they ask nothing: there is enough to do in each."""
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
    sizes: Callable[[Ahead[S]], Sizes] = same_sizes
    """How many records a round has after it, at most."""
    remarks: Callable[[Ahead[S]], Iterable[str]] = no_lines
    """A line for each thing that the recipe asks for and the data cannot give."""
    ahead: Callable[[Ahead[S]], Iterable[str]] = no_lines
    """What `plan` says of it besides."""
    charts: Literal["loss", "figures"] = "loss"
    """What is worth looking at by step of a training: its loss, or figures of texts that were written meanwhile."""
    figures: Callable[[Manifest], Mapping[str, float | None]] = no_figures
    """What trackers are told of a closed stage besides time and tokens."""
    check: Callable[[Recipe, S], Iterable[Mistake]] = no_mistakes
    """What is wrong with a recipe that has it."""

    @property
    def evaluates(self) -> bool:
        """Whether it answers held-out problems, in every round."""
        return self.about == "held out" and self.when == "always" and Rationale in (self.writes, *self.also)

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


def chunks(items: Sequence[object], size: int) -> list[Sequence[Any]]:
    """Cut into parts; no items make one empty part, so that a stage that ran is seen to have run."""
    return [items[start : start + size] for start in range(0, len(items), size)] or [[]]


def arrange(part: Sequence[object], records: Sequence[Record]) -> list[Record]:
    """Put the rationales of a part, which come as they finish, in the order of its problems, and after them what was
    made of each in the same order: which ones finish first differs where a part goes on after a kill."""
    place = {item.id: at for at, item in enumerate(part) if isinstance(item, Problem)}
    found = {one.id: (place[one.problem], one.sample) for one in records if isinstance(one, Rationale)} if place else {}
    last = (len(place), 0)

    def order(record: Record) -> tuple[int, int, int]:
        if isinstance(record, Rationale):
            return 0, *found[record.id]
        return 1, *(found.get(record.parents[0], last) if record.parents else last)

    return sorted(records, key=order) if place else list(records)
