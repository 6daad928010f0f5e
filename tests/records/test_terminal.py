import pytest

from selfimprove.records.printable import MAX_SHOWN, one_line, printable

HARMLESS = ["plain", "", "7 + 8 = 15\n\tso", "é 考え 😀 ∑ \u00a0", "a\\u001bb", "[red]text[/red]"]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_text_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\u001b[31mred\\u001b[0m"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("\x9b31m", "\\u009b31m"),  # the one-character form of the escape
        ("a\rb", "a\\u000db"),
        ("a\x08\x08b", "a\\u0008\\u0008b"),
        ("\x00\x7f\x85", "\\u0000\\u007f\\u0085"),
        ("\u202eevil\u202c", "\\u202eevil\\u202c"),  # right-to-left override
        ("\u2066a\u2069\u200f", "\\u2066a\\u2069\\u200f"),  # isolates and marks
        ("a\u200bb\ufeff\u00ad", "a\\u200bb\\ufeff\\u00ad"),  # zero-width characters
        ("\ud800", "\\ud800"),
        ("\ue000", "\\ue000"),
        ("\U000e0041", "\\ue0041"),  # a tag character, invisible
    ],
    ids=ascii,
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_every_control_character_but_line_end_and_tab_is_spelled_out() -> None:
    controls = [chr(code) for code in (*range(32), *range(127, 160))]
    kept = [one for one in controls if printable(one) == one]
    assert kept == ["\t", "\n"]


def test_a_long_text_is_cut_and_says_how_much_is_left() -> None:
    assert printable("abcdef", limit=4) == "abcd … (2 more characters)"
    assert printable("abcd", limit=4) == "abcd"
    shown = printable("\x1b" * 1_000_000)
    assert shown.startswith("\\u001b" * MAX_SHOWN + " …") and shown.endswith("(996000 more characters)")


def test_one_line_is_one_line_and_short() -> None:
    assert one_line("a\nb\n\nc") == "a ⏎ b ⏎  ⏎ c"
    assert one_line("a\r\x0b\x0c\x85b") == "a\\u000d\\u000b\\u000c\\u0085b"
    assert len(one_line("x\n" * 100_000)) < 200
    assert one_line("x" * 120) == "x" * 120
    assert one_line("x" * 121) == "x" * 120 + " … (1 more characters)"
    assert one_line("x" * 200, limit=10) == "x" * 10 + " … (190 more characters)"


@pytest.mark.parametrize("text", ["a\u2028b", "a\u2029b"], ids=ascii)
def test_one_line_spells_out_the_other_line_ends(text: str) -> None:
    assert one_line(text).splitlines() == [one_line(text)]
