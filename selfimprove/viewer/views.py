"""What a page of one trace or one problem shows, as plain data."""

from math import ceil
from typing import Any

from selfimprove.errors import StoreError
from selfimprove.store import Manifest
from selfimprove.store.index import key_of
from selfimprove.store.made_from import read_changes
from selfimprove.viewer.library import Figures, Run

MAX_SIBLINGS = 60


def trace_view(run: Run, identity: str, figures: Figures) -> dict[str, Any]:
    """A trace and all that hangs on it; a part that cannot be read is None. Raises StoreError where it is no trace."""
    row = run.records.trace(identity)
    if row is None:
        raise StoreError(f"there is no trace '{identity}' in this run")
    rationale = run.records.read(row["id"], row["part"])
    made = run.records.children(row["id"])
    revision, critique, before = _revision(run, made, rationale)
    return {
        "trace": {
            name: value for name, value in row.items() if name not in ("text", "part", "verdict_part", "decision_part")
        },
        "rationale": rationale or {"text": row["text"], "prompt": None, "parents": []},
        "whole": rationale is not None,
        "problem": run.records.record(row["problem"], "problem"),
        "verdict": run.records.read(row["verdict_id"], row["verdict_part"]) if row["verdict_id"] else None,
        "decision": run.records.read(row["decision_id"], row["decision_part"]) if row["decision_id"] else None,
        "revision": revision,
        "critique": critique,
        "before": before,
        "writer": run.records.checkpoint(row["checkpoint"]),
        "children": _children(run, made, figures),
        "siblings": siblings(run, row),
    }


def siblings(run: Run, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The other samples of a trace's problem in its round and stage group."""
    return run.index.rows(
        "SELECT id, stage, origin, sample, outcome, reasoning, reason, kept, trained, answer, tokens, "
        f"text[:1500] AS text FROM trace WHERE problem_key = {key_of(row['problem'])} AND problem = ? AND round = ? "
        "AND is_held_out(stage) = is_held_out(?) AND id <> ? "
        f"ORDER BY stage, origin, sample, id LIMIT {MAX_SIBLINGS}",
        row["problem"], row["round"], row["stage"], row["id"],
    )  # fmt: skip


def _revision(
    run: Run, made: list[dict[str, Any]], rationale: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, dict[str, Any] | None]:
    """The revision that a trace is the result of, the critique that asked for it, and the text before."""
    parents = list(rationale["parents"]) if rationale else []
    if len(parents) < 3:
        return None, None, None
    revisions = [one["child"] for one in made if one["kind"] == "revision" and one["place"] == 1]
    revision = run.records.record(revisions[0], "revision") if revisions else None
    critique = run.records.record(parents[3], "critique") if len(parents) > 3 else None
    return revision, critique, run.records.record(parents[2], "rationale")


def _children(run: Run, made: list[dict[str, Any]], figures: Figures) -> list[dict[str, Any]]:
    """What was made from a trace, and for an example or a preference the checkpoints that were trained on it."""
    rows = [one["child"] for one in made if one["kind"] in ("example", "preference")]
    used = [one for one in run.records.children_of(rows) if one["kind"] == "checkpoint"]
    checkpoints = {identity: run.records.checkpoint(identity) for identity in {one["child"] for one in used}}
    found = []
    for child in made:
        record = run.records.record(child["child"], child["kind"]) if child["child"] in rows else None
        mine = [_trained(one, checkpoints[one["child"]], figures) for one in used if one["parent"] == child["child"]]
        found.append({**child, "record": record, "checkpoints": sorted(mine, key=lambda one: one["round"])})
    return sorted(found, key=lambda one: (one["round"], one["kind"], one["child"]))


def _trained(used: dict[str, Any], checkpoint: dict[str, Any], figures: Figures) -> dict[str, Any]:
    """Where a row stands in the training set of a checkpoint, how often it was seen, and what became of the checkpoint.

    A checkpoint's parents are the checkpoint before it, if there is one, and the different rows in training order.
    """
    before = int(checkpoint["continues"])
    seen: dict[str, Any] = {"row": used["place"] - before, "different": max(0, checkpoint["parents"] - before)}
    manifest = next(
        (one for one in figures.manifests if (one.round, one.stage) == (used["round"], checkpoint["method"])), None
    )
    if manifest and all(isinstance(manifest.metrics.get(name), int) for name in ("rows", "left_out", "steps")):
        seen |= _passes(manifest)
    return {**used, **checkpoint, **seen, "promotion": _promotion(used, figures)}


def _passes(manifest: Manifest) -> dict[str, object]:
    """How often a training run went over its rows: whole passes, and the share of one more that it began.

    As TRL counts them: the last batch of a pass may be a short one, and the order of each pass is another one.
    """
    rows, left_out, steps = (manifest.metrics[name] for name in ("rows", "left_out", "steps"))
    batch, accumulate = (max(1, manifest.settings.get(name, 1)) for name in ("batch_size", "accumulate"))
    batches = max(1, ceil(rows / batch))
    passes, more = divmod(steps, ceil(batches / accumulate))
    return {"rows": rows, "left_out": left_out, "steps": steps, "passes": passes,
            "begun": more * accumulate / batches}  # fmt: skip


def _promotion(used: dict[str, Any], figures: Figures) -> dict[str, object] | None:
    """Whether a checkpoint, or the round's last one that was trained from it, was promoted; None where it is open."""
    promotion = figures.promotions.get(used["round"])
    if promotion is None or not promotion.parents:
        return None
    candidate = promotion.parents[0]
    return {"promoted": promotion.promoted, "reason": promotion.reason, "candidate": candidate,
            "itself": candidate == used["child"]}  # fmt: skip


def problem_view(run: Run, identity: str) -> dict[str, Any]:
    """A problem over the rounds: its traces, the round in which it was first solved, and those in which it was lost."""
    traces = read_changes(run.index, identity)
    problem = run.records.record(identity, "problem")
    if problem is None and not traces:
        raise StoreError(f"there is no problem '{identity}' in this run")
    rounds = []
    for round_ in sorted({row["round"] for row in traces}):
        mine = [row for row in traces if row["round"] == round_]
        # What the model answered by itself; hints, critiques and revisions aside.
        decided = [row for row in mine if row["outcome"] in ("correct", "incorrect") and row["origin"] == "sampled"]
        right = sum(row["outcome"] == "correct" for row in decided)
        rounds.append({"round": round_, "traces": mine, "decided": len(decided), "correct": right})
    solved = [one["round"] for one in rounds if one["correct"]]
    lost = [one["round"] for at, one in enumerate(rounds) if at and one["decided"] and not one["correct"]
            and rounds[at - 1]["correct"]]  # fmt: skip
    return {"id": identity, "problem": problem, "rounds": rounds, "first": solved[0] if solved else None, "lost": lost}
