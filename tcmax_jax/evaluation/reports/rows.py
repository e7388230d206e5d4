"""What is shown of the runs of one method and fusion: a row of plain numbers."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tcmax_jax.evaluation.analysis import BINS
from tcmax_jax.evaluation.comparison import interval
from tcmax_jax.evaluation.reports.style import styles

_PER_PREDICTION = ("entropy", "calibration_error")
# What has a curve, by split.
_TRAINING = {"loss", "cross_entropy"}
_VALIDATION = {"cross_entropy", "tc_bound", "accuracy"}


def make_rows(runs: Sequence[Mapping], split: str) -> list[dict]:
    """Groups runs by method and fusion.

    Args:
      runs: see `read_runs`.
      split: the split whose analyses are taken.

    Returns:
      [{"method", "fusion", "label": for figures, "look": see `styles`, "runs", "values": {name: its
      value for each run}, see `numbers`, "measures": {name: its interval}, "curves": {name: a list
      of {epoch: value} for each run}, "noise": {modality: a list of {strength: fused accuracy} for
      each run that has them}, "reliability": {prediction: bins}, "confusion": [C, C] counts over
      all runs}].
    """
    groups = {}
    for run in runs:
        groups.setdefault((run["method"], run["fusion"]), []).append(run)
    several = len({fusion for _, fusion in groups}) > 1
    looks = styles([group[0]["config"]["method"]["kind"] for group in groups.values()])
    rows = []
    for ((method, fusion), group), look in zip(groups.items(), looks, strict=True):
        values = _collect([numbers(run, split) for run in group])
        rows.append(
            {
                "method": method,
                "fusion": fusion,
                "label": f"{method}, {fusion}" if several else method,
                "look": look,
                "runs": group,
                "values": values,
                "measures": {name: _interval(own) for name, own in values.items()},
                "curves": _collect([curves(run["log"]) for run in group]),
                "noise": _collect([_noise(run["analysis"][split]) for run in group]),
                "reliability": _pooled([run["analysis"][split]["reliability"] for run in group]),
                "confusion": _summed([run["analysis"][split]["confusion"] for run in group]),
            }
        )
    return rows


def numbers(run: Mapping, split: str) -> dict[str, float]:
    """Returns {name: number}: the metrics of a split, its analyses, and what training came to.

    "train_cross_entropy" is the mean over the last epoch, in nats, where it was logged.
    """
    training = curves(run["log"]).get("train/cross_entropy", {})
    last = {"train_cross_entropy": training[max(training)]} if training else {}
    return {**last, **run["results"]["splits"][split], **measures(run["analysis"][split])}


def measures(analysis: Mapping) -> dict[str, float]:
    """Returns {name: number} of what an analysis says in one number, "entropy/audio" for example.

    Those that are differences between modalities are there for additive heads alone.
    """
    found = {}
    if "js_divergence" in analysis:
        found["js_divergence"] = analysis["js_divergence"]["mean"]
        found |= {name: analysis[name] for name in ("entropy_ratio", "multimodal_gain")}
    for name in _PER_PREDICTION:
        found |= {f"{name}/{prediction}": x for prediction, x in analysis[name].items()}
    if recalibrated := analysis.get("recalibration"):
        found |= {"recalibrated": recalibrated["accuracy"]}
        found |= {
            f"{n}/recalibrated": recalibrated[n] for n in ("cross_entropy", "calibration_error")
        }
        found |= {f"weight/{m}": w for m, w in recalibrated["weights"].items()}
    found |= {f"cka/{pair}": x for pair, x in analysis["cka"].items()}
    found |= {f"without/{m}": x for m, x in analysis.get("accuracy_without", {}).items()}
    for m, shares in analysis.get("accuracy_under_noise", {}).items():
        found |= {f"noise/{m}={strength}": x for strength, x in shares.items()}
    terms = analysis.get("total_correlation", {}).get("terms", {})
    return found | {f"chain/{name}": x["nats"] for name, x in terms.items()}


def curves(log: Sequence[Mapping]) -> dict[str, dict[int, float]]:
    """Returns {name: {epoch: value}} of what a run has logged.

    "train/loss" and "train/cross_entropy" are means over the steps of an epoch; all others
    ("cross_entropy", "tc_bound", "accuracy", "accuracy/<modality>") are of the validation split.
    """
    found, sums, before = {}, {}, 0
    for entry in log:
        if entry["split"] == "train":
            # An entry is the mean over the steps since the one before.
            steps, before = entry["step"] - before, entry["step"]
            for name in _TRAINING & entry.keys():
                total, count = sums.setdefault(name, {}).get(entry["epoch"], (0.0, 0))
                sums[name][entry["epoch"]] = (total + steps * entry[name], count + steps)
        else:
            for name, value in entry.items():
                if name in _VALIDATION or name.startswith("accuracy/"):
                    found.setdefault(name, {})[entry["epoch"]] = value
    for name, epochs in sorted(sums.items()):
        found[f"train/{name}"] = {epoch: total / count for epoch, (total, count) in epochs.items()}
    return found


def _noise(analysis):
    """Returns {modality: {strength: fused accuracy}}, without noise among them."""
    return {
        m: {0.0: analysis["accuracy"]["fused"]} | {float(s): x for s, x in shares.items()}
        for m, shares in analysis.get("accuracy_under_noise", {}).items()
    }


def _collect(dictionaries):
    """Returns {name: the values of those dictionaries that have it}."""
    names = dict.fromkeys(name for own in dictionaries for name in own)
    return {name: [own[name] for own in dictionaries if name in own] for name in names}


def _interval(values):
    if all(map(math.isfinite, values)):
        return interval(values)
    # The ratio of entropies, where a modality is certain of every example.
    return {"mean": math.inf, "half_width": None, "n": len(values)}


def _pooled(reliabilities):
    """Returns the bins of several runs as if their examples were those of one."""
    pooled = {}
    for prediction in dict.fromkeys(name for own in reliabilities for name in own):
        sums = {}
        for bins in (own.get(prediction, []) for own in reliabilities):
            for each in bins:
                number = min(math.ceil(each["confidence"] * BINS), BINS)
                total = sums.setdefault(number, {"confidence": 0.0, "accuracy": 0.0, "count": 0})
                total["confidence"] += each["count"] * each["confidence"]
                total["accuracy"] += each["count"] * each["accuracy"]
                total["count"] += each["count"]
        pooled[prediction] = [
            {
                "confidence": sums[b]["confidence"] / sums[b]["count"],
                "accuracy": sums[b]["accuracy"] / sums[b]["count"],
                "count": sums[b]["count"],
            }
            for b in sorted(sums)
        ]
    return pooled


def _summed(tables):
    return np.sum(tables, axis=0).tolist()
