"""Text that is safe to print: names from files and parameters may contain any character, addresses a password."""

import re
import unicodedata

_LAYOUT = "\n\t"  # our own messages have line breaks and tabs
# After `://` all up to the last @: a password may have any character there but these; in `?password=…` up to the &.
_USER = re.compile(r"(?<=://)[^/\s'\"<>@:]*(?::[^\s'\"<>]*)?@")
# … and what signs an address, or lets one in.
_PASSWORD = re.compile(
    r"([?&](?:password|sig|signature|(?:access_|api_?)?(?:key|token)|AWSAccessKeyId|x-(?:amz|goog)-[a-z-]+)=)[^&\s'\"<>]+",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    r"""The text with every invisible character as an escape such as `\x1b`, and without credentials of addresses.

    Line breaks and tabs stay.

    A terminal executes control characters (they can erase lines, change its title, or simulate typing). Formatting
    characters hide or reorder text (U+202E), and a lone surrogate cannot be printed.
    """
    text = public(text)
    if text.isprintable():
        return text
    return "".join(character if _visible(character) else _escape(character) for character in text)


def public(text: str) -> str:
    """The text with `…` for user and password of every address, and for keys, tokens and signatures in its query."""
    return _PASSWORD.sub(r"\1…", _USER.sub("…@", text)) if "://" in text else text


def one_line(text: str) -> str:
    r"""As `printable`, with line breaks and tabs escaped too, so that a name cannot imitate a line of a message."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _visible(character: str) -> bool:
    return character in _LAYOUT or character.isprintable() or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
