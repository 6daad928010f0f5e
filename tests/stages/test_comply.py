"""A run whose rounds follow a constitution more and then less: what is measured, said, drawn and decided by it."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from builders import make_comparison, make_constitution, make_problem, make_rationale
from chain import Adder
from rich.console import Console
from small import SMALL, record_ids, small_recipe

from selfimprove.constitution.adherence import FIGURES, TRIAL, Answers, read_rows
from selfimprove.constitution.trial import ASKED, count_trial, mismatched, passes, trial_principle
from selfimprove.engines import Completion, Engine, Request, Score
from selfimprove.errors import RecipeError
from selfimprove.recipe import Sampling
from selfimprove.recipe.file import change_recipe
from selfimprove.records import Checkpoint, Comparison, Compliance, Promotion, Rationale, Revision, Verdict
from selfimprove.results.principle_report import print_report
from selfimprove.results.status import print_status, to_json
from selfimprove.running.estimate import print_plan
from selfimprove.running.figures import round_figures
from selfimprove.running.loop import run_loop
from selfimprove.running.progress import describe_manifest
from selfimprove.running.session import Session
from selfimprove.stages.comply import COMPLY
from selfimprove.store import RunFolder
from selfimprove.store.query import Query

PROMPTS = 9
MEASURED = (
    SMALL.replace("head_size: 32}", 'head_size: 32, alphabet: "0123456789+=#? \\n!x."}')
    .replace("rounds: 2", "rounds: 2\nconstitution: brief.yaml")
    .replace(
        "train:",
        'open: {name: prompts/mine, path: prompts.jsonl, draw: 2, held_out: 9}\n'
        'open_prompt: {question: "Human: {question}", cue: "\\n\\nAssistant:"}\n'
        "evaluate_on: [{name: prompts/mine, path: prompts.jsonl, held_out: 9}]\ntrain:",
    )
    .replace("  repair: {samples: 2, part_size: 5}\n  rationalize: {part_size: 5}\n", "  revise: {}\n")
    .replace("hinted: 0.25, ", "")
    .replace("promote: {rule: always}", "promote: {rule: constitution}\n  comply: {part_size: 5}")
)  # fmt: skip
BRIEF = """
name: brief
principles:
  - {id: brief, text: It is brief., check: {name: length, unit: words, at_most: 4}}
  - {id: kind, title: Friendly, text: It is kind.}
"""


class Writer(Adder):
    """Writes long answers in round 0, short ones in round 1, and even longer ones in round 2, with the prompt's number
    in each word."""

    reads = True
    """Whether it looks for that number as a judge."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.words = next((count for name, count in (("01", 2), ("02", 8)) if f"round-{name}" in path), 6)

    def write_open(self, prompt: str, seed: int) -> str:
        if prompt.endswith("Revision:"):
            return " Yes."
        number = prompt.rpartition("number ")[2].partition("\n")[0]
        return " " + " ".join(f"{number}n{seed % 97}w{at}" for at in range(self.words))

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, stop: Sequence[str] = ()
    ) -> Iterator[Completion]:
        """Of an open prompt's samples the first one is cut off."""
        seen = set[str]()
        for one in super().generate(requests, sampling, stop):
            prompt = requests[one.index].prompt
            cut = sampling.temperature == 1.0 and prompt.endswith("Assistant:") and prompt not in seen
            seen.add(prompt)
            yield replace(one, finish="length") if cut else one

    def score(self, pairs: Any, *, end: bool = False) -> list[Score]:
        """Prefers the shorter answer, wherever it stands, and the first place a little; of answers to two prompts it
        knows the right one."""
        return [self._judge(prompt, option) for prompt, option in pairs]

    def _judge(self, prompt: str, option: str) -> Score:
        texts = re.findall(r"^\(A\) (.*)\n\(B\) (.*)$", prompt, re.MULTILINE)
        if not texts:
            return Score(-1.0, 1)  # the canary
        place = "(B)" in option
        if ASKED in prompt and self.reads:
            number = prompt.rpartition("Tell me about the number ")[2].partition("\n")[0]
            return Score(-float(not texts[-1][place].startswith(f"{number}n")), 1)
        return Score(-float(len(texts[-1][place])) - 0.1 * place, 1)


class Unread(Writer):
    """The same, which as a judge sees nothing but lengths."""

    reads = False


