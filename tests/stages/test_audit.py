"""Rewards that are only measured: what an audit says after a training, how often by chance, what it brings about."""

import json
import math
import random
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from viewing import serving

from selfimprove.errors import ModelError, RecipeError
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Audit, Checkpoint, Preference, Problem, Promotion, Rationale, Reward, Rollout
from selfimprove.records.stats import is_higher, mcnemar
from selfimprove.records.trained import Earned
from selfimprove.results.status import print_status, to_json
from selfimprove.results.steps import warn_of_held_out
from selfimprove.running.loop import run_loop
from selfimprove.running.plan import build_plan
from selfimprove.stages.audit import audit_rollouts
from selfimprove.stages.promote import Promote, promote
from selfimprove.stages.reward import REWARD, BradleyTerry
from selfimprove.store import RunFolder
from selfimprove.store.reward_models import read_reward_models
from selfimprove.tasks.scored import TURN
from selfimprove.trainers.rewarding import reward_model_function


def rollouts(means: list[tuple[float, float]], rng: random.Random, texts: int = 16) -> list[Rollout]:
    """Texts of as many steps, with rewards and gold rewards around their means."""
    return [
        Rollout(parents=(f"{step} {at}",), round=1, step=step, reward=rng.gauss(reward, 1.0), kl=0.0, advantage=0.0,
                parts=(Earned(reward="model", value=0.0), Earned(reward="gold", value=rng.gauss(gold, 1.0))))
        for step, (reward, gold) in enumerate(means) for at in range(texts)
    ]  # fmt: skip


def ramp(start: float, end: float, steps: int = 60) -> list[float]:
    return [start + (end - start) * at / (steps - 1) for at in range(steps)]


FLAT = [0.0] * 60
CASES = {
    "both rise": (ramp(0, 3), ramp(0, 3), (True, False, False)),
    "gold falls below where it began": (ramp(0, 3), ramp(0, -3), (True, True, True)),
    "gold rises and falls again": (ramp(0, 3), [*ramp(0, 3, 30), *ramp(3, 1, 30)], (True, True, False)),
    "nothing happens": (FLAT, FLAT, (False, False, False)),
    "both fall": (ramp(3, 0), ramp(3, 0), (False, True, True)),
}


@pytest.mark.parametrize(("reward", "gold", "expected"), CASES.values(), ids=list(CASES))
def test_an_audit_says_what_went_apart(
    reward: list[float], gold: list[float], expected: tuple[bool, bool, bool]
) -> None:
    [one] = audit_rollouts(rollouts(list(zip(reward, gold, strict=True)), random.Random(0)), "c", ["gold"])
    assert (one.rose, one.fell, one.worse) == expected
    assert one.warns == (expected[0] and any(expected[1:]))
    assert one.gold_highest >= max(one.gold_first, one.gold_last)
    assert ("fell from" in one.said) == one.warns


def test_an_audit_seldom_warns_by_chance() -> None:
    rng, warned = random.Random(1), 0
    for _ in range(100):
        [one] = audit_rollouts(rollouts(list(zip(ramp(0, 3, 30), FLAT, strict=False)), rng, 4), "c", ["gold"])
        warned += one.warns
    assert warned <= 12  # 5 are expected at most


def test_no_audit_where_there_is_nothing_to_tell() -> None:
    few = rollouts([(0.0, 0.0)] * 5, random.Random(0))
    assert list(audit_rollouts(few, "c", ["gold"])) == []
    many = rollouts([(0.0, 0.0)] * 30, random.Random(0))
    assert list(audit_rollouts(many, "c", [])) == []
    assert list(audit_rollouts(many, "c", ["another"])) == []


def test_higher_by_chance_or_not() -> None:
    from scipy.stats import ttest_ind

    rng = random.Random(2)
    for shift, chance in product((0.0, 0.5, 1.5), (0.5, 0.05, 0.001)):
        ones, others = [rng.gauss(shift, 1) for _ in range(6)], [rng.gauss(0, 3) for _ in range(9)]
        p_value = ttest_ind(ones, others, equal_var=False, alternative="greater").pvalue
        assert is_higher(ones, others, chance) == (p_value < chance)
    assert is_higher([2.0, 2.0], [1.0, 1.0], 0.01) and not is_higher([1.0, 1.0], [1.0, 1.0], 0.01)


