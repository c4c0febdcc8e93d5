"""Text that is safe to print: names from files and parameters may contain any character."""

import unicodedata

_LAYOUT = "\n\t"  # our own messages have line breaks and tabs


def printable(text: str) -> str:
    r"""The text with every invisible character as an escape such as `\x1b`; line breaks and tabs stay.

    A terminal executes control characters (they can erase lines, change its title, or simulate typing). Formatting
    characters hide or reorder text (U+202E), and a lone surrogate cannot be printed.
    """
    if text.isprintable():
        return text
    return "".join(character if _visible(character) else _escape(character) for character in text)


def one_line(text: str) -> str:
    r"""As `printable`, with line breaks and tabs escaped too, so that a name cannot imitate a line of a message."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _visible(character: str) -> bool:
    return character in _LAYOUT or character.isprintable() or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
