"""What a run is judged by in the viewer: its control, the loop's health, losses while it trains, where a row went."""

import asyncio
import html
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from small import small_recipe

pytest.importorskip("fastapi", reason="the extra [view] is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from builders import make_constitution
from fastapi.testclient import TestClient
from test_sft import make_job, model, quick
from test_viewer import check, get
from viewing import BASE, serving, write_run, write_stage

from selfimprove.constitution import write_constitution
from selfimprove.errors import StoreError
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Checkpoint, Example, Promotion, Rationale
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder
from selfimprove.trainers.sft import train_sft
from selfimprove.viewer.app import create_app
from selfimprove.viewer.controls import choose_control
from selfimprove.viewer.library import Library, Run
from selfimprove.viewer.live import _state, _stream
from selfimprove.viewer.report import write_report
from selfimprove.viewer.views import _passes

__all__ = ["model"]  # the fixture
TEXTS = ("1+2=3\n#3", "1+2=4\n#4", "2+1=3\n#3")


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


# --- the control -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"control-0": ()}, ("control-0", "it is called so")),
        ({"control-0": ("model.device=cpu",)}, ("control-0", "it is called so")),
        ({"plain": ("stages.select.sources=seed",)}, ("plain", "it trains on seed rationales alone")),
        ({"a-control": (), "z": ("stages.select.sources=seed",)}, ("z", "it trains on seed rationales alone")),
        ({"control-1": ("seed=1",)}, None),
        ({"control-0": ("train.held_out=7",)}, None),
        ({"control-0": ("model.build.layers=7",)}, None),
        ({"uncontrolled": ()}, None),
        ({}, None),
    ],
)
def test_the_control_is_found_by_what_a_recipe_says(
    others: dict[str, tuple[str, ...]], expected: tuple[str, str] | None, tmp_path: Path
) -> None:
    for name, changes in {"mine": (), **others}.items():
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        folder.write_recipe(load_recipe("arithmetic", [f"name={name}", *changes]))
    (tmp_path / "torn-control").mkdir()
    (tmp_path / "torn-control" / "recipe.yaml").write_text("name: [")
    found = choose_control(Library(tmp_path, tmp_path / "cache"), "mine", None)
    assert (found and (found.name, found.reason)) == expected


