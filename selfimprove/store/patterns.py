"""How texts are searched without case: as regular expressions of RE2, which looks at a byte at a time unless what it
looks for begins with letters."""

import re

MIN_LETTERS = 3  # of a piece that is looked for first; shorter ones stand in too many texts
# What a pattern consists of as far as it matters here: other escapes, groups and choices are not looked into.
TOKEN = re.compile(
    r"\\(?P<escaped>[^A-Za-z0-9])|(?P<other>\\[dDwWsSbB]|\[\^?[^\[\]\\^][^\[\]\\]*\]|[.^$])(?:[*?+]|\{[0-9,]*\})?\??"
    r"|(?P<plain>[^\\\[\]().^$|*?+{}])|(?P<quantifier>[*?+]|\{[0-9,]*\})"
)
APART = re.compile(r"[^\x20-\x7e]|[ksKS]")  # a K and an S have a third form, and no text begins with them for RE2


def matches(column: str, pattern: str) -> tuple[str, list[str]]:
    """The condition in SQL that a column matches a pattern of RE2 without case, and its values.

    Where a pattern does not begin with a piece that each match holds, texts are searched for such a piece first, which
    takes a quarter of the time.
    """
    test, piece = f"regexp_matches({column}, ?, 'i')", find_piece(pattern)
    return (f"({test} AND {test})", [piece, pattern]) if piece else (test, [pattern])


def find_piece(pattern: str) -> str:
    """The longest piece, as a pattern, that each match of a pattern holds; empty where none is found or needed."""
    runs, at = [""], 0
    while at < len(pattern):
        token = TOKEN.match(pattern, at)
        if token is None:
            return ""
        at = token.end()
        if token["quantifier"] is not None:
            # What may be missing is no part of a piece, and what may be repeated ends one.
            runs[-1:] = [runs[-1] if token["quantifier"] == "+" else runs[-1][:-1], ""]
        elif token["other"] is not None:
            runs.append("")
        else:
            runs[-1] += token["escaped"] or token["plain"]
    pieces = [piece for run in runs for piece in APART.split(run)]
    longest = max(pieces, key=len)
    return re.escape(longest) if len(longest) >= MIN_LETTERS > len(pieces[0]) else ""
