"""Studies as text: a table with a row for each value, method and head."""

import json
from collections.abc import Mapping

_METRICS = {
    "accuracy": "fused",
    "cross_entropy": "cross-entropy (nats)",
    "tc_bound": "TC bound (nats)",
}


def study_markdown(study: Mapping) -> str:
    """Lays out a study as a Markdown table.

    Args:
      study: what `tcmax_jax.training.study.run_study` returned.

    Returns:
      The table, and how to read it. Metrics of single modalities have columns of their own.
    """
    rows = [(point["value"], row) for point in study["points"] for row in point["rows"]]
    names = list(dict.fromkeys(name for _, row in rows for name in row["metrics"]))
    single = [name for name in names if name.startswith("accuracy/")]
    columns = [*(name for name in _METRICS if name in names), *single]
    titles = [_METRICS.get(name) or f"{name.removeprefix('accuracy/')} (split)" for name in columns]
    head = [study["field"], "method", "fusion", "seeds", *titles, "ms a step", "memory (MiB)"]
    lines = [_line(head), _line(["---"] * len(head))]
    for value, row in rows:
        cost = row["cost"] or {}
        cells = [json.dumps(value), row["method"], row["fusion"], str(len(row["seeds"]))]
        cells += [_interval(row["metrics"].get(name), 4) for name in columns]
        cells += [
            _interval(cost.get("seconds_per_step"), 2, 1000),
            _interval(cost.get("host_memory"), 0),
        ]
        lines.append(_line(cells))
    reading = (
        "Mean over seeds ± half the 95 % t-interval of the mean. Time is the median over the "
        "windows after the first epoch; memory is the most that the process has used so far, so "
        "that it never falls from run to run of one process."
    )
    return "\n".join(lines) + f"\n\n{reading}\n"


def _interval(value, digits, factor=1):
    if value is None:
        return ""
    mean = f"{factor * value['mean']:.{digits}f}"
    half = value["half_width"]
    return mean if half is None else f"{mean} ± {factor * half:.{digits}f}"


def _line(cells):
    return "| " + " | ".join(cells) + " |"
