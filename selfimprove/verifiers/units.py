"""Units, as far as they can be told from products of letters: `7 cm` has one, `4ac` has none."""

import re

# Words that go on with a second number, or that make another number of this one, are no unit: `7 or eight`, `7 tenths`.
NO_UNIT = (
    r"or|and|to|plus|minus|but|not|out|more|less|fewer|multiplied|divided|remainder|squared|cubed|factorial|pi|sqrt"
    r"|half|halves|thirds|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|thousandths"
    r"|mil|mn|bn|lakhs?|crores?|choose|mod|root|tens|hundreds|thousands|millions|billions|trillions|grand|gross"
    r"|mila|mille|milliers|millones|millions?|milioni|milhoes|[Tt]ausend|[Mm]illionen|miljoen|duizend|milyon|ribu|juta"
)
_SCALES = r"hundred|thousand|million|billion|trillion|dozen"
# Short ones are known by name: any other two or three letters behind a number are a product.
SHORT = {
    "mm", "cm", "dm", "m", "km", "ft", "yd", "mi", "g", "kg", "mg", "lb", "lbs", "oz", "s", "sec", "ms", "min", "h",
    "hr", "hrs", "ml", "cl", "dl", "mph", "kph", "kmh", "kmph", "rpm", "kj", "kn", "kw", "kwh", "hz", "khz", "mhz",
    "ghz", "kpa", "mol", "cal", "kcal", "kb", "mb", "gb", "tb", "px", "pt", "am", "pm", "usd", "eur", "gbp", "inr",
    "rs", "sq", "cu", "deg", "rad", "gal", "qt", "pts", "yr", "yrs", "mo", "wk", "wks", "day", "days", "cc", "db", "ev",
    "mev", "ohm", "pcs",
}  # fmt: skip
SYMBOLS = set("mgshlLJNWVACFK")  # of one letter, where they stand upright behind a value
_WORD = re.compile(r"[A-Za-z]+")
_SHAPE = re.compile(r"[A-Za-z°²³^/.'() \d-]{1,100}")
_NEVER = re.compile(
    rf"\b(?:{NO_UNIT}|{_SCALES}|than|least|most|between|below|negative|per cent|percent|of \d|times \d)\b",
    re.IGNORECASE,
)


def is_unit(text: str) -> bool:
    """Whether words behind a number are a unit or what is counted, and leave its value as it is."""
    words = _WORD.findall(text)
    if not words or not _SHAPE.fullmatch(text) or _NEVER.search(text):
        return False
    return all(len(word) > 2 or word.lower() in SHORT or len(words) > 1 for word in words)


# These say another number than the one before them, or only a bound of one: `5 degrees below zero`, `5 at most`.
# And these say something of it, as a unit never does: `18 would be wrong`.
_OTHER = re.compile(
    r"\b(?:below|negative|minus|at (?:most|least)|is|was|are|were|would|will|could|should|might|cannot|not|never|wrong"
    r"|incorrect|if|unless|instead)\b",
    re.IGNORECASE,
)
_SINGLE = {"m", "g", "s", "h", "l", "L"}
_LENGTHS = {"m", "mm", "cm", "dm", "km", "in", "ft", "yd", "mi"}
_FIRST = re.compile(r"/?\s?\(?([A-Za-z]+|[^A-Za-z])(.?)")


def is_unit_of_number(text: str, *, attached: bool) -> bool:
    """Whether letters behind a number are a unit: `7cm` and `7 km` have one, `4ac`, `4 bd` and `3s^2` are products."""
    if _OTHER.search(text):
        return False
    first = _FIRST.match(text)
    if first is None or not first[1].isalpha():
        return True
    word, after = first[1], first[2]
    if after == "^" and word.lower() not in _LENGTHS:
        return len(word) > 3
    if len(word) == 1:
        return not attached or word in _SINGLE
    if len(word) <= 3 and (attached or len(word) == 2):
        return word.lower() in SHORT | {"in", "ha"}
    return not (attached and len(word) <= 4 and not re.search("[aeiou]", word.lower()))