@pytest.mark.parametrize(
    ("rule", "rose", "worse", "promoted"),
    [("not-worse", True, True, False), ("not-worse", True, False, True), ("not-worse", False, True, True),
     ("always", True, True, True), ("better", True, True, False)],
)  # fmt: skip
def test_what_was_hacked_is_rolled_back(rule: str, rose: bool, worse: bool, promoted: bool) -> None:
    audit = Audit(parents=("new",), gold="rising", reward_first=0.1, reward_last=1.5, gold_first=2.0, gold_last=-1.0,
                  gold_highest=2.5, step=20, rose=rose, fell=True, worse=worse)  # fmt: skip
    now = {str(at): "correct" for at in range(20)}
    before = dict.fromkeys(now, "incorrect")
    found = promote("new", "old", now=now, before=before, settings=Promote(rule=rule), audits=[audit])
    assert found.promoted == promoted
    if not promoted:
        said = "rolled back, the reward rose from 0.1 to 1.5 while rising fell from 2 to -1; 20 problems won"
        assert found.reason.startswith(said)


SMALL = (
    "model.build={hidden_size: 32, intermediate_size: 64, layers: 1, heads: 1, head_size: 32}",
    "train.held_out=6",
    "warmup={examples: 40, steps: 8, batch_size: 8, learning_rate: 0.01}",
    "frontier.problems=12",
    "generate={samples: 4, temperature: 1.0, max_tokens: 10}",
    "label.per_problem=3",
    "reward={steps: 6, max_length: 64, learning_rate: 0.001, models: 2, held_out: 0.2}",
    "rl={steps: 6, batch_size: 8, samples: 4, max_tokens: 10, learning_rate: 0.003, kl: 0.1, combine: min, "
    "rewards: {model: 1, constitution: 0.5, rising: 0}, checkpoint_every: 2}",
)
CHECKED = "name: own\nprinciples: [{id: short, text: Be short., check: {name: length, unit: characters, at_most: 6}}]\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("rlhf")
    (folder / "own.yaml").write_text(CHECKED)
    run = RunFolder(folder / "run")
    run_loop(load_recipe("rlhf", (*SMALL, f"constitution={folder / 'own.yaml'}")), run)
    return run


def test_rl_by_a_reward_model_and_a_constitution_beside_a_gold_reward(run: RunFolder) -> None:
    rl = run.stage(1, "rl")
    found = rl.read(Rollout)
    assert len(found) == 6 * 8
    for one in found:
        parts = {part.reward: part.value for part in one.parts}
        assert set(parts) == {"model", "constitution", "rising"} and parts["constitution"] in (0.0, 1.0)
        assert one.reward == pytest.approx(parts["model"] + 0.5 * parts["constitution"])  # the gold one counts nothing
    manifest = rl.manifest()
    assert manifest is not None
    last = manifest.metrics["curve"][-1]["values"]
    assert {"reward", "reward of model", "reward of constitution", "gold of rising", "KL", "entropy"} <= set(last)
    [audit], [trained] = rl.read(Audit), rl.read(Checkpoint)
    assert audit.parents == (trained.id,) and audit.gold == "rising"
    assert len(run.stage(1, "promote").read(Promotion)) == 1


def test_status_shows_the_figures_by_step_and_the_audit(run: RunFolder) -> None:
    console = Console(width=140, record=True, file=None, force_terminal=False)
    print_status(run, console)
    shown = console.export_text()
    assert "Round 1, reward: trained on " in shown and "two models agree on" in shown and "by label" in shown
    assert "Round 1, rl by step" in shown and "gold of rising" in shown and "round 1: " in shown
    status = to_json(run)
    assert [one["step"] for one in status["steps"][0]["curve"]] == [1, 2, 3, 4, 5, 6]
    assert status["audits"][1][0]["gold"] == "rising"
    [model], manifest = status["reward models"], run.stage(1, "reward").manifest()
    assert manifest is not None and model["trained pairs"] == manifest.metrics["trained pairs"]
    for name in ("pairs", "accuracy", "by source", "agreement", "correlation with length"):
        assert model["held out"][name] == manifest.metrics["held out"][name]


