"""Files that belong to the package and are no modules: `policies/`, the documents and their pictures."""

from pathlib import Path

import selfimprove

PACKAGE = Path(selfimprove.__file__).resolve().parent
_INSTALLED = PACKAGE / "shipped"  # made by build_wheel.py
ROOT = _INSTALLED if _INSTALLED.is_dir() else PACKAGE.parent


def find_shipped(path: str) -> Path:
    """Where a file of the repository is, by its path there; a checkout and an installed wheel have the same files."""
    inside = path.removeprefix("selfimprove/")
    return ROOT / path if inside == path else PACKAGE / inside
