"""Rewards of texts, the best of them, and how good a reward model is: by hand, and by counting every case."""

import math
import random
from itertools import combinations
from typing import Any

import pytest
from builders import make_rationale, make_verdict

from selfimprove.errors import RecipeError, TrainingError
from selfimprove.records import Outcome, Preference, Problem, Rationale, Reward, Verdict
from selfimprove.records.stats import best_of, best_of_kl
from selfimprove.settings import Settings
from selfimprove.stages.best import measure_best, why_not
from selfimprove.stages.label import chance_of_better, each_once, find_worth
from selfimprove.stages.reward import split_by_prompt
from selfimprove.stages.reward_figures import Weighed, measure_rewards
from selfimprove.tasks.rising import grade_rising
from selfimprove.trainers.rewarding import check_rewards, rule_function
from selfimprove.trainers.rewards import declare_reward
from selfimprove.trainers.worth import verifier_function


@pytest.mark.parametrize(
    ("values", "outcomes", "n", "expected"),
    [
        ([1, 2, 3], [10, 20, 60], 1, 30.0),
        ([1, 2, 3], [10, 20, 60], 2, (20 + 60 + 60) / 3),
        ([3, 1, 2], [60, 10, 20], 2, (20 + 60 + 60) / 3),  # in whatever order
        ([1, 2, 3], [10, 20, 60], 3, 60.0),
        ([1, 1, 2], [0, 6, 9], 2, (3 + 9 + 9) / 3),  # of two equal ones each half of the time
        ([5, 5], [2, 4], 2, 3.0),
        ([7], [4], 1, 4.0),
    ],
)
def test_the_best_of_n_by_hand(values: list[float], outcomes: list[float], n: int, expected: float) -> None:
    assert best_of(values, outcomes, n) == pytest.approx(expected)


def test_the_best_of_n_is_the_mean_over_all_draws() -> None:
    rng = random.Random(0)
    for _ in range(30):
        values = [rng.randrange(5) for _ in range(7)]
        outcomes = [rng.random() for _ in values]
        for n in range(1, 8):
            found = []
            for drawn in combinations(range(7), n):
                top = max(values[at] for at in drawn)
                best = [outcomes[at] for at in drawn if values[at] == top]
                found.append(sum(best) / len(best))
            assert best_of(values, outcomes, n) == pytest.approx(sum(found) / len(found))
    many = [float(at) for at in range(10_000)]
    assert best_of(many, many, 2) == pytest.approx((2 * 10_000 - 1) / 3, rel=1e-6)  # E max of two of 0 … N-1
    assert best_of_kl(1) == 0.0 and best_of_kl(4) == pytest.approx(math.log(4) - 0.75)
    with pytest.raises(ValueError, match="cannot draw 3 of 2 texts"):
        best_of([1, 2], [1, 2], 3)


def text(problem: str, sample: int, said: str, **changes: Any) -> Rationale:
    fields = {"prompt": problem, "origin": "sampled", "finish": "stop", "answer": None, "round": 1, "seed": 0}
    fields |= {"temperature": 1.0, "top_p": 1.0, "tokens": 1, "logprob": None, **changes}
    return Rationale(parents=(problem, "policy"), sample=sample, text=said, **fields)


def reward(of: Rationale, value: float | None) -> Reward:
    return Reward(parents=(of.id,), value=value, by="rank", reward="model")


def test_which_texts_take_part_and_what_the_best_of_them_is_worth() -> None:
    texts = [text("p", at, said) for at, said in enumerate(["a", "b", "a", "c", "d"])]
    texts += [text("p", 9, "cut", finish="length"), text("p", 10, "hinted", origin="rationalized"), text("p", 11, " ")]
    values = [1.0, 3.0, 1.0, 2.0, None, 9.0, 9.0, 9.0]
    worth = find_worth(texts, [reward(one, value) for one, value in zip(texts, values, strict=True)])
    assert [one.text for one, _ in worth["p"]] == ["a", "b", "a", "c"]
    assert [(one.text, one.sample) for one, _ in each_once(worth["p"])] == [("a", 0), ("b", 1), ("c", 3)]
    gold = {texts[0].id: 0.0, texts[1].id: 4.0, texts[2].id: 0.0, texts[3].id: 8.0}
    one, two, four = measure_best(worth, gold)
    assert (one["reward"], one["gold"], one["KL at most"]) == (pytest.approx(7 / 4), pytest.approx(3.0), 0.0)
    # Of the six twos {a,a} gives 1 and 0, {a,c} twice 2 and 8, and the three with b 3 and 4.
    assert two["reward"] == pytest.approx((1 + 2 * 2 + 3 * 3) / 6) and two["gold"] == pytest.approx((0 + 16 + 12) / 6)
    assert (four["reward"], four["gold"], four["problems"]) == (pytest.approx(3.0), pytest.approx(4.0), 1)
    assert "gold" not in measure_best(worth, {})[0]


