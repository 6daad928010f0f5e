"""Who judges: a verifier gives each rationale a verdict that is correct, incorrect or undecided, with a reason."""

from collections.abc import Callable

from selfimprove.recipe.catalog import find, register
from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.verifiers.addition import AdditionVerifier, LongAdditionVerifier
from selfimprove.verifiers.base import Verifier
from selfimprove.verifiers.choice import ChoiceVerifier
from selfimprove.verifiers.gym import GymVerifier
from selfimprove.verifiers.harness import FILTERS, HarnessVerifier
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.reference import MathVerifyVerifier
from selfimprove.verifiers.rising import RisingVerifier
from selfimprove.verifiers.text import TextVerifier

__all__ = ["Verifier", "declare_verifier", "make_verifier"]


def declare_verifier(name: str, make: Callable[[VerifierSettings], Verifier]) -> None:
    """Make a verifier known; `make` builds it, also in the worker processes that judge what may hang.

    Raises RecipeError where another one is called so.
    """
    register("verifier", name, make, make)


def make_verifier(settings: VerifierSettings) -> Verifier:
    """The verifier that settings name, but for a judge, which needs a model (`judge`)."""
    make: Callable[[VerifierSettings], Verifier] = find("verifier", settings.name)
    return make(settings)


declare_verifier("addition", AdditionVerifier)
declare_verifier("long-addition", LongAdditionVerifier)
declare_verifier("math", MathVerifier)
declare_verifier("text", TextVerifier)
declare_verifier("choice", ChoiceVerifier)
declare_verifier("math-verify", MathVerifyVerifier)
declare_verifier("reasoning_gym", GymVerifier)
declare_verifier("rising", RisingVerifier)
for _name in FILTERS:
    declare_verifier(_name, HarnessVerifier)
