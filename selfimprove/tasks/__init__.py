"""Where problems come from."""

from collections.abc import Callable
from typing import TypeVar

from selfimprove.recipe.catalog import find, register
from selfimprove.recipe.task_settings import (
    ArithmeticTask,
    AsdivTask,
    BbhTask,
    CommonsenseqaTask,
    DatasetTask,
    Gsm8kTask,
    JsonlTask,
    LongAdditionTask,
    MixtureTask,
    MmluTask,
    PromptsTask,
    ReasoningGymTask,
    RisingTask,
    ScoredTask,
    SvampTask,
    TaskSettings,
)
from selfimprove.tasks.arithmetic import Arithmetic
from selfimprove.tasks.asdiv import load_asdiv
from selfimprove.tasks.base import Isolating, Task, check_disjoint, draws_at_most, pool_size, question_key
from selfimprove.tasks.bbh import load_bbh
from selfimprove.tasks.commonsenseqa import load_commonsenseqa
from selfimprove.tasks.dataset import load_dataset
from selfimprove.tasks.gsm8k import load_gsm8k
from selfimprove.tasks.jsonl import load_jsonl
from selfimprove.tasks.long_addition import LongAddition
from selfimprove.tasks.mixture import Mixture, load_mixture_task
from selfimprove.tasks.mmlu import load_mmlu
from selfimprove.tasks.prompts import load_prompts
from selfimprove.tasks.reasoning_gym import load_reasoning_gym
from selfimprove.tasks.rising import Rising
from selfimprove.tasks.scored import load_scored
from selfimprove.tasks.svamp import load_svamp

__all__ = [
    "Arithmetic", "Isolating", "LongAddition", "Mixture", "Rising", "Task", "check_disjoint", "declare_task",
    "draws_at_most", "load_task", "pool_size", "question_key",
]  # fmt: skip


S = TypeVar("S", bound=TaskSettings)


def declare_task(settings: type[S], load: Callable[[S], Task]) -> None:
    """Make a task known by its settings' `family`, the part of its name before a slash; `load` makes its problems.

    Raises RecipeError where another task is called so.
    """
    register("task", settings.family, (settings, load), load)


def load_task(settings: TaskSettings) -> Task:
    """Load the problems of a task; raises TaskError."""
    load: Callable[[TaskSettings], Task] = find("task", settings.family)[1]
    return load(settings)


declare_task(ArithmeticTask, Arithmetic)
declare_task(LongAdditionTask, LongAddition)
declare_task(RisingTask, Rising)
declare_task(Gsm8kTask, load_gsm8k)
declare_task(SvampTask, load_svamp)
declare_task(AsdivTask, load_asdiv)
declare_task(CommonsenseqaTask, load_commonsenseqa)
declare_task(MmluTask, load_mmlu)
declare_task(BbhTask, load_bbh)
declare_task(ReasoningGymTask, load_reasoning_gym)
declare_task(JsonlTask, load_jsonl)
declare_task(DatasetTask, load_dataset)
declare_task(PromptsTask, load_prompts)
declare_task(ScoredTask, load_scored)
declare_task(MixtureTask, load_mixture_task)
