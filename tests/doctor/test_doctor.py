"""`selfimprove doctor`: what is right, doubtful and wrong with models that are wrong in one thing each."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from builders import make_problem
from small import small_recipe
from tiny_models import make_adapter, make_llama
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer

from selfimprove.cli import main
from selfimprove.doctor import Finding, examine, plain_use, read_subject
from selfimprove.doctor.likelihood import Likelihood
from selfimprove.errors import ModelError, RecipeError
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.recipe import Prompting
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=#?.,:;'\"!()<>/_-|[]{} \n"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
REST = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
EMPTY_BLOCK = "\n{% if m['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{"
LAST = TURNS.replace("messages", "messages[-1:]") + REST
REVERSED = TURNS.replace("messages", "messages|reverse") + REST
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows letters, and the special tokens of a chat template that it does not have."""
    folder = make_llama(tmp_path_factory.mktemp("letters"), alphabet=LETTERS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    taken = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    tokenizer.add_special_tokens(taken)
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(folder)
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def template(text: str) -> Change:
    return lambda folder: (folder / "chat_template.jinja").write_text(text)


def settings(name: str, **values: Any) -> Change:
    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**found, **values}))

    return change


def begin(*tokens: str) -> Change:
    """Have the tokenizer put tokens before each text."""

    def change(folder: Path) -> None:
        raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
        single = " ".join([*tokens, "$A"])
        ids = [(one, raw.token_to_id(one)) for one in dict.fromkeys(tokens)]
        raw.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
        raw.save(str(folder / "tokenizer.json"))

    return change


