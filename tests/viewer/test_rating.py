"""People rank responses in a real browser, and what they ranked becomes pairs, and the pairs a reward model."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from builders import make_problem, make_rationale
from test_viewer_browser import browser
from viewing import BASE, serving, write_evaluation, write_stage

from selfimprove.cli.app import main
from selfimprove.errors import StoreError
from selfimprove.people.comparisons import compare_ratings
from selfimprove.people.ratings import load_ratings
from selfimprove.recipe.file import load_recipe
from selfimprove.store import RunFolder
from selfimprove.store.rankings import Rankings, rate_by_rank, write_ranking
from selfimprove.tasks.pairs import load_pairs

__all__ = ["browser"]  # the fixture
HOSTILE = '<script>window.hit = 1</script><img src=x onerror="window.hit = 1">'
WORDS = ("7", "77", "777", HOSTILE)


def write_samples(path: Path, problems: int, samples: int) -> RunFolder:
    """A run with several different samples of each problem, and held-out ones."""
    folder = RunFolder(path / "made")
    folder.path.mkdir(parents=True)
    folder.write_recipe(load_recipe("arithmetic", ["name=made", "rounds=1"]))
    write_stage(folder, 0, "base", "checkpoint", [BASE])
    held_out = [make_problem("held out", "3")]
    write_stage(folder, 0, "problems", "problem", held_out)
    write_evaluation(folder, 0, held_out, ["1"])
    asked = [make_problem(f"{at}+1=", str(at + 1)) for at in range(problems)]
    write_stage(folder, 0, "warmup", "problem", asked[:1])  # of a demonstration
    write_stage(folder, 1, "frontier", "problem", asked)
    texts = [
        make_rationale(one, WORDS[at] if at < len(WORDS) else f"{at}", parents=(one.id, BASE.id), sample=at)
        for one in asked
        for at in range(samples)
    ]
    again = [make_rationale(one, WORDS[0], parents=(one.id, BASE.id), sample=99) for one in asked]  # the same text
    cut = [make_rationale(asked[0], "cut off", parents=(asked[0].id, BASE.id), sample=98, finish="length")]
    write_stage(folder, 1, "generate", "rationale", [*texts, *again, *cut])
    write_evaluation(folder, 1, held_out, ["2"])
    return folder


def shown(page: Any) -> list[str]:
    return [one.inner_text() for one in page.locator("article pre").all()]


def rank_by_length(page: Any) -> list[str]:
    """Press the letters of the responses, the shortest first, and keep them; gives the responses as shown."""
    texts = shown(page)
    for at in sorted(range(len(texts)), key=lambda at: len(texts[at])):
        page.keyboard.press("abcdefghi"[at])
    before = page.locator("input[name=problem]").get_attribute("value")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "before => !document.querySelector('input[name=problem]') || "
        "document.querySelector('input[name=problem]').value !== before", arg=before,
    )  # fmt: skip
    return texts


def export(run: RunFolder, out: Path, what: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run.path), str(out), "--what", what])
    assert ended.value.code == 0


@pytest.mark.long
def test_two_people_rank_by_keyboard_and_a_reward_model_learns_what_they_prefer(
    browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_samples(tmp_path / "runs", problems=3, samples=4)
    said: list[str] = []
    orders: dict[str, dict[str, list[str]]] = {"Ada": {}, "Émile": {}}
    with serving(tmp_path / "runs", tmp_path / "cache") as address:

        def watch() -> Any:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.set_default_timeout(40_000)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda one: None if one.url.startswith(address) else said.append(one.url))
            page.goto(f"{address}/runs/made/rate")
            return page

        ada = watch()
        # Nothing says whose a response is, and nothing in it runs.
        html = ada.content()
        assert BASE.id[:10] not in html and "cut off" not in html and "held out" not in ada.locator("main").inner_text()
        assert HOSTILE in shown(ada) and ada.evaluate("window.hit") is None
        # Keys are undone, ties are shown, and a wrong key does nothing.
        for key in ("b", "=", "a", "i", "Backspace", "c"):
            ada.keyboard.press(key)
        assert ada.locator("[data-said]").inner_text() == "B, then C"
        for _ in range(3):
            ada.keyboard.press("Backspace")
        ada.locator("input[name=by]").fill("Ada")
        ada.locator("h1").click()
        first = ada.locator("h2 + pre").inner_text()
        orders["Ada"][first] = rank_by_length(ada)
        assert "1 of 3 prompts done by Ada" in ada.locator("main").inner_text()
        # Another session goes on where this one stopped; the second is skipped with a reason.
        ada.goto(f"{address}/")
        ada.goto(f"{address}/runs/made/rate")
        second = ada.locator("h2 + pre").inner_text()
        assert second != first
        ada.keyboard.press("r")
        ada.keyboard.type("cannot say")
        ada.locator("h1").click()
        ada.keyboard.press("s")
        ada.wait_for_function("said => document.querySelector('h2 + pre')?.innerText !== said", arg=second)
        rank_by_length(ada)
        assert "All are done" in ada.locator("main").inner_text()
        assert f"selfimprove export {run.called} pairs.jsonl" in ada.locator("main").inner_text()
        # What was done last is looked at again, with its ranks.
        ada.locator("a", has_text="Look again at the last one").click()
        ada.wait_for_url("**problem=**")
        assert sorted(one.input_value() for one in ada.locator("article select").all()) == ["1", "2", "3", "4"]

        emile = watch()
        emile.locator("input[name=by]").fill("Émile")
        emile.locator("h1").click()
        assert emile.locator("h2 + pre").inner_text() == first  # everybody begins with the same
        for _ in range(3):
            problem = emile.locator("h2 + pre").inner_text()
            orders["Émile"][problem] = rank_by_length(emile)
        assert "two agree on 100% of the 12 pairs" in emile.locator("main").inner_text()
        # Written by another site's form, or of other responses than were shown, nothing is kept.
        problem = Rankings(run).current()[0].problem
        form = {"problem": problem, "seal": "other", "rank-0": "1"}
        kept = len(Rankings(run).all())
        assert emile.request.post(f"{address}/runs/made/rate", form=form).status == 403
        own = {"origin": address}
        for changed, status in ((form, 404), ({**form, "problem": "0000"}, 404), ({"x": "1"}, 404)):
            assert emile.request.post(f"{address}/runs/made/rate", form=changed, headers=own).status == status
        assert len(Rankings(run).all()) == kept == 6
        emile.context.close()
        ada.context.close()
    assert said == []
    assert sorted(orders["Ada"][first]) == sorted(orders["Émile"][first])

    export(run, tmp_path / "ratings.jsonl", "ratings")
    ratings = load_ratings(tmp_path / "ratings.jsonl")
    assert {one.rater for one in ratings} == {"person-1", "person-2"}
    assert "Ada" not in (tmp_path / "ratings.jsonl").read_text()
    compared = compare_ratings(ratings)
    assert len(compared) == 5 * 6 and {one.weight for one in compared} == {1 / 3}  # K(K-1)/2 of five rankings of four
    export(run, tmp_path / "pairs.jsonl", "pairs")
    pairs = load_pairs(tmp_path / "pairs.jsonl")
    assert len(pairs) == 3 * 6 and all(one.margin == 1.0 for one in pairs)
    assert {round(one.weight, 3) for one in pairs} == {0.333, 0.667}  # by one person, and by two
    assert all(len(str(one.problem.answer)) == min(map(len, one.problem.options)) for one in pairs)
    learn(pairs, tmp_path)


def learn(pairs: Any, folder: Path) -> None:
    """A tiny reward model is trained on the pairs, as the stage `reward` trains one, and prefers what people do."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from selfimprove.engines.build import build_model
    from selfimprove.recipe import Build, RewardTraining
    from selfimprove.trainers.job import RewardJob
    from selfimprove.trainers.reward import train_reward
    from selfimprove.trainers.reward_model import RewardModel

    short = [one for one in pairs if HOSTILE not in one.problem.options]  # a tiny model reads digits alone
    rows = []
    for one in short:
        (rejected,) = {*one.problem.options} - {one.problem.answer}
        rows.append({"prompt": one.problem.question, "chosen": one.problem.answer, "rejected": rejected,
                     "ends": True, "margin": one.margin, "weight": one.weight})  # fmt: skip
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, head_size=32), folder / "model", seed=5)
    pq.write_table(pa.Table.from_pylist(rows), folder / "examples.parquet")
    job = RewardJob(
        model=str(folder / "model"), examples=folder / "examples.parquet", output=folder / "checkpoint", steps=30,
        seed=1, settings=RewardTraining(batch_size=len(rows), learning_rate=0.01), device="cpu", threads=1,
    )  # fmt: skip
    result = train_reward(job)
    assert result.curve[-1].loss < result.curve[0].loss
    model = RewardModel(job.output, device="cpu", dtype="float32", batch_size=8)
    good, bad = (model.score([row["prompt"] for row in rows], [row[name] for row in rows])[0]
                 for name in ("chosen", "rejected"))  # fmt: skip
    assert all(float(one or 0) > float(other or 0) for one, other in zip(good, bad, strict=True))


