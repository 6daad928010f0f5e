"""Who judges: a verifier gives each rationale a verdict that is correct, incorrect or undecided, with a reason."""

from selfimprove.verifiers.addition import AdditionVerifier
from selfimprove.verifiers.base import Verifier
from selfimprove.verifiers.number import NumberVerifier
from selfimprove.verifiers.text import TextVerifier

__all__ = ["Verifier", "make_verifier"]


def make_verifier(name: str, *, stated: bool = False) -> Verifier:
    """The verifier that a task names."""
    if name == "number":
        return NumberVerifier(stated=stated)
    return AdditionVerifier() if name == "addition" else TextVerifier()
