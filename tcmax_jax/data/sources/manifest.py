"""The manifest: a CSV file that lists the clips of a data set.

Columns: id, split, label and, as wanted, path, audio_path, start, end. Paths are relative to the
CSV's folder, and may be left out where only pre-extracted features are used; start and end are
seconds in the clip and may be left empty. Paths that lead out of the folder are refused unless
they are asked for, since a list may come from elsewhere.
"""

import csv
import hashlib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from tcmax_jax.data.clips import (
    SPLITS,
    Clip,
    Listing,
    RawDataError,
    check_clips,
    check_ids,
    check_labels,
    inner_path,
)
from tcmax_jax.data.forms import Features
from tcmax_jax.data.sources.base import ClipsSource, digest
from tcmax_jax.data.sources.raw import check_text
from tcmax_jax.section import FilePath, section

REQUIRED = ("id", "split", "label")
OPTIONAL = ("path", "audio_path", "start", "end")
# Seconds, 32 years: numbers of samples stay numbers.
_LATEST = 1e9


@section
class ManifestData(ClipsSource):
    """Anybody's clips, of any modalities, listed in a CSV file; classes are the labels of train.

    A row that cannot be decoded stops the preparation unless `allow_skipped` is set; the summary
    lists what was skipped. Each row is decoded from the start of its file: exact, but slow for many
    short cuts of a long recording.

    Attributes:
      manifest: path of the CSV file, `id,split,label[,path][,audio_path][,start][,end]`.
      outside_paths: allow paths in it that are absolute, or leave its folder through `..`; for
        lists that you trust, since what they name is read.
    """

    elsewhere: ClassVar = ("manifest", "outside_paths", *ClipsSource.elsewhere)

    kind: Literal["manifest"] = "manifest"
    manifest: FilePath
    outside_paths: bool = False

    def list_clips(self) -> Listing:
        """Reads the CSV file."""
        return read_manifest(self.manifest, outside_paths=self.outside_paths)

    def content_name(self) -> str:
        """Returns the CSV's folder's name and a digest, the same wherever the folder lies.

        It is that of the CSV, the features and the stored forms.

        Raises:
          RawDataError: the CSV is missing.
        """
        path = Path(self.manifest).resolve()
        if not path.is_file():
            raise RawDataError(f"{path}: Expected a CSV file, got none there. Correct the path.")
        folder = re.sub(r"[^\w-]+", "_", path.parent.name) or "manifest"
        hashed = hashlib.sha256(path.read_bytes())
        for form in self.stored.values():
            if isinstance(form, Features):
                # By what they are: whoever extracts features anew wants the new ones.
                listed = path.parent / form.path
                for file in sorted(listed.glob("*.npy")) if listed.is_dir() else [listed]:
                    if file.is_file():
                        hashed.update(file.name.encode() + file.read_bytes())
        return f"{folder}-{digest(self._content(), hashed.digest())}"


def read_manifest(path: str | os.PathLike, *, outside_paths: bool = False) -> Listing:
    """Reads and checks a manifest; the media files themselves are not looked at.

    Args:
      path: CSV file in UTF-8.
      outside_paths: whether paths may be absolute, or leave the CSV's folder through "..".

    Returns:
      A clip for each row in the order of the file, its paths joined to the CSV's folder; the
      classes are the labels of the train rows, sorted.

    Raises:
      RawDataError: a column, a cell or the whole does not fit; the message names the line.
    """
    clips = _read(Path(path), REQUIRED, outside_paths)
    listing = Listing(clips, sorted({clip.label for clip in clips if clip.split == "train"}))
    check_clips(listing, path)
    return listing