def test_a_control_has_none_itself_and_another_run_can_be_asked_for(tmp_path: Path) -> None:
    for name in ("mine", "control", "third"):
        write_run(tmp_path, name=name)
    library = Library(tmp_path, tmp_path / "cache")
    assert choose_control(library, "control", None) is None
    assert choose_control(library, "mine", "") is None
    assert choose_control(library, "mine", "mine") is None
    chosen = choose_control(library, "mine", "third")
    assert chosen is not None and (chosen.name, chosen.reason) == ("third", "")
    for name in ("none", "../mine", "\0"):
        with pytest.raises(StoreError, match="no such run"):
            choose_control(library, "mine", name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A run of one round, its control of two rounds, and a third run."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder, TEXTS, rounds=1)
    write_run(folder, TEXTS, rounds=2, name="made-control")
    write_run(folder, TEXTS[:1], rounds=1, name="third")
    with serving(folder, tmp_path_factory.mktemp("cache")) as address:
        yield address, folder


@pytest.mark.parametrize(
    ("asked", "beside"),
    [("", "made-control"), ("?against=third", "third"), ("?against=", None), ("?against=made-control&graph=0", None)],
)
def test_the_control_is_a_second_line_and_a_column(site: tuple[str, Path], asked: str, beside: str | None) -> None:
    beside = "made-control" if "made-control" in asked else beside
    page = get(site, f"/runs/made{asked}").text
    links = check(page)
    chart = next(link for link in links if "/charts/accuracy.svg" in link)
    svg = get(site, chart).text
    status = get(site, f"/api/runs/made{asked}").json()
    head = page[page.index("<thead>") : page.index("</thead>")]
    if beside is None:
        assert status["control"] is None and "run made-control" not in svg and "run third" not in svg
        assert "control" not in head and "third" not in head
        return
    assert status["control"]["run"] == beside and f"run {beside}" in svg and beside in head
    rows = page[page.index("</thead>") : page.index("</table>")]
    for one in [*status["control"]["accuracy"], *status["accuracy"]]:
        assert f"{one['accuracy']:.1%}" in rows
    assert rows.count("<tr") == (3 if beside == "made-control" else 2)  # the rounds of both
    assert f"/compare?a={beside}&amp;b=made&amp;first=1&amp;second=1" in rows
    if "graph" in asked:  # the other choice is kept
        assert '<input type="hidden" name="graph" value="0">' in page and "?against=made-control&amp;graph=1" in page


def test_an_unknown_run_beside_it_is_one_line(site: tuple[str, Path]) -> None:
    for path in ("/runs/made?against=none", "/runs/made/charts/accuracy.svg?against=none", "/api/runs/made?against=x"):
        assert "there is no such run" in get(site, path, 404).text
    get(site, "/runs/made?against=" + "x" * 400, 422)


def test_the_report_can_stand_beside_another_run(site: tuple[str, Path], tmp_path: Path) -> None:
    run, out = RunFolder(site[1] / "made"), tmp_path / "report.html"
    write_report(run, out, tmp_path / "cache", RunFolder(site[1] / "third"))
    page = out.read_text()
    assert 'scope="col">third</th>' in page and "/compare" not in page
    write_report(run, out, tmp_path / "cache")
    assert 'scope="col">third</th>' not in out.read_text()


# --- health and losses -----------------------------------------------------------------------------------------


class Stop(Exception):
    pass


class Stopping:
    """A report that ends the run in the middle of a training stage."""

    def begin(self, stage: Any) -> None:
        self.stage = str(stage)

    def progress(self, done: int, total: int, note: str = "") -> None:
        if self.stage == "round-01/sft" and done == 4:
            raise Stop

    def end(self, stage: Any, manifest: Any, summary: str) -> None: ...


def test_a_run_that_trains_shows_its_loss_so_far(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path / "recipe", "rounds=1", "generate.kl_samples=9", "engine.token_logprobs=true")
    run = RunFolder(tmp_path / "runs" / "small")
    with pytest.raises(Stop):
        run_loop(recipe, run, report=Stopping())
    with serving(tmp_path / "runs", tmp_path / "cache") as address:
        site = (address, tmp_path)
        page = get(site, "/runs/small").text
        check(page)
        assert "not done" in page and "3 of 6" in text_of(page)  # the fourth step was not logged yet
        trains = get(site, "/api/runs/small").json()["losses"]["sft"]
        assert [(one["round"], one["steps"], len(one["curve"]), one["going_on"]) for one in trains] == [(1, 6, 3, True)]
        get(site, "/runs/small/charts/loss-sft.svg")
        curve = run.stage(1, "sft").path / "training" / "curve.json"
        whole = curve.read_text()
        for torn in (whole[:30], "[]", '{"steps": "x"}', whole + " " * (1 << 20)):
            curve.write_text(torn)
            assert "sft" not in get(site, "/api/runs/small").json()["losses"]
        curve.write_text(whole.replace('"loss":', '"loss":NaN,"was":', 1))
        found = get(site, "/api/runs/small").json()["losses"]["sft"][0]
        assert len(found["curve"]) == 2
        check(get(site, "/runs/small").text)

        run_loop(recipe, run)
        manifest = run.stage(1, "sft").manifest()
        assert manifest is not None and not (run.stage(1, "sft").path / "training").exists()
        names = ("config", "generation_config", "tokenizer", "tokenizer_config")
        trained = {"checkpoint/model.safetensors", *(f"checkpoint/{name}.json" for name in names)}
        assert set(manifest.sizes) == {"checkpoint-00000.parquet", *trained}
        page = get(site, "/runs/small").text
        assert "not done" not in page
        done = get(site, "/api/runs/small").json()
        assert [one["going_on"] for one in done["losses"]["sft"]] == [False]
        assert [at[0] for at in done["losses"]["sft"][0]["curve"]] == [1, 2, 3, 4, 5, 6]
        assert done["KL from the base"]["1"]["texts"] == 9
        assert "KL from the base, as it was measured" in page
        assert "KL from the base, nats a" in get(site, "/runs/small/charts/signs.svg").text

        written = next(one for one in run.stage(1, "generate").read(Rationale) if one.token_ids)
        assert written.token_costs and sum(written.token_lengths or ()) == len(written.text)
        said = get(site, f"/runs/small/traces/{written.id}").text
        check(said)
        assert said.count('<span class="cost-') == len(written.token_ids or ()) + 4  # and those of the legend


def test_a_step_that_is_logged_is_news_to_a_live_page(tmp_path: Path) -> None:
    run, library = write_run(tmp_path, TEXTS), Library(tmp_path, tmp_path / "cache")
    shown = library.run("made")
    shown.index.refresh(force=True)
    folder = run.stage(2, "sft").path / "training"
    folder.mkdir(parents=True)
    states = [_state(library, shown)]
    for steps in (0, 1, 2):
        curve = [{"step": at + 1, "loss": 0.5, "learning_rate": 0.1} for at in range(steps)]
        (folder / "curve.json").write_text(json.dumps({"steps": 9, "curve": curve}))
        states.append(_state(library, shown))
    assert len(set(states)) == len(states)


class Listener:
    """Somebody whose page stays open."""

    async def is_disconnected(self) -> bool:
        return False


def test_what_changes_on_the_disk_is_seen(tmp_path: Path) -> None:
    """A part that is taken away from a closed stage, a constitution that cannot be read, and a run that is removed."""
    run, other = write_run(tmp_path, TEXTS[:1]), write_run(tmp_path, (), rounds=0, name="other")
    run.write_constitution(write_constitution(make_constitution("short")))
    (other.path / "constitution.yaml").write_text("{")
    with TestClient(create_app(tmp_path, cache=tmp_path / "cache"), base_url="http://127.0.0.1:8000") as client:
        page = client.get("/runs/made/constitution?against=other").text
        assert 'role="alert"' in page and "They say the same" not in page
        assert "They say the same" in client.get("/runs/made/constitution?against=made").text
    library = Library(tmp_path, tmp_path / "another cache")
    assert library.figures("made").problems == {}
    next((run.path / "round-01" / "generate").glob("rationale-*.parquet")).unlink()
    assert library.figures("made").problems == {"round-01/generate/rationale-00000.parquet": "missing"}

    async def listen() -> list[str]:
        said = []
        async for event in _stream(cast(Any, Listener()), library, library.run("made")):
            said.append(event)
            shutil.rmtree(run.path, ignore_errors=True)
        return said

    assert asyncio.run(listen()) == ["retry: 3000\n\n"]


def test_what_diverged_is_shown_as_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path, TEXTS)
    nan = float("nan")
    measured = {name: {"chosen": nan, "rejected": -1.0, "loss": 0.5, "accuracy": 1.0} for name in ("before", "after")}
    trained = {"curve": [{"step": 1, "loss": nan}, {"step": 2, "loss": 0.25}], "pairs": 3, "measured": measured}
    made = Checkpoint(parents=(BASE.id,), path="p", method="dpo", weights="w")
    write_stage(run, 2, "dpo", "checkpoint", [made], metrics=trained)
    write_stage(run, 2, "select", "decision", [], metrics={"KL from the base": {"nats a token": nan, "texts": 3}})
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        check(get(site, "/runs/made").text)
        status = get(site, "/api/runs/made").json()
        assert status["losses"]["dpo"][-1]["curve"] == [[2, 0.25]]
        assert status["preference pairs"][-1]["before"]["chosen"] is None
        assert status["KL from the base"]["2"] == {"nats a token": None, "texts": 3}
        for chart in ("signs", "loss-dpo"):
            get(site, f"/runs/made/charts/{chart}.svg")


