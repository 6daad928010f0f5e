"""Makes the generated parts of the documents again: what stands between `<!-- made by: COMMAND -->` and `<!-- end -->`.

`python tests/make_docs.py` writes them, `--check` only says which are stale; `tree`, `layers`, `commands`, `policies`,
`constitutions` and `benchmarks` print one of the parts.
"""

import argparse
import ast
import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from selfimprove.shipping.documents import MADE

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PACKAGE = ROOT / "selfimprove"
OWN = "python tests/make_docs.py "


def documents() -> list[Path]:
    """All README files of the repository."""
    folders = (PACKAGE, ROOT / "policies", TESTS)
    return [ROOT / "README.md", *(path for folder in folders for path in sorted(folder.rglob("README.md")))]


def about(path: Path) -> str:
    """The first line of a module's docstring, or of a package's."""
    text = ast.get_docstring(ast.parse((path / "__init__.py" if path.is_dir() else path).read_text())) or ""
    return " ".join(text.split("\n\n")[0].split()).partition(". ")[0].rstrip(".")


def tree() -> str:
    """The package, each module with its first line."""
    lines = ["```", "selfimprove/"]

    def walk(folder: Path, depth: int) -> None:
        modules = [path for path in folder.glob("*.py") if path.stem not in ("__init__", "__main__")]
        packages = [path.parent for path in folder.glob("*/__init__.py")]
        for path in sorted((*modules, *packages), key=lambda path: (path.is_dir(), path.name)):
            name = "  " * depth + path.name + ("/" if path.is_dir() else "")
            lines.append(f"{name:<26} {about(path)}")
            if path.is_dir():
                walk(path, depth + 1)

    walk(PACKAGE, 1)
    return "\n".join([*lines, "```"])


def layers() -> str:
    """The rows of the architecture's test: each imports only from those above it."""
    body = ast.parse((TESTS / "test_architecture.py").read_text()).body  # importing it would read the whole package
    rows = next(ast.literal_eval(one.value) for one in body if isinstance(one, ast.Assign) and _is_rows(one))
    return "\n".join(f"{at}. {', '.join(f'`{unit}`' for unit in sorted(row))}" for at, row in enumerate(rows, 1))


def _is_rows(node: ast.Assign) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "ROWS" for one in node.targets)


def commands() -> str:
    """Every command with its first sentence and its options."""
    from typer.main import get_command

    from selfimprove.cli.app import app

    def walk(command: Any, name: str) -> Iterator[str]:
        for each, below in sorted(getattr(command, "commands", {}).items()):
            yield from walk(below, f"{name} {each}")
        if not hasattr(command, "commands"):
            said = (command.help or "").strip().split("\n\n")[0]
            given = [one for one in command.params if one.param_type_name == "argument"]
            names = [one.metavar or one.name.upper() for one in given]
            arguments = " ".join(name if one.required else f"[{name}]" for name, one in zip(names, given, strict=True))
            options = ", ".join(f"`{one.opts[0]}`" for one in command.params if one not in given and one.name != "help")
            yield f"| `{' '.join(f'{name} {arguments}'.split())}` | {' '.join(said.split())} | {options} |"

    rows = walk(get_command(app), "selfimprove")
    return "\n".join(["| command | what it does | options |", "| --- | --- | --- |", *rows])


def first_comment(path: Path) -> str:
    """The comment at the head of a YAML file."""
    lines = []
    for line in path.read_text().split("\n"):
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def said_of(path: Path) -> str:
    """What a policy file says of itself."""
    if path.suffix == ".jsonl":
        what = "seed tasks of the stage `instruct`" if path.parent.name == "seeds" else "open prompts"
        return f"{len(path.read_text().splitlines())} {what}"
    data = yaml.safe_load(path.read_text())
    said = data.get("description") if isinstance(data, dict) else ""
    return str(said or first_comment(path)).partition(". ")[0].rstrip(".")


def policies() -> str:
    """The files under policies/, by folder."""
    rows = []
    for folder in sorted(path for path in (ROOT / "policies").iterdir() if path.is_dir()):
        for path in sorted(folder.iterdir()):
            if path.suffix in (".yaml", ".jsonl"):
                rows.append(f"| `{folder.name}/{path.name}` | {said_of(path)} |")
    return "\n".join(["| file | what it is |", "| --- | --- |", *rows])


def constitutions() -> str:
    """The constitutions that are shipped, each with its principles."""
    from selfimprove.constitution.file import load_constitution

    rows = []
    for path in sorted((ROOT / "policies" / "constitutions").glob("*.yaml")):
        found = load_constitution(path)
        ids = ", ".join(f"`{one.id}`" for one in found.principles)
        rows.append(f"| `{found.name}` | {found.description} | {ids} |")
    return "\n".join(["| constitution | what it is for | principles |", "| --- | --- | --- |", *rows])


def benchmarks() -> str:
    """The scripts that print tables, each with its first line."""
    rows = [f"| `{path.name}` | {about(path)} |" for path in sorted((TESTS / "benchmarks").glob("*.py"))]
    return "\n".join(["| script | what it measures |", "| --- | --- |", *rows])


PARTS: dict[str, Callable[[], str]] = {
    one.__name__: one for one in (tree, layers, commands, policies, constitutions, benchmarks)
}


def make(command: str) -> str | None:
    """What a command prints; None where it is none of those that are made again here, such as a long measurement."""
    if command.startswith(OWN):
        return PARTS[command.removeprefix(OWN)]()
    if not command.startswith("selfimprove "):
        return None
    from selfimprove.cli import main

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main(command.split()[1:])
    return output.getvalue().strip()


def remake(text: str) -> str:
    """A document with its generated parts made again."""

    def block(found: re.Match[str]) -> str:
        made = make(found["command"])
        return found[0] if made is None else f"<!-- made by: {found['command']} -->\n\n{made}\n\n<!-- end -->"

    return MADE.sub(block, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("part", nargs="?", choices=list(PARTS), help="print this part alone")
    parser.add_argument("--check", action="store_true", help="write nothing, and end with 1 where something is stale")
    given = parser.parse_args()
    if given.part:
        print(PARTS[given.part]())
        return
    stale = [(path, made) for path in documents() if (made := remake(path.read_text())) != path.read_text()]
    for path, made in stale:
        print(f"{path.relative_to(ROOT)} {'is stale' if given.check else 'written'}")
        if not given.check:
            path.write_text(made)
    sys.exit(bool(stale and given.check))


if __name__ == "__main__":
    main()
