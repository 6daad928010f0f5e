"""What texts share with questions that are evaluated: leaks of each kind, and no likeness by chance."""

import json
import random
import time
import tracemalloc
from pathlib import Path

import pytest

from selfimprove.tasks.overlap import ALIKE, LONG, NAMED, Questions

FARM = (
    "A farmer keeps 12 brown cows on the north meadow and 30 white ones behind the old mill. On Monday he sells 7 of "
    "them at the market in town. How many cows are left with him?"
)
BAKER = (
    "Before sunrise the baker puts 48 rolls into paper bags of 6 and gives 2 bags away. How many bags does she sell?"
)
PASSAGE = (
    " ".join(f"In the year {1700 + at} a ship of kind {chr(97 + at % 26) * 3} left harbour {at}." for at in range(12))
    + " Which ship left first?"
)


def look(text: str, *questions: str, share: float = 0.5, numbers: bool = True) -> list[tuple[int, str]]:
    """The questions that a text is found to share words with, and by which rule."""
    asked = Questions(questions or (FARM, BAKER, PASSAGE), share=share, numbers=numbers)
    whole = asked.find_whole(text)
    return [(one.question, one.rule) for one in ([whole] if whole else asked.find([text])[0])]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FARM, [(0, "exact")]),
        (f"  {FARM.upper()}\n", [(0, "exact")]),
        (FARM.replace(",", "").replace(".", " ;"), [(0, "words")]),
        (f"Let us begin with another one. {FARM} He has 35 of them.\n#35", [(0, "words")]),
        ("So: " + FARM.partition(". How")[0], [(0, "words")]),
        (FARM.partition(" On Monday")[0].partition(" and 30")[0], []),
        (FARM.replace("12", "25").replace("30", "41").replace("7", "9"), [(0, "words")]),
        (BAKER.replace("48", "60").replace("6", "5").replace("2", "3"), [(1, "numbers")]),
        (f"As in: {BAKER.replace('48', '1,000').replace(' 6 ', ' 9.5 ').replace('2', '3')} She sells them.",
         [(1, "numbers")]),
        (PASSAGE[400:530], [(2, "long")]),
        ("The farmer sells his cows at the market in town on Monday.", []),
        ("", []),
        ("x" * 100_000 + " 1" * 10_000, []),
    ],
)  # fmt: skip
def test_each_kind_of_leak_is_found(text: str, found: list[tuple[int, str]]) -> None:
    assert len(PASSAGE.split()) >= LONG
    assert look(text) == found


def test_rules_can_be_told_more_or_less() -> None:
    others = BAKER.replace("48", "60").replace("6", "5").replace("2", "3")
    assert look(others, BAKER, numbers=False) == []
    half = FARM.partition(" On Monday")[0]
    assert look(half, FARM, share=0.9) == []
    assert look(half, FARM, share=0.4) == [(0, "words")]


def test_a_short_question_is_found_where_it_is_the_whole_prompt_in_any_form_in_which_it_is_shown() -> None:
    asked = Questions(["7+8=", FARM], [["Q: 7+8=\nA:", "Q: 1+1=\nA: 2\n\nQ: 7+8=\nA:"], []], share=0.5, numbers=True)
    assert asked.compared == 1
    for text in ("7+8=", "q:  7+8=\na:", "Q: 1+1=\nA: 2\n\nQ: 7+8=\nA:"):
        hit = asked.find_whole(text)
        assert hit and (hit.question, hit.rule, hit.passage) == (0, "exact", "7+8=")
    assert asked.find_whole("17+8=") is None and asked.find(["17+8=25\n7+8=15"]) == [[]]


def test_what_a_hit_shows() -> None:
    asked = Questions([FARM, BAKER, FARM.upper()], share=0.3, numbers=True)
    middle = "12 brown cows on the north meadow and 30 white ones behind the old mill"
    [[hit]] = asked.find([f"He has {middle} and no more."])
    assert hit.passage == middle and hit.share == pytest.approx(15 / 37)
    assert asked.same(hit.question) == [0, 2] and asked.same(1) == [1]


def test_the_nearest_questions_are_named_first_and_not_all_of_them() -> None:
    questions = [f"{FARM} {' '.join(f'also{chr(97 + at)}' for _ in range(at))}" for at in range(ALIKE)]
    found = look(f"Well. {FARM}", *questions, share=0.1)
    assert found == [(at, "words") for at in range(ALIKE)][:NAMED]


def test_how_many_questions_are_put_is_no_leak() -> None:
    """Questions from a template share all their words, and none says where a text is from."""
    names = ("Ann", "Ben", "Cleo", "Dan", "Eve")
    made = [f"{name} has {at} apples in a large basket and buys {at + 3} more of them at the old market. How many?"
            for at, name in enumerate(names)]  # fmt: skip
    asked = Questions(made, share=0.5, numbers=True)
    other = "Zoe has 77 apples in a large basket and buys 78 more of them at the old market. How many?"
    assert asked.find([other]) == [[]]
    assert asked.find_whole(made[2]) is not None


def test_other_problems_of_arithmetic_are_no_leak() -> None:
    rng = random.Random(0)
    numbers = rng.sample(range(1000, 9999), 800)
    held_out = [f"{a}+{b}=" for a, b in zip(numbers[:200], numbers[200:400], strict=True)]
    held_out += [
        f"What is {a} plus {b} minus {a - 7}, if {b} is counted twice?"
        for a, b in zip(numbers[:99], numbers[99:], strict=False)
    ]
    asked = Questions(held_out, share=0.5, numbers=True)
    trained = []
    for a, b in zip(numbers[400:600], numbers[600:], strict=True):
        columns = "\n".join(
            f"{x}+{y}+{rng.randint(0, 1)}=0{rng.randint(0, 9)}" for x, y in zip(str(a), str(b), strict=True)
        )
        trained += [
            f"{a}+{b}=",
            f"{columns}\n#{a + b}",
            f"What is {a} plus {b} minus {a - 7}, if {b} is counted twice?",
        ]
    assert all(asked.find_whole(text) is None for text in trained)
    assert not any(asked.find(trained))


def test_time_and_memory_grow_with_the_rows_alone() -> None:
    """Twice as many rows take twice the time, and what is held does not grow."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghij", k=5)) for _ in range(3000)]
    asked = Questions([" ".join(rng.choices(words, k=40)) for _ in range(1000)], share=0.5, numbers=True)

    def work(rows: int) -> float:
        started = time.process_time()
        for _ in range(rows // 500):
            asked.find([" ".join(rng.choices(words, k=60)) for _ in range(500)])
        return time.process_time() - started

    work(500)
    once = min(work(1000) for _ in range(3))
    assert min(work(2000) for _ in range(3)) < 3.5 * once
    tracemalloc.start()
    work(500)
    few = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    work(2000)
    assert tracemalloc.get_traced_memory()[1] < 1.5 * few
    tracemalloc.stop()


def test_gsm8k_shares_three_questions_of_its_own_with_its_test(data_folder: Path) -> None:
    """What is found between the two splits: one pair put twice with other names, and two with other numbers."""
    train, test = (
        [json.loads(line) for line in (data_folder / "gsm8k" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "test")
    )
    asked = Questions([one["question"] for one in test], share=0.5, numbers=True)
    assert asked.compared == len(test)
    texts = [text for one in train for text in (one["question"], one["answer"])]
    found = [(text, hit) for text, hits in zip(texts, asked.find(texts), strict=True) for hit in hits]
    assert [(hit.rule, text.split(" ")[0]) for text, hit in found] == [
        ("words", "Bella"),
        ("words", "A"),
        ("words", "A"),
    ]
