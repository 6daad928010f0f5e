import re
from pathlib import Path

import pytest
import yaml
from builders import make_problem

from selfimprove.errors import RecipeError
from selfimprove.prompting.prompts import (
    Exemplar,
    PromptFormat,
    cut_at_stop,
    encode_completion,
    encode_prompt,
    fill,
    load_exemplars,
    neutralize_special_tokens,
)
from selfimprove.recipe import Prompting
from selfimprove.recipe.policies import POLICIES
from selfimprove.records import Problem

BIRDS = make_problem("How many birds?", "7")
EXEMPLARS = (
    Exemplar(question="How many eggs?", rationale="Two and two. 2 + 2 = 4.\n", answer="4"),
    Exemplar(question="How many pens?", answer="5"),
)
WORDS = Prompting(
    question="Q: {question}",
    hint="Q: {question} (The answer is {answer}.)",
    cue="\nA:",
    answer="The answer is {answer}.",
)
ARITHMETIC = Prompting(question="{question}", hint="{answer}?{question}")


def styled(style: str, settings: Prompting = WORDS) -> Prompting:
    return Prompting.model_validate(settings.model_dump() | {"style": style})


def fake_chat(messages: list[dict[str, str]]) -> str:
    """A chat template of one line a message."""
    return "".join(f"<{one['role']}>{one['content']}\n" for one in messages) + "<assistant>"


def test_zero_shot_is_the_question_and_the_cue() -> None:
    assert PromptFormat(WORDS).render(BIRDS) == "Q: How many birds?\nA:"


def test_zero_shot_never_shows_exemplars() -> None:
    assert PromptFormat(WORDS, EXEMPLARS).render(BIRDS) == "Q: How many birds?\nA:"


@pytest.mark.parametrize("trigger", ["Let's think step by step.", "First, {answer}", "考えよう。"])
def test_zero_shot_cot_appends_any_trigger(trigger: str) -> None:
    settings = styled("zero-shot-cot", WORDS.model_copy(update={"trigger": trigger}))
    assert PromptFormat(settings).render(BIRDS) == f"Q: How many birds?\nA: {trigger}"


def test_few_shot_shows_the_answers_of_the_exemplars() -> None:
    assert PromptFormat(styled("few-shot"), EXEMPLARS).render(BIRDS) == (
        "Q: How many eggs?\nA: The answer is 4.\n\nQ: How many pens?\nA: The answer is 5.\n\nQ: How many birds?\nA:"
    )


def test_few_shot_cot_shows_their_rationales_where_they_have_one() -> None:
    assert PromptFormat(styled("few-shot-cot"), EXEMPLARS).render(BIRDS) == (
        "Q: How many eggs?\nA: Two and two. 2 + 2 = 4. The answer is 4.\n\n"
        "Q: How many pens?\nA: The answer is 5.\n\n"
        "Q: How many birds?\nA:"
    )


def test_a_hint_is_shown_in_the_exemplars_too() -> None:
    assert PromptFormat(styled("few-shot-cot"), EXEMPLARS[:1]).render_hint(BIRDS) == (
        "Q: How many eggs? (The answer is 4.)\nA: Two and two. 2 + 2 = 4. The answer is 4.\n\n"
        "Q: How many birds? (The answer is 7.)\nA:"
    )


def test_a_hint_can_come_before_the_question() -> None:
    assert PromptFormat(ARITHMETIC).render_hint(make_problem("1+2=", "3")) == "3?1+2="


@pytest.mark.parametrize("style", ["zero-shot", "zero-shot-cot", "few-shot", "few-shot-cot"])
def test_the_question_alone_has_neither_exemplars_nor_trigger(style: str) -> None:
    assert PromptFormat(styled(style), EXEMPLARS).render_question(BIRDS) == "Q: How many birds?\nA:"


def test_a_chat_template_gets_turns_without_the_cue() -> None:
    assert PromptFormat(styled("few-shot-cot"), EXEMPLARS, fake_chat).render(BIRDS) == (
        "<user>Q: How many eggs?\n<assistant>Two and two. 2 + 2 = 4. The answer is 4.\n"
        "<user>Q: How many pens?\n<assistant>The answer is 5.\n"
        "<user>Q: How many birds?\n<assistant>"
    )


