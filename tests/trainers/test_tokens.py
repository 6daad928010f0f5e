"""What was sampled is what is trained, token by token, where a text may be written in several ways."""

from pathlib import Path
from typing import Any

import pytest
import torch
from builders import make_problem, make_verdict
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from selfimprove.engines.transformers import TransformersEngine
from selfimprove.prompting.prompts import PromptFormat, decode_completion, find_written
from selfimprove.recipe import Prompting, Sampling, SupervisedTraining
from selfimprove.records import Example, Preference, Rationale
from selfimprove.stages.base import Writer
from selfimprove.stages.dpo import Dpo
from selfimprove.stages.generate import generate
from selfimprove.stages.prefer import Prefer, prefer
from selfimprove.stages.select import Select, select
from selfimprove.store.parts import write_part
from selfimprove.trainers.dpo import _tokenize as tokenize_pairs
from selfimprove.trainers.job import DpoJob, SftJob
from selfimprove.trainers.sft import tokenize_examples
from selfimprove.trainers.tokens import CompletionTokens, describe_origins

A, B, AB, C, TOOL, EOS = 0, 1, 2, 3, 4, 5


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Of two letters one token is made, so that "ab" may be written in two ways."""
    vocabulary = {"a": A, "b": B, "ab": AB, "c": C, "<tool>": TOOL, "<eos>": EOS}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<eos>", pad_token="<eos>", additional_special_tokens=["<tool>"]
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=64,
        eos_token_id=EOS,
        pad_token_id=EOS,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("ids", "stop", "expected"),
    [
        ([A, B, EOS], (), (A, B)),
        ([A, B], (), (A, B)),  # cut off
        ([EOS], (), ()),
        ([], (), ()),
        ([C, A, B, AB], ("ab",), (C,)),
        ([C, A, AB], ("aab",), (C,)),
        ([C, AB], ("b",), None),  # within a token
        ([A, TOOL, B, EOS], (), None),  # shown as text
        ([A, EOS, B, EOS], (), None),
    ],
)
def test_the_tokens_of_a_text_are_those_before_its_end(
    tokenizer: Any, ids: list[int], stop: tuple[str, ...], expected: tuple[int, ...] | None
) -> None:
    text = decode_completion(tokenizer, ids, [EOS], stop)
    assert find_written(tokenizer, ids, [EOS], text) == expected


@pytest.mark.parametrize(
    ("text", "ids", "counted", "expected", "said"),
    [
        ("abc", (AB, C), None, [AB, C, EOS], ""),
        ("abc", (A, B, C), None, [A, B, C, EOS], "1 of 1 samples have other tokens than their text gives"),
        ("", (), None, [EOS], ""),
        ("ab", (A, B, C), None, [AB, EOS], ""),  # edited since
        ("ab", (AB, 6), None, [AB, EOS], ""),  # no token of this model
        ("ab", None, None, [AB, EOS], ""),  # seeds, and what people wrote
        ("ab", None, 2, [AB, EOS], "1 samples are tokenized from their text"),
        ("ab", None, 1, [AB, EOS], "1 samples are tokenized from their text"),  # without its end
        (
            "ab",
            None,
            3,
            [AB, EOS],
            "1 samples are tokenized from their text, at least 1 of them not as they were sampled",
        ),
    ],
)
def test_a_sample_is_trained_on_its_own_tokens(
    tokenizer: Any, text: str, ids: tuple[int, ...] | None, counted: int | None, expected: list[int], said: str
) -> None:
    completions = CompletionTokens(tokenizer, EOS)
    assert completions.encode(text, ids, counted) == expected
    assert describe_origins(completions.counts) == said


def sample(model: Path, count: int = 96) -> list[Rationale]:
    engine = TransformersEngine(model, device="cpu", threads=1)
    writer = Writer(engine=engine, checkpoint="c", seed=1, round=1, stop=(), extract_answer=lambda *_: "c")
    problem = make_problem("abab", "c")
    sampling = Sampling(temperature=1.0, max_tokens=16)
    return [*generate([problem], writer=writer, render=lambda one: one.question, sampling=sampling, samples=count)]


def test_what_was_sampled_is_what_is_trained(model: Path, tokenizer: Any, tmp_path: Path) -> None:
    problem, prompts = make_problem("abab", "c"), PromptFormat(Prompting(question="{question}", cue=""))
    written = [one for one in sample(model) if one.finish == "stop" and one.token_ids is not None]
    texts = {one.text: one for one in reversed(written)}  # of equal texts the first is trained
    trained = [*select([(one, make_verdict(one)) for one in written], problems={problem.id: problem}, earlier=(),
                       prompts=prompts, shown=False, settings=Select())]  # fmt: skip
    examples = [one for one in trained if isinstance(one, Example)]
    write_part(tmp_path / "examples.parquet", Example, examples)
    common: dict[str, Any] = {"model": str(model), "output": tmp_path / "checkpoint", "steps": 1, "seed": 1}
    job = SftJob(**common, examples=tmp_path / "examples.parquet", settings=SupervisedTraining())
    rows = tokenize_examples(job, tokenizer)
    prompt = [AB, AB]
    expected = [[*prompt, *texts[one.completion].token_ids, EOS] for one in examples]  # type: ignore[misc]
    assert rows.data["input_ids"] == expected
    assert rows.data["labels"] == [[-100, -100, *ids[2:]] for ids in expected]
    otherwise = [ids for ids, one in zip(expected, examples, strict=True)
                 if tokenizer(one.completion)["input_ids"] != ids[2:-1]]  # fmt: skip
    assert len(otherwise) > 1
    assert rows.origins == {"as sampled": len(expected), "as sampled, and not what their text gives": len(otherwise)}

    judged = [(one, make_verdict(one, "correct" if at % 2 else "incorrect")) for at, one in enumerate(written)]
    pairs = [*prefer([judged], problems={problem.id: problem}, prompts=prompts, shown=False, require=Select(),
                     settings=Prefer())]  # fmt: skip
    write_part(tmp_path / "pairs.parquet", Preference, pairs)
    found = tokenize_pairs(DpoJob(**common, examples=tmp_path / "pairs.parquet", settings=Dpo()), tokenizer).data
    by = {one.id: one for one in written}
    for at, name in enumerate(("chosen", "rejected")):
        assert found[f"{name}_ids"] == [[*by[one.parents[at]].token_ids, EOS] for one in pairs]  # type: ignore[misc]


def test_a_sample_is_scored_by_its_own_tokens(model: Path) -> None:
    written = [one for one in sample(model) if one.finish == "stop" and one.token_ids is not None]
    engine = TransformersEngine(model, device="cpu", threads=1)
    scores = engine.score([(one.prompt, one.token_ids or ()) for one in written], end=True)
    assert [one.tokens for one in scores] == [one.tokens for one in written]
    assert [one.logprob for one in scores] == pytest.approx([one.logprob for one in written], abs=1e-4)
    texts = engine.score([(one.prompt, one.text) for one in written], end=True)
    assert [one.tokens for one in texts] != [one.tokens for one in scores]
