"""What a run reached: accuracy with intervals, the funnel from sampled to trained, time and tokens."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selfimprove.constitution.adherence import FIGURES, rows_of
from selfimprove.recipe.catalog import known_stages
from selfimprove.recipe.flow import last_of_round
from selfimprove.records import Audit, Evaluation, Promotion, Record
from selfimprove.records.console import SafeConsole, make_table
from selfimprove.records.stats import sum_by_task, wilson
from selfimprove.results.decisions import decisions_json, decisions_table
from selfimprove.results.steps import read_steps, steps_table, warn_of_held_out
from selfimprove.running.figures import places_in_round, read_funnels, read_manifests
from selfimprove.stages.evaluate import describe_errors
from selfimprove.stages.taking import LEFT_OUT, describe_left_out
from selfimprove.store import Manifest, RunFolder
from selfimprove.store.files import check_shown
from selfimprove.store.manifest import CUT_OFF
from selfimprove.store.query import Query
from selfimprove.store.rules import Funnel
from selfimprove.store.steered import ended_early, read_decided
from selfimprove.trainers.tokens import describe_origins

AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_cross_checks(query: Query) -> list[dict[str, Any]]:
    """How often a second verifier agreed, by round and pair of outcomes."""
    return query.rows(
        "SELECT round, verifier, first, second, count(*) AS count FROM crosscheck GROUP BY ALL ORDER BY ALL"
    )


def read_votes(query: Query) -> list[dict[str, Any]]:
    """How the samples of problems voted, by round and stage."""
    return query.rows(
        """
        SELECT round, stage, count(*) AS problems, max(samples) AS samples, avg(votes / samples) AS agreement,
               count(*) FILTER (tie) AS ties, count(*) FILTER (votes = 0) AS unanswered
        FROM vote GROUP BY ALL ORDER BY ALL
        """
    )


def outside_model(manifests: list[Manifest]) -> tuple[float, float]:
    """Seconds of orchestration, store and verification, and seconds in all, imports aside."""
    wall = sum(one.seconds.wall - one.seconds.imports for one in manifests)
    model = sum(one.seconds.model for one in manifests)
    return wall - model, wall


@dataclass(frozen=True)
class EngineTime:
    """Seconds in which engines were loaded, and those of them in which they neither wrote nor scored."""

    loaded: float
    idle: float

    @property
    def share(self) -> float | None:
        return self.idle / self.loaded if self.loaded else None


def engine_time(manifests: list[Manifest]) -> EngineTime:
    """How long engines were loaded and idle, over all that worked at the same time."""
    return EngineTime(sum(one.seconds.loaded for one in manifests), sum(one.seconds.idle for one in manifests))


def elapsed(manifests: list[Manifest]) -> float:
    """Seconds that passed on the clock, imports and all; less than the work where some of it was done side by side."""
    return sum(one.seconds.wall if one.seconds.elapsed is None else one.seconds.elapsed for one in manifests)


def verified_beside(manifests: list[Manifest]) -> float:
    """Seconds of verification that ran while the engine wrote: what the overlap saved, less what it slowed the engine
    down by."""
    mine = [one for one in manifests if _may_overlap(one) and "ray" not in one.metrics]
    return max(0.0, sum(one.seconds.wall for one in mine) - elapsed(mine))


def _may_overlap(manifest: Manifest) -> bool:
    declared = known_stages().get(manifest.declared or manifest.stage)
    return bool(declared and declared.beside)


def _read_closed(folder: RunFolder, manifests: list[Manifest], kind: type[AnyRecord]) -> dict[int, list[AnyRecord]]:
    """The records of a kind that closed stages wrote, by round."""
    writers = [one for one in manifests if any(name.startswith(f"{kind.kind}-") for name in one.sizes)]
    read = ((one.round, folder.stage(one.round, one.stage).read(kind)) for one in writers)
    return {round_: found for round_, found in read if found}


def to_json(folder: RunFolder) -> dict[str, Any]:
    """The status as plain data; raises StoreError where a part is enormous."""
    check_shown(folder)
    manifests, query = read_manifests(folder), Query(folder)
    outside, wall = outside_model(manifests)
    evaluations, promotions = _read_closed(folder, manifests, Evaluation), _read_closed(folder, manifests, Promotion)
    return {
        "run": folder.path.name,
        "working": folder.working(),
        "evaluations": {
            round_: [
                {**one.model_dump(exclude={"parents"}), "accuracy": one.accuracy if one.n else None} for one in found
            ]
            for round_, found in evaluations.items()
        },
        "tasks": {
            round_: [{**vars(one), "accuracy": one.accuracy if one.n else None} for one in sum_by_task(found)]
            for round_, found in evaluations.items()
        },
        "funnels": {round_: asdict(funnel) for round_, funnel in read_funnels(query).items()},
        "cross-checks": read_cross_checks(query),
        "votes": read_votes(query),
        "self-consistency": {
            one.round: one.metrics["self-consistency"] for one in manifests if one.metrics.get("self-consistency")
        },
        "verifier": {one.round: one.metrics["verifier"] for one in manifests if one.metrics.get("verifier")},
        "preferences": [
            {"round": one.round, "pairs": one.metrics.get("pairs", 0), "measured": one.metrics.get("measured")}
            for one in manifests
            if "pairs" in one.metrics
        ],
        "token origins": [
            {"round": one.round, "stage": one.stage, **one.metrics["origins"]}
            for one in manifests
            if one.metrics.get("origins")
        ],
        "revised": {one.round: one.metrics["revised"] for one in manifests if one.metrics.get("revised")},
        LEFT_OUT: {one.round: one.metrics[LEFT_OUT] for one in manifests if one.metrics.get(LEFT_OUT)},
        "open prompts": {
            one.round: one.metrics["open prompts"] for one in manifests if one.metrics.get("open prompts")
        },
        "constitution": {one.round: one.metrics[FIGURES] for one in manifests if one.metrics.get(FIGURES)},
        "steps": read_steps(manifests),
        "audits": {
            round_: [one.model_dump(exclude={"parents"}) for one in found]
            for round_, found in _read_closed(folder, manifests, Audit).items()
        },
        "warnings": warn_of_held_out(read_steps(manifests), _last_promotions(folder, manifests)),
        "promotions": [found[0].model_dump() for found in promotions.values()],
        "decisions": decisions_json(read_decided(folder)),
        "stages": [
            {
                **one.model_dump(include={"round", "stage", "seconds", "tokens", "counts"}),
                CUT_OFF: one.metrics.get(CUT_OFF),
            }
            for one in manifests
        ],
        "seconds": {
            "wall": wall,
            "elapsed": elapsed(manifests),
            "outside the model": outside,
            "engine loaded": engine_time(manifests).loaded,
            "engine idle": engine_time(manifests).idle,
            "verified beside generation": verified_beside(manifests),
        },
    }


def _last_promotions(folder: RunFolder, manifests: list[Manifest]) -> dict[int, Promotion]:
    return {round_: found[-1] for round_, found in _read_closed(folder, manifests, Promotion).items()}


def print_status(folder: RunFolder, console: Console | None = None) -> None:
    """Print the tables of a run; raises StoreError where a part is enormous."""
    check_shown(folder)
    console = console or SafeConsole()
    console.print(_state(folder), highlight=False, markup=False)
    manifests, query = read_manifests(folder), Query(folder)
    if measured := [one for one in manifests if one.metrics.get(FIGURES)]:
        console.print(constitution_table(measured))
    if evaluations := _read_closed(folder, manifests, Evaluation):
        console.print(_rounds_table(evaluations, _read_closed(folder, manifests, Promotion)))
        if any(sum(one.n > 0 for one in sum_by_task(found)) > 1 for found in evaluations.values()):
            console.print(_tasks_table(evaluations))
        for table in _levels_tables(evaluations, console.width):
            console.print(table)
        console.print(_funnel_table(funnels := read_funnels(query)))
        if any(one.again for one in funnels.values()):
            console.print(_again_table(funnels))
        if checks := read_cross_checks(query):
            console.print(_cross_checks_table(checks))
    if decided := read_decided(folder):
        console.print(decisions_table(decided))
    if errors := [one.metrics["verifier"] for one in manifests if one.metrics.get("verifier")]:
        console.print(describe_errors(errors[-1]), highlight=False, markup=False)
    if votes := read_votes(query):
        console.print(_votes_table(votes, manifests))
    if any(one.metrics.get("revised") for one in manifests):
        console.print(_revised_table(manifests))
    if any(one.metrics.get("open prompts") for one in manifests):
        console.print(_open_table(manifests))
    for steps in read_steps(manifests):
        console.print(steps_table(steps))
    for round_, said in warn_of_held_out(read_steps(manifests), _last_promotions(folder, manifests)).items():
        console.print(f"round {round_}: WARNING: {said}", highlight=False, markup=False)
    for round_, audits in _read_closed(folder, manifests, Audit).items():
        for audit in audits:
            warning = "WARNING: " if audit.warns else ""
            console.print(f"round {round_}: {warning}{audit.said}", highlight=False, markup=False)
    if any("pairs" in one.metrics for one in manifests):
        console.print(_preferences_table(manifests))
    origins: Counter[str] = Counter()
    for one in manifests:
        origins.update(one.metrics.get("origins", {}))
    if said := describe_origins(origins):
        console.print(f"trained, over all stages: {said}", highlight=False, markup=False)
    for one in manifests:
        if said := describe_left_out(one.metrics.get(LEFT_OUT)):
            console.print(f"round {one.round}: {said}", highlight=False, markup=False)
    if manifests:
        console.print(_stages_table(manifests))
        outside, wall = outside_model(manifests)
        cpu = sum(one.seconds.cpu for one in manifests)
        console.print(
            f"{wall:.1f} s in all ({cpu:.1f} CPU s of this program), outside the model {outside:.1f} s "
            f"({outside / wall if wall else 0:.1%}: orchestration, store, verification), "
            f"imports {sum(one.seconds.imports for one in manifests):.1f} s beside",
            highlight=False,
        )
        for line in _side_by_side(manifests):
            console.print(line, highlight=False)


def _side_by_side(manifests: list[Manifest]) -> list[str]:
    """What was idle, and what was done at the same time."""
    lines, engine, beside = [], engine_time(manifests), verified_beside(manifests)
    if engine.share is not None:
        lines.append(f"engines were loaded for {engine.loaded:.1f} s and idle for {engine.share:.1%} of it")
    if beside >= 0.05:
        lines.append(f"{beside:.1f} s of verification ran while the engine wrote")
    workers = {one.metrics["ray"]["workers"] for one in manifests if "ray" in one.metrics}
    if workers:
        lines.append(f"by up to {max(workers)} Ray workers, {elapsed(manifests):.1f} s on the clock, imports and all")
    return lines


def _state(folder: RunFolder) -> str:
    working = folder.working()
    # The first one: `verify` may have been begun while `generate` went on.
    place = places_in_round(folder)
    begun = sorted(folder.stages(), key=lambda one: (one.key[0], place.get(one.key[1], len(place))))
    last = next((one for one in begun if one.manifest() is None), None)
    recipe = folder.recipe()
    finished = folder.stage(recipe.rounds, last_of_round(recipe, recipe.rounds)).manifest() is not None
    if working:
        state = f"process {working} is at work"
    elif finished:
        state = "finished"
    elif ended := ended_early(folder):
        state = f"finished early in round {ended.round} ({ended.said})"
    else:
        state = f"stopped{' in ' + last.name if last else ''}"
    return f"{folder.path}: {state}, {recipe.rounds} round{'s' * (recipe.rounds != 1)}, seed {recipe.seed}"


def _rounds_table(evaluations: dict[int, list[Evaluation]], promotions: dict[int, list[Promotion]]) -> Table:
    decided = any(one.n for found in evaluations.values() for one in found)  # open prompts alone have no accuracy
    accuracy = ("held-out accuracy", "95% interval") if decided else ()
    table = make_table("Rounds", "round", *accuracy, "promotion", left=("promotion",))
    for round_, found in evaluations.items():
        correct, n = sum(one.correct for one in found), sum(one.n for one in found)
        low, high = wilson(correct, n)
        reason = promotions[round_][0].reason if round_ in promotions else ""
        cells = [f"{correct / n:.1%} of {n}", f"{low:.1%} to {high:.1%}"] if n else [""] * len(accuracy)
        table.add_row(str(round_), *cells, Text(reason))
    return table


def constitution_table(measured: list[Manifest]) -> Table:
    """How far held-out answers follow the constitution: what complies, and what a judge prefers to the answers of the
    checkpoint before and of round 0; the length of answers is accounted for in the last column."""
    names = (
        "round",
        "principle",
        "follow it",
        "95% interval",
        "beside the\nround before",
        "beside\nround 0",
        "at equal\nlength",
    )
    table = make_table("Held-out answers by the constitution", *names, left=("principle",))
    for one in measured:
        for row in rows_of(one.metrics[FIGURES]):
            cells = (row.share, row.interval, row.before, row.start, row.controlled)
            table.add_row(str(one.round), Text(row.principle), *cells)
    return table


def _tasks_table(evaluations: dict[int, list[Evaluation]]) -> Table:
    columns = ("round", "task", "held-out accuracy", "95% interval", "undecided")
    table = make_table("Held-out accuracy by task", *columns, left=("task",))
    for round_, found in evaluations.items():
        for one in (one for one in sum_by_task(found) if one.n):
            accuracy, interval = f"{one.accuracy:.1%} of {one.n}", f"{one.low:.1%} to {one.high:.1%}"
            table.add_row(str(round_), Text(one.task), accuracy, interval, str(one.undecided))
    return table


def _funnel_table(funnels: Mapping[int, Funnel]) -> Table:
    names = ["round", "sampled", "correct", "steps ok", "wrong step", "kept"]
    voted = any(one.kept_vote for one in funnels.values())
    table = make_table("From sampled to trained", *names, *(["by vote"] if voted else []), "undecided")
    for round_, one in funnels.items():
        row = [round_, one.sampled, one.correct, one.steps_valid, one.wrong_reason, one.kept]
        table.add_row(*map(str, [*row, *([one.kept_vote] if voted else []), one.undecided]))
    return table


def _again_table(funnels: Mapping[int, Funnel]) -> Table:
    table = make_table("What was tried again", "round", "stage", "written", "correct", "kept", left=("stage",))
    for round_, found in funnels.items():
        for name, one in found.again.items():
            table.add_row(str(round_), name, *map(str, (one.written, one.correct, one.kept)))
    return table


def _cross_checks_table(checks: list[dict[str, Any]]) -> Table:
    table = make_table("Judged a second time", "round", "second verifier", "checked", "agrees", "differs", "how",
                   left=("second verifier", "how"))  # fmt: skip
    for key in dict.fromkeys((one["round"], one["verifier"]) for one in checks):
        mine = [one for one in checks if (one["round"], one["verifier"]) == key]
        checked = sum(one["count"] for one in mine)
        differing = [one for one in mine if one["first"] != one["second"]]
        how = ", ".join(f"{one['count']} × {one['first']}, then {one['second']}" for one in differing)
        differs = sum(one["count"] for one in differing)
        table.add_row(str(key[0]), key[1], str(checked), str(checked - differs), str(differs), how)
    return table


def _votes_table(votes: list[dict[str, Any]], manifests: list[Manifest]) -> Table:
    """How far samples agree; where answers are known, what the majority is worth beside a single sample."""
    columns = (
        "round", "stage", "problems", "samples", "agree", "ties", "no\nanswer", "majority", "single\nsample",
    )  # fmt: skip
    table = make_table("Votes over several samples", *columns, left=("stage",))
    measured = {(one.round, one.stage): one.metrics.get("self-consistency") for one in manifests}
    for one in votes:
        row = [str(one["round"]), one["stage"], str(one["problems"]), str(one["samples"]), f"{one['agreement']:.0%}"]
        row += [str(one["ties"]), str(one["unanswered"])]
        found = measured.get((one["round"], one["stage"]))
        row += [f"{found[name]:.1%}" for name in ("majority", "single sample")] if found else ["", ""]
        table.add_row(*row)
    return table


def _revised_table(manifests: list[Manifest]) -> Table:
    """What the model made of its own held-out answers by critique and revision."""
    table = make_table("Held-out answers after critique and revision", "round", "wrong", "repaired", "a line\nnamed",
                       "the right\none", "right", "spoiled", "nothing\nfound")  # fmt: skip
    for one in manifests:
        if found := one.metrics.get("revised"):
            names = ("wrong", "repaired", "a line named", "line named", "right", "spoiled", "nothing found")
            table.add_row(str(one.round), *(str(found[name]) for name in names))
    return table


def _open_table(manifests: list[Manifest]) -> Table:
    """What is seen in the answers to held-out open prompts without a model."""
    counted = ("responses", "cut off", "empty", "repeated", "refusals", "boilerplate", "about itself")
    names = ("open\nanswers", "cut\noff", "empty", "in\ncircles", "refuse", "boiler-\nplate", "as an\nAI")
    table = make_table("Answers to open prompts", "round", *names, "words")
    for one in manifests:
        if found := one.metrics.get("open prompts"):
            counts = (str(int(found[name])) if name in found else "" for name in counted)  # of older runs some alone
            table.add_row(str(one.round), *counts, f"{found['words']:.0f}")
    return table


def _preferences_table(manifests: list[Manifest]) -> Table:
    columns = (
        "round",
        "pairs",
        "log-probability\nof the chosen",
        "of the\nrejected",
        "DPO\nloss",
        "margin\nabove 0",
        "note",
    )
    table = make_table("Preference pairs, before and after DPO", *columns, left=("note",))
    for one in manifests:
        measured = one.metrics.get("measured")
        if "pairs" not in one.metrics:
            continue
        if not measured:
            note = "" if one.metrics.get("pairs") else "no pairs"
            table.add_row(str(one.round), str(one.metrics.get("pairs", 0)), "", "", "", "", note)
            continue
        before, after = measured["before"], measured["after"]
        changes = [f"{before[name]:.2f} → {after[name]:.2f}" for name in ("chosen", "rejected")]
        note = "the chosen became less likely" if after["chosen"] < before["chosen"] else ""
        table.add_row(
            str(one.round),
            str(one.metrics["pairs"]),
            *changes,
            f"{after['loss']:.3f}",
            f"{after['accuracy']:.0%}",
            note,
        )
    return table


def _levels_tables(evaluations: dict[int, list[Evaluation]], width: int) -> Iterator[Table]:
    """A table of the levels, or of one task's after the other's; where there are many, they go on in the next one."""
    there = sorted({(one.task, one.level) for found in evaluations.values() for one in found if one.n})
    for task in dict.fromkeys(name for name, _ in there):
        levels = [level for name, level in there if name == task]
        if levels == [0]:  # problems without one
            continue
        of = f", {task}" if len({name for name, _ in there}) > 1 else ""
        many = max(1, (width - len("round ")) // len("  100%"))
        for at in range(0, len(levels), many):
            shown = levels[at : at + many]
            table = make_table(f"Held-out accuracy by level{of}", "round", *map(str, shown))
            for round_, found in evaluations.items():
                mine = [[one for one in found if (one.task, one.level) == (task, level)] for level in shown]
                counts = [(sum(one.correct for one in each), sum(one.n for one in each)) for each in mine]
                table.add_row(str(round_), *(f"{correct / n:.0%}" if n else "" for correct, n in counts))
            yield table


def _cut_off(manifests: list[Manifest]) -> str:
    """How many of a stage's texts ended at the longest length; empty where it writes none, or that was not counted."""
    counted = [one for one in manifests if CUT_OFF in one.metrics]
    texts = sum(one.counts.get("rationale", 0) for one in counted)
    return f"{sum(one.metrics[CUT_OFF] for one in counted)} of {texts}" if texts else ""


def _stages_table(manifests: list[Manifest]) -> Table:
    columns = ["stage", "seconds", "in the\nmodel", "engine\nidle", "CPU\nseconds", "tokens", "tokens/s", "cut off"]
    table = make_table("Time and tokens by stage", *columns, left=("stage",))
    for name in dict.fromkeys(one.stage for one in manifests):
        mine = [one for one in manifests if one.stage == name]
        wall = sum(one.seconds.wall - one.seconds.imports for one in mine)
        model = sum(one.seconds.model for one in mine)
        tokens = sum(sum(one.tokens.values()) for one in mine)
        engine = engine_time(mine)
        table.add_row(
            name,
            f"{wall:.1f}",
            f"{model:.1f}",
            "" if engine.share is None else f"{engine.share:.0%}",
            f"{sum(one.seconds.cpu for one in mine):.1f}",
            str(tokens) if tokens else "",
            f"{tokens / model:.0f}" if tokens and model else "",
            _cut_off(mine),
        )
    return table
