"""RL through TRL: advantages, KL and sums of rewards worked out by hand, resumption bit for bit, records, mistakes."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_both, two_token_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfimprove.engines.build import build_model
from selfimprove.engines.tensors import hash_weights
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import TrainingError
from selfimprove.prompting.prompts import encode_prompt
from selfimprove.recipe import Build
from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.records import Earned, Problem, Rationale, Record, Rollout, Verdict
from selfimprove.stages.rl import Rl
from selfimprove.store import StageFolder
from selfimprove.store.parts import write_part
from selfimprove.trainers.job import RlJob
from selfimprove.trainers.mixing import Mixture
from selfimprove.trainers.rewards import declare_reward
from selfimprove.trainers.rl import schedule, train_rl
from selfimprove.trainers.worth import WeightedReward

SHAPE = Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, head_size=32)
PROBLEMS = [
    Problem(question=f"{a}+{b}=", answer=str(a + b), task="sums", level=1, group="1+1")
    for a in range(1, 4)
    for b in range(1, 3)
]


def by_text(value: Callable[[str], float | None]) -> Callable[..., list[float | None]]:
    def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float | None]:
        return [value(one) for one in completions]

    return reward


@pytest.fixture(autouse=True)
def declared() -> None:
    """Rewards of this file, which are forgotten after each test."""
    declare_reward("test-ones", by_text(lambda text: float(text.count("1"))))
    declare_reward("test-decided", by_text(lambda text: {"1": 1.0, "2": 0.0}.get(text)))
    declare_reward("test-silent", by_text(lambda _: None))
    declare_reward("test-nan", by_text(lambda _: math.nan))
    declare_reward("test-short", lambda prompts, completions, **_: [0.0] * (len(completions) - 1))


class Stopped(BaseException):
    """Ends a training at once, as a kill does."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_model(SHAPE, folder, seed=5)
    return folder


def make_job(model: Path, folder: Path, steps: int = 6, **changes: Any) -> RlJob:
    stage = folder / "round-01" / "rl"
    (stage / "training").mkdir(parents=True, exist_ok=True)
    write_part(stage / "training" / "examples.parquet", Problem, PROBLEMS)
    reference, base = changes.pop("held_to", None), changes.pop("base", None)
    quick = {"batch_size": 8, "samples": 4, "max_tokens": 4, "learning_rate": 0.003, "checkpoint_every": 2, **changes}
    return RlJob(
        model=str(model),
        base=base,
        reference=reference,
        examples=stage / "training" / "examples.parquet",
        output=stage / "checkpoint",
        settings=Rl(**quick),
        steps=steps,
        seed=2**40 + 7,
        device="cpu",
        threads=1,
        prompts=tuple(one.question for one in PROBLEMS),
        mixed=(("1+1=", "2"), ("1+2=", "12"), ("2+1=", "2" * 600)),
        checkpoint="start",
        round=1,
        verifiers={"sums": VerifierSettings(name="math")},
    )


def written(job: RlJob, kind: type[Record]) -> list[Any]:
    return StageFolder(job.output.parent, "").read(kind)


LOG = {"1": math.log(0.6 / 0.4), "2": math.log(0.2 / 0.4), "": 0.0}  # policy to reference, of a text of one token


def leave_one_out(values: Sequence[float | None]) -> list[float]:
    """Each value less the mean of the others that are known (Ahmadian et al., 2024, equation 6)."""
    known = [one for one in values if one is not None]
    if len(known) < 2:
        return [0.0] * len(values)
    return [0.0 if one is None else one - (sum(known) - one) / (len(known) - 1) for one in values]


def by_deviation(values: Sequence[float | None]) -> list[float]:
    """Each value's distance from the mean in standard deviations (Shao et al., 2024, section 4.1.2)."""
    known = [one for one in values if one is not None]
    if len(known) < 2:
        return [0.0] * len(values)
    middle = sum(known) / len(known)
    deviation = math.sqrt(sum((one - middle) ** 2 for one in known) / (len(known) - 1))
    return [0.0 if one is None else (one - middle) / (deviation + 1e-4) for one in values]


@pytest.mark.parametrize("method", ["rloo", "grpo"])
@pytest.mark.parametrize(("reward", "worth"), [("test-ones", {"1": 1.0, "2": 0.0, "": 0.0}),
                                               ("test-decided", {"1": 1.0, "2": 0.0, "": None})])  # fmt: skip
