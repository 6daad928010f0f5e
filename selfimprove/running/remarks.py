"""What a round will draw, keep and say, as far as it can be told before it begins: by what its stages declare."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from selfimprove.recipe.flow import flow_of, own_settings
from selfimprove.running.inputs import Inputs
from selfimprove.stages.base import Ahead, CutOff, Sizes, Stage


def measure_sizes(inputs: Inputs) -> Sizes:
    """What a round of a run draws, keeps and evaluates, at most: never more problems than there are."""
    sizes = Sizes(held_out=len(inputs.held_out))
    for stage, ahead in _stages(inputs):
        sizes = stage.sizes(replace(ahead, sizes=sizes))
    return sizes


def find_remarks(inputs: Inputs) -> Iterator[str]:
    """What a recipe asks for and its data cannot give: a line each, said before anything is paid for."""
    if inputs.seen:
        yield inputs.seen
    for stage, ahead in _stages(inputs):
        yield from stage.remarks(ahead)


def look_ahead(inputs: Inputs, cut_off: Mapping[str, CutOff]) -> Iterator[str]:
    """What the stages say of a round ahead of them."""
    sizes = measure_sizes(inputs)
    for stage, ahead in _stages(inputs):
        yield from stage.ahead(replace(ahead, sizes=sizes, cut_off=cut_off))


def _stages(inputs: Inputs) -> Iterator[tuple[Stage[Any], Ahead[Any]]]:
    """Those that a run has; one without rounds has none of the later ones."""
    recipe = inputs.recipe
    for step in flow_of(recipe):
        stage = step.stage
        if isinstance(stage, Stage) and (recipe.rounds or stage.when != "later"):
            yield stage, Ahead(own_settings(recipe, step), recipe, inputs, Sizes())
