"""Elements common to all panels: size, levels of chance, marks of cut values, the legend.

Each panel is a separate figure, so that a page can lay panels out in a row or in a column.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tcmax_jax.evaluation.quantities import Name, number, quantity, title
from tcmax_jax.evaluation.reports.glyphs import drawable
from tcmax_jax.evaluation.reports.style import PANEL

# Beyond so many median deviations from the median a row is an outlier, if without it the axis is
# so many times shorter: many rows are drawn flat for one only then.
_DEVIATIONS, _SHORTER = 10, 3
_LETTERS = 13  # of a title or a label, in an inch


def panel(
    heading: str, height: float = 2.3, width: float = PANEL, beside: int = 0, **labels
) -> tuple[Figure, Axes]:
    """Returns a figure and its only axes, with a heading broken into lines.

    Args:
      heading: what it shows; may hold any characters.
      height: inches.
      width: inches.
      beside: letters of the labels at the left, which shift the heading.
      **labels: xlabel and ylabel.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    ax = figure.subplots()
    letters = max(int(_LETTERS * width) - beside, _LETTERS)
    ax.set(title=textwrap.fill(drawable(heading), letters), **labels)
    ax.set_axisbelow(True)
    return figure, ax


def quantity_panel(name: Name, xlabel: str, of: str = "", **size) -> tuple[Figure, Axes]:
    """Returns a panel of a quantity over another.

    Args:
      name: of the quantity.
      xlabel: over what.
      of: the only row in it, if there is but one.
      **size: see `panel`.
    """
    heading = title(name, unit=False) + (f", {of}" if of else "")
    figure, ax = panel(heading, ylabel=quantity(name).unit, xlabel=xlabel, **size)
    ax.grid(axis="y")
    return figure, ax


def legend(styles: Mapping[str, Mapping]) -> Figure:
    """Returns {label: style of its line} as a panel of its own, in as many columns as fit."""
    labels = list(map(drawable, styles))
    columns = 2 if max(map(len, labels)) <= 16 and len(labels) > 2 else 1
    figure = Figure(figsize=(PANEL, 0.15 + 0.2 * -(-len(labels) // columns)))
    handles = [Line2D([], [], **style) for style in styles.values()]
    figure.legend(handles, labels, loc="center left", ncols=columns, handlelength=4)
    return figure


def line_style(row: Mapping) -> dict:
    """Returns the matplotlib options for the line of a row, or of a study."""
    look = row["look"]
    return {
        "linestyle": look["line"],
        "color": look["colour"],
        "marker": look["marker"],
        "fillstyle": look["fill"],
        "linewidth": 2.4 if look["bold"] else 1.2,
        "zorder": 2.5 if look["bold"] else 2,
    }


def mark_level(ax: Axes, level: float, text: str = "") -> None:
    """Marks a level of the vertical axis, with its meaning at the right end."""
    ax.axhline(level, color="#444444", linewidth=1.1, linestyle=(0, (1, 1.5)), zorder=1.5)
    if text:
        place = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "bottom"}
        ax.text(0.995, level, text, color="#444444", size=7, clip_on=True, **place)


def mark_chance(ax: Axes, name: Name, classes: int | None) -> None:
    """Marks the level of chance of a quantity that has one, given the number of classes."""
    shown = quantity(name)
    if classes and shown.chance:
        level = shown.chance(classes)
        mark_level(ax, shown.factor * level, f"chance {number(name, level, short=True)}")


def logarithmic(ax: Axes) -> None:
    """Makes the vertical axis logarithmic, with plain numbers at its ticks."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def inner_ends(lines: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Returns the least and the greatest value of lines, without outliers.

    These are a line far from all others, and a number far from both its neighbours.

    Args:
      lines: the numbers of each row, in their order.
    """
    lines = [np.asarray(line, np.float64) for line in lines if len(line)]
    everything = np.concatenate(lines)
    lows, highs = (np.array(ends) for ends in zip(*map(_smooth_ends, lines), strict=True))
    low, high = _near(lows).min(), _near(highs).max()
    if not 0 < _SHORTER * (high - low) < np.ptp(everything):
        low, high = everything.min(), everything.max()
    return float(low), float(high)


def _smooth_ends(line):
    """Returns the ends of a line, without single numbers far from both neighbours."""
    if len(line) < 3:
        return line.min(), line.max()
    before, own, after = line[:-2], line[1:-1], line[2:]
    tops = np.minimum(own, np.maximum(before, after))
    bottoms = np.maximum(own, np.minimum(before, after))
    ends = [line[0], line[-1]]
    return min(*ends, *bottoms), max(*ends, *tops)


def _near(values):
    apart = np.abs(values - np.median(values))
    return values[apart <= _DEVIATIONS * np.median(apart)]


def mark_cut(ax: Axes) -> None:
    """Marks where lines leave the panel above or below, with their extreme value."""
    low, high = ax.get_ylim()
    for edge, sign, word, marker in ((high, 1, "up", "^"), (low, -1, "down", "v")):
        ends = []
        for line in ax.lines:
            x, y = line.get_data()
            outside = sign * (np.asarray(y) - edge) > 0
            # Levels have no marker, and the ends of intervals no line.
            if "None" in (line.get_marker(), line.get_linestyle()) or not np.any(outside):
                continue
            ends.append(sign * np.max(sign * np.asarray(y)[outside]))
            at = np.asarray(x)[outside]
            own = {"color": line.get_color(), "markersize": 5, "zorder": 4, "clip_on": False}
            ax.plot(at, np.full(len(at), edge), marker, **own)
        if ends:
            farthest = sign * max(sign * end for end in ends)
            # At the left, since chance has its name at the right.
            place = {"xy": (0.01, 0.95 if sign > 0 else 0.05), "xycoords": "axes fraction"}
            text = f"cut, lines go {word} to {farthest:.3g}"
            ax.annotate(text, ha="left", va="top" if sign > 0 else "bottom", size=7, **place)
