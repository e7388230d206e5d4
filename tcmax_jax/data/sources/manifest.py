"""The manifest: a CSV file that lists the clips of a data set.

Columns: id, label and, as wanted, split, path, audio_path, <modality>_path, start, end, group and
weight. Paths are relative to the CSV's folder, and may be left out where a file holds the arrays of
all clips; start and end are seconds in the clip and may be left empty. Paths that lead out of the
folder are refused unless they are asked for, since a list may come from elsewhere.
"""

import csv
import functools
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tcmax_jax.data.array_files import ENDINGS
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
from tcmax_jax.data.forms import ArrayForm
from tcmax_jax.data.leakage import leakage_notes
from tcmax_jax.data.sources.base import ClipsSource, ValidationShare, digest
from tcmax_jax.data.sources.raw import check_text
from tcmax_jax.data.splits import check_groups, split_by_group
from tcmax_jax.section import CountOrZero, FilePath, Limits, SectionError, section

REQUIRED = ("id", "label")
OPTIONAL = ("split", "path", "audio_path", "start", "end", "group", "weight")
_DEFAULT_SHARE = 0.15  # of a list without splits, for validation
# Of times in seconds, 32 years: numbers of samples stay numbers.
_LARGEST = 1e9
_BLOCK = 2**20  # bytes of a file that are held at once


@section
class ManifestData(ClipsSource):
    """Clips of any modalities, listed in a CSV file; classes are the labels of train.

    A row that cannot be decoded stops the preparation unless `allow_skipped` is set; the summary
    lists what was skipped. Late cuts of a file are sought where that gives the same samples; those
    of AAC, Opus and other codecs that remember what came before are decoded from its start.

    A list without the column `split` is split by hash, by groups where it has them and otherwise
    within each class. Cross-validation is a study: `study.field=data.fold`, or
    `data.held_out_group`.

    Attributes:
      manifest: path of the CSV file, `id,label[,split][,path][,audio_path][,<modality>_path]
        [,start][,end][,group][,weight]`.
      outside_paths: allow paths in it that are absolute, or leave its folder through `..`; for
        lists that you trust, since what they name is read.
      in_place: read arrays where they lie, and do not copy them as records; None does so where all
        that is stored is `Arrays`.
      validation_share: share of the training clips that become validation; None is 0.15 where the
        list has no splits, and 0 where it has.
      test_share: share of the clips that become test, in a list without splits.
      folds: number of equal parts for cross-validation, of which one is test.
      fold: the part that is test, from 0.
      held_out_group: the group that is test.
    """

    later: ClassVar = ("validation_share", "test_share", "folds", "fold", "held_out_group")
    elsewhere: ClassVar = ("manifest", "outside_paths", "in_place", *ClipsSource.elsewhere)

    kind: Literal["manifest"] = "manifest"
    manifest: FilePath
    outside_paths: bool = False
    in_place: bool | None = None
    validation_share: ValidationShare | None = None
    test_share: ValidationShare = 0.0
    folds: Annotated[int, Limits(ge=2)] | None = None
    fold: CountOrZero = 0
    held_out_group: str | None = None

    def check(self):
        """Raises SectionError for conflicting ways to split, or media read in place."""
        ways = {
            "test_share": self.test_share,
            "folds": self.folds,
            "held_out_group": self.held_out_group,
        }
        if len(given := [name for name, value in ways.items() if value]) > 1:
            raise SectionError(f"Expected one of {', '.join(ways)}, got {' and '.join(given)}.")
        if self.fold and self.fold >= (self.folds or 0):
            raise SectionError(
                f"Expected fold to be less than folds={self.folds}, got {self.fold}. They count "
                "from 0."
            )
        media = [m for m, form in self.stored.items() if not isinstance(form, ArrayForm)]
        if self.in_place and media:
            raise SectionError(
                f"Expected arrays alone with in_place=true, got media for {', '.join(media)}. "
                "Leave in_place out: they are decoded once, before training."
            )

    def list_clips(self) -> Listing:
        """Reads the CSV file."""
        return read_manifest(
            self.manifest,
            outside_paths=self.outside_paths,
            modalities=tuple(self.stored),
            split=self._split,
        )

    def _split(self, clips: Sequence[Clip]) -> Sequence[Clip]:
        has_splits, share = any(clip.split for clip in clips), self.validation_share
        if has_splits and (self.test_share or self.folds or self.held_out_group is not None):
            raise RawDataError(
                f"{self.manifest}: Expected a list without the column split for test_share, folds "
                "and held_out_group, got one with it. Remove the column, or those fields."
            )
        return split_by_group(
            clips if has_splits else [clip._replace(split="train") for clip in clips],
            validation_share=share if share is not None else 0.0 if has_splits else _DEFAULT_SHARE,
            test_share=self.test_share,
            folds=self.folds,
            fold=self.fold,
            held_out_group=self.held_out_group,
        )

    def content_name(self) -> str:
        """Returns the name of the CSV's folder and a digest, independent of its location.

        It is that of the CSV, the arrays and the stored forms.

        Raises:
          RawDataError: the CSV is missing.
        """
        path = Path(self.manifest).resolve()
        if not path.is_file():
            raise RawDataError(f"{path}: Expected a CSV file, got none there. Correct the path.")
        folder = re.sub(r"[^\w-]+", "_", path.parent.name) or "manifest"
        hashed = hashlib.sha256(path.read_bytes())
        for file in self._array_files(path):
            # By what they are: whoever extracts features anew wants the new ones.
            hashed.update(file.name.encode())
            with file.open("rb") as content:
                while block := content.read(_BLOCK):
                    hashed.update(block)
        return f"{folder}-{digest(self._content(), hashed.digest())}"

    def _array_files(self, path: Path) -> Iterator[Path]:
        """Yields the files of arrays, in an order independent of their location."""
        for modality, form in self.stored.items():
            if not isinstance(form, ArrayForm):
                continue
            if form.path is None:
                clips = _read(path, ("id",), self.outside_paths, tuple(self.stored))
                files = [form.file(clip.of(modality)) for clip in clips]
            else:
                listed = path.parent / form.path
                files = sorted(listed.iterdir()) if listed.is_dir() else [listed]
            yield from (x for x in files if x and x.suffix in ENDINGS and x.is_file())