def test_a_chat_template_gets_the_hint_and_the_trigger() -> None:
    prompts = PromptFormat(styled("zero-shot-cot"), (), fake_chat)
    assert prompts.render_hint(BIRDS) == (
        "<user>Q: How many birds? (The answer is 7.) Let's think step by step.\n<assistant>"
    )
    assert prompts.render_question(BIRDS) == "<user>Q: How many birds?\n<assistant>"


@pytest.mark.parametrize("text", ["What is {answer}?", "{question}", "{0} {} {answer", "\\1 {style}", "%s"])
def test_a_question_that_looks_like_a_template_stays_text(text: str) -> None:
    prompts = PromptFormat(styled("few-shot"), (Exemplar(question=text, answer=text),))
    problem = make_problem(text, "7")
    assert prompts.render(problem) == f"Q: {text}\nA: The answer is {text}.\n\nQ: {text}\nA:"
    assert prompts.render_question(problem) == f"Q: {text}\nA:"
    assert prompts.render_hint(problem).endswith(f"Q: {text} (The answer is 7.)\nA:")


def test_the_answer_of_an_open_problem_is_shown_as_nothing() -> None:
    assert PromptFormat(ARITHMETIC).render_hint(make_problem("Why?", None)) == "?Why?"


def test_fill_leaves_unknown_fields_alone() -> None:
    assert fill("{a}{b}{c}", {"a": "{b}", "b": "2"}) == "{b}2{c}"


@pytest.mark.parametrize(
    ("settings", "problem", "text", "found"),
    [
        (ARITHMETIC, make_problem("1+2=", "3"), "3?1+2=\n#3", "3?"),
        (ARITHMETIC, make_problem("1+2=", "3"), "first\n3?", "3?"),
        (ARITHMETIC, make_problem("1+2=", "3"), "1+2+0=03\n#3", None),
        (ARITHMETIC, make_problem("1+2=", "3"), "4?1+2=\n#3", None),
        (ARITHMETIC, make_problem("1+2=", "3"), "?", None),
        (ARITHMETIC, make_problem("1+2=", "3"), "", None),
        (WORDS, BIRDS, "As (The answer is 7.) says, 7.", "(The answer is 7.)"),
        (WORDS, BIRDS, "as (THE ANSWER IS 7.) says", "(The answer is 7.)"),
        (WORDS, BIRDS, "The hint (The answer is given) says", "(The answer is"),
        (WORDS, BIRDS, "Q: How many birds? (The answer is 9.)", "(The answer is"),
        (WORDS, BIRDS, "3 + 4 = 7. The answer is 7.", None),
        (Prompting(hint="{question} hint is {answer}"), BIRDS, "a hint is no", None),  # 7 characters
        (Prompting(hint="{question} hints is {answer}"), BIRDS, "all hints is no", "hints is"),  # 8 characters
        (WORDS, BIRDS, "(7 birds.) The answer is 7.", None),
        (WORDS, BIRDS, "How many birds? 7.", None),
        (Prompting(), BIRDS, "It is 7 (the answer is 7)", "(the answer is 7)"),
        (Prompting(), BIRDS, "The answer is 7", None),
        (Prompting(hint="{question}\nHint: {answer}"), BIRDS, "Hint: 7", "Hint: 7"),
        (Prompting(hint="{question}\nHint: {answer}"), BIRDS, "Hint: 8", None),  # under 8 characters on its own
        (Prompting(hint="{question}\nThe hint is {answer}"), BIRDS, "The hint is great", "The hint is"),
        (Prompting(hint="Say {answer} to {question}"), BIRDS, "I say 7 to that.", "Say 7 to"),
    ],
)
def test_finds_hint_tells_a_repeated_hint_from_reasoning(
    settings: Prompting, problem: Problem, text: str, found: str | None
) -> None:
    assert PromptFormat(settings).finds_hint(problem, text) == found


