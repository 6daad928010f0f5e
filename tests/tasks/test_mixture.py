"""Mixtures: what a file may say, what is held out, and which rows are drawn in which form."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfimprove.errors import RecipeError, SelfImproveError
from selfimprove.recipe.mixture import load_mixture
from selfimprove.recipe.task_settings import MixtureTask
from selfimprove.tasks import Mixture, load_task
from selfimprove.tasks.mixture_draw import FORMS, Drawn, Draws

OWN = {"prompt": "{{q}}?", "completion": "{{a}}"}


def write(folder: Path, sizes: dict[str, int], **given: Any) -> Path:
    """A mixture of data sets `one` to `n` in clusters of their own, of which `held` is held out."""
    sets: dict[str, Any] = {}
    for name, size in sizes.items():
        rows = [{"q": f"{name} {at}", "a": str(at), "why": f"because {at}"} for at in range(size)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        templates = {"plain": OWN, "other": {**OWN, "prompt": "Say {{q}}"}}
        sets[name] = {"cluster": f"cluster of {name}", "path": f"{name}.jsonl", "templates": templates}
        sets[name] |= given.get(name, {})
    data = {"hold_out": ["cluster of held"], "data_sets": sets}
    data |= {key: value for key, value in given.items() if key not in sizes}
    (folder / "mine.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "mine.yaml"


def load(file: Path, **given: Any) -> Mixture:
    found = load_task(MixtureTask(name="mixture/mine", file=str(file), **given))
    assert isinstance(found, Mixture)
    return found


def draw(task: Mixture, count: int, seed: int = 1, **given: Any) -> list[Drawn]:
    draws, found = Draws(task, seed, **given), []
    while len(found) < count and (one := draws.next()):
        draws.take(one)
        found.append(one)
    return found


def test_data_sets_are_drawn_by_their_size_up_to_the_cap_and_the_temperature(tmp_path: Path) -> None:
    sizes = {"small": 10, "middle": 90, "large": 400, "held": 20}
    for given, weights in (
        ({}, (10, 90, 400)),
        ({"cap": 100}, (10, 90, 100)),
        ({"cap": 100, "temperature": 2.0}, (10**0.5, 90**0.5, 10.0)),
        ({name: {"weight": weight} for name, weight in (("small", 1), ("middle", 2), ("large", 5))}, (1, 2, 5)),
    ):
        task = load(write(tmp_path, sizes, **given), held_out=5)
        found = Counter(one.source.name for one in draw(task, 60))
        asked = [60 * one / sum(weights) for one in weights]
        assert [found[name] for name in ("small", "middle", "large")] == pytest.approx(asked, abs=1.01), given
    assert [one.group for one in task.held_out()] == ["cluster of held: held"] * 5
    assert set(task.levels) == {f"cluster of {name}: {name}" for name in ("small", "middle", "large")}


def test_what_is_held_out_is_not_drawn(tmp_path: Path) -> None:
    task = load(write(tmp_path, {"one": 30, "held": 8}), held_out=6, seen=4)
    held = {(one.group, one.level, one.answer) for one in task.held_out()}
    assert Counter(level for _, level, _ in held) == {1: 6, 0: 4}
    drawn = draw(task, 1000)
    assert len(drawn) == (30 - 4) * 2 and {one.source.name for one in drawn} == {"one"}
    assert not {one.completion for one in drawn} & {answer for _, level, answer in held if not level}
    assert len({(one.place, one.template) for one in drawn}) == len(drawn)
    problems = task.draw("cluster of one: one", 5, seed=1)
    assert len(problems) == 5 and problems == task.draw("cluster of one: one", 5, seed=1)
    other = load(write(tmp_path, {"one": 30, "held": 8}), held_out=6, seen=4, hold_out=["cluster of one"])
    assert {one.source.name for one in draw(other, 9)} == {"held"} and other.fingerprint() != task.fingerprint()


def test_draws_are_the_seed_alone_and_templates_can_be_fewer(tmp_path: Path) -> None:
    task = load(write(tmp_path, {"one": 30, "two": 30, "held": 8}, forms={"few_shot": 0.5}))
    assert draw(task, 40) == draw(task, 40) != draw(task, 40, seed=2)
    one = draw(task, 1000, templates=1)
    assert len(one) == 60 and all(
        len({x.template for x in one if x.source.name == name}) == 1 for name in ("one", "two")
    )
    assert {x.source.name for x in draw(task, 9, clusters=["cluster of two"])} == {"two"}


def test_forms_have_the_shares_that_are_asked_for(tmp_path: Path) -> None:
    templates = {
        "plain": {**OWN, "rationale": "{{why}}", "options": "{{a}} ||| none"},
        "back": {"prompt": "Of what is {{a}} the answer?", "completion": "{{q}}", "inverts": True},
    }
    forms = {"few_shot": 0.25, "shots": 2, "cot": 0.5, "options": 0.75, "inverted": 0.1}
    task = load(write(tmp_path, {"one": 400, "held": 8}, one={"templates": templates}, forms=forms))
    drawn = draw(task, 200)
    able = Counter(form for one in drawn for form in one.able)
    found = Counter(form for one in drawn for form in one.forms)
    for form, share in zip(FORMS, (0.25, 0.5, 0.75, 0.1), strict=True):
        assert able[form] >= 180 and found[form] / able[form] == pytest.approx(share, abs=0.03), form
    both = sum({"few-shot", "chain of thought"} <= set(one.forms) for one in drawn)
    assert 8 < both < 40  # one form does not go with another
    one = next(one for one in drawn if one.forms == ("few-shot", "chain of thought", "options"))
    *worked, last = one.prompt.split("\n\n")
    assert (
        len(worked) == 2 and one.completion == f"because {(at := one.completion.split()[-1][:-1])}\nThe answer is {at}."
    )
    assert last == f"one {at}?\nOPTIONS:\n- {at}\n- none\nLet's think step by step." and one.place.endswith(
        f"line {int(at) + 1}"
    )
    assert worked[0].startswith("one ") and worked[0].count("The answer is") == 1 and f"one {at}?" not in worked[0]
    plain = next(one for one in drawn if not one.forms)
    assert plain.prompt == f"one {plain.completion}?"


def test_rendered_rows_are_taken_as_they_stand(tmp_path: Path) -> None:
    for name, rows in (("t0_a_plain", ["x", " y<end>"]), ("t0_a_back_", ["", "z"])):
        lines = [json.dumps({"prompt": f"{name} {at}\n", "completion": row}) for at, row in enumerate(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join([*lines, '{"prompt": 3, "completion": ""}', "{", "[1]"]))
    rendered = {"cluster": "c", "path": "t0_a_*.jsonl", "rendered": {"end": "<end>"}, "inverted": ["back_"]}
    task = load(write(tmp_path, {"held": 4, "one": 1}, one={"templates": {}, **rendered}))
    drawn = draw(task, 100)
    assert sorted((one.template, one.prompt, one.completion, one.reason) for one in drawn) == [
        ("back_", "", "", "'prompt' is not a text"),
        ("back_", "t0_a_back_ 0", "", ""),
        ("back_", "t0_a_back_ 1", "z", ""),
        ("plain", "", "", "'prompt' is not a text"),
        ("plain", "t0_a_plain 0", "x", ""),
        ("plain", "t0_a_plain 1", "y", ""),
    ]
    assert (
        task.left_out == 4
        and "4 rows cannot be read and are left out (t0_a_back_.jsonl, line 4: not" in task.remarks[0]
    )


def test_columns_by_their_paths(tmp_path: Path) -> None:
    row = {"question": {"stem": "s", "choices": [{"label": "A", "text": "p"}, {"label": "B", "text": "q"}]}, "key": "B"}
    (tmp_path / "x.jsonl").write_text("\n".join([json.dumps(row)] * 2))
    (tmp_path / "x.tsv").write_text('s "1\tp\n')
    columns = {
        "question": "question.stem",
        "choices.text": "question.choices.*.text",
        "all": "question.choices.*.label",
    }
    own = {"prompt": "{{question}} {{choices.text | join}}", "completion": "{{choices.text[all.index(key)]}}"}
    one = {"path": "x.jsonl", "columns": columns, "templates": {"plain": own}}
    two = {"path": "x.tsv", "header": ["q", "a"], "quoted": False}
    task = load(write(tmp_path, {"one": 1, "two": 1, "held": 2}, one=one, two=two))
    found = [(one.prompt, one.completion) for one in draw(task, 3, templates=1)]
    assert ("s pq", "q") in found and [one for one in found if 's "1' in one[0] and one[1] == "p"]


PLAIN = "mine.yaml:{plain}: the template 'plain' "
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": (
        {"one": {"wieght": 2}},
        "mine.yaml:{wieght}: unknown key 'wieght'; did you mean 'weight'?",
    ),
    "no cluster of this name": (
        {"hold_out": ["cluster of hold"]},
        "mine.yaml:2: there is no cluster 'cluster of hold'; did you mean 'cluster of held'?",
    ),
    "nothing is left": (
        {"hold_out": ["cluster of held", "cluster of one"]},
        "mine.yaml:1: all clusters are held out, and none is left to train on",
    ),
    "no weight beside others": (
        {"one": {"weight": 1}, "two": {}},
        "mine.yaml:{two}: 'two' has no 'weight' and 'one' has one; give all of them one",
    ),
    "a share above one": ({"forms": {"cot": 3}}, "mine.yaml:{cot}: 'forms.cot' must be at most 1, not 3"),
    "no template": (
        {"one": {"templates": {}}},
        "mine.yaml:{path}: says nothing of how it is asked; add 'templates', 'promptsource' or 'rendered: {{}}'",
    ),
    "two ways to ask": (
        {"one": {"rendered": {}}},
        "mine.yaml:{rendered}: rows that are rendered have no templates; leave one of the two out",
    ),
    "no file": (
        {"one": {"path": "no.jsonl"}},
        "mine.yaml:{path}: there is no file 'no.jsonl' in {folder}; name the folder with 'train.path'",
    ),
    "a column that is not there": (
        {"one": {"templates": {"plain": {**OWN, "prompt": "{{question}}"}}}},
        f"{PLAIN}speaks of 'question', which no row of 'one' has; known: a, q, why",
    ),
    "no Jinja": (
        {"one": {"templates": {"plain": {**OWN, "prompt": "{% if %}"}}}},
        f"{PLAIN}cannot be used (TemplateSyntaxError: Expected an expression, got 'end of statement block'); mend it "
        "or leave it out",
    ),
    "rendered rows without a prompt": (
        {"one": {"templates": {}, "rendered": {"prompt": "text"}}},
        "mine.yaml:{path}: 'text' is missing (columns: 'q', 'a', 'why'); name yours with 'rendered.prompt' and "
        "'rendered.completion'",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_its_place(name: str, tmp_path: Path) -> None:
    given, expected = MISTAKES[name]
    sizes = {"one": 3, "held": 3} | ({"two": 3} if "two" in given else {})
    file = write(tmp_path, sizes, **given)
    lines = file.read_text().splitlines()
    places = {line.strip().split(":")[0]: at for at, line in reversed([*enumerate(lines, 1)])}
    with pytest.raises(SelfImproveError) as raised:
        load(file)
    assert str(raised.value).removeprefix(f"{tmp_path}/") == expected.format(folder=tmp_path, **places)


def test_a_cluster_of_the_recipe_and_the_mixtures_that_ship(tmp_path: Path) -> None:
    file = write(tmp_path, {"one": 3, "held": 3})
    with pytest.raises(RecipeError, match="has no cluster 'cluster of on'; did you mean 'cluster of one'"):
        load(file, hold_out=["cluster of on"])
    with pytest.raises(RecipeError, match="are held out, and none is left to train on"):
        load(file, hold_out=["cluster of one", "cluster of held"])
    with pytest.raises(RecipeError, match="no mixture 't1' in policies/mixtures; known: t0"):
        load_task(MixtureTask(name="mixture/t1"))
    assert len(load_mixture("t0")[0].data_sets) == 17


@pytest.mark.long
def test_the_shipped_mixture_over_public_data(data_folder: Path) -> None:
    task = load_task(MixtureTask(name="mixture/t0", path=str(data_folder), held_out=20))
    assert isinstance(task, Mixture) and not task.remarks and len(task.held_out()) == 100
    assert {one.group.split(":")[0] for one in task.held_out()} == {"paraphrase", "sentiment"}
    drawn = draw(task, 1000)
    assert not any(one.reason for one in drawn) and all(one.prompt and one.completion for one in drawn)
    assert len({(one.source.name, one.template) for one in drawn}) > 45
    assert not any("<|endoftext|>" in one.completion for one in drawn)
