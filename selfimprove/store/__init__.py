"""Runs on disk: Parquet parts, stage manifests, queries."""

from selfimprove.store.manifest import Manifest
from selfimprove.store.run import RunFolder, find_run
from selfimprove.store.stage import StageFolder

__all__ = ["Manifest", "RunFolder", "StageFolder", "find_run"]
