"""MMLU and BIG-Bench Hard whole, 84 tasks in one run that is killed on the way, beside the harness on the same answers.

    python tests/benchmarks/whole.py FOLDER --data FOLDER [--limit N] [--kill-after SECONDS]

The model has some thousand parameters; it is trained here for a minute to end as a worked answer does, so that some of
its answers are right. Needs the extra `eval`: what the model wrote goes through the harness's own filters, metrics and
aggregation, with the groups that the installed harness declares. The same command again goes on with the run in FOLDER.
"""

import argparse
import json
import random
import resource
import string
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import harness_tasks as harness

from selfimprove.engines.build import build_model
from selfimprove.recipe import Build
from selfimprove.recipe.suite import load_suite
from selfimprove.records import CrossCheck, Problem, Rationale
from selfimprove.results.suite import ALL, ModelOutcomes, read_answered, rows_of
from selfimprove.store import RunFolder

SHAPE = Build(hidden_size=32, intermediate_size=64, layers=2, heads=1, max_positions=16384, alphabet=string.printable)
ENDINGS = ("So the answer is (A).\n\n", "So the answer is Yes.\n\n")
STEPS, LENGTH = 400, 512
SETTINGS = ("evaluate.standard=lm-eval", "prompt.chat=never", "evaluate.max_tokens=40",
            "evaluate.part_size=256", "engine.batch_size=256")  # fmt: skip
SUBGROUPS = ("stem", "humanities", "social_sciences", "other")


def make_model(folder: Path, data: Path) -> Path:
    """A model that ends a BBH question by one of three answers, whichever its characters make it take."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if (folder / "config.json").exists():
        return folder
    torch.manual_seed(0)
    build_model(SHAPE, folder, seed=0)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    questions = [row["input"] for path in sorted((data / "bbh").glob("*.json"))
                 for row in json.loads(path.read_text())["examples"]]  # fmt: skip
    rng = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        rows = []
        for question in rng.sample(questions, 24):
            end = ENDINGS[0] if "(A)" in question else ENDINGS[1]
            text = f"{question}\nA: Let's think step by step.\n{end}"
            rows.append(tokenizer(text, add_special_tokens=False)["input_ids"][-LENGTH:])
        rows = [row for row in rows if len(row) == LENGTH]
        ids = torch.tensor(rows)
        labels = ids.clone()
        labels[:, : -len(ENDINGS[0])] = -100
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    print(f"model: {sum(one.numel() for one in model.parameters()):,} parameters, last loss {loss.item():.2f}")
    return folder


def write_suite(path: Path) -> Path:
    """One suite of all subjects and all tasks, the groups as they are shipped."""
    groups = {
        name: [one.name for one in tasks] for of in ("mmlu", "bbh") for name, tasks in load_suite(of).groups.items()
    }
    path.write_text(json.dumps({"settings": list(SETTINGS), "groups": groups}))
    return path


def link_data(data: Path, folder: Path) -> Path:
    """A folder with one for each of the two families, the dev split of MMLU beside its test split."""
    (folder / "mmlu").mkdir(parents=True, exist_ok=True)
    links = {"mmlu/test": "mmlu/test", "mmlu/dev": "mmlu-dev/dev", "bbh": "bbh"}
    for name, target in links.items():
        if not (folder / name).exists():
            (folder / name).symlink_to((data / target).resolve())
    return folder


def run(folder: Path, data: Path, limit: int | None, kill_after: float | None) -> None:
    """The command, killed after so many seconds and given again where that is asked for."""
    command = [sys.executable, "-m", "selfimprove.cli", "evaluate", str(write_suite(folder / "whole.yaml")), "--model",
               str(folder / "model"), "--path", str(link_data(data, folder / "data")), "--runs", str(folder / "runs"),
               "--name", "whole", *(["--limit", str(limit)] if limit else []), "--set", "engine.threads=1"]  # fmt: skip
    for seconds in [kill_after, None] if kill_after else [None]:
        begun = time.time()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        parts = len(list((folder / "runs").glob("whole/*/round-00/evaluate/rationale-*.parquet")))
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"exit {code} after {time.time() - begun:.0f} s, {parts} parts; so far "
              f"{(used.ru_utime + used.ru_stime) / 60:.1f} CPU minutes", flush=True)  # fmt: skip


def judge(folder: Path, name: str, problems: Sequence[Problem], texts: Sequence[Rationale]) -> Iterator[bool]:
    """Whether the harness's own task finds each answer right."""
    from lm_eval.api.task import ConfigurableTask

    family, _, subject = name.partition("/")
    make = harness.bbh_task if family == "bbh" else lambda *parts: harness.mmlu_task(*parts[:2], (), parts[2])
    task = ConfigurableTask(config=make(subject, problems, folder / subject))
    if family == "mmlu":  # the option that was picked is the likeliest one
        for doc, text in zip(task.test_docs(), texts, strict=True):
            scores = [(0.0 if f" {letter}" == text.text else -1.0, False) for letter in "ABCD"]
            yield bool(task.process_results(doc, scores)["acc"])
        return
    task.build_all_requests(limit=None)
    instances = sorted(task.instances, key=lambda one: one.doc_id)
    for request, text in zip(instances, texts, strict=True):
        request.resps = [text.text]
    task.apply_filters()
    for request in instances:
        yield bool(task.process_results(request.doc, [request.filtered_resps["get-answer"]])["exact_match"])


