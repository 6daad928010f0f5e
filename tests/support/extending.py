"""A run of a few seconds with extensions: an engine that adds by rule, and one round of a model that is trained."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from selfimprove.cli import main
from selfimprove.engines.build import build_model
from selfimprove.recipe import Build, catalog
from selfimprove.records import KINDS
from selfimprove.store import RunFolder

EXTENSIONS = Path(__file__).resolve().parents[1] / "extensions"
TINY = """
name: tiny
seed: 3
rounds: {rounds}
model: {{path: {model}, device: cpu}}
train: {train}
engine: {{name: adder, threads: 1, options: {{flaws: 0.05}}}}
stages:
{stages}
flow: [{flow}]
"""
ARITHMETIC = "{name: arithmetic, max_digits: 2, seed_total_digits: 3, held_out: 3}"
TRAINED = "steps: 3, batch_size: 4, learning_rate: 0.01"
STAGES = {
    "frontier": "{problems: 8}",
    "generate": "{samples: 3, max_tokens: 24, part_size: 3}",
    "verify": "{}",
    "select": "{}",
    "sft": f"{{start: last, fewest: 1, {TRAINED}}}",
    "evaluate": "{}",
    "promote": "{rule: always}",
}


@contextlib.contextmanager
def forgotten_afterwards() -> Iterator[None]:
    """What is declared inside is not known any more to the tests that follow in this process."""
    for noun in catalog.HOMES:  # what is built in is declared once, when its package is imported: not inside
        catalog.known(noun)
    declared = {noun: dict(names) for noun, names in catalog._DECLARED.items()}
    files, kinds, modules = dict(catalog._EXTENSIONS), dict(KINDS), set(sys.modules)
    try:
        yield
    finally:
        for now, before in ((catalog._EXTENSIONS, files), (KINDS, kinds)):
            now.clear()
            now.update(before)
        for noun, names in declared.items():
            catalog._DECLARED[noun].clear()
            catalog._DECLARED[noun].update(names)
        for module in set(sys.modules) - modules:
            if module.startswith("imported_"):
                del sys.modules[module]


def tiny_recipe(folder: Path, flow: Sequence[str], train: str = ARITHMETIC, rounds: int = 1, **stages: str) -> Path:
    """The file of a recipe that runs these stages of a model in the folder; `stages` are settings in YAML."""
    model = folder / "model"
    if not model.exists():
        build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1), model, 1)
    settings = "\n".join(f"  {name}: {(STAGES | stages).get(name, '{}')}" for name in dict.fromkeys((*flow, *stages)))
    path = folder / "tiny.yaml"
    path.write_text(TINY.format(rounds=rounds, model=model, train=train, stages=settings, flow=", ".join(flow)))
    return path


def save_classifier(folder: Path) -> Path:
    """A sequence classifier of one label, as a reward model is one, beside the model whose tokenizer it has."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder / "model", num_labels=1, pad_token_id=tokenizer.pad_token_id or 0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / "classifier")
    tokenizer.save_pretrained(folder / "classifier")
    return folder / "classifier"


def run_command(*arguments: object) -> int:
    """The exit code of the command line in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return int(ended.value.code or 0)


def imports(*names: str) -> list[str]:
    """The options that import files of tests/extensions."""
    return [word for name in names for word in ("--import", str(EXTENSIONS / f"{name}.py"))]


def run_tiny(recipe: Path, *names: str, more: Sequence[str] = ()) -> RunFolder:
    """The run of a recipe with the engine `adder` and other extensions, made in this process."""
    assert run_command("run", recipe, "--runs", recipe.parent, *imports("adder", *names), *more) == 0
    return RunFolder(recipe.parent / "tiny")
