"""What engines know of a checkpoint from its files, and what is said where an engine is not installed."""

import json
import sys
from pathlib import Path

import pytest
from small import small_recipe
from tiny_models import make_adapter, make_llama
from transformers import AutoTokenizer, GenerationConfig

from selfimprove.engines import Weights
from selfimprove.engines.checkpoints import Adapter, full_folder, read_adapter, read_ends, read_shape, same_tokenizer
from selfimprove.errors import EngineError, ModelError
from selfimprove.recipe.file import load_recipe
from selfimprove.running.session import Session
from selfimprove.store import RunFolder


def test_checkpoints_of_one_shape_are_told_from_others(tmp_path: Path) -> None:
    first, second, wider = (
        make_llama(tmp_path / name, seed, **shape)
        for name, seed, shape in (("a", 1, {}), ("b", 2, {}), ("c", 1, {"intermediate_size": 96}))
    )
    config = json.loads((second / "config.json").read_text()) | {"_name_or_path": "b", "transformers_version": "4.0"}
    (second / "config.json").write_text(json.dumps(config))
    assert read_shape(first) == read_shape(second) != read_shape(wider)
    other = make_llama(tmp_path / "d", 1, alphabet="9876543210+=#? \n")
    assert same_tokenizer(first, wider) and not same_tokenizer(first, other)


def test_an_adapter_is_read_from_its_tensors(tmp_path: Path) -> None:
    base = make_llama(tmp_path / "base")
    weights = Weights(str(make_adapter(tmp_path / "lora", base, targets=["q_proj", "down_proj"])), base=str(base))
    small = read_adapter(weights)
    assert small == Adapter(2, ("down_proj", "q_proj"))
    assert full_folder(weights) == base and read_adapter(Weights(str(base))) is None
    large = Adapter(8, ("down_proj", "q_proj", "v_proj"))
    assert large.holds(small) and not small.holds(large) and not Adapter(8, ("q_proj",)).holds(small)
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not say the adapter's rank"):
        read_adapter(weights)
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="was cut off"):
        read_adapter(weights)


def test_all_tokens_that_end_a_text_are_found(tmp_path: Path) -> None:
    folder = make_llama(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert read_ends(folder, tokenizer) == [2]
    GenerationConfig(eos_token_id=[2, 7]).save_pretrained(folder)
    assert read_ends(folder, tokenizer) == [2, 7]
    (folder / "generation_config.json").unlink()
    assert read_ends(folder, tokenizer) == [2]


def test_a_missing_vllm_is_found_before_anything_is_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if not (Path(one) / "vllm").is_dir()])
    with pytest.raises(EngineError, match=r"vLLM is not installed; install it with: pip install .selfimprove\[vllm\]"):
        Session(small_recipe(tmp_path, "engine.name=vllm"), RunFolder(tmp_path / "run"))
    with pytest.raises(Exception, match="cache"):
        load_recipe("arithmetic", ["engine.vllm.cache=much"])
