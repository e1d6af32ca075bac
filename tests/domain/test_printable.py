import pytest

from llmrec.domain.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\rb\x9b2J", r"a\rb\x9b2J"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("line\u2028line", r"line\u2028line"),
        ("half \ud83d", r"half \ud83d"),
    ],
)
def test_what_steers_a_terminal_or_turns_the_order_is_shown_instead(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_words_of_any_language_line_ends_and_joined_emoji_stay() -> None:
    text = "чай\n\tمی‌خواهم 👩‍👩‍👧 café"
    assert printable(text) == text
