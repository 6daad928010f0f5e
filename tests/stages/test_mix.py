"""Instruction tuning from a mixture to what the held-out cluster gains, and what is written down of the mixture."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from extending import forgotten_afterwards, run_command, run_tiny, tiny_recipe
from viewing import serving
from web import get

from selfimprove.errors import RecipeError
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Draw, Evaluation, Example, Portion, Problem, Record
from selfimprove.store import RunFolder
from selfimprove.store.collapse import COLLAPSE

ROWS = {
    # A duplicate, an empty target, a row that is too long, one whose prompt is held out, and one of another form.
    "sums": [("1+2", "3"), ("1+2", "3"), ("2+2", ""), ("3" * 70, "4"), ("9=9", "1"), ("2+3", None), *[
        (f"{at}+1", str(at + 1)) for at in range(4, 14)]],
    "same": [(f"{at}#", str(at)) for at in range(8)],
    "held": [("9=9", "0"), ("8=8", "0"), ("7=7", "0")],
}  # fmt: skip


def write(folder: Path, mix: str = "{rows: 16}", **given: Any) -> Path:
    """A recipe that trains on a mixture of two clusters and evaluates a third one."""
    sets: dict[str, Any] = {}
    for name, rows in ROWS.items():
        lines = [json.dumps({"q": q} if a is None else {"q": q, "a": a}) for q, a in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
        templates = {"plain": {"prompt": "{{q}}", "completion": "{{a}}"}}
        sets[name] = {"cluster": f"c {name}", "path": f"{name}.jsonl", "templates": templates, **given.get(name, {})}
    sets["sums"]["templates"]["twice"] = {"prompt": "{{q}}", "completion": "{{a}}"}  # makes duplicates
    mixture = {"hold_out": ["c held"], "data_sets": sets}
    (folder / "mine.yaml").write_text(yaml.safe_dump(mixture, sort_keys=False))
    train = "{name: mixture/mine, file: mine.yaml}"
    sft = "{fewest: 1, steps: 2, batch_size: 4, learning_rate: 0.01, max_length: 64, packing: true}"
    return tiny_recipe(folder, ("mix", "sft", "evaluate"), train=train, mix=mix, sft=sft)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("mix")
    with forgotten_afterwards():  # what a fixture of the module declares, the tests' own forgetting does not reach
        return run_tiny(write(folder, sums={"loss_weight": 2.0}))


def read(run: RunFolder, kind: type[Record], round_: int = 1, stage: str = "mix") -> Any:
    return run.stage(round_, stage).read(kind)


def test_each_row_says_where_it_is_from_or_why_it_is_not_trained(run: RunFolder) -> None:
    draws, examples = read(run, Draw), read(run, Example)
    kept = {one.id: one for one in draws if one.kept}
    assert [one.parents for one in examples] == [(name,) for name in kept] and len(examples) == 16
    for one in examples:
        draw = kept[one.parents[0]]
        assert one.origin == "mixture" and one.group == f"{draw.cluster}: {draw.data_set}"
        assert one.weight == (2.0 if draw.data_set == "sums" else 1.0)
        assert draw.tokens == len(one.prompt) + 1 + draw.completion_tokens == len(one.prompt + one.completion) + 2
    reasons = {one.reason.split(":")[0]: one for one in draws if not one.kept}
    assert {"empty target", "too long", "its prompt is held out", "the template fails"} <= set(reasons)
    assert reasons["too long"].reason == "too long: 73 tokens" and reasons["too long"].text == "3" * 70
    assert reasons["its prompt is held out"].place == "sums.jsonl, line 5"
    trained = [(one.prompt, one.completion) for one in examples]
    assert len(set(trained)) == len(trained) and "9=9" not in {prompt for prompt, _ in trained}


def test_rows_of_a_mixture_are_no_text_of_the_models_own(run: RunFolder) -> None:
    manifest = run.stage(1, "sft").manifest()
    assert manifest is not None and manifest.metrics[COLLAPSE]["own"] == 0


def test_what_was_drawn_stands_beside_what_was_asked_for(run: RunFolder) -> None:
    draws, portions = read(run, Draw), {(one.by, one.name): one for one in read(run, Portion)}
    whole = portions["mixture", "mixture/mine"]
    assert whole.rows == 16 and whole.tokens == sum(one.tokens for one in draws if one.kept)
    turned = Counter(one.reason.split(":")[0] for one in draws if not one.kept)
    assert (whole.empty, whole.too_long, whole.held_out, whole.duplicates, whole.failed) == tuple(
        turned[name]
        for name in ("empty target", "too long", "its prompt is held out", "duplicate", "the template fails")
    )
    for by in ("cluster", "data set", "template"):
        mine = [one for key, one in portions.items() if key[0] == by]
        assert sum(one.rows for one in mine) == 16 and sum(one.asked for one in mine) == pytest.approx(1)
        assert sum(one.token_share for one in mine) == pytest.approx(1)
    sums = portions["data set", "sums"]
    assert sums.asked == pytest.approx(16 / 24) and sums.share == pytest.approx(sums.asked, abs=1 / 16)
    assert portions["template", "sums: twice"].asked == pytest.approx(8 / 24)


def test_the_same_problems_are_asked_before_and_after(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    held = {one.answer for one in read(run, Problem, 0, "problems")}
    before, after = (read(run, Evaluation, round_, "evaluate") for round_ in (0, 1))
    assert held == {"0"} and [one.group for one in before] == [one.group for one in after] == ["c held: held"]
    assert [one.level for one in after] == [1] and after[0].n + after[0].undecided == 3
    assert run_command("status", "tiny", "--runs", run.path.parent) == 0
    shown = capsys.readouterr().out
    assert "Drawn in round 1" in shown and "data set sums" in shown and "held out" in shown and "66.7%" in shown
    # No template has options, so that there is no share of them that could be the one asked for.
    [options] = [line.split() for line in shown.splitlines() if "form options" in line]
    assert options == ["form", "options", "0", "0", "100.0%"]
    assert run_command("status", "tiny", "--json", "--runs", run.path.parent) == 0
    assert len(json.loads(capsys.readouterr().out)["mixture"]["1"]) == len(read(run, Portion))


def test_a_form_is_a_share_of_the_rows_that_could_do_without_it(tmp_path: Path) -> None:
    """`same` shows its options in each of its rows, so that only `sums` has what can be asked for."""
    always = {"plain": {"prompt": "{{q}}(1|2)", "completion": "{{a}}", "options": "1 ||| 2", "shows_options": True}}
    free = {"plain": {"prompt": "{{q}}", "completion": "{{a}}", "options": "1 ||| 2"}}
    mixed = run_tiny(write(tmp_path, same={"templates": always}, sums={"templates": free}))
    portions = {(one.by, one.name): one for one in read(mixed, Portion)}
    options, sums = portions["form", "options"], portions["data set", "sums"]
    assert options.of == sums.rows and options.share == pytest.approx(options.asked, abs=0.1)
    shown = [one for one in read(mixed, Draw) if one.kept and "options" in one.forms]
    assert len(shown) > options.rows and {one.data_set for one in shown} == {"same", "sums"}


def test_a_budget_of_tokens_and_of_clusters(tmp_path: Path, run: RunFolder) -> None:
    mixed = run_tiny(write(tmp_path, "{tokens: 20, clusters: [c same], templates: 1}"))
    draws = read(mixed, Draw)
    assert {one.cluster for one in draws} == {"c same"} and 20 <= sum(one.tokens for one in draws) < 25
    assert len(draws) < len(read(run, Draw))


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write(tmp_path, "{clusters: [c sum]}")
    assert run_command("run", recipe, "--runs", tmp_path, "--set", "engine.name=transformers") == 2
    assert "mix.clusters: 'c sum' is not in the mixture; did you mean 'c sums'?" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="'mix' draws from a mixture, and 'gsm8k' is none"):
        load_recipe(str(recipe), ["train={name: gsm8k}", "engine.name=transformers"])


def test_the_viewer_shows_what_was_drawn_beside_what_was_asked_for(run: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra [view] is not installed")
    with serving(run.path, tmp_path / "cache") as address:
        page = get(f"{address}/runs/{run.path.name}", timeout=60).text
        rows = [
            one.split(",")
            for one in get(f"{address}/runs/{run.path.name}/charts/mixture.csv", timeout=60).text.splitlines()
        ]
        assert "<svg" in get(f"{address}/runs/{run.path.name}/charts/mixture.svg", timeout=60).text
    section = page[page.index('id="mixture"') : page.index("Rows that are trained, and of the rest")]
    for one in read(run, Portion):
        if one.by != "mixture":
            assert re.search(rf">{re.escape(one.name)}</th><td class=\"num\">{one.rows:,}</td>", section), one.name
    known = {(one.by, one.name): str(one.rows) for one in read(run, Portion)}
    assert {(row[1], row[2]): row[3] for row in rows[1:]} == known
