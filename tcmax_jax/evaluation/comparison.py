"""What many runs come to: means over seeds, 95 % intervals, differences against a baseline.

Works on plain results: `runs` is a list of {"method", "fusion", "seed", "metrics": {name: float}},
and `failed`, of runs that came to nothing, one of {"method", "fusion", "seed", "reason"}.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from tcmax_jax.evaluation.quantities import Name, mean, ordered, read_name, title, write_name
from tcmax_jax.evaluation.tables import csv_table, markdown_table, text_table

_CONFIDENCE = 0.95
_ACCURACY = Name("accuracy")
_RECALIBRATED = (
    " Recalibrated: fused, with a weight for each modality and an offset for each class that were "
    "fitted on validation."
)


def interval(values: Sequence[float]) -> dict:
    """Returns the mean and the half width of its two-sided 95 % Student t interval.

      half_width = t_{0.975, n - 1} s / sqrt(n),  s^2 = sum (x - mean)^2 / (n - 1)

    Args:
      values: n numbers.

    Returns:
      {"mean", "half_width" (None for n = 1), "n"}.
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    half = None
    if n > 1:
        quantile = stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1)
        half = float(quantile * values.std(ddof=1) / math.sqrt(n))
    return {"mean": float(values.mean()), "half_width": half, "n": n}


def compare_runs(
    runs: Sequence[Mapping], failed: Sequence[Mapping] = (), baseline: str = "joint"
) -> dict:
    """Compares methods over the seeds they have in common with a baseline.

    Args:
      runs: see the module.
      failed: see the module. A method that failed on every seed has a row without metrics.
      baseline: name of the method against which differences are taken; its row of the same fusion
        if there is one, otherwise that of its first run.

    Returns:
      {"baseline", "rows": [{"method", "fusion", "seeds", "failed": seeds that failed, "metrics":
      {name: interval}, "difference": interval of the paired differences of "accuracy" or None,
      "against": {"method", "fusion"} or None}], "failed"}, rows in the order of their first run.

    Raises:
      ValueError: two runs of one method, fusion and seed.
    """
    _check_repetition([*runs, *failed])
    groups, lost = {}, {}
    for run in runs:
        groups.setdefault(_key(run), {})[run["seed"]] = run["metrics"]
    for run in failed:
        groups.setdefault(_key(run), {})
        lost.setdefault(_key(run), []).append(run["seed"])
    baselines = [key for key, group in groups.items() if key[0] == baseline and group]
    rows = []
    for key, group in groups.items():
        names = dict.fromkeys(name for metrics in group.values() for name in metrics)
        metrics = {n: interval([m[n] for m in group.values() if n in m]) for n in names}
        against, difference = None, None
        if baselines and key[0] != baseline:
            other = (baseline, key[1]) if (baseline, key[1]) in baselines else baselines[0]
            common = [seed for seed in group if seed in groups[other]]
            if common:
                gaps = [group[s]["accuracy"] - groups[other][s]["accuracy"] for s in common]
                difference = interval(gaps)
                against = {"method": other[0], "fusion": other[1]}
        rows.append(
            {
                "method": key[0],
                "fusion": key[1],
                "seeds": list(group),
                "failed": lost.get(key, []),
                "metrics": metrics,
                "difference": difference,
                "against": against,
            }
        )
    return {"baseline": baseline, "rows": rows, "failed": list(failed)}


def comparison_table(comparison: Mapping, width: int | None = None) -> str:
    """Lays out a comparison as text, see `tcmax_jax.evaluation.tables.text_table`."""
    return text_table(comparison_cells(comparison), width)


def comparison_markdown(comparison: Mapping) -> str:
    """Lays out a comparison as a Markdown table: how to read it, and which runs failed."""
    failures = "".join(f"- {line}\n" for line in comparison_failures(comparison))
    table, reading = markdown_table(comparison_cells(comparison)), comparison_reading(comparison)
    return f"{table}\n\n{reading}\n" + (failures and f"\n{failures}")


def comparison_reading(comparison: Mapping) -> str:
    """Returns how to read the table of a comparison."""
    recalibrated = any("recalibrated" in row["metrics"] for row in comparison["rows"])
    return (
        "Mean over seeds ± half the 95 % t-interval of the mean. The last column is the paired "
        f"difference of fused accuracy against {comparison['baseline']}, in points, over the seeds "
        f"that both have; in brackets the head of {comparison['baseline']} where it is another one."
        + (_RECALIBRATED if recalibrated else "")
    )


def comparison_cells(comparison: Mapping) -> list[list[str]]:
    """Returns the head and the rows of the table as lists of text."""
    rows = comparison["rows"]
    there = (read_name(key) for row in rows for key in row["metrics"])
    columns = ordered([_ACCURACY, *there], "comparison")
    titles = [title(name, short=True) for name in columns]
    lines = [["method", "fusion", "seeds", *titles, f"minus {comparison['baseline']}"]]
    for row in rows:
        cells = [mean(n, row["metrics"].get(write_name(n)), short=True) for n in columns]
        lines.append([row["method"], row["fusion"], _seeds(row), *cells, _difference(row)])
    return lines


def comparison_csv(runs: Sequence[Mapping], failed: Sequence[Mapping] = ()) -> str:
    """Returns a line for each run, every metric in full precision; failed ones have a reason."""
    names = list(dict.fromkeys(name for run in runs for name in run["metrics"]))
    lines = [["method", "fusion", "seed", "failed", *names]]
    for run in (*runs, *failed):
        values = [run.get("metrics", {}).get(name, "") for name in names]
        lines.append([run["method"], run["fusion"], run["seed"], run.get("reason", ""), *values])
    return csv_table(lines)


def _key(run):
    return run["method"], run["fusion"]


def _check_repetition(runs):
    seen = set()
    for run in runs:
        if (*_key(run), run["seed"]) in seen:
            raise ValueError(
                "Expected one run of each method, fusion and seed, got two of "
                f"{run['method']}, {run['fusion']}, seed {run['seed']}. Leave one out."
            )
        seen.add((*_key(run), run["seed"]))


def comparison_failures(comparison: Mapping) -> list[str]:
    """Returns a line of text for each failed run."""
    return [
        f"failed: {run['method']}, {run['fusion']}, seed {run['seed']}: {run['reason']}"
        for run in comparison["failed"]
    ]


def _seeds(row):
    """Returns how many seeds a row is the mean of, and which ones are missing from it."""
    which = ", ".join(map(str, row["failed"]))
    return f"{len(row['seeds'])}" + (f" (failed: seed {which})" if which else "")


def _difference(row):
    """Returns the paired difference, with the baseline's head where that is not the row's own."""
    other = row["against"] and row["against"]["fusion"]
    head = "" if other in (None, row["fusion"]) else f" ({other})"
    return mean(Name("difference"), row["difference"], short=True) + head
