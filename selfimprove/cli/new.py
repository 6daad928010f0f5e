"""`selfimprove new`: an extension that works, with its test, made of the examples in stages/README.md."""

import re
from collections.abc import Iterator
from pathlib import Path

from selfimprove.errors import RecipeError, suggest
from selfimprove.recipe.catalog import Noun, find

GUIDE = Path(__file__).parent.parent / "stages" / "README.md"
EXAMPLES: dict[Noun, str] = {"stage": "shortest", "task": "doubles", "verifier": "contains"}
TESTS: dict[Noun, str] = {
    "stage": '''"""The stage NAME, in a run of seconds: an engine that adds by rule writes, a tiny model is trained."""

from pathlib import Path

from selfimprove.engines import ScriptedEngine
from selfimprove.engines.build import build_model
from selfimprove.recipe import Build
from selfimprove.recipe.catalog import import_file
from selfimprove.recipe.file import load_recipe
from selfimprove.records import Decision
from selfimprove.running.loop import run_loop
from selfimprove.store import RunFolder
from selfimprove.tasks.addition import parse_addition, write_rationale

import_file(str(Path(__file__).with_name("NAME.py")))
RECIPE = {
    "name": "tiny",
    "rounds": 1,
    "train": {"name": "arithmetic", "max_digits": 2, "seed_total_digits": 3, "held_out": 2},
    "stages": {
        "frontier": {"problems": 4},
        "generate": {"samples": 2},
        "NAME": {"keep": 1},
        "sft": {"steps": 2, "batch_size": 2},
    },
    "flow": ["frontier", "generate", "verify", "NAME", "sft", "evaluate"],
}


def solve(prompt: str, seed: int) -> str:
    asked = parse_addition(prompt)
    return write_rationale(int(asked[0]), int(asked[1])) if asked else ""


def test_a_run_with_it(tmp_path: Path) -> None:
    build_model(Build(hidden_size=32, intermediate_size=64, layers=1, heads=1), tmp_path / "model", 1)
    recipe = load_recipe({**RECIPE, "model": {"path": tmp_path / "model", "device": "cpu"}})
    folder = RunFolder(tmp_path / "run")
    run_loop(recipe, folder, load=lambda checkpoint, session: ScriptedEngine(solve))
    decisions = folder.stage(1, "NAME").read(Decision)
    assert sorted(one.kept for one in decisions) == [False] * 4 + [True] * 4
''',
    "task": '''"""The task NAME: what is held out cannot be drawn, and the same seed draws the same problems."""

from pathlib import Path

from selfimprove.recipe.catalog import find, import_file
from selfimprove.tasks import load_task

import_file(str(Path(__file__).with_name("NAME.py")))


def test_training_and_held_out_problems_are_apart() -> None:
    settings, _ = find("task", "NAME")
    task = load_task(settings())
    held_out = {one.question for one in task.held_out()}
    drawn = [one for group in task.levels for one in task.draw(group, 1000, seed=1)]
    assert held_out and drawn
    assert not held_out & {one.question for one in drawn}
    assert drawn == [one for group in task.levels for one in task.draw(group, 1000, seed=1)]
    assert task.fingerprint() == load_task(settings()).fingerprint()
''',
    "verifier": '''"""The verifier NAME, judging in its worker processes as a run does."""

from pathlib import Path

import pytest

import selfimprove as si
from selfimprove.recipe.catalog import import_file

import_file(str(Path(__file__).with_name("NAME.py")))


@pytest.mark.parametrize(
    ("response", "answer", "outcome"),
    [("it is 12 in all", "12", "correct"), ("it is 120", "12", "incorrect"), ("12", None, "undecided")],
)
def test_its_outcomes(response: str, answer: str | None, outcome: str) -> None:
    assert si.verify(response, answer, "NAME").outcome == outcome
''',
}


def write_extension(what: str, name: str, folder: Path) -> Iterator[Path]:
    """Write NAME.py and test_NAME.py into a folder and give their paths; raises RecipeError where one is there."""
    noun = next((one for one in EXAMPLES if one == what), None)
    if noun is None:
        raise RecipeError(f"new: '{what}' cannot be written{suggest(what, EXAMPLES)}; the guide shows the others")
    if not re.fullmatch("[a-z][a-z0-9_]{0,60}", name):
        raise RecipeError(f"new: '{name}' is no name: small letters, digits and _, and a letter first")
    if find(noun, name) is not None:
        raise RecipeError(f"new: there is a {what} '{name}' already; choose another name")
    example = EXAMPLES[noun]
    title, camel = example.capitalize(), "".join(word.capitalize() for word in name.split("_"))
    code = read_example(GUIDE.read_text(), example).replace(f'"{example}"', f'"{name}"')
    written = {f"{name}.py": re.sub(rf"\b{title}(?=\b|Task|Verifier)", camel, code)}
    written[f"test_{name}.py"] = TESTS[noun].replace("NAME", name)
    for file in written:
        if (folder / file).exists():
            raise RecipeError(f"new: {file} is there already, and nothing was written; choose another name")
    for file, text in written.items():
        try:
            with (folder / file).open("x", encoding="utf-8") as opened:
                opened.write(text)
        except OSError as error:
            raise RecipeError(f"new: {folder / file}: {error.strerror or error}") from None
        yield folder / file


def read_example(guide: str, name: str) -> str:
    """The code of an example in the guide."""
    found = re.search(rf"^<!-- {name}\.py -->\n```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    if found is None:
        raise RecipeError(f"{GUIDE}: holds no example '{name}'")
    return found[1]
