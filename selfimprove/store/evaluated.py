"""Which evaluation of a round counts, where several stages of its flow evaluate: the last one."""

import os

from selfimprove.errors import SelfImproveError
from selfimprove.recipe.flow import flow_of
from selfimprove.records.files import RECIPE
from selfimprove.store.run import RunFolder


def places_in_round(folder: RunFolder) -> dict[str, int]:
    """Where in a round each stage stands; raises SelfImproveError where the recipe cannot be read."""
    if not os.path.lexists(folder.path / RECIPE):
        return {}
    return {step.name: at for at, step in enumerate(flow_of(folder.recipe(), lenient=True))}


def find_evaluating(folder: RunFolder, round_: int | None = None) -> dict[int, list[str]]:
    """The stages that evaluated, by round and in the order of the flow: what the last one found is what a round
    reached."""
    rounds = "round-[0-9]*" if round_ is None else f"round-{round_:02d}"
    found: dict[int, set[str]] = {}
    for path in folder.path.glob(f"{rounds}/*/evaluation-[0-9]*.parquet"):
        number = path.parts[-3].removeprefix("round-")
        if number.isdecimal():
            found.setdefault(int(number), set()).add(path.parts[-2])
    place: dict[str, int] = {}
    if any(len(names) > 1 for names in found.values()):
        try:
            place = places_in_round(folder)
        except (SelfImproveError, OSError):  # a damaged recipe is named by whoever reads it
            place = {}
    return {number: sorted(names, key=lambda one: (place.get(one, -1), one)) for number, names in sorted(found.items())}


def counts(folder: RunFolder, round_: int, stage: str) -> bool:
    """Whether a stage's evaluation is what its round reached."""
    return find_evaluating(folder, round_).get(round_, [stage])[-1] == stage
