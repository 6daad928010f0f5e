"""The held-out problems of a run, written down before anything is asked."""

from collections.abc import Sequence

from selfimprove.records import Problem
from selfimprove.settings import hashed_settings
from selfimprove.stages.base import Desk, NoSettings, Records, Round, Stage
from selfimprove.stages.evaluate import Evaluate


def write(part: Sequence[Problem], desk: Desk[NoSettings]) -> Records:
    """The problems, with a note on what a task's files hold that makes no problem."""
    left_out = {task.name: task.left_out for task in desk.held_out_tasks if task.left_out}
    if left_out:
        desk.note("rows left out", left_out)
    return part


def say(desk: Desk[NoSettings]) -> str:
    manifest = desk.manifest
    left_out = manifest.metrics.get("rows left out", {}) if manifest else {}
    return "; ".join(f"{task}: {count} rows make no problem and are left out" for task, count in left_out.items())


def depends(round_: Round[NoSettings]) -> dict[str, object]:
    evaluate = hashed_settings(round_.other(Evaluate))
    return {
        "data": round_.data,
        **{name: evaluate[name] for name in ("limit", "training", "everything") if name in evaluate},
    }


PROBLEMS = Stage(
    name="problems",
    version=1,
    settings=NoSettings,
    writes=Problem,
    reads=lambda round: [],
    parts=lambda desk: [desk.held_out],
    run=write,
    depends=depends,
    when="first",
    about="held out",
    optional=False,
    say=say,
)
