"""YAML that wants to be more than it is: refused in one line, at once and without memory, wherever it is read."""

import time
import tracemalloc
from pathlib import Path

import pytest

from selfimprove.constitution.file import check_constitution
from selfimprove.errors import RecipeError
from selfimprove.recipe.file import load_recipe
from selfimprove.recipe.yaml import MAX_BYTES, MAX_VALUES, Document, read_document

SECONDS = 3.0
MEMORY = 60 << 20


def repeat(first: str, each: str, levels: int = 9) -> str:
    """Nine values, each of which holds the one before nine times."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{at}: &a{at} {each.format(old=f'*a{at - 1}')}" for at in range(1, levels)]
    return "\n".join(lines)


NINE = ", ".join(["{old}"] * 9)
BOMBS = {
    "lists of lists": (repeat("[x, x]", f"[{NINE}]"), "aliases stand for more"),
    "maps of maps": (repeat("{k: x}", "{{" + ", ".join(f"k{at}: {{old}}" for at in range(9)) + "}}"), "aliases stand"),
    "merge keys": (repeat("{k: x}", f"{{{{<<: [{NINE}]}}}}"), "aliases stand for more"),
    "a million keys": ("".join(f"k{at}: 1\n" for at in range(90_000)), "more than 20,000 keys and values"),
    "comments": ("# nothing\n" * 300_000, "is too large"),
    "one text": (f"name: {'x' * 3_000_000}", "is too large"),
    "lists in lists": ("a: " + "[" * 500_000, "nested too deeply"),
    "steps in steps": ("- " * 100_000, "nested too deeply"),
    "an alias of itself": ("a: &a [*a]", "an alias of itself"),
    "a hexadecimal number": (f"seed: 0x{'f' * 5000}", "a number of 5,002 digits"),
    "a decimal number": (f"seed: {'9' * 5000}", "a number of 5,000 digits"),
    "a sexagesimal number": (f"seed: {'1:' * 5000}1", "a number of 10,001 digits"),
    "a fraction": (f"seed: {'9' * 5000}.5", "a number of 5,002 digits"),
    "unknown keys": ("".join(f"key{at}: 1\n" for at in range(9000)), "'train' is missing|unknown key"),
    "rounds": ("name: x\nmodel: {path: a/b}\ntrain: {name: arithmetic}\nrounds: 999999999", "'rounds' must be at most"),
    "digits": ("name: x\nmodel: {path: a/b}\ntrain: {name: arithmetic, max_digits: 99999}", "must be at most 100,"),
    "layers": (
        "name: x\nmodel: {build: {layers: 999999999}}\ntrain: {name: arithmetic}",
        "'model.build.layers' must be",
    ),
    "a count": (
        "name: x\nmodel: {path: a/b}\ntrain: {name: arithmetic}\nstages: {frontier: {problems: 99999999999}}",
        "'stages.frontier.problems' must be at most 100000000, not 99999999999",
    ),
    "a date": ("name: 2024-13-45", "month must be in"),
    "a tag": ("name: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name: str, tmp_path: Path, no_collection: None) -> None:
    text, message = BOMBS[name]
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(RecipeError, match=message) as caught:
            load_recipe(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < SECONDS
    assert peak < MEMORY
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    errors = check_constitution(path)[2]
    assert errors and all("\n" not in one for one in errors)
    assert time.process_time() - started < 2 * SECONDS


def test_what_is_large_and_whole_is_read(tmp_path: Path) -> None:
    text = "".join(f"k{at}: [a, {{b: 'some words of a text'}}]\n" for at in range(MAX_VALUES // 6 - 4))
    text += "base: &base {a: 1, b: 2}\nmore: {<<: *base, c: 3}\nagain: *base\n"
    document = Document(text + "#" * (MAX_BYTES - len(text)), "file")
    assert document.data["more"] == {"a": 1, "b": 2, "c": 3} and document.data["again"] == {"a": 1, "b": 2}
    assert document.lines["again",] == text.count("\n")


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read_document(path).data == {"name": "x"}


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_file_to_read(name: str) -> None:
    with pytest.raises(RecipeError, match="is no regular file"):
        read_document(Path(name))


@pytest.mark.parametrize("value", [f"0x{'f' * 5000}", "9" * 5000, "[" * 500, "&a [*a]"])
def test_an_override_is_bounded_too(value: str) -> None:
    with pytest.raises(RecipeError, match=r"--set seed: .* is not a YAML value"):
        load_recipe("arithmetic", [f"seed={value}"])


def test_a_seed_is_no_count() -> None:
    assert load_recipe("arithmetic", ["seed=99999999999"]).seed == 99_999_999_999
