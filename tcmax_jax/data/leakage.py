"""Warnings about the same media in several splits, or under several labels."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tcmax_jax.data.clips import Clip

_SHOWN = 3


def leakage_notes(clips: Sequence[Clip]) -> list[str]:
    """Returns warnings about overlapping cuts of a file with several splits or labels."""
    by_file = defaultdict(list)
    for clip in clips:
        for file in {clip.video, clip.audio, *(file for _, file in clip.files)} - {None}:
            by_file[file].append(clip)
    shared = {file: list(_overlaps(each)) for file, each in by_file.items() if len(each) > 1}
    notes = []
    for where, field in (("in several splits", "split"), ("listed with several labels", "label")):
        pairs = {
            file: next((p for p in each if getattr(p[0], field) != getattr(p[1], field)), None)
            for file, each in shared.items()
        }
        notes += _note(where, {f: p for f, p in pairs.items() if p}, field)
    return notes


def copies_note(clips: Sequence[Clip], digests: Mapping[str, str]) -> list[str]:
    """Returns a warning about identical files in several splits under different names.

    Args:
      clips: the clips.
      digests: {id of a clip: digest of its files}.
    """
    by_content, pairs = defaultdict(list), {}
    for clip in clips:
        by_content[digests.get(clip.id, "")].append(clip)
    for digest, (first, *others) in by_content.items():
        files = {first.video, first.audio}
        copies = (c for c in others if c.split != first.split and not {c.video, c.audio} & files)
        if digest and (copy := next(copies, None)):
            pairs[first.video or first.audio] = first, copy
    return _note("under other names in other splits too", pairs, "split")


def _overlaps(clips: Sequence[Clip]) -> Iterator[tuple[Clip, Clip]]:
    """Yields pairs of overlapping clips of one file, without repeats of split, label and end."""
    begins = sorted(clips, key=lambda clip: clip.start or 0.0)
    reaching = []
    for clip in begins:
        begin = clip.start or 0.0
        reaching = [each for each in reaching if each.end is None or each.end > begin]
        yield from ((each, clip) for each in reaching)
        # One of each split and label tells as much as all.
        if all((e.split, e.label, e.end) != (clip.split, clip.label, clip.end) for e in reaching):
            reaching.append(clip)


def _note(where: str, pairs: Mapping[Path, tuple[Clip, Clip]], field: str) -> list[str]:
    if not pairs:
        return []
    shown = [
        f"{file.name} ({', '.join(f'{getattr(c, field)}: {c.id}' for c in pair)})"
        for file, pair in list(pairs.items())[:_SHOWN]
    ]
    more = ", .." if len(pairs) > _SHOWN else ""
    files = "1 file is" if len(pairs) == 1 else f"{len(pairs)} files are"
    return [f"{files} {where}: {'; '.join(shown)}{more}"]
