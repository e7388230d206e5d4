"""Clips: what is known of the examples of a data set before anything is decoded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SPLITS = ("train", "validation", "test")


class RawDataError(ValueError):
    """Raw data, or a list of it, that cannot be used: says which file, and how to mend it."""


class Clip(NamedTuple):
    """One example.

    Attributes:
      id: its name, the only one of that name in the data set.
      split: one of `SPLITS`.
      label: name of its class.
      video: file of its pictures; None if there is none.
      audio: file of its sound, often the same; None if there is none.
      start: begin of the cut in seconds; None is the begin of the file.
      end: end of the cut in seconds; None is the end of the file.
      place: where it is listed, for messages: "manifest.csv, line 3".
      folder: folder to which files of pre-extracted features are relative.
      row: its row in .npy files of pre-extracted features, from 0; None if it has none.
    """

    id: str
    split: str
    label: str
    video: Path | None = None
    audio: Path | None = None
    start: float | None = None
    end: float | None = None
    place: str = ""
    folder: Path = Path()
    row: int | None = None


class Listing(NamedTuple):
    """The clips of a data set.

    Attributes:
      clips: all of them, those whose files are missing too.
      class_names: names of the classes; a label's place is its class index.
      expected: published number of clips by split, where "train" holds the validation clips
        too; empty where none is known.
      notes: what a reader of results should know of the lists, a sentence each.
    """

    clips: Sequence[Clip]
    class_names: Sequence[str]
    expected: Mapping[str, int] = {}
    notes: Sequence[str] = ()


def check_clips(listing: Listing, source: Path) -> None:
    """Checks that there is something to train on, that labels are known and ids unique.

    Args:
      listing: the clips.
      source: file or folder that they were read from, for messages.

    Raises:
      RawDataError: one of them fails; names the places of the clips.
    """
    if not any(clip.split == "train" for clip in listing.clips):
        raise RawDataError(
            f"{source}: expected at least one clip of the split train, got {len(listing.clips)} "
            "others; add clips to train on"
        )
    check_labels(listing.clips, listing.class_names)
    check_ids(listing.clips)


def check_labels(clips: Sequence[Clip], class_names: Sequence[str]) -> None:
    """Raises RawDataError where a label is none of the classes; names the place."""
    for clip in clips:
        if clip.label not in class_names:
            shown = ", ".join(class_names[:5])
            where = f" in {clip.split}" if clip.split else ""
            raise RawDataError(
                f"{clip.place}: expected one of the {len(class_names)} labels of train "
                f"({shown}{', ..' if len(class_names) > 5 else ''}), got {clip.label!r}{where}; "
                "correct it"
            )


def check_ids(clips: Sequence[Clip]) -> None:
    """Raises RawDataError where an id comes twice; names both places."""
    first_seen = {}
    for clip in clips:
        earlier = first_seen.setdefault(clip.id, clip)
        if earlier is not clip:
            raise RawDataError(
                f"{clip.place}: expected a new id, got {clip.id!r} of {earlier.place} again; "
                "rename or remove one of the two"
            )
