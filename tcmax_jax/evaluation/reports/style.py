"""The style of all figures: sizes, the order of methods, their colours, markers and lines."""

import itertools
from collections.abc import Sequence

# Inches. At their natural size two panels stand side by side on a page, three small ones; on a
# phone they stack, and the letters keep their size.
PANEL, SMALL_PANEL = 3.7, 2.55
DPI = 200  # of what is no line: the cells of a confusion matrix
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
    "svg.hashsalt": "tcmax",  # names of clip paths, or equal figures would be unequal files
}
# Okabe and Ito's colours, which the colour-blind can tell apart, without yellow, which is too pale
# for lines. Twelve methods share seven of them; those that share one differ in marker and dash.
_BLACK, _ORANGE, _SKY, _GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
_BLUE, _VERMILION, _PURPLE, _GREY = "#0072B2", "#D55E00", "#CC79A7", "#777777"
_LINES = ("-", "--", ":", "-.")
# Colour, marker and place of the dash; in this order methods are listed, others follow by name.
_METHODS = {
    "joint": (_BLACK, "s", 0),
    "unimodal": (_BLUE, "^", 1),
    "tcmax": (_VERMILION, "o", 0),
    "infonce": (_SKY, "P", 0),
    "ogm": (_ORANGE, "<", 1),
    "ogm_ge": (_ORANGE, ">", 2),
    "opm": (_SKY, "X", 3),
    "agm": (_PURPLE, "D", 1),
    "qmf": (_BLUE, "p", 3),
    "pmr": (_PURPLE, "h", 2),
    "mla": (_GREEN, "v", 0),
    "mmpareto": (_GREEN, "d", 1),
}
METHODS = tuple(_METHODS)
_BASELINE = "joint"
# Two runs beside each other, which may be of one method.
PAIR = (
    {"colour": _BLACK, "marker": "o", "line": "-", "fill": "full", "bold": True},
    {"colour": _VERMILION, "marker": "s", "line": "--", "fill": "none", "bold": True},
)
_FILLS = ("full", "none", "left", "bottom")
_HATCHES = ("", "////", "....", "xxxx")


def reference(methods: Sequence[str]) -> str:
    """Returns the method with which others are compared: joint training, or else the first."""
    return _BASELINE if _BASELINE in methods else methods[0]


def order(name: str) -> tuple[int, str]:
    """Returns a key by which to sort methods."""
    return (METHODS.index(name) if name in METHODS else len(METHODS)), name


def styles(names: Sequence[str]) -> list[dict]:
    """Returns the style of each row of a report.

    Args:
      names: the method of each row; one that comes again is there with other options or fusions.

    Returns:
      [{"colour", "marker", "line", "fill" of the marker, "hatch" of the bar, "bold"}]. Rows of one
      method differ in line, fill and hatch; bold are TCMax and the `reference`.
    """
    places = {name: itertools.count() for name in names}
    bold = {"tcmax", *([reference(names)] if names else [])}
    looks = []
    for name in names:
        colour, marker, line = _METHODS.get(name, (_GREY, "*", 0))
        place = next(places[name])
        look = {"colour": colour, "marker": marker, "line": _LINES[(line + place) % len(_LINES)]}
        look |= {"fill": _FILLS[place % len(_FILLS)], "hatch": _HATCHES[place % len(_HATCHES)]}
        looks.append(look | {"bold": name in bold})
    return looks
