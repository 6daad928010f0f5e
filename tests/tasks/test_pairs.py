"""Files of pairs that people or others' judges chose between."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import TaskError
from selfimprove.tasks.pairs import load_pairs
from selfimprove.tasks.scored import TURN

USER = {"role": "user", "content": "Why?"}


def said(*texts: str) -> list[dict[str, str]]:
    return [USER, *({"role": "assistant" if at % 2 == 0 else "user", "content": one} for at, one in enumerate(texts))]


def save(folder: Path, *rows: Any) -> Path:
    file = folder / "pairs.jsonl"
    file.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows))
    return file


def test_texts_and_messages_with_scores(tmp_path: Path) -> None:
    scores = ("score_chosen", "score_rejected")
    found = load_pairs(save(
        tmp_path,
        {"prompt": "Who?", "chosen": "A", "rejected": "B", **dict(zip(scores, (9, 5), strict=True))},
        {"prompt": "Why?", "chosen": said("yes"), "rejected": said("no"), **dict(zip(scores, (5.0, 3.0), strict=True))},
        {"chosen": said("a", "And?", "b"), "rejected": said("a", "And?", "c"), scores[0]: 4, scores[1]: 3},
        {"prompt": "A tie?", "chosen": "A", "rejected": "B", **dict(zip(scores, (3, 3), strict=True))},
        {"prompt": "Upside down?", "chosen": "A", "rejected": "B", **dict(zip(scores, (1, 3), strict=True))},
        "",
        {"prompt": "Blank?", "chosen": "A", "rejected": " "},
        {"chosen": said("a"), "rejected": said("a", "And?", "c")},
    ))  # fmt: skip
    assert [(one.problem.answer, one.margin) for one in found] == [("A", 1.0), ("yes", 0.5), ("b", 0.25)]
    assert found[1].problem.question == "Why?" and set(found[1].problem.options) == {"yes", "no"}
    assert found[2].problem.question == "\n\nHuman: Why?\n\nAssistant: a\n\nHuman: And?\n\nAssistant:"


MISTAKES = {
    "[1": ":1: not JSON",
    '{"chosen": "A"}': ":1: expected an object with 'chosen' and 'rejected'",
    '{"prompt": 3, "chosen": "A", "rejected": "B"}': ":1: 'prompt' is not a text",
    '{"prompt": "Q", "chosen": ["A"], "rejected": "B"}': ":1: 'chosen' is neither a text nor a list of messages",
    '{"prompt": "Q", "chosen": "A", "rejected": "B", "score_chosen": 1}': ":1: 'score_chosen' and 'score_rejected'",
    '{"prompt": "Q", "chosen": "A", "rejected": "B", "score_chosen": NaN, "score_rejected": 1}': "must be two numbers",
    json.dumps({"chosen": "A", "rejected": "B", "prompt": "Q", "score_chosen": 10**400, "score_rejected": 1}): "number",
    json.dumps({one: [{"role": [], "content": "a"}] * 3 for one in ("chosen", "rejected")}): ": holds no pair",
    '{"prompt": "Q", "chosen": "A", "rejected": "A"}': ": holds no pair; its 1 pairs do not answer one prompt",
    "": ": holds no pair",
}  # fmt: skip


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes_in_a_file_are_one_line(line: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as error:
        load_pairs(save(tmp_path, line))
    assert MISTAKES[line] in str(error.value) and "\n" not in str(error.value)


def test_the_dialogues_of_hh_rlhf(data_folder: Path) -> None:
    found = load_pairs(data_folder / "hh-rlhf/harmless-base/test.jsonl.gz")
    assert len(found) >= 2300 and {one.margin for one in found} == {1.0}
    assert all(one.problem.question.endswith(TURN) and len(one.problem.options) == 2 for one in found)


def test_a_pair_says_itself_how_sure_it_is_and_how_much_it_counts(tmp_path: Path) -> None:
    row = {"prompt": "Who?", "chosen": "A", "rejected": "B"}
    found = load_pairs(save(tmp_path, {**row, "margin": 0.25, "weight": 1.5}, {**row, "chosen": "C"}))
    assert [(one.margin, one.weight) for one in found] == [(0.25, 1.5), (1.0, 1.0)]
    for name, value in (("margin", 0), ("margin", 1.5), ("weight", -1), ("weight", "2"), ("weight", True)):
        with pytest.raises(TaskError, match=f"'{name}' must be a number above 0"):
            load_pairs(save(tmp_path, {**row, name: value}))


def test_pairs_of_people_are_told_from_those_of_a_file(tmp_path: Path) -> None:
    """UltraFeedback has a column of that name too, with where its prompts are from."""
    row = {"prompt": "Who?", "chosen": "A", "rejected": "B"}
    found = load_pairs(save(tmp_path, {**row, "source": "people"}, {**row, "chosen": "C", "source": "evol_instruct"}))
    assert [one.source for one in found] == ["people", "file"]
