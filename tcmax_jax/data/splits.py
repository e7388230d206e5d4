"""Splits made here for lists without any: shares, folds, one group left out.

They depend on the SHA-256 of names alone, so they are the same everywhere. Clips of a group stay
together; without groups, splits are stratified by class.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

from tcmax_jax.data.clips import Clip, RawDataError


def hashed(names: Iterable[str]) -> list[str]:
    """Returns the distinct names, ordered by their SHA-256."""
    return sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def held_out(names: Iterable[str], share: float) -> set[str]:
    """Returns a share of the names, the first ones in the order of their SHA-256.

    Args:
      names: the names; repeated ones count once.
      share: share to choose, at least one name of two or more and never all.
    """
    names = hashed(names)
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
    strata = _strata(clips, group_of, stratum_of)
    chosen = {stratum: held_out(names, share) for stratum, names in strata.items()}
    return _moved(clips, to, lambda clip: group_of(clip) in chosen[stratum_of(clip)])


def split_by_group(
    clips: Sequence[Clip],
    *,
    validation_share: float,
    test_share: float = 0.0,
    folds: int | None = None,
    fold: int = 0,
    held_out_group: str | None = None,
) -> list[Clip]:
    """Moves clips of the train split to test and validation; clips of a group stay together.

    Args:
      clips: the clips, of any splits.
      validation_share: share of the groups that are left for training.
      test_share: share of the groups.
      folds: number of equal parts, of which part `fold` becomes test; None for no folds.
      fold: number of that part, from 0.
      held_out_group: the group that becomes test; None for none.

    Raises:
      RawDataError: there is no such group, or too few groups.
    """
    grouped = any(clip.group for clip in clips)
    by = {"group_of": _group, "stratum_of": (lambda clip: "") if grouped else _label}
    if held_out_group is not None:
        groups = sorted({clip.group for clip in clips if clip.group})
        if held_out_group not in groups:
            raise RawDataError(
                f"Expected data.held_out_group to be one of the {len(groups)} groups of the list "
                f"({', '.join(groups[:5]) or 'which has no column group'}), got "
                f"{held_out_group!r}. Correct it."
            )
        clips = _moved(clips, "test", lambda clip: clip.group == held_out_group)
    elif folds is not None:
        strata = sorted(_strata(clips, **by).items())
        # Each class begins with another fold, or the first ones would get the odd clip of all.
        parts = {s: hashed(x)[(fold - i) % folds :: folds] for i, (s, x) in enumerate(strata)}
        number = max((len(names) for _, names in strata), default=0)
        if number < folds:
            raise RawDataError(
                f"Expected at least {folds} groups, or clips of a class, for data.folds={folds}, "
                f"got {number}. Lower it."
            )
        clips = _moved(clips, "test", lambda clip: _group(clip) in parts[by["stratum_of"](clip)])
    else:
        clips = move(clips, test_share, to="test", **by)
    return move(clips, validation_share, to="validation", **by)


def check_groups(clips: Sequence[Clip]) -> None:
    """Raises RawDataError where clips of one group are in two splits; names both places."""
    first_seen = {}
    for clip in clips:
        other = first_seen.setdefault(clip.group, clip) if clip.group else clip
        if other.split != clip.split:
            raise RawDataError(
                f"{clip.place}: Expected all clips of the group {clip.group!r} in one split, got "
                f"{clip.split} and {other.split} ({other.place}). Results on examples of a group "
                "that was trained on are too optimistic. Correct the splits, or leave the column "
                "split out."
            )


def _strata(clips, group_of, stratum_of) -> dict[str, set[str]]:
    strata = {}
    for clip in clips:
        if clip.split == "train":
            strata.setdefault(stratum_of(clip), set()).add(group_of(clip))
    return strata


def _moved(clips, to, chosen) -> list[Clip]:
    return [
        clip._replace(split=to) if clip.split == "train" and chosen(clip) else clip
        for clip in clips
    ]


def _group(clip: Clip) -> str:
    return f"group {clip.group}" if clip.group else clip.id


def _label(clip: Clip) -> str:
    return clip.label