SMALL = (
    "model.build={hidden_size: 32, intermediate_size: 64, layers: 1, heads: 1, head_size: 32}",
    "train.held_out=6", "warmup={examples: 400, steps: 60, batch_size: 32, learning_rate: 0.01}",
    "frontier.problems=8", "generate={samples: 5, temperature: 1.0, max_tokens: 12}",
    "reward={steps: 40, batch_size: 16, max_length: 64, learning_rate: 0.005, models: 2, held_out: 0.25}",
    "rl={steps: 3, batch_size: 8, samples: 4, max_tokens: 10, learning_rate: 0.003, kl: 0.1, rewards: {model: 1}}",
)  # fmt: skip
FORM = "prompt={question: '8{question}', cue: '7'}"  # around the question, as a chat template is


@pytest.mark.long
def test_from_a_run_to_people_to_a_run_that_follows_them(browser: Any, tmp_path: Path) -> None:
    """A run writes responses, a person ranks them in the browser, and the reward model of the next run learns from the
    pairs, is measured on those of prompts that it has not seen, and is what RL follows."""
    from selfimprove.records import Checkpoint, Preference, Problem, Rationale, Rollout
    from selfimprove.running.loop import run_loop

    runs = tmp_path / "runs"
    asked = RunFolder(runs / "asked")
    run_loop(load_recipe("rlhf", (*SMALL, FORM, "name=asked", "rl.steps=1")), asked)
    with serving(runs, tmp_path / "cache") as address:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(40_000)
        page.goto(f"{address}/runs/asked/rate")
        page.locator("input[name=by]").fill("Ada")
        page.locator("h1").click()
        ranked = 0
        while "All are done" not in page.locator("main").inner_text():
            page.wait_for_selector("article")
            rank_by_length(page)
            ranked += 1
        assert ranked == 8
        page.context.close()
    texts = {one.id for stage in ("generate", "rl") for one in asked.stage(1, stage).read(Rationale)}
    for one in Rankings(asked).current():  # on disk, by the ids of what was ranked
        assert sorted(rank or 0 for rank in one.ranks) == [*range(1, len(one.ranks) + 1)] and {*one.parents} <= texts
    export(asked, tmp_path / "pairs.jsonl", "pairs")

    rated = RunFolder(runs / "rated")
    flow = "flow=[frontier, generate, {gold: rank}, verify, prefer, reward, rl, evaluate, promote]"
    own = (f"prefer={{limit: 0, files: {{path: {tmp_path / 'pairs.jsonl'}, limit: 1000}}}}", "label=null")
    run_loop(load_recipe("rlhf", (*SMALL, FORM, "name=rated", flow, *own)), rated)
    pairs = rated.stage(1, "prefer").read(Preference)
    assert len(pairs) >= 20 and {one.source for one in pairs} == {"people"}
    assert all(len(one.chosen) <= len(one.rejected) for one in pairs)
    manifest = rated.stage(1, "reward").manifest()
    assert manifest is not None
    found = manifest.metrics["held out"]
    assert found["by source"] == {"people": found["accuracy"]} and found["prompts"] >= 2
    assert manifest.metrics["trained pairs"] + found["pairs"] == len(pairs)
    assert found["accuracy"]["low"] > 0.5  # what one person likes is soon learned
    assert found["correlation with length"] < -0.5
    # RL follows what they learned, on the problems of the run: what people compared is no problem that it answers.
    models, rollouts = rated.stage(1, "reward").read(Checkpoint), rated.stage(1, "rl").read(Rollout)
    assert [one.role for one in models] == ["reward"] * 2 and len(rollouts) == 3 * 8
    written = rated.stage(1, "rl").read(Rationale)
    assert {one.problem for one in written} <= {one.id for one in rated.stage(1, "frontier").read(Problem)}
    # It is asked in the form that it has learned.
    for one in (*pairs, *written):
        assert one.prompt.startswith("8") and one.prompt.endswith("=7")


