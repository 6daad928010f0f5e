"""What the stages share that train."""

from selfimprove.recipe import Recipe, Training
from selfimprove.recipe.flow import flow_of, own_settings


def trained_rows(settings: Training, round_: int, there: float) -> float:
    """Rows that a training run goes over: by its steps where they are given, else by its epochs over those there."""
    if settings.steps:
        growth = settings.steps_growth ** max(0, round_ - 1)
        return settings.steps * growth * settings.batch_size * settings.accumulate
    return there * settings.epochs


def adapter_before(recipe: Recipe, name: str) -> tuple[str, Training] | None:
    """The stage before one in a round that trains the policy, and its settings, where it trains an adapter.

    A stage that trains the policy goes on with that adapter, also where it has no `lora` of its own: what it would
    train otherwise is as large as the whole model, which the recipe does not ask for anywhere.
    """
    before: tuple[str, Training] | None = None
    for step in flow_of(recipe, lenient=True):
        if step.name == name:
            return before if before and before[1].lora else None
        if step.stage.trains == "policy" and step.stage.when == "later":
            own = own_settings(recipe, step)
            if isinstance(own, Training):
                before = (step.name, with_adapter(own, before))
    return None


def with_adapter(settings: Training, before: tuple[str, Training] | None) -> Training:
    """A stage's settings with the adapter of the stage before it, where it has none of its own."""
    if settings.lora or before is None or before[1].lora is None:
        return settings
    return settings.model_copy(update={"lora": before[1].lora})


def adapter_at_first(recipe: Recipe) -> tuple[str, Training] | None:
    """The stage that trains the model before round 1, and its settings, where it trains an adapter."""
    for step in flow_of(recipe, lenient=True):
        own = own_settings(recipe, step) if step.stage.trains == "policy" and step.stage.when == "first" else None
        if isinstance(own, Training) and own.lora:
            return step.name, own
    return None


def differing_adapter(recipe: Recipe, name: str, settings: Training) -> str:
    """Why a stage cannot go on with the adapter of the stage before it, or of the model before round 1, or nothing."""
    before = adapter_before(recipe, name) or (None if _trained_before(recipe, name) else adapter_at_first(recipe))
    if not (settings.lora and before and before[1].lora) or settings.lora == before[1].lora:
        return ""
    mine, theirs = (one.model_dump(mode="json") for one in (settings.lora, before[1].lora))
    differs = ", ".join(f"{one}: {value}" for one, value in theirs.items() if value != mine[one])
    return (
        f"'{name}.lora': it goes on with the adapter of '{before[0]}', which has other settings ({differs}); write the "
        f"same, or leave '{name}.lora' out"
    )


def _trained_before(recipe: Recipe, name: str) -> bool:
    """Whether a stage before one in a round trains the policy."""
    names = [
        one.name for one in flow_of(recipe, lenient=True) if one.stage.trains == "policy" and one.stage.when == "later"
    ]
    return name in names[1:]
