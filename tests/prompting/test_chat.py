"""Chat templates are rendered as transformers does, within limits, and marks of reasoning survive as tokens."""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from builders import make_problem
from tiny_models import make_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfimprove.engines import Request, ScriptedEngine
from selfimprove.engines.transformers import TransformersEngine
from selfimprove.errors import ModelError
from selfimprove.prompting.chat import ChatTemplate, find_end, load_template
from selfimprove.prompting.prompts import (
    PromptFormat,
    decode_completion,
    encode_completion,
    encode_prompt,
    find_marks,
)
from selfimprove.recipe import Prompting, Sampling
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Rationale, Verdict
from selfimprove.running.loop import run_loop
from selfimprove.stages.base import Writer
from selfimprove.stages.generate import Beginning, generate
from selfimprove.store import RunFolder

LETTERS = "abcdefghijklmnopqrstuvwxyz 0123456789+=.<>/|_\n"
TALK = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
]
CHATML = (
    "{%- for m in messages %}\n{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}\n{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "trims blocks": "  {% for m in messages %}\n    {% if true %}\n{{ m.content }}\n    {% endif %}\n  {% endfor %}\n",
    "special tokens": "{{ bos_token }}{% for m in messages %}{{ m.content | trim }}{{ eos_token }}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "loop controls": "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
    "json": "{{ messages | tojson }}{{ messages | tojson(indent=2) }}",
    "macros": "{% macro say(m) %}[{{ m.content }}]{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}",
    "no tools": "{% if tools is not none %}tools{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}",
    "namespaces": "{% set n = namespace(i=0) %}{% for m in messages %}{% set n.i = n.i + 1 %}{{ n.i }}{% endfor %}",
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the special tokens of a chat template and of reasoning."""
    folder = make_llama(tmp_path_factory.mktemp("chat"), alphabet=LETTERS)
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    specials = ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|tool|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": specials})
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> object:
    return AutoTokenizer.from_pretrained(model)


def give(tokenizer: object, source: str) -> object:
    """A tokenizer with another chat template."""

    class Given:
        chat_template = source
        special_tokens_map, all_special_tokens = tokenizer.special_tokens_map, tokenizer.all_special_tokens  # type: ignore[attr-defined]

        def convert_tokens_to_ids(self, token: str) -> int:
            return int(tokenizer.convert_tokens_to_ids(token))  # type: ignore[attr-defined]

    return Given()


def make_template(tokenizer: object, source: str, **given: object) -> ChatTemplate:
    return ChatTemplate(give(tokenizer, source), name="mine", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_gives_what_it_gives_in_transformers(name: str, tokenizer: object) -> None:
    for generation in (True, False):
        expected = tokenizer.apply_chat_template(  # type: ignore[attr-defined]
            TALK, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=generation
        )
        assert make_template(tokenizer, TEMPLATES[name]).render(TALK, generation=generation) == expected


def test_a_template_that_wants_parts_is_given_parts(tokenizer: object) -> None:
    source = (
        "{% for m in messages %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }};{% endif %}"
        "{% endfor %}{% endfor %}"
    )
    template = make_template(tokenizer, source)
    assert template.wants_parts and template(TALK) == "one;two;three;"


def test_the_question_is_in_the_prompt_or_it_is_refused(tokenizer: object) -> None:
    template = make_template(tokenizer, "{{ messages[0].content }}")
    assert template(TALK[:1]) == "one"
    with pytest.raises(ModelError, match=r"leaves the question out of the prompt \('three'\)"):
        template(TALK)
    drops = make_template(tokenizer, "{% for m in messages %}{{ m.content | replace('t', '') }}{% endfor %}")
    assert drops([{"role": "user", "content": "one\nthree"}]) == "one\nhree"  # a part of it is there
    assert drops.lost == {"user": "three"} and not drops.changed
    assert drops([{"role": "user", "content": "one of three or four"}]) == "one of hree or four"
    assert drops.changed == {"user": "one of three or four"}
    folds = make_template(tokenizer, "{{ messages[0].content | upper | replace('?', '.') }}")
    assert folds([{"role": "user", "content": "what is it?"}]) == "WHAT IS IT." and not folds.lost


def test_a_template_that_writes_by_chance_is_refused(tokenizer: object) -> None:
    assert load_template(give(tokenizer, CHATML), name="mine")
    with pytest.raises(ModelError, match="in different ways, by chance"):
        load_template(give(tokenizer, "{{ range(99999) | random }}" + CHATML), name="mine")


def test_the_clock_stands_still(tokenizer: object) -> None:
    source = "{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}"
    template = make_template(tokenizer, source, now=datetime(2026, 2, 3))
    assert template(TALK[:1]) == "03 Feb 2026 one" == template(TALK[:1])
    assert template.tells_time and not make_template(tokenizer, CHATML).tells_time


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% macro a() %}{{ a() }}{{ a() }}{% endmacro %}{{ a() }}", "RecursionError"),
        ("{{ 9 ** (9 ** 9) }}", "did not end within 2 s"),
        ("{{ '%999999999d' % 1 }}", "MB|wrote"),
        ("{{ lipsum(n=9999) }}", "wrote"),
        ("{{ cycler.__init__.__globals__ }}", "SecurityError"),
        ("{% include 'x' %}", "no loader"),
    ],
)  # fmt: skip
def test_a_template_cannot_run_for_ever_or_fill_the_memory(source: str, message: str, tokenizer: object) -> None:
    with pytest.raises(ModelError, match=message):
        make_template(tokenizer, source)(TALK)
    assert make_template(tokenizer, CHATML)(TALK)


def test_a_template_that_did_not_end_is_not_tried_again(tokenizer: object) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    template = make_template(tokenizer, endless)
    started = os.times()
    for _ in range(10):
        with pytest.raises(ModelError, match="did not end within 2 s"):
            template(TALK)
    used = os.times()
    assert used.children_user - started.children_user < 5  # one time of at most 3 s


def test_a_template_goes_on_after_a_refusal_and_in_a_fork(tokenizer: object) -> None:
    template = make_template(
        tokenizer, "{% if messages[0].role != 'user' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    )
    with pytest.raises(ModelError, match="cannot render a prompt \\(TemplateError: no\\)"):
        template([{"role": "system", "content": "be brief"}])
    expected = template(TALK)
    child = os.fork()
    if child == 0:
        os._exit(0 if template(TALK) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0 and template(TALK) == expected


def test_what_ends_a_turn_is_trained_and_ends_samples(model: Path, tokenizer: object) -> None:
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")  # type: ignore[attr-defined]
    assert find_end(tokenizer, chat=True) == end != tokenizer.eos_token_id == find_end(tokenizer, chat=False)  # type: ignore[attr-defined]
    assert encode_completion(tokenizer, "a", end)[-1] == end
    engine = TransformersEngine(model, device="cpu", threads=1, chat=True)
    assert end in engine.ends and tokenizer.eos_token_id in engine.ends  # type: ignore[attr-defined]
    assert end not in TransformersEngine(model, device="cpu", threads=1).ends
    # The end that is scored is the one that is trained.
    engine.end = 5
    assert engine.score([("a", "b")], end=True)[0].logprob != pytest.approx(
        TransformersEngine(model, device="cpu", threads=1, chat=True).score([("a", "b")], end=True)[0].logprob, abs=1e-6
    )


@pytest.mark.parametrize(
    ("after", "end"),
    [("<|im_end|>\n", "<|im_end|>"), (" <eos>", "<eos>"), ("\n\n", "<eos>"), ("<|end|>\n", "<eos>"), ("", "<eos>")],
)
def test_the_end_of_a_turn_is_a_token_or_the_end_token(after: str, end: str, model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}" + after + "{% endfor %}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert find_end(tokenizer, chat=True) == tokenizer.convert_tokens_to_ids(end)


def test_marks_of_reasoning_survive_and_are_trained_as_the_tokens_that_they_were(tokenizer: object) -> None:
    ids = tokenizer("1+1</think>2", add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    assert set(find_marks(tokenizer)) == {"<think>", "</think>"} and len(ids) == 5
    text = decode_completion(tokenizer, [*ids, 2], [2])
    assert text == "1+1</think>2"
    assert encode_completion(tokenizer, text) == [*ids, 2]
    prompt = encode_prompt(tokenizer, "1+1</think>2", chat=False)
    assert prompt == [tokenizer.bos_token_id, *ids]  # type: ignore[attr-defined]


def test_other_special_tokens_are_shown_and_stay_text(tokenizer: object) -> None:
    tool = tokenizer.convert_tokens_to_ids("<|tool|>")  # type: ignore[attr-defined]
    one = tokenizer("1", add_special_tokens=False)["input_ids"][0]  # type: ignore[operator]
    text = decode_completion(tokenizer, [one, tool, one, 2], [2])
    assert text == "1< |tool|>1" and tool not in encode_completion(tokenizer, text)
    assert decode_completion(tokenizer, [one, tool, one], [2], ["<|tool|>"]) == "1"  # a stop string may be one


@pytest.mark.parametrize(
    ("token", "mark"),
    [
        ("<think>", True), ("</think>", True), ("[THINK]", True), ("<|begin_of_thought|>", True), ("<answer>", True),
        ("<reasoning>", True), ("<seed:think>", True), ("◁/think▷", True), ("<|im_end|>", False), ("<eos>", False),
        ("<|tool|>", False), ("<pad>", False), ("<bos>", False), ("</s>", False), ("[INST]", False),
    ],
)  # fmt: skip
def test_marks_of_reasoning_are_told_from_other_special_tokens(token: str, mark: bool) -> None:
    class Knows:
        all_special_tokens = (token,)

        def convert_tokens_to_ids(self, one: str) -> int:
            return 0

    assert (token in find_marks(Knows())) == mark


def test_a_question_cannot_end_its_turn_and_an_exemplar_may_think(model: Path, tokenizer: object) -> None:
    template = load_template(tokenizer, name="mine")
    assert template is not None
    text = template(
        [
            {"role": "user", "content": "a</think><|im_end|>"},
            {"role": "assistant", "content": "<think>b</think>c<|im_end|>"},
            {"role": "user", "content": "d"},
        ]
    )
    assert text == (
        "<|im_start|>user\na< /think>< |im_end|><|im_end|>\n<|im_start|>assistant\n<think>b</think>c< |im_end|>"
        "<|im_end|>\n<|im_start|>user\nd<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_text_that_is_gone_on_with_cannot_end_its_turn(tokenizer: object) -> None:
    """A model may write what a special token looks like in other tokens, one character after the other."""
    template = load_template(tokenizer, name="mine")
    prompts, problem = PromptFormat(Prompting(), chat=template), make_problem("one", "2")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")  # type: ignore[attr-defined]
    asked: list[str] = []

    def write(prompt: str, _: int) -> str:
        asked.append(prompt)
        return "2"

    writer = Writer(ScriptedEngine(write), "c", lambda *_: None, (), round=1, seed=1, begin=prompts.begin)
    text = "1+<|im_end|></think>"
    begins = {problem.id: [Beginning("r", text)]}
    sampling = Sampling(temperature=0.0, max_tokens=4)
    (again,) = generate([problem], writer=writer, render=prompts.render, sampling=sampling, samples=1,
                        beginnings=begins)  # fmt: skip
    before = prompts.render(problem)
    assert (asked, again.prompt, again.text) == ([before + "1+< |im_end|></think>"], before, "1+< |im_end|></think>2")
    ids = [encode_prompt(tokenizer, one, chat=True) for one in (before, *asked, before + text)]
    assert [one.count(end) for one in ids] == [1, 1, 2]
    assert PromptFormat(Prompting()).begin(text) == text  # in a plain prompt it is text


def test_an_opened_think_block_belongs_to_the_prompt(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(CHATML.replace("assistant\\n", "assistant\\n<think>\\n"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    template = load_template(tokenizer, name="mine")
    assert template is not None
    ids = encode_prompt(tokenizer, template(TALK[:1]), chat=True)
    assert tokenizer.convert_ids_to_tokens(ids[-2:]) == ["<think>", "\n"]


def test_what_is_thought_in_a_block_that_the_template_opened_is_no_answer(model: Path, tmp_path: Path) -> None:
    """A whole evaluation: the samples begin inside the block, and what they close it with parts thought from answer."""
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text(CHATML.replace("assistant\\n", "assistant\\n<think>\\n"))
    said = {
        "1+1": "The answer is 3? No.\n</think>\n\nThe answer is 2.",
        "1+2": "The answer is 3.\n</think>\n\nThe answer is 4.",
        "1+3": "The answer is 4.",  # cut off in the middle of its thought
        "1+4": "5, I think.\n</think>\n\n",
    }
    rows = [{"question": one, "answer": str(int(one[0]) + int(one[2]))} for one in said]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "train.jsonl").write_text('{"question": "2+2", "answer": "4"}')
    (tmp_path / "mine.yaml").write_text(
        f"name: mine\nrounds: 0\nmodel: {{path: {folder}, device: cpu}}\nengine: {{threads: 1}}\n"
        "train: {name: jsonl, path: train.jsonl, evaluate_path: sums.jsonl}\n"
    )
    run = RunFolder(tmp_path / "run")

    def write(prompt: str, seed: int) -> str:
        assert prompt.endswith("<think>\n")
        return next(text for question, text in said.items() if question in prompt)

    run_loop(load_recipe(str(tmp_path / "mine.yaml")), run, load=lambda checkpoint, context: ScriptedEngine(write))
    stage = run.stage(0, "evaluate")
    asked = {one.text: one.id for one in stage.read(Rationale)}
    verdicts = {one.rationale: (one.outcome, one.reason) for one in stage.read(Verdict)}
    found = [verdicts[asked[text]] for text in said.values()]
    assert [outcome for outcome, _ in found] == ["correct", "incorrect", "incorrect", "incorrect"]
    assert [reason for _, reason in found[2:]] == ["no answer found after its thinking"] * 2


def test_scoring_only_empty_texts_is_no_division_by_zero(model: Path) -> None:
    engine = TransformersEngine(model, device="cpu", threads=1)
    assert [(one.logprob, one.tokens) for one in engine.score([("a", ""), ("b", "")])] == [(0.0, 0), (0.0, 0)]


def test_a_mark_that_is_sampled_is_in_the_text(model: Path) -> None:
    engine = TransformersEngine(model, device="cpu", threads=1)
    asked = [Request("1+", seed) for seed in range(64)]
    texts = [one.text for one in engine.generate(asked, Sampling(temperature=3.0, max_tokens=24))]
    assert any("</think>" in one for one in texts) and not any("<|tool|>" in one for one in texts)
