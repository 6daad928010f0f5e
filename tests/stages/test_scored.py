"""Multiple choice by log-probability: the files, what is picked, and what it changes in a run."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import CHECKPOINT, make_problem, make_rationale
from rich.console import Console
from small import record_ids, small_recipe

from selfimprove.engines import Score, ScriptedEngine
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import RecipeError, TaskError
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Prompting
from selfimprove.recipe.task_settings import ScoredTask
from selfimprove.records import Checkpoint, Evaluation, Problem, Promotion, Rationale, Verdict
from selfimprove.records.stats import wilson
from selfimprove.results.status import print_status, to_json
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import PlannedStage
from selfimprove.running.report import Silent
from selfimprove.running.session import Session
from selfimprove.stages.base import Writer
from selfimprove.stages.score import AT_ONCE, pick_options
from selfimprove.store import Manifest, RunFolder
from selfimprove.tasks import load_task
from selfimprove.tasks.addition import parse_addition, write_rationale
from selfimprove.tasks.base import PoolTask, read_text
from selfimprove.verifiers import make_verifier

CHOICE = {"prompt": "Q?\nThe answer is:", "corrects": [" (B)"], "incorrects": [" (A)", " (C)"]}
TALK = "\n\nHuman: Hello.\n\nAssistant: Hi.\n\nHuman: Help me.\n\nAssistant:"
PAIR = {"chosen": f"{TALK} With pleasure.", "rejected": f"{TALK} With what?"}
EQUAL = {"chosen": f"{TALK} Yes.", "rejected": f"{TALK} Yes."}
STRANGERS = {"chosen": "\n\nHuman: One.\n\nAssistant: 1", "rejected": "\n\nHuman: Two.\n\nAssistant: 2"}
BLANK = {"chosen": f"{TALK} ", "rejected": f"{TALK} Yes."}


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def load(path: Path, **settings: Any) -> PoolTask:
    task = load_task(ScoredTask(name="scored/mine", path=str(path), **settings))
    assert isinstance(task, PoolTask)
    return task


# --- files ---------------------------------------------------------------------------------------------------


def test_a_choice_is_a_prompt_with_its_options(tmp_path: Path) -> None:
    task = load(write_rows(tmp_path / "rows.jsonl", [CHOICE, "", {**CHOICE, "prompt": " Other?\n", "note": 1}]))
    first, second = task.held_out()
    assert (first.question, first.answer, first.task) == (CHOICE["prompt"], " (B)", "scored/mine")
    assert first.options == (" (A)", " (B)", " (C)")
    assert second.question == " Other?\n"  # as it stands
    assert task.scored and task.train() == [] and task.left_out == 0


def test_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    task = load(
        write_rows(tmp_path / "rows.jsonl", [{"prompt": "\ud800?", "corrects": ["\udc00"], "incorrects": ["b"]}])
    )
    assert (task.held_out()[0].question, task.held_out()[0].answer) == ("\ufffd?", "\ufffd")


def test_options_that_differ_in_case_or_spaces_are_told_apart(tmp_path: Path) -> None:
    row = {"prompt": "Q?", "corrects": [" Yes"], "incorrects": ["yes", " Yes."]}
    task = load(write_rows(tmp_path / "rows.jsonl", [row]))
    (problem,), verifier = task.held_out(), make_verifier(task.verifier)
    rationales = [make_rationale(problem, option, answer=option) for option in (" Yes", "yes", " Yes.")]
    outcomes = [verifier.verify(problem=problem, rationale=one).outcome for one in rationales]
    assert outcomes == ["correct", "incorrect", "incorrect"]


TEXTS = "'corrects' needs one text, and 'incorrects' one or more"
SHAPE = "expected an object with 'prompt', 'corrects' and 'incorrects', or with 'chosen' and 'rejected'"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON (Expecting property name"),
        ("[" * 100_000, "not JSON ("),
        ([1], SHAPE),
        ("7", SHAPE),
        ({"question": "Q?"}, SHAPE),
        ({**CHOICE, "prompt": 7}, "'prompt' is not a text"),
        ({**CHOICE, "prompt": " \n"}, "'prompt' is not a text"),
        ({"prompt": "Q?", "incorrects": ["a"]}, TEXTS),
        ({"prompt": "Q?", "corrects": ["a"]}, TEXTS),
        ({**CHOICE, "corrects": []}, TEXTS),
        ({**CHOICE, "corrects": ["a", "b"]}, TEXTS),
        ({**CHOICE, "corrects": "a"}, TEXTS),
        ({**CHOICE, "incorrects": []}, TEXTS),
        ({**CHOICE, "incorrects": {"a": 1}}, TEXTS),
        ({**CHOICE, "corrects": [1]}, "an option is not a text"),
        ({**CHOICE, "incorrects": ["a", None]}, "an option is not a text"),
        ({**CHOICE, "incorrects": ["a", ""]}, "an option is not a text"),
        ({**CHOICE, "incorrects": [" (B)"]}, "two options are the same text"),
        ({**CHOICE, "incorrects": ["a", "a"]}, "two options are the same text"),
        ({**CHOICE, "incorrects": ["\ud800", "\ud801"]}, "two options are the same text"),
        ({"chosen": TALK}, "'chosen' and 'rejected' must be two texts"),
        ({"rejected": TALK}, "'chosen' and 'rejected' must be two texts"),
        ({"chosen": TALK, "rejected": [TALK]}, "'chosen' and 'rejected' must be two texts"),
    ],
    ids=lambda one: str(one)[:50],
)
def test_a_bad_line_is_named(row: Any, message: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [CHOICE, row])
    with pytest.raises(TaskError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:2: {message}")


@pytest.mark.parametrize(("suffix", "pack"), [(".jsonl", False), (".jsonl.gz", True)])
def test_a_pair_of_dialogues_is_its_common_beginning_and_two_answers(suffix: str, pack: bool, tmp_path: Path) -> None:
    path = write_rows(tmp_path / f"rows{suffix}", [EQUAL, PAIR, STRANGERS, BLANK, CHOICE])
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == pack
    task = load(path)
    found, choice = task.held_out()
    # The two answers begin alike (" With "), and the prompt still ends with the turn.
    assert found.question == TALK
    assert found.answer == " With pleasure."
    assert found.options == (" With pleasure.", " With what?")
    assert choice.question == CHOICE["prompt"]
    assert task.left_out == 3


def test_an_answer_that_begins_the_other_one_is_another_answer(tmp_path: Path) -> None:
    row = {"chosen": f"{TALK} No", "rejected": f"{TALK} No, never."}
    assert load(write_rows(tmp_path / "rows.jsonl", [row])).held_out()[0].options == (" No", " No, never.")


def test_dialogues_that_part_earlier_are_cut_there(tmp_path: Path) -> None:
    row = {"chosen": "\n\nHuman: A\n\nAssistant: B" + TALK, "rejected": "\n\nHuman: A\n\nAssistant: C" + TALK}
    (found,) = load(write_rows(tmp_path / "rows.jsonl", [row])).held_out()
    assert (found.question, found.answer) == ("\n\nHuman: A\n\nAssistant:", " B" + TALK)


def test_a_file_without_a_problem_says_why(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [EQUAL, STRANGERS])
    with pytest.raises(TaskError, match=r"rows.jsonl: holds no problem; its 2 pairs of dialogues share no beginning"):
        load(path)
    with pytest.raises(TaskError, match=r"none.jsonl: holds no problem$"):
        load(write_rows(tmp_path / "none.jsonl", ["", " "]))


def test_only_so_many_problems_are_taken_and_always_the_same(tmp_path: Path) -> None:
    rows = [{**CHOICE, "prompt": f"{number}?"} for number in range(40)]
    some = load(write_rows(tmp_path / "rows.jsonl", rows), held_out=10).held_out()
    again = load(write_rows(tmp_path / "again.jsonl", rows[::-1]), held_out=10).held_out()
    assert len(some) == 10 and {one.id for one in some} == {one.id for one in again}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(b"x" * 1000)[:-9], "a damaged gzip file"),
        (gzip.compress(b"x" * 1000)[:10] + b"\xff" * 30, "a damaged gzip file"),
        (gzip.compress(b"\xff\xfe"), "not a UTF-8 text file"),
        (None, "No such file or directory"),
    ],
    ids=["plain", "cut off", "broken", "no text", "missing"],
)
def test_a_packed_file_that_cannot_be_read_is_named(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_file_that_is_too_large_is_not_read_to_its_end(name: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / name, [" " * 50_000_000])
    tracemalloc.start()
    try:
        with pytest.raises(TaskError, match=r"holds more than 1,000 characters; split it"):
            read_text(path, 1000)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "problems", "left_out"),
    [
        ("cai/evals/438HHHEvaluations.jsonl", 438, 0),
        ("cai/evals/HarmfulVsEthical.jsonl", 254, 0),
        ("cai/evals/HarmfulnessClassification.jsonl", 287, 0),
        ("hh-rlhf/harmless-base/test.jsonl.gz", 2308, 4),  # four chosen answers are blank
    ],
)
def test_the_public_files_load(name: str, problems: int, left_out: int, data_folder: Path) -> None:
    path = data_folder / name
    if not path.exists():
        pytest.skip(f"no {path}")
    task = load(path)
    assert (len(task.held_out()), task.left_out) == (problems, left_out)
    for one in task.held_out():
        assert one.answer in one.options and len(set(one.options)) == len(one.options) >= 2
        assert one.question.endswith("\n\nAssistant:" if "hh-rlhf" in name else ("is:", ":", "("))


# --- picking -------------------------------------------------------------------------------------------------


class KnownEngine(ScriptedEngine):
    """An engine whose log-probabilities are a function of the prompt and the continuation."""

    def __init__(
        self, score: Callable[[str, str], float | None], write: Callable[[str, int], str] = lambda prompt, seed: ""
    ) -> None:
        super().__init__(write)
        self.known, self.asked = score, list[int]()

    def score(self, pairs: Sequence[tuple[str, str]], *, end: bool = False) -> list[Score]:
        self.asked.append(len(pairs))
        found = [self.known(*pair) for pair in pairs]
        assert not end
        return [Score(0.0, 0, too_long=True) if one is None else Score(one, 7) for one in found]


def pick(known: Mapping[str, float | None], *problems: Problem) -> list[Rationale]:
    engine = KnownEngine(lambda prompt, option: known[option])
    writer = Writer(engine, CHECKPOINT, lambda problem, text: "never asked", (), round=3, seed=9)
    return list(pick_options(problems, writer=writer, render=lambda one: f"<{one.question}>"))


ABC = make_problem("Q", "b", options=("a", "b", "c"))


@pytest.mark.parametrize(
    ("logprobs", "picked", "logprob"),
    [
        ((-3.0, -1.0, -2.0), "b", -1.0),
        ((-1.0, -3.0, -2.0), "a", -1.0),
        ((-3.0, -2.0, -1.5), "c", -1.5),
        ((-1.0, -1.0, -2.0), None, -1.0),  # equally likely
        ((-2.0, -1.0, -2.0), "b", -1.0),  # only what is below is equal
        ((-2.0, -2.0, -2.0), None, -2.0),
    ],
)
def test_the_likeliest_option_is_picked(logprobs: tuple[float, ...], picked: str | None, logprob: float) -> None:
    (found,) = pick(dict(zip("abc", logprobs, strict=True)), ABC)
    assert (found.answer, found.text, found.logprob, found.tokens) == (picked, picked or "", logprob, 7)
    assert (found.problem, found.checkpoint, found.prompt, found.round) == (ABC.id, CHECKPOINT, "<Q>", 3)
    assert found.finish == "stop"


def test_a_problem_that_the_model_has_no_room_for_is_too_long() -> None:
    (found,) = pick({"a": -1.0, "b": None, "c": -2.0}, ABC)
    assert (found.answer, found.text, found.finish, found.logprob, found.tokens) == (None, "", "too_long", 0.0, 0)


def test_each_problem_is_scored_with_its_own_options_and_some_at_once() -> None:
    problems = [
        make_problem(f"{n}", "x", options=tuple(f"{n}{letter}" for letter in "xyz"[: 2 + n % 2])) for n in range(150)
    ]
    known = {option: float(-((int(option[:-1]) + ord(option[-1])) % 3)) for one in problems for option in one.options}
    engine = KnownEngine(lambda prompt, option: known[option])
    writer = Writer(engine, CHECKPOINT, lambda problem, text: None, (), round=0, seed=0)
    found = list(pick_options(problems, writer=writer, render=lambda one: one.question))
    assert [one.problem for one in found] == [one.id for one in problems]
    assert [one.answer for one in found] == [max(one.options, key=known.__getitem__) for one in problems]
    assert len(engine.asked) == 3 and engine.asked[0] == AT_ONCE * 5 // 2


def test_a_prompt_stands_as_it_is_whatever_the_recipe_shows() -> None:
    settings = Prompting(style="zero-shot-cot", question="Question: {question}", cue="\nA:", stop=("\n",))
    assert PromptFormat(settings).render_verbatim(ABC) == "Q"
    chat = PromptFormat(settings, chat=lambda turns: f"{turns}")
    assert chat.render_verbatim(ABC) == "[{'role': 'user', 'content': 'Q'}]"


# --- in a run ------------------------------------------------------------------------------------------------

ARITHMETIC = "{name: arithmetic, max_digits: 2, seed_total_digits: 3, held_out: 4}"
SUMS = [{"prompt": f"?{n}+1=", "corrects": [f"{n + 1}"], "incorrects": [f"{n}", f"{n + 2}#"]} for n in range(12)]


def with_sums(folder: Path, *more: str) -> list[str]:
    """The overrides that evaluate twelve scored problems beside the sixteen of the small recipe."""
    path = write_rows(folder / "sums.jsonl", [*SUMS, EQUAL])
    return [f"evaluate_on=[{ARITHMETIC}, {{name: scored/sums, path: {path}}}]", *more]


def answer(prompt: str) -> str:
    operands = parse_addition(prompt.rpartition("?")[2])
    assert operands is not None
    return write_rationale(*map(int, operands))


def right(prompt: str, option: str) -> float:
    return 0.0 if int(prompt[1:-3]) + 1 == int(option.rstrip("#")) else -1.0


def picks_until_trained(checkpoint: Checkpoint, session: Session) -> KnownEngine:
    """Every checkpoint answers all sums, and only the first one picks the right options."""
    sign = -1.0 if checkpoint.method == "sft" else 1.0
    return KnownEngine(lambda prompt, option: sign * right(prompt, option), lambda prompt, seed: answer(prompt))


class Lines(Silent):
    """A report that keeps the summaries."""

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    def end(self, stage: PlannedStage, manifest: Manifest, summary: str) -> None:
        self.lines[str(stage)] = summary


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Lines]:
    """A finished run of one round with a real model, and what it reported."""
    folder, report = tmp_path_factory.mktemp("scored"), Lines()
    run = RunFolder(folder / "run")
    run_loop(
        small_recipe(folder, *with_sums(folder, "rounds=1", "prompt.cue='#'", "promote.tasks=[arithmetic]")),
        run,
        report=report,
    )
    return run, report


@pytest.mark.parametrize(("round_", "stage"), [(0, "warmup"), (1, "sft")])
def test_a_run_picks_what_its_checkpoint_finds_likeliest(
    round_: int, stage: str, done: tuple[RunFolder, Lines]
) -> None:
    run, _ = done
    checkpoint = run.stage(round_, stage).read(Checkpoint)[0]
    engine = TransformersEngine(run.path / checkpoint.path, device="cpu", threads=1)
    problems = [one for one in run.stage(0, "problems").read(Problem) if one.task == "scored/sums"]
    found = {one.problem: one for one in run.stage(round_, "evaluate").read(Rationale)}
    verdicts = {one.rationale: one for one in run.stage(round_, "evaluate").read(Verdict)}
    assert len(problems) == 12 and len(found) == 28
    correct = 0
    for problem in problems:
        scores = [one.logprob for one in engine.score([(problem.question, option) for option in problem.options])]
        picked = problem.options[scores.index(max(scores))]
        rationale = found[problem.id]
        assert (rationale.answer, rationale.prompt) == (picked, problem.question)
        assert rationale.logprob == pytest.approx(max(scores), abs=1e-3)
        assert verdicts[rationale.id].outcome == ("correct" if picked == problem.answer else "incorrect")
        correct += picked == problem.answer
    (mine,) = [one for one in run.stage(round_, "evaluate").read(Evaluation) if one.task == "scored/sums"]
    assert (mine.n, mine.correct, mine.undecided, (mine.low, mine.high)) == (12, correct, 0, wilson(correct, 12))


def test_each_task_has_its_own_line(done: tuple[RunFolder, Lines]) -> None:
    run, report = done
    shown = io.StringIO()
    print_status(run, Console(file=shown, width=160))
    table = shown.getvalue().partition("Held-out accuracy by task")[2].partition("Held-out accuracy by level")[0]
    for round_, tasks in to_json(run)["tasks"].items():
        found = run.stage(round_, "evaluate").read(Evaluation)
        assert [one["task"] for one in tasks] == ["arithmetic", "scored/sums"]
        for one in tasks:
            mine = [each for each in found if each.task == one["task"]]
            correct, n = sum(each.correct for each in mine), sum(each.n for each in mine)
            low, high = wilson(correct, n)
            assert (one["correct"], one["n"], one["low"], one["high"]) == (correct, n, low, high)
            assert n == {"arithmetic": 16, "scored/sums": 12}[one["task"]]
            line = f"{one['task']} {correct / n:.1%} of {n} {low:.1%} to {high:.1%} {one['undecided']}"
            assert f"{round_} {line}" in [" ".join(row.split()) for row in table.splitlines()]
            summary = f"{one['task']} {correct / n:.1%} of {n} (95% interval {low:.1%} to {high:.1%})"
            assert summary in report.lines[f"round-{round_:02d}/evaluate"].split("; ")[1:]


def test_rows_that_are_left_out_are_counted(done: tuple[RunFolder, Lines]) -> None:
    run, report = done
    manifest = run.stage(0, "problems").manifest()
    assert manifest and manifest.metrics == {"rows left out": {"scored/sums": 1}}
    assert report.lines["round-00/problems"] == "scored/sums: 1 rows make no problem and are left out"


def test_a_single_task_has_no_line_of_its_own(tmp_path: Path) -> None:
    run, report = RunFolder(tmp_path / "run"), Lines()
    run_loop(small_recipe(tmp_path, "rounds=0"), run, report=report, load=picks_until_trained)
    assert report.lines["round-00/evaluate"] == "16 of 16 held-out problems correct (100.0%)"
    assert report.lines["round-00/problems"] == ""
    shown = io.StringIO()
    print_status(run, Console(file=shown, width=160))
    assert "by level" in shown.getvalue() and "by task" not in shown.getvalue()


def promotion_of(folder: Path, *overrides: str) -> Promotion:
    run = RunFolder(folder / "run")
    recipe = small_recipe(folder, *with_sums(folder, "rounds=1", "promote.rule=not-worse", *overrides))
    run_loop(recipe, run, load=picks_until_trained)
    assert [sum(one.correct for one in run.stage(at, "evaluate").read(Evaluation)) for at in (0, 1)] == [28, 16]
    return run.stage(1, "promote").read(Promotion)[0]


def test_all_evaluated_problems_decide_without_a_list(tmp_path: Path) -> None:
    found = promotion_of(tmp_path)
    assert (found.promoted, found.won, found.lost) == (False, 0, 12)


@pytest.mark.parametrize(
    ("tasks", "promoted", "lost", "of"),
    [("[arithmetic]", True, 0, 16), ("[scored/sums]", False, 12, 12), ("[arithmetic, scored/sums]", False, 12, 28)],
)
def test_only_the_problems_of_the_named_tasks_decide(
    tasks: str, promoted: bool, lost: int, of: int, tmp_path: Path
) -> None:
    found = promotion_of(tmp_path, f"promote.tasks={tasks}")
    assert (found.promoted, found.won, found.lost) == (promoted, 0, lost)
    assert f"{lost} lost of {of} " in found.reason


def test_a_run_that_stops_between_two_parts_goes_on(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, *with_sums(tmp_path, "rounds=0", "evaluate.part_size=5"))
    whole, stopped = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped")
    run_loop(recipe, whole, load=picks_until_trained)
    asked: list[str] = []

    def stops(checkpoint: Checkpoint, session: Session) -> KnownEngine:
        def score(prompt: str, option: str) -> float:
            asked.append(prompt)
            if len(asked) == 20:  # in the second of the scored parts
                raise KeyboardInterrupt
            return right(prompt, option)

        return KnownEngine(score, lambda prompt, seed: answer(prompt))

    with pytest.raises(KeyboardInterrupt):
        run_loop(recipe, stopped, load=stops)
    asked += [""] * 20  # it does not stop again
    run_loop(recipe, stopped, load=stops)
    assert record_ids(stopped) == record_ids(whole)
    assert asked[40:].count("?0+1=") == 0 and len(asked) == 40 + 3 * 7  # the part that was there is not done again


def test_few_shot_exemplars_are_not_asked_of_a_scored_task(tmp_path: Path) -> None:
    folder = tmp_path / "bbh"
    (folder / "cot-prompts").mkdir(parents=True)
    examples = [{"input": f"Is {n} even?", "target": "Yes"} for n in range(9)]
    (folder / "navigate.json").write_text(json.dumps({"examples": examples}))
    shown = "Navigate.\n\nQ: Is 2 even?\nA: Let's think step by step.\n2 is even. So the answer is Yes."
    (folder / "cot-prompts/navigate.txt").write_text(f"canary\n-----\n{shown}")
    bbh = f"{{name: bbh/navigate, path: {folder}}}"
    recipe = small_recipe(
        tmp_path,
        *("warmup=null", "model.build=null", "model.path=none", "prompt.style=few-shot-cot", "select.sources=samples"),
        *(f"train={bbh}", f"evaluate_on=[{bbh}, {{name: scored/sums, path: {write_rows(tmp_path / 's', SUMS)}}}]"),
    )
    session = Session(recipe, RunFolder(tmp_path / "run"))
    assert [*session.inputs.own_exemplars] == ["bbh/navigate"] and len(session.inputs.held_out) > 12


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train={name: scored/x, path: p}", "'scored/x' is only evaluated, never trained on; name it in 'evaluate_on'"),
        ("evaluate_on=[{name: scored/x}]", "'evaluate_on.0.path' is missing"),
        (
            "evaluate_on=[{name: scored/x, path: p, limit: 3}]",
            "unknown key 'limit'; known: held_out, name, path; elsewhere there is "
            "'evaluate.limit', 'comply.limit', 'repair.limit'",
        ),
        (
            "evaluate_on=[{name: scored/x, path: p}, {name: scored/x, path: q}]",
            "'scored/x' is evaluated twice; give each file a name of its own",
        ),
        ("promote.tasks=[arithmetik]", "'arithmetik' is not evaluated; did you mean 'arithmetic'?"),
    ],
)
def test_a_mistake_in_the_recipe_is_one_line(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        small_recipe(tmp_path, "warmup=null", "model={path: some/model}", override)
    assert str(caught.value) == f"--set {override}: {message}"
