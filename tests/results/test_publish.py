"""What is published can be loaded by others, and its cards say what the records say, whatever the model wrote."""

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from chain import CHAIN, load_adder
from datasets import load_dataset
from huggingface_hub import DatasetCard, ModelCard
from huggingface_hub.constants import is_offline_mode
from small import small_recipe
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from selfimprove.cli.app import app
from selfimprove.engines.build import build_model
from selfimprove.engines.models import load_model
from selfimprove.engines.shareable import find_licence, write_adapter
from selfimprove.errors import SelfImproveError
from selfimprove.recipe import Build
from selfimprove.records import Evaluation
from selfimprove.records.stats import wilson
from selfimprove.results.cards import escape, fence
from selfimprove.results.publish import Wish, publish
from selfimprove.running.find_model import find_best
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder

ALPHABET = "0123456789+=#? \n!x."


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trains a LoRA adapter on a given model, in one round by a constitution."""
    path = tmp_path_factory.mktemp("published")
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1, alphabet=ALPHABET), path / "base", 1)
    (path / "base" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A base\n")
    text = re.sub(r"  warmup: .*\n", "", CHAIN)
    text = re.sub(r"  build: .*\n", f"  path: {path / 'base'}\n", text)
    text = text.replace("sft: {start: last, steps: 6,", "sft: {start: base, lora: {rank: 2}, steps: 6,")
    text = re.sub(r"  dpo: .*\n", "", text).replace("  prefer: {}\n", "").replace("seed+samples", "samples")
    run_loop(small_recipe(path, text=text), RunFolder(path / "runs" / "mine"), load=load_adder)
    return path / "runs"


def texts_of(folder: Path) -> str:
    return "\n".join(
        path.read_text() for path in sorted(folder.rglob("*")) if path.suffix in (".json", ".md", ".jinja")
    )


def test_whole_weights_are_loaded_by_others_and_are_the_checkpoint(runs: Path, tmp_path: Path) -> None:
    lines = publish(Wish("mine", tmp_path / "out", runs))
    out, folder = tmp_path / "out" / "model", RunFolder(runs / "mine")
    files = {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md"}
    assert {one.name for one in out.iterdir()} >= files
    checkpoint = find_best(folder)
    expected, _ = load_model(folder.path / checkpoint.path, base=checkpoint.base, dtype="float32", device="cpu")
    found, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    ids = torch.tensor([tokenizer("12+7=")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(found(ids).logits, expected(ids).logits)
    assert str(runs.parent) not in texts_of(tmp_path / "out")  # no path of this machine
    assert any("whole weights" in line for line in lines) and not any("licence" in line for line in lines)
    rows = load_dataset(str(tmp_path / "out" / "data"), "sft", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) and {"prompt", "completion", "origin"} <= set(rows.column_names)


def test_the_cards_are_what_the_hub_reads(runs: Path, tmp_path: Path) -> None:
    publish(Wish("mine", tmp_path / "out", runs, control="mine"))
    card = ModelCard.load(tmp_path / "out" / "model" / "README.md")
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "apache-2.0", "transformers", "text-generation",
    )  # fmt: skip
    evaluations = RunFolder(runs / "mine").stage(1, "evaluate").read(Evaluation)
    correct, n = sum(one.correct for one in evaluations), sum(one.n for one in evaluations)
    (result,) = card.data.eval_results or []
    assert result.metric_value == pytest.approx(correct / n, abs=1e-6) and result.dataset_type == "arithmetic"
    low, high = wilson(correct, n)
    assert f"| {correct / n:.1%} | {low:.1%} to {high:.1%} | {n} |" in card.text
    for section in ("Base model and licence", "How it was trained", "Data", "Verifier", "Constitution", "Figures",
                    "Control", "Limits"):  # fmt: skip
        assert f"\n## {section}\n" in card.text
    assert re.search(r"\| 1 \| sft \| \d+ \| 6 \| [\d,]+ \| .* \| yes \|", card.text)
    constitution = RunFolder(runs / "mine").recipe().constitution
    assert constitution and "hash `" in card.text and "self\\-correct, version 1" in card.text
    assert "More Information Needed" not in card.text and "[optional]" not in card.text  # the library's own template
    data = DatasetCard.load(tmp_path / "out" / "data" / "README.md")
    assert data.data.task_categories == ["text-generation"] and data.data.size_categories == ["n<1K"]
    assert "| sft | revised |" in data.text and "## Examples" in data.text


def test_an_adapter_names_a_base_that_others_find(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(SelfImproveError, match=r"local folder 'base', which nobody else can load.*--base owner/name"):
        publish(Wish("mine", tmp_path / "out", runs, adapter=True))
    assert list(tmp_path.iterdir()) == []  # nothing half done stays
    publish(Wish("mine/round-01", tmp_path / "out", runs, adapter=True, base="owner/base", data=False))
    out = tmp_path / "out" / "model"
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "owner/base"
    assert {one.name for one in out.iterdir()} >= {"adapter_model.safetensors", "tokenizer.json", "README.md"}
    card = ModelCard.load(out / "README.md")
    assert (card.data.base_model, card.data.library_name) == ("owner/base", "peft")
    assert str(runs.parent) not in texts_of(out) and not (tmp_path / "out" / "data").exists()
    with pytest.raises(SelfImproveError, match="whole weights and no adapter"):
        write_adapter(runs.parent / "base", "owner/base", tmp_path / "none")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--upload", "name"], "a name on the hub is 'owner/name'"),
        (["--control", "none"], "none: no run in"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_is_written(
    runs: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    given = ["publish", "mine", "--to", str(tmp_path / "out"), "--runs", str(runs), *arguments]
    found = CliRunner().invoke(app, given)
    assert isinstance(found.exception, SelfImproveError) and said in str(found.exception)
    assert "\n" not in str(found.exception) and not (tmp_path / "out").exists()


def test_an_upload_without_the_hub_is_one_line(runs: Path, tmp_path: Path) -> None:
    """By a setting before anything is written; without a network, or without leave, once the folder is complete."""
    out = tmp_path / "out"
    found = CliRunner().invoke(
        app, ["publish", "mine", "--to", str(out), "--runs", str(runs), "--upload", "owner/name"]
    )
    assert isinstance(found.exception, SelfImproveError) and str(found.exception).startswith("--upload owner/name: ")
    assert "\n" not in str(found.exception)
    assert out.exists() is not is_offline_mode()
    assert not is_offline_mode() or "HF_HUB_OFFLINE is set" in str(found.exception)


def test_a_folder_that_is_there_is_not_written_over(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(SelfImproveError, match="is there already"):
        publish(Wish("mine", tmp_path / "out", runs))
    (tmp_path / "empty").mkdir()
    with contextlib.chdir(tmp_path / "empty"), pytest.raises(SelfImproveError, match="is there already"):
        publish(Wish("mine", Path(), runs))


def test_a_licence_is_read_through_a_link(tmp_path: Path) -> None:
    """All files of a model are links in the hub's cache."""
    (tmp_path / "blob").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").symlink_to("../blob")
    assert find_licence(tmp_path / "model") == "mit"


