"""What a stage may name while the plan is made."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from selfimprove.recipe import Recipe
from selfimprove.recipe.flow import Step
from selfimprove.records import Example, Record
from selfimprove.settings import Settings, hashed_settings

S_co = TypeVar("S_co", bound=Settings, covariant=True)
AnySettings = TypeVar("AnySettings", bound=Settings)
Key: TypeAlias = tuple[int, str]  # round, name in the flow
Shared = Literal["answer", "prompt", "open prompt", "model", "constitution", "judge"]
SHOWN: tuple[Shared, ...] = ("answer", "prompt", "open prompt", "model")
"""What the text of a completion depends on besides a stage's own settings."""


class Round(Generic[S_co]):
    """What a stage may name while the plan is made: other stages of the flow, settings, and what fingerprints hold."""

    def __init__(
        self,
        number: int,
        name: str,
        settings: S_co,
        *,
        flow: Sequence[Step],
        recipe: Recipe,
        data: str = "",
        constitution: str = "",
        parent: int | None = None,
    ) -> None:
        """`data` and `constitution` are hashes of what the recipe only names; `parent` is the round at whose end the
        checkpoint was kept that this one starts from, by default the one before."""
        self.number, self.name, self.settings, self.recipe, self.data = number, name, settings, recipe, data
        self._flow, self._constitution = flow, constitution
        self._parent = number - 1 if parent is None else parent
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
        if self._parent < 1:
            return self.start
        deciding = [step.name for step in self._flow if step.stage.decides or step.stage.trains == "policy"]
        later = [name for name in deciding if name != self.start[1]]
        return (self._parent, later[-1]) if later else self.start

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
        mine = [step.name for step in self._flow if step.stage.evaluates]
        return [(one, name) for one in range(self.number) for name in mine] + [
            (self.number, step.name) for step in self._before() if step.name in mine
        ]

    def _before(self) -> Iterator[Step]:
        return (step for step in self._flow[: self._place] if step.stage.when != "first" or not self.number)

    # --- settings, and what a fingerprint holds of them

    def other(self, kind: type[AnySettings]) -> AnySettings:
        return self.find(kind) or kind()

    def find(self, kind: type[AnySettings]) -> AnySettings | None:
        own: Any = self.settings  # of a stage that stands twice in a flow its own, and not the first one's
        return own if type(own) is kind else self.recipe.find(kind)

    @property
    def own(self) -> dict[str, Any]:
        return hashed_settings(self.settings)

    def hashed(self, kind: type[AnySettings]) -> dict[str, Any] | None:
        found = self.find(kind)
        return None if found is None else hashed_settings(found)

    def shared(self, *names: Shared) -> dict[str, object]:
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