@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_is_accessible(browser: Any, width: int, scheme: str, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    write_samples(tmp_path / "runs", problems=1, samples=10)  # one of them is a text twice
    with serving(tmp_path / "runs", tmp_path / "cache") as address:
        size = {"width": width, "height": 800}
        page = browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True).new_page()
        page.goto(f"{address}/runs/made/rate")
        assert page.locator("article").count() == 9
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate(next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text())
        found = page.evaluate("() => axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"][:160]) for rule in found] == []
        page.context.close()


def test_ranking_needs_no_javascript(browser: Any, tmp_path: Path) -> None:
    run = write_samples(tmp_path / "runs", problems=1, samples=2)
    with serving(tmp_path / "runs", tmp_path / "cache") as address:
        page = browser.new_context(java_script_enabled=False, viewport={"width": 400, "height": 800}).new_page()
        page.goto(f"{address}/runs/made/rate")
        assert page.locator("article").count() == 2
        page.locator("button", has_text="Keep").click()
        assert "nothing is ranked" in page.locator("main").inner_text()
        page.goto(f"{address}/runs/made/rate")
        page.locator("select").nth(1).select_option("1")
        page.locator("textarea").fill("clearer <b>one</b>")
        page.locator("button", has_text="Keep").click()
        assert "All are done" in page.locator("main").inner_text()
        page.context.close()
    (kept,) = Rankings(run).current()
    assert kept.ranks == (None, 1) and kept.reason == "clearer <b>one</b>"
    traces = {name: {"prompt": "p", "text": name, "checkpoint": ""} for name in kept.parents}
    (one,) = compare_ratings(rate_by_rank([kept], traces))  # one is chosen: it is better than the other one
    assert one.outcome == float(kept.parents[1] < kept.parents[0])


