"""What the stages share that train."""

from selfimprove.recipe import Training


def trained_rows(settings: Training, round_: int, there: float) -> float:
    """Rows that a training run goes over: by its steps where they are given, else by its epochs over those there."""
    if settings.steps:
        growth = settings.steps_growth ** max(0, round_ - 1)
        return settings.steps * growth * settings.batch_size * settings.accumulate
    return there * settings.epochs
