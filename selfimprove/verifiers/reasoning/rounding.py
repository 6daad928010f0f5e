"""Whether a stated decimal is a value that was rounded, cut off, or computed with floating-point numbers."""

from fractions import Fraction

from selfimprove.verifiers.reasoning.expressions import Quantity, Value

MIN_ROUNDED = 100  # of a whole number that `=` may round to
FLOAT_DIGITS = 15  # that a floating-point number shows at least where it is not exact
FLOAT_ERROR = Fraction(1, 10**14)


def rounds_to(exact: Value, stated: Quantity, written: str, approx: bool, *, scaled: bool = True) -> bool:
    """Whether a stated decimal is an exact value rounded half up or cut off.

    With `=` only a decimal of two places may be cut off; a decimal of one is rounded only from a product or quotient
    (`scaled`), as nobody rounds 9.95 + 0.2, and so is a whole number, if it is large.
    """
    exact, plain = Fraction(exact), written.replace(",", "")
    decimals = shown = len(plain.partition(".")[2])
    if stated.percent:
        decimals += 2
    size = stated.value / 100 if stated.percent else stated.value
    unit = Fraction(1, 10**decimals)
    error = abs(exact) - abs(size)
    if (exact < 0) != (size < 0) and size != 0:
        return False
    if approx:
        if decimals == 0:
            unit *= 10 ** (len(plain) - len(plain.rstrip("0") or "0"))
        return abs(error) * 2 <= unit if error <= 0 else error < unit
    if decimals >= 2:
        return -unit <= 2 * error < unit or 0 <= error < unit
    return scaled and (shown > 0 or abs(stated.value) >= MIN_ROUNDED) and -unit <= 2 * error < unit


def is_float(exact: Value, stated: Quantity, written: str) -> bool:
    """Whether a stated decimal is an exact value as a computer's floating-point numbers give it."""
    digits = len(written.replace(",", "").replace(".", "").lstrip("0"))
    size = stated.value / 100 if stated.percent else stated.value
    return digits >= FLOAT_DIGITS and abs(exact - size) <= abs(Fraction(exact)) * FLOAT_ERROR
