"""What an evaluation reads: prompts with worked problems take far more tokens than the answers to them."""

import math
from collections.abc import Callable, Sequence

from selfimprove.engines.model_files import read_base
from selfimprove.engines.model_folders import resolve_folder
from selfimprove.engines.models import read_tokenizer
from selfimprove.records import Problem
from selfimprove.running.session import Session
from selfimprove.stages.evaluate import Evaluate

SOME = 8  # problems of a task whose prompts are looked at, evenly among all of them


def count_read(session: Session) -> int:
    """About how many tokens of prompts the model reads; what all prompts of a task begin with is read once a part."""
    by_task: dict[str, list[Problem]] = {}
    for one in session.inputs.held_out:
        by_task.setdefault(one.task, []).append(one)
    prompts, standards = session.prompts, session.inputs.standards
    scored = {task.name for task in session.inputs.held_out_tasks if task.scored}
    render: dict[str, Callable[[Problem], str]] = dict.fromkeys(by_task, prompts.render)
    render |= dict.fromkeys(scored, prompts.render_verbatim) | {name: one.render for name, one in standards.items()}
    evaluate = session.recipe.of(Evaluate)
    characters, longest = 0.0, ""
    for name, problems in by_task.items():
        some = [render[name](one) for one in problems[:: math.ceil(len(problems) / SOME)]]
        characters += _of_task(some, len(problems), evaluate.part_size)
        longest = max(longest, some[0], key=len)
    return round(characters * _tokens_per_character(session, longest))


def _of_task(some: Sequence[str], count: int, part: int) -> float:
    """The characters that are read of a task, by some of its prompts."""
    ends = zip(min(some), max(some), strict=False)  # what these two begin with, all begin with
    shared = next((at for at, (one, other) in enumerate(ends) if one != other), 0)
    own = sum(len(one) - shared for one in some) / len(some)
    return count * own + math.ceil(count / part) * shared


def _tokens_per_character(session: Session, text: str) -> float:
    path = str(session.recipe.model.path)
    tokenizer = read_tokenizer(path, read_base(resolve_folder(path)))
    return len(tokenizer(text)["input_ids"]) / max(1, len(text))
