"""Our evaluation beside lm-evaluation-harness's: the same model, the same problems, compared one by one."""

import json
import os
import random
import string
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness_tasks as harness
import pytest
from builders import make_problem, make_rationale
from places import REPOSITORY

from selfimprove.cli.prompts import load_ask
from selfimprove.engines.build import build_model
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.recipe import Build
from selfimprove.recipe.task_settings import BbhTask, Gsm8kTask, VerifierSettings
from selfimprove.records import by_id
from selfimprove.running.session import Session
from selfimprove.store import RunFolder
from selfimprove.tasks import load_task
from selfimprove.tasks.standard import DrawnShots
from selfimprove.verifiers import make_verifier
from selfimprove.verifiers.harness import FILTERS

DATA = Path(os.environ.get("SELFIMPROVE_DATA", REPOSITORY.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "gsm8k").is_dir(), reason=f"no public data in {DATA}")
SHAPE = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, max_positions=8192, alphabet=string.printable)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights that reads and writes ASCII."""
    folder = tmp_path_factory.mktemp("model")
    build_model(SHAPE, folder, seed=1)
    return folder


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


def check_scored(lm: Any, samples: Sequence[dict[str, Any]], ours: Any) -> None:
    """Prompts, token ids, the option that is picked, its log-probability and the outcome are equal."""
    problems, texts, verdicts, _ = ours
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


def compare_gsm8k(name: str, model: Path, folder: Path, count: int, max_tokens: int) -> None:
    ours, lm, samples, names = harness.both_on_gsm8k(DATA, name, model, folder, count, max_tokens)
    check_written(lm, samples, names, ours)


def compare_bbh(subject: str, model: Path, folder: Path, count: int, max_tokens: int) -> None:
    ours, lm, samples, names = harness.both_on_bbh(DATA, subject, model, folder, count, max_tokens)
    check_written(lm, samples, names, ours)


def compare_mmlu(subject: str, model: Path, folder: Path, count: int, shots: int) -> None:
    ours, lm, samples, _ = harness.both_on_mmlu(DATA, subject, model, folder, count, shots)
    check_scored(lm, samples, ours)


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
    subjects = sorted(path.stem for path in (DATA / "bbh").glob("*.json"))
    assert len(subjects) == 27
    for subject in subjects:
        task = load_task(BbhTask(name=f"bbh/{subject}", path=str(DATA / "bbh")))
        config = harness.read_config("bbh", "cot_fewshot", f"{subject}.yaml")
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
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    rows = [json.loads(line) for line in (DATA / "gsm8k" / "test.jsonl").read_text().splitlines()[:300]]
    golds = [row["answer"].rpartition("#### ")[2] for row in rows]
    rng = random.Random(0)
    texts = [(text, f"({answer})" if rule == "lm-eval/bbh" and len(answer) == 1 else answer)
             for rule, answer, _, text, _ in DIFFERENCES]  # fmt: skip
    texts += [(text, gold) for text in TEXTS for gold in ("7", "1234", "A", "Yes", "-7")]
    texts += [(row["answer"], gold) for row, gold in zip(rows, golds, strict=True)]
    texts += [(row["answer"], rng.choice(golds)) for row in rows]
    configs = {
        "lm-eval/gsm8k": (harness.read_config("gsm8k", "gsm8k.yaml"), 0),
        "lm-eval/gsm8k-flexible": (harness.read_config("gsm8k", "gsm8k.yaml"), 1),
        "lm-eval/gsm8k_cot": (harness.read_config("gsm8k", "gsm8k-cot.yaml"), 0),
        "lm-eval/bbh": (harness.read_config("bbh", "cot_fewshot", "navigate.yaml"), 0),
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


# Where our verdict differs from the harness's rule: rule, expected answer, options, text, who says correct.
DIFFERENCES = [
    ("lm-eval/gsm8k", "7", (), "#### 7.0", "ours"),
    ("lm-eval/gsm8k", "1234", (), "#### $1,234", "ours"),
    ("lm-eval/gsm8k", "7", (), "The answer is 7.", "ours"),
    ("lm-eval/gsm8k", "7", (), "#### 7 or 8", "theirs"),
    ("lm-eval/gsm8k", "7", (), "#### 7\n\n#### 8", "theirs"),
    ("lm-eval/gsm8k-flexible", "7", (), "#### 7\nThat is 3 more than before.", "ours"),
    ("lm-eval/gsm8k-flexible", "18", (), "#### 18...", "ours"),
    ("lm-eval/gsm8k-flexible", "7", (), "#### 8\n3 + 4 = 7", "theirs"),
    ("lm-eval/gsm8k_cot", "12", (), "The answer is 12", "ours"),
    ("lm-eval/gsm8k_cot", "12", (), "The answer is $12.", "ours"),
    ("lm-eval/gsm8k_cot", "12", (), "So the answer is 12.", "ours"),
    ("lm-eval/bbh", "valid", ("valid", "invalid"), "So the answer is valid", "ours"),
    ("lm-eval/bbh", "Yes", ("Yes", "No"), "So the answer is yes.", "ours"),
    ("lm-eval/bbh", "A", ("x", "y"), "So the answer is A.", "ours"),
    ("lm-eval/bbh", "A", ("x", "y"), "The answer is (A).", "ours"),
]


@pytest.mark.parametrize(("rule", "answer", "options", "text", "says"), DIFFERENCES)
def test_where_our_verdict_differs_from_the_harness_s_rule(
    rule: str, answer: str, options: tuple[str, ...], text: str, says: str
) -> None:
    problem, found = make_problem("?", answer, options=options), {}
    for who, name in (("theirs", rule), ("ours", "choice" if options else "math")):
        verifier = make_verifier(VerifierSettings(name=name))  # type: ignore[arg-type]
        rationale = make_rationale(problem, text, answer=verifier.extract_answer(text, problem))
        found[who] = verifier.verify(problem=problem, rationale=rationale).outcome
    other = "theirs" if says == "ours" else "ours"
    assert (found[says], found[other]) == ("correct", "incorrect")


@pytest.mark.parametrize("text", ["$" * 50_000, "#### 1" * 8_000, "the answer is " * 3_000, "7." * 9_000, "#" * 50_000])
def test_the_harness_s_rules_take_no_time_on_hostile_texts(text: str) -> None:
    started = time.process_time()
    for name in FILTERS:
        problem, verifier = make_problem("?", "7"), make_verifier(VerifierSettings(name=name))  # type: ignore[arg-type]
        answer = verifier.extract_answer(text, problem)
        assert verifier.verify(problem=problem, rationale=make_rationale(problem, text, answer=answer)).outcome
    assert time.process_time() - started < 1.0


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
        return Session(recipe(*more), RunFolder(tmp_path / "run")).plan[0, "evaluate"].fingerprint

    found = {fingerprint(), fingerprint("evaluate.standard=lm-eval"), fingerprint("evaluate.standard=lm-eval-cot")}
    assert len(found) == 3


def test_a_task_without_standard_prompts_is_one_line(tmp_path: Path) -> None:
    from selfimprove.errors import TaskError

    recipe = load_ask("arithmetic", "m", None, "ask", ["evaluate.standard=lm-eval"], 5, "mine")
    with pytest.raises(TaskError, match="lm-eval has no prompts for arithmetic"):
        Session(recipe, RunFolder(tmp_path / "run"))


@needs_data
def test_gsm8k_s_standard_knows_its_splits() -> None:
    task = load_task(Gsm8kTask(path=str(DATA / "gsm8k"), held_out=3))
    standard = task.standards["lm-eval"]
    for problem in by_id(task.held_out()).values():
        assert standard.render(problem).count("Question: ") == 6
        assert "<<" in standard.render(problem) and standard.render(problem).endswith("\nAnswer:")
