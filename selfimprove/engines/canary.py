"""The canary: fixed texts whose log-probabilities show which weights an engine really serves."""

from dataclasses import dataclass

from selfimprove.engines.base import Engine, Score, Weights
from selfimprove.errors import EngineError

TEXTS = (
    ("The cat sat on the mat.", " It was warm there, and nobody came for an hour."),
    ("Question: 12 + 30 = ?", "\n12 + 30 = 42. The answer is 42."),
    ("4821+67=", "1+7+0=08\n2+6+0=08\n8+0+0=08\n4+0+0=04\n#4888"),
    ("def add(a, b):", "\n    return a + b\n"),
)
# Mean difference a token. Two programs round differently, and much more so in half precision.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.03}


@dataclass(frozen=True)
class Canary:
    """The texts' log-probabilities by transformers, by an engine, and by transformers with the weights before.

    Weights that were hardly trained differ from those before by less than rounding; `telling` says that they did not.
    """

    expected: tuple[float, ...]
    served: tuple[float, ...]
    before: tuple[float, ...] | None
    compared: tuple[int, ...]
    tokens: int
    tolerance: float

    @property
    def difference(self) -> float:
        """The mean absolute difference a token between what is served and what should be."""
        return self._distance(self.served, self.expected)

    @property
    def moved(self) -> float | None:
        """The same between the weights before and those that should be served now."""
        return None if self.before is None else self._distance(self.before, self.expected)

    @property
    def telling(self) -> bool:
        """Whether the old weights would have been noticed."""
        return self.moved is None or self.moved > 2 * self.difference

    @property
    def proved(self) -> bool:
        """Whether the engine gives the right numbers, and not those of the weights before."""
        if self.before is not None and self.difference > self.tolerance / 10:
            stale = self._distance(self.served, self.before) < self.difference
            return not stale and self.difference <= self.tolerance
        return self.difference <= self.tolerance

    def _distance(self, one: tuple[float, ...], other: tuple[float, ...]) -> float:
        return sum(abs(one[at] - other[at]) for at in self.compared) / max(1, self.tokens)


def read_expected(weights: Weights, dtype: str) -> list[Score]:
    """The texts' log-probabilities by transformers on the CPU, from a checkpoint's files."""
    from selfimprove.engines.transformers import TransformersEngine

    engine = TransformersEngine(weights.path, base=weights.base, dtype=dtype, device="cpu", chat=weights.chat)
    try:
        return engine.score(TEXTS)
    finally:
        engine.close()


def check_canary(engine: Engine, weights: Weights, dtype: str, before: tuple[float, ...] | None) -> Canary:
    """Score the texts with the engine and with transformers; `before` is what was expected of the weights before.

    Raises EngineError where no text fits the engine.
    """
    read, scored = read_expected(weights, dtype), engine.score(TEXTS)
    # A text that does not fit an engine says nothing of its weights.
    both = [at for at, pair in enumerate(zip(read, scored, strict=True)) if not any(one.too_long for one in pair)]
    if not both:
        raise EngineError(f"{weights.path}: none of the canary's texts fits the engine; let it take longer ones")
    return Canary(
        expected=tuple(one.logprob for one in read),
        served=tuple(one.logprob for one in scored),
        before=before,
        compared=tuple(both),
        tokens=sum(read[at].tokens for at in both),
        tolerance=TOLERANCE[dtype],
    )
