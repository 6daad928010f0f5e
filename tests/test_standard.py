"""Our evaluation beside lm-evaluation-harness's: the same model, the same problems, compared one by one."""

import csv
import json
import os
import random
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem, make_rationale

from selfimprove.cli_prompts import load_ask
from selfimprove.context import Context
from selfimprove.loop import run_loop
from selfimprove.models import build_model
from selfimprove.prompts import encode_prompt
from selfimprove.recipe import Build
from selfimprove.records import CrossCheck, Problem, Rationale, Verdict, by_id
from selfimprove.store import RunFolder
from selfimprove.task_settings import BbhTask, Gsm8kTask, MmluTask, VerifierSettings
from selfimprove.tasks import load_task
from selfimprove.tasks.standard import DrawnShots
from selfimprove.verifiers import make_verifier

DATA = Path(os.environ.get("SELFIMPROVE_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "gsm8k").is_dir(), reason=f"no public data in {DATA}")
SHAPE = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, max_positions=8192, alphabet=string.printable)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights that reads and writes ASCII."""
    folder = tmp_path_factory.mktemp("model")
    build_model(SHAPE, folder, seed=1)
    return folder


def cut_gsm8k(folder: Path, count: int) -> Path:
    """The training split and the first problems of the test split."""
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text((DATA / "gsm8k" / "train.jsonl").read_text())
    lines = (DATA / "gsm8k" / "test.jsonl").read_text().splitlines()[:count]
    (folder / "test.jsonl").write_text("\n".join(lines))
    return folder


def evaluate(
    task: str, path: Path, model: Path, folder: Path, standard: str, count: int, max_tokens: int
) -> tuple[list[Problem], dict[str, Rationale], dict[str, Verdict], dict[tuple[str, str], CrossCheck]]:
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


def check_written(lm: Any, samples: Sequence[dict[str, Any]], names: dict[str, str], ours: Any) -> None:
    """Prompts are equal as text and as token ids, texts are equal, and so are the outcomes by each filter."""
    problems, texts, _, checks = ours
    by_question = {one.question: one for one in problems}
    assert len(samples) == len(problems) * len(names)
    for sample in samples:
        doc = sample["doc"]
        problem = by_question[(doc.get("question") or doc["input"]).strip()]
        prompt, text = sample["arguments"][0][0], sample["resps"][0][0]
        assert texts[problem.id].prompt == prompt
        assert encode_prompt(lm.tokenizer, prompt, chat=False) == lm.tok_encode(prompt)
        assert texts[problem.id].text == text
        outcome = checks[problem.id, names[sample["filter"]]].second
        assert (outcome == "correct") == (sample["exact_match"] == 1), (text, sample["filter"])


GSM8K = {"strict-match": "lm-eval/gsm8k", "flexible-extract": "lm-eval/gsm8k-flexible"}
COT = {"strict-match": "lm-eval/gsm8k_cot", "flexible-extract": "lm-eval/gsm8k-flexible"}


def compare_gsm8k(name: str, model: Path, folder: Path, count: int, max_tokens: int) -> None:
    from harness_tasks import gsm8k_task, run_harness

    data = cut_gsm8k(folder / "data", count)
    standard, names = ("lm-eval", GSM8K) if name == "gsm8k" else ("lm-eval-cot", COT)
    ours = evaluate("gsm8k", data, model, folder / "ours", standard, count, max_tokens)
    lm, samples = run_harness(model, gsm8k_task(name, data, folder / "theirs", max_tokens), count)
    check_written(lm, samples, names, ours)


def compare_bbh(subject: str, model: Path, folder: Path, count: int, max_tokens: int) -> None:
    from harness_tasks import bbh_task, run_harness

    ours = evaluate(f"bbh/{subject}", DATA / "bbh", model, folder / "ours", "lm-eval", count, max_tokens)
    lm, samples = run_harness(model, bbh_task(subject, ours[0], folder / "theirs", max_tokens), count)
    check_written(lm, samples, {"get-answer": "lm-eval/bbh"}, ours)


def split_mmlu(subject: str, folder: Path, shots: int) -> Path:
    """MMLU's folders with some of the test questions as the `dev` split, which the local copy lacks."""
    rows = list(csv.reader((DATA / "mmlu" / "test" / f"{subject}_test.csv").open(newline="", encoding="utf-8")))[1:]
    for split, some in (("dev", rows[:shots]), ("test", rows[shots:])):
        (folder / split).mkdir(parents=True)
        with (folder / split / f"{subject}_{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(some)
    return folder


def compare_mmlu(subject: str, model: Path, folder: Path, count: int, shots: int) -> None:
    from harness_tasks import mmlu_task, run_harness

    data = split_mmlu(subject, folder / "data", shots) if shots else DATA / "mmlu"
    file = data / "dev" / f"{subject}_dev.csv"
    dev = load_task(MmluTask(name=f"mmlu/{subject}", path=str(file))).held_out() if shots else []
    problems, texts, verdicts, _ = evaluate(
        f"mmlu/{subject}", data, model, folder / "ours", "lm-eval", count, 8
    )  # fmt: skip
    lm, samples = run_harness(model, mmlu_task(subject, problems, dev, folder / "theirs"), count)
    assert len(samples) == len(problems)
    for problem, sample in zip(problems, samples, strict=True):
        prompt = sample["arguments"][0][0]
        assert texts[problem.id].prompt == prompt
        scores = [float(one[0][0]) for one in sample["resps"]]
        best = max(range(4), key=lambda at: scores[at])
        assert texts[problem.id].text == sample["arguments"][best][1]
        assert texts[problem.id].logprob == pytest.approx(scores[best], abs=1e-3)
        assert (verdicts[problem.id].outcome == "correct") == (sample["acc"] == 1)
        context, option = lm._encode_pair(prompt, sample["arguments"][best][1])
        assert encode_prompt(lm.tokenizer, prompt, chat=False) == context
        assert len(option) == texts[problem.id].tokens


@needs_data
@pytest.mark.parametrize("name", ["gsm8k", "gsm8k_cot"])
def test_gsm8k_is_asked_and_judged_as_the_harness_does(name: str, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra 'eval'")
    compare_gsm8k(name, model, tmp_path, 6, 12)


@needs_data
def test_bbh_is_asked_and_judged_as_the_harness_does(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra 'eval'")
    compare_bbh("sports_understanding", model, tmp_path, 6, 12)


@needs_data
@pytest.mark.parametrize("shots", [0, 5])
def test_mmlu_is_scored_as_the_harness_does(shots: int, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra 'eval'")
    compare_mmlu("anatomy", model, tmp_path, 12, shots)


@pytest.mark.long
@needs_data
def test_two_hundred_problems_of_each_benchmark(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra 'eval'")
    compare_gsm8k("gsm8k", model, tmp_path / "gsm8k", 200, 32)
    compare_gsm8k("gsm8k_cot", model, tmp_path / "gsm8k_cot", 200, 32)
    compare_bbh("navigate", model, tmp_path / "bbh", 200, 32)
    compare_mmlu("high_school_psychology", model, tmp_path / "mmlu", 200, 0)
    compare_mmlu("high_school_psychology", model, tmp_path / "mmlu5", 190, 5)


@needs_data
def test_every_bbh_prompt_is_the_harness_s(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra 'eval'")
    from harness_tasks import read_config

    subjects = sorted(path.stem for path in (DATA / "bbh").glob("*.json"))
    assert len(subjects) == 27
    for subject in subjects:
        task = load_task(BbhTask(name=f"bbh/{subject}", path=str(DATA / "bbh")))
        config = read_config("bbh", "cot_fewshot", f"{subject}.yaml")
        shots = "".join(
            config["doc_to_text"].replace("{{input}}", one["input"]) + one["target"] + "\n\n"
            for one in config["fewshot_config"]["samples"]
        )
        problem = task.held_out()[0]
        asked = config["doc_to_text"].replace("{{input}}", problem.question)
        standard = task.standards["lm-eval"]
        assert standard.render(problem) == config["description"] + shots + asked
        assert set(standard.stop) == set(config["generation_kwargs"]["until"])
        assert standard.max_tokens == config["generation_kwargs"]["max_gen_toks"]


TEXTS = [
    "#### 7", "#### 7.", "#### $1,234", "so 7\n#### 7\n#### 8", "The answer is 7.", "The answer is 7",
    "The answer is -7.0.", "the answer is 7.", "The answer is $7.", "It costs $7.50 or 8", "7 apples", "no number", "",
    "...", "1,234.", "-5", "$", "the answer is (A).", "So the answer is Yes.", "So the answer is valid",
    "the answer is ] ] )", "The answer is 12,5.",
]  # fmt: skip


@needs_data
def test_extraction_and_comparison_are_the_harness_s() -> None:
    pytest.importorskip("lm_eval", reason="needs the extra 'eval'")
    from harness_tasks import read_config
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    rows = [json.loads(line) for line in (DATA / "gsm8k" / "test.jsonl").read_text().splitlines()[:300]]
    golds = [row["answer"].rpartition("#### ")[2] for row in rows]
    rng = random.Random(0)
    texts = [(text, gold) for text in TEXTS for gold in ("7", "1234", "A", "Yes", "-7")]
    texts += [(row["answer"], gold) for row, gold in zip(rows, golds, strict=True)]
    texts += [(row["answer"], rng.choice(golds)) for row in rows]
    configs = {
        "lm-eval/gsm8k": (read_config("gsm8k", "gsm8k.yaml"), 0),
        "lm-eval/gsm8k-flexible": (read_config("gsm8k", "gsm8k.yaml"), 1),
        "lm-eval/gsm8k_cot": (read_config("gsm8k", "gsm8k-cot.yaml"), 0),
        "lm-eval/bbh": (read_config("bbh", "cot_fewshot", "navigate.yaml"), 0),
    }
    for name, (config, at) in configs.items():
        step = {key: value for key, value in config["filter_list"][at]["filter"][0].items() if key != "function"}
        metric = {
            key: value for key, value in config["metric_list"][0].items()
            if key not in ("metric", "aggregation", "higher_is_better")
        }  # fmt: skip
        verifier = make_verifier(VerifierSettings(name=name))  # type: ignore[arg-type]
        for text, gold in texts:
            problem = make_problem("?", gold)
            said = RegexFilter(**step).apply([[text]], [{}])[0][0]  # type: ignore[index]
            theirs = exact_match_hf_evaluate([said], [gold], **metric)["exact_match"] == 1
            answer = verifier.extract_answer(text, problem)
            assert (answer or "[invalid]") == said
            verdict = verifier.verify(problem=problem, rationale=make_rationale(problem, text, answer=answer))
            assert (verdict.outcome == "correct") == theirs, (name, text, gold)


def test_worked_problems_are_drawn_in_the_order_of_the_test_split() -> None:
    train = [(f"q{at}", f"a{at}") for at in range(50)]
    shots = DrawnShots(train, ["x", "y"], shots=2)
    first, second = (shots(make_problem(name)) for name in ("x", "y"))
    stream = random.Random(1234)
    assert first == "".join(f"Question: q{at}\nAnswer: a{at}\n\n" for at in stream.sample(range(50), 2))
    assert second == "".join(f"Question: q{at}\nAnswer: a{at}\n\n" for at in stream.sample(range(50), 2))
    # The second problem's are the same where it is asked alone.
    assert DrawnShots(train, ["x", "y"], shots=2)(make_problem("y")) == second


@needs_data
def test_a_standard_reaches_the_fingerprint_and_its_prompts_the_text(tmp_path: Path) -> None:
    def recipe(*more: str) -> Any:
        return load_ask("gsm8k", "m", str(DATA / "gsm8k"), "ask", list(more), 5, "mine")

    def fingerprint(*more: str) -> str:
        graph = Context(recipe(*more), RunFolder(tmp_path / "run")).graph()
        return str(graph.nodes[0, "evaluate"]["stage"].fingerprint)

    found = {fingerprint(), fingerprint("evaluate.standard=lm-eval"), fingerprint("evaluate.standard=lm-eval-cot")}
    assert len(found) == 3


def test_a_task_without_standard_prompts_is_one_line(tmp_path: Path) -> None:
    from selfimprove.errors import TaskError

    recipe = load_ask("arithmetic", "m", None, "ask", ["evaluate.standard=lm-eval"], 5, "mine")
    with pytest.raises(TaskError, match="lm-eval has no prompts for arithmetic"):
        Context(recipe, RunFolder(tmp_path / "run"))


@needs_data
def test_gsm8k_s_standard_knows_its_splits() -> None:
    task = load_task(Gsm8kTask(path=str(DATA / "gsm8k"), held_out=3))
    standard = task.standards["lm-eval"]
    for problem in by_id(task.held_out()).values():
        assert standard.render(problem).count("Question: ") == 6
        assert "<<" in standard.render(problem) and standard.render(problem).endswith("\nAnswer:")