def test_promotions_and_roll_backs_stand_with_their_test(tmp_path: Path) -> None:
    run = write_run(tmp_path, TEXTS, rounds=2)
    for round_, promoted in ((1, True), (2, False)):
        made = run.stage(round_, "dpo").read(Checkpoint)[0]
        one = Promotion(
            parents=(made.id, BASE.id), promoted=promoted, won=31, lost=7, p_value=0.00012, reason="the paired test"
        )
        write_stage(run, round_, "promote", "promotion", [one])
    with serving(tmp_path, tmp_path / "cache") as address:
        page = get((address, tmp_path), "/runs/made").text
        check(page)
        shown = text_of(page[page.index("Promotions and roll-backs") :])
        assert "1 promoted 31 7 0.00012 the paired test" in shown and "2 rolled back 31 7 0.00012" in shown


# --- where a row went ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trained", "settings", "says"),
    [
        ((8, 0, 4), (4, 1), "seen 2 times (2 epochs: 4 steps over 8 rows in shuffled order)"),
        ((8, 0, 2), (4, 1), "seen once (1 epoch: 2 steps"),
        ((10, 0, 4), (4, 1), "seen 1 or 2 times (1 epoch and 33% of another one: 4 steps"),
        ((10, 0, 1), (4, 2), "seen once or not at all (67% of an epoch: 1 steps"),
        ((9, 1, 3), (3, 1), "(unless it is one of 1 that were too long and left out), seen once"),
        ((50, 0, 5), (10, 1), "and as often as it stands there: rows of rare groups are repeated"),
        (None, (4, 1), "how often it was seen is not known"),
    ],
)
def test_a_trained_trace_says_where_it_stood_and_how_often_it_was_seen(
    trained: tuple[int, int, int] | None, settings: tuple[int, int], says: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path, TEXTS)
    examples = run.stage(1, "select").read(Example)
    rows = [Example(**one.model_dump() | {"prompt": str(at)}) for at in range(4) for one in examples]
    rows = [*rows, *examples]  # the trace's own row is the ninth
    made = Checkpoint(parents=(BASE.id, *(one.id for one in rows)), path="there", method="sft", weights="w")
    metrics = dict(zip(("rows", "left_out", "steps"), trained, strict=True)) if trained else {}
    write_stage(run, 2, "sft", "checkpoint", [made], metrics=metrics,
                settings=dict(zip(("batch_size", "accumulate"), settings, strict=True)))  # fmt: skip
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        path = f"/runs/made/traces/{examples[0].parents[0]}"
        page = get(site, path).text
        check(page)
        assert f"by sft, row 9 of {len(rows)} different ones" in text_of(page)
        assert says in text_of(page)
        example = next(one for one in get(site, f"/api{path}").json()["children"] if one["kind"] == "example")
        later = example["checkpoints"][-1]
        assert (later["row"], later["different"], later["round"], later["path"]) == (9, len(rows), 2, "there")


