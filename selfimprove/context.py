"""What the stages of a run share: the folder, the tasks, the prompts, one engine at a time, and the clock."""

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, Protocol

from selfimprove.constitution import load_constitution
from selfimprove.constitution.transcript import Prompter
from selfimprove.engines import (
    Completion,
    Engine,
    Noting,
    Request,
    Score,
    Swapping,
    Weights,
    check_installed,
    load_engine,
)
from selfimprove.errors import EngineError, TaskError
from selfimprove.judging import Judging, ask_engine
from selfimprove.memory import Phases
from selfimprove.plan import Key, Plan, PlannedStage, build_plan, last_training, start_stage
from selfimprove.prompts import Chat, Exemplar, PromptFormat, load_exemplars
from selfimprove.recipe import Recipe, Sampling
from selfimprove.records import KINDS, Checkpoint, Problem, Promotion, Record, derive_seed, digest
from selfimprove.store import Manifest, RunFolder
from selfimprove.task_settings import ScoredTask
from selfimprove.tasks import Task, check_disjoint, load_task
from selfimprove.tasks.base import draw_evenly, question_key, take
from selfimprove.tasks.standard import Standard
from selfimprove.verifiers.judge import Conversation

Loader = Callable[[Checkpoint, "Context"], Engine]


class Report(Protocol):
    """What a run tells whoever watches; `done` and `total` count a stage's records or training steps."""

    def begin(self, stage: PlannedStage) -> None: ...

    def progress(self, done: int, total: int, note: str = "") -> None: ...

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None: ...


class Silent:
    """A report that nobody reads."""

    def begin(self, stage: PlannedStage) -> None: ...

    def progress(self, done: int, total: int, note: str = "") -> None: ...

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None: ...


@dataclass
class Clock:
    """Where the time goes: `lap` gives what was spent since the last lap."""

    model: float = 0.0
    imports: float = 0.0
    tokens: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)
    cpu: Callable[[], float] = time.process_time
    """A thread that works beside others has a clock with `time.thread_time`."""
    beside: Callable[[], float] | None = None
    """CPU seconds of such a thread so far, which its own clock counts and this one does not."""
    _loaded: float = 0.0
    _worked: float = 0.0
    _held: float | None = None
    _elsewhere: float = 0.0
    _wall: float = field(default_factory=time.perf_counter)
    _cpu: float = field(init=False)

    def __post_init__(self) -> None:
        self._cpu = self.cpu()

    @contextmanager
    def time_model(self) -> Iterator[None]:
        yield from self._time("model")

    @contextmanager
    def time_imports(self) -> Iterator[None]:
        yield from self._time("imports")

    def _time(self, account: Literal["model", "imports"]) -> Iterator[None]:
        started = time.perf_counter()
        self._count_held(started)
        loaded = self._loaded
        try:
            yield
        finally:
            now = time.perf_counter()
            self._count_held(now)
            setattr(self, account, getattr(self, account) + now - started)
            self._worked += self._loaded - loaded  # an engine may have been closed or loaded meanwhile

    def hold(self) -> None:
        """An engine is loaded from now on: while it neither writes nor scores, it is idle."""
        if self._held is None:
            self._held = time.perf_counter()

    def release(self) -> None:
        """The engine is closed."""
        self._count_held(time.perf_counter())
        self._held = None

    def _count_held(self, now: float) -> None:
        if self._held is not None:
            self._loaded, self._held = self._loaded + now - self._held, now

    def end_beside(self) -> None:
        """The thread that worked beside is at its end."""
        self._elsewhere += self.beside() if self.beside else 0.0
        self.beside = None

    def count(self, **tokens: int) -> None:
        for name, count in tokens.items():
            self.tokens[name] = self.tokens.get(name, 0) + count

    def lap(self) -> dict[str, Any]:
        wall, cpu = time.perf_counter(), self.cpu() - self._elsewhere - (self.beside() if self.beside else 0.0)
        self._count_held(wall)
        if phases := self.phases.lap():
            self.metrics["phases"] = [one.model_dump() for one in phases]
        lap = {
            "wall": wall - self._wall,
            "elapsed": wall - self._wall,
            "model": self.model,
            "imports": self.imports,
            "cpu": cpu - self._cpu,
            "loaded": self._loaded,
            "idle": max(0.0, self._loaded - self._worked),
            "tokens": self.tokens,
            "metrics": self.metrics,
        }
        self._wall, self._cpu = wall, cpu
        self.model, self.imports, self.tokens, self.metrics = 0.0, 0.0, {}, {}
        self._loaded = self._worked = 0.0
        return lap


