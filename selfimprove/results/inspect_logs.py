"""A run as logs in Inspect's format, one for each round's evaluation or stage, which `inspect view` opens.

The format is written here and not by `inspect_ai`: a `.eval` file is a zip of JSON files, old ones stay readable to it,
its own writer holds a whole log in memory, and it would bring some forty packages along. A test reads them with it.
"""

import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from selfimprove.errors import SelfImproveError, suggest
from selfimprove.records import Evaluation, digest
from selfimprove.records.stats import wilson
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.parts import named_errors, partial_of
from selfimprove.store.query import Query
from selfimprove.store.written import Written, read_evaluations, read_written

FORMAT = 2  # Inspect's LOG_SCHEMA_VERSION
WHAT = ("evaluations", "traces")
STOPPED = {"stop": "stop", "length": "max_tokens", "too_long": "model_length"}
# NaN is Inspect's sign of a score that no metric counts; its "N" would count as wrong.
VALUES: dict[str, str | float] = {"correct": "C", "incorrect": "I", "undecided": math.nan}
SHORT, LONG = 1000, 5000  # characters of a text in the list of samples: of what stands beside, of input and target
BLOCK = 1 << 20  # bytes


@dataclass
class Totals:
    """What a log's samples sum up to."""

    samples: int = 0
    problems: set[str] = field(default_factory=set)
    epochs: int = 1
    tokens: int = 0
    model: str = ""
    outcomes: dict[str, dict[str, int]] = field(default_factory=lambda: {"verdict": {}, "steps": {}})

    def add(self, row: Written, scores: Mapping[str, object]) -> None:
        self.samples += 1
        self.problems.add(row["problem"])
        self.epochs = max(self.epochs, row["epoch"])
        self.tokens += row["tokens"]
        for name, counts in self.outcomes.items():
            outcome = row["outcome" if name == "verdict" else "reasoning"] if name in scores else "none"
            counts[outcome] = counts.get(outcome, 0) + 1


def write_logs(folder: RunFolder, out: Path, what: str, round_: int | None) -> tuple[int, int]:
    """Write the logs of closed stages to a folder, a file each, in place of earlier ones; raises SelfImproveError.

    `what` is one of WHAT. Gives the numbers of logs and of samples.
    """
    if what not in WHAT:
        raise SelfImproveError(f"--what {what}: --inspect has {' and '.join(WHAT)}{suggest(what, WHAT)}")
    query, logs, samples = Query(folder), 0, 0
    with named_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    for manifest, origin, alone in _choose(folder, query, what, round_):
        label = manifest.stage if alone or origin == "sampled" else f"{manifest.stage}-{origin}"
        samples += _write_log(folder, query, out, manifest, origin, label)
        logs += 1
    return logs, samples


def _choose(folder: RunFolder, query: Query, what: str, round_: int | None) -> Iterator[tuple[Manifest, str, bool]]:
    """The closed stages that wrote texts, with the origin of the texts of one log, and whether they have no other."""
    found = query.rows(
        "SELECT DISTINCT round, stage, origin, is_held_out(stage) AS held_out FROM rationale ORDER BY ALL"
    )
    for row in found:
        manifest = folder.stage(row["round"], row["stage"]).manifest()
        wanted = what == "traces" or (row["held_out"] and row["origin"] == "sampled")
        if manifest and wanted and round_ in (None, row["round"]):
            alone = sum((one["round"], one["stage"]) == (row["round"], row["stage"]) for one in found) == 1
            yield manifest, row["origin"], alone