def test_rankings_are_checked_and_the_last_one_holds(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for ranks in ((1, 2), (None, None), (2, 1)):
        write_ranking(run, "p", ["a", "b"], ranks, "", "Ada", "w")
    write_ranking(run, "p", ["a", "b"], (1, 1), "", "", "w")
    by_person = {one.person: one.ranks for one in Rankings(run).current()}
    assert by_person == {"name:Ada": (2, 1), "browser:w": (1, 1)}
    for responses, ranks, reason, by in (
        (["a"], (1,), "", ""), (["a", "a"], (1, 2), "", ""), (["a", "b"], (1, 3), "", ""), (["a", "b"], (0, 1), "", ""),
        (["a", "b"], (1, 2), "x" * 4001, ""), (["a", "b"], (1, 2), "", "x" * 81),
        ([str(at) for at in range(10)], (1,) * 10, "", ""),
    ):  # fmt: skip
        with pytest.raises(StoreError):
            write_ranking(run, "p", responses, ranks, reason, by, "w")
    torn = next(tmp_path.glob("rankings/*.json"))
    torn.write_text(json.dumps({**json.loads(torn.read_text()), "reason": "changed"}))
    rankings = Rankings(run)
    assert len(rankings.all()) == 3 and list(rankings.damaged()) == [str(torn.relative_to(tmp_path))]
