"""What a constitution says and what it changed in a run, for its page."""

from typing import Any

from selfimprove.constitution import load_constitution
from selfimprove.constitution.show import compare, describe_check, describe_scope
from selfimprove.errors import SelfImproveError, StoreError
from selfimprove.store.principles import read_report
from selfimprove.store.query import Query
from selfimprove.store.run import CONSTITUTION
from selfimprove.viewer.library import Run


def read(run: Run, other: Run | None) -> dict[str, Any] | None:
    """The principles with their figures and examples, and the diff to another run's; None where there is none."""
    path = run.folder.path / CONSTITUTION
    if not path.is_file():
        return None
    loaded, error, changes = None, "", []
    try:
        loaded = load_constitution(path)
        if other:
            changes = list(compare(load_constitution(other.folder.path / CONSTITUTION), loaded))
    except SelfImproveError as problem:
        error = str(problem)
    figures = run.keep("principles", lambda: _figures(run))
    principles = [
        {"principle": one, "check": describe_check(one.check) if one.check else "", "scope": describe_scope(one.scope)}
        for one in (loaded.principles if loaded else ())
    ]
    return {"constitution": loaded, "principles": principles, "figures": figures, "error": error, "changes": changes,
            "raw": path.read_text(errors="replace")[:200_000]}  # fmt: skip


def _figures(run: Run) -> list[dict[str, Any]]:
    try:
        return read_report(Query(run.folder))
    except StoreError:  # nothing was criticised yet, or a file is torn: the banner names it
        return []
