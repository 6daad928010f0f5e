"""Reward models for a stage: loaded where the engine makes room, checked, and asked on the clock."""

from collections.abc import Callable, Sequence

from selfimprove.records import Checkpoint, Problem
from selfimprove.running.journaled import journaled_rewards, scored_at_once
from selfimprove.running.session import Session
from selfimprove.store.journal import Journal
from selfimprove.trainers.rewarding import Combine, RewardFunction


def load_rewards(
    session: Session,
    checkpoints: Sequence[Checkpoint],
    combine: Combine,
    journal: Callable[[], Journal | None] = lambda: None,
) -> RewardFunction:
    """What reward models say of the texts of a run; raises ModelError where one reads prompts otherwise than it.

    `journal` gives that of the part for which they are asked, where there is one.
    """
    session.slot.rest()
    session.import_models()
    with session.clock.time_imports():
        from selfimprove.trainers.rewarding import reward_model_function
    recipe, clock = session.recipe, session.clock
    first = session.describe_weights(session.first_checkpoint())
    with clock.time_model():
        import torch

        from selfimprove.engines.models import read_tokenizer

        if recipe.engine.threads:
            torch.set_num_threads(recipe.engine.threads)
        clock.phases.begin("reward model")
        asked = reward_model_function(
            [session.weights(one) for one in checkpoints],
            tokenizer=read_tokenizer(first.path, first.base),
            chat=session.prompts.chat is not None,
            combine=combine,
            batch_size=64 if recipe.engine.batch_size == "auto" else recipe.engine.batch_size,
            device=recipe.model.device,
            dtype=recipe.model.dtype,
            count=lambda tokens: clock.count(scored=tokens),
        )

    def ask(prompts: Sequence[str], completions: Sequence[str], problems: Sequence[Problem]) -> list[float | None]:
        with clock.time_model():
            return asked(prompts, completions, problems)

    models = [combine, *(one.weights or one.path for one in checkpoints)]
    return journaled_rewards(ask, models, journal, clock, scored_at_once(recipe))