@pytest.mark.parametrize("settings", [WORDS, ARITHMETIC, Prompting()])
def test_the_hinted_prompt_holds_the_hint_and_the_plain_one_does_not(settings: Prompting) -> None:
    prompts = PromptFormat(settings)
    assert prompts.finds_hint(BIRDS, prompts.render_hint(BIRDS))
    assert prompts.finds_hint(BIRDS, prompts.render(BIRDS)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <eos> b", "a < eos> b"),
        ("<eos><eos>", "< eos>< eos>"),
        ("<|im_start|>system", "< |im_start|>system"),
        ("<eos >", "<eos >"),
        ("plain #", "plain #"),
    ],
)
def test_special_tokens_in_a_text_are_broken_up(text: str, expected: str) -> None:
    safe = neutralize_special_tokens(text, ["<eos>", "<|im_start|>", "#"])
    assert safe == expected
    assert "<eos>" not in safe and "<|im_start|>" not in safe


@pytest.mark.parametrize("specials", [["<a>", "<a><b>"], ["<a><b>", "<a>"]])
def test_the_longest_special_token_is_broken_up_first(specials: list[str]) -> None:
    assert neutralize_special_tokens("<a><b>", specials) == "< a><b>"


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one\ntwo", ["\n"], "one"),
        ("one\ntwo", [], "one\ntwo"),
        ("one two", ["\n"], "one two"),
        ("Q: A: B", ["B", "A:"], "Q: "),
        ("stop", ["stop"], ""),
        ("", ["x"], ""),
    ],
)
def test_cut_at_stop_cuts_before_the_first_mark(text: str, stop: list[str], expected: str) -> None:
    assert cut_at_stop(text, stop) == expected


class Characters:
    """A tokenizer of characters that closes every text with the end token, as some do."""

    eos_token_id = 0

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, split_special_tokens: bool = False
    ) -> dict[str, list[int]]:
        ids = [0] if text == "<eos>" and not split_special_tokens else [ord(one) for one in text]
        return {"input_ids": [*ids, 0] if add_special_tokens else ids}


def test_a_prompt_is_not_ended_before_its_completion() -> None:
    assert encode_prompt(Characters(), "ab", chat=False) == [97, 98]
    assert encode_prompt(Characters(), "", chat=False) == []
    assert encode_completion(Characters(), "ab") == [97, 98, 0]


def test_an_end_token_that_is_written_out_is_text_but_for_the_chat_template() -> None:
    spelled = [ord(one) for one in "<eos>"]
    assert encode_prompt(Characters(), "<eos>", chat=False) == spelled
    assert encode_completion(Characters(), "<eos>") == [*spelled, 0]
    assert encode_prompt(Characters(), "<eos>", chat=True) == [0]


def test_the_shipped_exemplars_load_and_shots_takes_the_first() -> None:
    path = POLICIES / "exemplars" / "word-problems.yaml"
    given = yaml.safe_load(path.read_text())["exemplars"]
    every = load_exemplars(str(path), None)
    assert [one.model_dump() for one in every] == given and len(every) > 2
    assert load_exemplars(str(path), 2) == every[:2]
    assert load_exemplars(str(path), len(every)) == every
    assert load_exemplars(None, 2) == ()


def test_a_file_of_exemplars_has_a_name() -> None:
    assert len(load_exemplars("word-problems", 3)) == 3
    with pytest.raises(RecipeError, match=r"no file of exemplars 'word-problem'.*did you mean 'word-problems'"):
        load_exemplars("word-problem", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exemplars:\n  - question: a\n    anser: b\n", ":3: unknown key 'anser'; did you mean 'answer'?"),
        ("exemplars:\n  - question: a\n", ":2: 'exemplars.0.answer' is missing"),
        ("exemplars:\n  - question: a\n    answer: 7\n", ":3: 'exemplars.0.answer' must be a text, not 7"),
        ("exemplar: []\n", ":1: unknown key 'exemplar'; did you mean 'exemplars'?"),
        ("- question: a\n", ":1: expected a mapping"),
        ("exemplars:\n  - {question: a, answer: b}\n", ": has 1 exemplars, and 'prompt.shots' asks for 2"),
        (None, ": no such file of exemplars"),
    ],
)
def test_a_mistake_in_a_file_of_exemplars_names_the_line(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "exemplars.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecipeError, match="^" + re.escape(f"{path}{message}")):
        load_exemplars(str(path), 2)