def further_tokens(folder: Path) -> None:
    """Tokens that the model has no embeddings for."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<far>", "<farther>"])
    tokenizer.save_pretrained(folder)


def all_of(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]


def look(folder: Path, likelihood: Likelihood | None = None) -> dict[str, Finding]:
    subject = read_subject(str(folder))
    return {one.id: one for one in examine(subject, plain_use(subject.template), likelihood)}


def changed(model: Path, tmp_path: Path, change: Change) -> Path:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    change(folder)
    return folder


AS_IT_IS: Change = lambda folder: None  # noqa: E731
NO_BEGIN = begin()
CASES: list[tuple[str, Change, str, str, str]] = [
    ("adds its begin token", AS_IT_IS, "begin", "ok", "begin with <bos> W h"),
    ("adds none", NO_BEGIN, "begin", "doubtful", "begin without <bos>, which the tokenizer knows"),
    ("adds it twice", begin("<bos>", "<bos>"), "begin", "wrong", "begin with <bos> twice"),
    ("ends in its end token", AS_IT_IS, "end", "ok", "rows end in <eos>, and so do samples"),
    ("ends turns in another", template(CHATML), "end", "doubtful", "rows end in <|im_end|>, and so do samples"),
    (
        "and lists it",
        all_of(template(CHATML), settings("generation_config.json", eos_token_id=[2, -1])),
        "end",
        "doubtful",
        "what ends a sample:",
    ),
    ("ends turns by words", template(TURNS + " END " + REST[10:]), "end", "doubtful", "which is no token"),
    ("pad is the end", settings("tokenizer_config.json", pad_token="<eos>"), "padding", "ok", "so the end is trained"),
    ("no pad", settings("tokenizer_config.json", pad_token=None), "padding", "doubtful", "<eos> pads instead"),
    (
        "pad among the ends",
        settings("generation_config.json", eos_token_id=[0, 2], pad_token_id=0),
        "padding",
        "ok",
        "<pad> both pads and ends texts",
    ),
    ("several ends", settings("generation_config.json", eos_token_id=[1, 2]), "end", "ok", "sample: <bos>, <eos>"),
    ("a doubling template", template("<bos><bos>" + CHATML), "chat begin", "wrong", "begin with <bos> twice"),
    ("a template with it", template("<bos>" + CHATML), "chat begin", "ok", "begin with <bos>"),
    ("a template without it", template(CHATML), "chat begin", "doubtful", "begin without <bos>"),
    ("keeps what it is given", template(CHATML), "template", "ok", "what the recipe's prompts hold is in them"),
    (
        "strips thinking",
        template(TURNS.replace("m['content']", "m['content'].split('</think>')[-1]") + REST),
        "template",
        "ok",
        "reasoning in <think> would be dropped",
    ),
    ("drops turns", template(LAST), "template", "doubtful", "drops or moves turns"),
    ("reorders", template(REVERSED), "template", "doubtful", "drops or moves turns"),
    ("takes system turns", template(CHATML), "system", "ok", "takes system turns"),
    (
        "refuses system turns",
        template("{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML),
        "system",
        "ok",
        "refuses system turns; none are written here",
    ),
    (
        "drops system turns",
        template(TURNS.replace("messages", "messages if m['role'] != 'system'") + REST),
        "system",
        "ok",
        "drops system turns",
    ),
    ("a prompt for the turn", template(CHATML), "turn", "ok", "where the model's turn begins"),
    ("no generation prompt", template(TURNS + "<|im_end|>\n{% endfor %}"), "turn", "doubtful", "is missing"),
    ("an open think block", template(CHATML[:-11] + "<think>\n{% endif %}"), "turn", "ok", "opens <think>"),
    (
        "an empty think block",
        template(TURNS.replace("\n{{", EMPTY_BLOCK) + REST),
        "turn",
        "ok",
        "the template itself would add '<think>",
    ),
    ("tells the day", template("{{ strftime_now('%d %B') }}" + CHATML), "clock", "ok", "prompts tell the day"),
    ("no room", settings("config.json", max_position_embeddings=200), "length", "wrong", "no prompt fits"),
    ("room", AS_IT_IS, "length", "ok", "and 512 have room"),
    ("penalties", settings("generation_config.json", repetition_penalty=1.1, top_k=20), "sampling", "doubtful",
     "sets top_k 20, repetition_penalty 1.1"),
    ("nothing set", AS_IT_IS, "sampling", "ok", "sets nothing"),
    ("contradictory", settings("generation_config.json", do_sample=False, temperature=0.5), "saving", "doubtful",
     "contradicts itself"),
    ("as many embeddings as tokens", AS_IT_IS, "vocabulary", "ok", "tokens"),
    ("fewer embeddings", further_tokens, "vocabulary", "doubtful", "none of those without one is used"),
    ("precision", AS_IT_IS, "dtype", "ok", "weights stored in float32, run in float32"),
    ("texts", AS_IT_IS, "text", "ok", "come back"),
    ("architecture", AS_IT_IS, "engine", "ok", "llama"),
    ("quantised", settings("config.json", quantization_config={"quant_method": "awq"}), "engine", "wrong", "(awq)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "about", "level", "text"), [one[1:] for one in CASES], ids=[one[0] for one in CASES]
)
def test_a_model_with_one_thing_about_it(
    change: Change, about: str, level: str, text: str, model: Path, tmp_path: Path
) -> None:
    found = look(changed(model, tmp_path, change))
    assert (found[about].level, text in str(found[about])) == (level, True), str(found[about])
    # Nothing else is called wrong for it.
    assert {one.id for one in found.values() if one.level == "wrong"} <= {about}


@pytest.mark.parametrize(
    ("change", "likelihood", "level", "text"),
    [
        (NO_BEGIN, Likelihood(4.07, 1.87), "wrong", "begin without <bos>, and the model is better the other way (1.87"),
        (NO_BEGIN, Likelihood(2.2, 1.87), "doubtful", "the model is better the other way"),
        (NO_BEGIN, Likelihood(3.36, 3.5), "ok", "without <bos> (3.50 nats a token with <bos>, 3.36 without)"),
        (AS_IT_IS, Likelihood(1.87, 4.07), "ok", "(1.87 nats a token with <bos>, 4.07 without)"),
        (AS_IT_IS, Likelihood(4.07, 1.87), "wrong", "begin with <bos>, and the model is better the other way"),
    ],
)
def test_a_doubt_about_the_begin_token_is_settled_by_the_weights(
    change: Change, likelihood: Likelihood, level: str, text: str, model: Path, tmp_path: Path
) -> None:
    found = look(changed(model, tmp_path, change), likelihood)["begin"]
    assert (found.level, text in str(found)) == (level, True), str(found)


@pytest.mark.parametrize(
    ("stop", "level", "text"),
    [("\nQ:", "ok", "found in the text"), ("中", "doubtful", "no tokens give '中', so no text would stop there")],
)
def test_a_stop_string_that_no_token_writes_is_said(stop: str, level: str, text: str, model: Path) -> None:
    subject = read_subject(str(model))
    use = replace(plain_use(None), prompts=PromptFormat(Prompting(stop=(stop,))))
    found = {one.id: one for one in examine(subject, use)}["stop"]
    assert (found.level, text in str(found)) == (level, True), str(found)


def test_a_tokenizer_without_letters_is_fit_for_prompts_without_them(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "digits")
    found = look(folder, Likelihood())
    assert found["vocabulary"].level == "doubtful" and "has no token: it reads nothing" in found["vocabulary"].text
    assert "lacks letters" in found["likelihood"].text
    subject, sums = read_subject(str(folder)), [make_problem("12+7=", "19")]
    use = replace(plain_use(None), prompts=PromptFormat(Prompting(question="{question}")), problems=sums)
    assert {one.id: one.level for one in examine(subject, use)}["vocabulary"] == "ok"


def test_an_adapter_is_looked_at_with_its_base(model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", model)
    assert {one.level for one in look(adapter).values()} == {"ok"}


def test_the_command_measures_shows_tokens_and_says_by_its_exit_code(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(folder: Path, *more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["doctor", str(folder), *more])
        return int(str(ended.value.code)), capsys.readouterr().out

    code, shown = ask(changed(model, tmp_path, template(CHATML)), "--json")
    found = json.loads(shown)
    assert code == 0 and found["tokens"]["trained completion"] == ["1", "9", "<|im_end|>"]
    prompt = found["tokens"]["sampled prompt"]
    assert prompt == found["tokens"]["trained row's prompt"]
    assert (prompt[0], "".join(prompt[-10:])) == ("<|im_start|>", "assistant\n"[-10:].replace("\n", "\\n"))
    by_id = {one["id"]: one for one in found["findings"]}
    assert "nats a token of plain English" in by_id["likelihood"]["text"]
    assert "nats a token with <bos>" in by_id["chat begin"]["text"]
    recipe = small_recipe(
        tmp_path, text=ASK.replace("PATH", str(model)).replace("few-shot-cot, exemplars: exemplars.yaml", "zero-shot")
    )
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    RunFolder(tmp_path / "runs" / "mine").write_recipe(recipe)
    for named in ("mine", str(tmp_path / "runs" / "mine")):  # what a run does with a model
        code, shown = ask(model, named, "--no-weights", "--json", "--runs", str(tmp_path / "runs"))
        assert code == 0 and json.loads(shown)["tokens"], named
    twice = changed(model, tmp_path / "twice", begin("<bos>", "<bos>"))
    code, shown = ask(twice)
    assert code == 1 and "wrong" in shown and "begin with <bos> twice" in " ".join(shown.split())
    code, shown = ask(tmp_path / "nothing")
    assert code == 2


# --- at the start of a run ---------------------------------------------------------------------------------------

ASK = """
name: ask
rounds: 0
model: {path: PATH, device: cpu}
train: {name: arithmetic, max_digits: 2, seed_total_digits: 3, held_out: 2}
prompt: {style: few-shot-cot, exemplars: exemplars.yaml}
stages:
  generate: {max_tokens: 4}
