"""The recipe `long-addition`: what it plans, and a miniature of it with all its stages and few steps."""

import pytest
from small import record_ids

from selfimprove.recipe import Recipe
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Decision, Evaluation, Example, Frontier, Problem, Rationale, Verdict
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder
from selfimprove.tasks.places import ALPHABET, MOST_DIGITS, Operands, write_places, write_question

MINIATURE = (
    "rounds=2", "train.max_digits=6", "train.seed_digits=2", "train.held_out=3", "train.reach=2",
    "model.build.hidden_size=32",
    "model.build.intermediate_size=32", "model.build.heads=1", "warmup.examples=40", "warmup.steps=3",
    "frontier.problems=24", "frontier.policy=yields", "frontier.open_at=0.5", "generate.max_tokens=40",
    "generate.part_size=10", "sft.steps=2",
    "evaluate.part_size=10",
)  # fmt: skip


def recipe(*changes: str) -> Recipe:
    return load_recipe("long-addition", changes)


def test_the_longest_rationales_fit_everywhere() -> None:
    shipped = recipe()
    build, generate, digits = shipped.model.build, shipped.stages.generate, shipped.train.max_digits
    assert build is not None and set(build.alphabet) == set(ALPHABET) and digits <= MOST_DIGITS
    longest = Operands("9" * digits, "9" * digits, 0)
    prompt, text = len(write_question(longest)) + 1, len(write_places(longest)) + 1  # a token a character, and the ends
    assert text <= generate.max_tokens
    assert prompt + generate.max_tokens <= build.max_positions
    assert prompt + text <= shipped.stages.sft.max_length
    seed = Operands("9" * shipped.train.seed_digits, "9" * shipped.train.seed_digits, 0)
    assert len(write_question(seed)) + len(write_places(seed)) + 2 <= shipped.stages.warmup.max_length
    assert shipped.train.seed_digits == 3  # nothing longer is ever shown
    assert shipped.stages.select.require == "steps"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("long") / "run")
    run_loop(recipe(*MINIATURE), folder)
    return folder


def test_a_miniature_evaluates_every_length_and_opens_those_in_reach(run: RunFolder) -> None:
    for round_ in range(3):
        found = run.stage(round_, "evaluate").read(Evaluation)
        assert [(one.group, one.n) for one in found] == [(str(n), 3) for n in range(1, 7)]
    first, second = ({one.group: one for one in run.stage(at, "frontier").read(Frontier)} for at in (1, 2))
    assert [first[str(n)].state for n in range(1, 7)] == ["mastered", "mastered", "open", "open", "closed", "closed"]
    assert [second[str(n)].state for n in range(3, 7)] == ["open", "open", "closed", "closed"]  # nothing passed yet
    assert "below 50%" in second["6"].reason
    drawn = {one.group for one in run.stage(1, "frontier").read(Problem)}
    assert drawn == {"1", "2", "3", "4"}


def test_only_seeds_and_what_passed_every_step_are_trained(run: RunFolder) -> None:
    seeds = run.stage(0, "warmup").read(Example)
    assert len(seeds) == 40 and {one.group for one in seeds} == {"1", "2"}
    for round_ in (1, 2):
        judged = {one.rationale: one for one in run.stage(round_, "verify").read(Verdict)}
        written = {one.id for one in run.stage(round_, "generate").read(Rationale)}
        assert written == set(judged)
        for one in run.stage(round_, "select").read(Decision):
            verdict = judged[one.parents[0]]
            steps = {step.outcome for step in verdict.steps}
            assert not one.kept or (verdict.outcome == "correct" and steps == {"correct"})


def test_a_miniature_that_runs_again_changes_nothing(run: RunFolder) -> None:
    before = record_ids(run)
    run_loop(recipe(*MINIATURE), run)
    assert record_ids(run) == before
