"""Tasks that a model proposes: how near one is to others, what is read out of answers, and what is turned away."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from selfimprove.errors import RecipeError
from selfimprove.prompting import instruction_filters as filters
from selfimprove.prompting import instructions as asked
from selfimprove.prompting.prompts import PromptFormat
from selfimprove.prompting.rouge import Nearest, words_of
from selfimprove.recipe import Prompting

WORDS = ["write", "a", "short", "story", "about", "the", "old", "dog", "in", "winter", "list", "of", "three", "words"]


def some_texts(count: int, seed: int, least: int = 1, most: int = 12) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(least, most))) for _ in range(count)]


def rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    """By the definition: the table of longest common subsequences (Lin, 2004, section 3)."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = row
        row = [0]
        for at, beside in enumerate(other):
            row.append(before[at] + 1 if word == beside else max(row[-1], before[at + 1]))
    if not row[-1]:
        return 0.0
    recall, precision = row[-1] / len(one), row[-1] / len(other)
    return 2 * precision * recall / (precision + recall)


def test_the_nearest_text_is_that_of_the_definition() -> None:
    texts = [*some_texts(40, 1), "...", "數學", "Übung macht den Meister"]
    near = Nearest()
    assert near.find("write a story") == (0.0, "")
    near.extend(texts)
    for text in [*some_texts(20, 2), *texts]:
        expected = [rouge_l(words_of(text), words_of(other)) for other in texts]
        similarity, nearest = near.find(text)
        assert similarity == max(expected)
        assert nearest == (texts[expected.index(similarity)] if similarity else "")


# What rouge-score 0.1.2 gives for `RougeScorer(["rougeL"], use_stemmer=False)`.
REFERENCE = [
    ("Write a short story about a dog.", "Write a story about the dog!", 0.7692307692307692),
    ("Write a story.", "write: A STORY", 1.0),
    ("Name 3 rivers in France", "Name 3 mountains in France", 0.8000000000000002),
    ("It's 10,000 years old", "It s 10 000 years-old", 1.0),
    ("Übung macht den Meister", "bung macht den meister", 1.0),
    ("a b c d e f g", "g f e d c b a", 0.14285714285714285),
    ("数学", "数学", 0.0),
]


@pytest.mark.parametrize(("one", "other", "expected"), REFERENCE)
def test_rouge_is_that_of_the_reference_library(one: str, other: str, expected: float) -> None:
    near = Nearest()
    near.add(other)
    assert near.find(one)[0] == expected


def test_rouge_is_that_of_the_reference_library_on_many_texts() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=False)
    texts = [*some_texts(80, 3), *(one for one, _, _ in REFERENCE)]
    near = Nearest()
    near.extend(texts)
    for text in [*some_texts(40, 4), *(one for _, one, _ in REFERENCE)]:
        assert near.find(text)[0] == max(scorer.score(text, one)["rougeL"].fmeasure for one in texts)


def test_ten_thousand_texts_cost_ten_times_what_a_thousand_do() -> None:
    def spent(count: int) -> float:
        near = Nearest()
        near.extend(some_texts(count, 5))
        asked_for = some_texts(40, 6)
        started = time.process_time()
        for text in asked_for:
            near.find(text)
        return time.process_time() - started

    assert spent(10_000) < 40 * min(spent(1_000) for _ in range(3))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write a haiku about the sea.", ""),
        ("  ", filters.EMPTY),
        ("Write a haiku", filters.TOO_SHORT),
        ("word " * 151, filters.TOO_LONG),
        ("Describe what is in the Image below", filters.NO_TEXT),
        ("Describe how imagery works in poems", ""),  # the word alone
        ("Go to the library and read", filters.NO_TEXT),
        ("Write a program that sorts numbers", filters.PROGRAM),
        ("- Write a haiku about the sea", filters.NO_BEGINNING),
        ("Écris un poème sur la mer", filters.NO_BEGINNING),
        (asked.PROPOSE, filters.OF_THE_PROMPT),
        ("Continue the list with some new tasks.", filters.OF_THE_PROMPT),
    ],
)
def test_an_instruction_is_turned_away_for_a_reason(text: str, reason: str) -> None:
    assert filters.why_not_instruction(text) == reason


@pytest.mark.parametrize(
    ("given", "output", "reason"),
    [
        ("a dog", "A dog barks.", ""),
        ("a dog", "", filters.EMPTY),
        ("a dog", "A DOG!", filters.REPEATS),
        ("", "Describe the animal.", filters.REPEATS),
        ("a dog", "Describe the animal. A dog.", filters.REPEATS),
        ("a dog", "It is:", filters.UNFINISHED),
        ("The text:", "It is long.", filters.UNFINISHED),
        ("数学", "数学。", filters.REPEATS),
    ],
)
def test_an_instance_is_turned_away_for_a_reason(given: str, output: str, reason: str) -> None:
    assert filters.why_not_instance("Describe the animal.", given, output) == reason


