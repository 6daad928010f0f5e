"""What a trial of a constitution found, as people read it."""

from collections.abc import Iterator

from rich.console import Console

from selfimprove.records.console import SafeConsole, make_table
from selfimprove.records.printable import one_line
from selfimprove.records.stats import mcnemar, wilson
from selfimprove.results.constitution_trial import EVERY, REJECTION, Row, Trial

LONGEST = 400  # characters of a text in an example


def print_trial(trial: Trial, console: Console | None = None, *, examples: int = 10) -> None:
    """Print how far the responses follow each principle, what that took, examples, and what to make of it."""
    console = console or SafeConsole()
    names = list(dict.fromkeys(name for row in trial.rows for name in row.shares))
    titles = ["\n".join(name.split()) for name in names]
    table = make_table(f"Responses to {len(trial.samples.of)} prompts that comply, in %, with 95% intervals", "way",
                       *titles, left=("way",))  # fmt: skip
    for row in trial.rows:
        table.add_row(_name(row), *(_share(row, name) for name in names))
    console.print(table)
    judged = any(row.wins for row in trial.rows)
    columns = (
        "found",
        "written",
        "kept",
        "rele-\nvance",
        "tokens",
        "model\nseconds",
        *(["win rate"] if judged else []),
    )
    table = make_table("What was kept, and what it took beside the first responses", "way", *columns, left=("way",))
    for row in trial.rows[1:]:
        table.add_row(_name(row), *_cost(row), *([_wins(row)] if judged else []))
    console.print(table)
    for row in trial.forms:
        if row.way.not_kept:
            reasons = ", ".join(f"{one_line(why)} ({count})" for why, count in sorted(row.way.not_kept.items()))
            console.print(f"{row.way.name}, not kept: {reasons}", highlight=False, soft_wrap=True)
    for question, texts in trial.examples(examples):
        console.print(f"\n{one_line(question, LONGEST)}", highlight=False, soft_wrap=True, style="bold")
        for name, text in _merge(texts):
            console.print(f"  {name}: {one_line(text.strip(), LONGEST)}", highlight=False, soft_wrap=True)
    console.print()
    for line in conclude(trial):
        console.print(line, highlight=False, soft_wrap=True)


def conclude(trial: Trial) -> Iterator[str]:
    """Whether a form beats rejection sampling with the same tokens, and how a run takes over the best one."""
    for row in trial.forms:
        (won, lost), plain, adjusted = row.paired, row.plain, trial.p_values[row.way.name]
        by_holm = f", {adjusted:.2g} by Holm" if len(trial.forms) > 1 else ""
        if plain:
            yield (
                f"{row.way.name}: {len(row.passing)} of {len(row.way.texts)} responses pass every check, by rejection "
                f"sampling with its {row.way.tokens} tokens {len(plain.passing)} (only the one {won}, only the other "
                f"{lost}, McNemar p = {mcnemar(won, lost):.2g}{by_holm}; {plain.way.tokens} tokens used)"
            )
    best = trial.best
    if best is None or best.plain is None:
        return
    won, lost = best.paired
    settings = {"direct": "no 'critique'"}.get(best.way.name, f"revise: {{{_settings(best.way.name)}}}")
    if won <= lost:
        yield (
            "no form does better than rejection sampling here; `flow: [frontier, generate, rank, best, sft, evaluate, "
            "promote]` with `rank: {reward: constitution}` trains on what it finds"
        )
    elif trial.p_values[best.way.name] >= 0.05:
        yield f"best: {best.way.name} ({settings}), by no more than chance: more prompts would tell"
    else:
        yield f"best: {best.way.name} ({settings})"


def _settings(name: str) -> str:
    if name.startswith("best-of-"):
        return f"best_of: {name.removeprefix('best-of-')}"
    return f"form: {name}"


def _name(row: Row) -> str:
    return f"  {REJECTION}" if row.way.name == REJECTION else row.way.name


def _share(row: Row, name: str) -> str:
    one = row.shares.get(name)
    if one is None or not one.n:
        return ""
    low, high = wilson(one.count, one.n)
    undecided = f"\n({one.undecided} ?)" if one.undecided and name != EVERY else ""
    return f"{100 * one.count / one.n:.0f}\n{100 * low:.0f}-{100 * high:.0f}{undecided}"


def _cost(row: Row) -> list[str]:
    way = row.way
    found = f"{way.found[0]}/{way.found[1]}" if way.found else ""
    relevance = "" if way.mean_relevance is None else f"{way.mean_relevance:.2f}"
    return [found, str(way.tried), f"{way.kept}/{len(way.texts)}", relevance, str(way.tokens), f"{way.seconds:.0f}"]


def _wins(row: Row) -> str:
    if row.wins is None:
        return ""
    low, high = row.wins.interval
    return f"{100 * row.wins.rate:.0f}% ({100 * low:.0f}-{100 * high:.0f})"


def _merge(texts: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Equal texts once, with the names of all ways that have them."""
    names: dict[str, list[str]] = {}
    form = ""
    for name, text in texts:
        form = form if name == REJECTION else name
        names.setdefault(text, []).append(f"{REJECTION} as {form}" if name == REJECTION else name)
    for text, mine in names.items():
        yield ", ".join(mine), text