def test_the_rows_of_a_stage_that_began_with_no_checkpoint_are_counted_from_the_first(tmp_path: Path) -> None:
    run = write_run(tmp_path, TEXTS)
    example = run.stage(1, "select").read(Example)[0]
    other = Example(**example.model_dump() | {"prompt": "other"})
    made = Checkpoint(parents=(other.id, example.id), path="there", method="start", weights="w")
    write_stage(run, 1, "more", "example", [other])
    write_stage(run, 0, "start", "checkpoint", [made])
    with serving(tmp_path, tmp_path / "cache") as address:
        children = get((address, tmp_path), f"/api/runs/made/traces/{example.parents[0]}").json()["children"]
    (mine,) = (child for child in children if child["child"] == example.id)
    (found,) = (one for one in mine["checkpoints"] if one["method"] == "start")
    assert (found["row"], found["different"]) == (2, 2)


@pytest.mark.parametrize(("rows", "batch_size", "accumulate", "steps"), [(10, 4, 1, 7), (12, 4, 2, 5), (10, 4, 2, 2)])
def test_epochs_are_those_that_the_trainer_counts(
    rows: int, batch_size: int, accumulate: int, steps: int, model: Path, tmp_path: Path
) -> None:
    settings = quick(batch_size=batch_size, accumulate=accumulate, checkpoint_every=1)
    job = make_job(model, tmp_path / "job", settings, steps=steps, rows=rows)
    result = train_sft(job)
    run = RunFolder(tmp_path / "run")
    write_stage(run, 1, "sft", "checkpoint", [], settings=settings.model_dump(), metrics=result.model_dump())
    manifest = run.stage(1, "sft").manifest()
    assert manifest is not None
    last = json.loads((job.workspace / f"checkpoint-{steps - 1}" / "trainer_state.json").read_text())
    seen = _passes(manifest.model_copy(update={"metrics": {**manifest.metrics, "steps": steps - 1}}))
    assert last["global_step"] == steps - 1
    assert seen["passes"] + seen["begun"] == pytest.approx(last["epoch"])


