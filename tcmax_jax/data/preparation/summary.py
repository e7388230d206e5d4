"""The summary of a preparation: progress, plain data and text."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from tcmax_jax.data.clips import SPLITS, Listing
from tcmax_jax.data.preparation.chunks import Outcome

_SHOWN = 5
_LINES = 10  # of progress, where there is no terminal
_NO_TEST = (
    "no clip has the split test, so that results are those of validation, which also chose the "
    "checkpoint"
)


def summarise(listing: Listing, outcomes: Sequence[Outcome]) -> dict:
    """Summarises a prepared data set.

    Args:
      listing: all clips.
      outcomes: what became of each.

    Returns:
      {"splits": {split: {"listed", "used", "classes": {label: used clips}, "seconds": {"total",
      "min", "mean", "max"} (None without sound)}}, "expected": {split: published number, train
      with validation where validation is cut from it}, "skipped": [{"id", "split", "reason",
      "message"}], "notes": [sentence],
      "checksum": SHA-256 of the used clips' splits, ids and labels}, and, where the list has
      groups, "groups": {split: [group of each used clip, in the order of the list]}.
    """
    used = [outcome for outcome in outcomes if outcome.reason is None]
    listed = Counter(clip.split for clip in listing.clips)
    splits = {}
    for split in (name for name in SPLITS if listed[name]):
        of_split = [outcome for outcome in used if outcome.split == split]
        splits[split] = {
            "listed": listed[split],
            "used": len(of_split),
            "classes": dict(sorted(Counter(outcome.label for outcome in of_split).items())),
            "seconds": _seconds([o.seconds for o in of_split if o.seconds is not None]),
        }
    lines = sorted(json.dumps([outcome.split, outcome.id, outcome.label]) for outcome in used)
    grouped = any(clip.group for clip in listing.clips)
    return {
        "splits": splits,
        "expected": dict(listing.expected),
        "skipped": [
            {"id": o.id, "split": o.split, "reason": o.reason, "message": o.message}
            for o in outcomes
            if o.reason is not None
        ],
        "notes": [*listing.notes, *_remarks(used), *([] if listed["test"] else [_NO_TEST])],
        "checksum": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    } | ({"groups": _groups(listing, used)} if grouped else {})


def summary_text(summary: Mapping) -> str:
    """Lays out the result of `summarise`.

    Returns:
      A line for each split, the notes, the reasons for which clips were left out, and the first
      of these clips.
    """
    skipped = summary["skipped"]
    lines = [
        f"{'split':<11}{'clips':>7}{'skipped':>9}{'classes':>9}{'a class':>11}"
        f"{'min s':>8}{'mean s':>8}{'max s':>8}{'total s':>9}"
    ]
    for name, split in summary["splits"].items():
        counts, seconds = split["classes"].values(), split["seconds"]
        times = ("min", "mean", "max") if seconds else ()
        lines.append(
            f"{name:<11}{split['used']:>7}{split['listed'] - split['used']:>9}"
            f"{len(counts):>9}{f'{min(counts)}-{max(counts)}':>11}"
            + "".join(f"{seconds[time]:>8.2f}" for time in times)
            + (f"{seconds['total']:>9.1f}" if seconds else "")
        )
    lines += [_expectation(summary, split) for split in summary["expected"]]
    lines += [f"note: {note}" for note in summary["notes"]]
    if skipped:
        reasons = Counter(clip["reason"] for clip in skipped).most_common()
        lines.append("skipped: " + ", ".join(f"{n} ({reason})" for reason, n in reasons))
        lines += [f"skipped {clip['message']}" for clip in skipped[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"... and {len(skipped) - _SHOWN} more, listed in the metadata")
    lines.append(f"checksum of the list: {summary['checksum'][:16]}")
    return "\n".join(lines)


def _groups(listing: Listing, used: Sequence[Outcome]) -> dict[str, list[str]]:
    ids, groups = {outcome.id for outcome in used}, {}
    for clip in listing.clips:
        if clip.id in ids:
            groups.setdefault(clip.split, []).append(clip.group)
    return groups


def _remarks(used: Sequence[Outcome]) -> list[str]:
    """Returns a sentence for each remark, with the clips that have it."""
    about = {remark: [] for outcome in used for remark in outcome.remarks}
    for outcome in used:
        for remark in dict.fromkeys(outcome.remarks):
            about[remark].append(outcome.id)
    return [
        f"{len(ids)} of {len(used)} clips have {remark}: {', '.join(ids[:_SHOWN])}"
        f"{', ..' if len(ids) > _SHOWN else ''}"
        for remark, ids in sorted(about.items())
    ]


def _expectation(summary: Mapping, split: str) -> str:
    """Returns a sentence on how many clips of a split were published, and how many are used."""
    parts = [split]
    if split == "train" and "validation" not in summary["expected"]:
        parts.append("validation")
    counts = [summary["splits"].get(part, {"used": 0, "listed": 0}) for part in parts]
    used, listed = (sum(each[name] for each in counts) for name in ("used", "listed"))
    published = summary["expected"][split]
    return (
        f"{' + '.join(parts)}: {published} clips published, {listed} listed, {used} used "
        f"({used / published:.1%} of those published)"
    )


def _seconds(lengths: Sequence[float]) -> dict | None:
    if not lengths:
        return None
    total, least, most = sum(lengths), min(lengths), max(lengths)
    return {"total": total, "min": least, "mean": total / len(lengths), "max": most}


class Progress:
    """A bar over all clips on a terminal, a plain line for every tenth of them elsewhere."""

    def __init__(self, total: int):
        self._total = total
        self._done = self._skipped = 0
        # disable=None leaves the bar out where standard error is no terminal.
        self._bar = tqdm(total=total, unit="clip", file=sys.stderr, disable=None)

    def advance(self, outcomes: Sequence[Outcome]) -> None:
        """Counts some clips of one split."""
        before = self._done * _LINES // self._total
        self._done += len(outcomes)
        self._skipped += sum(outcome.reason is not None for outcome in outcomes)
        split = outcomes[0].split
        self._bar.set_description(split, refresh=False)
        self._bar.set_postfix(skipped=self._skipped, refresh=False)
        self._bar.update(len(outcomes))
        if self._done == self._total:
            self._bar.close()
        if self._bar.disable and self._done * _LINES // self._total > before:
            print(
                f"decoded {self._done}/{self._total} clips, {self._skipped} skipped ({split})",
                file=sys.stderr,
                flush=True,
            )
