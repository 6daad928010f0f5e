"""One record and what hangs on it, as a tree."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from selfimprove.constitution.show import word_diff
from selfimprove.records.console import SafeConsole
from selfimprove.records.lineage import build_graph, descendants
from selfimprove.records.printable import MAX_SHOWN, one_line, printable
from selfimprove.store.files import check_shown
from selfimprove.store.query import TEXTS, TRACES, Query, cut_texts

COLORS = {"correct": "green", "incorrect": "red", "undecided": "yellow"}
MAX_SAMPLES = 40
MAX_MARKED = 100_000  # characters of a text whose steps are shown
CUT = MAX_SHOWN - 50  # characters of any other text, with room for how many more there are


def print_record(query: Query, prefix: str, console: Console | None = None) -> None:
    """Print the tree of the record whose id begins with `prefix`; raises StoreError."""
    check_shown(query.folder)
    identity, kind = query.find(prefix)
    shown = {"problem": _problem, "rationale": _rationale, "checkpoint": _checkpoint}
    if kind in shown:
        tree = shown[kind](query, identity)
    elif kind == "preference":
        tree = _preference(query, identity)
    elif (record := query.record(kind, identity, cut=CUT))["parents"] and kind not in ("evaluation", "promotion"):
        parent = record["parents"][0]
        parent_kind = query.find(parent)[1]
        tree = _heading(kind, identity, _fields(record))
        if parent_kind in shown:
            tree.add(shown[parent_kind](query, parent))
    else:
        tree = _heading(kind, identity, _fields(record))
    (console or SafeConsole()).print(tree)


def _heading(kind: str, identity: str, detail: str = "") -> Tree:
    return Tree(Text.assemble((kind, "bold"), f" {identity} ", detail))


def _fields(record: Mapping[str, object]) -> str:
    hidden = {"id", "parents", "stage", "steps", "prompt", "completion"}
    return ", ".join(f"{name} {one_line(str(value))}" for name, value in record.items() if name not in hidden)


def _traces(query: Query, where: str, *values: object) -> list[dict[str, Any]]:
    """Traces with the beginnings of their texts, and with how long a text is in all."""
    found = f"SELECT * FROM ({TRACES}) WHERE {where} ORDER BY round, stage, origin DESC, sample"
    cut = f"SELECT * REPLACE (text[:{MAX_MARKED}] AS text), length(text) AS characters FROM ({found})"
    return query.rows(cut_texts(cut, [name for name in TEXTS if name != "text"], CUT), *values)


def _problem(query: Query, identity: str) -> Tree:
    record = query.record("problem", identity, cut=CUT)
    detail = f"{record['task']}, level {record['level']}, group {one_line(record['group'])}"
    tree = _heading("problem", identity, detail)
    tree.add(Text(f"{printable(record['question'])}  expected: {printable(str(record['answer']))}"))
    traces = _traces(query, "problem = ?", identity)
    for row in traces[:MAX_SAMPLES]:
        tree.add(_sample_line(row))
    if len(traces) > MAX_SAMPLES:
        tree.add(Text(f"… {len(traces) - MAX_SAMPLES} more samples"))
    return tree


def _sample_line(row: dict[str, Any]) -> Text:
    outcome = row["outcome"] or "not judged"
    fate = "" if row["kept"] is None else ", kept" if row["kept"] else f", turned away: {row['decision']}"
    return Text.assemble(
        f"{row['id'][:10]} round {row['round']} {row['stage']} {row['origin']}: ",
        (outcome, COLORS.get(outcome, "")),
        f" ({one_line(row['reason'] or '')}){one_line(fate, 160)}",
    )


def _rationale(query: Query, identity: str) -> Tree:
    row = _traces(query, "id = ?", identity)[0]
    detail = f"round {row['round']}, {row['stage']}, {row['origin']}, sample {row['sample']}"
    tree = _heading("rationale", identity, detail)
    problem = tree.add(Text.assemble(("problem", "bold"), f" {row['problem']} {one_line(row['question'] or '')}"))
    problem.add(Text(f"expected: {printable(str(row['expected']))}"))
    hint = " (with the answer as a hint)" if row["origin"] == "rationalized" else ""
    tree.add(Text.assemble((f"prompt{hint}", "bold"), "\n", printable(row["prompt"])))
    tree.add(Text.assemble(("written", "bold"), "\n", _marked(row)))
    if row["continues"]:
        _add_revision(query, tree, row)
    logprob = "no log-probability" if row["logprob"] is None else f"log-probability {row['logprob']:.3f}"
    tree.add(
        Text(
            f"{row['tokens']} tokens, {logprob}, temperature {row['temperature']}, "
            f"seed {row['seed']}, ended by {row['finish']}, checkpoint {row['checkpoint'][:10]}"
        )
    )
    if row["outcome"]:
        verdict = tree.add(
            Text.assemble(("verdict", "bold"), f" {row['verdict'][:10]} ", (row["outcome"], COLORS[row["outcome"]]),
                          f": {printable(row['reason'])}; steps: {row['reasoning']}")
        )  # fmt: skip
        for number, step in enumerate(row["steps"] or []):
            note = _step_note(step)
            if step["outcome"] != "correct" or note:
                part = one_line(row["text"][step["start"] : step["end"]])
                shown = f"  {printable(step['reason'])}{note}"
                verdict.add(Text.assemble(f"step {number + 1} ", (part, COLORS[step["outcome"]]), shown))
        if row["coverage"] is not None:
            verdict.add(Text(f"{row['coverage']:.0%} of the sentences with numbers were checked"))
        if row["second"]:
            differs = "differs" if row["disputed"] else "agrees"
            second = f"{row['second_verifier']} {differs}: {row['second']}, {printable(row['second_reason'])}"
            verdict.add(Text(second, "yellow" if row["disputed"] else ""))
    if row["kept"] is not None:
        tree.add(Text.assemble(("decision", "bold"), f" {'kept' if row['kept'] else 'turned away'}: ",
                               printable(row["decision"])))  # fmt: skip
    _add_trained(query, tree, identity)
    siblings = [one for one in _traces(query, "problem = ? AND round = ?", row["problem"], row["round"])
                if one["id"] != identity and not one["held_out"]]  # fmt: skip
    if siblings and not row["held_out"]:
        branch = tree.add(Text("other samples of this problem in this round", "bold"))
        for one in siblings[:MAX_SAMPLES]:
            branch.add(_sample_line(one))
    return tree


def _add_revision(query: Query, tree: Tree, row: dict[str, Any]) -> None:
    """What a rationale goes on from: the last right step of another one, or a response that it revises."""
    found = query.rows("SELECT * FROM revision WHERE parents[1] = ? LIMIT 1", row["id"])
    if not found:
        tree.add(Text(f"after the last right step of {row['continues']}"))
        return
    revision = found[0]
    fate = "kept" if revision["kept"] else f"not kept: {printable(revision['reason'])}"
    title = f" {revision['id'][:10]} of {row['continues']}, step {revision['step']}, {fate}"
    branch = tree.add(Text.assemble(("revision", "bold"), title))
    branch.add(Text(f"principle {revision['principle']} of {printable(revision['constitution'])}"))
    if revision["before"]:
        branch.add(Text(f"the principle's check: {revision['before']} before, {revision['after']} after"))
    of = (*revision["parents"], "", "", "")[2]
    for critique in query.rows(cut_texts("SELECT id, line, text FROM critique WHERE id = ?", ["text"], CUT), of)[:1]:
        line = f", names line {critique['line']}" if critique["line"] else ""
        branch.add(Text.assemble(("critique", "bold"), f" {critique['id'][:10]}{line}\n", printable(critique["text"])))
    for before in query.rows(
        f"SELECT text[:{MAX_SHOWN}] AS text FROM rationale WHERE id = ? LIMIT 1", row["continues"]
    ):
        branch.add(Text(f"changes: {printable(word_diff(before['text'][:MAX_SHOWN], row['text'][:MAX_SHOWN]))}"))


def _step_note(step: dict[str, Any]) -> str:
    """Where a step's numbers come from, as far as that is not plainly the question."""
    notes = []
    if step["uses"]:
        notes.append(f"from step {', '.join(str(one + 1) for one in step['uses'])}")
    if step["unknown"]:
        notes.append(f"{', '.join(map(one_line, step['unknown']))} from nowhere")
    if not step["needed"]:
        notes.append("the answer does not need it")
    return f" ({'; '.join(notes)})" if notes else ""


