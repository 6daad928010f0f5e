"""What a user can put right: each error is one line that says where, what, and what to do next."""

import difflib
from collections.abc import Iterable


class SelfImproveError(Exception):
    """A mistake or a fault that is not a bug; the command line prints it in one line and exits with 2."""


class RecipeError(SelfImproveError):
    """A recipe, an override or an exemplar file is not valid."""


class TaskError(SelfImproveError):
    """Problems could not be loaded, or training and held-out problems overlap."""


class ModelError(SelfImproveError):
    """A model or its tokenizer could not be loaded or built."""


class EngineError(SelfImproveError):
    """An engine cannot be started or reached, or does not serve the weights that it should."""


class UnreachableError(EngineError):
    """No server answered for too long; what is finished is kept, and the run can go on once one answers."""


class TrainingError(SelfImproveError):
    """A training stage ended without a usable checkpoint."""


class VerifierError(SelfImproveError):
    """A verifier could not be started, or responses could not be read."""


class ClusterError(SelfImproveError):
    """Ray is missing, cannot be reached, or lost its workers again and again."""


class StoreError(SelfImproveError):
    """A run on disk is locked, damaged, full, or belongs to another recipe."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name is nearest, or list the known ones where they are few."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(known)}" if 0 < len(known) <= 24 else ""


def not_known(noun: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, with the nearest one; where none is near, it may be of a file not imported."""
    suggestion = suggest(name, known)
    if suggestion.startswith("; did you mean"):
        return f"unknown {noun} '{name}'{suggestion}"
    return f"the {noun} '{name}' is not known; --import the file that declares it{suggestion}"