def test_an_unknown_licence_is_said(runs: Path, tmp_path: Path) -> None:
    copied = tmp_path / "base"
    shutil.copytree(runs.parent / "base", copied)
    (copied / "README.md").unlink()
    assert find_licence(copied) is None
    for text in ("no card", "---\nlicense: [a, b]\n---\n", "---\nlicense: &a [*a]\n", "---\n: : :\n---\n"):
        (copied / "README.md").write_text(text)
        assert find_licence(copied) is None
    publish(Wish("mine", tmp_path / "out", runs, licence="mit", data=False))
    assert ModelCard.load(tmp_path / "out" / "model" / "README.md").data.license == "mit"


HOSTILE: tuple[Any, ...] = (
    "```\n# A heading\n", "````text\nend\n````", "<script>alert(1)</script>", "| a | b |\n---\nlicense: mit",
    "\x1b[2J\u202e", "[click](javascript:alert(1)) ![x](http://x/y.png)", "`code` $x$ &lt; ~~~",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_model_wrote_formats_nothing_in_a_card(text: str) -> None:
    markdown_it = pytest.importorskip("markdown_it", reason="the extra [view] is not installed")
    reader = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table")
    block = reader.parse(fence(text))
    assert (
        [one.type for one in block] == ["fence"] and "\x1b" not in block[0].content and "\u202e" not in block[0].content
    )
    kinds = {one.type for token in reader.parse(f"said: {escape(text)}") for one in (token, *(token.children or ()))}
    assert kinds <= {"paragraph_open", "inline", "paragraph_close", "text", "text_special"}
