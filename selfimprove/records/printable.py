"""Showing text that a model wrote on a terminal: bounded, and without anything that a terminal would obey."""

import unicodedata

MAX_SHOWN = 4000  # characters of one text
ESCAPED = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # controls, formats, surrogates, private use, separators of lines


def printable(text: str, limit: int = MAX_SHOWN) -> str:
    """Escape control, format and bidirectional characters (but \\n and tabs), and cut what is too long."""
    cut = text[:limit]
    safe = "".join(
        one if one in "\n\t" or unicodedata.category(one) not in ESCAPED else f"\\u{ord(one):04x}" for one in cut
    )
    return safe if len(text) <= limit else f"{safe} … ({len(text) - limit} more characters)"


def one_line(text: str, limit: int = 120) -> str:
    """A text on one line, its line ends shown."""
    return printable(text.replace("\n", " ⏎ "), limit)
