"""Escaping of text from users (names of classes, modalities, clips, files) before it is shown.

Names may contain any character. Terminals act on control characters, and bidirectional marks
reorder the text around them; both are shown as escapes.
"""

import unicodedata

_OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
_CONTROLS = {"Cc", "Cs"}
_WIDE = {"W", "F"}


def visible(text: str) -> str:
    r"""Returns a text as one line: line breaks become spaces, control characters escapes.

    Example:
      >>> print(visible("\x1b[31mred"), visible("two\nlines"))
      \x1b[31mred two lines
    """
    return escaped(" ".join(text.splitlines()), _obeyed)


def printable(text: str) -> str:
    """Returns lines for a terminal, each of them `visible`."""
    return "\n".join(map(visible, text.split("\n")))


def escaped(text: str, chosen) -> str:
    r"""Returns a text with the characters for which `chosen` is true as Python escapes.

    Example:
      >>> print(escaped("a\u72d7b", lambda character: ord(character) > 127))
      a\u72d7b
    """
    return "".join(c.encode("unicode_escape").decode() if chosen(c) else c for c in text)


def columns(text: str) -> int:
    """Returns the width of a text in columns of a terminal: East Asian wide characters take two.

    Example:
      >>> columns("dog"), columns("\u72d7")
      (3, 2)
    """
    return sum(_columns(character) for character in text)


def _obeyed(character):
    return (
        unicodedata.category(character) in _CONTROLS
        or unicodedata.bidirectional(character) in _OVERRIDES
    )


def _columns(character):
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0  # Joined to the one before.
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