def _marked(row: dict[str, Any]) -> Text:
    """A trace's text with each step in the colour of its outcome."""
    text, marked, at = row["text"], Text(), 0
    for step in sorted(row["steps"] or [], key=lambda one: int(one["start"])):
        if step["start"] < at:
            continue
        marked.append(printable(text[at : step["start"]]))
        marked.append(printable(text[step["start"] : step["end"]]), style=COLORS[step["outcome"]])
        at = step["end"]
    marked.append(printable(text[at:]))
    if row["characters"] > len(text):
        marked.append(f" … ({row['characters'] - len(text)} more characters)")
    return marked


def _preference(query: Query, identity: str) -> Tree:
    record = query.record("preference", identity, cut=CUT)
    principle = f", principle {record['principle']}" if record["principle"] else ""
    detail = f"round {record['round']}, by {record['source']}, margin {record['margin']:g}{principle}"
    tree = _heading("preference", identity, detail)
    tree.add(Text.assemble(("prompt", "bold"), "\n", printable(record["prompt"])))
    for at, name in enumerate(("chosen", "rejected")):
        branch = tree.add(Text.assemble((name, "bold"), "\n", printable(record[name])))
        for row in _traces(query, "id = ?", (*record["parents"], "")[at]):
            branch.add(_sample_line(row))
    for parent in record["parents"][2:]:
        kind = query.find(parent)[1]
        tree.add(Text.assemble((kind, "bold"), f" {parent[:10]} {_fields(query.record(kind, parent, cut=CUT))}"))
    return tree