def _write_log(folder: RunFolder, query: Query, out: Path, manifest: Manifest, origin: str, label: str) -> int:
    """Write one log, a sample at a time: what stays in memory is the list of problems."""
    run, closed = folder.path.resolve().name, folder.stage(manifest.round, manifest.stage).path / "stage.json"
    created = datetime.fromtimestamp(int(closed.stat().st_mtime), UTC).isoformat()
    identity, totals = digest(run, manifest.round, label), Totals()
    name = f"{run.replace('_', '-')}-round-{manifest.round:02d}-{label}_{identity}.eval"
    path = out / f"{created.replace(':', '-')}_{name}"
    partial = partial_of(path)
    with named_errors(path):
        try:
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as log, tempfile.TemporaryFile() as summaries:
                for row in read_written(query, manifest.round, manifest.stage, origin):
                    totals.model = totals.model or _name_model(run, row)
                    sample = _sample(row, totals.model)
                    log.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", _dump(sample))
                    summaries.write((b"," if totals.samples else b"[") + _dump(_summary(sample)))
                    totals.add(row, sample["scores"] or {})
                _close_list(log, summaries, totals)
                evaluations = (
                    read_evaluations(query, manifest.round, manifest.stage)
                    if "evaluation" in manifest.counts and origin == "sampled"
                    else []
                )
                header = _header(run, manifest, label, created, identity, totals, evaluations)
                log.writestr("header.json", _dump(header))
            for old in out.glob(f"*_{identity}.eval"):
                old.unlink()
            partial.rename(path)
        except BaseException:  # Ctrl-C too: half a log is of no use, and nobody would take it away
            partial.unlink(missing_ok=True)
            raise
    return totals.samples


def _close_list(log: zipfile.ZipFile, summaries: IO[bytes], totals: Totals) -> None:
    summaries.write(b"]" if totals.samples else b"[]")
    summaries.seek(0)
    with log.open("summaries.json", "w", force_zip64=True) as member:
        shutil.copyfileobj(summaries, member, BLOCK)


def _dump(value: object) -> bytes:
    """JSON in ASCII; NaN stands for itself, as in Inspect's own logs."""
    return json.dumps(value, separators=(",", ":")).encode()


def _name_model(run: str, row: Written) -> str:
    """The checkpoint that wrote: within the run's folder, or the path of the model that the run started from."""
    path = row["weights_path"] or row["checkpoint"]
    return f"{run}/{path}" if str(path).startswith("round-") else str(path)


def _sample(row: Written, model: str) -> dict[str, Any]:
    """A trace as a sample: the exact prompt, the expected answer, the text, our verdict."""
    said = {"role": "assistant", "content": row["text"], "source": "generate", "model": model}
    usage = {"input_tokens": 0, "output_tokens": row["tokens"], "total_tokens": row["tokens"]}
    names = ("id", "problem", "checkpoint", "verdict", "round", "stage", "task", "level", "group", "origin", "sample",
             "question", "kept", "decision", "counted", "principle", "finish", "seed", "temperature",
             "logprob")  # fmt: skip
    metadata = {"trace" if name == "id" else name: row[name] for name in names if row[name] is not None}
    return {
        "id": row["problem"],
        "epoch": row["epoch"],
        "input": row["prompt"],
        "target": row["expected"] or "",
        "messages": [{"role": "user", "content": row["prompt"], "source": "input"}, said],
        "output": {
            "model": model,
            "choices": [{"message": said, "stop_reason": STOPPED.get(row["finish"], "unknown")}],
            "usage": usage,
        },
        "scores": _scores(row),
        "metadata": metadata,
        "model_usage": {model: usage},
        "uuid": row["id"],
    }


def _scores(row: Written) -> dict[str, Any] | None:
    """The verdict on the answer, and that on the steps where there are any; None where there is no verdict."""
    if row["outcome"] is None:
        return None
    steps = row["steps"] or []
    lines = [f"{one['outcome']}: {row['text'][one['start'] : one['end']]} ({one['reason']})" for one in steps]
    by = {"verifier": row["verifier"], "version": row["version"]}
    scores = {"verdict": {"value": VALUES[row["outcome"]], "answer": row["answer"],
                          "explanation": "\n".join([row["reason"], *lines]), "metadata": by}}  # fmt: skip
    if steps:
        more = {**by, "coverage": row["coverage"], "steps": steps}
        scores["steps"] = {"value": VALUES[row["reasoning"]], "explanation": "\n".join(lines), "metadata": more}
    for name, outcome in (("verdict", row["outcome"]), ("steps", row["reasoning"])):
        if name in scores and outcome == "undecided":
            scores[name]["reason"] = f"undecided: {row['reason']}"[:SHORT] if name == "verdict" else "undecided"
    return scores


