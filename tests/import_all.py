"""Imports every module of the package but those that need an optional package, and says which cannot be imported."""

import importlib
import pkgutil
import sys

import selfimprove

OPTIONAL = {"ray", "vllm"}


def main() -> int:
    failed = 0
    for module in pkgutil.walk_packages(selfimprove.__path__, "selfimprove."):
        if module.name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except Exception as error:  # whatever another version raises is what this looks for
            if not (isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] in OPTIONAL):
                print(f"{module.name}: {type(error).__name__}: {error}", file=sys.stderr)
                failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
