"""The numbers that a report shows for one method and fusion, as a row."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tcmax_jax.evaluation.comparison import collected, grouped, interval
from tcmax_jax.evaluation.outputs import BINS, analysis_numbers
from tcmax_jax.evaluation.quantities import Name, quantity, read_name
from tcmax_jax.evaluation.reports.style import styles

# What is logged of training batches and has a curve.
_TRAINING = {"loss": Name("loss"), "cross_entropy": Name("train_cross_entropy")}
_ENTRY = ("step", "epoch", "split")


def make_rows(runs: Sequence[Mapping], split: str) -> list[dict]:
    """Groups runs, see `read_runs`, by method and fusion, with their analyses of a split.

    Returns:
      [{"method", "fusion", "label": for figures, "look": see `styles`, "runs", "values": {name: its
      value for each run}, see `numbers`, "measures": {name: its interval}, "curves": {name: a list
      of {epoch: value} for each run}, see `curves`, "noise": {modality: a list of {strength: fused
      accuracy} for each run that has them}, "reliability": {prediction: bins}, "confusion": [C, C]
      counts over all runs}].
    """
    groups = grouped(runs)
    several = len({fusion for _, fusion in groups}) > 1
    looks = styles([group[0]["config"]["method"]["kind"] for group in groups.values()])
    rows = []
    for ((method, fusion), group), look in zip(groups.items(), looks, strict=True):
        told = [numbers(run, split) for run in group]
        values = collected(told)
        analyses = [run["analysis"][split] for run in group]
        rows.append(
            {
                "method": method,
                "fusion": fusion,
                "label": f"{method}, {fusion}" if several else method,
                "look": look,
                "runs": group,
                "values": values,
                "measures": {name: interval(each) for name, each in values.items()},
                "curves": collected([curves(run["log"]) for run in group]),
                "noise": collected(list(map(_noise, told))),
                "reliability": _pooled(list(map(_reliability, analyses))),
                "confusion": np.sum([each["confusion"] for each in analyses], axis=0).tolist(),
            }
        )
    return rows


def last_split(runs: Sequence[Mapping]) -> str:
    """Returns "test" where all runs were evaluated on it, otherwise "validation"."""
    return "test" if all("test" in run["results"]["splits"] for run in runs) else "validation"


def numbers(run: Mapping, split: str) -> dict[Name, float | None]:
    """Returns {name: number}: the metrics of a split, its analyses, and numbers of the training.

    "train_cross_entropy" is the mean over the last epoch, in nats, where it was logged.
    """
    name = _TRAINING["cross_entropy"]
    training = curves(run["log"]).get(name, {})
    values = {name: training[max(training)]} if training else {}
    values |= {read_name(key): x for key, x in run["results"]["splits"][split].items()}
    for name, (value, _) in analysis_numbers(run["analysis"][split]).items():
        values.setdefault(name, value)
    return values


def curves(log: Sequence[Mapping]) -> dict[Name, dict[int, float]]:
    """Returns {name: {epoch: value}} of all logged quantities that have a curve.

    "loss" and "train_cross_entropy" are means over the steps of an epoch; all others are of the
    validation split.
    """
    drawn, sums, before = {}, {}, 0
    for entry in log:
        epoch = entry["epoch"]
        if entry["split"] == "train":
            # An entry is the mean over the steps since the one before.
            steps, before = entry["step"] - before, entry["step"]
            for key, name in _TRAINING.items():
                if entry.get(key) is not None:
                    total, count = sums.get((name, epoch), (0.0, 0))
                    sums[name, epoch] = total + steps * entry[key], count + steps
        else:
            named = {read_name(key): x for key, x in entry.items() if key not in _ENTRY}
            for name, value in named.items():
                if value is not None and "curves" in quantity(name).shown:
                    drawn.setdefault(name, {})[epoch] = value
    for (name, epoch), (total, count) in sums.items():
        drawn.setdefault(name, {})[epoch] = total / count
    return drawn


def _reliability(analysis):
    """Returns {prediction: bins}, those of single modalities by their marginals if available."""
    return analysis["reliability"] | analysis.get("marginal", {}).get("reliability", {})


def _noise(numbers):
    """Returns {modality: {strength: fused accuracy}}, with strength 0 among them."""
    shares = {}
    for name, share in numbers.items():
        if name.kind == "noise":
            clean = {0.0: numbers[Name("accuracy")]}
            shares.setdefault(name.of.noisy, clean)[name.of.strength] = share
    return shares


def _pooled(reliabilities):
    """Returns the bins of several runs, pooled."""
    pooled = {}
    for prediction, runs in collected(reliabilities).items():
        sums = np.zeros((BINS, 3))
        for each in (b for bins in runs for b in bins):
            place = min(math.ceil(each["confidence"] * BINS), BINS) - 1
            sums[place] += each["count"] * np.array([each["confidence"], each["accuracy"], 1])
        pooled[prediction] = [
            {"confidence": confidence / n, "accuracy": accuracy / n, "count": int(n)}
            for confidence, accuracy, n in sums[sums[:, 2] > 0].tolist()
        ]
    return pooled
