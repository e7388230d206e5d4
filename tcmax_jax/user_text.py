"""Texts of users (names of classes, modalities, clips and files) on their way to a reader.

Whoever names something may write anything. A terminal acts on control characters, and marks of
direction reorder what stands beside them; here they are shown, not obeyed.
"""

import unicodedata

_OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
_CONTROLS = {"Cc", "Cs"}
_WIDE = {"W", "F"}


def visible(text: str) -> str:
    r"""Returns a text as one line: line breaks are spaces, and control characters are written out.

    Example:
      >>> print(visible("\x1b[31mred"), visible("two\nlines"))
      \x1b[31mred two lines
    """
    return escaped(" ".join(text.splitlines()), _obeyed)


def printable(text: str) -> str:
    """Returns lines for a terminal, each of them `visible`."""
    return "\n".join(map(visible, text.split("\n")))


def escaped(text: str, chosen) -> str:
    r"""Returns a text with the characters for which `chosen` holds written as Python does.

    Example:
      >>> print(escaped("a\u72d7b", lambda character: ord(character) > 127))
      a\u72d7b
    """
    return "".join(c.encode("unicode_escape").decode() if chosen(c) else c for c in text)


def columns(text: str) -> int:
    """Returns how many columns of a terminal a text takes: Chinese and Japanese signs take two.

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
