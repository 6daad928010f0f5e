"""Over-optimisation: fits against known curves, the grid, its mistakes, and a whole small experiment that continues."""

import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from builders import make_problem, make_rationale
from typer.testing import CliRunner
from viewing import write_stage

from selfimprove.cli.app import app
from selfimprove.cli.options import UsageError
from selfimprove.errors import RecipeError, StoreError
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Preference, Rollout
from selfimprove.records.trained import Earned
from selfimprove.results.overoptimise import (
    FORMS,
    Measured,
    Point,
    cut_windows,
    describe,
    draw_lines,
    fit_curve,
    fits,
    rl_points,
    to_json,
)
from selfimprove.running.overoptimise import CONTROLS, Cell, find_names, make_cells
from selfimprove.store import RunFolder


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("alpha", "beta"), [(2.37, 0.95), (0.7, -0.1), (1.5, 0.0)])
def test_a_fit_finds_the_curve_that_points_lie_on(form: str, alpha: float, beta: float) -> None:
    ds = [0.2 * at for at in range(1, 20)]
    points = [(d, d * (alpha - beta * FORMS[form](d))) for d in ds]
    fit = fit_curve([(0.0, 0.0), *points], form)  # the start says nothing
    assert fit is not None
    assert (fit.alpha, fit.beta) == pytest.approx((alpha, beta), abs=1e-9)
    assert max(map(abs, fit.residuals)) < 1e-9 and fit.explained == pytest.approx(1.0)
    peak = fit.peak(form)
    if beta == 0.95:
        assert peak == pytest.approx(alpha / (2 * beta) if form == "best of n" else math.exp(alpha / beta - 1))
        gold = {step: step * (alpha - beta * FORMS[form](step)) for step in (peak * 0.9, peak, peak * 1.1)}
        assert max(gold, key=lambda one: gold[one]) == peak
    if beta < 0:
        assert peak is None


def test_a_fit_is_least_squares_and_says_what_is_left() -> None:
    points = [(1.0, 1.0), (2.0, 3.0), (3.0, 1.0), (4.0, 0.0)]
    fit = fit_curve(points, "best of n")
    assert fit is not None and 0 < fit.explained < 1

    def loss(alpha: float, beta: float) -> float:
        return sum((y - d * (alpha - beta * d)) ** 2 for d, y in points)

    best = loss(fit.alpha, fit.beta)
    assert best == pytest.approx(sum(one * one for one in fit.residuals))
    assert all(loss(fit.alpha + da, fit.beta + db) > best for da in (-0.01, 0.0, 0.01) for db in (-0.01, 0.01))
    assert fit_curve(points[:2], "RL") is None and fit_curve([(1.0, 2.0)] * 5, "best of n") is None


def test_a_grid_has_every_combination_and_its_controls() -> None:
    names = find_names(load_recipe("rlhf"))
    assert (names.label, names.reward, names.rl, names.gold) == ("label", "reward", "rl", "rising")
    cells = make_cells("mine", names, [50, 250, 2000], [0, 1], [0.0, 0.1], True)
    assert len(cells) == len({one.name for one in cells}) == 2 * (3 * 2 + len(CONTROLS))
    for one in cells:
        recipe = load_recipe("rlhf", one.changes)
        assert recipe.name == one.name and recipe.seed == one.seed
        assert recipe.stages.label.limit == one.comparisons and recipe.stages.rl.kl == (one.kl or 1e-9)
        if one.like:
            like = next(other for other in cells[: cells.index(one)] if other.name == one.like)
            assert (like.comparisons, like.seed) == (one.comparisons, one.seed)
    controls = {one.control: load_recipe("rlhf", one.changes) for one in cells if one.control}
    assert controls["gold as reward"].stages.rl.rewards == {"model": 0.0, "rising": 1.0}
    assert controls["ensemble, lowest"].stages.rl.combine == "min"
    assert controls["ensemble, mean"].stages.reward.models == 3
    assert {one.comparisons for one in cells if one.control} == {250}