def read_manifest(
    path: str | os.PathLike,
    *,
    outside_paths: bool = False,
    modalities: Sequence[str] = (),
    split: Callable = lambda clips: clips,
) -> Listing:
    """Reads and checks a manifest; the files that it names are not opened.

    Args:
      path: CSV file in UTF-8.
      outside_paths: whether paths may be absolute, or leave the CSV's folder through "..".
      modalities: names of modalities that may have a column of their own, `<modality>_path`.
      split: function of the clips that returns them with their splits, where the file has none.

    Returns:
      A clip for each row in the order of the file, its paths joined to the CSV's folder; the
      classes are the labels of the train rows, sorted.

    Raises:
      RawDataError: a column, a cell or the whole does not fit; the message names the line.
    """
    clips = tuple(split(_read(Path(path), REQUIRED, outside_paths, modalities)))
    listing = Listing(clips, sorted({clip.label for clip in clips if clip.split == "train"}))
    check_clips(listing, path)
    check_groups(clips)
    return listing._replace(notes=leakage_notes(clips))


def read_unlabelled(
    path: str | os.PathLike,
    class_names: Sequence[str],
    *,
    outside_paths: bool = False,
    modalities: Sequence[str] = (),
) -> tuple[Clip, ...]:
    """Reads and checks a list of clips whose classes are to be predicted.

    Args:
      path: CSV file in UTF-8 with the columns of a manifest, of which `id` alone is needed. A
        label may be left empty, and splits are not looked at.
      class_names: what labels may be, where there are some.
      outside_paths: see `read_manifest`.
      modalities: see `read_manifest`.

    Returns:
      A clip for each row in the order of the file, of the split ""; its label is "" where the
      file has none.

    Raises:
      RawDataError: see `read_manifest`.
    """
    rows = _read(Path(path), ("id",), outside_paths, modalities)
    # Whatever stands there: names of splits become those of files.
    clips = tuple(clip._replace(split="") for clip in rows)
    if not clips:
        raise RawDataError(f"{path}: Expected at least one clip, got none. List some, a row each.")
    check_ids(clips)
    check_labels([clip for clip in clips if clip.label], class_names)
    return clips


