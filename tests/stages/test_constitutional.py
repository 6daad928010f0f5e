"""Rounds that go by a constitution: chains, lessons, preferences and their records, with a scripted writer and real
training."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem, make_rationale, make_verdict
from chain import CHAIN, MIXED, Adder, load_adder, mixed_recipe
from rich.console import Console
from small import record_ids, small_recipe

from selfimprove.constitution import load_constitution
from selfimprove.engines import Engine, Request
from selfimprove.engines.base import Score
from selfimprove.errors import RecipeError, StoreError, TaskError
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Prompting, Sampling
from selfimprove.recipe.file import parse_recipe
from selfimprove.recipe.recipe import compose
from selfimprove.records import (
    Checkpoint,
    Comparison,
    Critique,
    Decision,
    Example,
    Preference,
    Problem,
    Rationale,
    Revision,
    Verdict,
)
from selfimprove.records.lineage import ancestors, build_graph
from selfimprove.results.principle_report import print_report
from selfimprove.results.show import print_record
from selfimprove.results.status import print_status, to_json
from selfimprove.running.desk import StageDesk
from selfimprove.running.engine_slot import EngineOf
from selfimprove.running.estimate import print_plan
from selfimprove.running.loop import run_loop
from selfimprove.running.session import Session
from selfimprove.stages.revise import chain_stop
from selfimprove.stages.select import Select, select
from selfimprove.store import RunFolder
from selfimprove.store.principles import read_report
from selfimprove.store.query import Query
from selfimprove.tasks.addition import parse_addition


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("chain")
    folder = RunFolder(path / "run")
    run_loop(small_recipe(path, text=CHAIN), folder, load=load_adder)
    return folder


def read(folder: RunFolder, stage: str, kind: type[Any], round_: int = 1) -> list[Any]:
    return folder.stage(round_, stage).read(kind)


def shown(print_it: Any, *arguments: Any) -> str:
    out = StringIO()
    print_it(*arguments, Console(file=out, width=200))
    return out.getvalue()


def test_the_run_keeps_its_constitution_and_every_record_names_it(run: RunFolder) -> None:
    kept = load_constitution(run.path / "constitution.yaml")
    assert kept.hash == load_constitution("self-correct").hash
    critiques, revisions = read(run, "revise", Critique), read(run, "revise", Revision)
    assert critiques and revisions
    assert {one.constitution for one in (*critiques, *revisions)} == {f"self-correct 1 {kept.hash}"}
    assert {one.principle for one in (*critiques, *revisions)} == {"right-steps"}


def test_wrong_samples_are_found_and_put_right(run: RunFolder) -> None:
    samples = {one.id: one for one in read(run, "generate", Rationale)}
    first = [one for one in samples.values() if one.sample == 0]
    critiques = read(run, "revise", Critique)
    assert {one.response for one in critiques} == {one.id for one in first}
    revisions = {one.response: one for one in read(run, "revise", Revision)}
    assert {one.response for one in critiques if one.found} == revisions.keys()
    assert revisions and all(
        one.kept and (one.before, one.after) == ("incorrect", "correct") for one in revisions.values()
    )
    assert len(revisions) < len(first)  # some were right from the beginning, and nothing was found in them
    written = {one.id: one for one in read(run, "revise", Rationale)}
    for one in revisions.values():
        revised = written[one.rationale]
        assert revised.origin == "revised" and revised.parents[2] == one.response
        assert revised.parents[3] in {critique.id for critique in critiques}


def test_what_passed_is_trained_under_the_plain_question_and_as_lessons(run: RunFolder) -> None:
    examples = read(run, "select", Example)
    by_origin = {origin: [one for one in examples if one.origin == origin] for origin in
                 ("sampled", "revised", "critique", "revision")}  # fmt: skip
    assert all(by_origin.values())
    for one in by_origin["revised"]:
        assert one.prompt.endswith("=") and parse_addition(one.prompt)
    for one in by_origin["critique"]:
        assert one.prompt.count("?") == 1 and one.prompt.endswith("=")
        assert one.completion[-1] == ("x" if one.group.startswith("critique of") else ".")
    for one in by_origin["revision"]:
        assert "x!" in one.prompt and one.group.startswith("revision of")
    problems = {one.question: one for one in read(run, "frontier", Problem)}
    for one in (*by_origin["revised"], *by_origin["revision"]):
        question = one.prompt.partition("=")[0] + "="
        assert one.completion.endswith(str(problems[question].answer))


def test_revisions_are_preferred_to_what_they_revise(run: RunFolder) -> None:
    pairs = read(run, "prefer", Preference)
    written = {one.id: one for name in ("generate", "revise") for one in read(run, name, Rationale)}
    by_revision = [one for one in pairs if one.source == "revision"]
    assert by_revision and {one.principle for one in by_revision} == {"right-steps"}
    for one in pairs:
        chosen, rejected = (written[parent] for parent in one.parents[:2])
        assert (one.chosen, one.rejected) == (chosen.text, rejected.text) and chosen.problem == rejected.problem
        assert rejected.origin == "sampled"
    assert len({(one.prompt, one.chosen, one.rejected) for one in pairs}) == len(pairs)


def test_a_trained_row_is_walked_to_the_prompt_the_principle_and_its_version(run: RunFolder) -> None:
    query = Query(run)
    graph = build_graph(query.nodes())
    rows = [one for one in read(run, "select", Example) if one.origin in ("revised", "revision", "critique")]
    for example in rows:
        kinds = {graph.nodes[one]["kind"] for one in ancestors(graph, example.id)}
        assert {"problem", "rationale", "checkpoint"} <= kinds
        assert ("critique" in kinds) == (example.origin != "sampled")
    revised = next(one for one in rows if one.origin == "revised")
    text = shown(print_record, query, revised.id)
    constitution = load_constitution("self-correct")
    assert f"principle right-steps of self-correct 1 {constitution.hash}" in text
    assert "critique" in text and "names line" in text and revised.prompt in text
    for kind in (Critique, Revision):
        one = read(run, "revise", kind)[0]
        assert one.id in shown(print_record, query, one.id) and "right-steps" in shown(print_record, query, one.id)
    pair = next(one for one in read(run, "prefer", Preference) if one.source == "revision")
    assert "by revision" in shown(print_record, query, pair.id)


def test_the_report_counts_what_the_records_say(run: RunFolder) -> None:
    row = read_report(Query(run))[0]
    critiques, revisions = read(run, "revise", Critique), read(run, "revise", Revision)
    assert (row["principle"], row["drawn"], row["found"]) == (
        "right-steps", len(critiques), sum(one.found for one in critiques),
    )  # fmt: skip
    assert (row["changed"], row["kept"]) == (len(revisions), len(revisions))
    assert (row["checked"], row["passed_before"], row["passed_after"]) == (len(revisions), 0, len(revisions))
    written = {one.id: one for one in read(run, "revise", Rationale)}
    assert row["tokens"] == sum(one.tokens for one in critiques) + sum(one.tokens for one in written.values())
    assert row["best"]["kept"] and row["best"]["after"] == "correct"
    text = shown(print_report, Query(run))
    assert "0% → 100%" in text and "right-steps, the best of round 1" in text


def test_the_evaluation_says_what_the_model_can_correct(run: RunFolder) -> None:
    metrics = run.stage(1, "evaluate").manifest().metrics["revised"]  # type: ignore[union-attr]
    answers = [one for one in read(run, "evaluate", Rationale) if one.origin == "sampled"]
    assert metrics["wrong"] + metrics["right"] == len(answers) and metrics["wrong"] > 0 < metrics["right"]
    assert metrics["repaired"] == metrics["wrong"] == metrics["line named"] == metrics["critiques of wrong"]
    assert metrics["a line named"] == metrics["line named"]
    assert (metrics["spoiled"], metrics["nothing found"]) == (0, metrics["right"])
    assert "Held-out answers after critique and revision" in shown(print_status, run)
    assert to_json(run)["revised"][1] == metrics
    # The accuracy is of the answers before the revision.
    accuracy = json.loads(json.dumps(to_json(run)["evaluations"]))["1"]
    assert sum(one["correct"] for one in accuracy) == metrics["right"]


def test_a_lost_part_is_written_again_as_it_was(run: RunFolder, tmp_path: Path) -> None:
    before = record_ids(run)
    stage = run.stage(1, "revise")
    lost = [one for one in stage.files() if one.name.endswith("-00001.parquet")]
    assert len(lost) == 4  # critiques, rationales, verdicts, revisions
    for file in lost:
        file.unlink()
    run_loop(run.recipe(), run, load=load_adder)
    assert record_ids(run) == before


def test_another_constitution_is_another_run(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text((Path("policies/constitutions/self-correct.yaml")).read_text().replace("version: 1", "version: 2"))
    text = CHAIN.replace("constitution: self-correct", f"constitution: {own}").replace("critiques: 6", "critiques: 0")
    text = text[: text.index("  prefer:")] + "  promote: {rule: always}\n"
    folder = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path, text=text), folder, load=load_adder)
    warmup = record_ids(folder)["round-00/warmup/checkpoint-00000.parquet"]
    own.write_text(own.read_text().replace("version: 2", "version: 3"))
    with pytest.raises(StoreError, match=r"made with another recipe .*round-01/revise, round-01/select"):
        run_loop(folder.recipe(), folder, load=load_adder)
    run_loop(folder.recipe(), folder, load=load_adder, redo=["all"])
    assert record_ids(folder)["round-00/warmup/checkpoint-00000.parquet"] == warmup
    assert read(folder, "revise", Critique)[0].constitution.startswith("self-correct 3 ")


def test_wrong_answers_of_earlier_rounds_are_taken_up_again(tmp_path: Path) -> None:
    text = CHAIN.replace("rounds: 1", "rounds: 2").replace("lessons: true,", "lessons: true, earlier: 3,")
    folder = RunFolder(tmp_path / "run")
    run_loop(small_recipe(tmp_path, text=text), folder, load=load_adder)
    first = {one.id: one for one in read(folder, "generate", Rationale)}
    wrong = {one.rationale for one in read(folder, "verify", Verdict) if one.outcome == "incorrect"}
    critiques = read(folder, "revise", Critique, 2)
    again = {one.response for one in critiques} & first.keys()
    assert len(again) == 3 and again <= wrong
    own = {one.id for one in read(folder, "generate", Rationale, 2)}
    assert {one.response for one in critiques} - again <= own
    revised = {one.rationale: one.response for one in read(folder, "revise", Revision, 2)}
    rows = {one.parents[0]: one for one in read(folder, "select", Example, 2)}
    taught = [rows[one] for one in revised if revised[one] in again and one in rows]
    assert taught and all(
        one.prompt == first[revised[one.parents[0]]].prompt for one in taught if one.origin == "revised"
    )
    pairs = [one for one in read(folder, "prefer", Preference, 2) if one.parents[1] in again]
    assert pairs and {one.source for one in pairs} == {"revision"}


def test_one_round_mixes_problems_with_answers_and_open_prompts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    run_loop(mixed_recipe(tmp_path), folder, load=load_adder)
    drawn = read(folder, "frontier", Problem)
    open_ = {one.id: one for one in drawn if one.answer is None}
    assert len(open_) == 6 and len(drawn) > 6
    decisions = {one.rationale: one for one in read(folder, "select", Decision)}
    written = [one for name in ("generate", "revise") for one in read(folder, name, Rationale)]
    kept = [one for one in written if one.problem in open_ and decisions[one.id].kept]
    revisions = {one.rationale: one for one in read(folder, "revise", Revision)}
    # Of each chain the last revision, and never the first answer.
    assert kept and all(revisions[one.id].step == 2 for one in kept)
    reasons = {decisions[one.id].reason for one in written if one.problem in open_ and not decisions[one.id].kept}
    assert "a response to an open prompt that is not a revision" in reasons
    assert "there is a later revision of it" in reasons
    examples = read(folder, "select", Example)
    texts = [one.prompt for one in examples if one.origin == "revised" and one.parents[0] in {rr.id for rr in kept}]
    assert texts and all(one.startswith("Human: Tell me about") and one.endswith("\n\nAssistant:") for one in texts)
    assert any(one.prompt.endswith("=") for one in examples)
    by_task = {one.principle for one in read(folder, "revise", Critique)}
    assert by_task <= {"sums", "brief"} and "brief" in by_task

    comparisons, pairs = read(folder, "prefer", Comparison), read(folder, "prefer", Preference)
    assert comparisons and {one.principle for one in comparisons} == {"brief"}
    sources = {one.source for one in pairs}
    assert {"revision", "feedback", "file"} <= sources
    people = [one for one in pairs if one.source == "file"]
    assert len(people) == 2
    assert {(one.chosen.strip(), one.rejected.strip()) for one in people} == {("good", "bad")}
    assert all(len(one.chosen) < len(one.rejected) for one in pairs if one.source == "feedback")
    metrics = folder.stage(1, "prefer").manifest().metrics["comparisons"]  # type: ignore[union-attr]
    assert metrics["correlation with length"] < 0
    evaluated = folder.stage(1, "evaluate").manifest().metrics["open prompts"]  # type: ignore[union-attr]
    assert (evaluated["responses"], evaluated["refusals"]) == (2, 0)
    assert "Answers to open prompts" in shown(print_status, folder)


def test_what_the_recipe_ends_texts_by_ends_critiques_and_revisions_too(tmp_path: Path) -> None:
    stops = {}
    for given in ("[]", '["\\n\\n", "@@"]'):
        session = Session(small_recipe(tmp_path, f"prompt.stop={given}", text=CHAIN), RunFolder(tmp_path / "run"))
        stops[given] = chain_stop(StageDesk(session.plan[1, "revise"], session))
        session.close()
    plain, more = stops.values()
    assert plain and "@@" not in plain
    assert more == (*plain, *(one for one in ("\n\n", "@@") if one not in plain))


def test_a_pair_that_is_evaluated_is_not_trained(tmp_path: Path) -> None:
    recipe = mixed_recipe(tmp_path)
    other = recipe.model_dump(mode="json")
    other["evaluate_on"] = [{"name": "scored/pairs", "path": str(tmp_path / "pairs.jsonl.gz")}]
    with pytest.raises(TaskError, match=r"pairs.jsonl.gz: a pair is held out too: '\\n\\nHuman: \d"):
        Session(compose(other).model_validate(other), RunFolder(tmp_path / "run"))


def test_a_plan_says_what_the_constitution_will_ask(tmp_path: Path) -> None:
    text = shown(print_plan, mixed_recipe(tmp_path), RunFolder(tmp_path / "run"))
    # 12 problems and 6 open prompts, one response of each, two steps; three comparisons an open prompt, in two orders
    assert "asks for at most 36 critiques and 36 revisions a round" in text
    assert "`prefer` has the judge compare at most 18 pairs of responses a round, in both orders" in text
    assert any("round-01/revise" in line and "at most 13,824" in line for line in text.splitlines())  # 36 x (128 + 256)


def test_what_open_prompts_depend_on_is_in_the_fingerprints(tmp_path: Path) -> None:
    recipe = mixed_recipe(tmp_path)
    exemplars = tmp_path / "shown.yaml"
    shown_open = recipe.model_dump(mode="json")
    shown_open["open_prompt"] |= {"style": "few-shot", "exemplars": str(exemplars)}

    def fingerprints(**changes: Any) -> dict[str, str]:
        changed = parse_recipe(json.dumps({**shown_open, **changes}))
        planned = Session(changed, RunFolder(tmp_path / "run")).plan.values()
        return {str(stage): stage.fingerprint for stage in planned}

    exemplars.write_text("exemplars: [{question: One, answer: Two.}]")
    plain = fingerprints()
    fewer = fingerprints(open={**shown_open["open"], "draw": 5})
    assert plain["round-00/warmup"] == fewer["round-00/warmup"]
    assert plain["round-01/frontier"] != fewer["round-01/frontier"]
    exemplars.write_text("exemplars: [{question: One, answer: Three.}]")
    assert plain["round-01/generate"] != fingerprints()["round-01/generate"]


def test_a_chain_goes_on_where_a_judge_took_the_engine(tmp_path: Path) -> None:
    loaded = []

    def load(checkpoint: Checkpoint, _: Session) -> Engine:
        loaded.append(checkpoint.id)
        return Adder()

    session = Session(small_recipe(tmp_path, text=CHAIN), RunFolder(tmp_path / "run"), load=load)
    policy, judge = (Checkpoint(path=name, method="base", weights="") for name in ("policy", "judge"))
    writer = EngineOf(policy, session.slot)
    for checkpoint in (None, judge):
        if checkpoint:
            session.engine(checkpoint)
        assert [one.text for one in writer.generate([Request("1+2=1+2+0=03\n# 3?1+2=", 1)], Sampling())]
    assert loaded == [policy.id, judge.id, policy.id]
    session.close()


def test_a_scorer_may_decide_without_an_answer() -> None:
    problem = make_problem("Move the red car out.", None, task="reasoning_gym/rush_hour")
    rationale = make_rationale(problem, "R+2")
    verdict = make_verdict(rationale, "correct")
    decisions = select(
        [(rationale, verdict)], problems={problem.id: problem}, earlier=(),
        prompts=PromptFormat(Prompting()), shown=False, settings=Select(),
    )  # fmt: skip
    assert [type(one) for one in decisions] == [Decision, Example]


class LongAdder(Adder):
    """Prefers long texts, and so what was there before a revision."""

    def score(self, pairs: Any, *, end: bool = False) -> list[Score]:
        return [Score(-1e3 - one.logprob, one.tokens) for one in super().score(pairs, end=end)]


FLOW = "flow: [frontier, generate, verify, revise, select, prefer, sft, dpo, evaluate, promote]\n"


def test_revisions_that_are_preferred_less_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    mixed_recipe(tmp_path)  # writes its files
    recipe = small_recipe(tmp_path, "sft.preferred_less=leave out", text=MIXED + FLOW)
    run_loop(recipe, folder, load=lambda *_: LongAdder())
    lost = {
        one.parents[one.preferred > 0.5]
        for one in read(folder, "prefer", Comparison)
        if abs(2 * one.preferred - 1) >= recipe.stages.prefer.feedback.tie  # type: ignore[union-attr]
    }
    rows = read(folder, "select", Example)
    out = {one.id for one in rows if one.origin == "revised" and one.parents[0] in lost}
    trained = set(read(folder, "sft", Checkpoint)[0].parents)
    assert out and not out & trained
    assert {one.id for one in rows} - out <= trained
    assert folder.stage(1, "sft").manifest().metrics["preferred less"] == len(out)  # type: ignore[union-attr]
    for changes, trained in (("leave out", False), ("train", True)):
        again = small_recipe(tmp_path, f"sft.preferred_less={changes}", text=MIXED + FLOW)
        desk = StageDesk(Session(again, folder).plan[1, "prefer"], Session(again, folder))
        said = desk.stage.declared.say(desk)
        assert "revisions are preferred less than another response" in said
        assert ("and trained all the same (see 'sft.preferred_less')" in said) == trained


@pytest.mark.parametrize("text", [MIXED, MIXED.replace("feedback: {per_problem: 3}, ", "") + FLOW])
def test_leaving_out_needs_a_comparison_before_the_training(tmp_path: Path, text: str) -> None:
    mixed_recipe(tmp_path)
    with pytest.raises(RecipeError, match=r"'preferred_less: leave out' needs 'prefer\.feedback', and a 'flow' with"):
        small_recipe(tmp_path, "sft.preferred_less=leave out", text=text)