def test_a_labeller_is_as_right_as_bradley_and_terry_have_it() -> None:
    assert chance_of_better(1.0, 1.0) == pytest.approx(1 / (1 + math.exp(-1)))
    assert chance_of_better(-2.0, 4.0) == pytest.approx(1 - chance_of_better(2.0, 4.0))
    assert [chance_of_better(one, 0.0) for one in (-0.1, 0.0, 0.1)] == [0.0, 0.5, 1.0]
    assert chance_of_better(1e9, 1e-9) == 1.0 and chance_of_better(-1e9, 1e-9) == pytest.approx(0.0)


def pair(prompt: str, chosen: str, rejected: str, source: str = "label") -> Preference:
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected, margin=1.0, source=source, group="")


def test_no_prompt_is_trained_on_and_measured_with() -> None:
    pairs = [pair(f"p{at % 10}", f"{at}", "x") for at in range(40)]
    trained, held_out = split_by_prompt(pairs, 0.2)
    assert len({one.prompt for one in held_out}) == 2 and len(trained) == 32
    assert not {one.prompt for one in trained} & {one.prompt for one in held_out}
    assert split_by_prompt(pairs[::-1], 0.2)[1] == held_out[::-1]
    assert split_by_prompt(pairs, 0.0) == (pairs, [])
    assert split_by_prompt(pairs[:1], 0.5) == (pairs[:1], [])  # the only prompt is trained on


def test_the_figures_of_a_reward_model_by_hand() -> None:
    weighed = [
        Weighed(pair("p", "aa", "b", "file"), (2.0, 1.0), (3.0, 1.0), 1),
        Weighed(pair("p", "a", "bb"), (-1.0, 3.0), (2.0, 1.0), 2),
        Weighed(pair("q", "a", "b"), (-2.0, -1.0), (1.0, 2.0), 2),
        Weighed(pair("q", "a", "bb"), (0.0, 0.0), (1.0, 1.0), None),
    ]
    found = measure_rewards(weighed)
    assert (found["pairs"], found["prompts"]) == (4, 2)
    assert (found["accuracy"]["n"], found["accuracy"]["right"]) == (4, 2)  # a tie is not right
    right = {
        by: {name: (one["right"], one["n"]) for name, one in found[f"by {by}"].items()}
        for by in ("source", "level", "length")
    }
    assert right["source"] == {"file": (1, 1), "label": (1, 3)} and right["level"] == {"1": (1, 1), "2": (1, 2)}
    assert right["length"] == {"chosen is longer": (1, 1), "chosen is shorter": (1, 2), "equally long": (0, 1)}
    assert found["members"] == [0.25, 0.5] and found["agreement"] == 0.75
    together = [1.5, 1.0, -1.5, 0.0]
    assert found["log loss"] == pytest.approx(sum(math.log(1 + math.exp(-one)) for one in together) / 4)
    # Of 1.5 and -1.5 one is right where 0.82 are expected, of 1.0 all where 0.73 are, of the tie none where half is.
    sure = [1 / (1 + math.exp(-one)) for one in (1.5, 1.0)]
    assert found["calibration"]["error"] == pytest.approx((2 * abs(sure[0] - 0.5) + (1 - sure[1]) + 0.5) / 4)
    assert measure_rewards([]) == {"pairs": 0, "prompts": 0}
    alone = measure_rewards([Weighed(pair("p", "a", "b"), (1.0,), (1.0, 0.0))])
    assert alone["agreement"] is None and alone["correlation with length"] is None


def test_the_points_of_rising_digits() -> None:
    cases = {"": 0.0, "3": 1.0, "2": -1.0, "1": 0.0, "345": 3.0, "3 45": 2.0, "3456789": 7.0, "33": 0.0, "3١": 0.0}
    assert {one: grade_rising("402=", one) for one in cases} == cases
    assert grade_rising("409=", "0123456789" + "01") == 10.0 - 1.0
    problems = [Problem(question="402=", answer=None, task="rising")] * 2
    assert rule_function("rising")(["", ""], ["345", "2"], problems) == [3.0, -1.0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0], "the reward 'odd' gave 1 values for 2 texts; it must give one for each"),
        ([1.0, math.nan], "the reward 'odd' gave nan for text 2 of 2; it must give a number of at most 1e+30, or None"),
        ([math.inf, 1.0], "the reward 'odd' gave inf for text 1 of 2"),
        ([1.0, -1e308], "the reward 'odd' gave -1e+308 for text 2 of 2"),  # two of them have no sum
        ([1.0, "good\n"], "the reward 'odd' gave good"),
        (None, "the reward 'odd' gave a NoneType for 2 texts; it must give a number for each"),
        ("ab", "the reward 'odd' gave a str for 2 texts"),
    ],
)
def test_what_a_reward_must_not_give(given: Any, said: str) -> None:
    declare_reward("odd", lambda prompts, completions, **columns: given)
    problems = [Problem(question="1", answer=None, task="t")] * 2
    with pytest.raises(TrainingError) as error:
        rule_function("odd")(["", ""], ["a", "b"], problems)
    assert str(error.value).startswith(said) and "\n" not in str(error.value)
    assert check_rewards([None, 1], 2, "odd") == [None, 1.0]