class ClockedEngine:
    """An engine whose time and tokens are counted."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine, self.clock = engine, clock
        clock.hold()

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        completions = iter(self.engine.generate(requests, sampling, stop))
        while True:
            with self.clock.time_model():
                completion = next(completions, None)
            if completion is None:
                self._note()
                return
            self.clock.count(written=completion.tokens)
            yield completion

    def score(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[Score]:
        with self.clock.time_model():
            scores = self.engine.score(pairs, end=end)
        self._note()
        self.clock.count(scored=sum(score.tokens for score in scores))
        return scores

    def _note(self) -> None:
        if isinstance(self.engine, Noting):
            self.clock.metrics.update(self.engine.take_notes())

    def close(self) -> None:
        self.engine.close()
        self.clock.release()


class Context:
    """The run's surroundings; raises TaskError where training and held-out problems overlap."""

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
        self.plan: dict[Key, PlannedStage] = {}
        self._load = load or load_with_recipe
        self._engine: tuple[str, ClockedEngine] | None = None
        self._rested = False  # the engine gave its memory back, and what it loads again is to be proved again
        self._expected: tuple[float, ...] | None = None  # the canary's log-probabilities with the weights served last
        self._chats: dict[str, bool] = {}  # by checkpoint: what another model than the run's own was trained to read
        self._records: dict[tuple[Key, type[Record]], list[Any]] = {}
        self.exemplars = load_exemplars(recipe.prompt.exemplars, recipe.prompt.shots)
        apart = recipe.open_prompt
        self.open_exemplars = load_exemplars(apart.exemplars, apart.shots) if apart else ()
        self.task: Task = load_task(recipe.train)
        if not self.task.levels and (recipe.rounds or recipe.stages.evaluate.training):
            raise TaskError(f"task '{self.task.name}' has no problems to train on here; use it in 'evaluate_on'")
        self.open_task: Task | None = load_task(recipe.open) if recipe.open else None
        self.held_out_tasks: list[Task] = [load_task(one) for one in recipe.evaluate_on] or [self.task]
        limit, training = recipe.stages.evaluate.limit, recipe.stages.evaluate.training
        self.held_out: list[Problem] = take([one for task in self.held_out_tasks for one in task.held_out()], limit)
        if training:  # a recipe without rounds, which trains on nothing
            self.held_out = draw_evenly(self.task, training, derive_seed(recipe.seed, "training problems"))
        else:
            check_disjoint([self.task, *([self.open_task] if self.open_task else [])], self.held_out)
        self.scored = {task.name for task in self.held_out_tasks if task.scored}
        self.standards = self._find_standards()
        self.constitution = load_constitution(recipe.constitution) if recipe.constitution else None
        self.pairs = self._load_pairs()
        self.judging = Judging(recipe, self._tasks(), self._ask)

    def data(self) -> str:
        """The hash of everything that the records depend on and no setting says: problems, exemplars, verifiers."""
        tasks = [task.fingerprint() for task in self._tasks()]
        shown_sets = (self.exemplars, self.open_exemplars, *self.own_exemplars.values())
        exemplars = [[one.model_dump() for one in shown] for shown in shown_sets]
        standards = [
            one.fingerprint([problem for problem in self.held_out if problem.task == name])
            for name, one in self.standards.items()
        ]
        found = (tasks, exemplars, self.judging.identity(), *(one.id for one in self.pairs))
        return digest(*found, *(["standards", standards] if standards else []))

    @cached_property
    def own_exemplars(self) -> dict[str, tuple[Exemplar, ...]]:
        """The exemplars that tasks bring, where the recipe names no file; raises TaskError where one should and does
        not."""
        if self.recipe.prompt.exemplars or not self.recipe.prompt.style.startswith("few-shot"):
            return {}
        # A scored prompt stands as it is, and open ones may have a format of their own.
        apart = "prompts/" if self.recipe.open_prompt else "\0"
        shown = [task for task in self._tasks() if not task.scored and not task.name.startswith(apart)]
        found = {task.name: tuple(task.exemplars)[: self.recipe.prompt.shots] for task in shown}
        without = next((name for name, exemplars in found.items() if not exemplars), None)
        if without:
            raise TaskError(f"task '{without}': brings no exemplars here; name a file with 'prompt.exemplars'")
        return found

    def _find_standards(self) -> dict[str, Standard]:
        """By task: the prompts of the standard that the evaluation asks by; raises TaskError where no task has one."""
        name = self.recipe.stages.evaluate.standard
        if name is None:
            return {}
        found = {task.name: task.standards[name] for task in self.held_out_tasks if name in task.standards}
        if not found:
            names = ", ".join(task.name for task in self.held_out_tasks)
            raise TaskError(
                f"evaluate.standard: {name} has no prompts for {names}; it has them for gsm8k, mmlu/SUBJECT and, "
                f"from a local copy with its cot-prompts, bbh/TASK"
            )
        return found

    def _tasks(self) -> list[Task]:
        return [*self.held_out_tasks, self.task, *([self.open_task] if self.open_task else [])]

    def _load_pairs(self) -> list[Problem]:
        """Pairs that people chose between: problems whose answer is preferred to their other options."""
        prefer = self.recipe.stages.prefer
        if prefer is None or prefer.files is None:
            return []
        settings = ScoredTask(name="scored/pairs", path=prefer.files.path, held_out=sys.maxsize)
        pairs = list(load_task(settings).held_out())
        evaluated = {question_key(one.question) for one in self.held_out}
        for one in pairs:
            if question_key(one.question) in evaluated:
                raise TaskError(
                    f"{prefer.files.path}: a pair is held out too: {one.question[:80]!r}; take it out of one"
                )
        return pairs

    def draw_open(self, round_: int) -> list[Problem]:
        """The open prompts of a round, evenly over their tags."""
        task, settings = self.open_task, self.recipe.open
        if task is None or settings is None:
            return []
        seed, groups = derive_seed(self.recipe.seed, "draw open", round_), sorted(task.levels)
        drawn = [task.draw(group, settings.draw, derive_seed(seed, group)) for group in groups]
        return [one for row in zip_longest(*drawn) for one in row if one is not None][: settings.draw]

    def graph(self) -> "Plan":
        """The plan of the run."""
        return build_plan(self.recipe, self.data(), self.constitution.hash if self.constitution else "")

    @cached_property
    def prompts(self) -> PromptFormat:
        """The prompt format, with the model's chat template where it has one and the recipe lets it be used."""
        chat = None
        if self.recipe.prompt.chat == "auto" and self.recipe.model.path:
            from selfimprove.models import load_chat

            self.import_models()
            chat = load_chat(self.recipe.model.path, self.folder.path)
        formats = {}
        if self.recipe.open_prompt:
            apart = PromptFormat(self.recipe.open_prompt, self.open_exemplars, chat)
            formats = {task.name: apart for task in self._tasks() if task.name.startswith("prompts/")}
        return PromptFormat(self.recipe.prompt, self.exemplars, chat, self.own_exemplars, formats)

    @cached_property
    def prompter(self) -> Prompter | None:
        """What writes prompts by the constitution, in the form of the recipe's other prompts."""
        return Prompter(self.constitution, self.prompts.chat) if self.constitution else None

    def _ask(self, conversations: Sequence[Conversation]) -> list[str | None]:
        """What the judge's model answers to conversations, greedily."""
        checkpoint, chat = self._judge()
        return ask_engine(self.engine(checkpoint), conversations, chat=chat, max_tokens=self.recipe.judge.max_tokens)

    def _judge(self) -> tuple[Checkpoint, Chat | None]:
        """The model that judges, and its chat template."""
        settings = self.recipe.judge
        if settings.path is None:
            checkpoint, path = self.first_checkpoint(), self.recipe.model.path
        else:
            checkpoint, path = Checkpoint(path=settings.path, method="base", weights=""), settings.path
        chat = None
        if path and self.recipe.prompt.chat == "auto":
            from selfimprove.models import load_chat

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
        assert self.constitution is not None
        checkpoint, chat = self._judge()
        return checkpoint, Prompter(self.constitution, chat)

    def read(self, key: Key, kind: type[Any]) -> list[Any]:
        """A stage's records, read once."""
        if (key, kind) not in self._records:
            stage = self.plan[key]
            self._records[key, kind] = self.folder.stage(stage.round, stage.name, stage.fingerprint).read(kind)
        return self._records[key, kind]

    def remember(self, key: Key, records: Sequence[Record]) -> None:
        """Keep a stage's records that were just written, which spares reading them back."""
        for kind in KINDS.values():
            self._records[key, kind] = [record for record in records if isinstance(record, kind)]

    def forget(self, round_: int) -> None:
        """Drop what was read of rounds before `round_`, but for round 0."""
        self._records = {(key, kind): found for (key, kind), found in self._records.items() if not 0 < key[0] < round_}

    def first_checkpoint(self) -> Checkpoint:
        found: Checkpoint = self.read((0, start_stage(self.recipe)), Checkpoint)[0]
        return found

    def incumbent(self, round_: int) -> Checkpoint:
        """The checkpoint that a round starts from."""
        if round_ == 1:
            return self.first_checkpoint()
        promotion: Promotion = self.read((round_ - 1, "promote"), Promotion)[0]
        for before in range(round_ - 1, 0, -1):
            checkpoint: Checkpoint = self.read((before, last_training(self.recipe)), Checkpoint)[0]
            if checkpoint.id == promotion.checkpoint:
                return checkpoint
        return self.first_checkpoint()

    def weights(self, checkpoint: Checkpoint) -> str:
        """Where a checkpoint lies: relative paths are the run's own."""
        return str(self.locate(checkpoint.path))

    def locate(self, path: str) -> Path | str:
        inside = self.folder.path / path
        return inside if inside.exists() else path

    def describe_weights(self, checkpoint: Checkpoint) -> Weights:
        """What an engine needs to know of a checkpoint."""
        base = None if checkpoint.base is None else str(self.locate(checkpoint.base))
        return Weights(self.weights(checkpoint), base, self.reads_chat(checkpoint), checkpoint.weights)

    def engine(self, checkpoint: Checkpoint) -> Engine:
        """The engine with a checkpoint: the one before takes the new weights, or is closed before another is loaded."""
        if self._engine and self._engine[0] == checkpoint.id and not self._rested:
            self.clock.phases.begin(self._phase)
            self.clock.hold()
            return self._engine[1]
        self.import_models()
        with self.clock.time_model():
            self.clock.phases.begin(self._phase)
            loaded = self._swap(checkpoint)
            if loaded is None:
                self.close_engine()
                self.clock.phases.begin(self._phase)
                loaded = ClockedEngine(self._load(checkpoint, self), self.clock)
            self.clock.hold()
            self._engine, self._rested = (checkpoint.id, loaded), False
            if isinstance(loaded.engine, Swapping) and self.recipe.engine.canary:
                self._check_canary(loaded.engine, checkpoint)
        return loaded

    def _swap(self, checkpoint: Checkpoint) -> ClockedEngine | None:
        """Give the engine other weights; None where there is none that could take them."""
        engine = self._engine[1] if self._engine else None
        if engine is None or not isinstance(engine.engine, Swapping):
            return None
        self._engine = None  # half swapped it would serve nobody knows what
        try:
            swapped = engine.engine.swap(self.describe_weights(checkpoint))
        except BaseException:
            engine.close()
            raise
        if not swapped:
            engine.close()
        return engine if swapped else None

    def _check_canary(self, engine: Engine, checkpoint: Checkpoint) -> None:
        """Prove that the engine serves a checkpoint; raises EngineError where it does not."""
        from selfimprove.engines.canary import check_canary

        canary = check_canary(engine, self.describe_weights(checkpoint), self.recipe.model.dtype, self._expected)
        self._expected = canary.expected
        self.clock.metrics.setdefault("weights served", []).append(
            {
                "weights": checkpoint.weights,
                "difference a token": canary.difference,
                "moved a token": canary.moved,
                "old weights would have been noticed": canary.telling,
            }
        )
        if not canary.proved:
            self.close_engine()
            raise EngineError(
                f"{checkpoint.path}: the engine '{self.recipe.engine.name}' does not serve these weights: its "
                f"log-probabilities of fixed texts differ from transformers' by {canary.difference:.2g} a token "
                f"(at most {canary.tolerance:g}); nothing was written with it; the same command tries again"
            )

    def import_models(self) -> None:
        """Import what loads models, on the imports' account."""
        with self.clock.time_imports():
            import scipy.stats  # noqa: F401
            import torch  # noqa: F401
            from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

            import selfimprove.engines.transformers  # noqa: F401

            if self.recipe.engine.name == "vllm":
                from selfimprove.engines.vllm_start import import_vllm

                import_vllm()
            # What was imported stays; the collector need not look at its half a million objects again and again.
            gc.freeze()

    def close(self) -> None:
        """Free the engine, and give the collector back what `import_models` took from it."""
        self.close_engine()
        self.judging.close()
        gc.unfreeze()

    def close_engine(self) -> None:
        if self._engine:
            self._engine[1].close()
            self._engine = None
            self.clock.phases.begin("")

    @property
    def _phase(self) -> str:
        return f"engine {self.recipe.engine.name}"

    def rest_engine(self) -> None:
        """Make room for training: an engine that is slow to start gives its memory back, any other is closed."""
        if self._engine and isinstance(self._engine[1].engine, Swapping):
            self._engine[1].engine.rest()
            self.clock.release()
            self.clock.phases.begin("")
            self._rested = True
        else:
            self.close_engine()


