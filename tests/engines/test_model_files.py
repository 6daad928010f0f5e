"""Broken model folders are one line each, before anything is sampled; what can be mended safely is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_adapter, make_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfimprove.cli import main
from selfimprove.doctor import read_subject
from selfimprove.engines import Request
from selfimprove.engines.models import load_chat, load_model
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import SelfImproveError
from selfimprove.recipe import Sampling

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 538090408\n"
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapter"), model)


def copy_model(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / "model"))


def write(name: str, text: str | bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


def remove(*names: str) -> Damage:
    return lambda folder: [(folder / name).unlink() for name in names]


def change(name: str, **values: Any) -> Damage:
    def damage(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**found, **values}))

    return damage


def cut(name: str, size: int) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def begin_with(name: str, start: bytes) -> Damage:
    def damage(folder: Path) -> None:
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(start + raw[len(start) :] if len(start) == 8 else start + raw)

    return damage


def lose_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def only_pickle(folder: Path) -> None:
    next(folder.glob("*.safetensors")).rename(folder / "pytorch_model.bin")


def shards(**files: str) -> Damage:
    return write("model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": files}))


NO_KERNEL = "kernels are never fetched"
CODE = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
BROKEN: list[tuple[str, Damage, str]] = [
    ("no config", remove("config.json"), "no config.json in this folder"),
    ("config is no JSON", write("config.json", "{'a': 1}"), "config.json: is no valid JSON"),
    ("config is a list", write("config.json", "[]"), "config.json: should hold an object"),
    ("config is deep", write("config.json", '{"a":' * 99_999), "config.json: is no valid JSON"),
    ("config with a byte-order mark", begin_with("config.json", b"\xef\xbb\xbf"), "begins with a byte-order mark"),
    ("config is a pointer", write("config.json", POINTER), "is a pointer of Git LFS"),
    ("unknown architecture", change("config.json", model_type="mystery"), "cannot be loaded"),
    ("its own code", change("config.json", model_type="own", auto_map=CODE), "no model's code is run here"),
    ("kernel", change("config.json", _attn_implementation="evil/kernel"), NO_KERNEL),
    ("kernel of a version", change("config.json", attn_implementation="a/b@v1:c"), NO_KERNEL),
    ("kernel below", change("config.json", text_config={"_experts_implementation": "a/b"}), NO_KERNEL),
    ("a million layers", change("config.json", num_hidden_layers=10**6), "num_hidden_layers: 1000000"),
    ("more layers", change("config.json", num_hidden_layers=3), "the weights lack 'model.layers.2."),
    ("layers in words", change("config.json", num_hidden_layers="two"), "cannot be loaded"),
    ("heads that do not divide", change("config.json", num_attention_heads=3), "cannot be loaded"),
    ("no heads", change("config.json", num_attention_heads=0), "cannot be loaded"),
    ("wider", change("config.json", hidden_size=64), "cannot be loaded"),
    ("larger vocabulary", change("config.json", vocab_size=999), "says 'vocab_size: 999', and the weights have"),
    ("mamba", change("config.json", model_type="mamba"), "a recurrent or hybrid model"),
    ("rwkv", change("config.json", model_type="rwkv"), "a recurrent or hybrid model"),
    ("hybrid", change("config.json", model_type="recurrent_gemma"), "a recurrent or hybrid model"),
    ("qwen3-next", change("config.json", model_type="qwen3_next"), "a recurrent or hybrid model"),
    ("convolutions", change("config.json", model_type="lfm2", layer_types=["conv"] * 2), "or hybrid model"),
    ("linear", change("config.json", model_type="minimax", layer_types=["linear_attention"] * 2), "or hybrid model"),
    ("an encoder", change("config.json", model_type="t5"), "cannot be loaded"),
    ("gptq", change("config.json", quantization_config={"quant_method": "gptq", "bits": 4}), "are quantised (gptq)"),
    ("awq", change("config.json", quantization_config={"quant_method": "awq", "bits": 4}), "are quantised (awq)"),
    (
        "bitsandbytes",
        change("config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "are quantised (bitsandbytes)",
    ),
    ("quantised in no known way", change("config.json", quantization_config={"quant_method": "own"}), "(own)"),
    ("no weights", remove("model.safetensors"), "holds no safetensors weights"),
    ("a pickle", only_pickle, "pytorch_model.bin is a pickle, which can run code"),
    ("weights are a pointer", write("model.safetensors", POINTER), "is a pointer of Git LFS"),
    ("empty weights", write("model.safetensors", ""), "is no safetensors file, or was cut off"),
    ("a header without an end", begin_with("model.safetensors", b"\xff" * 8), "is no safetensors file, or was cut off"),
    ("a torn header", cut("model.safetensors", 300), "is no safetensors file, or was cut off"),
    ("a header of text", write("model.safetensors", b"\x04" + b"\0" * 7 + b"[1] "), "its header is damaged"),
    ("cut weights", cut("model.safetensors", 20_000), "and its header promises"),
    ("a lost tensor", lose_tensor, "the weights lack 'model.layers.1.mlp.up_proj.weight'"),
    ("a lost shard", shards(a="model-00002-of-00002.safetensors"), "is missing, and the index names it"),
    ("a shard elsewhere", shards(a="../elsewhere.safetensors"), "names a file outside of this folder"),
    ("a broken index", write("model.safetensors.index.json", "{}"), "has no 'weight_map'"),
    ("no tokenizer", remove("tokenizer.json", "tokenizer_config.json"), "brings no tokenizer"),
    ("a torn tokenizer", cut("tokenizer.json", 500), "its tokenizer: cannot be loaded"),
    ("tokenizer is a pointer", write("tokenizer.json", POINTER), "is a pointer of Git LFS"),
    ("tokenizer with a byte-order mark", begin_with("tokenizer.json", b"\xef\xbb\xbf"), "a byte-order mark"),
    ("no end token", change("tokenizer_config.json", eos_token=None), "has no end token"),
    ("an end beyond the embeddings", change("tokenizer_config.json", eos_token="<far>"), "has embeddings for"),
    ("a template of another kind", change("tokenizer_config.json", chat_template=7), "chat template"),
    (
        "named templates",
        change("tokenizer_config.json", chat_template=[{"name": one, "template": "x"} for one in ("rag", "tool")]),
        "has several chat templates (rag, tool) and none called 'default'",
    ),
    ("a template that is wrong", write("chat_template.jinja", "{% for %}"), "TemplateSyntaxError"),
    ("a template that refuses", write("chat_template.jinja", "{{ raise_exception('no') }}"), "TemplateError: no"),
    ("a template that breaks out", write("chat_template.jinja", "{{ ().__class__.__bases__[0] }}"), "SecurityError"),
    ("a template without text", write("chat_template.jinja", "hello"), "leaves the question out of the prompt"),
    (
        "a template without an end",
        write("chat_template.jinja", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
        "did not end within 2 seconds",
    ),
    (
        "a template that fills the memory",
        write(
            "chat_template.jinja",
            "{% set a = namespace(x='a') %}{% for b in range(40) %}{% set a.x = a.x + a.x %}{% endfor %}",
        ),
        "needs more than 512 MB",
    ),
    ("a template that writes on", write("chat_template.jinja", "{{ 'a' * 99999999 }}"), "wrote 99999999 characters"),
    ("a broken generation config", write("generation_config.json", "{"), "generation_config.json: is no valid JSON"),
]  # fmt: skip
BROKEN_ADAPTERS: list[tuple[str, Damage, str]] = [
    ("no base", change("adapter_config.json", base_model_name_or_path=None), "does not say which model"),
    ("a base that is gone", change("adapter_config.json", base_model_name_or_path="/nowhere"), "no such model"),
    ("its config is torn", cut("adapter_config.json", 40), "adapter_config.json: is no valid JSON"),
    ("an unknown kind", change("adapter_config.json", peft_type="MYSTERY"), "cannot be loaded"),
    ("code to import", change("adapter_config.json", megatron_config={"a": 1}, megatron_core="os"), "is not done"),
    ("another rank", change("adapter_config.json", r=4), "cannot be loaded"),
    ("other layers", change("adapter_config.json", target_modules=["q_proj"]), "does not fit its base"),
    ("torn weights", cut("adapter_model.safetensors", 5000), "and its header promises"),
    ("a pickle", only_pickle, "is a pickle"),
    ("a pointer", write("adapter_model.safetensors", POINTER), "is a pointer of Git LFS"),
]  # fmt: skip


def is_found_by_doctor(folder: Path, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether `selfimprove doctor` says in one line that a folder cannot be read, or calls something wrong with it."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(folder)])
    said = capsys.readouterr()
    if ended.value.code == 2:
        return said.err.startswith("selfimprove: ") and said.err.count("\n") == 1 and not said.out
    return ended.value.code == 1 and "wrong" in said.out and not said.err


def use(folder: Path) -> None:
    """All that a run does with a model before it samples."""
    load_chat(str(folder))
    TransformersEngine(folder, device="cpu", threads=1, chat=True)


@pytest.mark.parametrize(("damage", "message"), [one[1:] for one in BROKEN], ids=[one[0] for one in BROKEN])
def test_a_broken_folder_is_one_line(
    damage: Damage, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_model(model, tmp_path)
    damage(folder)
    with pytest.raises(SelfImproveError) as caught:
        use(folder)
    assert message in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert is_found_by_doctor(folder, capsys)


@pytest.mark.parametrize(
    ("damage", "message"), [one[1:] for one in BROKEN_ADAPTERS], ids=[one[0] for one in BROKEN_ADAPTERS]
)
def test_a_broken_adapter_is_one_line(
    damage: Damage, message: str, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_model(adapter, tmp_path)
    damage(folder)
    with pytest.raises(SelfImproveError) as caught:
        use(folder)
    assert message in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert is_found_by_doctor(folder, capsys)


def far_token(folder: Path) -> None:
    """A token beyond the embeddings that pads."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<far>"})
    tokenizer.save_pretrained(folder)