def test_advantages_and_kl_are_those_worked_out_by_hand(
    method: str, reward: str, worth: dict[str, float | None], model: Path, tmp_path: Path
) -> None:
    policy = two_token_model(model, tmp_path / "policy", {"1": 0.6, "2": 0.2, "end": 0.2})
    reference = two_token_model(model, tmp_path / "reference", {"1": 0.4, "2": 0.4, "end": 0.2})
    given = {"held_to": str(reference), "rewards": {reward: 2.0}, "kl": 0.5, "method": method, "max_tokens": 1}
    job = make_job(policy, tmp_path, 1, batch_size=16, **given)
    values = train_rl(job).curve[0].values
    rollouts, texts = written(job, Rollout), {one.id: one for one in written(job, Rationale)}
    kinds = {texts[one.rationale].text for one in rollouts}
    assert kinds == {"1", "2", ""}  # all of them were drawn
    for at in range(0, 16, 4):
        group = rollouts[at : at + 4]
        said = [texts[one.rationale].text for one in group]
        assert [one.kl for one in group] == pytest.approx([LOG[one] for one in said], abs=1e-5)
        totals = [None if worth[one] is None else 2.0 * worth[one] for one in said]  # type: ignore[operator]
        assert [one.reward for one in group] == totals
        assert [one.parts for one in group] == [(Earned(reward=reward, value=worth[one]),) for one in said]
        if method == "rloo":  # the KL divergence is taken from the reward
            costs = [None if one is None else one - 0.5 * LOG[text] for one, text in zip(totals, said, strict=True)]
            expected = leave_one_out(costs)
        else:  # it stands in the loss
            expected = by_deviation(totals)
        assert [one.advantage for one in group] == pytest.approx(expected, abs=1e-4)
    groups = [[one.reward for one in rollouts[at : at + 4] if one.reward is not None] for at in range(0, 16, 4)]
    assert values["groups without difference"] == sum(len(set(one)) < 2 for one in groups) / 4
    assert values["KL"] == pytest.approx(sum(LOG[texts[one.rationale].text] for one in rollouts) / 16, abs=1e-5)
    assert values["undecided"] == sum(one.reward is None for one in rollouts) / 16


LORA = {"rank": 2, "alpha": 8}  # of the adapter given


@pytest.mark.parametrize(
    ("start", "lora"),
    [("whole", None), ("whole", LORA), ("adapter", LORA), pytest.param("adapter", None, marks=pytest.mark.long)],
)
def test_it_begins_as_the_model_given_and_is_held_to_it(
    start: str, lora: dict[str, int] | None, tmp_path: Path
) -> None:
    models = make_both(tmp_path)
    base = str(models["whole"]) if start == "adapter" or lora else None
    job = make_job(models[start], tmp_path / "job", 1, base=base, rewards={"test-ones": 1.0}, lora=lora, samples=2)
    curve = train_rl(job).curve
    # Of a text that was cut off no end was drawn, and one with special tokens in it has no tokens of its own.
    texts = [one for one in written(job, Rationale) if one.finish == "length" and one.token_ids]
    given, other = (
        [one.logprob for one in TransformersEngine(models[name], device="cpu", threads=1).score(
            [(one.prompt, one.token_ids or ()) for one in texts])]
        for name in (start, "whole")
    )  # fmt: skip
    assert texts and [one.logprob for one in texts] == pytest.approx(given, abs=1e-4)
    assert (start == "whole") == (given == pytest.approx(other, abs=1e-4))
    assert curve[0].values["KL"] == pytest.approx(0.0, abs=1e-5)


def test_a_leave_one_out_baseline_in_numbers() -> None:
    assert leave_one_out([3.0, 0.0, 0.0, 1.0]) == pytest.approx([3 - 1 / 3, -4 / 3, -4 / 3, 0.0])
    assert leave_one_out([1.0, None, 0.0, None]) == [1.0, 0.0, -1.0, 0.0]


