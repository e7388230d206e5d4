"""The figures of a report: rows of plain numbers in, matplotlib figures out."""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tcmax_jax.evaluation.quantities import Name, ordered, quantity, title
from tcmax_jax.evaluation.reports.style import WIDTH

_MODALITY_LINES = ("--", ":", "-.")
# Beyond these numbers of classes the names, then all labels of the axes, would overlap.
_NAMED_CLASSES, _NUMBERED_CLASSES = 12, 10
# Least share of the examples that a bin of a reliability diagram holds.
_LEAST_SHARE = 0.01
# Where bars begin that do not begin at 0.
_START = {"entropy_ratio": 1}


def curves_figure(rows: Sequence[Mapping], classes: int | None = None) -> Figure:
    """Draws loss, bound, cross-entropy and accuracies over epochs, a line for each row.

    Lines are means over runs, bands reach from the least run to the greatest one.

    Args:
      rows: see `make_rows`.
      classes: number of classes, whose chance is marked; None marks none.
    """
    names = ordered((name for row in rows for name in row["curves"]), "curves")
    figure, axes = _panels(names, "epoch")
    for ax, name in zip(axes, names, strict=True):
        own = quantity(name)
        for row in rows:
            if name in row["curves"]:
                _curve(ax, row["curves"][name], row["look"], own.factor)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        chance = own.factor * own.chance(classes) if classes and own.chance else None
        if own.better == "lower":
            _logarithmic(ax)
        elif own.chance and not own.unit:
            ax.set_ylim(0, 1.06 * max(ax.dataLim.ymax, chance or 0))
        elif chance is not None:
            # A bound that a method does not maximise falls without end, and would flatten others.
            ax.set_ylim(bottom=max(ax.get_ylim()[0], chance - math.log(classes)))
        if chance is not None:
            _dotted(ax, chance)
    _legend(figure, [_line_handle(row) for row in rows])
    return figure


def noise_figure(rows: Sequence[Mapping]) -> Figure:
    """Draws fused accuracy over the strength of the noise on each modality, a line for each row.

    Args:
      rows: see `make_rows`; those whose evaluation had no noise are left out.
    """
    modalities = list(dict.fromkeys(m for row in rows for m in row["noise"]))
    figure, axes = _panel_axes(len(modalities), height=2.4)
    for ax, modality in zip(axes, modalities, strict=True):
        for row in rows:
            if modality in row["noise"]:
                _curve(ax, row["noise"][modality], row["look"], 1)
        ax.set(
            title=f"noise on {modality}",
            xlabel="strength (std of the input)",
            ylabel=title(Name("accuracy")),
        )
        ax.set_ylim(max(0, ax.dataLim.ymin - 0.03), min(1.03, ax.dataLim.ymax + 0.03))
        ax.grid(axis="y")
    _legend(figure, [_line_handle(row) for row in rows])
    return figure


def bars_figure(
    rows: Sequence[Mapping], names: Sequence[Name], limits: Mapping[str, float]
) -> Figure:
    """Draws a bar with its interval and its runs for each row, in a panel for each quantity.

    Args:
      rows: see `make_rows`.
      names: of the quantities.
      limits: {kind of a quantity: its largest possible value}, where there is one.
    """
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH, lines * (0.9 + 0.24 * len(rows))), layout="constrained")
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
    for ax, name in zip(axes, names, strict=False):
        scale, limit, start = quantity(name).factor, limits.get(name.kind), _START.get(name.kind, 0)
        seen, ends = [start], [start]
        for place, row in enumerate(rows):
            measure = row["measures"].get(name)
            if measure is None or not math.isfinite(measure["mean"]):
                text = "not defined" if measure is None else "infinite"
                ax.text(0.02, place, text, transform=ax.get_yaxis_transform(), va="center", size=7)
                continue
            runs, mean = [scale * x for x in row["values"][name]], scale * measure["mean"]
            half = None if measure["half_width"] is None else scale * measure["half_width"]
            _bar(ax, place, mean - start, start, half, row["look"])
            ax.plot(
                runs,
                [place] * len(runs),
                ".",
                color="white",
                markersize=5,
                zorder=3,
                markeredgecolor="#333333",
                markeredgewidth=0.5,
            )
            seen += runs
            ends += [mean, mean - (half or 0), mean + (half or 0)]
        low, high = _limits(seen, ends, start, limit)
        ticks = MaxNLocator(nbins=4).tick_values(low, high)
        apart = (high - low) / 8
        ax.set_xticks([start, *(x for x in ticks if low <= x <= high and abs(x - start) > apart)])
        ax.set(title=_wrapped(name, 24), xlabel=quantity(name).unit, xlim=(low, high))
        ax.axvline(start, color="#333333", linewidth=0.7)
        ax.grid(axis="x")
        ax.set_axisbelow(True)
    axes[0].set_yticks(range(len(rows)), [row["label"] for row in rows])
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    for ax in axes:
        ax.tick_params(axis="y", length=0)
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    return figure


