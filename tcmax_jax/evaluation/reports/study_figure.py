"""The figure of a study."""

import json
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from tcmax_jax.evaluation.reports.figures import legend, line_handle, panel_axes

# Whose differences mean little unless they are large beside 0.
_COSTS = ("seconds_per_step", "step_memory")


def study_figure(study: Mapping, lines: Sequence[Mapping]) -> Figure:
    """Draws every quantity of a study over its values, a panel for each.

    Args:
      study: see `tcmax_jax.evaluation.reports.studies.read_study`.
      lines: see `study_lines`.
    """
    there = {}
    for line in lines:
        for row in filter(None, line["points"]):
            for name, (title, unit, scale) in _quantities(row).items():
                there.setdefault(name, (title, unit, scale))
    ticks = [_text(study["field"], point["value"]) for point in study["points"]]
    figure, axes = panel_axes(len(there), height=2.3)
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.06)
    for ax, (name, (title, unit, scale)) in zip(axes, there.items(), strict=True):
        for place, line in enumerate(lines):
            known = [(x, _number(row, name)) for x, row in enumerate(line["points"]) if row]
            known = [(x, own) for x, own in known if own]
            if not known:
                continue
            # Side by side, or intervals of one value would hide each other.
            shift = 0.06 * (place - (len(lines) - 1) / 2)
            ax.errorbar(
                [x + shift for x, _ in known],
                [scale * own["mean"] for _, own in known],
                [scale * (own["half_width"] or 0) for _, own in known],
                color=line["look"]["colour"], linestyle=line["look"]["line"],
                marker=line["look"]["marker"], elinewidth=0.8, capsize=2,
            )  # fmt: skip
        ax.set(title=title, ylabel=unit, xlabel=study["field"])
        ax.set_xticks(range(len(ticks)), ticks, size=8 if len("".join(ticks)) < 20 else 6.5)
        ax.grid(axis="y")
        if name == "difference":
            ax.axhline(0, color="#999999", linewidth=0.8, linestyle=(0, (1, 2)))
        means = [scale * own["mean"] for own in _numbers(lines, name)]
        if name in _COSTS:
            ax.set_ylim(0, 1.3 * max(means))
        else:
            _look_at(ax, means)
    legend(figure, [line_handle(line) for line in lines])
    return figure


def _quantities(row):
    """Returns {name: (title, unit, factor)} of what a row of a study has a number for."""
    found = {"accuracy": ("fused", "accuracy (%)", 100)}
    if row["difference"]:
        found["difference"] = (f"fused less {row['against']['method']}", "points", 100)
    found["recalibrated"] = ("fused, recalibrated", "accuracy (%)", 100)
    for name in row["metrics"]:
        if name.startswith("accuracy/"):
            found[name] = (f"{name.partition('/')[2]} alone", "accuracy (%)", 100)
    found["tc_bound"] = ("TC bound", "nats", 1)
    for name, look in (
        ("loss", ("training loss, last epoch", "own objective (nats)", 1)),
        ("seconds_per_step", ("time of a step", "ms", 1000)),
        ("step_memory", ("memory of a step", "MiB", 1)),
    ):
        if name in (row["cost"] or {}):
            found[name] = look
    return {name: look for name, look in found.items() if _number(row, name)}


def _number(row, name):
    if name == "difference":
        return row["difference"]
    return row["metrics"].get(name) or (row["cost"] or {}).get(name)


def _numbers(lines, name):
    """Returns what all rows of all lines say of a quantity."""
    rows = [row for line in lines for row in line["points"] if row]
    return [own for own in (_number(row, name) for row in rows) if own]


def _look_at(ax, means):
    """Cuts intervals off that would shrink the differences of the means to nothing."""
    span = max(means) - min(means) or abs(max(means)) or 1.0
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, min(means) - 0.6 * span), min(high, max(means) + 0.6 * span))


def _text(field, value):
    if value is None:
        return "all" if field == "method.num_negatives" else "none"
    return value if isinstance(value, str) else json.dumps(value)
