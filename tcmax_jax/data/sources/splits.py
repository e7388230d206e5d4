"""Splits that depend on names alone, so that everybody gets the same ones."""

import hashlib
from collections.abc import Callable, Iterable, Sequence

from tcmax_jax.data.clips import Clip


def held_out(names: Iterable[str], share: float) -> set[str]:
    """Chooses a share of names, by the order of their SHA-256.

    Args:
      names: the names; repeated ones count once.
      share: share to choose, at least one name of two or more and never all.

    Returns:
      The chosen names.
    """
    names = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    if len(names) < 2 or not share:
        return set()
    number = min(max(round(share * len(names)), 1), len(names) - 1)
    return set(names[:number])


def move(
    clips: Sequence[Clip],
    share: float,
    *,
    to: str,
    group_of: Callable[[Clip], str] = lambda clip: clip.id,
    stratum_of: Callable[[Clip], str] = lambda clip: "",
) -> list[Clip]:
    """Moves a share of the groups of the train split to another split.

    Args:
      clips: the clips, of any splits.
      share: share of the groups of each stratum.
      to: the other split.
      group_of: name of a clip's group, of which all clips move or none; by default each clip is
        its own.
      stratum_of: name of a clip's stratum, from each of which the share is taken; by default
        there is one.
    """
    groups = {}
    for clip in clips:
        if clip.split == "train":
            groups.setdefault(stratum_of(clip), set()).add(group_of(clip))
    chosen = {stratum: held_out(names, share) for stratum, names in groups.items()}
    return [
        clip._replace(split=to)
        if clip.split == "train" and group_of(clip) in chosen[stratum_of(clip)]
        else clip
        for clip in clips
    ]
