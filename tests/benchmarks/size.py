"""How large the package is and what a stage costs it, so that two checkouts can be set side by side.

    python tests/benchmarks/size.py [CHECKOUT ...] [--stages rationalize repair generate]

Counted in each checkout's folder `selfimprove`, with the standard library alone: Python files and lines, modules at the
top, packages, layers (the rows of `test_architecture`), the name `Any`, functions over 60 lines, files over 400
lines, and the files in which a stage is named: its name as a whole text, or as an attribute of `stages`.
"""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("rationalize", "repair", "prefer", "revise", "dpo", "generate", "select", "sft", "warmup", "promote")
"""Those whose names are not a command's or a record's as well."""
LONG_FUNCTION, LONG_FILE = 60, 400  # lines


def functions(tree: ast.AST) -> Iterator[int]:
    """The lines of each function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def layers(checkout: Path) -> int:
    """The rows of who may import whom, in the test that walks the imports."""
    for node in ast.walk(ast.parse((checkout / "tests" / "test_architecture.py").read_text())):
        named = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("ROWS", "LAYERS")
        if named and isinstance(node.value, ast.Tuple | ast.List):
            return len(node.value.elts)
    return 0


def names_stage(tree: ast.AST, name: str) -> bool:
    """Whether a module names a stage: by its name as a whole text, or as an attribute of `stages`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == name:
            return True
        if isinstance(node, ast.Attribute) and node.attr == name and ast.unparse(node.value).endswith("stages"):
            return True
    return False


def measure(checkout: Path, stages: list[str]) -> dict[str, str]:
    """The figures of a checkout by what is counted."""
    package = checkout / "selfimprove"
    texts = {path: path.read_text() for path in sorted(package.rglob("*.py"))}
    trees = [ast.parse(text) for text in texts.values()]
    lines = {path: len(text.splitlines()) for path, text in texts.items()}
    lengths = [length for tree in trees for length in functions(tree)]
    names = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "Any"]
    touched = {name: sum(names_stage(tree, name) for tree in trees) for name in stages}
    top = [path for path in texts if path.parent == package]
    return {
        "Python files": f"{len(texts):,}",
        "lines": f"{sum(lines.values()):,}",
        "lines of tests": f"{sum(len(one.read_text().splitlines()) for one in (checkout / 'tests').rglob('*.py')):,}",
        "modules at the top": str(len(top)),
        "packages": str(len(list(package.glob("*/__init__.py")))),
        "layers": str(layers(checkout)),
        "`Any`": str(len(names)),
        "`Any` in 1,000 lines": f"{1000 * len(names) / sum(lines.values()):.1f}",
        f"functions over {LONG_FUNCTION} lines": str(sum(length > LONG_FUNCTION for length in lengths)),
        "lines of the longest function": str(max(lengths)),
        f"files over {LONG_FILE} lines": str(sum(count > LONG_FILE for count in lines.values())),
        "files that name a stage, median": f"{median(touched.values()):g}",
        "files that name a stage, most": f"{max(touched.values())} ({max(touched, key=lambda name: touched[name])})",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[ROOT])
    parser.add_argument("--stages", nargs="+", default=list(STAGES))
    options = parser.parse_args()
    found = [measure(checkout, options.stages) for checkout in options.checkouts]
    print(f"| | {' | '.join(one.resolve().name for one in options.checkouts)} |\n| --- |{' ---: |' * len(found)}")
    for name in found[0]:
        print(f"| {name} | {' | '.join(one[name] for one in found)} |")


if __name__ == "__main__":
    main()
