"""Whatever happens to one file of a run: the same result, or one line that names it, never another result."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harm import HARMS, Harm, flip, link_away, swap_with, truncate
from small import record_ids, small_recipe, weight_hashes
from tiny_models import make_both, make_llama

from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.recipe import Recipe
from selfimprove.records.files import SEAL, find_unsound
from selfimprove.running.loop import run_loop
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.journal import seal_line
from selfimprove.store.stage import OPEN
from selfimprove.trainers.job import RESULT, TrainResult


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return small_recipe(tmp_path_factory.mktemp("recipe"), "rounds=1")


@pytest.fixture(scope="module")
def further(recipe: Recipe) -> Recipe:
    """The same recipe with a second round."""
    return recipe.model_copy(update={"rounds": 2})


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of one round."""
    run = RunFolder(tmp_path_factory.mktemp("whole") / "small")
    run_loop(recipe, run)
    return run


@pytest.fixture(scope="module")
def reference(whole: RunFolder, further: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The same run after a second round."""
    run = RunFolder(tmp_path_factory.mktemp("reference") / "small")
    shutil.copytree(whole.path, run.path)
    run_loop(further, run)
    return run


@pytest.fixture
def run(whole: RunFolder, tmp_path: Path) -> Iterator[RunFolder]:
    """A copy of the finished run to do harm to."""
    shutil.copytree(whole.path, tmp_path / "small")
    yield RunFolder(tmp_path / "small")


def is_same(run: RunFolder, reference: RunFolder) -> bool:
    return record_ids(run) == record_ids(reference) and weight_hashes(run) == weight_hashes(reference)


def manifest_of(run: RunFolder, round_: int, stage: str) -> Manifest:
    found = run.stage(round_, stage).manifest()
    assert found is not None
    return found


# --- weights -------------------------------------------------------------------------------------------------------

WEIGHTS = "round-01/sft/checkpoint/model.safetensors"


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *((WEIGHTS, harm) for harm in (flip, link_away)),
        pytest.param(WEIGHTS, truncate, marks=pytest.mark.long),
        pytest.param("round-01/sft/checkpoint/config.json", flip, marks=pytest.mark.long),
    ],
    ids=lambda one: Path(one).name if isinstance(one, str) else one.__name__,
)
def test_a_changed_checkpoint_is_named_and_the_advice_works(
    run: RunFolder, reference: RunFolder, further: Recipe, name: str, harm: Harm
) -> None:
    file = run.path / name
    harm(file)
    with pytest.raises(StoreError, match=f"{name}: damaged.*move it away and run the same command again"):
        run_loop(further, run)
    file.unlink()
    run_loop(further, run)
    assert is_same(run, reference)
    assert manifest_of(run, 1, "sft").metrics["curve"]


def test_another_rounds_weights_in_place_of_a_rounds_own_are_named(
    run: RunFolder, reference: RunFolder, further: Recipe
) -> None:
    file = run.path / WEIGHTS
    swap_with(reference.path / "round-02/sft/checkpoint/model.safetensors")(file)
    assert file.stat().st_size == manifest_of(run, 1, "sft").sizes["checkpoint/model.safetensors"]
    with pytest.raises(StoreError, match=f"{WEIGHTS}: damaged"):
        run_loop(further, run)


def test_a_model_that_was_replaced_between_two_starts_is_named(whole: RunFolder, tmp_path: Path) -> None:
    model, run = tmp_path / "model", RunFolder(tmp_path / "run")
    shutil.copytree(whole.path / "round-00/warmup/checkpoint", model)
    settings = ("model.build=null", f"model.path={model}", "warmup=null", "repair=null", "rationalize=null")
    recipe = small_recipe(tmp_path / "recipe", "rounds=0", *settings)
    run_loop(recipe, run)
    before = (model / "model.safetensors").read_bytes()
    swap_with(whole.path / WEIGHTS)(model / "model.safetensors")
    run_loop(recipe, run)  # nothing is left to do with it
    again = small_recipe(tmp_path / "recipe", "rounds=1", "select.sources=samples", *settings)
    with pytest.raises(StoreError, match=r"model: its weights are not those .*changed since the run began.*--name"):
        run_loop(again, run)
    assert not (run.path / "round-01/generate").exists()
    (model / "model.safetensors").write_bytes(before)
    with pytest.raises(SelfImproveError, match="no rationale was kept"):  # it goes on: nothing was asked of it in vain
        run_loop(again, run)


def test_a_model_under_an_adapter_that_was_replaced_is_named(tmp_path: Path) -> None:
    models, run = make_both(tmp_path / "models"), RunFolder(tmp_path / "run")
    settings = ("model.build=null", f"model.path={models['adapter']}", "warmup=null", "repair=null", "rationalize=null")
    run_loop(small_recipe(tmp_path / "recipe", "rounds=0", *settings), run)
    other = make_llama(tmp_path / "other", seed=2, layers=1)
    swap_with(other / "model.safetensors")(models["whole"] / "model.safetensors")
    again = small_recipe(tmp_path / "recipe", "rounds=1", "select.sources=samples", *settings)
    with pytest.raises(StoreError, match=r"whole: its weights are not those .*changed since the run began.*--name"):
        run_loop(again, run)
    assert not (run.path / "round-01/generate").exists()


# --- what a stage cost ---------------------------------------------------------------------------------------------


def reopen(run: RunFolder, round_: int, stage: str, part: str) -> Path:
    """Leave a stage as a kill does just before the part gets its name; gives its file of usage."""
    folder = run.stage(round_, stage).path
    for name in ("stage.json", part):
        (folder / name).unlink()
    return folder / "usage.jsonl"


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
def test_a_kill_before_a_parts_name_loses_nothing_of_a_training(run: RunFolder, recipe: Recipe, noted: bool) -> None:
    before = manifest_of(run, 1, "sft")
    usage = reopen(run, 1, "sft", "checkpoint-00000.parquet")
    if not noted:
        usage.unlink()
    run_loop(recipe, run)
    after = manifest_of(run, 1, "sft")
    assert after.tokens == before.tokens and after.tokens["trained"] > 0
    assert after.metrics["curve"] == before.metrics["curve"]
    result = TrainResult.model_validate_json((run.path / "round-01/sft/checkpoint" / RESULT).read_text())
    assert after.seconds.wall >= after.seconds.model >= result.seconds
    assert after.files == before.files


def test_what_a_part_cost_is_noted_before_it_is_finished(run: RunFolder, recipe: Recipe) -> None:
    disk = run.stage(1, "generate")
    before = manifest_of(run, 1, "generate").tokens
    rows = disk.usage()
    assert [row.part for row in rows] == list(range(len(disk.files())))
    assert sum(row.tokens.get("written", 0) for row in rows) == before["written"]
    reopen(run, 1, "generate", "rationale-00001.parquet")
    run_loop(recipe, run)
    # The part was written twice, and both times are counted.
    assert manifest_of(run, 1, "generate").tokens["written"] == before["written"] + rows[1].tokens["written"]


TEXT = '{"part": 0, "wall": 1.0, "tokens": {}, "metrics": {}, "counts": {}}'
ROW, OLD = seal_line(TEXT).strip(), TEXT.encode()


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"", 0), (ROW + b"\n", 1), (ROW + b"\n" + ROW + b"\n", 2), (ROW + b"\n" + ROW[:20], 1), (ROW[:20], 0),
        (ROW[:20] + b"\n" + ROW + b"\n", 1), (ROW + b"\n\n", 1), (ROW + b"\n" + ROW[:40] + bytes(40), 1),
        (ROW[:10], 0), (ROW[:16] + b"\n" + ROW, 1), (ROW[:17], 0), (ROW[:-1], 0),
        # As an older version left them, without seals.
        (OLD + b"\n" + ROW + b"\n", 2), (OLD + b"\n" + OLD[:20], 1), (OLD[:-1], 0),
    ],
)  # fmt: skip
def test_a_torn_line_of_usage_is_passed_over(content: bytes, rows: int, tmp_path: Path) -> None:
    disk = RunFolder(tmp_path).stage(1, "generate")
    disk.begin({})
    (disk.path / "usage.jsonl").write_bytes(content)
    assert len(disk.usage()) == rows
    disk.add_usage(1, {"wall": 2.0, "tokens": {}, "metrics": {}, "counts": {}})
    assert [row.wall for row in disk.usage()] == [1.0] * rows + [2.0]


@pytest.mark.parametrize(
    "content",
    [
        b"[]", b"{}", b"\xff", b"null\n", bytes(300), b'{"part": "x"}', ROW[1:] + b"\n", b"[" * 100_000,
        ROW.replace(b"1.0", b"9.0"), TEXT.encode()[1:], seal_line(TEXT.replace("1.0", "NaN")), seal_line("[" * 100_000),
        seal_line(TEXT.replace('"tokens": {}', '"tokens": {"written": -1}')),
    ],
    ids=range(13),
)  # fmt: skip
def test_damaged_usage_is_named(content: bytes, run: RunFolder, recipe: Recipe) -> None:
    usage = reopen(run, 1, "verify", "verdict-00000.parquet")
    usage.write_bytes(content)
    with pytest.raises(StoreError, match=r"round-01/verify/usage.jsonl:1: damaged .*move it away"):
        run_loop(recipe, run)
    usage.unlink()
    run_loop(recipe, run)


def test_what_is_nested_too_deeply_is_damage(tmp_path: Path) -> None:
    disk = RunFolder(tmp_path).stage(1, "generate")
    disk.begin({})
    for name in (OPEN, SEAL):
        (disk.path / name).write_text("[" * 100_000)
    assert disk.opened_as() is None and disk.opened_with() == {}
    assert find_unsound(disk.path) == f"{SEAL} is damaged"


def test_all_harms_do_harm(tmp_path: Path) -> None:
    for harm in HARMS:
        file = tmp_path / harm.__name__
        file.write_bytes(b"something" * 10)
        harm(file)
        assert file.is_symlink() or file.is_dir() or file.read_bytes() != b"something" * 10
