"""Statistics of many runs: means over seeds, 95 % intervals, paired differences from a baseline.

Works on plain results: `runs` is a list of {"method", "fusion", "seed", "metrics": {name: float}},
and `failed` a list of {"method", "fusion", "seed", "reason"} for runs without a result.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from scipy.special import stdtrit

from tcmax_jax.evaluation.quantities import (
    Name,
    mean,
    number,
    ordered,
    quantity,
    read_name,
    title,
    write_name,
)
from tcmax_jax.evaluation.tables import csv_table, markdown_table, markdown_text, text_table

_CONFIDENCE = 0.95
RUN = ("method", "fusion", "seed")  # what tells runs apart
_RECALIBRATED = (
    " Recalibrated: fused, with a weight for each modality and an offset for each class, fitted on "
    "validation; if test has other speakers or groups than validation, a gain on validation says "
    "little about test."
)


def interval(values: Sequence[float]) -> dict:
    """Returns the mean and the half width of its two-sided 95 % Student t interval.

      half_width = t_{0.975, n - 1} s / sqrt(n),  s^2 = sum (x - mean)^2 / (n - 1)

    Args:
      values: n numbers.

    Returns:
      {"mean", "half_width" (None for n = 1), "n"}; mean and half width are None where one of the
      numbers is None or not finite.
    """
    values = np.asarray(values, np.float64)  # NaN for None
    n = len(values)
    if not np.isfinite(values).all():
        return {"mean": None, "half_width": None, "n": n}
    half = None
    if n > 1:
        quantile = stdtrit(n - 1, (1 + _CONFIDENCE) / 2)  # of Student's t
        half = float(quantile * values.std(ddof=1) / math.sqrt(n))
    return {"mean": float(values.mean()), "half_width": half, "n": n}


def mean_and_error(values: np.ndarray) -> dict:
    """Returns {"mean", "standard_error": s / sqrt(n), None for n = 1} of n values."""
    n = len(values)
    error = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return {"mean": float(values.mean()), "standard_error": error}


def grouped(runs: Iterable[Mapping], fields: Sequence[str] = ("method", "fusion")) -> dict:
    """Returns {values of these fields: the runs that have them}, in the order of the first ones."""
    groups = {}
    for run in runs:
        groups.setdefault(tuple(run[field] for field in fields), []).append(run)
    return groups


def collected(dictionaries: Collection[Mapping]) -> dict:
    """Returns {key: its values in those dictionaries that have it}."""
    names = dict.fromkeys(name for each in dictionaries for name in each)
    return {name: [each[name] for each in dictionaries if name in each] for name in names}


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
    everything = [*runs, *failed]
    for (method, fusion, seed), group in grouped(everything, RUN).items():
        if len(group) > 1:
            raise ValueError(
                f"Expected one run of each method, fusion and seed, got two of {method}, {fusion}, "
                f"seed {seed}. Leave one out."
            )
    groups = grouped(everything)
    done = {
        key: {run["seed"]: run["metrics"] for run in group if "metrics" in run}
        for key, group in groups.items()
    }
    baselines = [key for key, metrics in done.items() if key[0] == baseline and metrics]
    rows = []
    for (method, fusion), metrics in done.items():
        against, gaps = None, []
        if baselines and method != baseline:
            against = min(baselines, key=lambda key: key[1] != fusion)
            common = [seed for seed in metrics if seed in done[against]]
            gaps = [metrics[s]["accuracy"] - done[against][s]["accuracy"] for s in common]
        rows.append(
            {
                "method": method,
                "fusion": fusion,
                "seeds": list(metrics),
                "failed": [run["seed"] for run in groups[method, fusion] if "metrics" not in run],
                "metrics": {name: interval(x) for name, x in collected(metrics.values()).items()},
                "difference": interval(gaps) if gaps else None,
                "against": {"method": against[0], "fusion": against[1]} if gaps else None,
            }
        )
    return {"baseline": baseline, "rows": rows, "failed": list(failed)}


def comparison_table(comparison: Mapping, width: int | None = None) -> str:
    """Lays out a comparison as text, see `tcmax_jax.evaluation.tables.text_table`."""
    warnings = "".join(f"\nwarning: {line}" for line in comparison_warnings(comparison))
    return text_table(comparison_cells(comparison), width) + warnings


def comparison_markdown(comparison: Mapping) -> str:
    """Lays out a comparison as a Markdown table: how to read it, and which runs failed."""
    lines = [*comparison_failures(comparison), *comparison_warnings(comparison)]
    failures = "".join(f"- {markdown_text(line)}\n" for line in lines)
    reading = markdown_text(comparison_reading(comparison))
    table = markdown_table(comparison_cells(comparison))
    return f"{table}\n\n{reading}\n" + (failures and f"\n{failures}")


def comparison_reading(comparison: Mapping) -> str:
    """Returns how to read the table of a comparison."""
    recalibrated = any("recalibrated" in row["metrics"] for row in comparison["rows"])
    return (
        "Mean over seeds ± half the 95 % t-interval of the mean. The last column is the paired "
        f"difference of fused accuracy from {comparison['baseline']}, in points, over the seeds "
        f"that both have; in brackets the head of {comparison['baseline']} if it is another one."
        + (_RECALIBRATED if recalibrated else "")
    )


def comparison_cells(comparison: Mapping) -> list[list[str]]:
    """Returns the head and the rows of the table as lists of text."""
    rows = comparison["rows"]
    there = (read_name(key) for row in rows for key in row["metrics"])
    columns = ordered([Name("accuracy"), *there], "comparison")
    titles = [title(name, short=True) for name in columns]
    lines = [["method", "fusion", "seeds", *titles, f"minus {comparison['baseline']}"]]
    for row in rows:
        cells = [mean(n, row["metrics"].get(write_name(n)), short=True) for n in columns]
        which = ", ".join(map(str, row["failed"]))
        seeds = f"{len(row['seeds'])}" + (f" (failed: seed {which})" if which else "")
        # With the baseline's head where that is not the row's own.
        other = row["against"] and row["against"]["fusion"]
        head = "" if other in (None, row["fusion"]) else f" ({other})"
        difference = mean(Name("difference"), row["difference"], short=True) + head
        lines.append([row["method"], row["fusion"], seeds, *cells, difference])
    for name, value in comparison.get("references", {}).items():
        cells = [mean(n, interval([value]), short=True) if n == columns[0] else "" for n in columns]
        lines.append([f"({name})", "", "", *cells, ""])
    return lines


def comparison_csv(runs: Sequence[Mapping], failed: Sequence[Mapping] = ()) -> str:
    """Returns a line for each run, every metric in full precision; failed ones have a reason."""
    names = list(dict.fromkeys(name for run in runs for name in run["metrics"]))
    lines = [[*RUN, "failed", *names]]
    for run in (*runs, *failed):
        values = [run.get("metrics", {}).get(name, "") for name in names]
        lines.append([*(run[field] for field in RUN), run.get("reason", ""), *values])
    return csv_table(lines)


def comparison_warnings(comparison: Mapping) -> list[str]:
    """Returns a sentence for each row below a reference accuracy."""
    references, sentences, name = comparison.get("references", {}), [], Name("accuracy")
    for row in comparison["rows"]:
        reached = row["metrics"].get("accuracy", {}).get("mean")
        above = [name for name, x in references.items() if reached is not None and reached < x]
        if above:
            best = max(above, key=references.get)
            sentences.append(
                f"{row['method']}, {row['fusion']}: the {title(name, unit=False)}, "
                f"{number(name, reached, short=True)} {quantity(name).unit}, is below that of the "
                f"{best}, {number(name, references[best], short=True)}. It says nothing about the "
                "method: train longer, or at another rate."
            )
    return sentences


def comparison_failures(comparison: Mapping) -> list[str]:
    """Returns a line of text for each failed run."""
    return [
        f"failed: {run['method']}, {run['fusion']}, seed {run['seed']}: {run['reason']}"
        for run in comparison["failed"]
    ]