def read_unlabelled(
    path: str | os.PathLike, class_names: Sequence[str], *, outside_paths: bool = False
) -> tuple[Clip, ...]:
    """Reads and checks a list of clips whose classes are to be predicted.

    Args:
      path: CSV file in UTF-8 with the columns of a manifest, of which `id` alone is needed. A
        label may be left empty, and splits are not looked at.
      class_names: what labels may be, where there are some.
      outside_paths: see `read_manifest`.

    Returns:
      A clip for each row in the order of the file, of the split ""; its label is "" where the
      file has none.

    Raises:
      RawDataError: see `read_manifest`.
    """
    rows = _read(Path(path), ("id",), outside_paths)
    # Whatever stands there: names of splits become those of files.
    clips = tuple(clip._replace(split="") for clip in rows)
    if not clips:
        raise RawDataError(f"{path}: Expected at least one clip, got none. List some, a row each.")
    check_ids(clips)
    check_labels([clip for clip in clips if clip.label], class_names)
    return clips


def _read(path: Path, required: Sequence[str], outside_paths: bool) -> tuple[Clip, ...]:
    if not path.is_file():
        raise RawDataError(f"{path}: Expected a CSV file, got none there. Correct the path.")
    try:
        # utf-8-sig also takes the byte order mark that spreadsheet programs write.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            _check_columns(path, reader.fieldnames or [], required)
            return tuple(
                _clip(path, reader.line_num, row, cells, required, outside_paths)
                for row, cells in enumerate(reader)
            )
    except UnicodeDecodeError as error:
        raise RawDataError(f"{path}: Expected UTF-8, got {error}. Save it as UTF-8.") from error
    except csv.Error as error:
        raise RawDataError(
            f"{path}, line {reader.line_num + 1}: Expected CSV, got '{error}'. Correct the quotes."
        ) from error


def _check_columns(path: Path, columns: list[str], required: Sequence[str]) -> None:
    optional = [name for name in REQUIRED + OPTIONAL if name not in required]
    missing = [name for name in required if name not in columns]
    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    repeated = [name for name in dict.fromkeys(columns) if columns.count(name) > 1]
    for problem, names in (("lacks", missing), ("has unknown", unknown), ("repeats", repeated)):
        if names:
            raise RawDataError(
                f"{path}: Expected the columns {', '.join(required)} and optionally "
                f"{', '.join(optional)}; got {', '.join(columns) or 'none'}, which {problem} "
                f"{', '.join(map(repr, names))}. Correct the first line."
            )


def _clip(path: Path, line: int, row: int, cells: dict, required, outside_paths: bool) -> Clip:
    place = f"{path}, line {line}"
    extra = cells.pop(None, None)
    if extra:
        raise RawDataError(
            f"{place}: Expected {len(cells)} cells, got {len(cells) + len(extra)}. "
            "Put cells that hold a comma in double quotes."
        )
    cells = {name: (cell or "").strip() for name, cell in cells.items()}
    check_text(place, cells.values())
    for name in (*required, *(["path"] if "path" in cells else [])):
        if not cells[name]:
            raise RawDataError(f"{place}: Expected a value for {name}, got an empty cell. Fill it.")
    if "split" in required and cells["split"] not in SPLITS:
        raise RawDataError(
            f"{place}: Expected the split {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, "
            f"got {cells['split']!r}. Use one of these names."
        )
    start, end = (_seconds(place, name, cells.get(name, "")) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise RawDataError(
            f"{place}: Expected end after start, got start {start or 0.0:g} and end {end:g}. "
            "Correct the times."
        )
    video, audio = (
        inner_path(place, path.parent, cells[name], outside=outside_paths)
        if cells.get(name)
        else None
        for name in ("path", "audio_path")
    )
    split, label = cells.get("split", ""), cells.get("label", "")
    listed = {"place": place, "folder": path.parent, "row": row}
    return Clip(cells["id"], split, label, video, audio or video, start, end, **listed)


def _seconds(place: str, name: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LATEST:
        raise RawDataError(
            f"{place}: Expected {name} in seconds, a number from 0 to {_LATEST:g}, got "
            f"{cell[:60]!r}. Correct it or leave it empty."
        )
    return seconds
