"""The words, units and well-known numbers that the checker of reasoning understands."""

from fractions import Fraction

UNITS_OF_WORDS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}
TENS = {
    word: 10 * ten for ten, word in enumerate(["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 3)
}
NUMBER_WORDS = {**UNITS_OF_WORDS, **TENS, "fourty": 40, "fourthy": 40}
NUMBER_WORDS |= {
    f"{ten}-{one}": NUMBER_WORDS[ten] + NUMBER_WORDS[one]
    for ten in ("twenty", *TENS)
    for one in list(UNITS_OF_WORDS)[1:10]
}
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12, "dozens": 12}

# `second` is left out: it is a place in a row as often as a share.
SHARES = {
    name: Fraction(1, denominator)
    for denominator, names in {
        2: "half halves",
        3: "third thirds",
        4: "quarter quarters fourth fourths",
        5: "fifth fifths",
        6: "sixth sixths",
        7: "seventh sevenths",
        8: "eighth eighths",
        9: "ninth ninths",
        10: "tenth tenths",
    }.items()
    for name in names.split()
}
TIMES = {"twice": 2, "double": 2, "thrice": 3, "triple": 3}

_ORDINALS = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
]
# Words that give a number in a question and in no claim.
QUESTION_WORDS: dict[str, tuple[Fraction, ...]] = {
    word: tuple(Fraction(value) for value in values.split())
    for values, words in {
        "1": "once single a an each every another per",
        "2": "doubled doubles doubling pair pairs couple couples both twin twins weekend weekends",
        "1/2": "halved halve halves halving halfway",
        "3": "tripled triples tripling triplets trio triangle triangles tricycle tricycles",
        "4": "quadruple quadrupled quadruples quadruplets square squares rectangle rectangles rectangular",
        "5": "quintuple fivefold weekday weekdays friday fridays pentagon pentagons",
        "6": "hexagon hexagons die dice saturday saturdays half-dozen",
        "7": "week weeks weekly",
        "8": "octagon octagons",
        "1 0.01": "penny pennies",
        "5 0.05": "nickel nickels",
        "10 0.1": "dime dimes",
        "25 0.25": "quarter quarters",
        "12": "dozen dozens",
        "14": "fortnight",
        "20": "score",
        "52": "cards",
        "100": "hundred century centuries",
        "1000": "thousand",
        "1000000": "million",
        "1000000000": "billion",
    }.items()
    for word in words.split()
}
QUESTION_WORDS |= {word: (Fraction(place),) for place, word in enumerate(_ORDINALS, 1)}

# What people know without being told: halves and doubles, percentages, the calendar, the clock, lengths, weights.
CONSTANTS = frozenset(
    map(
        Fraction,
        [
            "0",
            "1",
            "2",
            "4",
            "7",
            "10",
            "12",
            "16",
            "24",
            "30",
            "31",
            "36",
            "52",
            "60",
            "90",
            "100",
            "180",
            "360",
            "365",
            "1000",
            "3600",
            "5280",
            "0.01",
            "0.5",
            "1/2",
        ],
    )
)

# Only words that name one amount: a `second` may be a place in a row, a `point` anything, and how
# many days a month has depends on the month.
_UNITS: dict[str, dict[str, int | Fraction]] = {
    "time": {
        "minute minutes min mins": 1,
        "hour hours hr hrs": 60,
        "day days": 24 * 60,
        "week weeks": 7 * 24 * 60,
        "seconds sec secs": Fraction(1, 60),
    },
    "years": {"month months": 1, "year years": 12, "decade decades": 120},
    "length": {
        "mm millimeter millimeters millimetre millimetres": 1,
        "cm centimeter centimeters centimetre centimetres": 10,
        "meter meters metre metres": 1000,
        "km kilometer kilometers kilometre kilometres": 10**6,
    },
    "feet": {"inch inches": 1, "ft foot feet": 12, "yard yards": 36, "mile miles": 63360},
    "weight": {
        "mg milligram milligrams": Fraction(1, 1000),
        "gram grams": 1,
        "kg kgs kilogram kilograms kilo kilos": 1000,
    },
    "pounds": {"ounce ounces oz": 1, "lb lbs pound pounds": 16},
    "volume": {
        "ml milliliter milliliters millilitre millilitres": 1,
        "liter liters litre litres": 1000,
    },
    "cups": {"cup cups": 1, "pint pints": 2, "quart quarts": 4, "gallon gallons": 16},
    "money": {"cent cents penny pennies ¢": 1, "nickel nickels": 5, "dime dimes": 10, "dollar dollars $": 100},
    "count": {"dozen dozens": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9},
}
UNITS: dict[str, tuple[str, Fraction]] = {
    word: (kind, Fraction(size))
    for kind, sizes in _UNITS.items()
    for words, size in sizes.items()
    for word in words.split()
}
