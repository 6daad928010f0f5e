"""What the documents say can be typed as it is: commands, options, settings, recipes and files."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from make_docs import documents
from places import REPOSITORY

from selfimprove.cli import main
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.yaml import read_document

ROOT = REPOSITORY
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in documents()}
README = TEXTS["README.md"]


def blocks(language: str) -> list[str]:
    return [block for text in TEXTS.values() for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


COMMANDS = sorted(
    {
        line[line.index("selfimprove ") :].replace("\\\n", " ")
        for block in blocks("sh")
        for line in re.sub(r"\\\n\s*", "", block).splitlines()
        if re.match(r"(\.venv/bin/)?selfimprove |.*&& \.venv/bin/selfimprove ", line)
    }
)
RECIPES = [block for block in blocks("yaml") if re.search(r"^model:", block, re.MULTILINE)]


def help_of(*command: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert not end.value.code
    return output.getvalue()


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_options_exist(line: str) -> None:
    words = shlex.split(line.split("#")[0])
    shown = help_of(*words[1 : 3 if words[1] in ("constitution", "people", "prompts") else 2])
    for word in words[2:]:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word)}\b", shown), word


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--set" in line])
def test_settings_exist(line: str, tmp_path: Path) -> None:
    words = shlex.split(line.split("#")[0])
    changes = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    recipe = words[2] if not words[2].startswith("-") else "arithmetic"
    if (ROOT / "policies" / "recipes" / f"{recipe}.yaml").exists():
        load_recipe(recipe, changes)


@pytest.mark.parametrize("text", RECIPES)
def test_recipes_are_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.yaml"
    path.write_text(text)
    assert load_recipe(str(path)).name == read_document(path).data["name"]


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) >= 60 and len(RECIPES) >= 3


@pytest.mark.parametrize(
    "path",
    sorted(
        {path for text in TEXTS.values() for path in re.findall(r"(?:policies|tests)/[\w./-]+\.(?:ya?ml|py|md)", text)}
    ),
)
def test_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", ["main", "tests"])
def test_the_two_commands_are_marked_for_ci(name: str) -> None:
    assert len(re.findall(rf"^<!-- {name} -->\n```sh\n.+?```$", README, re.MULTILINE | re.DOTALL)) == 1


def test_the_first_page_is_short() -> None:
    assert len(README.encode()) <= 8192
