"""Loops in which a language model teaches itself, and that can say where each trained token came from.

From Python: `import selfimprove as si`, then `si.run`, `si.load` and `si.verify` (selfimprove/results/README.md).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfimprove.errors import SelfImproveError
    from selfimprove.results.rows import Rows, Trace
    from selfimprove.results.run import Round, Run, load, run
    from selfimprove.results.verify import Verification, verify

__version__ = "0.1.0"
__all__ = ["Round", "Rows", "Run", "SelfImproveError", "Trace", "Verification", "load", "run", "verify"]

# Imported when they are asked for, so that importing the package costs nothing.
_HOMES = {
    "SelfImproveError": "errors",
    **dict.fromkeys(("Rows", "Trace"), "results.rows"),
    **dict.fromkeys(("Round", "Run", "load", "run"), "results.run"),
    **dict.fromkeys(("Verification", "verify"), "results.verify"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'selfimprove' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"selfimprove.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
