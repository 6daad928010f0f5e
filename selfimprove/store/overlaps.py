"""What a run says of rows that share text with problems that it evaluates: as stages note it, and in words."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

OVERLAPS = "overlaps"
"""Under this name the manifest of a stage that trains holds `Overlaps`."""
CLEAN = "without overlaps"
"""Under this name the manifest of an evaluation holds `Clean`."""
Noted = TypeVar("Noted", bound=BaseModel)


class Overlaps(BaseModel):
    """What was found among the rows of a training, in rows but for `problems` and those after it."""

    model_config = ConfigDict(extra="ignore")
    rows: NonNegativeInt
    found: NonNegativeInt
    dropped: NonNegativeInt
    problems: NonNegativeInt
    """Evaluated problems that share text with a row."""
    evaluated: NonNegativeInt
    compared: NonNegativeInt
    """Those whose runs of words can be told from those of others."""
    rules: dict[str, NonNegativeInt]
    """Rows with a question of theirs, by what they were found by."""


class Clean(BaseModel):
    """The accuracy on problems that share no text with what was trained until then."""

    model_config = ConfigDict(extra="ignore")
    problems: NonNegativeInt
    """Those that do."""
    n: NonNegativeInt
    correct: NonNegativeInt


def describe_overlaps(metrics: Mapping[str, object]) -> list[str]:
    """What a stage's manifest says of overlaps, a sentence each without its full stop."""
    said = []
    if found := _read(Overlaps, metrics.get(OVERLAPS)):
        rows, rules = f"{found.found:,} of {found.rows:,} rows", (f"{n:,} by {rule}" for rule, n in found.rules.items())
        text = f"text with {found.problems:,} of {found.evaluated:,} held-out problems ({', '.join(rules)})"
        if not found.found:
            said.append(f"none of {found.rows:,} rows shares text with the {found.evaluated:,} held-out problems")
        elif found.dropped:
            said.append(f"{rows} are left out, which share {text}")
        else:
            said.append(f"WARNING: {rows} share {text}")
    if clean := _read(Clean, metrics.get(CLEAN)):
        accuracy = f"{clean.correct / clean.n:.1%} of {clean.n:,}" if clean.n else "no problem is left"
        said.append(
            f"without the {clean.problems:,} held-out problems that share text with what was trained: {accuracy}"
        )
    return said


def _read(kind: type[Noted], value: object) -> Noted | None:
    """What a stage noted; None where it noted nothing, or somebody something else."""
    try:
        return None if value is None else kind.model_validate(value)
    except ValidationError:
        return None
