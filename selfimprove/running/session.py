"""A run at work: its inputs, its plan, what was read of it, its clock, and the one engine that it has at a time."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import Engine, Weights, check_installed
from selfimprove.prompting.prompts import Chat, PromptFormat
from selfimprove.recipe import Recipe
from selfimprove.recipe.budget import Ledger
from selfimprove.recipe.flow import flow_of
from selfimprove.records import KINDS, Action, Checkpoint, Promotion, Record
from selfimprove.records.base import AnyRecord
from selfimprove.records.collapse import Texts
from selfimprove.running.clock import Clock
from selfimprove.running.engine_slot import EngineSlot, import_models, load_with_recipe
from selfimprove.running.inputs import Inputs
from selfimprove.running.plan import Plan, PlannedStage, build_plan
from selfimprove.running.report import Report, Silent
from selfimprove.running.upkeep import check_freed
from selfimprove.stages.base import Key
from selfimprove.stages.verify import Verify
from selfimprove.store import RunFolder, StageFolder
from selfimprove.store.collapse import read_texts, why_collapsed
from selfimprove.store.ledger import Costs, describe_end, read_ledger
from selfimprove.store.weights import check_weights, locate_weights
from selfimprove.verifiers.judge import Conversation
from selfimprove.verifiers.judging import Judging, ask_engine

Loader = Callable[[Checkpoint, "Session"], Engine]


class Session:
    """What all stages of a run share; raises TaskError where training and held-out problems overlap."""

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        *,
        load: Loader | None = None,
        report: Report | None = None,
    ) -> None:
        starts = recipe.engine.name == "server" and recipe.engine.server.start
        check_installed("vllm" if starts else recipe.engine.name)
        self.recipe, self.folder = recipe, folder
        self.report: Report = report or Silent()
        self.clock = Clock()
        self.inputs = Inputs(recipe, folder.path)
        self.judging = Judging(recipe.of(Verify), recipe.judge, self.inputs.tasks, self.ask)
        loader = load or load_with_recipe
        self.slot = EngineSlot(recipe, self.clock, lambda checkpoint: loader(checkpoint, self), self.describe_weights)
        self.plan: Plan = self.make_plan()
        self._costs: Costs = {}
        self._chats: dict[str, bool] = {}  # by checkpoint: what another model than the run's own was trained to read
        self._records: dict[tuple[Key, type[Record]], list[Any]] = {}
        self._disks: dict[tuple[Key, str], StageFolder] = {}

    # --- the plan

    def make_plan(self) -> Plan:
        """The plan by what steering stages have decided so far."""
        inputs = self.inputs
        constitution = inputs.constitution.hash if inputs.constitution else ""
        data = inputs.data(self.judging.identity())
        actions: dict[Key, Action] = {}
        plan = build_plan(self.recipe, data, constitution, actions)
        while key := next((one for one in plan if one not in actions and self._has_steered(plan[one])), None):
            actions[key] = self.folder.stage(*key, plan[key].fingerprint).read(Action)[0]
            plan = build_plan(self.recipe, data, constitution, actions)
        return plan

    def _has_steered(self, stage: PlannedStage) -> bool:
        """Whether a steering stage is closed as the plan has it."""
        if not stage.declared.steers or stage.bounded:
            return False
        disk = self.folder.stage(*stage.key, stage.fingerprint)
        return disk.opened_as() == stage.fingerprint and disk.closed

    def ledger(self) -> Ledger | None:
        """What was spent so far, by what lies on disk; None where there is no budget."""
        return read_ledger(self.folder, self.recipe, self._costs)

    def texts(self) -> dict[int, Texts]:
        """What the texts of each round are like, by what lies on disk."""
        return read_texts([one for stage in self.folder.stages() if (one := stage.manifest())])

    def why_ended(self, stage: PlannedStage) -> str:
        """Why a stage is not begun: the budget is spent, or texts have collapsed in the rounds before; or nothing."""
        if (ledger := self.ledger()) and not ledger.left:
            return describe_end(ledger)
        texts = self.texts() if self.recipe.stop_at_collapse else {}
        # What a round has begun it does to its end.
        return why_collapsed(texts, self.recipe) if stage.round > max(texts, default=stage.round) else ""

    # --- prompts and judges

    @property
    def prompts(self) -> PromptFormat:
        """The prompt format; a model's chat template is read on the imports' account."""
        if self.recipe.prompt.chat == "auto" and self.recipe.model.path:
            self.import_models()
        return self.inputs.prompts

    @cached_property
    def prompter(self) -> Prompter | None:
        """What writes prompts by the constitution, in the form of the recipe's other prompts."""
        constitution = self.inputs.constitution
        return Prompter(constitution, self.prompts.chat) if constitution else None

    def ask(
        self, conversations: Sequence[Conversation], by: Callable[[Engine, Checkpoint], Engine] = lambda one, _: one
    ) -> list[str | None]:
        """What the judge's model answers to conversations, greedily; `by` puts an engine in the place of its own."""
        checkpoint, chat = self.judge_model()
        engine = by(self.engine(checkpoint), checkpoint)
        return ask_engine(engine, conversations, chat=chat, max_tokens=self.recipe.judge.max_tokens)

    def judge_model(self) -> tuple[Checkpoint, Chat | None]:
        """The model that judges, and its chat template."""
        settings = self.recipe.judge
        if settings.path is None:
            checkpoint, path = self.first_checkpoint(), self.recipe.model.path
        else:
            checkpoint, path = Checkpoint(path=settings.path, method="base", weights=""), settings.path
        chat = None
        if path and self.recipe.prompt.chat == "auto":
            from selfimprove.engines.models import load_chat

            self.import_models()
            chat = load_chat(path, self.folder.path)
        if settings.path is not None:
            self._chats[checkpoint.id] = chat is not None
        return checkpoint, chat

    def reads_chat(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint's prompts are written by a chat template."""
        return self._chats.get(checkpoint.id, self.prompts.chat is not None)

    def judge(self) -> tuple[Checkpoint, Prompter]:
        """The model that compares responses, and what writes its prompts by the constitution."""
        assert self.inputs.constitution is not None
        checkpoint, chat = self.judge_model()
        return checkpoint, Prompter(self.inputs.constitution, chat)

    # --- records

    def read(self, key: Key, kind: type[AnyRecord]) -> list[AnyRecord]:
        """A stage's records, read once."""
        if (key, kind) not in self._records:
            self._records[key, kind] = self.disk(key).read(kind)
        return self._records[key, kind]

    def disk(self, key: Key) -> StageFolder:
        """A stage's folder, whose files are checked once."""
        fingerprint = self.plan[key].fingerprint
        if (key, fingerprint) not in self._disks:
            self._disks[key, fingerprint] = self.folder.stage(*key, fingerprint)
        return self._disks[key, fingerprint]

    def remember(self, key: Key, records: Sequence[Record]) -> None:
        """Keep a stage's records that were just written, which spares reading them back."""
        for kind in KINDS.values():
            self._records[key, kind] = [record for record in records if isinstance(record, kind)]

    def forget(self, round_: int) -> None:
        """Drop what was read of rounds before `round_`, but for round 0."""
        self._records = {(key, kind): found for (key, kind), found in self._records.items() if not 0 < key[0] < round_}

    # --- checkpoints

    def first_checkpoint(self) -> Checkpoint:
        start = next(step.name for step in flow_of(self.recipe) if step.stage.starts)
        return self.read((0, start), Checkpoint)[-1]

    def incumbent(self, key: Key) -> Checkpoint:
        """The checkpoint that a stage's round starts from: the one that was kept at the end of its parent."""
        return self.kept_after(self.plan[key].parent)

    def kept_after(self, round_: int) -> Checkpoint:
        """The checkpoint that was kept at the end of a round: the one that was promoted last, or trained last where no
        stage decides."""
        if round_ <= 0:
            return self.first_checkpoint()
        deciding = self._of_round(round_, lambda stage: stage.decides)
        if not deciding:
            trained = self._of_round(round_, lambda stage: stage.trains == "policy")
            last = [key for key in self.plan if key[0] == round_][-1]
            return self._checkpoint(trained[-1]) if trained else self.incumbent(last)
        promotion: Promotion = self.read(deciding[-1], Promotion)[0]
        for before in range(round_, 0, -1):
            for key in reversed(self._of_round(before, lambda stage: stage.trains == "policy")):
                checkpoint = self._checkpoint(key)
                if checkpoint.id == promotion.checkpoint:
                    return checkpoint
        return self.first_checkpoint()

    def trained(self, key: Key) -> Checkpoint:
        """The policy as the stages before one leave it."""
        round_, name = key
        if not round_:
            return self.first_checkpoint()
        names = [stage.name for stage in self.plan.values() if stage.round == round_]
        before = set(names[: names.index(name)])
        mine = [one for one in self._of_round(round_, lambda stage: stage.trains == "policy") if one[1] in before]
        return self._checkpoint(mine[-1]) if mine else self.incumbent(key)

    def _of_round(self, round_: int, chosen: Callable[[Any], bool]) -> list[Key]:
        return [key for key, stage in self.plan.items() if key[0] == round_ and chosen(stage.declared)]

    def _checkpoint(self, key: Key) -> Checkpoint:
        found: Checkpoint = self.read(key, Checkpoint)[-1]
        return found

    def weights(self, checkpoint: Checkpoint) -> str:
        """Where a checkpoint lies; raises StoreError where its weights are not the recorded ones."""
        check_freed(self.folder, checkpoint.path)
        first = self.first_checkpoint() if checkpoint.base is not None else None
        check_weights(self.folder, checkpoint, first)
        return str(self.locate(checkpoint.path))

    def check_start(self) -> None:
        """Raise StoreError where the given model that the run began with was changed since; it is read once."""
        stage = next(one for one in self.plan.values() if one.declared.starts)
        if not stage.declared.optional and self.folder.stage(*stage.key).manifest():
            check_weights(self.folder, self.first_checkpoint())

    def locate(self, path: str) -> Path | str:
        """Where a folder of weights lies: relative paths are the run's own."""
        return locate_weights(self.folder, path)

    def describe_weights(self, checkpoint: Checkpoint) -> Weights:
        """What an engine needs to know of a checkpoint."""
        from selfimprove.engines.model_files import read_base
        from selfimprove.engines.model_folders import resolve_folder

        path = self.weights(checkpoint)
        base = read_base(resolve_folder(path)) if checkpoint.base is None else str(self.locate(checkpoint.base))
        return Weights(path, base, self.reads_chat(checkpoint), checkpoint.weights)

    # --- the engine

    def engine(self, checkpoint: Checkpoint) -> Engine:
        return self.slot.engine(checkpoint)

    def import_models(self) -> None:
        """Import what loads models, on the imports' account."""
        import_models(self.recipe, self.clock)

    def close(self) -> None:
        """Free the engine, and give the collector back what `import_models` took from it."""
        import gc

        self.slot.close()
        self.judging.close()
        gc.unfreeze()
