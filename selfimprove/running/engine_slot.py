"""The one engine that a run has at a time: loaded, given other weights, proved by a canary, rested, closed."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from selfimprove.engines import Completion, Departing, Engine, Noting, Request, Score, Swapping, Weights, load_engine
from selfimprove.errors import EngineError
from selfimprove.prompting.prompts import Continuation
from selfimprove.recipe import Recipe, Sampling
from selfimprove.recipe.flow import flow_of
from selfimprove.records import Checkpoint
from selfimprove.running.clock import Clock, ClockedEngine

if TYPE_CHECKING:
    from selfimprove.running.session import Session

Load = Callable[[Checkpoint], Engine]


class EngineSlot:
    """The place of the engine; `load` loads a checkpoint, `describe` says what an engine needs to know of one."""

    def __init__(self, recipe: Recipe, clock: Clock, load: Load, describe: Callable[[Checkpoint], Weights]) -> None:
        self.recipe, self.clock, self._load, self.describe = recipe, clock, load, describe
        self._engine: tuple[str, ClockedEngine] | None = None
        self._rested = False  # the engine gave its memory back, and what it loads again is to be proved again
        self._expected: tuple[float, ...] | None = None  # the canary's log-probabilities with the weights served last

    def engine(self, checkpoint: Checkpoint) -> Engine:
        """The engine with a checkpoint: the one before takes the new weights, or is closed before another is loaded."""
        if self._engine and self._engine[0] == checkpoint.id and not self._rested:
            self.clock.phases.begin(self._phase)
            self.clock.hold()
            return self._engine[1]
        import_models(self.recipe, self.clock)
        with self.clock.time_model():
            self.clock.phases.begin(self._phase)
            loaded = self._swap(checkpoint)
            if loaded is None:
                self.close()
                self.clock.phases.begin(self._phase)
                loaded = ClockedEngine(self._load(checkpoint), self.clock)
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
            swapped = engine.engine.swap(self.describe(checkpoint))
        except BaseException:  # Ctrl-C too: a server that is half swapped must not live on; it is raised again
            engine.close()
            raise
        if not swapped:
            engine.close()
        return engine if swapped else None

    def _check_canary(self, engine: Engine, checkpoint: Checkpoint) -> None:
        """Prove that the engine serves a checkpoint; raises EngineError where it does not."""
        from selfimprove.engines.canary import check_canary

        canary = check_canary(engine, self.describe(checkpoint), self.recipe.model.dtype, self._expected)
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
            self.close()
            raise EngineError(
                f"{checkpoint.path}: the engine '{self.recipe.engine.name}' does not serve these weights: its "
                f"log-probabilities of fixed texts differ from transformers' by {canary.difference:.2g} a token "
                f"(at most {canary.tolerance:g}); nothing was written with it; the same command tries again"
            )

    def close(self) -> None:
        if self._engine:
            self._engine[1].close()
            self._engine = None
            self.clock.phases.begin("")

    @property
    def _phase(self) -> str:
        return f"engine {self.recipe.engine.name}"

    def rest(self) -> None:
        """Make room for training: an engine that is slow to start gives its memory back, any other is closed."""
        if self._engine and isinstance(self._engine[1].engine, Swapping):
            self._engine[1].engine.rest()
            self.clock.release()
            self.clock.phases.begin("")
            self._rested = True
        else:
            self.close()


def import_models(recipe: Recipe, clock: Clock) -> None:
    """Import what loads models, on the imports' account."""
    with clock.time_imports():
        import scipy.stats  # noqa: F401
        import torch  # noqa: F401
        from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM  # noqa: F401

        import selfimprove.engines.transformers  # noqa: F401

        if recipe.engine.name == "vllm":
            from selfimprove.engines.vllm_start import import_vllm

            import_vllm()
        # What was imported stays; the collector need not look at its half a million objects again and again.
        gc.freeze()


class EngineOf:
    """The engine with a checkpoint whenever it is asked: a judge may have taken its place in between."""

    def __init__(self, checkpoint: Checkpoint, slot: EngineSlot) -> None:
        self.checkpoint, self.slot = checkpoint, slot

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        return self.slot.engine(self.checkpoint).generate(requests, sampling, stop)

    def score(self, pairs: Sequence[tuple[str, Continuation]], *, end: bool = False) -> list[Score]:
        return self.slot.engine(self.checkpoint).score(pairs, end=end)

    def depart(self, pairs: Sequence[tuple[str, str]], most: int) -> list[list[str]]:
        engine = self.slot.engine(self.checkpoint)
        assert isinstance(engine, Departing)
        return engine.depart(pairs, most)

    def close(self) -> None:
        """Nothing: the slot closes what it opened."""


def load_with_recipe(checkpoint: Checkpoint, session: "Session") -> Engine:
    """Load a checkpoint with the recipe's engine; raises EngineError where it cannot score and the recipe needs to."""
    engine = load_engine(session.recipe.engine, session.recipe.model, session.describe_weights(checkpoint))
    where, canary = ", ".join(session.recipe.engine.server.urls), session.recipe.engine.canary
    if isinstance(engine, Noting) and not engine.tells and checkpoint.method != "base" and not canary:
        engine.close()
        raise EngineError(
            f"{where}: does not tell which weights it serves, so it may not be {checkpoint.path} that answers; use "
            "`selfimprove serve` or engine.server.start, or let the canary find out (engine.canary=true)"
        )
    needing = needs_scores(session)
    if isinstance(engine, Noting) and not engine.scores and needing:
        engine.close()
        raise EngineError(
            f"{where}: gives no log-probabilities of texts, which this recipe needs for {' and '.join(needing)}; use "
            "vLLM's server, or leave that out"
        )
    return engine


def needs_scores(session: "Session") -> list[str]:
    """The settings for which the recipe has texts scored."""
    scored = any(task.scored for task in session.inputs.held_out_tasks)
    found = [*(["engine.canary"] if session.recipe.engine.canary else []), *(["scored tasks"] if scored else [])]
    return [*found, *(name for step in flow_of(session.recipe) for name in step.stage.scores(session.recipe))]