class EngineOf:
    """The engine with a checkpoint whenever it is asked: a judge may have taken its place in between."""

    def __init__(self, checkpoint: Checkpoint, context: Context) -> None:
        self.checkpoint, self.context = checkpoint, context

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        return self.context.engine(self.checkpoint).generate(requests, sampling, stop)

    def score(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[Score]:
        return self.context.engine(self.checkpoint).score(pairs, end=end)

    def close(self) -> None:
        """Nothing: the context closes what it opened."""


def load_with_recipe(checkpoint: Checkpoint, context: Context) -> Engine:
    """Load a checkpoint with the recipe's engine; raises EngineError where it cannot score and the recipe needs to."""
    engine = load_engine(context.recipe.engine, context.recipe.model, context.describe_weights(checkpoint))
    where, canary = ", ".join(context.recipe.engine.server.urls), context.recipe.engine.canary
    if isinstance(engine, Noting) and not engine.tells and checkpoint.method != "base" and not canary:
        engine.close()
        raise EngineError(
            f"{where}: does not tell which weights it serves, so it may not be {checkpoint.path} that answers; use "
            "`selfimprove serve` or engine.server.start, or let the canary find out (engine.canary=true)"
        )
    needing = [name for name, needs in needs_scores(context).items() if needs]
    if isinstance(engine, Noting) and not engine.scores and needing:
        engine.close()
        raise EngineError(
            f"{where}: gives no log-probabilities of texts, which this recipe needs for {' and '.join(needing)}; use "
            "vLLM's server, or leave that out"
        )
    return engine


def needs_scores(context: Context) -> dict[str, bool]:
    """By setting: whether the recipe has texts scored."""
    stages = context.recipe.stages
    return {
        "engine.canary": context.recipe.engine.canary,
        "scored tasks": any(task.scored for task in context.held_out_tasks),
        "prefer.feedback": stages.prefer is not None and stages.prefer.feedback is not None,
        "generate.kl_samples": stages.generate.kl_samples > 0,
        "dpo.measure": stages.dpo is not None and stages.dpo.measure > 0,
    }