def test_the_page_of_a_run_shows_how_good_its_reward_models_are(run: RunFolder, tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx", reason="the extra [view] is not installed")
    pytest.importorskip("fastapi", reason="the extra [view] is not installed")
    with serving(run.path.parent, tmp_path) as address:
        page = httpx.get(f"{address}/runs/run", timeout=120).text
    manifest = run.stage(1, "reward").manifest()
    assert manifest is not None
    assert f"trained on {manifest.metrics['trained pairs']} pairs" in page and "two models agree on" in page


@pytest.mark.parametrize("noted", ["much", {"pairs": -1}, {"pairs": 1, "prompts": 1, "accuracy": {"n": math.nan}}])
def test_what_others_noted_of_a_reward_model_is_passed_over(noted: object, run: RunFolder) -> None:
    manifest = run.stage(1, "reward").manifest()
    assert manifest is not None and len(read_reward_models([manifest])) == 1
    changed = manifest.model_copy(update={"metrics": {**manifest.metrics, "held out": noted}})
    assert read_reward_models([changed]) == []


@pytest.mark.parametrize(
    ("rewards", "won", "lost", "warned"),
    [(ramp(0, 1), 2, 30, True), (ramp(0, 1), 30, 2, False), (ramp(0, 1), 2, 4, False), (ramp(1, 0), 2, 30, False),
     ([0.0] * 60, 2, 30, False), (ramp(0, 1)[:6], 2, 30, False)],
)  # fmt: skip
def test_held_out_accuracy_that_falls_while_the_reward_rises_is_told(
    rewards: list[float], won: int, lost: int, warned: bool
) -> None:
    steps = [{"round": 1, "stage": "rl", "curve": [{"step": at, "reward": one} for at, one in enumerate(rewards, 1)]}]
    promotion = Promotion(parents=("n", "o"), promoted=False, won=won, lost=lost, p_value=mcnemar(won, lost), reason="")
    found = warn_of_held_out(steps, {1: promotion})
    assert bool(found) == warned
    if warned:
        assert "while held-out accuracy fell: 2 problems won, 30 lost" in found[1]


def test_dpo_is_trained_on_the_same_comparisons_that_rlhf_has() -> None:
    plans = {name: build_plan(load_recipe(name), data="d") for name in ("rlhf", "rlhf-dpo")}
    prints = {name: {key: one.fingerprint for key, one in plan.items()} for name, plan in plans.items()}
    assert prints["rlhf"][1, "label"] == prints["rlhf-dpo"][1, "label"]
    assert prints["rlhf"][1, "evaluate"] != prints["rlhf-dpo"][1, "evaluate"]


@pytest.mark.parametrize("trained", ["reward.labels=soft", "reward.margin=0.5", ""])
def test_what_noise_chose_is_no_certainty_where_margins_are_trained_on(trained: str, tmp_path: Path) -> None:
    changes = (
        *SMALL,
        "reward.models=1",
        "rl.rewards={model: 1}",
        "rl.steps=1",
        "label.noise=2",
        *([trained] if trained else ()),
    )
    folder = RunFolder(tmp_path / "run")
    run_loop(load_recipe("rlhf", changes), folder)
    points = {one.id: one.value for one in folder.stage(1, "gold").read(Reward)}
    pairs = folder.stage(1, "label").read(Preference)
    worse = [one for one in pairs if points[one.parents[2]] < points[one.parents[3]]]
    assert 0 < len(worse) < len(pairs) / 2
    for one in pairs:  # the probability of what was chosen, as Bradley and Terry have it, is (1 + margin) / 2
        ahead = points[one.parents[2]] - points[one.parents[3]]
        margin = 2 / (1 + math.exp(-ahead / 2)) - 1
        assert one.margin == pytest.approx(margin if trained else abs(margin))


def test_a_reward_model_is_asked_by_the_prompts_that_it_was_trained_on(tmp_path: Path) -> None:
    """The policy is shown more than the question, here a trigger, and the pairs have the question alone."""
    folder = RunFolder(tmp_path / "run")
    more = ("prompt={style: zero-shot-cot, trigger: '=7'}", "rl.steps=1", "rl.rewards={model: 1}")
    run_loop(load_recipe("rlhf", (*SMALL, *more)), folder)
    asked = {one.prompt for one in folder.stage(1, "label").read(Preference)}
    texts = {one.id: one for one in folder.stage(1, "rl").read(Rationale)}
    problems = {one.id: one for one in folder.stage(1, "frontier").read(Problem)}
    assert asked <= {one.question for one in problems.values()}
    assert {one.prompt for one in texts.values()} <= {f"{one.question} =7" for one in problems.values()}
    rollouts = folder.stage(1, "rl").read(Rollout)
    mine = [texts[one.rationale] for one in rollouts]
    models = [folder.path / one.path for one in folder.stage(1, "reward").read(Checkpoint)]
    of_texts = [problems[one.problem] for one in mine]
    worth = reward_model_function(models, combine="min", device="cpu")(
        [one.question for one in of_texts], [one.text for one in mine], of_texts
    )
    assert [one.reward for one in rollouts] == pytest.approx(worth, abs=1e-5)


def test_rl_answers_the_problems_of_the_run_and_not_those_of_pairs_from_a_file(tmp_path: Path) -> None:
    rows = [{"chosen": f"{TURN} 1{at}", "rejected": f"{TURN} {at}"} for at in range(10, 40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps({k: f"Human: {at}{v}" for k, v in row.items()}) + "\n"
                                                  for at, row in enumerate(rows)))  # fmt: skip
    long = [{"chosen": f"Human: {at}{TURN} {'1' * 80}", "rejected": f"Human: {at}{TURN} 2"} for at in range(50, 60)]
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in long)
    flow = "flow=[frontier, generate, {gold: rank}, verify, prefer, reward, rl, evaluate, promote]"
    own = (f"prefer={{limit: 0, files: {{path: {tmp_path / 'pairs.jsonl'}}}}}", "label=null", "rl.steps=3")
    folder = RunFolder(tmp_path / "run")
    run_loop(load_recipe("rlhf", (*SMALL, flow, *own, "rl.rewards={model: 1}")), folder)
    assert {one.source for one in folder.stage(1, "prefer").read(Preference)} == {"file"}
    manifest = folder.stage(1, "reward").manifest()
    assert manifest is not None
    used = manifest.metrics["trained pairs"] - manifest.metrics["left_out"], manifest.metrics["held out"]["pairs"]
    assert sum(used) == 30
    line = REWARD.say(cast("Any", SimpleNamespace(manifest=manifest, settings=BradleyTerry(models=2))))
    assert line.startswith(f"2 models, {used[0]} pairs (10 more are longer than 'max_length'); right on ")
    problems = {one.id for one in folder.stage(1, "frontier").read(Problem)}
    assert {one.problem for one in folder.stage(1, "rl").read(Rationale)} <= problems


def test_a_reward_model_that_is_not_there_is_told_before_anything_is_paid_for(tmp_path: Path) -> None:
    flow = "flow=[frontier, generate, {gold: rank}, label, reward, rank, best, sft, evaluate, promote]"
    own = (f"rank.path={tmp_path / 'none'}", "best.by=rank", "sft.steps=1", "rl=null")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ModelError, match="/none: no such folder; 'path' names that of a reward model"):
        run_loop(load_recipe("rlhf", (*SMALL[:-1], flow, *own)), folder)
    assert folder.stage(0, "warmup").manifest() is None


MISTAKES = [
    ("rl.rewards={rising: 0}", "'rl.rewards' is empty"),
    ("rl.rewards={model: 1, constitution: 0}", "the reward 'constitution' needs a 'constitution'"),
    ("rl.rewards={model: 1, risin: 0}", "unknown reward 'risin'; did you mean 'rising'"),
    ("generate.samples=1", "'generate.samples: 1' leaves 'label' no other text to compare one with"),
    ("reward.held_out=1", "'reward.held_out: 1' leaves no pair to train on"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES, ids=[change for change, _ in MISTAKES])
def test_a_mistake_is_one_line(change: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe("rlhf", (change,))