def load(checkpoint: Checkpoint, _: Session) -> Engine:
    return Writer(checkpoint.path)


def load_unread(checkpoint: Checkpoint, _: Session) -> Engine:
    return Unread(checkpoint.path)


def measured_recipe(folder: Path, *overrides: str) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "brief.yaml").write_text(BRIEF)
    rows = [{"prompt": f"Tell me about the number {at}", "tag": "numbers"} for at in range(20)]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return small_recipe(folder, *overrides, text=MEASURED)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("measured")
    folder = RunFolder(path / "run")
    run_loop(measured_recipe(path), folder, load=load)
    return folder


def figures(folder: RunFolder, round_: int) -> dict[str, Any]:
    manifest = folder.stage(round_, "comply").manifest()
    assert manifest is not None
    found: dict[str, Any] = manifest.metrics[FIGURES]
    return found


def shown(print_it: Any, *arguments: Any) -> str:
    out = StringIO()
    print_it(*arguments, Console(file=out, width=300))
    return out.getvalue()


def test_every_round_is_measured_alone_and_beside_the_rounds_before(run: RunFolder) -> None:
    found = [figures(run, round_) for round_ in range(3)]
    assert [one["checked"]["brief"]["count"] for one in found] == [0, PROMPTS, 0]
    assert all(one["checked"]["whole answers"]["count"] == PROMPTS for one in found)
    assert found[0]["beside"] == {} and not run.stage(0, "comply").read(Comparison)
    first = found[1]["beside"]
    assert first["before"] == first["round 0"]  # one and the same checkpoint, judged once
    judged = Counter(one.principle for one in run.stage(1, "comply").read(Comparison))
    assert judged == {"kind": PROMPTS, "overall": PROMPTS, "right-prompt": PROMPTS}
    assert (first["before"]["checked"]["brief"]["won"], first["before"]["checked"]["brief"]["lost"]) == (PROMPTS, 0)
    assert first["before"]["judged"].keys() == {"kind", "overall"}
    assert first["before"]["judged"]["kind"]["rate"] == 1.0  # this judge likes what is short
    second = found[2]["beside"]
    assert (second["before"]["round"], second["round 0"]["round"]) == (1, 0)
    assert second["before"]["checked"]["brief"]["lost"] == PROMPTS
    assert second["round 0"]["checked"]["brief"] == {"won": 0, "lost": 0, "n": PROMPTS, "p": 1.0}
    assert second["round 0"]["judged"]["overall"]["rate"] == 0.0


def test_what_each_answer_was_found_to_be_is_a_record(run: RunFolder) -> None:
    answers = {one.id: one for one in run.stage(1, "evaluate").read(Rationale)}
    found = run.stage(1, "comply").read(Compliance)
    assert {one.response for one in found} == answers.keys() and len(found) == PROMPTS
    assert {(one.principle, one.outcome, one.reason) for one in found} == {("brief", "correct", "2 words")}
    assert {one.constitution.split()[0] for one in found} == {"brief"}


def test_a_round_that_follows_a_principle_less_is_rolled_back(run: RunFolder) -> None:
    kept, back = (run.stage(round_, "promote").read(Promotion)[0] for round_ in (1, 2))
    assert kept.promoted and kept.reason == (
        "kept, no principle is followed less: whole answers 0 won, 0 lost of 9; brief 9 won, 0 lost of 9; "
        "kind preferred in 100.0% of 9; overall preferred in 100.0% of 9"
    )
    assert not back.promoted
    assert back.reason == (
        "rolled back, the constitution is followed less: brief: 0 won, 9 lost of 9 (McNemar p = 0.0039); "
        "kind: preferred in 0.0% of 9 (sign test p = 0.0039); overall: preferred in 0.0% of 9 (sign test p = 0.0039)"
    )