MENDED = [
    ("as it is", lambda folder: None),
    ("no generation config", remove("generation_config.json")),
    ("no padding", change("tokenizer_config.json", pad_token=None)),
    ("a padding token beyond the embeddings", far_token),
    ("padding of the embeddings beyond them", change("config.json", pad_token_id=999)),
    ("negative padding", change("config.json", pad_token_id=-1)),
    ("a temperature without sampling", change("generation_config.json", do_sample=False, temperature=0.6, top_p=0.9)),
    ("a named template among others", change("tokenizer_config.json", chat_template=[
        {"name": "default", "template": "{{ messages[0]['content'] }}="}, {"name": "rag", "template": "y"}])),
]  # fmt: skip


@pytest.mark.parametrize("damage", [one[1] for one in MENDED], ids=[one[0] for one in MENDED])
def test_what_can_be_mended_is_loaded_padded_and_saved(damage: Damage, model: Path, tmp_path: Path) -> None:
    folder = copy_model(model, tmp_path)
    damage(folder)
    use(folder)
    loaded, tokenizer = load_model(folder, base=None, dtype="float32", device="cpu")
    rows = loaded.get_input_embeddings().weight.shape[0]
    assert 0 <= tokenizer.pad_token_id < rows
    batch = tokenizer(["1", "1+2="], padding=True, return_tensors="pt")
    loaded(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    loaded.save_pretrained(tmp_path / "saved")


def test_an_adapter_without_a_tokenizer_takes_its_bases(adapter: Path, tmp_path: Path) -> None:
    folder = copy_model(adapter, tmp_path)
    remove("tokenizer.json", "tokenizer_config.json")(folder)
    asked, sampling = [Request("12+34=", 0)], Sampling(temperature=0.0, max_tokens=8)
    texts = [
        [one.text for one in TransformersEngine(path, device="cpu", threads=1).generate(asked, sampling)]
        for path in (adapter, folder)
    ]
    assert texts[0] == texts[1]


def test_an_adapter_with_more_embeddings_than_its_base_is_served(model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    network, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<step>", "<done>"])
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network = get_peft_model(network, LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        network.get_input_embeddings().weight[-1].fill_(0.5)
    network.save_pretrained(tmp_path, save_embedding_layers=True)
    tokenizer.save_pretrained(tmp_path)
    loaded, found = load_model(tmp_path, base=None, dtype="float32", device="cpu")
    ids = torch.tensor([found("1<step>2<done>")["input_ids"]])
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, network(ids).logits, atol=1e-4)
    assert read_subject(str(tmp_path)).rows == len(tokenizer)  # and no token is without one


def test_an_adapter_on_an_adapter_is_refused(adapter: Path, tmp_path: Path) -> None:
    folder = copy_model(adapter, tmp_path)
    change("adapter_config.json", base_model_name_or_path=str(adapter))(folder)
    with pytest.raises(SelfImproveError, match="is an adapter and no whole model"):
        use(folder)


def test_no_code_of_a_folder_runs_and_nobody_is_asked(model: Path, tmp_path: Path) -> None:
    folder = copy_model(model, tmp_path)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    tokens = {"AutoTokenizer": ["own.OwnTokenizer", None]}
    change("config.json", auto_map=CODE)(folder)
    change("tokenizer_config.json", auto_map=tokens)(folder)
    use(folder)  # transformers knows the architecture, and its own code reads the folder
    change("config.json", model_type="own")(folder)
    with pytest.raises(SelfImproveError, match="no model's code is run here"):
        use(folder)
    assert not (tmp_path / "ran").exists()