def test_instances_of_an_instruction_are_judged_together() -> None:
    found = filters.why_not_together([("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("c", "4")])
    assert found == [filters.OTHER_OUTPUT, "", filters.OTHER_OUTPUT, "", filters.SAME]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("Write a short story about dogs.", ("write", "story")),
        ("List three ways to save water", ("list", "ways")),
        ("Summarize the following paragraph.", ("summarize", "paragraph")),
        ("Explain why leaves fall", ("explain", "")),
        ("Translate: good morning", ("translate", "")),
        ("What is the capital of France?", ("", "")),
        ("42", ("", "")),
    ],
)
def test_verb_and_noun_are_found_by_a_rule_of_thumb(text: str, pair: tuple[str, str]) -> None:
    assert filters.verb_and_noun(text) == pair


def test_new_runs_of_words_are_those_that_stood_nowhere_before() -> None:
    assert filters.share_of_new(["write a story now"], ["please write a story"]) == 1 / 2
    assert filters.share_of_new(["too short"], ["too short"]) == 0.0


# --- prompts and answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (" Write a poem.\n10. Sing\na song.\n11) Dance", ["Write a poem.", "Sing a song.", "Dance"]),
        ("", [""]),
        (" One in 2024. It was good.", ["One in 2024. It was good."]),
        (" 1. Tell me of the lake.\n10. 2. Sing", ["Tell me of the lake.", "Sing"]),
        (" 3.5 is what of 7?", ["3.5 is what of 7?"]),
    ],
)
def test_proposals_are_read_from_a_list(text: str, found: list[str]) -> None:
    assert asked.read_proposals(text) == found


@pytest.mark.parametrize(
    ("text", "first", "found"),
    [
        ("Input: a dog\nOutput: It barks.\nLoudly.", False, ("a dog", "It barks.\nLoudly.")),
        ("Output: It barks.", False, ("", "It barks.")),
        ("Input: None\nOutput: It barks.", False, ("", "It barks.")),
        ("Input: n/a.\nOutput:", False, ("", "")),
        ("Sure, here you are", False, None),
        (" mammal\nInput: a dog", True, ("a dog", "mammal")),
        ("Label: mammal\nInput:\na dog", True, ("a dog", "mammal")),
        ("mammal", True, None),
        ("Input: " + "a\n" * 50_000, False, None),
        ("Here it is:\nOutput: It barks.", False, None),
        ("Output: It barks.\nInput: a cat\nOutput: It purrs.", False, ("", "It barks.")),
        ("A mammal\nor so\n Input: a dog", True, ("a dog", "A mammal")),
    ],
)
def test_instances_are_read_in_the_order_that_was_asked_for(
    text: str, first: bool, found: tuple[str, str] | None
) -> None:
    assert asked.read_instance(text, output_first=first) == found


@pytest.mark.parametrize("piece", ["\n", " ", ".", "Input: ", "\n1", "_a"])
def test_what_is_read_takes_time_in_proportion_to_its_length(piece: str) -> None:
    def spent(length: int) -> float:
        text = f"Input:{piece * (length // len(piece))}x"
        started = time.process_time()
        for first in (True, False):
            asked.read_instance(text, output_first=first)
            asked.read_instance(text[6:], output_first=first)
        asked.read_proposals(text)
        return time.process_time() - started

    assert min(spent(asked.LONGEST) for _ in range(3)) < 20 * max(
        min(spent(asked.LONGEST // 8) for _ in range(3)), 1e-3
    )


def test_yes_and_no_are_read_and_nothing_else() -> None:
    assert [asked.read_classification(one) for one in (" Yes, it is", "**No**", "Maybe", "")] == [
        True, False, None, None,
    ]  # fmt: skip


def test_a_prompt_shows_the_tasks_and_begins_the_next_number() -> None:
    plain = PromptFormat(Prompting())
    chat = PromptFormat(Prompting(), chat=lambda turns: "".join(f"<{one['role']}>{one['content']}" for one in turns))
    tasks = ["Sing a song.", "{instruction}"]
    assert asked.propose(plain, tasks, asked.PROPOSE).endswith("1. Sing a song.\n2. {instruction}\n3.")
    assert (
        asked.propose(chat, tasks, asked.PROPOSE) == f"<user>{asked.PROPOSE}\n\n1. Sing a song.\n2. {{instruction}}3."
    )
    seeds = asked.load_seeds("instructions")
    shown = asked.instance(chat, seeds, "Sing {instruction}.", output_first=True)
    assert shown.endswith("then an input that has it.Label:") and "Task: Sing {instruction}.\n" in shown
    assert shown.count("<assistant>Label: ") == asked.EXAMPLES
    assert "\n\nTask: Sing {instruction}.\nWrite" in asked.instance(
        plain, seeds, "Sing {instruction}.", output_first=False
    )


def test_seed_tasks_are_read_and_a_mistake_is_a_line(tmp_path: Path) -> None:
    ours = asked.load_seeds("instructions")
    assert len(ours) > 40 and 10 < sum(one.is_classification for one in ours) < 20
    assert len({one.instruction for one in ours}) == len(ours)
    for text, said in {
        "{}\n": ":1: expected a seed task",
        '{"instruction": "Sing.", "instances": [{"output": "La"}]}\n\n[1': ":3: expected a seed task",
        '{"instruction": "Sing.", "instances": [{"output": "La"}]}': "1 seed tasks are too few",
    }.items():
        (tmp_path / "seeds.jsonl").write_text(text)
        with pytest.raises(RecipeError) as raised:
            asked.load_seeds(str(tmp_path / "seeds.jsonl"))
        assert said in str(raised.value) and "\n" not in str(raised.value)
    for name, said in {"no/such.jsonl": "No such file", "instruction": "did you mean 'instructions'"}.items():
        with pytest.raises(RecipeError, match=said):
            asked.load_seeds(name)


def test_the_published_seeds_are_read(data_folder: Path) -> None:
    published = asked.load_seeds(str(data_folder / "self-instruct" / "seed_tasks.jsonl"))
    assert len(published) == 175 and sum(one.is_classification for one in published) == 26
