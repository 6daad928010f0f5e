"""What closes a stage: `stage.json`, with the hash of each file that the stage made."""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from selfimprove.errors import StoreError
from selfimprove.records import hash_text
from selfimprove.records.files import Stamp, read_bounded, stamp_of
from selfimprove.store.links import find_detour

MANIFEST = "stage.json"
MAX_MANIFEST = 16 << 20  # bytes; a stage of 100,000 parts has one of 15 MB
KEPT = 1 << 16  # bytes; larger ones are read anew each time, so as not to fill the memory
CUT_OFF = "cut off"  # among the metrics of a stage: texts that ended at the longest length


class Seconds(BaseModel):
    """Where a stage's time went; `model` is loading, generating, scoring and training, and is part of `wall`.

    `wall` sums over all who worked at the same time, `elapsed` is what passed on the clock (as much as `wall` where it
    is not known). In `loaded` seconds an engine was loaded, in `idle` ones of them it neither wrote nor scored.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)
    wall: float = 0.0
    model: float = 0.0
    imports: float = 0.0
    cpu: float = 0.0
    elapsed: float | None = None
    loaded: float = 0.0
    idle: float = 0.0


class Manifest(BaseModel):
    """What closes a stage. Seconds and tokens sum over all processes that worked on it, up to what a kill took."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    round: int
    stage: str
    version: int
    fingerprint: str
    settings: dict[str, Any]
    main: str
    counts: dict[str, int]
    parts: int
    seconds: Seconds
    tokens: dict[str, int]
    metrics: dict[str, Any]
    packages: dict[str, str]
    files: dict[str, str]
    """The hash of each file."""
    sizes: dict[str, int]
    declared: str = ""
    """The stage's declared name, where it has another one in this run."""
    hash: str = ""
    """Of the rest of the manifest, where it is on disk."""


def last_measured(manifests: Sequence[Manifest], name: str) -> dict[str, Any]:
    """The figures of this name of the last stage that measured any; empty where none did."""
    return next((one.metrics[name] for one in reversed(manifests) if one.metrics.get(name)), {})


def read_manifest(path: Path, key: tuple[int, str]) -> Manifest | None:
    """The manifest of a stage (its round and its name); raises StoreError where it cannot be read."""
    reason = find_detour(path)
    try:
        manifest = None if reason else _read_once(path)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        reason = str(error.strerror if isinstance(error, OSError) else error)
    else:
        if manifest and (manifest.round, manifest.stage) == key:
            return manifest
        reason = reason or "it is another stage's"
    raise StoreError(
        f"{path}: damaged ({reason}); move it away and run the same command again: the stage's parts are kept"
    )


def _read_once(path: Path) -> Manifest:
    """A manifest, read again only where it was written or replaced since; raises OSError, or ValueError that says what
    is wrong."""
    stamp = stamp_of(path)
    return _read_stamped(stamp) if stamp[1] <= KEPT else _read(path)


@lru_cache(maxsize=1024)
def _read_stamped(stamp: Stamp) -> Manifest:
    return _read(Path(stamp[0]))


def _read(path: Path) -> Manifest:
    try:
        text = read_bounded(path, MAX_MANIFEST)
        manifest = Manifest.model_validate_json(text) if text else None
    except ValueError:
        raise ValueError("it is not what was written") from None
    if manifest is None:
        raise ValueError("it is empty")
    if manifest.hash and manifest.hash != hash_manifest(text):
        raise ValueError("its hash is not the one that stands in it")
    return manifest


def hash_manifest(text: str) -> str:
    """The hash of a manifest's text, without the one that stands in it."""
    values = json.loads(text)
    values.pop("hash", None)
    return hash_text(json.dumps(values, sort_keys=True))


def seal_manifest(manifest: Manifest) -> str:
    """A manifest's text, with its hash."""
    text = manifest.model_dump_json(indent=1, exclude={"hash"})
    return manifest.model_copy(update={"hash": hash_manifest(text)}).model_dump_json(indent=1)
