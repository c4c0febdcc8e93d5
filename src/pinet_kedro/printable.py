"""Text that is safe to show: names come from files and parameters, and may hold anything."""

import unicodedata

_LAYOUT = "\n\t"  # messages have lines of their own


def printable(text: str) -> str:
    r"""The text with every invisible character as an escape such as `\x1b`; line breaks and tabs stay.

    A terminal obeys control characters (it may erase lines, change its title, answer as if somebody typed), formatting
    characters hide or reorder their neighbours (U+202E), and a lone surrogate cannot be printed at all.
    """
    if text.isprintable():
        return text
    return "".join(character if _visible(character) else _escape(character) for character in text)


def one_line(text: str) -> str:
    r"""As `printable`, with line breaks and tabs as escapes too: a name cannot pretend to be a line of a message."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _visible(character: str) -> bool:
    return character in _LAYOUT or character.isprintable() or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
