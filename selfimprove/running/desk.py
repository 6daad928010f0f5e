"""What one stage may touch while it runs: the part of the session that its declaration names."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from selfimprove.constitution import Constitution
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import Engine
from selfimprove.prompting.prompts import Chat, PromptFormat, encode_completion, encode_prompt
from selfimprove.recipe import Model
from selfimprove.recipe.budget import Ledger
from selfimprove.recipe.flow import flow_of, trains_by_margins, trains_full_prompt
from selfimprove.records import Checkpoint, Problem, Record, by_id
from selfimprove.records.collapse import Texts
from selfimprove.running.decisions import RecipeSettings
from selfimprove.running.engine_slot import EngineOf
from selfimprove.running.journaled import JournaledEngine, scored_at_once, written_at_once
from selfimprove.running.plan import PlannedStage, ancestors
from selfimprove.running.rewarding import load_rewards
from selfimprove.running.session import Session
from selfimprove.running.training import train
from selfimprove.settings import Settings
from selfimprove.stages.base import Key, Shared, Trainable, Writer
from selfimprove.store import Manifest, StageFolder
from selfimprove.store.journal import Journal
from selfimprove.store.rows import Rows, join_rows
from selfimprove.store.usage import COUNTED
from selfimprove.tasks import Task
from selfimprove.tasks.pairs import HumanPair
from selfimprove.tasks.standard import Standard
from selfimprove.trainers.job import TrainingJob
from selfimprove.trainers.rewarding import Combine, RewardFunction
from selfimprove.verifiers.judging import Judging

AnyRecord = TypeVar("AnyRecord", bound=Record)
AnySettings = TypeVar("AnySettings", bound=Settings)


class StageDesk:
    """The desk of a planned stage (`stages.desk.Desk`)."""

    def __init__(self, stage: PlannedStage, session: Session) -> None:
        self.stage, self.session = stage, session
        self.disk: StageFolder = session.folder.stage(*stage.key, stage.fingerprint)
        self.settings: Any = stage.own
        self.round, self.name, self.title = stage.round, stage.name, str(stage)
        self.seed, self.run = stage.recipe.seed, session.folder.called
        self.folder: Path = self.disk.path
        self.trains_full_prompt = trains_full_prompt(stage.recipe)
        self.trains_by_margins = trains_by_margins(stage.recipe)
        self.journal: Journal | None = None  # of the part that is being made
        self._made: dict[Any, Any] = {}

    def other(self, kind: type[AnySettings]) -> AnySettings:
        return self.find(kind) or kind()

    def find(self, kind: type[AnySettings]) -> AnySettings | None:
        own = self.settings
        return own if type(own) is kind else self.stage.recipe.find(kind)

    def setting(self, name: str) -> Any:
        return RecipeSettings(self.stage.recipe).setting(name)

    def refuses(self, changes: Sequence[str]) -> str:
        return RecipeSettings(self.stage.recipe).refuses(changes)

    @property
    def ledger(self) -> Ledger | None:
        return self.session.ledger()

    @property
    def texts(self) -> Mapping[int, Texts]:
        return {at: found for at, found in self.session.texts().items() if at < self.round}

    def once(self, make: Callable[[Any], Any]) -> Any:
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    # --- what earlier stages wrote

    def read(self, kind: type[AnyRecord], *names: str) -> list[AnyRecord]:
        return self.read_of(self.round, kind, *names)

    def by_id(self, kind: type[AnyRecord], *names: str) -> dict[str, AnyRecord]:
        asked = ("by id", kind, names)
        if asked not in self._made:
            self._made[asked] = by_id(self.read(kind, *names))
        found: dict[str, AnyRecord] = self._made[asked]
        return found

    def read_of(self, round_: int, kind: type[AnyRecord], *names: str) -> list[AnyRecord]:
        return [one for key in self._keys(round_, kind, names) for one in self.session.read(key, kind)]

    def by_stage(self, round_: int, kind: type[AnyRecord], *names: str) -> dict[str, list[AnyRecord]]:
        return {key[1]: self.session.read(key, kind) for key in self._keys(round_, kind, names)}

    def _keys(self, round_: int, kind: type[Record], names: Sequence[str]) -> list[Key]:
        """The stages of a round that this one reads and that may have written a kind, in the order of the flow.

        Of an earlier round a stage is also shown where it is asked for by name and this one reads it through others,
        as `select` does what `revise` took up: its fingerprint covers that too.
        """
        place = {step.name: at for at, step in enumerate(flow_of(self.session.recipe))}
        shown = ancestors(self.session.plan, self.stage.key) if names and round_ < self.round else self.stage.reads
        found = []
        for key in sorted((one for one in shown if one[0] == round_), key=lambda one: place[one[1]]):
            declared = self.session.plan[key].declared
            if kind in (declared.writes, *declared.also) and (not names or declared.name in names):
                found.append(key)
        return found

    def written(self, kind: type[AnyRecord]) -> list[AnyRecord]:
        if self.disk.manifest() is None:
            return self.disk.read(kind)
        return self.session.read(self.stage.key, kind)

    def scan(self, kind: type[AnyRecord], *names: str) -> Rows[AnyRecord]:
        return self.scan_of(self.round, kind, *names)

    def scan_of(self, round_: int, kind: type[AnyRecord], *names: str) -> Rows[AnyRecord]:
        return join_rows(kind, (self.session.disk(key).rows(kind) for key in self._keys(round_, kind, names)))

    def scan_written(self, kind: type[AnyRecord]) -> Rows[AnyRecord]:
        return self.disk.rows(kind)

    @property
    def manifest(self) -> Manifest | None:
        return self.disk.manifest()

    # --- the run's data

    @property
    def task(self) -> Task:
        return self.session.inputs.task

    @property
    def held_out(self) -> Sequence[Problem]:
        return self.session.inputs.held_out

    @property
    def held_out_tasks(self) -> Sequence[Task]:
        return self.session.inputs.held_out_tasks

    @property
    def pairs(self) -> Sequence[HumanPair]:
        return self.session.inputs.pairs

    @property
    def standards(self) -> Mapping[str, Standard]:
        return self.session.inputs.standards

    def draw_open(self) -> list[Problem]:
        return self.session.inputs.draw_open(self.round)

    @property
    def prompts(self) -> PromptFormat:
        self._needs("prompt")
        return self.session.prompts

    @property
    def prompter(self) -> Prompter:
        self._needs("constitution")
        assert self.session.prompter is not None
        return self.session.prompter

    @property
    def constitution(self) -> Constitution:
        self._needs("constitution")
        assert self.session.inputs.constitution is not None
        return self.session.inputs.constitution

    @property
    def model(self) -> Model:
        self._needs("model")
        return self.stage.recipe.model

    @property
    def judging(self) -> Judging:
        journal = self.journal
        if journal is None:
            return self.session.judging
        return self.session.judging.remembering(journal, lambda asked: self.session.ask(asked, self._journaled))

    def _needs(self, shared: Shared) -> None:
        if shared not in self.stage.declared.uses:
            raise TypeError(f"'{self.name}' touches '{shared}', which its declaration does not name in 'uses'")

    # --- models

    @property
    def incumbent(self) -> Checkpoint:
        return self.session.incumbent(self.stage.key)

    @property
    def first_checkpoint(self) -> Checkpoint:
        return self.session.first_checkpoint()

    @property
    def trained(self) -> Checkpoint:
        return self.session.trained(self.stage.key)

    def engine(self, checkpoint: Checkpoint) -> Engine:
        return self._journaled(self.session.engine(checkpoint), checkpoint)

    def _journaled(self, engine: Engine, checkpoint: Checkpoint) -> Engine:
        journal, recipe = self.journal, self.stage.recipe
        if journal is None:
            return engine
        written, scored = written_at_once(recipe), scored_at_once(recipe)
        return JournaledEngine(engine, checkpoint.id, journal, self.session.clock, written=written, scored=scored)

    def writer(self, checkpoint: Checkpoint) -> Writer:
        return Writer(
            engine=self._journaled(EngineOf(checkpoint, self.session.slot), checkpoint),  # loaded once it is asked
            checkpoint=checkpoint.id,
            extract_answer=self.judging.extract_answer,
            stop=self.prompts.stop,
            round=self.round,
            seed=self.seed,
            begin=self.prompts.begin,
        )

    def judge(self) -> tuple[Checkpoint, Prompter]:
        self._needs("judge")
        return self.session.judge()

    def judge_model(self) -> tuple[Checkpoint, Chat | None]:
        self._needs("judge")
        return self.session.judge_model()

    def weights(self, checkpoint: Checkpoint) -> str:
        return self.session.weights(checkpoint)

    def count_tokens(self, prompt: str, completion: str) -> tuple[int, int]:
        tokenizer, end, chat = self.once(_tokenizer_of)
        ids = encode_prompt(tokenizer, prompt, chat=chat)
        return len(ids), len(encode_completion(tokenizer, completion, end))

    def import_models(self) -> None:
        self.session.import_models()

    def rewards(self, checkpoints: Sequence[Checkpoint], combine: Combine = "mean") -> RewardFunction:
        return load_rewards(self.session, checkpoints, combine, lambda: self.journal)

    def train(self, job: type[TrainingJob], rows: Trainable, start: Checkpoint | None, **given: object) -> Checkpoint:
        return train(self.stage, self.session, job, rows, start, given)

    # --- what it leaves behind

    def keep(self, number: int, records: Sequence[Record]) -> None:
        kinds = {kind.kind for kind in self.stage.declared.also}
        if unknown := {one.kind for one in records} - kinds:
            raise TypeError(f"'{self.name}' keeps a {min(unknown)}, which its declaration does not name in 'also'")
        self.disk.keep(number, records)

    def kept(self, kind: type[AnyRecord]) -> list[AnyRecord]:
        return self.disk.read(kind)

    def note(self, name: str, value: object) -> None:
        metrics = self.session.clock.metrics
        there = metrics.get(name)
        metrics[name] = {**there, **value} if isinstance(there, dict) and isinstance(value, dict) else value

    def count(self, name: str, value: int) -> None:
        self.session.clock.metrics.setdefault(COUNTED, {})[name] = value


def _tokenizer_of(desk: StageDesk) -> tuple[Any, int, bool]:
    """The tokenizer of the policy, the token that ends a completion, and whether a chat template writes prompts."""
    from selfimprove.engines.models import read_tokenizer
    from selfimprove.prompting.chat import find_end

    desk.import_models()
    weights = desk.session.describe_weights(desk.trained)
    tokenizer = read_tokenizer(weights.path, weights.base)
    return tokenizer, find_end(tokenizer, chat=weights.chat), weights.chat
