"""Every setting of a recipe that is given a value of another kind says so in one line of plain words."""

import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from selfimprove.errors import RecipeError, plain_words
from selfimprove.recipe import compose
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.yaml import _variants

PLAIN = {"name": "plain", "model": {"path": "some/model"}, "train": {"name": "arithmetic"}}
LIBRARY = re.compile(r"should |instance|Input|String|valid |unable to|pydantic|Value error")
VALUES = [-1, 10**12, 1.5, float("nan"), float("inf"), True, None, [[]], {"a": 1}, "", "8 GB", "\x1b[2J", "x" * 5000,
          "~nobody/x", ["a", "a"]]  # fmt: skip


def settings_of(model: type[BaseModel], before: str = "", depth: int = 0) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{before}{name}"
        for inner in _variants(field.annotation) if depth < 4 else ():
            yield from settings_of(inner, f"{before}{name}.", depth + 1)


def test_what_is_wrong_with_a_setting_is_said_in_plain_words() -> None:
    names, refused = sorted({*settings_of(compose(PLAIN))}), 0
    for at, name in enumerate(names):
        for value in ("many", VALUES[at % len(VALUES)]):
            try:
                load_recipe(PLAIN, {name: value})
            except RecipeError as error:
                refused += 1
                said = str(error)
                assert "\n" not in said and len(said) < 1500, (name, value)
                assert not LIBRARY.search(said.replace("valid YAML", "")), said
    assert refused > len(names) > 300


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine.vllm.cache": "8 GB"}, "must be digits and then K, M or G, such as 512M or 8G, not '8 GB'"),
        ({"prompt.stop": [""]}, "'prompt.stop.0' must not be empty"),
        (
            {"train": {"name": "jsonl", "path": "a\0b"}},
            r"'train.path' holds the character \0, which no file's name has",
        ),
        ({"name": "../up"}, "'name' is '../up'; write 1 to 100 of letters"),
    ],
)
def test_a_setting_that_no_file_or_server_could_take(change: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        load_recipe(PLAIN, change)


def test_a_name_that_no_file_can_have_is_a_missing_file() -> None:
    assert load_recipe(PLAIN, {"constitution": None, "model.path": "x" * 5000}).model.path == "x" * 5000
    with pytest.raises(RecipeError, match="no such"):
        load_recipe("x" * 300 + ".yaml")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Input should be a valid integer, unable to parse string as an integer", "must be a whole number"),
        ("Unable to parse input string as an integer, exceeded maximum size", "must be a whole number"),
        ("Input should be greater than or equal to 20", "must be at least 20"),
        ("Tuple should have at least 2 items after validation, not 1", "must have at least 2 entries"),
        ("String should match pattern '^x$'", "must be of the form ^x$"),
        ("Value error, name a file", "name a file"),
        ("something of a plugin", "something of a plugin"),
    ],
)
def test_plain_words(said: str, words: str) -> None:
    assert plain_words(said) == words
