"""Results as text; reads result files only."""

from collections.abc import Mapping

_COLUMNS = {
    "accuracy": "fused accuracy",
    "cross_entropy": "cross-entropy (nats)",
    "tc_bound": "TC bound (nats)",
}
_KINDS = {
    "accuracy": "{} accuracy (split)",
    "probe": "{} accuracy (probe)",
    "without": "fused accuracy without {}",
    "cross_entropy": "{} cross-entropy (nats)",
}
_ACCURACIES = ("accuracy", "probe", "without")


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
    # Accuracies first, then the rest, as people read them.
    names.sort(key=lambda name: name.partition("/")[0] not in _ACCURACIES)
    titles = [_title(name) for name in names]
    width = max(map(len, titles))
    lines = [
        f"{results['run']}: best checkpoint on validation, epoch {results['epoch']} "
        f"(step {results['step']})",
        " " * width + "".join(f"{split:>12}" for split in splits),
    ]
    for name, title in zip(names, titles, strict=True):
        lines.append(f"{title:<{width}}" + "".join(f"{splits[s][name]:>12.4f}" for s in splits))
    counts = results.get("data", {})
    if any(own["used"] < own["listed"] for own in counts.values()):
        shares = (
            f"{split} {own['used']} of {own['listed']} ({own['used'] / own['listed']:.1%})"
            for split, own in counts.items()
        )
        lines.append(f"a part of the data only: {', '.join(shares)} of the listed clips")
    return "\n".join(lines)


def _title(name):
    kind, _, modality = name.partition("/")
    if modality:
        return _KINDS[kind].format(modality)
    return _COLUMNS[name]
