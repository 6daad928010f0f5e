"""What a stage may touch while it runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from selfimprove.constitution import Constitution
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import Engine
from selfimprove.prompting.prompts import Chat, PromptFormat
from selfimprove.recipe import Model
from selfimprove.recipe.budget import Ledger
from selfimprove.records import Checkpoint, Problem, Record
from selfimprove.records.collapse import Texts
from selfimprove.settings import Settings
from selfimprove.store import Manifest
from selfimprove.store.join import Chosen
from selfimprove.store.rows import Rows
from selfimprove.tasks import Task
from selfimprove.tasks.pairs import HumanPair
from selfimprove.tasks.standard import Standard
from selfimprove.trainers.job import TrainingJob
from selfimprove.trainers.rewarding import Combine, RewardFunction

if TYPE_CHECKING:  # the verifiers take a while to import, and whoever only looks at a run needs none
    from selfimprove.verifiers.judging import Judging

S_co = TypeVar("S_co", bound=Settings, covariant=True)
T = TypeVar("T")
AnySettings = TypeVar("AnySettings", bound=Settings)
AnyRecord = TypeVar("AnyRecord", bound=Record)
Trainable: TypeAlias = Sequence[Record] | Chosen[Any]
"""Rows in the order in which they are trained."""


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
    begin: Callable[[str], str] = str
    """How a text that is to be gone on with stands after its prompt (`PromptFormat.begin`)."""


class Desk(Protocol[S_co]):
    """All that a stage may touch while it runs; what its declaration does not name in `uses` is not shown to it."""

    @property
    def settings(self) -> S_co: ...
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
        """The settings of a stage, by their class: this stage's own where it is of that class, otherwise those of the
        first one in the recipe, or the class's defaults where it has none."""
        ...

    def find(self, kind: type[AnySettings]) -> AnySettings | None:
        """The same where there is such a stage."""
        ...

    def setting(self, name: str) -> Any:
        """The value of any setting of this round by its name, `generate.temperature`; None where it is not set. The
        fingerprint of whoever asks has to hold it."""
        ...

    def refuses(self, changes: Sequence[str]) -> str:
        """What is wrong with the recipe if settings are changed as by `--set`; nothing where it is valid."""
        ...

    @property
    def ledger(self) -> Ledger | None:
        """What the run has spent so far; None where it has no budget."""
        ...

    @property
    def texts(self) -> Mapping[int, Texts]:
        """What the texts of earlier rounds are like, by round."""
        ...

    def once(self, make: Callable[["Desk[S_co]"], T]) -> T:
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

    def by_stage(self, round_: int, kind: type[AnyRecord], *names: str) -> dict[str, list[AnyRecord]]:
        """The same, apart by the stages that wrote them: one that stands twice in the flow has two names."""
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
    def pairs(self) -> Sequence[HumanPair]:
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
    def trains_full_prompt(self) -> bool:
        """Whether trained prompts hold the exemplars or the trigger that the samples were given."""
        ...

    @property
    def trains_by_margins(self) -> bool:
        """Whether a training of the flow goes by how sure its pairs are."""
        ...

    @property
    def judging(self) -> "Judging": ...

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

    def judge_model(self) -> tuple[Checkpoint, Chat | None]:
        """The recipe's judge as a model that is asked in plain words, and its chat template where it has one."""
        ...

    def weights(self, checkpoint: Checkpoint) -> str:
        """The folder of a checkpoint."""
        ...

    def count_tokens(self, prompt: str, completion: str) -> tuple[int, int]:
        """The tokens of a prompt and of its completion with the end, as they would be trained."""
        ...

    def import_models(self) -> None:
        """Import what loads models, on the imports' account."""
        ...

    def rewards(self, checkpoints: Sequence[Checkpoint], combine: Combine = "mean") -> RewardFunction:
        """What reward models say of texts; the engine makes room for them."""
        ...

    def train(self, job: type[TrainingJob], rows: Trainable, start: Checkpoint | None, **given: object) -> Checkpoint:
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

    def note(self, name: str, value: object) -> None:
        """Put a figure into the stage's manifest; a mapping is merged into one that is there."""
        ...

    def count(self, name: str, value: int) -> None:
        """Put a figure into the stage's manifest that is the sum over its parts, each of which says it once."""
        ...