def _add_trained(query: Query, tree: Tree, identity: str) -> None:
    """What a rationale was trained into: its example, the checkpoints, and whether they were promoted."""
    graph = build_graph(query.nodes())
    for one in sorted(descendants(graph, identity, up_to="checkpoint"), key=lambda one: str(graph.nodes[one]["kind"])):
        kind = graph.nodes[one]["kind"]
        if kind == "example":
            example = query.record(kind, one, cut=CUT)
            branch = tree.add(Text.assemble(("example", "bold"), f" {one}"))
            branch.add(Text(f"trained prompt: {one_line(example['prompt'])}"))
        elif kind == "preference":
            record = query.record(kind, one, cut=CUT)
            role = "chosen" if record["parents"][0] == identity else "rejected"
            other = record["parents"][role == "chosen"]
            tree.add(Text.assemble(("preference", "bold"), f" {one} {role}, beside {other[:10]}"))
        elif kind == "checkpoint":
            record = query.record(kind, one, cut=CUT)
            promotions = query.rows("SELECT * FROM promotion WHERE parents[1] = ?", one)
            fate = f", {printable(promotions[0]['reason'])}" if promotions else ""
            tree.add(Text.assemble(("checkpoint", "bold"), f" {one} round {record['round']} {record['path']}{fate}"))


def _checkpoint(query: Query, identity: str) -> Tree:
    record = query.record("checkpoint", identity, cut=CUT)
    tree = _heading("checkpoint", identity, f"round {record['round']}, {record['method']}, {printable(record['path'])}")
    tree.add(Text(f"weights {record['weights']}"))
    base = [one for one in record["parents"] if query.rows("SELECT id FROM checkpoint WHERE id = ?", one)]
    tree.add(Text(f"trained from checkpoint {base[0]}" if base else "trained from nothing or from the given model"))
    origins = query.rows(
        "SELECT origin, count(*) AS rows FROM (SELECT DISTINCT ON (id) * FROM example) "
        "WHERE id IN (SELECT unnest(parents) FROM checkpoint WHERE id = ?) GROUP BY origin ORDER BY origin",
        identity,
    )
    for row in origins:
        tree.add(Text(f"{row['rows']} examples: {row['origin']}"))
    for row in query.rows(
        "SELECT source, count(*) AS rows FROM (SELECT DISTINCT ON (id) * FROM preference) "
        "WHERE id IN (SELECT unnest(parents) FROM checkpoint WHERE id = ?) GROUP BY source ORDER BY source",
        identity,
    ):
        tree.add(Text(f"{row['rows']} preference pairs: by {row['source']}"))
    for row in query.rows('SELECT * FROM evaluation WHERE parents[1] = ? ORDER BY task, level, "group"', identity):
        share = f"{row['correct'] / row['n']:.0%} of {row['n']}" if row["n"] else "nothing was decided"
        interval = f" ({row['low']:.0%} to {row['high']:.0%})" if row["n"] else ""
        tree.add(Text(f"{row['task']} {row['group']}: {share}{interval}"))
    for row in query.rows("SELECT * FROM promotion WHERE parents[1] = ?", identity):
        tree.add(Text(printable(row["reason"])))
    return tree