def test_what_became_of_a_checkpoint_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path, TEXTS, rounds=3)
    for round_, promoted in ((1, True), (2, False)):
        candidate = run.stage(round_, "dpo").read(Checkpoint)[0]
        one = Promotion(parents=(candidate.id, BASE.id), promoted=promoted, won=1, lost=0, p_value=1.0, reason="so")
        write_stage(run, round_, "promote", "promotion", [one])
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        for round_, fate in ((1, "promoted"), (2, "rolled back"), (3, "is not decided yet")):
            row = get(site, f"/api/runs/made/traces?origin=revised&round={round_}").json()["traces"][0]
            pair = text_of(get(site, f"/runs/made/traces/{row['id']}").text)
            assert re.search(
                rf"checkpoint \w+ of round {round_} \( round-0{round_}/dpo/checkpoint \): .*; .*{fate}", pair
            )
            row = get(site, f"/api/runs/made/traces?trained=example&round={round_}").json()["traces"][0]
            example = text_of(get(site, f"/runs/made/traces/{row['id']}").text)
            if round_ < 3:  # SFT's checkpoint is not the round's last one
                candidate = run.stage(round_, "dpo").read(Checkpoint)[0]
                assert f"training went on from it to {candidate.id[:10]} , which was {fate}" in example
            assert f"written by checkpoint {BASE.id[:10]} ( base , base)" in example


# --- versions of a constitution --------------------------------------------------------------------------------


def test_versions_of_a_constitution_stand_in_order_with_what_changed(tmp_path: Path) -> None:
    plan = {"newest": (3, ("kind", "brief"), 30), "oldest": (1, ("kind",), 10), "same": (1, ("kind",), 20),
            "middle": (2, ("kind", "true"), 20), "other": (9, ("loud",), 5)}  # fmt: skip
    for name, (version, principles, at) in plan.items():
        run = write_run(tmp_path, TEXTS[:1], name=name)
        named = "yours" if name == "other" else "mine"
        run.write_constitution(write_constitution(make_constitution(*principles, version=version, name=named)))
        os.utime(run.path / "constitution.yaml", (at * 86400, at * 86400))
    torn = write_run(tmp_path, TEXTS[:1], name="torn")
    torn.write_constitution("name: [")
    with serving(tmp_path, tmp_path / "cache") as address:
        site = (address, tmp_path)
        page = get(site, "/runs/middle/constitution").text
        links = check(page)
        assert {f"/runs/{name}/constitution" for name in ("newest", "oldest", "same")} <= links
        shown = text_of(page[page.index('<ol class="versions">') : page.index("</ol>")])
        first, second, third = (shown.index(f"version {at}") for at in (1, 2, 3))
        assert first < second < third and "yours" not in shown
        assert "1970-01-11 00:00 UTC on, in oldest , same" in shown[first:second]
        assert "'true' is new" in shown[second:third] and "this run's" in shown[second:third]
        assert "'brief' is new" in shown[third:] and "'true' is gone" in shown[third:]
        assert "No other run of this folder" in get(site, "/runs/other/constitution").text
        check(get(site, "/runs/torn/constitution").text)


def test_what_is_not_in_an_unfinished_index_is_not_said_to_be_missing(tmp_path: Path) -> None:
    run = write_run(tmp_path, TEXTS)
    trace = run.stage(1, "generate").read(Rationale)[0]
    app, done = create_app(tmp_path, cache=tmp_path / "cache", patience=0.0), threading.Event()
    shown: Run = app.app.state.library.run("made")  # type: ignore[attr-defined]
    shown._work = threading.Thread(target=done.wait, args=(60,))  # the work of another request, which takes its time
    shown._work.start()
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        for path in (f"/runs/made/traces/{trace.id}", f"/api/runs/made/traces/{trace.id}"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert "look again in a moment" in answer.text
        done.set()
        shown._work.join()
        shown.index.refresh()
        assert client.get(path).status_code == 200
        assert client.get(path.replace(trace.id, "0" * 20)).status_code == 404
