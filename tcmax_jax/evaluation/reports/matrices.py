"""Figures with one panel for each row: reliability diagrams and confusion matrices."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from tcmax_jax.evaluation.outputs import BINS
from tcmax_jax.evaluation.quantities import Name, quantity
from tcmax_jax.evaluation.reports.glyphs import is_drawable, literal
from tcmax_jax.evaluation.reports.panels import legend, panel
from tcmax_jax.evaluation.reports.style import PANEL, SMALL_PANEL

_MODALITY_LINES, _MODALITY_GREYS = ("--", ":", "-."), ("#555555", "#999999")
# Beyond these numbers of classes the names and counts, then all labels of the axes, would overlap.
_NAMED_CLASSES, _NUMBERED_CLASSES = 12, 10
# Least share, and number, of the examples in a bin of a reliability diagram that has a dot.
_LEAST_SHARE, _LEAST = 0.01, 5
_SHARE = quantity(Name("accuracy"))
_WHOLE = _SHARE.factor * _SHARE.whole


@literal
def reliability_figure(rows: Sequence[Mapping]) -> list[Figure]:
    """Draws the accuracy of predictions by their confidence, and their number.

    Returns:
      The legend, and a panel for each row, with the number of examples in each bin of the fused
      prediction below it.
    """
    names = dict.fromkeys(m for row in rows for m in row["reliability"] if m != "fused")
    modalities = {
        m: {"linestyle": line, "color": grey, "linewidth": 1.2}
        for m, line, grey in zip(names, cycle(_MODALITY_LINES), cycle(_MODALITY_GREYS))
    }
    fused = {"color": "#000000", "linewidth": 1.8}
    figures = [_reliability_panel(row, modalities) for row in rows]
    return [legend({"fused (method's colour)": fused, **modalities}), *figures]


def _reliability_panel(row, modalities):
    figure, ax = panel(row["label"], 3.3, SMALL_PANEL, ylabel=_in_unit("correct"))
    ax.plot([0, _WHOLE], [0, _WHOLE], color="#bbbbbb", linewidth=0.8)
    colour = row["look"]["colour"]
    # The fused prediction last, above the others.
    for name, style in {**modalities, "fused": {"color": colour, "linewidth": 1.8}}.items():
        bins = row["reliability"].get(name, [])
        count = sum(b["count"] for b in bins)
        # What few examples come to is chance, and would draw the eye most.
        shown = [b for b in bins if b["count"] >= max(_LEAST, _LEAST_SHARE * count)]
        x, y = ([_SHARE.factor * b[k] for b in shown] for k in ("confidence", "accuracy"))
        ax.plot(x, y, **style)
    ax.plot(x, y, ".", color=colour, markersize=6, clip_on=False)
    ticks = [0, _WHOLE / 2, _WHOLE]
    ends = (0, _WHOLE)
    ax.set(xlim=ends, ylim=ends, xticks=ticks, yticks=ticks, aspect="equal")
    ax.grid()
    below = ax.inset_axes([0, -0.36, 1, 0.26], sharex=ax)
    ax.tick_params(labelbottom=False)
    counts = [b["count"] for b in bins]
    places = [_WHOLE * (math.ceil(b["confidence"] * BINS) - 0.5) / BINS for b in bins]
    below.bar(places, counts, width=0.8 * _WHOLE / BINS, color=colour, alpha=0.6)
    for place, n in zip(places, counts, strict=True):
        below.annotate(
            str(n), (place, n), xytext=(0, 1.5), textcoords="offset points", rotation=90,
            size=6.5, ha="center", va="bottom",
        )  # fmt: skip
    # Room for the number above the greatest bar.
    below.set(ylim=(0, 2.1 * max(counts, default=1)), yticks=[], xticks=ticks, ylabel="n")
    below.set_xlabel(_in_unit("confidence"))
    return figure


def writes_names(class_names: Sequence[str]) -> bool:
    """Returns whether figures label their axes with class names, or else with numbers."""
    return len(class_names) <= _NAMED_CLASSES and all(map(is_drawable, class_names))


@literal
def confusion_figure(rows: Sequence[Mapping], class_names: Sequence[str]) -> list[Figure]:
    """Draws the confusion matrices of the fused predictions.

    Returns:
      What the greys mean, and a panel for each row, with the counts in the cells as long as these
      can be read.
    """
    figures = [_confusion_panel(row, class_names) for row in rows]
    scale = Figure(figsize=(PANEL, 0.7), layout="constrained")
    greys = ScalarMappable(Normalize(0, _WHOLE), "Greys")
    label = _in_unit("share of the true class")
    scale.colorbar(greys, cax=scale.subplots(), orientation="horizontal", label=label)
    return [scale, *figures]


def _confusion_panel(row, class_names):
    classes = len(class_names)
    if writes_names(class_names):
        ticks, names, numbers = range(classes), class_names, ""
    else:
        ticks = names = range(0, classes, -(-classes // _NUMBERED_CLASSES))
        numbers = " (number of the class)"
    labels = {"xlabel": f"predicted{numbers}", "ylabel": f"true{numbers}"}
    figure, ax = panel(row["label"], 3.9, **labels)
    counts = np.asarray(row["confusion"], np.int64)
    of_classes = counts.sum(axis=1)
    # A class without examples stays empty.
    shares = _WHOLE * counts / np.maximum(of_classes[:, None], 1)
    ax.imshow(shares, cmap="Greys", vmin=0, vmax=_WHOLE, interpolation="nearest")
    if classes <= _NAMED_CLASSES:
        for (y, x), n in np.ndenumerate(counts):
            if n:
                shade = "white" if shares[y, x] > _WHOLE / 2 else "black"
                ax.text(x, y, str(n), color=shade, size=6.5, ha="center", va="center")
    sizes = " to ".join(map(str, sorted({of_classes.min(), of_classes.max()})))
    ax.set_title(f"{ax.get_title()}\n{counts.sum()} examples, {sizes} of a class", size=9)
    ax.set_xticks(ticks, names, rotation=90)
    ax.set_yticks(ticks, names)
    ax.spines[:].set_visible(True)
    return figure


def _in_unit(text):
    return f"{text} ({_SHARE.unit})" if _SHARE.unit else text
