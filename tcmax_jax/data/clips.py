"""Clips: the metadata of examples, before any file is decoded.

File names come from lists, so one that leads out of its folder is refused, unless
`data.outside_paths` allows it. Symbolic links are followed: whoever can create one in the folder
could put the file there too.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SPLITS = ("train", "validation", "test")
# Bytes of a name, and of a path, the most that common file systems take.
_LONGEST, _LONGEST_PATH = 255, 4095
# Characters of an id: archives have 2^16 bytes for the name of a member.
_LONGEST_ID = 1000


class RawDataError(ValueError):
    """Raw data, or a list of it, that cannot be used: says which file, and how to fix it."""


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
      folder: folder to which files of arrays are relative.
      row: its row in files of arrays in the order of the list, from 0; None if it has none.
      files: (modality, its file) for those that the list names.
      group: what it shares with other clips of one speaker, patient or recording; "" if nothing.
      weight: of its loss in training.
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
    files: tuple[tuple[str, Path], ...] = ()
    group: str = ""
    weight: float = 1.0

    def of(self, modality: str) -> "Clip":
        """Returns the clip with the file of a modality in place of all others, if it has one."""
        file = dict(self.files).get(modality)
        return self if file is None else self._replace(video=file, audio=file)


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
    """Raises RawDataError where train is empty, a label is unknown or an id is repeated.

    Args:
      listing: the clips.
      source: file or folder that they were read from, for messages.
    """
    if not any(clip.split == "train" for clip in listing.clips):
        raise RawDataError(
            f"{source}: Expected at least one clip of the split train, got {len(listing.clips)} "
            "others. Add clips to train on."
        )
    check_labels(listing.clips, listing.class_names)
    check_ids(listing.clips)


def check_labels(clips: Sequence[Clip], class_names: Sequence[str]) -> None:
    """Raises RawDataError where a label is not among the classes; names the place."""
    for clip in clips:
        if clip.label not in class_names:
            shown = ", ".join(class_names[:5])
            where = f" in {clip.split}" if clip.split else ""
            raise RawDataError(
                f"{clip.place}: Expected one of the {len(class_names)} labels of train "
                f"({shown}{', ..' if len(class_names) > 5 else ''}), got {clip.label!r}{where}. "
                "Correct it."
            )


def check_ids(clips: Sequence[Clip]) -> None:
    """Raises RawDataError where an id is too long or repeated; names the places."""
    first_seen = {}
    for clip in clips:
        if len(clip.id) > _LONGEST_ID:
            raise RawDataError(
                f"{clip.place}: Expected an id of at most {_LONGEST_ID} characters, got "
                f"{len(clip.id)}: {clip.id[:60]!r} and more. Shorten it."
            )
        earlier = first_seen.setdefault(clip.id, clip)
        if earlier is not clip:
            raise RawDataError(
                f"{clip.place}: Expected a new id, got {clip.id!r} of {earlier.place} again. "
                "Rename or remove one of the two."
            )


def inner_path(place: str, folder: Path, path: str, *, outside: bool) -> Path:
    """Joins a path from a list to the list's folder; one leading out needs `outside`.

    Args:
      place: where it is listed, for messages.
      folder: folder of the list.
      path: path as it is listed.
      outside: whether it may be absolute, or leave the folder through "..".

    Raises:
      RawDataError: it may not, or if no file can have it.
    """
    too_long = len(os.fsencode(folder / path)) > _LONGEST_PATH
    if too_long or any(len(os.fsencode(part)) > _LONGEST for part in Path(path).parts):
        raise RawDataError(
            f"{place}: Expected a path of at most {_LONGEST_PATH} bytes, of names of at most "
            f"{_LONGEST}, got {path[:60]!r} and more. Correct it."
        )
    if outside:
        return folder / path
    # Joined as it was judged: behind a link, "link/../x" is another file than "x".
    plain = os.path.normpath(path)
    if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir:
        raise RawDataError(
            f"{place}: Expected a path inside {folder}, got {path!r}, which leads out of it. Move "
            "or link the file into the folder, or allow such paths with data.outside_paths=true "
            "(--config.data.outside_paths=true)."
        )
    return folder / plain


def check_name(place: str, name: str) -> None:
    """Raises RawDataError where a name from a list cannot be used in a file name."""
    if fault := name_fault(name):
        raise RawDataError(
            f"{place}: Expected a name, which becomes that of a file, got {name[:60]!r}, which "
            f"{fault}. Correct the list."
        )


def name_fault(name: str) -> str | None:
    """Returns why a name cannot be that of a file in a folder, or None."""
    if not name or name in (os.curdir, os.pardir):
        return "names no file"
    for mark in ("/", "\\", "\0"):
        if mark in name:
            return f"has {mark!r} in it"
    try:
        return f"is longer than {_LONGEST} bytes" if len(name.encode()) > _LONGEST else None
    except UnicodeEncodeError:
        return "is no valid text"
