"""Figures with one panel for each quantity, from rows of numbers (`make_rows`)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tcmax_jax.evaluation.comparison import grouped
from tcmax_jax.evaluation.quantities import Name, number, ordered, quantity, title
from tcmax_jax.evaluation.reports.glyphs import drawable, literal
from tcmax_jax.evaluation.reports.panels import (
    inner_ends,
    legend,
    line_style,
    logarithmic,
    mark_chance,
    mark_cut,
    mark_level,
    panel,
    quantity_panel,
)
from tcmax_jax.evaluation.reports.provenance import plain
from tcmax_jax.evaluation.reports.style import SMALL_PANEL

_SMALL = {"width": SMALL_PANEL, "height": 1.9}
_LOSS = Name("loss")  # of each method its own, so that no axis has those of two
# Where bars begin that do not begin at 0.
_START = {"entropy_ratio": 1}
_DOT = {"color": "white", "markersize": 5, "markeredgecolor": "#333333", "markeredgewidth": 0.5}


@literal
def curves_figure(rows: Sequence[Mapping], classes: int | None = None) -> list[Figure]:
    """Draws accuracies, cross-entropy, bound and losses over epochs, a line for each row.

    Lines are means over runs, bands reach from the least run to the greatest one.

    Args:
      rows: see `make_rows`.
      classes: number of classes, whose chance is marked; None marks none.

    Returns:
      The legend, a panel for each quantity, and one for the loss of each method.
    """
    names = ordered((name for row in rows for name in row["curves"]), "curves")
    figures = [legend({row["label"]: line_style(row) for row in rows})]
    figures += [_curves_panel(rows, name, classes) for name in names if name != _LOSS]
    with_loss = [row for row in rows if _LOSS in row["curves"]]
    for (method,), some in grouped(with_loss, ["method"]).items():
        figures.append(_curves_panel(some, _LOSS, None, of=method, **_SMALL))
    return figures


def _curves_panel(rows, name, classes, **options):
    figure, ax = quantity_panel(name, "epoch", **options)
    shown = quantity(name)
    drawn = _curves(ax, rows, "curves", name, shown.factor)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if shown.whole:
        ax.set_ylim(0, shown.factor * shown.whole)
    elif shown.better == "lower" and min(map(min, drawn)) > 0:
        logarithmic(ax)
        low, high = np.exp(inner_ends([np.log(line) for line in drawn]))
        # Above the level of chance there is room for its name.
        ax.set_ylim(low / 1.15, max(1.15 * high, 1.5 * shown.chance(classes) if classes else 0))
    else:
        low, high = inner_ends(drawn)
        if classes and shown.chance:
            # A bound that a method does not maximise falls without end, and would flatten others.
            chance = shown.factor * shown.chance(classes)
            low = max(min(low, chance), chance - math.log(classes))
        margin = 0.06 * (high - low) or 0.5
        ax.set_ylim(low - margin, high + margin)
    mark_chance(ax, name, classes)
    mark_cut(ax)
    return figure


@literal
def noise_figure(rows: Sequence[Mapping], classes: int) -> list[Figure]:
    """Draws fused accuracy over the strength of the noise on each modality, a line for each row.

    Rows whose evaluation had no noise are left out.

    Args:
      rows: see `make_rows`.
      classes: their number, whose chance is marked.

    Returns:
      The legend, and a panel for each modality.
    """
    figures = [legend({row["label"]: line_style(row) for row in rows if row["noise"]})]
    name = Name("accuracy")
    shown = quantity(name)
    for modality in dict.fromkeys(m for row in rows for m in row["noise"]):
        labels = {"xlabel": "strength (std of the input)", "ylabel": title(name)}
        figure, ax = panel(f"noise on {modality}", **labels)
        _curves(ax, rows, "noise", modality, shown.factor)
        ax.set_ylim(0, shown.factor * shown.whole)
        ax.grid(axis="y")
        mark_chance(ax, name, classes)
        figures.append(figure)
    return figures


@literal
def bars_figure(
    rows: Sequence[Mapping],
    names: Sequence[Name],
    limits: Mapping[str, float],
    classes: int | None = None,
) -> list[Figure]:
    """Draws a bar with its interval and its runs for each row, in a panel for each quantity.

    Args:
      rows: see `make_rows`.
      names: of the quantities.
      limits: {kind of a quantity: its largest possible value}, where there is one.
      classes: number of classes, whose chance is marked; None marks none.
    """
    return [_bars_panel(rows, name, limits.get(name.kind), classes) for name in names]


def _bars_panel(rows, name, limit, classes):
    shown, start = quantity(name), _START.get(name.kind, 0)
    scale = shown.factor
    beside = max(len(row["label"]) for row in rows)
    heading, height = title(name, unit=False), 0.8 + 0.2 * len(rows)
    figure, ax = panel(heading, height, beside=beside, xlabel=shown.unit)
    seen, ends, bars = [start], [start], {}
    for place, row in enumerate(rows):
        measure = row["measures"].get(name)
        if measure is None or measure["mean"] is None:
            text = "not defined" if measure is None else "not finite"
            ax.text(0.02, place, text, transform=ax.get_yaxis_transform(), va="center", size=7)
            continue
        bold = row["look"]["bold"]
        runs, mean = [scale * x for x in row["values"][name]], scale * measure["mean"]
        # Paler than its line in other figures, so that the interval is seen on it.
        colours = {"color": row["look"]["colour"], "hatch": row["look"]["hatch"]}
        colours |= {"edgecolor": "white", "linewidth": 0, "alpha": 0.75 if bold else 0.5}
        ax.barh(place, mean - start, left=start, height=0.62, **colours)
        if measure["half_width"] is not None:
            half = scale * measure["half_width"]
            ends += [mean - half, mean + half]
            ax.errorbar(mean, place, xerr=half, color="#111111", elinewidth=1.1, capsize=2.5)
        ax.plot(runs, [place] * len(runs), ".", zorder=3, clip_on=bool(shown.whole is None), **_DOT)
        seen += runs
        ends.append(mean)
        bars[place] = mean, number(name, measure["mean"], short=True)
    if shown.whole:
        low, high = 0, scale * shown.whole
    else:
        low, high = _limits(seen, ends, start, None if limit is None else scale * limit)
    for place, (mean, text) in bars.items():
        if not low <= mean <= high:
            _mark_cut_bar(ax, place, high if mean > high else low, text, left=mean > high)
    ticks = MaxNLocator(nbins=4).tick_values(low, high)
    apart = (high - low) / 8
    ax.set_xticks([start, *(x for x in ticks if low <= x <= high and abs(x - start) > apart)])
    ax.set_xlim(low, high)
    ax.axvline(start, color="#333333", linewidth=0.7)
    if classes and shown.chance:
        _mark_chance_of_bars(ax, name, classes)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    ax.set_yticks(range(len(rows)), [drawable(row["label"]) for row in rows])
    for label, row in zip(ax.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row["look"]["bold"] else "normal")
    ax.set_ylim(len(rows) - 0.4, -0.6)
    return figure


def _mark_cut_bar(ax, place, edge, text, left):
    """Marks a bar that extends beyond the axis with its value."""
    ax.plot(edge, place, ">" if left else "<", color="#111111", markersize=5, clip_on=False)
    offset = {"xytext": (-6 if left else 6, 0), "textcoords": "offset points"}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    place = {"xy": (edge, place), "ha": "right" if left else "left", "va": "center", **offset}
    ax.annotate(f"cut, {text}", size=7, bbox=box, **place)


def _mark_chance_of_bars(ax, name, classes):
    level = quantity(name).chance(classes)
    at, text = quantity(name).factor * level, f"chance {number(name, level, short=True)}"
    ax.axvline(at, color="#111111", linewidth=1.1, linestyle=(0, (1, 1.5)))
    above = {"xytext": (0, 1), "textcoords": "offset points", "va": "bottom", "size": 7}
    ax.annotate(text, (at, 1), xycoords=ax.get_xaxis_transform(), **above)
    ax.set_title(ax.get_title(), pad=12)


@literal
def study_figure(study: Mapping, lines: Sequence[Mapping]) -> list[Figure]:
    """Draws every quantity of `study_lines` over the values of `read_study`.

    Returns:
      The legend, a panel for each quantity, and one for the loss of each line, unless the study
      changes options of the method, and with them what the loss is.
    """
    names = ordered(n for line in lines for row in line["points"] if row for n in row["numbers"])
    figures = [legend({line["label"]: line_style(line) for line in lines})]
    figures += [_study_panel(study, lines, name) for name in names if name != _LOSS]
    if not study["field"].startswith("method."):
        for line in lines:
            if any(row and _LOSS in row["numbers"] for row in line["points"]):
                figures.append(_study_panel(study, [line], _LOSS, of=line["label"], **_SMALL))
    return figures


def _study_panel(study, lines, name, **options):
    none = "all" if study["field"] == "method.num_negatives" else "none"
    values = [point["value"] for point in study["points"]]
    ticks = [none if value is None else drawable(plain(value)) for value in values]
    shown, means = quantity(name), []
    figure, ax = quantity_panel(name, drawable(study["field"]), **options)
    for place, line in enumerate(lines):
        numbers = [row["numbers"].get(name) if row else None for row in line["points"]]
        if known := {x: interval for x, interval in enumerate(numbers) if interval}:
            # Side by side, or intervals of one value would hide each other.
            places = [x + 0.06 * (place - (len(lines) - 1) / 2) for x in known]
            heights = [shown.factor * x["mean"] for x in known.values()]
            halves = [shown.factor * (x["half_width"] or 0) for x in known.values()]
            ax.errorbar(places, heights, halves, elinewidth=0.8, capsize=2, **line_style(line))
            means.append(heights)
    ax.set_xticks(range(len(ticks)), ticks, size=8 if len("".join(ticks)) < 20 else 6.5)
    if shown.signed:
        mark_level(ax, 0)
    low, high = inner_ends(means)
    if shown.whole:
        ax.set_ylim(0, shown.factor * shown.whole)
    elif shown.better == "lower" and not shown.chance:
        # Costs, whose differences mean little unless they are large beside 0.
        ax.set_ylim(0, 1.3 * high)
    else:
        # Cuts intervals off that would shrink the differences of the means to nothing.
        span = high - low or abs(high) or 1.0
        bottom, top = ax.get_ylim()
        ax.set_ylim(max(bottom, low - 0.6 * span), min(top, high + 0.6 * span))
    mark_chance(ax, name, study["classes"])
    mark_cut(ax)
    return figure


def _curves(ax, rows, kind, name, scale):
    """Draws the mean and the range over the runs of each row with such curves.

    Returns:
      The means, the least and the greatest numbers of each of these rows.
    """
    drawn = []
    for row in rows:
        if runs := row[kind].get(name):
            places = sorted(set().union(*runs))
            values = [[scale * run[x] for run in runs if x in run] for x in places]
            means, *ends = (list(map(of, values)) for of in (np.mean, min, max))
            drawn += [means, *ends]
            # Long curves would be nothing but markers.
            style = line_style(row) | {"markevery": max(1, len(places) // 8)}
            ax.plot(places, means, **style)
            ax.fill_between(places, *ends, color=style["color"], alpha=0.12, linewidth=0)
    return drawn


def _limits(seen, ends, start, limit):
    """Returns the limits of an axis: those of the intervals, within the possible values.

    Two seeds have intervals of ten times their difference, which would shrink all bars to nothing,
    and so would a bar that is far longer than all others.
    """
    least, greatest = inner_ends([[x] for x in seen])
    least, greatest = min(least, start), max(greatest, start)
    span = max(greatest - start, start - least) or 1.0
    cut = greatest < max(seen), least > min(seen)
    high = greatest if cut[0] else min(max(ends), start + 1.6 * span)
    low = least if cut[1] else max(min(ends), start - 1.6 * span)
    low = low if least < start else start
    high = high if limit is None else min(high, limit)
    return low - (0.05 * span if low < start else 0), high + 0.05 * span
