"""The figures of a report: rows of plain numbers in, see `make_rows`, matplotlib figures out."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tcmax_jax.evaluation.quantities import Name, ordered, quantity, title
from tcmax_jax.evaluation.reports.glyphs import drawable, is_drawable, literal
from tcmax_jax.evaluation.reports.provenance import plain
from tcmax_jax.evaluation.reports.style import WIDTH

_MODALITY_LINES, _MODALITY_GREYS = ("--", ":", "-."), ("#555555", "#999999")
# Beyond these numbers of classes the names, then all labels of the axes, would overlap.
_NAMED_CLASSES, _NUMBERED_CLASSES = 12, 10
# Least share of the examples that a bin of a reliability diagram holds.
_LEAST_SHARE = 0.01
# Where bars begin that do not begin at 0.
_START = {"entropy_ratio": 1}
_BAR = {"height": 0.62, "edgecolor": "white", "linewidth": 0, "alpha": 0.6}
_DOT = {"color": "white", "markersize": 5, "markeredgecolor": "#333333", "markeredgewidth": 0.5}


@literal
def curves_figure(rows: Sequence[Mapping], classes: int | None = None) -> Figure:
    """Draws loss, bound, cross-entropy and accuracies over epochs, a line for each row.

    Lines are means over runs, bands reach from the least run to the greatest one.

    Args:
      rows: see `make_rows`.
      classes: number of classes, whose chance is marked; None marks none.
    """
    names = ordered((name for row in rows for name in row["curves"]), "curves")
    figure, axes = _quantity_panels(names, "epoch")
    for ax, name in zip(axes, names, strict=True):
        shown = quantity(name)
        _curves(ax, rows, "curves", name, shown.factor)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        chance = shown.factor * shown.chance(classes) if classes and shown.chance else None
        if shown.better == "lower":
            _logarithmic(ax)
        elif shown.chance and not shown.unit:
            ax.set_ylim(0, 1.06 * max(ax.dataLim.ymax, chance or 0))
        elif chance is not None:
            # A bound that a method does not maximise falls without end, and would flatten others.
            ax.set_ylim(bottom=max(ax.get_ylim()[0], chance - math.log(classes)))
        if chance is not None:
            _dotted(ax, chance)
    _legend(figure, {row["label"]: _style(row) for row in rows})
    return figure


@literal
def noise_figure(rows: Sequence[Mapping]) -> Figure:
    """Draws fused accuracy over the strength of the noise on each modality, a line for each row.

    Rows whose evaluation had no noise are left out.
    """
    modalities = list(dict.fromkeys(m for row in rows for m in row["noise"]))
    figure, axes = _panels(len(modalities), 2, 0.6, 2.4)
    for ax, modality in zip(axes, modalities, strict=True):
        _curves(ax, rows, "noise", modality)
        ax.set(title=f"noise on {drawable(modality)}", xlabel="strength (std of the input)")
        ax.set(ylabel=title(Name("accuracy")))
        ax.set_ylim(max(0, ax.dataLim.ymin - 0.03), min(1.03, ax.dataLim.ymax + 0.03))
        ax.grid(axis="y")
    _legend(figure, {row["label"]: _style(row) for row in rows})
    return figure


@literal
def bars_figure(
    rows: Sequence[Mapping], names: Sequence[Name], limits: Mapping[str, float]
) -> Figure:
    """Draws a bar with its interval and its runs for each row, in a panel for each quantity.

    Args:
      rows: see `make_rows`.
      names: of the quantities.
      limits: {kind of a quantity: its largest possible value}, where there is one.
    """
    figure, axes = _panels(len(names), min(len(names), 3), 0, 0.9 + 0.24 * len(rows), sharey=True)
    for ax, name in zip(axes, names, strict=True):
        scale, start = quantity(name).factor, _START.get(name.kind, 0)
        seen, ends = [start], [start]
        for place, row in enumerate(rows):
            measure = row["measures"].get(name)
            if measure is None or measure["mean"] is None:
                text = "not defined" if measure is None else "not finite"
                ax.text(0.02, place, text, transform=ax.get_yaxis_transform(), va="center", size=7)
                continue
            runs, mean = [scale * x for x in row["values"][name]], scale * measure["mean"]
            # Paler than its line in other figures, so that the interval is seen on it.
            colours = {"color": row["look"]["colour"], "hatch": row["look"]["hatch"]}
            ax.barh(place, mean - start, left=start, **colours, **_BAR)
            if measure["half_width"] is not None:
                half = scale * measure["half_width"]
                ends += [mean - half, mean + half]
                ax.errorbar(mean, place, xerr=half, color="#111111", elinewidth=1.1, capsize=2.5)
            ax.plot(runs, [place] * len(runs), ".", zorder=3, **_DOT)
            seen += runs
            ends.append(mean)
        low, high = _limits(seen, ends, start, limits.get(name.kind))
        ticks = MaxNLocator(nbins=4).tick_values(low, high)
        apart = (high - low) / 8
        ax.set_xticks([start, *(x for x in ticks if low <= x <= high and abs(x - start) > apart)])
        ax.set(title=_wrapped(name, 24), xlabel=quantity(name).unit, xlim=(low, high))
        ax.axvline(start, color="#333333", linewidth=0.7)
        ax.grid(axis="x")
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(rows)), [drawable(row["label"]) for row in rows])
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    return figure


@literal
def reliability_figure(rows: Sequence[Mapping]) -> Figure:
    """Draws how often predictions of each confidence are right, a panel for each row."""
    columns = 3
    figure, axes = _panels(len(rows), columns, 0.5, 2.3, sharex=True, sharey=True)
    names = dict.fromkeys(m for row in rows for m in row["reliability"] if m != "fused")
    modalities = {
        m: {"linestyle": line, "color": grey, "linewidth": 1.2}
        for m, line, grey in zip(names, cycle(_MODALITY_LINES), cycle(_MODALITY_GREYS))
    }
    for ax, row in zip(axes, rows, strict=True):
        ax.plot([0, 100], [0, 100], color="#bbbbbb", linewidth=0.8)
        colour = row["look"]["colour"]
        # The fused prediction last, above the others.
        for name, style in {**modalities, "fused": {"color": colour, "linewidth": 1.8}}.items():
            bins = row["reliability"].get(name, [])
            count = sum(b["count"] for b in bins)
            # What few examples come to is chance, and would draw the eye most.
            bins = [b for b in bins if b["count"] >= _LEAST_SHARE * count]
            x, y = ([100 * b[k] for b in bins] for k in ("confidence", "accuracy"))
            ax.plot(x, y, **style)
        sizes = [4 + 120 * b["count"] / count for b in bins]
        ax.scatter(x, y, sizes, color=colour, alpha=0.75, linewidths=0, zorder=3, clip_on=False)
        ax.set(
            title=textwrap.fill(drawable(row["label"]), 24),
            xlim=(0, 100),
            ylim=(0, 100),
            aspect="equal",
        )
        ax.set(xticks=(0, 50, 100), yticks=(0, 50, 100))
        ax.grid()
        ax.set_axisbelow(True)
    for ax in axes[-columns:]:
        ax.set_xlabel("confidence (%)")
    for ax in axes[::columns]:
        ax.set_ylabel("correct (%)")
    fused = {"color": "#000000", "linewidth": 1.8}
    _legend(figure, {"fused (method's colour)": fused, **modalities})
    return figure


def writes_names(class_names: Sequence[str]) -> bool:
    """Returns whether figures have the names of classes at their axes, or else their numbers."""
    return len(class_names) <= _NAMED_CLASSES and all(map(is_drawable, class_names))


@literal
def confusion_figure(rows: Sequence[Mapping], class_names: Sequence[str]) -> Figure:
    """Draws which classes the fused prediction takes for which, a panel for each row."""
    classes = len(class_names)
    figure, axes = _panels(len(rows), 2, 0.9, 3.3, sharex=True, sharey=True)
    if writes_names(class_names):
        ticks, names, numbers = range(classes), class_names, ""
    else:
        ticks = names = range(0, classes, -(-classes // _NUMBERED_CLASSES))
        numbers = " (number of the class)"
    for ax, row in zip(axes, rows, strict=True):
        counts = np.asarray(row["confusion"], np.float64)
        # A class without examples stays empty.
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = ax.imshow(shares, cmap="Greys", vmin=0, vmax=100, interpolation="nearest")
        ax.set_title(drawable(row["label"]))
        ax.spines[:].set_visible(True)
    for ax in axes:
        ax.set_xticks(ticks, names, rotation=90)
        ax.set_yticks(ticks, names)
    figure.supxlabel(f"predicted{numbers}", fontsize=9)
    figure.supylabel(f"true{numbers}", fontsize=9)
    what = "share of the true class (%)"
    figure.colorbar(image, ax=figure.axes, location="top", shrink=0.5, aspect=40, label=what)
    return figure


@literal
def study_figure(study: Mapping, lines: Sequence[Mapping]) -> Figure:
    """Draws every quantity of `study_lines` over the values of `read_study`, a panel for each."""
    names = ordered(n for line in lines for row in line["points"] if row for n in row["numbers"])
    none = "all" if study["field"] == "method.num_negatives" else "none"
    values = [point["value"] for point in study["points"]]
    ticks = [none if value is None else drawable(plain(value)) for value in values]
    figure, axes = _quantity_panels(names, drawable(study["field"]))
    for ax, name in zip(axes, names, strict=True):
        shown, means = quantity(name), []
        for place, line in enumerate(lines):
            numbers = [row["numbers"].get(name) if row else None for row in line["points"]]
            known = {x: interval for x, interval in enumerate(numbers) if interval}
            if known:
                # Side by side, or intervals of one value would hide each other.
                places = [x + 0.06 * (place - (len(lines) - 1) / 2) for x in known]
                heights = [shown.factor * x["mean"] for x in known.values()]
                halves = [shown.factor * (x["half_width"] or 0) for x in known.values()]
                ax.errorbar(places, heights, halves, elinewidth=0.8, capsize=2, **_style(line))
                means += heights
        ax.set_xticks(range(len(ticks)), ticks, size=8 if len("".join(ticks)) < 20 else 6.5)
        if shown.signed:
            _dotted(ax, 0)
        if shown.better == "lower" and not shown.chance:
            # Costs, whose differences mean little unless they are large beside 0.
            ax.set_ylim(0, 1.3 * max(means))
        else:
            # Cuts intervals off that would shrink the differences of the means to nothing.
            span = max(means) - min(means) or abs(max(means)) or 1.0
            low, high = ax.get_ylim()
            ax.set_ylim(max(low, min(means) - 0.6 * span), min(high, max(means) + 0.6 * span))
    _legend(figure, {line["label"]: _style(line) for line in lines})
    return figure


def _quantity_panels(names, xlabel):
    figure, axes = _panels(len(names), 2, 0.6, 2.3)
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.06)
    for ax, name in zip(axes, names, strict=True):
        ax.set(title=_wrapped(name, 36), ylabel=quantity(name).unit, xlabel=xlabel)
        ax.grid(axis="y")
    return figure, axes


def _panels(number, columns, margin, height, **shared):
    """Returns a figure of so many columns, and the axes of so many panels, each of a height."""
    lines = -(-number // columns)
    figure = Figure(figsize=(WIDTH, margin + height * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, **shared).flatten()
    for ax in axes[max(0, number - columns) : number]:
        ax.tick_params(labelbottom=True)  # nothing below it, though the axes are shared
    for ax in axes[number:]:
        ax.set_visible(False)
    return figure, axes[:number]


def _dotted(ax, level):
    ax.axhline(level, color="#999999", linewidth=0.8, linestyle=(0, (1, 2)))


def _wrapped(name, width):
    return textwrap.fill(drawable(title(name, unit=False)), width)


def _logarithmic(ax):
    """Makes the vertical axis logarithmic, with plain numbers at its ticks."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _curves(ax, rows, kind, name, scale=1):
    """Draws the mean and the range of the runs of each row that has such curves."""
    for row in rows:
        if runs := row[kind].get(name):
            places = sorted(set().union(*runs))
            values = [[scale * run[x] for run in runs if x in run] for x in places]
            # Long curves would be nothing but markers.
            style = _style(row) | {"markevery": max(1, len(places) // 8)}
            ax.plot(places, list(map(np.mean, values)), **style)
            ends = list(map(min, values)), list(map(max, values))
            ax.fill_between(places, *ends, color=style["color"], alpha=0.12, linewidth=0)


def _limits(seen, ends, start, limit):
    """Returns the ends of an axis: those of the intervals, unless these leave what can be.

    Two seeds have intervals of ten times their difference, which would shrink all bars to nothing.
    """
    span = max(max(seen) - start, start - min(seen)) or 1.0
    high = min(max(ends), start + 1.6 * span)
    low = max(min(ends), start - 1.6 * span) if min(seen) < start else start
    high = high if limit is None else min(high, limit)
    return low - (0.05 * span if low < start else 0), high + 0.05 * span


def _style(row):
    """Returns how matplotlib draws the line of a row, or of a study."""
    look = row["look"]
    return {"linestyle": look["line"], "color": look["colour"], "marker": look["marker"]}


def _legend(figure, styles):
    """Adds a legend {label: style of its line} below a figure, in as many columns as fit."""
    labels = list(map(drawable, styles))
    columns = max(1, min(len(styles), 96 // (max(map(len, labels)) + 8)))
    handles = [Line2D([], [], **style) for style in styles.values()]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3.2)
