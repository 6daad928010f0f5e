"""Where problems come from."""

from selfimprove.recipe.task_settings import (
    ArithmeticTask,
    AsdivTask,
    BbhTask,
    CommonsenseqaTask,
    Gsm8kTask,
    JsonlTask,
    MmluTask,
    PromptsTask,
    ReasoningGymTask,
    ScoredTask,
    SvampTask,
)
from selfimprove.recipe.task_settings import Task as TaskSettings
from selfimprove.tasks.arithmetic import Arithmetic
from selfimprove.tasks.asdiv import load_asdiv
from selfimprove.tasks.base import Task, check_disjoint
from selfimprove.tasks.bbh import load_bbh
from selfimprove.tasks.commonsenseqa import load_commonsenseqa
from selfimprove.tasks.gsm8k import load_gsm8k
from selfimprove.tasks.jsonl import load_jsonl
from selfimprove.tasks.mmlu import load_mmlu
from selfimprove.tasks.prompts import load_prompts
from selfimprove.tasks.reasoning_gym import load_reasoning_gym
from selfimprove.tasks.scored import load_scored
from selfimprove.tasks.svamp import load_svamp

__all__ = ["Arithmetic", "Task", "check_disjoint", "load_task"]


def load_task(settings: TaskSettings) -> Task:
    """Load the problems of a task; raises TaskError."""
    match settings:
        case ArithmeticTask():
            return Arithmetic(settings)
        case Gsm8kTask():
            return load_gsm8k(settings)
        case SvampTask():
            return load_svamp(settings)
        case AsdivTask():
            return load_asdiv(settings)
        case CommonsenseqaTask():
            return load_commonsenseqa(settings)
        case MmluTask():
            return load_mmlu(settings)
        case BbhTask():
            return load_bbh(settings)
        case ReasoningGymTask():
            return load_reasoning_gym(settings)
        case JsonlTask():
            return load_jsonl(settings)
        case PromptsTask():
            return load_prompts(settings)
        case ScoredTask():
            return load_scored(settings)
