"""JSON where YAML is read: recipes, exemplars, constitutions and settings that programs wrote."""

import json
from pathlib import Path
from typing import Any

import pytest

from selfimprove.constitution import load_constitution
from selfimprove.errors import RecipeError
from selfimprove.prompting.prompts import load_exemplars
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.yaml import Document

TEXTS = {
    "emoji": "\U0001f600",
    "not shown": "\x7f\x85\ufeff\u2028\x00",
    "marks": 'a: b, {c} #d "e" \\u0041 \\/ \t\n',
    "null": "null",
}
VALUES = {
    **TEXTS,
    "numbers": [1e-05, 1e100, -0.5, 7, True, None],
    "nested": [{"a": [[], {}]}],
    "1e-5": {"\U0001f600": 1},
}


@pytest.mark.parametrize("indent", [None, 1, "\t"])
@pytest.mark.parametrize("as_ascii", [True, False])
def test_what_json_dump_wrote_is_read_as_it_was_meant(indent: Any, as_ascii: bool) -> None:
    text = json.dumps(VALUES, indent=indent, ensure_ascii=as_ascii, separators=(",", ":"))
    document = Document(text, "own.json")
    assert document.data == VALUES
    if indent:
        assert document.lines["numbers", 0] == text[: text.index("1e-05")].count("\n") + 1
    inside = "\n".join(f"k{at}: {json.dumps(one)}" for at, one in enumerate(TEXTS.values()))  # as templates do
    assert list(Document(inside, "own.yaml").data.values()) == list(TEXTS.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "a",\n "name": "b"}', "^own.json:2: 'name' is set twice"),
        ('{"name": "\\ud83d"}', r"^own.json:1: holds half of a character \(.ud83d after ''\)"),
        ('{"name":\n "a"', "^own.json:3: did not find"),
        ('{"a": ' * 2000 + "1" + "}" * 2000, "nested too deeply"),
        ("{" + ",".join(f'"k{at}":1' for at in range(30_000)) + "}", "more than 20,000 keys and values"),
        ('{"seed": ' + "9" * 3000 + "}", "a number of 3,000 digits"),
        ("[1]", "expected a mapping"),
    ],
    ids=lambda one: one[:20],
)
def test_what_is_wrong_with_it_is_one_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Document(text, "own.json")


def test_recipes_exemplars_and_overrides_keep_an_emoji_in_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "\U0001f600"
    folder.mkdir()
    exemplars, recipe, problems = folder / "shown.json", folder / "recipe.json", folder / "own.jsonl"
    problems.write_text("")
    exemplars.write_text(json.dumps({"exemplars": [{"question": "\U0001f600?", "answer": "1"}]}))
    said = {"name": "own", "rounds": 0, "model": {"path": str(folder)}, "train": {"name": "jsonl", "path": "own.jsonl"}}
    recipe.write_text(json.dumps({**said, "stages": {"sft": {"learning_rate": 1e-05}}}, indent="\t"))
    loaded = load_recipe(
        recipe, [f"prompt.exemplars={json.dumps(str(exemplars))}", f"model.path={json.dumps(str(folder))}"]
    )
    assert (loaded.model.path, loaded.prompt.exemplars) == (str(folder), str(exemplars))
    assert getattr(loaded.train, "path", None) == str(problems)
    assert load_exemplars(loaded.prompt.exemplars, None)[0].question == "\U0001f600?"
    whole = load_recipe(recipe, [f"train={json.dumps({'name': 'jsonl', 'path': str(problems), 'held_out': 3})}"])
    assert getattr(whole.train, "path", None) == str(problems)
    constitution = folder / "own.json"
    constitution.write_text(json.dumps({"name": "own", "principles": [{"id": "kind", "text": "Be kind \U0001f600."}]}))
    assert load_constitution(constitution).principles[0].text == "Be kind \U0001f600."
    for half in ('"\\ud83d"', "\udcff"):
        with pytest.raises(RecipeError, match=r"^--set model.path: .* is no Unicode text$"):
            load_recipe(recipe, [f"model.path={half}"])
    with pytest.raises(RecipeError, match=r"^the recipe: holds half of a character"):
        load_recipe({**said, "name": "\ud83d"})
