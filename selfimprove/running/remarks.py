"""What a recipe asks for and its data cannot give: a line each, said before anything is paid for."""

from collections.abc import Iterator

from selfimprove.recipe.flow import flow_of
from selfimprove.recipe.suite import EVERY
from selfimprove.recipe.task_settings import TaskSettings
from selfimprove.running.inputs import Inputs
from selfimprove.stages.evaluate import Evaluate
from selfimprove.stages.frontier import FrontierSettings
from selfimprove.tasks import Task
from selfimprove.tasks.base import PoolTask


def find_remarks(inputs: Inputs) -> Iterator[str]:
    """Held-out problems, and draws of a round, that are fewer than the recipe says."""
    recipe = inputs.recipe
    evaluate = recipe.of(Evaluate)
    if not (evaluate.training or evaluate.everything):
        settings = recipe.evaluate_on or (recipe.train,)
        for one, task in zip(settings, inputs.held_out_tasks, strict=True):
            yield from _too_few_held_out(one, task, last=recipe.rounds == 0)
    if inputs.seen:
        yield inputs.seen
    if not recipe.rounds:
        return
    drawn, there = recipe.of(FrontierSettings).problems, pool_size(inputs.task)
    draws = any(step.stage.settings is FrontierSettings for step in flow_of(recipe))
    if draws and there is not None and drawn > there:
        yield f"a round draws {there:,} problems and not {drawn:,} ('frontier.problems'): there are no more to train on"
    open_ = pool_size(inputs.open_task) if inputs.open_task else None
    if recipe.open and open_ is not None and recipe.open.draw > open_:
        yield f"a round draws {open_:,} open prompts and not {recipe.open.draw:,} ('open.draw'): there are no more"


def _too_few_held_out(settings: TaskSettings, task: Task, *, last: bool) -> Iterator[str]:
    asked, there, rest = getattr(settings, "held_out", None), len(task.held_out()), pool_size(task)
    if not isinstance(asked, int) or asked >= EVERY or rest is None or there >= asked:
        return
    half = there == (there + rest) // 2
    why = f"at most half of its {there + rest:,} different problems are set aside" if half else "it has no more"
    more = "; to evaluate all of them: --all" if last and half else ""
    yield f"task '{task.name}': {there:,} problems are held out and not {asked:,} ('held_out'): {why}{more}"


def pool_size(task: Task) -> int | None:
    """How many problems can be drawn for training; None where a task makes as many as are asked for."""
    return len(task.train()) if isinstance(task, PoolTask) else None
