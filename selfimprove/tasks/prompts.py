"""Open prompts: what has no answer to compare with, and is answered by a constitution."""

import json
from pathlib import Path

from selfimprove.errors import TaskError
from selfimprove.recipe.policies import find_named, policy_names
from selfimprove.recipe.task_settings import PromptsTask
from selfimprove.records import Problem, replace_surrogates
from selfimprove.tasks.base import PoolTask, compare_as, read_text, split_pool, take


def load_prompts(settings: PromptsTask) -> PoolTask:
    """Load prompts from a file, or by name from policies/prompts; raises TaskError with the file and the line."""
    name = settings.name.partition("/")[2]
    path = Path(settings.path) if settings.path else find_named("prompts", f"{name}.jsonl")
    if path is None:
        known = ", ".join(sorted(policy_names("prompts", ".jsonl")))
        raise TaskError(f"task '{settings.name}': set 'path' to a file of prompts (in policies/prompts: {known})")
    prompts = [
        _read(line, settings.name, f"{path}:{number}")
        for number, line in enumerate(read_text(path).split("\n"), 1)
        if line.strip()
    ]
    train, test = split_pool(prompts, settings.held_out)
    if not train or not test:
        raise TaskError(f"{path}: {len(prompts)} prompts are too few to train on some and hold others out")
    return PoolTask(settings.name, take(train, settings.limit), test, verifier=compare_as("math", settings))


def _read(line: str, task: str, where: str) -> Problem:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON ({error})") from None
    prompt, tag = (row.get("prompt"), row.get("tag", "")) if isinstance(row, dict) else (None, "")
    if not isinstance(prompt, str) or not prompt.strip() or not isinstance(tag, str):
        raise TaskError(f'{where}: expected an object such as {{"prompt": "…", "tag": "…"}}')
    return Problem(question=replace_surrogates(prompt.strip()), answer=None, task=task, group=replace_surrogates(tag))