def _summary(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample as the list of samples shows it, its texts cut."""
    scores = {
        name: {key: _cut(value) for key, value in score.items() if key != "metadata"}
        for name, score in (sample["scores"] or {}).items()
    }
    kept = ("id", "epoch", "model_usage", "uuid")
    return {
        **{name: sample[name] for name in kept},
        "input": _cut(sample["input"], LONG),
        "target": _cut(sample["target"], LONG),
        "metadata": {name: _cut(value) for name, value in sample["metadata"].items()},
        "scores": scores or None,
        "completed": True,
        "message_count": len(sample["messages"]),
    }


def _cut(value: object, limit: int = SHORT) -> object:
    return value if not isinstance(value, str) or len(value) <= limit else value[:limit] + "..."


def _header(
    run: str,
    manifest: Manifest,
    label: str,
    created: str,
    identity: str,
    totals: Totals,
    evaluations: list[Evaluation],
) -> dict[str, Any]:
    """What the log says of itself: what was asked of whom, and the results."""
    scores = [_score(name, counts) for name, counts in totals.outcomes.items() if set(counts) - {"none"}]
    several = bool(evaluations) and totals.epochs > 1  # the majority of several answers counts
    for one in scores:
        if one["name"] == "verdict" and evaluations:
            one["metrics"] = _metrics(evaluations)
            one |= {"reducer": "mode"} if several else {}
    names = sorted({one.task for one in evaluations})
    return {
        "version": FORMAT,
        "status": "success",
        "eval": {
            "eval_id": identity,
            "run_id": digest(run),
            "task_id": identity,
            "created": created,
            "task": f"{run}/{label}",
            "task_display_name": f"{run}, round {manifest.round}, {label}",
            "task_args": {"round": manifest.round, "stage": manifest.stage},
            "dataset": {"name": ", ".join(names) or None, "samples": len(totals.problems)},
            "model": totals.model,
            "config": {"epochs": totals.epochs, **({"epochs_reducer": ["mode"]} if several else {})},
            "packages": {"selfimprove": version("selfimprove")},
            "tags": [f"round-{manifest.round:02d}", label],
            "metadata": {"run": run, "round": manifest.round, "stage": manifest.stage,
                         "fingerprint": manifest.fingerprint, "seconds": manifest.seconds.wall},
            "scorers": [{"name": one["name"]} for one in scores],
        },
        "plan": {"name": "plan", "steps": [{"solver": "generate", "params": {}}]},
        "results": {"total_samples": totals.samples, "completed_samples": totals.samples, "scores": scores},
        "stats": {
            "started_at": created,
            "completed_at": created,
            "model_usage": {totals.model: {"output_tokens": totals.tokens, "total_tokens": totals.tokens}},
        },
    }  # fmt: skip


def _score(name: str, counts: dict[str, int]) -> dict[str, object]:
    """The outcomes of all samples. There is no interval: several samples of one problem are not independent."""
    correct, n = counts.get("correct", 0), counts.get("correct", 0) + counts.get("incorrect", 0)
    metrics = {"accuracy": _metric("accuracy", correct / n)} if n else {}
    unscored = sum(counts.values()) - n
    return {"name": name, "scorer": name, "scored_samples": n, "unscored_samples": unscored, "metrics": metrics}


def _metrics(evaluations: list[Evaluation]) -> dict[str, Any]:
    """The held-out accuracy as the run counts it, with its standard error and Wilson interval; by task and level."""
    correct, n = sum(one.correct for one in evaluations), sum(one.n for one in evaluations)
    if not n:
        return {}
    share = correct / n
    low, high = wilson(correct, n)
    found = {"accuracy": share, "stderr": math.sqrt(share * (1 - share) / max(1, n - 1))}
    found |= {"interval_low": low, "interval_high": high}
    metrics = {name: _metric(name, value) for name, value in found.items()}
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for one in evaluations:
        groups.setdefault(("accuracy by task", one.task), []).append(one)
        groups.setdefault(("accuracy by level", f"{one.task} {one.level}"), []).append(one)
    for (group, name), mine in groups.items():
        decided = sum(one.n for one in mine)
        if decided and len(mine) < len(evaluations):
            value = sum(one.correct for one in mine) / decided
            metrics[f"{group}: {name}"] = _metric(name, value, group=group, metadata={"n": decided})
    return metrics


def _metric(name: str, value: float, **more: object) -> dict[str, Any]:
    return {"name": name, "value": value, **more}
