"""The tables of `selfimprove status`: what rounds reached, what was kept, voted, tried again and preferred."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from selfimprove.constitution.adherence import FIGURES, rows_of
from selfimprove.records import Evaluation, Promotion
from selfimprove.records.collapse import Texts
from selfimprove.records.console import make_table
from selfimprove.records.printable import one_line
from selfimprove.records.stats import sum_by_task, wilson
from selfimprove.store import Manifest
from selfimprove.store.instructions import Proposals
from selfimprove.store.reward_models import OfRound
from selfimprove.store.rules import Funnel


def rounds_table(
    evaluations: Mapping[int, list[Evaluation]], promotions: dict[int, list[Promotion]], title: str = "Rounds"
) -> Table:
    decided = any(one.n for found in evaluations.values() for one in found)  # open prompts alone have no accuracy
    accuracy = ("held-out accuracy", "95% interval") if decided else ()
    table = make_table(title, "round", *accuracy, "promotion", left=("promotion",))
    for round_, found in evaluations.items():
        correct, n = sum(one.correct for one in found), sum(one.n for one in found)
        low, high = wilson(correct, n)
        reason = promotions[round_][0].reason if round_ in promotions else ""
        cells = [f"{correct / n:.1%} of {n}", f"{low:.1%} to {high:.1%}"] if n else [""] * len(accuracy)
        table.add_row(str(round_), *cells, Text(reason))
    return table


def tasks_table(evaluations: dict[int, list[Evaluation]]) -> Table:
    columns = ("round", "task", "held-out accuracy", "95% interval", "undecided")
    table = make_table("Held-out accuracy by task", *columns, left=("task",))
    for round_, found in evaluations.items():
        for one in (one for one in sum_by_task(found, round_) if one.n):
            accuracy, interval = f"{one.accuracy:.1%} of {one.n}", "{:.1%} to {:.1%}".format(*one.interval)
            table.add_row(str(round_), Text(one.task), accuracy, interval, str(one.undecided))
    return table


def levels_tables(evaluations: dict[int, list[Evaluation]], width: int) -> Iterator[Table]:
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


def funnel_table(funnels: Mapping[int, Funnel]) -> Table:
    names = ["round", "sampled", "correct", "steps ok", "wrong step", "kept"]
    voted = any(one.kept_vote for one in funnels.values())
    table = make_table("From sampled to trained", *names, *(["by vote"] if voted else []), "undecided")
    for round_, one in funnels.items():
        row = [round_, one.sampled, one.correct, one.steps_valid, one.wrong_reason, one.kept]
        table.add_row(*map(str, [*row, *([one.kept_vote] if voted else []), one.undecided]))
    return table


def instructions_table(proposals: Mapping[int, Proposals]) -> Table:
    """The tasks that the model wrote for itself, why others were turned away, and how different they are."""
    names = ("round", "proposed", "kept", "turned away", "trained", "verbs", "new runs\nof 3 words", "ROUGE-L")
    table = make_table("Tasks of its own", *names, left=("turned away",))
    for round_, one in proposals.items():
        reasons = Text(", ".join(f"{count} {reason}" for reason, count in one.turned_away.items()))
        measured = (
            "" if one.instances_kept is None else one.instances_kept,
            one.verbs,
            f"{one.new:.0%}",
            f"{one.similarity:.2f}",
        )
        table.add_row(str(round_), str(one.proposed), str(one.kept), reasons, *map(str, measured))
    return table


def texts_table(texts: Mapping[int, Texts]) -> Table:
    """How different the texts of each round are, and what several samples are worth."""
    names = ("distinct-2", "distinct-3", "pass@1", "pass@k", "answers", "steps", "length", "own", "again")
    table = make_table("How different the texts are", "round", *names)
    for round_, one in texts.items():
        most = one.most
        passed = [f"{one.passes['1'][0]:.0%}", f"{most[1]:.0%} (k = {most[0]})"] if most else ["", ""]
        shares = [f"{value:.0%}" if value is not None else "" for value in (one.answers, one.skeletons)]
        rows = [f"{value:.0%}" if value is not None else "" for value in (one.own, one.again)]
        grams = [f"{one.distinct[size]:.2f}" if size in one.distinct else "" for size in ("2", "3")]
        table.add_row(str(round_), *grams, *passed, *shares, "/".join(f"{at:g}" for at in one.lengths), *rows)
    return table


def again_table(funnels: Mapping[int, Funnel]) -> Table:
    table = make_table("What was tried again", "round", "stage", "written", "correct", "kept", left=("stage",))
    for round_, found in funnels.items():
        for name, one in found.again.items():
            table.add_row(str(round_), name, *map(str, (one.written, one.correct, one.kept)))
    return table


def cross_checks_table(checks: list[dict[str, Any]]) -> Table:
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


def votes_table(votes: list[dict[str, Any]], manifests: list[Manifest]) -> Table:
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


def revised_table(manifests: list[Manifest]) -> Table:
    """What the model made of its own held-out answers by critique and revision."""
    table = make_table("Held-out answers after critique and revision", "round", "wrong", "repaired", "a line\nnamed",
                       "the right\none", "right", "spoiled", "nothing\nfound")  # fmt: skip
    for one in manifests:
        if found := one.metrics.get("revised"):
            names = ("wrong", "repaired", "a line named", "line named", "right", "spoiled", "nothing found")
            table.add_row(str(one.round), *(str(found[name]) for name in names))
    return table


def open_table(manifests: list[Manifest]) -> Table:
    """What is seen in the answers to held-out open prompts without a model."""
    counted = ("responses", "cut off", "empty", "repeated", "echoes", "refusals", "boilerplate", "about itself")
    names = (
        "open\nanswers",
        "cut\noff",
        "empty",
        "in\ncircles",
        "the\nprompt",
        "refuse",
        "boiler-\nplate",
        "as an\nAI",
    )
    table = make_table("Answers to open prompts", "round", *names, "words")
    for one in manifests:
        if found := one.metrics.get("open prompts"):
            counts = (str(int(found[name])) if name in found else "" for name in counted)  # of older runs some alone
            table.add_row(str(one.round), *counts, f"{found['words']:.0f}")
    return table


def reward_models_table(found: OfRound) -> Table:
    """How often a round's reward model is right on pairs that it was not trained on."""
    title = f"Round {found.round}, {found.stage}: trained on {found.trained} pairs, measured on others"
    table = make_table(title, "pairs", "right", "95% interval", left=("pairs",))
    for name, one in found.measured.rows():
        share = f"{one.right / one.n:.1%} of {one.n}" if one.n else ""
        table.add_row(Text(one_line(name)), share, f"{one.low:.1%} to {one.high:.1%}")
    return table


def preferences_table(manifests: list[Manifest]) -> Table:
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
