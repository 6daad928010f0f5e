"""lm-evaluation-harness on local files: its own task configurations, with the data read from a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from selfimprove.records import Problem


def read_config(*parts: str) -> dict[str, Any]:
    """A task's configuration as the installed harness has it, with what it includes."""
    import lm_eval

    path = Path(lm_eval.__file__).parent.joinpath("tasks", *parts)
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    included = config.pop("include", None)
    return {**(read_config(*parts[:-1], included) if included else {}), **config}


def local_task(config: dict[str, Any], folder: Path, max_tokens: int | None = None, **splits: Sequence[Any]) -> Any:
    """A configuration whose splits are read from JSON files in a folder; only the length of texts may be another."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split, rows in splits.items():
        files[split] = str(folder / f"{split}.json")
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    local = {**config, "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    for gone in ("dataset_name", "tag", "task_alias"):
        local.pop(gone, None)
    if max_tokens and config["output_type"] == "generate_until":
        local["generation_kwargs"] = {**config["generation_kwargs"], "max_gen_toks": max_tokens}
    return local


def gsm8k_task(name: str, data: Path, folder: Path, max_tokens: int | None = None) -> Any:
    """`gsm8k` or `gsm8k_cot` on a folder with train.jsonl and test.jsonl."""
    rows = {
        split: [json.loads(line) for line in (data / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "test")
    }
    config = read_config("gsm8k", f"{name.replace('_', '-')}.yaml")
    return local_task(config, folder, max_tokens, **rows)


def bbh_task(subject: str, problems: Sequence[Problem], folder: Path, max_tokens: int | None = None) -> Any:
    """`bbh_cot_fewshot_SUBJECT` on problems."""
    config = read_config("bbh", "cot_fewshot", f"{subject}.yaml")
    lettered = [one.answer if len(str(one.answer)) > 1 or not one.options else f"({one.answer})" for one in problems]
    rows = [{"input": one.question, "target": target} for one, target in zip(problems, lettered, strict=True)]
    return local_task(config, folder, max_tokens, test=rows)


def mmlu_task(subject: str, problems: Sequence[Problem], dev: Sequence[Problem], folder: Path) -> Any:
    """`mmlu_SUBJECT` on problems, with as many shots as there are worked ones."""
    config = read_config("mmlu", "default", f"mmlu_{subject}.yaml")
    splits = {"test": [_mmlu_row(one) for one in problems]}
    if dev:
        splits["dev"] = [_mmlu_row(one) for one in dev]
        config["num_fewshot"] = len(dev)
    else:
        config.pop("fewshot_split")
    return local_task(config, folder, **splits)


def _mmlu_row(problem: Problem) -> dict[str, Any]:
    question = problem.question.rsplit("\nA. ", 1)[0]
    return {"question": question, "choices": list(problem.options), "answer": "ABCD".index(str(problem.answer))}


def run_harness(model: Path, task: Any, limit: int) -> tuple[Any, list[dict[str, Any]]]:
    """The harness's model and its samples, a row a problem and filter."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    lm = HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=1)
    results = lm_eval.simple_evaluate(
        model=lm,
        tasks=[task],
        limit=limit,
        log_samples=True,
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    assert results is not None
    return lm, results["samples"][task["task"]]