def test_a_grid_varies_the_size_of_reward_models_on_the_same_comparisons() -> None:
    names = find_names(load_recipe("rlhf"))
    cells = make_cells("mine", names, [50, 250], [0, 1], [0.0, 0.1], True, [1, 2])
    assert len(cells) == len({one.name for one in cells}) == 2 * (2 * 2 * 2 + len(CONTROLS))
    for one in cells:
        assert load_recipe("rlhf", one.changes).stages.reward.layers == one.layers
        like = next((other for other in cells if other.name == one.like), None)
        assert like is None or (like.comparisons, like.seed) == (one.comparisons, one.seed)
        # Only a first run of its comparisons, or other labels and other numbers of models, begin with nothing.
        assert like is not None or (one.layers, one.kl) == (1, 0.0)
    assert {one.layers for one in cells if one.control} == {1}
    assert [cells[at].proxy for at in (0, 4)] == ["50 comparisons, 1 layer", "50 comparisons, 2 layers"]


MISTAKES = [
    ("rlhf-dpo", (), "measured with one stage 'reward', and its flow has 0"),
    ("rlhf", ("rl.rewards={model: 1}",), "one rule of weight 0 as gold"),
    ("rlhf", ("rl.rewards={rising: 1}",), "needs the reward model"),
    ("rlhf", ("rounds=2",), "set 'rounds: 1'"),
]


