"""The arrows between modules, the homes of heavy packages, and what the code must never do."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import selfimprove

PACKAGE = Path(selfimprove.__file__).parent
SOURCES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}

# A package imports only from rows above its own, and may import itself; what a stage is stands above the stages.
ROWS = (
    {"errors"},
    {"settings"},
    {"records"},
    {"shipping"},
    {"recipe"},
    {"prompting"},
    {"tasks"},
    {"people"},
    {"engines"},
    {"verifiers"},
    {"constitution"},
    {"store"},
    {"trainers"},
    {"doctor"},
    {"stages.base"},
    {"stages"},
    {"running"},
    {"results"},
    {"viewer"},
    {"cli"},
    {"__main__", "__init__"},
)
ROW = {unit: number for number, row in enumerate(ROWS) for unit in row}

# What a stage may know of the packages above it: protocols, records and settings; what it touches is on its desk.
STAGES_MAY_IMPORT = (
    {
        "errors",
        "records",
        "records.collapse",
        "records.stats",
        "settings",
        "recipe",
        "recipe.flow",
        "recipe.budget",
        "recipe.catalog",
        "recipe.controllers",
        "recipe.yaml",
        "recipe.reinforcement",
    }
    | {"recipe.task_settings", "prompting.prompts", "prompting.phrases", "tasks", "tasks.addition", "tasks.standard"}
    | {"tasks.mixture_draw", "prompting", "prompting.instructions", "prompting.rouge"}
    | {"engines.build", "engines.model_files", "engines.model_folders", "engines.tensors"}
    | {"stages.base", "store", "store.join", "store.light", "store.order", "store.rows"}
    | {"trainers.job", "trainers.rewarding"}
    | {f"{unit}{base}" for unit in ("engines", "verifiers") for base in ("", ".base")}
    | {f"constitution{part}" for part in ("", ".adherence", ".checks", ".model", ".transcript", ".trial")}
)
# What a stage is made of. All of it is imported from `stages.base`, and it knows what a desk shows.
DECLARATION = {"stages.base", "stages.cost", "stages.desk", "stages.round"}
DECLARATION_MAY_IMPORT = {
    "recipe.budget", "recipe.catalog", "constitution", "constitution.transcript", "engines", "recipe.flow",
    "verifiers.judging", "records.collapse",
    "prompting.prompts", "recipe", "records", "settings", "store", "tasks", "tasks.standard", "trainers.job",
    "tasks.pairs", "trainers.rewarding", "store.join", "store.rows",
}  # fmt: skip
# Names of a package that holds more than a stage may touch: how a closed stage is described, and not its disk.
STAGES_MAY_NAME = {"store": {"Manifest"}}
# A stage may build on another one's functions; which do so is said here.
STAGES_TOGETHER = {
    "advice": {"offers", "rules"},
    "asking": {"evaluate", "generate", "score", "verify", "vote"},
    "best": {"as_sampled", "label"},
    "comply": {"compare"},
    "decide": {"advice", "asking", "evaluate", "health", "offers", "promote", "rules", "select", "split"},
    "distill": {"as_sampled", "training"},
    "dpo": {"prefer", "training"},
    "earlier": {"revise"},
    "evaluate": {"asking", "critique_examples", "generate", "revise", "split", "vote"},
    "failed": {"generate"},
    "forms": {"critique"},
    "frontier": {"isolate", "passes", "select", "vote"},
    "gains": {"compare", "weigh"},
    "hint_check": {"earlier"},
    "health": {"archive", "earlier", "passes", "select"},
    "instruct": {"proposing"},
    "kl": {"generate"},
    "label": {"as_sampled"},
    "mix": {"sft"},
    "offers": {"rules"},
    "pairing": {"as_sampled", "passes"},
    "prefer": {"as_sampled", "compare", "earlier", "pairing", "select"},
    "probe": {"earlier", "generate", "passes", "select", "verify"},
    "problems": {"evaluate"},
    "propose": {"proposing", "select"},
    "promote": {"asking", "comply", "evaluate", "split"},
    "rank": {"as_sampled"},
    "rules": {"archive"},
    "rationalize": {"failed", "generate", "verify"},
    "repair": {"failed", "generate", "verify"},
    "revise": {"critique", "failed", "forms", "gains", "generate", "relevance", "taking", "weigh"},
    "reward": {"prefer", "reward_figures", "training"},
    "rl": {"as_sampled", "audit", "training"},
    "round_parts": {"earlier"},
    "select": {"as_sampled", "balance", "earlier", "generate", "hint_check", "kl", "passes", "revise", "round_parts"}
    | {"critique_examples", "vote", "whole_round"},
    "sft": {"balance", "compare", "frontier", "prefer", "select", "critique_examples", "training"},
    "taking": {"earlier", "generate"},
    "critique_examples": {"passes"},
    "verify": {"generate", "select", "vote"},
    "warmup": {"training"},
    "weigh": {"critique"},
    "whole_round": {"vote"},
}

# The viewer reads what a run left behind; it knows nothing of how it was made.
VIEWER_MAY_IMPORT = {"people", "recipe", "errors", "records", "shipping", "store", "constitution"}

# Where a package may be imported: in a package of ours, or in one module.
HOMES = {
    "trl": {"trainers"},
    "duckdb": {"store", "tasks.sql"},
    "networkx": {"records", "verifiers"},
    "pyarrow": {"store", "trainers", "results", "tasks.tables"},
    "peft": {"engines", "trainers"},
    "scipy": {"records", "running"},  # a run imports it early, on the imports' account
    "typer": {"cli"},
    "vllm": {"engines"},
    "aiohttp": {"engines"},
    "rapidfuzz": {"prompting"},
    "sympy": {"verifiers"},
    "math_verify": {"verifiers"},
    "latex2sympy2_extended": {"verifiers"},
    "reasoning_gym": {"tasks"},
    "ray": {"running"},
    "fastapi": {"viewer"},
    "starlette": {"viewer"},
    "jinja2": {"viewer", "prompting.sandbox_worker"},  # the second is a process of its own, which nothing imports
    "markupsafe": {"viewer"},
    "markdown_it": {"viewer"},
    "latex2mathml": {"viewer"},
    "setuptools": {"shipping.build_wheel"},
    "uvicorn": {"viewer"},
    "matplotlib": {"viewer"},
    "trackio": {"trainers"},
    "wandb": {"trainers"},
    "mlflow": {"trainers"},
}
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "duckdb",
    "networkx",
    "pyarrow",
    "scipy",
    "vllm",
    "aiohttp",
    "ray",
    "fastapi",
    "starlette",
    "uvicorn",
    "jinja2",
    "matplotlib",
    "tensorboard",
    "trackio",
    "wandb",
    "mlflow",
}

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "sympify", "parse_expr", "system", "popen", "unsafe_load"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_KEYWORDS = {("trust_remote_code", True), ("weights_only", False), ("shell", True), ("use_safetensors", False)}


def unit_of(module: str) -> str:
    """The package of a module; what a stage is stands for itself."""
    return "stages.base" if module in DECLARATION else module.split(".")[0]


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, lazily too; those of the package as `selfimprove.…`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "selfimprove" else [module]


def own_imports(tree: ast.AST) -> set[str]:
    return {name.removeprefix("selfimprove.") for name in imports(tree) if name.startswith("selfimprove.")}


def wrong_arrows(module: str, tree: ast.AST) -> list[str]:
    """The imports of a module that its row does not allow."""
    unit = unit_of(module)
    return sorted(
        f"{module} imports {target}"
        for target in own_imports(tree)
        if unit_of(target) != unit and not ROW[unit_of(target)] < ROW[unit]
    )


def homeless(module: str, tree: ast.AST) -> list[str]:
    """Packages that a module imports and that live elsewhere."""
    roots = {name.split(".")[0] for name in imports(tree)}
    own = {module, unit_of(module)}
    return sorted(f"{module} imports {name}" for name in roots & HOMES.keys() if not own & HOMES[name])


def forbidden(module: str, tree: ast.AST) -> list[str]:
    """What would run code from data, or load it from a hub."""
    found = [f"{module} imports {name}" for name in imports(tree) if name.split(".")[0] in FORBIDDEN_MODULES]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        # model.eval() is torch's and harmless; re.compile too. As bare names, or of any other owner, they are not.
        name = node.func.id if isinstance(node.func, ast.Name) else str(getattr(node.func, "attr", ""))
        harmless = isinstance(node.func, ast.Attribute) and name in ("eval", "compile")
        if name in FORBIDDEN_CALLS and not harmless:
            found.append(f"{module}:{node.lineno} calls {name}")
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if (keyword.arg, value) in FORBIDDEN_KEYWORDS:
                found.append(f"{module}:{node.lineno} sets {keyword.arg}={value!r}")
    return found


TREES = {module: ast.parse(path.read_text()) for module, path in SOURCES.items()}


def test_every_module_has_a_row() -> None:
    assert {unit_of(module) for module in TREES} == ROW.keys()
    assert len(TREES) > 40


@pytest.mark.parametrize("module", TREES)
def test_arrows_point_upwards(module: str) -> None:
    if module == "__init__":  # for those who check types; `test_an_import_loads_nothing_heavy` looks at the others
        assert {unit_of(target) for target in own_imports(TREES[module])} == {"errors", "results"}
    assert wrong_arrows(module, TREES[module]) == []


@pytest.mark.parametrize("module", [module for module in TREES if module.startswith("stages.")])
def test_a_stage_knows_no_disk_and_few_other_stages(module: str) -> None:
    if module == "stages.__init__":  # it names them all
        return
    if module in DECLARATION:
        assert own_imports(TREES[module]) - DECLARATION <= DECLARATION_MAY_IMPORT
        return
    beside = {target for target in own_imports(TREES[module]) if target not in STAGES_MAY_IMPORT}
    assert beside <= {f"stages.{other}" for other in STAGES_TOGETHER.get(module.removeprefix("stages."), ())}
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and (package := str(node.module).removeprefix("selfimprove.")):
            assert package not in STAGES_MAY_NAME or {one.name for one in node.names} <= STAGES_MAY_NAME[package]


@pytest.mark.parametrize(
    "module",
    [f"running.{one}" for one in ("plan", "loop", "estimate", "remarks", "cluster", "parts", "report", "flow_tree")],
)
def test_what_runs_stages_knows_them_by_their_declarations(module: str) -> None:
    """A stage of another's is planned, estimated, run and reported like one of this package's."""
    assert {one for one in own_imports(TREES[module]) if one.startswith("stages")} <= DECLARATION


@pytest.mark.parametrize("module", [module for module in TREES if unit_of(module) == "viewer"])
def test_the_viewer_knows_only_what_lies_on_disk(module: str) -> None:
    assert {unit_of(target) for target in own_imports(TREES[module])} - {"viewer"} <= VIEWER_MAY_IMPORT


@pytest.mark.parametrize("module", TREES)
def test_heavy_packages_stay_in_their_homes(module: str) -> None:
    assert homeless(module, TREES[module]) == []


@pytest.mark.parametrize("module", TREES)
def test_nothing_runs_code_from_data(module: str) -> None:
    assert forbidden(module, TREES[module]) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("records.text", "from selfimprove.recipe import Recipe", ["records.text imports recipe"]),
        (
            "tasks.base",
            "def f():\n    from selfimprove.verifiers.base import Verifier",
            ["tasks.base imports verifiers.base"],
        ),
        ("store.run", "import selfimprove.running.loop", ["store.run imports running.loop"]),
        ("recipe.file", "from selfimprove import prompting", ["recipe.file imports prompting"]),
        (
            "running.plan",
            "from selfimprove.running.loop import run_loop\nfrom selfimprove.stages.select import select",
            [],
        ),
        ("viewer.app", "from selfimprove.cli import main", ["viewer.app imports cli"]),
    ],
)
def test_a_wrong_arrow_is_seen(module: str, source: str, found: list[str]) -> None:
    assert wrong_arrows(module, ast.parse(source)) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("eval('1')", ["x:1 calls eval"]),
        ("import builtins\nbuiltins.exec('1')", ["x:2 calls exec"]),
        ("sympy.sympify(text)", ["x:1 calls sympify"]),
        ("from pickle import loads", ["x imports pickle"]),
        ("load('m', trust_remote_code=True)", ["x:1 sets trust_remote_code=True"]),
        ("torch.load('m', weights_only=False)", ["x:1 sets weights_only=False"]),
        ("model.eval(); re.compile('a'); load('m', trust_remote_code=False)", []),
    ],
)
def test_code_from_data_is_seen(source: str, found: list[str]) -> None:
    assert forbidden("x", ast.parse(source)) == found


def test_a_package_away_from_home_is_seen() -> None:
    tree = ast.parse("import networkx as nx\ndef f():\n    from trl.trainer import SFTTrainer")
    assert homeless("stages.sft", tree) == ["stages.sft imports networkx", "stages.sft imports trl"]
    assert homeless("trainers.sft", ast.parse("import trl")) == []
    assert homeless("prompting.chat", ast.parse("import jinja2")) == ["prompting.chat imports jinja2"]
    assert homeless("prompting.sandbox_worker", ast.parse("import jinja2")) == []


def loaded_by(code: str) -> tuple[set[str], str]:
    """The packages that a fresh process has loaded after running code, and what it printed before."""
    code += "\nimport json, sys; print(); print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *text, modules = shown.rstrip("\n").split("\n")
    return set(json.loads(modules)), "\n".join(text)


HELP = """
import sys
from selfimprove.cli import main
sys.argv = ["selfimprove", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize("module", ["selfimprove", "selfimprove.cli.app", "selfimprove.recipe.file"])
def test_an_import_loads_nothing_heavy(module: str) -> None:
    loaded, _ = loaded_by(f"import {module}")
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    loaded, shown = loaded_by(HELP.format(arguments=arguments))
    assert "Usage: selfimprove" in shown and "selfimprove" in loaded
    assert loaded & HEAVY == set()


def loads_of(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that read a model's files through transformers or peft."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained":
            yield node


def test_models_are_read_in_one_place_and_their_code_is_never_run() -> None:
    assert {module for module, tree in TREES.items() if any(loads_of(tree))} == {"engines.models"}
    tree = TREES["engines.models"]
    plain = next(
        one for one in ast.walk(tree) if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "PLAIN"
    )
    assert ast.literal_eval(plain.value) == {"trust_remote_code": False}
    for call in loads_of(tree):
        name = ast.unparse(call.func)
        passed = [ast.unparse(one.value) for one in call.keywords if one.arg is None]
        # These two read settings and tensors alone, and take no such argument.
        assert name.split(".")[0] in ("GenerationConfig", "PeftModel") or passed == ["PLAIN"], name