@pytest.mark.long
@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_what_is_undecided_moves_nothing_and_what_is_rewarded_becomes_likelier(
    method: str, model: Path, tmp_path: Path
) -> None:
    before = hash_weights(model)
    still = make_job(model, tmp_path / "still", 3, rewards={"test-silent": 1.0}, method=method, weight_decay=0.0)
    train_rl(still)
    assert {one.reward for one in written(still, Rollout)} == {None}
    assert hash_weights(still.output) == before
    job = make_job(model, tmp_path / "ones", 24, rewards={"test-ones": 1.0}, method=method, batch_size=16)
    curve = train_rl(job).curve
    ends = [sum(one.values["reward"] for one in some) / 6 for some in (curve[:6], curve[-6:])]
    assert ends[1] > ends[0] + 0.3
    assert curve[0].values["KL"] == pytest.approx(0.0, abs=1e-5)
    assert curve[-1].values["KL"] > 0.05
    assert {"entropy", "tokens", "cut off", "right", "KL a token", "clipped ratios"} <= set(curve[-1].values)


def test_what_is_mixed_in_is_remembered(model: Path, tmp_path: Path) -> None:
    changes = {"rewards": {"test-silent": 1.0}, "batch_size": 4}  # nothing else moves the policy
    job = make_job(model, tmp_path, 8, ptx=2.0, learning_rate=0.02, **changes)
    curve = [one.values["loss on demonstrations"] for one in train_rl(job).curve]
    assert curve[-1] < curve[0] - 0.5
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    mixture = Mixture(job, tokenizer, tokenizer.eos_token_id, 0)
    assert len(mixture.rows) == 2  # one of three is too long
    assert mixture.draw(3, 0, 5) == mixture.draw(3, 0, 5) != mixture.draw(4, 0, 5)
    ids, mask, completions = mixture.pad_rows([([5, 6], [7]), ([5], [7, 8, 9])])
    assert ids == [[5, 6, 7, 0, 0], [0, 5, 7, 8, 9]]
    assert mask == [[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]] and completions == [[1, 0, 0], [1, 1, 1]]
    with pytest.raises(TrainingError, match="'ptx' has nothing to mix in: none of 3 texts fits"):
        Mixture(make_job(model, tmp_path / "short", max_length=2), tokenizer, tokenizer.eos_token_id, 0)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_what_is_mixed_in_counts_as_its_likelihood_worked_out_by_hand(
    temperature: float, model: Path, tmp_path: Path
) -> None:
    """InstructGPT's second term, section 3.5: the mean over tokens of the demonstrations drawn, of the policy itself,
    at whatever temperature it writes."""
    changes = {"rewards": {"test-silent": 1.0}, "batch_size": 4, "temperature": temperature, "clip": 0.0}
    settings = {"weight_decay": 0.0, "learning_rate": 1e-12, **changes}
    job = make_job(model, tmp_path, 1, ptx=2.0, **settings)
    [point] = train_rl(job).curve
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    plain = AutoModelForCausalLM.from_pretrained(str(model)).eval()
    costs = []
    for prompt, completion in Mixture(job, tokenizer, tokenizer.eos_token_id, 0).draw(0, 0, 4):
        with torch.no_grad():
            logits = plain(torch.tensor([[*prompt, *completion]])).logits[0].double()
        for at, token in enumerate(completion, len(prompt)):
            costs.append(float(torch.logsumexp(logits[at - 1], 0) - logits[at - 1, token]))
        assert completion[-1] == tokenizer.eos_token_id
    by_hand = sum(costs) / len(costs)
    assert point.values["loss on demonstrations"] == pytest.approx(by_hand, abs=1e-4)
    assert point.loss == pytest.approx(
        2 * by_hand, abs=1e-4
    )  # nothing else is in it: what is undecided is worth nothing


@pytest.mark.parametrize(
    ("changes", "moment", "first"),
    [
        # Texts are written at steps 0, 2, 4, 6: checkpoints that were to be saved each step are saved there alone.
        ({"batches": 2, "checkpoint_every": 1, "ptx": 0.5}, 5, 4),
        pytest.param(
            {"method": "grpo", "passes": 2, "batches": 2, "lora": {"rank": 2, "alpha": 4}}, 7, 4, marks=pytest.mark.long
        ),
        pytest.param({"accumulate": 2}, 1, 0, marks=pytest.mark.long),
    ],
)
def test_a_run_that_was_stopped_ends_as_an_undisturbed_one_bit_for_bit(
    changes: dict[str, Any], moment: int, first: int, model: Path, tmp_path: Path
) -> None:
    def stop(step: int, steps: int, logged: dict[str, float]) -> None:
        if step == moment:
            raise Stopped

    rewards = {"test-ones": 1.0, "verifier": 0.5}
    whole = make_job(model, tmp_path / "whole", 8, rewards=rewards, **changes)
    train_rl(whole)
    halted = make_job(model, tmp_path / "halted", 8, rewards=rewards, **changes)
    with pytest.raises(Stopped):
        train_rl(halted, stop)
    texts = written(halted, Rationale)
    assert texts  # what was written before is there
    assert train_rl(halted).resumed_from == first
    assert hash_weights(halted.output) == hash_weights(whole.output)
    for kind in (Rationale, Verdict, Rollout):
        assert [one.id for one in written(halted, kind)] == [one.id for one in written(whole, kind)]
    assert [one.id for one in texts] == [one.id for one in written(whole, Rationale)][: len(texts)]


