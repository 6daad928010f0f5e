"""What a constitution says and what it changed in a run, for its page."""

import os
from datetime import UTC, datetime
from typing import Any

from selfimprove.constitution import Constitution, load_constitution
from selfimprove.constitution.show import compare, describe_check, describe_scope
from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.records.files import read_bounded
from selfimprove.store.principles import read_report
from selfimprove.store.query import Query
from selfimprove.store.run import CONSTITUTION, MAX_TEXT
from selfimprove.viewer.library import Library, Run


def read(run: Run, other: Run | None) -> dict[str, Any] | None:
    """The principles with their figures and examples, and the diff to another run's; None where there is none."""
    if not os.path.lexists(run.folder.path / CONSTITUTION):
        return None
    loaded, error, changes, raw = None, "", [], ""
    try:
        path = run.folder.check_text(CONSTITUTION)
        raw = read_bounded(path, MAX_TEXT)
        loaded = load_constitution(path, alone=True)
        if other:
            changes = list(compare(load_constitution(other.folder.check_text(CONSTITUTION), alone=True), loaded))
    except SelfImproveError as problem:
        error = str(problem)
    figures = run.keep("principles", lambda: _figures(run))
    principles = [
        {"principle": one, "check": describe_check(one.check) if one.check else "", "scope": describe_scope(one.scope)}
        for one in (loaded.principles if loaded else ())
    ]
    return {"constitution": loaded, "principles": principles, "figures": figures, "error": error, "changes": changes,
            "raw": raw[:200_000]}  # fmt: skip


def _figures(run: Run) -> list[dict[str, object]]:
    try:
        return read_report(Query(run.folder))
    except StoreError:  # nothing was criticised yet, or a file is torn: the banner names it
        return []


def read_versions(library: Library, name: str) -> list[dict[str, object]]:
    """The constitutions of the name of a run's own in all runs of the folder, each text once, in the order of time.

    The time is that at which a version was first written into one of the runs that are there; `changes` says what it
    changed against the version before.
    """
    own = library.constitution(name)
    if own is None:
        return []
    found: dict[str, dict[str, Any]] = {}
    for other in library.folders():
        kept = library.constitution(other)
        if kept is None or kept[1].name != own[1].name:
            continue
        written, loaded = kept
        version = found.setdefault(loaded.hash, {"constitution": loaded, "written": written, "runs": []})
        version["written"] = min(version["written"], written)
        version["runs"].append(other)
    versions = sorted(found.values(), key=lambda one: (one["written"], one["constitution"].hash))
    before: Constitution | None = None
    for one in versions:
        one["own"] = one["constitution"].hash == own[1].hash
        one["at"] = datetime.fromtimestamp(one["written"], UTC).strftime("%Y-%m-%d %H:%M UTC")
        one["changes"] = list(compare(before, one["constitution"])) if before else []
        before = one["constitution"]
    return versions