@pytest.mark.parametrize(("recipe", "changes", "said"), MISTAKES)
def test_what_cannot_be_measured_is_one_line(recipe: str, changes: tuple[str, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        find_names(load_recipe(recipe, changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        ("--comparisons", "50,x"),
        ("--comparisons", "1"),
        ("--comparisons", "2.5"),
        ("--kl", "-1"),
        ("--kl", "0,0"),
        ("--kl", "nan"),
        ("--layers", "0"),
        ("--layers", "1.5"),
    ],
)
def test_numbers_that_are_none_are_one_line(given: tuple[str, str]) -> None:
    result = CliRunner().invoke(app, ["overoptimise", "rlhf", *given], standalone_mode=False)
    assert isinstance(result.exception, UsageError) and given[0] in str(result.exception)


def made(seed: int, kl: float, control: str = "") -> Measured:
    """A cell with best-of-n and RL on curves that are known."""
    best = [Point(one / 2, one / 4, 1 + one**0.5 * (2 - one**0.5), 0.1, 8, 2**one) for one in range(6)]
    rl = [Point(one**2, one, 1 + one * (1 - math.log(one)), 0.1, 9, one) for one in range(1, 7)]
    return Measured(Cell(f"c-{seed}-{kl:g}{control}", 50, seed, kl, control, ()), best, rl, rl[-1])


def test_the_bars_of_both_panels_are_95_percent_intervals(tmp_path: Path) -> None:
    folder, problem = RunFolder(tmp_path / "run"), make_problem("p", None)
    folder.path.mkdir()
    texts = [make_rationale(problem, f"{at}", sample=at) for at in range(8)]
    golds = (1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0)  # two texts a step
    rollouts = [
        Rollout(parents=(text.id,), round=1, step=at // 2, reward=gold, parts=(Earned(reward="rising", value=gold),),
                kl=1.0, advantage=0.0)
        for at, (text, gold) in enumerate(zip(texts, golds, strict=True))
    ]  # fmt: skip
    write_stage(folder, 1, "rl", "rollout", [*texts, *rollouts])
    curve, _ = rl_points(folder, "rl", "rising")
    assert [(one.gold, one.step) for one in curve] == [(2.5, 3)]
    # The means of the four steps are 1, 2, 3 and 4: 3.1824 standard errors of sqrt(5/3)/2.
    assert curve[0].half == pytest.approx(3.18244631 * 0.64549722) and curve[0].error == pytest.approx(0.64549722)
    best = [[Point(1.0, 0.0, gold, 0.1, 8, 2)] for gold in (1.0, 3.0)]
    found = [Measured(Cell(f"c-{at}", 50, at, 0.0, "", ()), points, curve, curve[0]) for at, points in enumerate(best)]
    (over_seeds, gold, _), (over_steps, line, *_) = ((name, *some) for name, some in draw_lines(found).items())
    assert "95% intervals over seeds" in over_seeds and "95% intervals over steps" in over_steps
    assert gold["errors"] == [pytest.approx(12.70620474)]  # Student's t of one degree of freedom times an error of 1
    assert line["errors"] == [curve[0].half]
    alone = draw_lines(found[:1])
    assert "Best of n" in alone  # of one seed there are no bars


def test_the_tables_and_the_picture_of_a_grid() -> None:
    from selfimprove.viewer.charts import rewards_chart

    found = [made(seed, kl) for seed in (0, 1) for kl in (0.0, 0.1)] + [made(0, 0.0, "shuffled labels")]
    assert [(form, cell.seed) for form, cell, _ in fits(found)] == [
        ("best of n", 0),
        ("RL", 0),
        ("best of n", 1),
        ("RL", 1),
    ]
    best, ends, fitted = describe(found)
    assert len(best) == 1 + 6 and len(ends) == 1 + 3 and len(fitted) == 1 + 4
    assert all(len(row) == len(table[0]) for table in (best, ends, fitted) for row in table)
    assert ends[-1][0] == "50 comparisons, shuffled labels" and "(" not in ends[-1][2]  # one seed has no interval
    json.dumps(to_json(found), allow_nan=False)
    svg = rewards_chart(draw_lines(found), "Rewards")
    assert isinstance(svg, str)
    ElementTree.fromstring(svg)
    assert "gold, 50 comparisons" in svg


def test_a_page_shows_the_picture_and_the_tables(tmp_path: Path) -> None:
    web = pytest.importorskip("web", reason="httpx is not installed")
    pytest.importorskip("fastapi", reason="the extra [view] is not installed")
    from viewing import serving

    shown = to_json([made(seed, kl) for seed in (0, 1) for kl in (0.0, 0.1)])
    shown["tables"][0][1][0] = "<script>alert(1)</script>"
    damaged = {"lines": {"RL": [{**next(iter(shown["lines"].values()))[0], "ys": [1.0]}]}, "tables": []}
    for name, text in (("mine", json.dumps(shown)), ("torn", json.dumps(shown)[:400]), ("odd", json.dumps(damaged))):
        (tmp_path / f"{name}-overoptimise").mkdir()
        (tmp_path / f"{name}-overoptimise" / "results.json").write_text(text)
    (tmp_path / "far-overoptimise").mkdir()
    (tmp_path / "far-overoptimise" / "results.json").symlink_to(tmp_path / "mine-overoptimise" / "results.json")
    with serving(tmp_path, tmp_path / "cache") as address:
        assert 'href="/overoptimise/mine"' in web.get(f"{address}/").text
        page = web.get(f"{address}/overoptimise/mine")
        assert "bars of the picture are such intervals" in page.text
        assert page.status_code == 200 and page.text.count("<table") == 3 and "<script>alert" not in page.text
        svg = web.get(f"{address}/overoptimise/mine/rewards.svg?narrow=true")
        assert "gold, 50 comparisons" in svg.text and svg.headers["content-type"] == "image/svg+xml"
        assert web.get(f"{address}/overoptimise/mine/rewards.png").content.startswith(b"\x89PNG")
        table = web.get(f"{address}/overoptimise/mine/rewards.csv").text.splitlines()
        assert len(table) == 1 + sum(len(one["xs"]) for some in shown["lines"].values() for one in some)
        for name, said in (("torn", "cannot be read"), ("odd", "cannot be read"), ("far", "cannot be read"),
                           ("none", "there are no such figures")):  # fmt: skip
            refused = web.get(f"{address}/overoptimise/{name}")
            assert refused.status_code == 404 and said in refused.text


SMALL = (
    "model.build={hidden_size: 32, intermediate_size: 64, layers: 1, heads: 1, head_size: 32}",
    "train.held_out=8",
    "warmup={examples: 40, steps: 8, batch_size: 8, learning_rate: 0.01}",
    "frontier.problems=12",
    "generate={samples: 4, temperature: 1.0, max_tokens: 10}",
    "reward={steps: 6, max_length: 64, learning_rate: 0.001, fewest: 4}",
    "rl={steps: 8, batch_size: 8, samples: 4, max_tokens: 10, learning_rate: 0.003, rewards: {model: 1, rising: 0}}",
)


def test_windows_of_steps_grow_and_none_is_too_short() -> None:
    for many in (4, 7, 8, 60, 150, 1000):
        windows = cut_windows(range(1, many + 1))
        assert [step for some in windows for step in some] == list(range(1, many + 1))
        sizes = [len(some) for some in windows]
        assert min(sizes) >= 4 and (many < 60 or sizes[-1] > 3 * sizes[0])


@pytest.mark.long
def test_a_small_grid_from_one_command_that_continues(tmp_path: Path) -> None:
    sets = [part for one in SMALL for part in ("--set", one)]
    command = ["overoptimise", "rlhf", "--runs", str(tmp_path), "--name", "mine", "--comparisons", "12,24", "--seeds",
               "0", "--kl", "0.1", "--best-of", "8", "--problems", "4", "--json", *sets]  # fmt: skip
    first = CliRunner().invoke(app, command, standalone_mode=False, catch_exceptions=False)
    found = json.loads(first.stdout)
    assert len(found["runs"]) == 2 + len(CONTROLS)
    assert all(len(one["best of n"]) == 4 and one["RL"] for one in found["runs"])
    runs = {one["run"]: RunFolder(tmp_path / one["run"]) for one in found["runs"]}
    few, many = (runs[f"mine-n-{n}-kl-0.1-seed-0"].stage(1, "label").read(Preference) for n in (12, 24))
    assert len(few) == 12 and len(many) == 24 and {one.id for one in few} < {one.id for one in many}
    of = {one["control"]: one for one in found["runs"] if one["comparisons"] == 24}
    copies = [of["ensemble, mean"], of["ensemble, lowest"]]
    models = [[one.weights for one in runs[each["run"]].stage(1, "reward").read(Checkpoint)] for each in copies]
    assert models[0] == models[1] and len(set(models[0])) == 3
    assert copies[0]["RL"] != copies[1]["RL"] != of["gold as reward"]["RL"]  # the copy's RL is its own

    pools = sorted((tmp_path / "mine-overoptimise").glob("best-of-n-*.json"))
    assert len(pools) == 2 + 3  # of each reward model one, whatever RL made of it
    pools[0].unlink()
    again = CliRunner().invoke(app, command, standalone_mode=False, catch_exceptions=False)
    assert json.loads(again.stdout) == found
    stopped = runs["mine-gold-as-reward-seed-0"]
    for name in ("rl", "evaluate", "promote"):
        stopped.discard(stopped.stage(1, name))
    again = CliRunner().invoke(app, command, standalone_mode=False, catch_exceptions=False)
    assert json.loads(again.stdout) == found
    more = [*command, "--set", "label.per_problem=1"]
    with pytest.raises(StoreError, match="choose another --name"):  # as of every run that a change would make anew
        CliRunner().invoke(app, more, standalone_mode=False, catch_exceptions=False)
    few_pairs = CliRunner().invoke(app, [*more, "--name", "other"], standalone_mode=False)
    assert "comparisons, and 12 were asked for" in str(few_pairs.exception)
    kept = json.loads((tmp_path / "mine-overoptimise" / "results.json").read_text())
    assert kept == found
