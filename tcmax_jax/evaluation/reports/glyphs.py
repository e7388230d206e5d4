"""Text in figures: shown literally, in fonts that have its characters.

A font without a character draws an empty box. So other fonts of this machine are tried, and where
none has the character it is written as a Python escape.
"""

import functools
from collections.abc import Callable, Iterable

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from tcmax_jax.evaluation.reports.style import FONT
from tcmax_jax.user_text import escaped, visible

_NORMAL = 400
# No script has it: a font that claims it has boxes for all there is.
_UNASSIGNED = "\u0378"


def literal(draw: Callable[..., list[Figure]]) -> Callable[..., list[Figure]]:
    """Decorates a function of figures: dollar signs stay literal, all characters get a font."""

    @functools.wraps(draw)
    def drawn(*arguments, **options):
        figures = draw(*arguments, **options)
        texts = [text for figure in figures for text in figure.findobj(Text)]
        for text in texts:
            text.set_parse_math(False)
        fonts = families("".join(text.get_text() for text in texts))
        for text in texts if len(fonts) > 1 else ():
            text.set_fontfamily(fonts)
        return figures

    return drawn


def drawable(text: str) -> str:
    """Returns a text with those characters escaped that no font of this machine has."""
    text = visible(text)
    lacking = _lacking(text, families(text))
    return escaped(text, lambda character: character in lacking) if lacking else text


def is_drawable(text: str) -> bool:
    """Returns whether figures can show a text unchanged."""
    return drawable(text) == text


def families(text: str) -> list[str]:
    """Returns the font of all figures, and as few others as cover the characters that it lacks.

    What none of them has is left out of account.
    """
    chosen, lacking = [FONT], _lacking(text, [FONT])
    others = _others() if lacking else ()
    while lacking and others:
        best = max(others, key=lambda name: len(lacking & _has(name, lacking)))
        if not (found := _has(best, lacking)):
            break
        chosen.append(best)
        lacking -= found
    return chosen


def _lacking(text: str, fonts: Iterable[str]) -> set[str]:
    left = set(text) - {"\n"}
    for name in fonts:
        left -= _has(name, left)
    return left


def _others() -> list[str]:
    """Returns the names of all upright fonts of regular weight, in a fixed order.

    Of others matplotlib would say that they are no such font.
    """
    weights = font_manager.weight_dict
    names = {
        entry.name
        for entry in font_manager.fontManager.ttflist
        if weights.get(entry.weight, entry.weight) == _NORMAL
        and (entry.style, entry.stretch) == ("normal", "normal")
    }
    return [name for name in sorted(names - {FONT}) if not _has(name, _UNASSIGNED)]


def _has(name: str, characters: Iterable[str]) -> set[str]:
    """Returns those characters that a font has."""
    try:
        font = _font(name)
    except (OSError, RuntimeError):  # It is gone, or damaged: one that is not there.
        return set()
    return {character for character in characters if font.get_char_index(ord(character))}


def _font(name):
    properties = font_manager.FontProperties(family=[name])
    return font_manager.get_font(font_manager.findfont(properties))
