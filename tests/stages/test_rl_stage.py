"""The stage `rl`: RLVR as a run, its records and figures, a kill in the midst of it, and mistakes as one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import record_ids, small_recipe, weight_hashes

from selfimprove.errors import RecipeError, TrainingError
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Evaluation, Frontier, Problem, Promotion, Rationale, Rollout, Verdict
from selfimprove.running.figures import round_figures
from selfimprove.running.loop import run_loop
from selfimprove.running.progress import describe_manifest
from selfimprove.stages.rl import RL
from selfimprove.store import RunFolder, StageFolder
from selfimprove.store.stage import Underway

SMALL = (
    "rounds=2",
    "model.build={hidden_size: 32, intermediate_size: 64, layers: 1, heads: 1, head_size: 32}",
    "warmup={examples: 24, steps: 6, batch_size: 4, learning_rate: 0.01}",
    "frontier.problems=6",
    "train.held_out=2",
    "rl={steps: 4, batch_size: 8, samples: 4, max_tokens: 12, learning_rate: 0.003, kl: 0.1}",
    "promote.rule=always",
)
SUPPORT = Path(__file__).parent.parent / "support"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "rlvr")
    run_loop(load_recipe("rlvr", SMALL), folder)
    return folder


def stage(run: RunFolder, round_: int, name: str) -> StageFolder:
    return run.stage(round_, name)


def test_rlvr_goes_from_problems_to_a_checkpoint_with_every_text_on_disk(run: RunFolder) -> None:
    start = stage(run, 0, "warmup").read(Checkpoint)[-1]
    for round_ in (1, 2):
        rl = stage(run, round_, "rl")
        texts, verdicts, rollouts = rl.read(Rationale), rl.read(Verdict), rl.read(Rollout)
        assert len(texts) == len(verdicts) == len(rollouts) == 4 * 8
        problems = stage(run, round_, "frontier").read(Problem)
        assert {one.problem for one in texts} <= {one.id for one in problems}
        assert {one.checkpoint for one in texts} == {start.id}
        [trained] = rl.read(Checkpoint)
        assert trained.parents == (start.id, *(one.id for one in problems))
        assert trained.method == "rl"
        evaluated = stage(run, round_, "evaluate").read(Evaluation)
        assert {one.parents[0] for one in evaluated} == {trained.id}
        [promotion] = stage(run, round_, "promote").read(Promotion)
        assert promotion.checkpoint == trained.id
        start = trained


def test_the_next_round_draws_by_what_the_policy_reached_meanwhile(run: RunFolder) -> None:
    decided = [one for one in stage(run, 1, "rl").read(Verdict) if one.outcome != "undecided"]
    drawn = stage(run, 2, "frontier").read(Frontier)
    assert sum(one.attempts for one in drawn) == len(decided) > 0


def test_a_round_of_rl_is_told_by_figures_and_one_line(run: RunFolder) -> None:
    manifest = stage(run, 1, "rl").manifest()
    assert manifest is not None
    figures = RL.figures(manifest)
    told = [f"rl/{name}_after" for name in ("reward", "KL", "entropy", "tokens", "cut_off")]
    assert set(told) <= set(figures)
    assert figures["rl/KL_before"] == pytest.approx(0.0, abs=1e-5)
    assert figures["rl/reward_after"] == round_figures(run, 1)["rl/reward_after"]
    line = describe_manifest(manifest, "")
    assert "loss" not in line  # it is about 0 by construction
    assert manifest.tokens["written"] == sum(one.tokens for one in stage(run, 1, "rl").read(Rationale))
    curve = Underway.model_validate_json((run.path / "round-01/rl/checkpoint/training.json").read_text())
    assert [one.step for one in curve.curve] == [1, 2, 3, 4]


MISTAKES = [
    ("rl.kl=0", "'rl.kl: 0' would hold the policy to nothing, .* say 'reference: none' as well"),
    ("rl.reference=none", "'rl.reference: none' needs 'kl: 0'"),
    ("rl.samples=1", "'rl.samples: 1' leaves no other text to compare one with; at least 2 are needed"),
    ("rl.samples=3", "64 texts are written at once .* which is no multiple of 'samples: 3'"),
    ("rl.rewards={verifer: 1}", "unknown reward 'verifer'; did you mean 'verifier'"),
    ("rl.rewards={verifier: 0}", "'rl.rewards' is empty: nothing would be learned"),
    ("rl.rewards={constitution: 1}", "the reward 'constitution' needs a 'constitution'"),
    ("rl.rewards={model: 1}", "the reward 'model' needs a stage before it that trains a reward model"),
    ("rl.scale=none", "'loss' and 'scale' are GRPO's"),
    ("rl={ptx: 1.0, accumulate: 2}", "'rl.ptx' and 'accumulate: 2' do not go together"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES, ids=[change for change, _ in MISTAKES])
def test_a_mistake_is_one_line(change: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe("rlvr", (change,))
    assert "\n" not in str(caught.value)


def test_no_reference_is_possible_where_it_is_meant() -> None:
    recipe = load_recipe("rlvr", ("rl.kl=0", "rl.reference=none"))
    assert recipe.stages.rl.kl == 0


def test_a_constitution_without_a_check_gives_no_reward(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nprinciples: [{id: kind, text: Be kind.}]\n")
    changes = (*SMALL, f"constitution={own}", "rl.rewards={constitution: 1}", "rounds=1")
    with pytest.raises(TrainingError, match="the constitution 'own' has no principle with a 'check'"):
        run_loop(load_recipe("rlvr", changes), RunFolder(tmp_path / "run"))


BY_VERDICTS = ("rl={%s, checkpoint_every: 4}",)
BY_A_REWARD_MODEL = (
    "train={name: rising, held_out: 4}",
    "flow=[frontier, generate, verify, select, {gold: rank}, label, reward, rl, evaluate, promote]",
    *(f"{name}=null" for name in ("repair", "rationalize", "sft")),
    "gold.reward=rising",
    "generate.samples=4",
    "reward={steps: 8, batch_size: 4, max_length: 64, learning_rate: 0.001, checkpoint_every: 4}",
    "rl={%s, checkpoint_every: 4, rewards: {model: 1, rising: 0}}",
)


@pytest.mark.long
@pytest.mark.parametrize("by", [BY_VERDICTS, BY_A_REWARD_MODEL], ids=["by verdicts", "by a reward model"])
def test_a_run_killed_while_it_writes_and_trains_ends_as_one_that_was_never_killed(
    by: tuple[str, ...], tmp_path: Path
) -> None:
    settings = "steps: 40, batch_size: 8, samples: 4, batches: 2, max_tokens: 8, learning_rate: 0.003"
    changes = ("rounds=1", *(one.replace("%s", settings) for one in by))
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "small")
    run_loop(small_recipe(tmp_path / "recipe", *changes), whole)
    names = (
        "rollout-00000.parquet",
        "training/checkpoint-4/files.json",
        "training/checkpoint-12",
        "training/checkpoint-20/files.json",
        "rollout-00001.parquet",
        "training/checkpoint-36/files.json",
        "checkpoint",
    )
    moments = [f"round-01/rl/{name}" for name in names]
    if by == BY_A_REWARD_MODEL:  # in the midst of its training too
        moments = ["round-01/reward/training/checkpoint-4/files.json", *moments[1::2]]
    command = [sys.executable, str(SUPPORT / "kill_run.py"), str(killed.path), *changes, *moments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, cwd=SUPPORT, capture_output=True, text=True, timeout=500)
    results = [line.split()[0] for line in done.stdout.splitlines() if line.split()[0] in ("killed", "finished")]
    assert results.count("killed") >= len(moments) - 2, done.stdout + done.stderr
    assert results[-1] == "finished", done.stdout + done.stderr
    assert record_ids(killed) == record_ids(whole)
    assert weight_hashes(killed) == weight_hashes(whole)
