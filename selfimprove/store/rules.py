"""The rules by which records are counted, written once in SQL for whatever asks a run's files or its index."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from selfimprove.errors import SelfImproveError
from selfimprove.recipe.flow import flow_of
from selfimprove.store.run import RunFolder

# As `Verdict.reasoning`: incorrect if a step is, correct if all are, undecided where nothing was checked.
REASONING = """
    CREATE OR REPLACE MACRO reasoning_of(steps) AS
        CASE WHEN steps IS NULL THEN NULL
             WHEN len(list_filter(steps, lambda s: s.outcome = 'incorrect')) > 0 THEN 'incorrect'
             WHEN len(steps) = 0 OR len(list_filter(steps, lambda s: s.outcome = 'undecided')) > 0 THEN 'undecided'
             ELSE 'correct' END
"""
FIRST_WRONG = """
    CREATE OR REPLACE MACRO first_wrong(steps) AS list_filter(steps, lambda s: s.outcome = 'incorrect')[1]
"""
# Reasons that differ in their numbers and quoted words alone are one: the number of a column or a step is kept.
SHAPE = r"""
    CREATE OR REPLACE MACRO shape_of(reason) AS
        regexp_extract(reason, '^[A-Za-z]+ [0-9]+ ') || regexp_replace(regexp_replace(
            substr(reason, 1 + length(regexp_extract(reason, '^[A-Za-z]+ [0-9]+ '))),
            '[0-9]+(?:[.,][0-9]+)*', '#', 'g'), '(^|[ :(])(?:''[^'']*''|"[^"]*")', '\1…', 'g')
"""
CAUSE = r"""
    CREATE OR REPLACE MACRO cause_of(kept, reason) AS
        CASE WHEN kept IS NULL OR kept THEN '' ELSE
             shape_of(regexp_replace(reason[:300], '(?s)(^|: )answered .*', '\1another answer than the expected one'))
        END
"""
HELD_OUT = "CREATE OR REPLACE MACRO is_held_out(stage) AS list_contains([{names}]::VARCHAR[], stage)"
# Of traces of training problems, with their columns `origin`, `outcome`, `reasoning`, `kept` and `voted`.
COUNTS = {
    "sampled": "origin = 'sampled'",
    "correct": "origin = 'sampled' AND outcome = 'correct'",
    "steps_valid": "origin = 'sampled' AND outcome = 'correct' AND reasoning <> 'incorrect'",
    "wrong_reason": "origin = 'sampled' AND outcome = 'correct' AND reasoning = 'incorrect'",
    "kept": "kept",
    "kept_vote": "kept AND voted",
    "undecided": "outcome = 'undecided'",
}
AGAIN = {
    "written": "TRUE",
    "correct": "outcome = 'correct'",
    "kept": "kept",
}


def macros(folder: RunFolder) -> Iterator[str]:
    """The statements that make the rules known to a connection: `reasoning_of(steps)`, `first_wrong(steps)`,
    `shape_of(reason)`, `cause_of(kept, reason)` and `is_held_out(stage)`."""
    yield from (REASONING, FIRST_WRONG, SHAPE, CAUSE)
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(held_out_stages(folder)))
    yield HELD_OUT.format(names=names)


def held_out_stages(folder: RunFolder) -> set[str]:
    """The stages of a run that write about held-out problems: by their declarations, or because they evaluated."""
    found = {path.parent.name for path in folder.path.glob("round-[0-9]*/*/evaluation-[0-9]*.parquet")}
    try:
        flow = flow_of(folder.recipe(), lenient=True) if folder.has_recipe() else []
    except SelfImproveError:  # a damaged recipe is named by whoever reads it
        flow = []
    return found | {step.name for step in flow if step.stage.about == "held out"}


@dataclass
class Again:
    """What a stage wrote after the samples, such as a repair, and how far it came."""

    written: int
    correct: int
    kept: int


@dataclass
class Funnel:
    """How many rationales of a round came how far; `again` is by the stage that wrote them."""

    sampled: int = 0
    correct: int = 0
    steps_valid: int = 0
    wrong_reason: int = 0
    kept: int = 0
    kept_vote: int = 0
    undecided: int = 0
    again: dict[str, Again] = field(default_factory=dict)

    def numbers(self) -> dict[str, int]:
        """All counts by name, those of later stages after the stage's name."""
        plain = {name: count for name, count in vars(self).items() if isinstance(count, int)}
        later = {f"{stage}_{name}": count for stage, one in self.again.items() for name, count in vars(one).items()}
        return plain | later


def count_funnels(ask: Callable[[str], list[dict[str, Any]]], source: str, weight: str = "1") -> dict[int, Funnel]:
    """The funnel of each round, by one query on a source of traces that count `weight` each."""

    def sums(counts: dict[str, str], prefix: str = "") -> str:
        return ", ".join(f"sum({weight}) FILTER ({rule}) AS {prefix}{name}" for name, rule in counts.items())

    rows = ask(
        f"SELECT round, stage, origin <> 'sampled' AS later, {sums(COUNTS)}, {sums(AGAIN, 'again_')} "
        f"FROM {source} WHERE NOT is_held_out(stage) GROUP BY ALL ORDER BY ALL"
    )
    found: dict[int, Funnel] = {}
    for row in rows:
        funnel = found.setdefault(row["round"], Funnel())
        for name in COUNTS:
            setattr(funnel, name, getattr(funnel, name) + int(row[name] or 0))
        if row["later"]:
            funnel.again[row["stage"]] = Again(**{name: int(row[f"again_{name}"] or 0) for name in AGAIN})
    return found