def test_every_text_is_a_record_with_its_problem_verdict_and_worth(model: Path, tmp_path: Path) -> None:
    job = make_job(model, tmp_path, 2)
    result = train_rl(job)
    texts, verdicts, rollouts = (written(job, kind) for kind in (Rationale, Verdict, Rollout))
    assert len(texts) == len(verdicts) == len(rollouts) == 16
    problems = {one.id: one for one in PROBLEMS}
    for text, verdict, rollout in zip(texts, verdicts, rollouts, strict=True):
        assert problems[text.problem].question == text.prompt
        assert (text.checkpoint, text.origin, text.round) == ("start", "sampled", 1)
        assert verdict.rationale == text.id
        assert rollout.parents == (text.id, verdict.id)
        assert rollout.reward == {"correct": 1.0, "incorrect": 0.0, "undecided": None}[verdict.outcome]
    assert [one.step for one in rollouts] == [0] * 8 + [1] * 8
    assert len({(one.problem, one.sample) for one in texts}) == 16
    assert result.written == sum(one.tokens for one in texts)
    # What was trained on are the prompts and the texts with their ends, and no padding; an undecided text is masked.
    tokenizer = AutoTokenizer.from_pretrained(model)
    asked = sum(len(encode_prompt(tokenizer, one.prompt, chat=False)) for one in texts)
    decided = sum(one.tokens for one, rollout in zip(texts, rollouts, strict=True) if rollout.reward is not None)
    assert (result.tokens, result.sequences) == (asked + decided, 16)


def test_a_training_that_diverges_is_refused_in_one_line(model: Path, tmp_path: Path) -> None:
    """Both where a loss says so and where only the last step, whose loss is not logged, broke the weights."""
    for steps, rate, said in (
        (6, 1e30, r"the policy writes texts of no probability at step \d"),
        (1, 1e39, "the trained weights hold"),
    ):
        job = make_job(model, tmp_path / str(steps), steps, rewards={"test-ones": 1.0}, learning_rate=rate, clip=0.0)
        with pytest.raises(TrainingError, match=rf"diverged: {said}.*; lower 'learning_rate' \(1e\+3"):
            train_rl(job)
        assert not job.output.exists()


def test_problems_have_their_turns_and_long_ones_are_left_out(model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = schedule(make_job(model, tmp_path, 9), PROBLEMS, tokenizer)  # two problems a step
    assert all(sorted(rows.data["row"][at : at + 6]) == list(range(6)) for at in (0, 6, 12))
    assert rows.data["first"] == [4 * (at // 6) for at in range(18)]
    with pytest.raises(TrainingError, match="none of 6 problems leaves room for a text of 'max_tokens: 4'"):
        schedule(make_job(model, tmp_path, max_length=5), PROBLEMS, tokenizer)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (
            "test-nan",
            "the reward 'test-nan' gave nan for text 1 of 8; it must give a number of at most 1e.30, or None where it "
            "has nothing to say",
        ),
        ("test-short", "the reward 'test-short' gave 7 values for 8 texts; it must give one for each"),
    ],
)
def test_a_reward_that_is_none_is_one_line(reward: str, said: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"^{said}$"):
        train_rl(make_job(model, tmp_path, rewards={reward: 1.0}))


def test_a_sum_of_rewards_has_weights_and_is_undecided_where_a_part_is() -> None:
    parts = {"a": lambda *_: [1.0, 0.5, None], "b": lambda *_: [2.0, None, None]}
    reward = WeightedReward(parts, {"a": 1.0, "b": -0.25})
    assert reward([""] * 3, [""] * 3, PROBLEMS[:3]) == [0.5, None, None]