def _read(path: Path, required, outside_paths: bool, modalities) -> tuple[Clip, ...]:
    if not path.is_file():
        raise RawDataError(f"{path}: Expected a CSV file, got none there. Correct the path.")
    try:
        # utf-8-sig also takes the byte order mark that spreadsheet programs write.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            _check_columns(path, reader.fieldnames or [], required, modalities)
            read = functools.partial(_clip, path, required, outside_paths, modalities)
            return tuple(read(reader.line_num, row, cells) for row, cells in enumerate(reader))
    except UnicodeDecodeError as error:
        raise RawDataError(f"{path}: Expected UTF-8, got {error}. Save it as UTF-8.") from error
    except csv.Error as error:
        raise RawDataError(
            f"{path}, line {reader.line_num + 1}: Expected CSV, got '{error}'. Correct the quotes."
        ) from error


def _check_columns(path: Path, columns: list[str], required, modalities) -> None:
    known = dict.fromkeys((*REQUIRED, *OPTIONAL, *map(_column, modalities)))
    optional = [name for name in known if name not in required]
    missing = [name for name in required if name not in columns]
    unknown = [name for name in columns if name not in known]
    repeated = [name for name in dict.fromkeys(columns) if columns.count(name) > 1]
    for problem, names in (("lacks", missing), ("has unknown", unknown), ("repeats", repeated)):
        if names:
            raise RawDataError(
                f"{path}: Expected the columns {', '.join(required)} and optionally "
                f"{', '.join(optional)}; got {', '.join(columns) or 'none'}, which {problem} "
                f"{', '.join(map(repr, names))}. Correct the first line."
            )


def _column(modality: str) -> str:
    return f"{modality}_path"


def _clip(
    path: Path, required, outside_paths, modalities, line: int, row: int, cells: dict
) -> Clip:
    place = f"{path}, line {line}"
    extra = cells.pop(None, None)
    if extra:
        raise RawDataError(
            f"{place}: Expected {len(cells)} cells, got {len(cells) + len(extra)}. "
            "Put cells that hold a comma in double quotes."
        )
    cells = {name: (cell or "").strip() for name, cell in cells.items()}
    check_text(place, cells.values())
    of_all = [name for name in ("path", "split") if name in cells and "label" in required]
    for name in (*required, *of_all):
        if not cells[name]:
            raise RawDataError(f"{place}: Expected a value for {name}, got an empty cell. Fill it.")
    if "split" in of_all and cells["split"] not in SPLITS:
        raise RawDataError(
            f"{place}: Expected the split {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, "
            f"got {cells['split']!r}. Use one of these names."
        )
    start, end = (_number(place, name, cells.get(name, "")) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise RawDataError(
            f"{place}: Expected end after start, got start {start or 0.0:g} and end {end:g}. "
            "Correct the times."
        )
    weight = _number(place, "weight", cells.get("weight", ""))

    def file(column):
        if not cells.get(column):
            return None
        return inner_path(place, path.parent, cells[column], outside=outside_paths)

    video, audio = file("path"), file("audio_path")
    files = {m: file(_column(m)) for m in modalities}
    return Clip(
        id=cells["id"],
        split=cells.get("split", ""),
        label=cells.get("label", ""),
        video=video,
        audio=audio or video,
        start=start,
        end=end,
        place=place,
        folder=path.parent,
        row=row,
        files=tuple((m, each) for m, each in files.items() if each),
        group=cells.get("group", ""),
        weight=1.0 if weight is None else weight,
    )


def _number(place: str, name: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not 0 <= number <= _LARGEST:
        unit = "" if name == "weight" else " in seconds"
        raise RawDataError(
            f"{place}: Expected {name}{unit}, a number from 0 to {_LARGEST:g}, got "
            f"{cell[:60]!r}. Correct it or leave it empty."
        )
    return number
