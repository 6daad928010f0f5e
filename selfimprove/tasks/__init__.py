"""Where problems come from."""

from selfimprove.recipe import ArithmeticTask, AsdivTask, Gsm8kTask, JsonlTask, SvampTask
from selfimprove.recipe import Task as TaskSettings
from selfimprove.tasks.arithmetic import Arithmetic
from selfimprove.tasks.asdiv import load_asdiv
from selfimprove.tasks.base import Task, check_disjoint
from selfimprove.tasks.gsm8k import load_gsm8k
from selfimprove.tasks.jsonl import load_jsonl
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
        case JsonlTask():
            return load_jsonl(settings)