def test_what_a_judge_says_counts_where_it_knows_an_answer_from_one_to_another_prompt(
    run: RunFolder, tmp_path: Path
) -> None:
    trial = figures(run, 1)[TRIAL]
    assert (trial["won"], trial["n"]) == (PROMPTS, PROMPTS) and trial["low"] > 0.5
    tried = [
        [one.parents for one in run.stage(round_, "comply").read(Comparison) if one.principle == "right-prompt"]
        for round_ in (1, 2)
    ]
    first = {one.id for one in run.stage(0, "evaluate").read(Rationale)}
    assert tried[0] == tried[1] and {name for one in tried[0] for name in one[:2]} <= first  # no training spoils them
    assert round_figures(run, 1)["win_rate/trial"] == 1.0
    folder = RunFolder(tmp_path / "run")
    recipe = measured_recipe(tmp_path)
    (tmp_path / "brief.yaml").write_text(BRIEF.replace("at_most: 4", "at_most: 40"))  # only the judge sees a difference
    run_loop(recipe, folder, load=load_unread)
    trial = figures(folder, 2)[TRIAL]
    assert trial["rate"] < 0.9 and trial["low"] <= 0.5
    worse = figures(folder, 2)["beside"]["before"]["judged"]["kind"]
    assert worse["rate"] == 0.0 and worse["p"] < 0.05
    kept = folder.stage(2, "promote").read(Promotion)[0]
    assert kept.promoted and "the judge did not pass its trial, and what it prefers does not count" in kept.reason
    text = shown(print_status, folder)
    assert "trial of the judge" in text and "may be chance" in text
    assert "may be chance" not in shown(print_status, run)
    untried = RunFolder(tmp_path / "untried")
    run_loop(change_recipe(recipe, ("comply.trial=null",)), untried, load=load_unread)
    assert figures(untried, 2)[TRIAL] is None and "trial of the judge" not in shown(print_status, untried)
    assert not untried.stage(2, "promote").read(Promotion)[0].promoted


@pytest.mark.parametrize("pairs", range(6))
def test_a_trial_takes_as_many_pairs_as_a_judge_could_pass_by(pairs: int) -> None:
    problems = [make_problem(f"{at}?", None, task="prompts/mine") for at in range(pairs)]
    texts = {one.id: make_rationale(one, f"about {at}") for at, one in enumerate(problems)}
    found = mismatched(Answers("checkpoint", 0, texts), list(texts), 24)
    assert len(found) == (pairs if pairs > 3 else 0)
    principle = trial_principle(make_constitution())
    right = [
        make_comparison(mine, other, principle=principle.id, forward=0.9, backward=0.1) for _, mine, other in found
    ]
    trial = count_trial(found, right, principle, 0.02)
    assert passes(trial) and (trial is None) == (not found)


def test_where_nobody_is_asked_a_trial_counts_for_nothing(tmp_path: Path) -> None:
    found = []
    for asked in ("judge", "null"):
        for trial in ("24", "null"):
            recipe = measured_recipe(tmp_path, f"comply={{by: {asked}, trial: {trial}}}")
            session = Session(recipe, RunFolder(tmp_path / "run"))
            found.append(session.plan[1, "comply"].fingerprint)
            session.close()
    assert found[0] != found[1] and found[2] == found[3]


def test_where_no_problem_has_an_answer_no_accuracy_is_printed(run: RunFolder) -> None:
    assert {one.outcome for one in run.stage(1, "evaluate").read(Verdict)} == {"undecided"}
    text = shown(print_status, run)
    assert " of 0" not in text and "held-out accuracy" not in text
    assert "Held-out answers by the constitution" in text
    row = next(line for line in text.splitlines() if line.split()[:2] == ["1", "brief"])
    assert "100.0% of 9" in row and "70.1% to 100.0%" in row and "9:0, p = 0.0039" in row
    assert to_json(run)["constitution"][2] == figures(run, 2)
    assert {one["accuracy"] for one in to_json(run)["tasks"][2]} == {None}
    assert "Held-out answers by the constitution" in shown(print_report, Query(run))


def test_what_was_cut_off_is_said_before_and_after(run: RunFolder, tmp_path: Path) -> None:
    said = "2 of 14 responses were cut off: for 2 another sample is taken"
    assert f"round 1: {said}" in shown(print_status, run)
    assert to_json(run)["left out"][1]["replaced"] == 2
    responses = {one.id: one for one in run.stage(1, "generate").read(Rationale)}
    revised = [responses[one.response] for one in run.stage(1, "revise").read(Revision)]
    assert revised and all(one.finish == "stop" for one in revised) and {one.sample for one in revised} == {0, 1}
    manifest = run.stage(1, "generate").manifest()
    assert manifest is not None
    assert "2 of 28 texts cut off at the longest length (raise 'generate.max_tokens', 24)" in describe_manifest(
        manifest, ""
    )
    more = shown(print_plan, change_recipe(run.recipe(), ("rounds=3",)), run)
    assert "cuts off at 24 tokens is neither criticised nor revised nor trained" in more
    assert "(4 of 56 texts in run 'run'): raise 'generate.max_tokens'" in more
    before = shown(print_plan, measured_recipe(tmp_path), RunFolder(tmp_path / "run"))
    assert "(nothing was measured yet)" in before
    # 9 prompts by one principle without a check, and by both together
    pairs = "at most 18 pairs of held-out answers in round 1, and 36 in later ones, beside round 0 too, in both orders"
    assert f"{pairs}, and 9 more in each round to try it" in before