FLOW = "frontier, generate, verify, {flow}, sft, evaluate, promote"
MISTAKES = {
    "rank, best": "'rank' asks a reward model, and no stage 'reward' stands before it; name one with 'path'",
    "label, reward, rank, best": "'label' reads what 'rank' writes, which stands after it; move 'rank' before it",
    "reward, rank, best": "'reward' needs pairs, and no stage 'prefer' or 'label' stands before it",
    "{gold: rank}, best | gold: {reward: rising} | best: {by: rank}": "no stage 'rank' that gives rewards",
    "{gold: rank}, best | gold: {reward: rising} | best: {gold: silver}": "no stage 'silver' that gives rewards stands",
    "{gold: rank}, label, best | gold: {reward: rising} | label: {by: rank}": "no stage 'rank' that gives rewards",
    "{gold: rank}, best | gold: {reward: rising} | best: {into: dpo}": "'into: dpo' needs the stage 'dpo' after it",
    "prefer, dpo | dpo: {pairs_of: [prefr]}": "no stage 'prefr' of the flow makes pairs; did you mean 'prefer'?",
    "{gold: rank}, best | gold: {reward: rise}": "the reward 'rise' is not known",
    "{gold: rank}, label, reward, rank, best | gold: {reward: rising} | reward: {labels: soft, margin: 1}":
        "'labels: soft' says how sure a pair is already; leave 'margin' out",
    "prefer, reward, rank, best | prefer: {cut: step}": "a reward model is trained on whole texts, and",
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_of_a_recipe_are_one_line(case: str, tmp_path: Any) -> None:
    from selfimprove.recipe.file import load_recipe

    flow, *settings = case.split(" | ")
    lines = [
        "name: mine", "model: {path: model}", "train: {name: gsm8k}", f"flow: [{FLOW.format(flow=flow)}]", "stages:",
        "  sft: {}", *(f"  {one}" for one in settings),
    ]  # fmt: skip
    file = tmp_path / "mine.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(RecipeError) as error:
        load_recipe(str(file))
    assert MISTAKES[case] in str(error.value) and "\n" not in str(error.value)


def test_new_stages_are_settings_of_their_own() -> None:
    from selfimprove.recipe.catalog import known_stages

    for name in ("reward", "rank", "label", "best"):
        assert issubclass(known_stages()[name].settings, Settings) and known_stages()[name].optional


class Known:
    """A judge that knows one verdict."""

    def __init__(self, verdict: Verdict | None) -> None:
        self.verdict = verdict

    def find(self, problem: Problem, prompt: str, text: str) -> Verdict | None:
        return self.verdict


@pytest.mark.parametrize(
    ("outcome", "steps", "worth"),
    [
        ("correct", ["correct"], (1.0, 1.0)),
        ("correct", ["correct", "incorrect"], (1.0, 0.0)),
        ("correct", [], (1.0, None)),  # nothing to check is neither right nor wrong, and is not paid for
        ("correct", ["correct", "undecided"], (1.0, None)),
        ("incorrect", [], (0.0, 0.0)),
        ("undecided", ["correct"], (None, None)),
    ],
)
def test_what_a_text_earns_by_its_answer_and_by_its_steps(
    outcome: Outcome, steps: list[Outcome], worth: tuple[float | None, float | None]
) -> None:
    problem = Problem(question="1+2=", answer="3", task="sums")
    judge: Any = Known(make_verdict(make_rationale(problem), outcome, steps))
    asked = ["1+2="], ["#3"], [problem]
    assert (*(verifier_function(judge, require)(*asked)[0] for require in ("answer", "steps")),) == worth
    assert verifier_function(Known(None), "answer")(*asked) == [None]  # type: ignore[arg-type]


def test_why_a_text_is_not_among_the_best() -> None:
    reward = Reward(parents=("t",), value=1.0, by="rank", reward="verdict")
    said = {kind: why_not(one, reward) for kind, one in {
        "blank": text("p", 0, " "), "cut": text("p", 0, "a", finish="length"), "twice": text("p", 0, "a"),
        "hinted": text("p", 0, "a", origin="rationalized")}.items()}  # fmt: skip
    assert said == {"blank": "says nothing", "cut": "cut off at the longest length",
                    "twice": "the same text as another sample",
                    "hinted": "written with a hint, or from another text"}  # fmt: skip
    assert why_not(text("p", 0, "a"), None) == "no reward: undecided"