"""
EXEMPLARS = "exemplars: [{question: 'one', rationale: '<think>It is two.</think>', answer: '2'}]"
STRIPS = template(TURNS.replace("m['content']", "m['content'].split('</think>')[-1]") + REST)


def start(model: Path, folder: Path, *changes: str) -> RunFolder:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exemplars.yaml").write_text(EXEMPLARS)
    recipe = small_recipe(folder, *changes, text=ASK.replace("PATH", str(model)))
    run = RunFolder(folder / "runs" / "ask")
    run_loop(recipe, run)
    return run


def test_a_run_stops_before_it_samples_where_something_is_wrong(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = changed(model, tmp_path, STRIPS)
    with pytest.raises(ModelError) as caught:
        start(folder, tmp_path / "run")
    assert "drops or moves text of an exemplar's answer: '<think>It is two.</think> 2'" in str(caught.value)
    assert "model.overrule=[template]" in str(caught.value)
    run = start(folder, tmp_path / "run", "model.overrule=[template]")
    assert run.stage(0, "evaluate").closed
    assert "template: the chat template drops" in capsys.readouterr().err
    noted = [
        one for stage in run.stages() if (manifest := stage.manifest()) for one in manifest.metrics.get("model", [])
    ]
    assert any(one.startswith("wrong: template:") for one in noted)


def test_a_sound_model_starts_without_a_word(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = changed(
        model, tmp_path, all_of(template("<bos>" + CHATML), settings("generation_config.json", eos_token_id=[2]))
    )
    tokenizer = AutoTokenizer.from_pretrained(sound)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    settings("generation_config.json", eos_token_id=[2, end])(sound)
    start(sound, tmp_path / "run")
    assert capsys.readouterr().err == ""


def test_an_unknown_finding_cannot_be_overruled(model: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no finding is called 'bgin'"):
        start(model, tmp_path, "model.overrule=[bgin]")


def test_what_may_be_overruled_changes_no_fingerprint(model: Path, tmp_path: Path) -> None:
    run = start(model, tmp_path)
    before = run.stage(0, "evaluate").opened_as()
    start(model, tmp_path, "model.overrule=[begin]")
    assert run.stage(0, "evaluate").opened_as() == before


def test_the_day_of_a_prompt_is_that_of_the_runs_first_start(model: Path, tmp_path: Path) -> None:
    folder = changed(model, tmp_path, template("<bos>{{ strftime_now('%Y-%m-%d') }}" + CHATML))
    run = start(folder, tmp_path / "run")
    clock = run.path / "chat-clock.txt"
    assert clock.read_text().startswith("20")
    clock.write_text("1999-12-31T23:59:59\n")
    from selfimprove.engines.models import load_chat

    chat = load_chat(str(folder), run.path)
    assert chat is not None and chat([{"role": "user", "content": "hi"}]).startswith("<bos>1999-12-31<|im_start|>user")
    # A model that a run made is told the same time by whoever evaluates it.
    made = Path(shutil.copytree(folder, run.path / "round-01" / "sft" / "checkpoint"))
    for name, of, day in (("of it", made, "1999-12-31"), ("of another", folder, f"{datetime.now():%Y}")):
        (tmp_path / name).mkdir()
        found = load_chat(str(of), tmp_path / name)
        assert found is not None and found([{"role": "user", "content": "hi"}]).startswith(f"<bos>{day}")
        assert (tmp_path / name / "chat-clock.txt").read_text().startswith(day)
    clock.write_text("soon")
    with pytest.raises(ModelError, match="should hold the time"):
        load_chat(str(folder), run.path)


def test_a_template_without_a_clock_leaves_no_file(model: Path, tmp_path: Path) -> None:
    folder = changed(model, tmp_path, template("<bos>" + CHATML))
    assert not (start(folder, tmp_path / "run").path / "chat-clock.txt").exists()
