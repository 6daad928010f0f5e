"""Who judges: a verifier gives each rationale a verdict that is correct, incorrect or undecided, with a reason."""

from collections.abc import Callable, Mapping

from selfimprove.recipe.task_settings import VerifierSettings
from selfimprove.verifiers.addition import AdditionVerifier
from selfimprove.verifiers.base import Verifier
from selfimprove.verifiers.choice import ChoiceVerifier
from selfimprove.verifiers.gym import GymVerifier
from selfimprove.verifiers.harness import FILTERS, HarnessVerifier
from selfimprove.verifiers.math import MathVerifier
from selfimprove.verifiers.reference import MathVerifyVerifier
from selfimprove.verifiers.text import TextVerifier

__all__ = ["VERIFIERS", "Verifier", "make_verifier"]

VERIFIERS: Mapping[str, Callable[[VerifierSettings], Verifier]] = {
    "addition": AdditionVerifier,
    "math": MathVerifier,
    "text": TextVerifier,
    "choice": ChoiceVerifier,
    "math-verify": MathVerifyVerifier,
    "reasoning_gym": GymVerifier,
    **dict.fromkeys(FILTERS, HarnessVerifier),
}


def make_verifier(settings: VerifierSettings) -> Verifier:
    """The verifier that settings name, but for a judge, which needs a model (`judge`)."""
    return VERIFIERS[settings.name](settings)
