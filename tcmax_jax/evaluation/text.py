"""Results as text; reads result files only."""

from collections.abc import Mapping

_COLUMNS = {
    "accuracy": "fused accuracy",
    "recalibrated": "fused accuracy, recalibrated",
    "cross_entropy": "cross-entropy (nats)",
    "tc_bound": "TC bound (nats)",
}
_KINDS = {
    "accuracy": "{} accuracy (split)",
    "probe": "{} accuracy (probe)",
    "without": "fused accuracy without {}",
    "cross_entropy": "{} cross-entropy (nats)",
}
_CHAIN = "total_correlation"
# (name of an analysis, title, unit).
_ANALYSES = (
    ("accuracy", "accuracy,", ""),
    ("accuracy_without", "accuracy without", ""),
    ("accuracy_under_noise", "accuracy under noise on", ""),
    ("multimodal_gain", "multimodal gain", ""),
    ("js_divergence", "Jensen-Shannon divergence", "nats"),
    ("entropy", "entropy,", "nats"),
    ("entropy_ratio", "entropy ratio", ""),
    ("calibration_error", "calibration error,", ""),
    ("cka", "linear CKA", ""),
)
_ACCURACIES = ("accuracy", "recalibrated", "probe", "without")


def results_table(results: Mapping) -> str:
    """Lays out the results of a run.

    Args:
      results: what a run wrote as results.json: "run", "step", "epoch", "splits": {split: metrics},
        and "data", the listed and used clips of each split.

    Returns:
      A short table, a row for each metric and a column for each split; below it a line where clips
      of the data set's lists were left out.
    """
    splits = results["splits"]
    names = list(dict.fromkeys(name for metrics in splits.values() for name in metrics))
    # Fused accuracies first, then those of modalities, then the rest, as people read them.
    names.sort(key=_place)
    titles = [_title(name) for name in names]
    width = max(map(len, titles))
    lines = [
        f"{results['run']}: best checkpoint on validation, epoch {results['epoch']} "
        f"(step {results['step']})",
        " " * width + "".join(f"{split:>12}" for split in splits),
    ]
    for name, title in zip(names, titles, strict=True):
        lines.append(f"{title:<{width}}" + "".join(_cell(splits[s].get(name)) for s in splits))
    counts = results.get("data", {})
    if any(own["used"] < own["listed"] for own in counts.values()):
        shares = (
            f"{split} {own['used']} of {own['listed']} ({own['used'] / own['listed']:.1%})"
            for split, own in counts.items()
        )
        lines.append(f"a part of the data only: {', '.join(shares)} of the listed clips")
    return "\n".join(lines)


def analysis_text(analyses: Mapping) -> str:
    """Lays out the analyses that are one number: a line for each, a column for each split.

    Args:
      analyses: {split: see `tcmax_jax.evaluation.analysis.analyse`}.
    """
    columns = {split: _numbers(analysis) for split, analysis in analyses.items()}
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{split:>18}" for split in columns)]
    for name in names:
        lines.append(
            f"{name:<{width}}" + "".join(f"{c.get(name, ''):>18}" for c in columns.values())
        )
    verdicts = [a["total_correlation"]["verdict"] for a in analyses.values() if _CHAIN in a]
    return "\n".join(line.rstrip() for line in [*lines, *verdicts])


def _numbers(analysis):
    """Returns {title: text} of an analysis."""
    found = {}
    for name, prefix, unit in _ANALYSES:
        value = analysis.get(name)
        if isinstance(value, Mapping) and "mean" in value:
            found[f"{prefix} ({unit})"] = _with_error(value["mean"], value["standard_error"])
        elif isinstance(value, Mapping):
            for key, own in value.items():
                noisy = own.items() if isinstance(own, Mapping) else [(None, own)]
                for strength, number in noisy:
                    at = f"{key}" + (f" of {strength} std" if strength else "")
                    found[f"{prefix} {at}" + (f" ({unit})" if unit else "")] = f"{number:.4f}"
        elif value is not None:
            found[prefix + (f" ({unit})" if unit else "")] = f"{value:.4f}"
    if recalibration := analysis.get("recalibration"):
        found["accuracy, recalibrated"] = f"{recalibration['accuracy']:.4f}"
        for m, weight in recalibration["weights"].items():
            found[f"weight of {m}, recalibrated"] = f"{weight:.4f}"
    for name, own in analysis.get(_CHAIN, {}).get("terms", {}).items():
        found[f"{name}, at least (nats)"] = _with_error(own["nats"], own["standard_error"])
    return found


def _place(name):
    kind, of_modality, _ = name.partition("/")
    return 2 if kind not in _ACCURACIES else 1 if of_modality else 0


def _cell(value):
    return f"{'-' if value is None else format(value, '.4f'):>12}"


def _with_error(value, error):
    return f"{value:.4f}" + ("" if error is None else f" ±{error:.4f}")


def _title(name):
    kind, _, modality = name.partition("/")
    if modality:
        return _KINDS[kind].format(modality)
    return _COLUMNS[name]
