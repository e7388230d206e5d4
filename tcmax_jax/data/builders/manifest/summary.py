"""Summary of a prepared manifest data set, as plain data that JSON can hold."""

from collections import Counter
from collections.abc import Sequence

from tcmax_jax.data.manifest import Row

SKIPPED_SHOWN = 5


def split_summary(labels: Sequence[str], seconds: Sequence[float]) -> dict:
    """Summarise one split.

    Args:
        labels: Label of each of its rows, at least one.
        seconds: Length of each row's sound in the same order.

    Returns:
        {"rows": count, "classes": {label: count}, "seconds": {"total", "min", "mean", "max"}}.
    """
    total = sum(seconds)
    return {
        "rows": len(labels),
        "classes": dict(sorted(Counter(labels).items())),
        "seconds": {
            "total": total,
            "min": min(seconds),
            "mean": total / len(seconds),
            "max": max(seconds),
        },
    }


def skipped_row(row: Row, reason: str) -> dict:
    """Describe a row that was left out."""
    return {"line": row.number, "id": row.id, "split": row.split, "reason": reason}


def summary_text(summary: dict) -> str:
    """Lay out a summary as a short table.

    Args:
        summary: {"splits": {name: split_summary(...)}, "skipped": [skipped_row(...), ...]}.

    Returns:
        A line per split, then the first skipped rows.
    """
    skipped = summary["skipped"]
    lines = [
        f"{'split':<12}{'rows':>8}{'skipped':>9}{'classes':>9}{'rows/class':>13}"
        f"{'min s':>8}{'mean s':>8}{'max s':>8}{'total s':>10}"
    ]
    for name, split in summary["splits"].items():
        counts, seconds = split["classes"].values(), split["seconds"]
        lines.append(
            f"{name:<12}{split['rows']:>8}{sum(row['split'] == name for row in skipped):>9}"
            f"{len(counts):>9}{f'{min(counts)}-{max(counts)}':>13}{seconds['min']:>8.2f}"
            f"{seconds['mean']:>8.2f}{seconds['max']:>8.2f}{seconds['total']:>10.1f}"
        )
    lines += [
        f"skipped line {row['line']} ({row['id']}): {row['reason']}"
        for row in skipped[:SKIPPED_SHOWN]
    ]
    if len(skipped) > SKIPPED_SHOWN:
        lines.append(f"... and {len(skipped) - SKIPPED_SHOWN} more, listed in the metadata")
    return "\n".join(lines)