def test_trackers_are_told(run: RunFolder) -> None:
    values = round_figures(run, 2)
    assert values["constitution/brief"] == 0.0 and values["constitution/whole_answers"] == 1.0
    assert values["win_rate/kind_against_round_0"] == 0.0
    assert values["win_rate/overall_against_before_high"] < 0.5
    assert "eval/accuracy" not in values


def test_a_lost_part_is_judged_again_as_it_was(run: RunFolder) -> None:
    before = record_ids(run)
    lost = [one for one in run.stage(2, "comply").files() if one.name.endswith("-00001.parquet")]
    assert lost
    for file in lost:
        file.unlink()
    run_loop(run.recipe(), run, load=load)
    assert record_ids(run) == before


def test_the_page_of_the_run_begins_with_it(run: RunFolder) -> None:
    client = pytest.importorskip("fastapi.testclient", reason="the extra [view] is not installed")
    from selfimprove.viewer.app import create_app

    with client.TestClient(create_app(run.path), base_url="http://127.0.0.1:8000") as get:
        page, listed = get.get("/runs/run").text, get.get("/").text
        data = get.get("/api/runs/run").json()
    assert TRIAL in page and not re.search(rf"{TRIAL}[^.]{{0,80}} is followed", page) and TRIAL not in listed
    assert page.index("Held-out answers by the constitution") < page.index("Promotions and roll-backs")
    assert "Does it follow its principles?" in page and "is followed, from " in page and "9:0, p = 0.0039" in page
    for shown_page in (page, listed):
        assert "best held-out accuracy" not in shown_page and "0.0% (" not in shown_page.partition("<main")[0]
    assert "whole answers" in listed and "not evaluated yet" not in listed
    assert data["accuracy"] == [] and data["constitution"]["1"][1]["principle"] == "brief"


def test_figures_of_another_form_are_no_lines() -> None:
    for found in (None, {}, {"checked": 3}, {"checked": {"a": {}}, "beside": {}}, {"checked": {}, "beside": []}):
        assert read_rows(found) == []


@pytest.mark.parametrize(
    ("overrides", "stages"),
    [
        ((), 3),
        (("constitution=null", "stages.revise=null", "open=null", "promote.rule=always"), 0),
        (("comply=null", "promote.rule=always"), 0),
    ],
)
def test_it_runs_where_there_is_something_to_measure(tmp_path: Path, overrides: tuple[str, ...], stages: int) -> None:
    session = Session(measured_recipe(tmp_path, *overrides), RunFolder(tmp_path / "run"))
    assert sum(stage.name == "comply" for stage in session.plan.values()) == stages
    session.close()


def test_a_model_is_measured_without_a_round(tmp_path: Path) -> None:
    """What `selfimprove evaluate prompts/mine --set constitution=…` does: nothing trains, and nobody is asked."""
    more = ("rounds=0", "train={name: prompts/mine, path: prompts.jsonl, held_out: 9}", "evaluate_on=[]", "open=null")
    recipe = measured_recipe(tmp_path, *more, "warmup=null", "model={path: some/model}", "stages.revise=null")
    session = Session(recipe, RunFolder(tmp_path / "run"))
    assert [stage.name for stage in session.plan.values()] == ["problems", "base", "evaluate", "comply"]
    assert not COMPLY.scores(recipe)
    session.close()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("comply=null",), "the rule 'constitution' needs the stage 'comply'"),
        (("evaluate_on=[]",), "needs a 'constitution', and a task with open prompts that are held out"),
        (("comply={by: null, thought: true}",), "'comply.thought' needs a judge"),
    ],
)
def test_what_the_rule_needs_is_said(tmp_path: Path, overrides: tuple[str, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        measured_recipe(tmp_path, *overrides)
