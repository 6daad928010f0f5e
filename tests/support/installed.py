"""The package as users have it: its wheel, installed alone."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from places import REPOSITORY


def install_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout and unpack it into a folder below; its dependencies stay where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("selfimprove", "policies", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.sqlite")
        shutil.copytree(REPOSITORY / name, folder / "source" / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, "."]
    subprocess.run(command, cwd=folder / "source", check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    shutil.rmtree(folder / "source")
    return folder / "site"
