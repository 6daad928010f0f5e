"""What a wheel holds besides the modules: setuptools' `build_py`, which also copies `policies/` and the documents.

They keep their paths in the repository, below `selfimprove/shipped/`; a checkout and an editable install read them in
the repository itself. `pyproject.toml` names the class; nothing of the package is imported while a wheel is built.
"""

from collections.abc import Iterator
from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[len(__name__.split(".")) - 1]
SHIPPED = ("README.md", "policies/**/*", "tests/benchmarks/README.md", "tests/screenshots/*")


def shipped_files() -> Iterator[Path]:
    """The files to copy, by their paths in the repository."""
    for pattern in SHIPPED:
        yield from sorted(path.relative_to(ROOT) for path in ROOT.glob(pattern) if path.is_file())


class BuildPy(build_py):  # type: ignore[misc]  # setuptools is not there where types are checked
    """Copies the shipped files next to the modules, except for an editable install."""

    def _shipped(self) -> dict[str, Path]:
        if self.editable_mode:
            return {}
        return {str(Path(self.build_lib, "selfimprove", "shipped", path)): path for path in shipped_files()}

    def run(self) -> None:
        super().run()
        for target, path in self._shipped().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(str(ROOT / path), target, preserve_mode=False)

    def get_outputs(self, include_bytecode: object = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._shipped()]

    def get_output_mapping(self) -> dict[str, str]:
        return {**super().get_output_mapping(), **{target: str(path) for target, path in self._shipped().items()}}

    def get_source_files(self) -> list[str]:
        """What a source distribution takes along."""
        return [*super().get_source_files(), *map(str, shipped_files())]
