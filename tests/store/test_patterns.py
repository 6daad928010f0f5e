"""How texts are searched without case: what is looked for first leaves nothing out."""

import random

import duckdb
import pytest

from selfimprove.store.patterns import find_piece, matches


@pytest.mark.parametrize(
    ("pattern", "piece"),
    [
        ("[0-9]+ apples", r"\ apple"),
        ("Ken gives away 2 of the [0-9]+", r"\ away\ 2\ of\ the\ "),
        ("slices", "lice"),
        (r"\+?abcd?e", "abc"),
        (".abc+?de", "abc"),
        ("^abc$", "abc"),
        (r".\$12.50", r"\$12"),
        ("abc[0-9]+", ""),  # begins with one
        ("Tina gives", ""),
        ("[0-9]+", ""),
        (".ask", ""),
        ("x?ab", ""),
        ("x?äbc", ""),
        ("(abc)?def", ""),
        (".abc|def", ""),
        ("[^]abc[d]", ""),
        ("[]abc]", ""),
        (r"\Q.abc", ""),
        (r"\pLabc", ""),
        ("(?i).abc", ""),
    ],
)
def test_a_piece_stands_in_each_match(pattern: str, piece: str) -> None:
    assert find_piece(pattern) == piece


def test_what_is_looked_for_first_leaves_no_match_out() -> None:
    draw, found, quick = random.Random(0), 0, 0
    parts = [
        "abc",
        "cab",
        "K",
        "s",
        " ",
        r"\d",
        "1",
        ".",
        "[ab]",
        "[^b]",
        "x",
        "?",
        "*",
        "+",
        "{2}",
        "{0,1}",
        "|",
        "(ab)",
        r"\+",
    ]
    texts = ["".join(draw.choices([*"abcABCkKsSxX1 +\u212a\u017fä\n", "aBc", "cab"], k=12)) for _ in range(2000)]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE one AS SELECT unnest(?::VARCHAR[]) AS text", [texts])

        def count(test: str, values: list[str]) -> int:
            return int(connection.execute(f"SELECT count(*) FROM one WHERE {test}", values).fetchall()[0][0])

        for _ in range(1000):
            pattern = "".join(draw.choices(parts, k=draw.randint(2, 6)))
            try:
                expected = count("regexp_matches(text, ?, 'i')", [pattern])
            except duckdb.Error:
                continue  # none of RE2's
            test, values = matches("text", pattern)
            assert count(test, values) == expected, pattern
            found, quick = found + bool(expected), quick + (len(values) == 2)
    assert found > 200 and quick > 40, "the patterns are such as to find something, also by a piece"
