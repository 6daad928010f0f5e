"""lm-evaluation-harness on local files: its own task configurations, with the data read from a folder."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from selfimprove.cli.prompts import load_ask
from selfimprove.recipe.task_settings import MmluTask
from selfimprove.records import CrossCheck, Problem, Rationale, Verdict
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder
from selfimprove.tasks import load_task


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


# --- ours beside it -----------------------------------------------------------------------------------------------


def cut_gsm8k(data: Path, folder: Path, count: int) -> Path:
    """The training split and the first problems of the test split."""
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text((data / "gsm8k" / "train.jsonl").read_text())
    lines = (data / "gsm8k" / "test.jsonl").read_text().splitlines()[:count]
    (folder / "test.jsonl").write_text("\n".join(lines))
    return folder


Ours = tuple[list[Problem], dict[str, Rationale], dict[str, Verdict], dict[tuple[str, str], CrossCheck]]


def evaluate(task: str, path: Path, model: Path, folder: Path, standard: str, count: int, max_tokens: int) -> Ours:
    """Our evaluation: problems, and by problem the text, the verdict and the harness's comparison by name."""
    more = [f"evaluate.standard={standard}", "prompt.chat=never", f"evaluate.max_tokens={max_tokens}"]
    more += ["engine.batch_size=8", "engine.threads=1"]
    recipe = load_ask(task, str(model), str(path), "ask", more, count, "mine")
    run = RunFolder(folder)
    run_loop(recipe, run)
    problems = run.stage(0, "problems").read(Problem)
    disk = run.stage(0, "evaluate")
    texts = {one.problem: one for one in disk.read(Rationale)}
    problem_of = {one.id: one.problem for one in texts.values()}
    verdicts = {problem_of[one.rationale]: one for one in disk.read(Verdict)}
    checks = {(problem_of[one.parents[0]], one.verifier): one for one in disk.read(CrossCheck)}
    return problems, texts, verdicts, checks


def split_mmlu(data: Path, subject: str, folder: Path, shots: int) -> Path:
    """MMLU's folders with some of the test questions as the `dev` split, which the local copy lacks."""
    task = load_task(MmluTask(name=f"mmlu/{subject}", path=str(data / "mmlu"), held_out=1000))
    rows = [[one["question"], *one["choices"], one["answer"]] for one in (_mmlu_row(each) for each in task.held_out())]
    for split, some in (("dev", rows[:shots]), ("test", rows[shots:])):
        (folder / split).mkdir(parents=True)
        with (folder / split / f"{subject}_{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(some)
    return folder


GSM8K = {"strict-match": "lm-eval/gsm8k", "flexible-extract": "lm-eval/gsm8k-flexible"}
COT = {"strict-match": "lm-eval/gsm8k_cot", "flexible-extract": "lm-eval/gsm8k-flexible"}
BBH = {"get-answer": "lm-eval/bbh"}
Sides = tuple[Ours, Any, list[dict[str, Any]], dict[str, str]]


def both_on_gsm8k(data: Path, name: str, model: Path, folder: Path, count: int, max_tokens: int) -> Sides:
    """Ours, the harness's model, its samples, and our names of its filters, on the first problems of the test split."""
    path = cut_gsm8k(data, folder / "data", count)
    standard, names = ("lm-eval", GSM8K) if name == "gsm8k" else ("lm-eval-cot", COT)
    ours = evaluate("gsm8k", path, model, folder / "ours", standard, count, max_tokens)
    return ours, *run_harness(model, gsm8k_task(name, path, folder / "theirs", max_tokens), count), names


def both_on_bbh(data: Path, subject: str, model: Path, folder: Path, count: int, max_tokens: int) -> Sides:
    """The same on a task of BIG-Bench Hard."""
    ours = evaluate(f"bbh/{subject}", data / "bbh", model, folder / "ours", "lm-eval", count, max_tokens)
    return ours, *run_harness(model, bbh_task(subject, ours[0], folder / "theirs", max_tokens), count), BBH


def both_on_mmlu(data: Path, subject: str, model: Path, folder: Path, count: int, shots: int) -> Sides:
    """The same on a subject of MMLU, where the harness compares by itself."""
    path = split_mmlu(data, subject, folder / "data", shots) if shots else data / "mmlu"
    file = path / "dev" / f"{subject}_dev.csv"
    dev = load_task(MmluTask(name=f"mmlu/{subject}", path=str(file))).held_out() if shots else []
    ours = evaluate(f"mmlu/{subject}", path, model, folder / "ours", "lm-eval", count, 8)
    return ours, *run_harness(model, mmlu_task(subject, ours[0], dev, folder / "theirs"), count), {}