def reliability_figure(rows: Sequence[Mapping]) -> Figure:
    """Draws how often predictions of each confidence are right, a panel for each row.

    Args:
      rows: see `make_rows`.
    """
    columns = 3
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(WIDTH, 0.5 + 2.3 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    names = dict.fromkeys(name for row in rows for name in row["reliability"])
    modalities = [name for name in names if name != "fused"]
    looks = {"fused": ("-", "#000000", 1.8)} | {
        m: (line, grey, 1.2)
        for m, line, grey in zip(
            modalities,
            _MODALITY_LINES * len(modalities),
            ("#555555", "#999999") * len(modalities),
            strict=False,
        )
    }
    for ax, row in zip(grid.flatten(), rows, strict=False):
        ax.plot([0, 100], [0, 100], color="#bbbbbb", linewidth=0.8)
        # The fused prediction last, above the others.
        for name in (*modalities, "fused"):
            bins = row["reliability"].get(name, [])
            count = sum(b["count"] for b in bins)
            # What few examples come to is chance, and would draw the eye most.
            bins = [b for b in bins if b["count"] >= _LEAST_SHARE * count]
            line, colour, width = looks[name]
            colour = row["look"]["colour"] if name == "fused" else colour
            x, y = ([100 * b[k] for b in bins] for k in ("confidence", "accuracy"))
            ax.plot(x, y, line, color=colour, linewidth=width)
            if name == "fused":
                sizes = [4 + 120 * b["count"] / count for b in bins]
                ax.scatter(
                    x, y, sizes, color=colour, alpha=0.75, linewidths=0, zorder=3, clip_on=False
                )
        ax.set(title=textwrap.fill(row["label"], 24), xlim=(0, 100), ylim=(0, 100), aspect="equal")
        ax.set(xticks=(0, 50, 100), yticks=(0, 50, 100))
        ax.grid()
        ax.set_axisbelow(True)
    _hide_unused(grid, len(rows))
    for ax in grid.flatten()[max(0, len(rows) - columns) :]:
        ax.set_xlabel("confidence (%)")
    for ax in grid[:, 0]:
        ax.set_ylabel("correct (%)")
    handles = [
        Line2D(
            [],
            [],
            linestyle=line,
            color=colour,
            linewidth=width,
            label=name if name != "fused" else "fused (method's colour)",
        )
        for name, (line, colour, width) in looks.items()
    ]
    _legend(figure, handles)
    return figure


def confusion_figure(rows: Sequence[Mapping], class_names: Sequence[str]) -> Figure:
    """Draws which classes the fused prediction takes for which, a panel for each row.

    Args:
      rows: see `make_rows`.
      class_names: names of the classes.
    """
    columns, classes = 2, len(class_names)
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(WIDTH, 0.9 + 3.3 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for ax, row in zip(grid.flatten(), rows, strict=False):
        counts = np.asarray(row["confusion"], np.float64)
        # A class without examples stays empty.
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = ax.imshow(shares, cmap="Greys", vmin=0, vmax=100, interpolation="nearest")
        ax.set_title(row["label"])
        ax.spines[:].set_visible(True)
    if classes <= _NAMED_CLASSES:
        ticks, names = range(classes), class_names
    else:
        ticks = range(0, classes, max(1, -(-classes // _NUMBERED_CLASSES)))
        names = list(ticks)
    for ax in grid.flatten():
        ax.set_xticks(ticks, names, rotation=90)
        ax.set_yticks(ticks, names)
    _hide_unused(grid, len(rows))
    numbers = "" if classes <= _NAMED_CLASSES else " (number of the class)"
    figure.supxlabel(f"predicted{numbers}", fontsize=9)
    figure.supylabel(f"true{numbers}", fontsize=9)
    figure.colorbar(
        image, ax=grid, location="top", shrink=0.5, aspect=40, label="share of the true class (%)"
    )
    return figure


def study_figure(study: Mapping, lines: Sequence[Mapping]) -> Figure:
    """Draws every quantity of a study over its values, a panel for each.

    Args:
      study: see `tcmax_jax.evaluation.reports.studies.read_study`.
      lines: see `study_lines`.
    """
    rows = [row for line in lines for row in line["points"] if row]
    names = ordered(name for row in rows for name in row["numbers"])
    ticks = [_tick(study["field"], point["value"]) for point in study["points"]]
    figure, axes = _panels(names, study["field"])
    for ax, name in zip(axes, names, strict=True):
        own = quantity(name)
        for place, line in enumerate(lines):
            known = [
                (x, row["numbers"][name])
                for x, row in enumerate(line["points"])
                if row and name in row["numbers"]
            ]
            if known:
                # Side by side, or intervals of one value would hide each other.
                shift = 0.06 * (place - (len(lines) - 1) / 2)
                ax.errorbar(
                    [x + shift for x, _ in known],
                    [own.factor * interval["mean"] for _, interval in known],
                    [own.factor * (interval["half_width"] or 0) for _, interval in known],
                    color=line["look"]["colour"],
                    linestyle=line["look"]["line"],
                    marker=line["look"]["marker"],
                    elinewidth=0.8,
                    capsize=2,
                )
        ax.set_xticks(range(len(ticks)), ticks, size=8 if len("".join(ticks)) < 20 else 6.5)
        means = [row["numbers"][name]["mean"] for row in rows if name in row["numbers"]]
        means = [own.factor * mean for mean in means]
        if own.signed:
            _dotted(ax, 0)
        if own.better == "lower" and not own.chance:
            # Costs, whose differences mean little unless they are large beside 0.
            ax.set_ylim(0, 1.3 * max(means))
        else:
            _look_at(ax, means)
    _legend(figure, [_line_handle(line) for line in lines])
    return figure


def _tick(field, value):
    if value is None:
        return "all" if field == "method.num_negatives" else "none"
    return value if isinstance(value, str) else json.dumps(value)


def _look_at(ax, means):
    """Cuts intervals off that would shrink the differences of the means to nothing."""
    span = max(means) - min(means) or abs(max(means)) or 1.0
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, min(means) - 0.6 * span), min(high, max(means) + 0.6 * span))


def _panels(names, xlabel):
    """Returns a figure and the axes of a panel for each quantity."""
    figure, axes = _panel_axes(len(names), height=2.3)
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.06)
    for ax, name in zip(axes, names, strict=True):
        ax.set(title=_wrapped(name, 36), ylabel=quantity(name).unit, xlabel=xlabel)
        ax.grid(axis="y")
    return figure, axes


def _dotted(ax, level):
    ax.axhline(level, color="#999999", linewidth=0.8, linestyle=(0, (1, 2)))


def _wrapped(name, width):
    return textwrap.fill(title(name, unit=False), width)


def _panel_axes(number, *, height):
    """Returns a figure of two columns, and the axes of so many panels."""
    lines = -(-number // 2)
    figure = Figure(figsize=(WIDTH, 0.6 + height * lines), layout="constrained")
    grid = figure.subplots(lines, 2, squeeze=False)
    _hide_unused(grid, number)
    return figure, grid.flatten()[:number]


def _hide_unused(grid, number):
    columns = grid.shape[1]
    for place, ax in enumerate(grid.flatten()):
        ax.set_visible(place < number)
        if place < number <= place + columns:
            ax.tick_params(labelbottom=True)  # nothing below it, though the axes are shared


def _logarithmic(ax):
    """Makes the vertical axis logarithmic, with plain numbers at its ticks."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _curve(ax, runs, look, scale):
    epochs = sorted(set().union(*runs))
    values = [[scale * run[epoch] for run in runs if epoch in run] for epoch in epochs]
    # Long curves would be nothing but markers.
    every = max(1, len(epochs) // 8)
    ax.plot(
        epochs,
        [np.mean(v) for v in values],
        look["line"],
        color=look["colour"],
        marker=look["marker"],
        markevery=every,
    )
    ax.fill_between(
        epochs,
        [min(v) for v in values],
        [max(v) for v in values],
        color=look["colour"],
        alpha=0.12,
        linewidth=0,
    )


def _bar(ax, place, length, start, half, look):
    # Paler than its line in other figures, so that the interval is seen on it.
    ax.barh(
        place,
        length,
        0.62,
        left=start,
        color=look["colour"],
        hatch=look["hatch"],
        edgecolor="white",
        linewidth=0,
        alpha=0.6,
    )
    if half is not None:
        ax.errorbar(start + length, place, xerr=half, color="#111111", elinewidth=1.1, capsize=2.5)


def _limits(seen, ends, start, limit):
    """Returns the ends of an axis: those of the intervals, unless these leave what can be.

    Two seeds have intervals of ten times their difference, which would shrink all bars to nothing.
    """
    span = max(max(seen) - start, start - min(seen)) or 1.0
    high = min(max(ends), start + 1.6 * span)
    low = max(min(ends), start - 1.6 * span) if min(seen) < start else start
    high = high if limit is None else min(high, limit)
    return low - (0.05 * span if low < start else 0), high + 0.05 * span


def _line_handle(row):
    """Returns the entry of a legend for a row or line with a "look" and a "label"."""
    look = row["look"]
    return Line2D(
        [],
        [],
        linestyle=look["line"],
        color=look["colour"],
        marker=look["marker"],
        label=row["label"],
    )


def _legend(figure, handles):
    """Adds a legend below a figure, in as many columns as fit."""
    widest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), 96 // (widest + 8)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=3.2)
