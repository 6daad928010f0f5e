"""Who judges: a verifier gives each rationale a verdict that is correct, incorrect or undecided, with a reason."""

from selfimprove.verifiers.addition import AdditionVerifier
from selfimprove.verifiers.base import Verifier
from selfimprove.verifiers.number import NumberVerifier
from selfimprove.verifiers.text import TextVerifier

__all__ = ["VERIFIERS", "Verifier"]

VERIFIERS: dict[str, Verifier] = {
    verifier.name: verifier for verifier in (AdditionVerifier(), NumberVerifier(), TextVerifier())
}
