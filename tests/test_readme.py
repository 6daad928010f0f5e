"""What the README says can be typed as it stands: commands, options, settings and files."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from selfimprove.cli import main
from selfimprove.recipe.file import load_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line[line.index("selfimprove ") :].replace("\\\n", " ")
    for block in BLOCKS
    for line in re.sub(r"\\\n\s*", "", block).splitlines()
    if re.match(r"(\.venv/bin/)?selfimprove |.*&& \.venv/bin/selfimprove ", line)
]


def help_of(*command: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert not end.value.code
    return output.getvalue()


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_options_exist(line: str) -> None:
    words = shlex.split(line.split("#")[0])
    shown = help_of(*words[1 : 3 if words[1] in ("constitution", "prompts") else 2])
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


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?:policies|selfimprove|tests)/[\w./-]+\.(?:ya?ml|py|md)", README)))
)
def test_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", ["main", "tests"])
def test_the_two_commands_are_marked_for_ci(name: str) -> None:
    assert len(re.findall(rf"^<!-- {name} -->\n```sh\n.+?```$", README, re.MULTILINE | re.DOTALL)) == 1


def test_the_tree_names_every_module() -> None:
    for path in sorted((ROOT / "selfimprove").iterdir()):
        if path.name not in ("__pycache__", "__init__.py"):
            assert path.name in README, path.name
