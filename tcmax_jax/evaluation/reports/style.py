"""One look for all pages: sizes of figures; order of methods, their colours, markers and lines."""

import itertools
from collections.abc import Sequence

# Inches. Two panels side by side, and letters that can still be read on a phone.
WIDTH = 6.8
DPI = 150
FONT = "DejaVu Sans"  # comes with matplotlib, so that figures are alike everywhere
RC = {
    "font.family": FONT,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "figure.facecolor": "white",
}
# Okabe and Ito's colours, which the colour-blind can tell apart, without yellow, which is too pale
# for lines. Twelve methods share seven of them; those that share one differ in their marker.
_BLACK, _ORANGE, _SKY, _GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
_BLUE, _VERMILION, _PURPLE, _GREY = "#0072B2", "#D55E00", "#CC79A7", "#777777"
# In this order methods are listed; others follow by name.
_METHODS = {
    "joint": (_BLACK, "s"),
    "unimodal": (_BLUE, "^"),
    "tcmax": (_VERMILION, "o"),
    "infonce": (_SKY, "P"),
    "ogm": (_ORANGE, "<"),
    "ogm_ge": (_ORANGE, ">"),
    "opm": (_SKY, "X"),
    "agm": (_PURPLE, "D"),
    "qmf": (_BLUE, "p"),
    "pmr": (_PURPLE, "h"),
    "mla": (_GREEN, "v"),
    "mmpareto": (_GREEN, "d"),
}
METHODS = tuple(_METHODS)
# Two runs beside each other, which may be of one method.
PAIR = (
    {"colour": _BLACK, "marker": "o", "line": "-"},
    {"colour": _VERMILION, "marker": "s", "line": "--"},
)
_LINES = ("-", "--", ":", "-.")
_HATCHES = ("", "////", "....", "xxxx")


def order(name: str) -> tuple[int, str]:
    """Returns a key by which to sort methods."""
    return (METHODS.index(name) if name in METHODS else len(METHODS)), name


def styles(names: Sequence[str]) -> list[dict]:
    """Returns the look of each row of a report.

    Args:
      names: the method of each row; one that comes again is there with other options or fusions.

    Returns:
      [{"colour", "marker"} of the method, {"line", "hatch"} that tell its rows apart].
    """
    apart = {name: itertools.cycle(zip(_LINES, _HATCHES, strict=True)) for name in names}
    looks = []
    for name in names:
        colour, marker = _METHODS.get(name, (_GREY, "*"))
        line, hatch = next(apart[name])
        looks.append({"colour": colour, "marker": marker, "line": line, "hatch": hatch})
    return looks
