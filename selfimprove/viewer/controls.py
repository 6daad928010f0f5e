"""Which run another one is shown beside: the one that an address names, or its control."""

import re
from dataclasses import dataclass

from selfimprove.recipe import Recipe
from selfimprove.records.stats import Accuracy
from selfimprove.viewer.library import Figures, Library

NAMED = re.compile(r"(^|[^a-z])control([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Control:
    """A run that another one is shown beside, and why."""

    name: str
    figures: Figures
    reason: str = ""

    @property
    def rounds(self) -> dict[int, Accuracy]:
        return {one.round: one for one in self.figures.rounds}


def choose_control(library: Library, name: str, against: str | None) -> Control | None:
    """The run that is asked for by name, the run's control where nothing is said, and none for an empty name.

    Raises StoreError where there is no run of that name.
    """
    if against is None:
        found = find_control(library, name)
        return Control(found[0], library.figures(found[0]), found[1]) if found else None
    return Control(against, library.figures(against)) if against and against != name else None


def find_control(library: Library, name: str) -> tuple[str, str] | None:
    """The control of a run and what makes it one: a run with the same seed, model and problems that trains on seed
    rationales alone (`select.sources: seed`), or that is called a control; None where there is none, or the run is one
    itself."""
    own = library.recipe(name)
    if own is None or _is_control(name, own):
        return None
    found = []
    for other in library.folders():
        recipe = None if other == name else library.recipe(other)
        if recipe is None or _made_of(recipe) != _made_of(own):
            continue
        if reason := _is_control(other, recipe):
            found.append((_sources(recipe) != "seed", other, reason))
    return min(found)[1:] if found else None


def _made_of(recipe: Recipe) -> tuple[object, ...]:
    """What a run and its control share; on which device is none of it."""
    return recipe.seed, recipe.model.path, recipe.model.build, recipe.train, recipe.evaluate_on


def _sources(recipe: Recipe) -> str:
    """What a recipe trains on: samples, seed+samples or seed."""
    named = (getattr(settings, "sources", "") for _, settings in recipe.stages)
    return next((str(one) for one in named if one), "")


def _is_control(name: str, recipe: Recipe) -> str:
    """Why a run is a control; empty where it is none."""
    if _sources(recipe) == "seed":
        return "it trains on seed rationales alone"
    return "it is called so" if NAMED.search(name) else ""