def by_its_rule(disk: RunFolder) -> ModelOutcomes:
    """The run's outcomes, those of BBH by what is kept of the harness's rule beside our own verdict."""
    answered = read_answered("model", disk)
    stage = disk.stage(0, "evaluate")
    problem_of = {one.id: one.problem for one in stage.rows(Rationale).pick("parents")}
    rule = {problem_of[one.parents[0]]: one.second for one in stage.read(CrossCheck) if one.verifier == "lm-eval/bbh"}
    both = Counter((answered.outcomes[one], rule[one]) for one in rule)
    print("\nBBH, our own verdict and the harness's rule:", "; ".join(
        f"{ours} and {theirs} {count:,}" for (ours, theirs), count in sorted(both.items())))  # fmt: skip
    return replace(answered, outcomes={**answered.outcomes, **rule})


def compare(folder: Path) -> None:
    """Our averages beside the harness's from the same answers."""
    from lm_eval.api.metrics import aggregate_subtask_metrics

    disk = RunFolder(next((folder / "runs" / "whole").glob("*/recipe.yaml")).parent)
    problems: dict[str, list[Problem]] = defaultdict(list)
    for one in disk.stage(0, "problems").read(Problem):
        problems[one.task].append(one)
    texts = {one.problem: one for one in disk.stage(0, "evaluate").read(Rationale)}
    answered = by_its_rule(disk)
    theirs: dict[str, tuple[float, int]] = {}
    same = 0
    for name, some in problems.items():
        right = list(judge(folder / "theirs", name, some, [texts[one.id] for one in some]))
        same += sum(one == (answered.outcomes[each.id] == "correct") for one, each in zip(right, some, strict=True))
        theirs[name] = sum(right) / len(right), len(right)
    print(f"{len(problems)} tasks, {len(answered.outcomes):,} problems; {same:,} outcomes are the harness's\n")
    print("| group | tasks | n | correct | micro | the harness's | macro | the harness's |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    suites = {name: load_suite(name).group_of for name in ("mmlu", "bbh")}
    whole = {name: dict.fromkeys(found, name) for name, found in suites.items()}
    for row in [row for of in (suites["mmlu"], whole["mmlu"], whole["bbh"]) for row in rows_of(answered, of)]:
        if row.group == ALL:
            continue
        names = members(row.group)
        accuracies, sizes = zip(*(theirs[one] for one in names), strict=True)
        micro, macro = (aggregate_subtask_metrics(accuracies, sizes, by_size) for by_size in (True, False))
        assert row.micro and row.macro and row.tasks == len(names)
        assert max(abs(micro - row.micro.value), abs(macro - row.macro.value)) < 1e-12, row.group
        print(f"| {row.group} | {row.tasks} | {row.n:,} | {row.correct:,} | {row.micro.value:.4%} | {micro:.4%} | "
              f"{row.macro.value:.4%} | {macro:.4%} |")  # fmt: skip
    assert same == len(answered.outcomes)


def members(group: str) -> list[str]:
    """The tasks of a group as the installed harness declares it."""
    import lm_eval

    tasks = Path(lm_eval.__file__).parent / "tasks"
    if group == "bbh":
        return [f"bbh/{one.removeprefix('bbh_cot_fewshot_')}"
                for one in harness.read_config("bbh", "cot_fewshot", "_bbh_cot_fewshot.yaml")["task"]]  # fmt: skip
    tag = group.casefold().replace(" ", "_")
    tags = [f"mmlu_{one}_tasks" for one in SUBGROUPS if group == "mmlu" or one == tag]
    files = (tasks / "mmlu" / "default").glob("mmlu_*.yaml")
    configs = [harness.read_config("mmlu", "default", one.name) for one in files]
    return [f"mmlu/{one['dataset_name']}" for one in configs if one.get("tag") in tags]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--kill-after", type=float)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    make_model(asked.folder / "model", asked.data)
    run(asked.folder, asked.data, asked.limit, asked.kill_after)
    compare(asked.folder)


if __name__ == "__main__":
    main()
