"""What a run says of rows that share text with problems that it evaluates: as stages note it, and in words."""

from collections.abc import Mapping
from typing import Any

OVERLAPS = "overlaps"
"""Under this name the manifest of a stage that trains holds how many of its rows were compared, and what was found."""
CLEAN = "without overlaps"
"""Under this name the manifest of an evaluation holds the accuracy on problems that share no text with what was trained
until then."""


def describe_overlaps(metrics: Mapping[str, Any]) -> list[str]:
    """What a stage's manifest says of overlaps, a sentence each without its full stop."""
    said = []
    if found := metrics.get(OVERLAPS):
        whole = f"{found['found']:,} of {found['rows']:,} rows"
        of = f"text with {found['problems']:,} of {found['held out']:,} held-out problems"
        rules = ", ".join(f"{count:,} by {rule}" for rule, count in found["rules"].items())
        if not found["found"]:
            said.append(f"none of {found['rows']:,} rows shares text with the {found['held out']:,} held-out problems")
        elif found["dropped"]:
            said.append(f"{whole} are left out, which share {of} ({rules})")
        else:
            said.append(f"WARNING: {whole} share {of} ({rules})")
    if clean := metrics.get(CLEAN):
        accuracy = f"{clean['correct'] / clean['n']:.1%} of {clean['n']:,}" if clean["n"] else "no problem is left"
        said.append(
            f"without the {clean['problems']:,} held-out problems that share text with what was trained: {accuracy}"
        )
    return said
