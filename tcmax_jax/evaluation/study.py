"""Studies as text: a table with a row for each value, method and head."""

import json
from collections.abc import Mapping
from typing import Any

# Metrics and costs by name: (title, digits, factor).
_METRICS = {
    "accuracy": ("fused", 4, 1),
    "recalibrated": ("recalibrated", 4, 1),
    "cross_entropy": ("cross-entropy (nats)", 4, 1),
    "tc_bound": ("TC bound (nats)", 4, 1),
}
_COSTS = {
    "loss": ("training loss (nats)", 4, 1),
    "seconds_per_step": ("ms a step", 2, 1000),
    "step_memory": ("memory of a step (MiB)", 1, 1),
}


def point_folder(field: str, value: Any) -> str:
    """Returns the name of the folder of a study that holds the runs with a value of its field."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{field}={text}".replace("/", "_")


def study_markdown(study: Mapping) -> str:
    """Lays out a study as a Markdown table, and says how to read it.

    Args:
      study: what `tcmax_jax.training.study.run_study` returned.
    """
    head, *rows = study_cells(study)
    lines = [_line(head), _line(["---"] * len(head)), *map(_line, rows)]
    return "\n".join(lines) + f"\n\n{study_reading()}\n"


def study_reading() -> str:
    """Returns how to read the table of a study."""
    return (
        "Mean over seeds ± half the 95 % t-interval of the mean. The training loss is the mean "
        "over the last epoch, of each method's own objective. Time is the median over the windows "
        "after the first epoch, with what the step waits for its data. Memory is what the compiled "
        "step needs beside parameters and batch."
    )


def study_cells(study: Mapping) -> list[list[str]]:
    """Returns the head and the rows of the table as lists of text.

    Metrics of single modalities have columns of their own.
    """
    rows = [(point["value"], row) for point in study["points"] for row in point["rows"]]
    names = dict.fromkeys(name for _, row in rows for name in row["metrics"])
    costs = dict.fromkeys(name for _, row in rows for name in row["cost"] or {})
    columns = [(n, *_METRICS[n]) for n in _METRICS if n in names]
    columns += [
        (n, f"{n.removeprefix('accuracy/')} (split)", 4, 1)
        for n in names
        if n.startswith("accuracy/")
    ]
    columns += [(n, *_COSTS[n]) for n in _COSTS if n in costs]
    lines = [[study["field"], "method", "fusion", "seeds", *(title for _, title, _, _ in columns)]]
    for value, row in rows:
        numbers = {**row["metrics"], **(row["cost"] or {})}
        cells = [json.dumps(value), row["method"], row["fusion"], str(len(row["seeds"]))]
        cells += [_interval(numbers.get(n), digits, factor) for n, _, digits, factor in columns]
        lines.append(cells)
    return lines


def _interval(value, digits, factor):
    if value is None:
        return "-"
    mean = f"{factor * value['mean']:.{digits}f}"
    half = value["half_width"]
    return mean if half is None else f"{mean} ±{factor * half:.{digits}f}"


def _line(cells):
    return "| " + " | ".join(cells) + " |"
