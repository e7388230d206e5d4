"""Data sets in their distributed folder layout: lists, media, and splits made here."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from tcmax_jax.data.clips import Listing, RawDataError, check_clips
from tcmax_jax.data.leakage import leakage_notes
from tcmax_jax.data.sources.base import ClipsSource
from tcmax_jax.section import FilePath, section

_MEDIA = {".mp4", ".mkv", ".webm", ".avi", ".flv", ".mov", ".wav", ".m4a"}
# Python reads no number of more than some thousands of digits, and no list has one of this many.
_DIGITS = 18


@section
class RawSource(ClipsSource):
    """Base of the paper's data sets, in the folder layout in which they are distributed.

    Attributes:
      raw_dir: that folder; of no use once the data is prepared.
      needed: files or folders that have to be in it.
    """

    elsewhere: ClassVar = ("raw_dir", *ClipsSource.elsewhere)
    needed: ClassVar[Sequence[str]] = ()

    raw_dir: FilePath | None = None

    def list_clips(self) -> Listing:
        """Lists the raw folder; raises RawDataError if its content does not fit."""
        if self.raw_dir is None:
            raise RawDataError(
                "Expected the raw data, got no folder. Pass --raw_dir=FOLDER of this layout: "
                f"{self.layout}"
            )
        folder = Path(self.raw_dir).expanduser()
        if not folder.is_dir():
            raise RawDataError(
                f"{folder}: Expected the folder of the raw data, got none there. Correct "
                f"--raw_dir. Layout: {self.layout}"
            )
        missing = [name for name in self.needed if not (folder / name).exists()]
        if missing:
            names = sorted(path.name for path in folder.iterdir())[:5]
            raise RawDataError(
                f"{folder}: Expected {', '.join(missing)} in it, got "
                f"{', '.join(names) or 'nothing'}. Unpack the data there. Layout: {self.layout}"
            )
        listing = self._list(folder)
        check_clips(listing, folder)
        return listing._replace(notes=[*listing.notes, *leakage_notes(listing.clips)])

    def _list(self, folder: Path) -> Listing:
        raise NotImplementedError


def read_rows(
    path: Path, columns: int | None = None, *, delimiter: str = ",", encoding: str = "utf-8-sig"
) -> Iterator[tuple[str, list[str]]]:
    """Reads the rows of a text table.

    Args:
      path: the file.
      columns: number of cells that each row has to have; None allows any.
      delimiter: what separates them.
      encoding: of the text.

    Yields:
      (place for messages, stripped cells) of each row that is not blank.

    Raises:
      RawDataError: the file is missing, is no text, or has a row of another length.
    """
    if not path.is_file():
        raise RawDataError(f"{path}: Expected a list, got no such file. Put it there.")
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if not any(cells):
                    continue
                place = f"{path}, line {reader.line_num}"
                check_text(place, cells)
                if columns not in (None, len(cells)):
                    raise RawDataError(
                        f"{place}: Expected {columns} cells, got {len(cells)}: "
                        f"{delimiter.join(cells)!r}. Correct the list."
                    )
                yield place, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise RawDataError(
            f"{path}: Expected a list as text, got '{error}'. Use it as published."
        ) from error


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Reads a CSV file with a header.

    Args:
      path: the file.
      columns: names of columns that have to be there.

    Yields:
      (place for messages, {column: stripped cell}) of each row that is not blank.

    Raises:
      RawDataError: the file is missing or no text, or a column or a cell is missing.
    """
    rows = read_rows(path)
    place, header = next(rows, (f"{path}, line 1", []))
    missing = [name for name in columns if name not in header]
    if missing:
        raise RawDataError(
            f"{place}: Expected the columns {', '.join(columns)}, got "
            f"{', '.join(header) or 'none'}. Use the list as published."
        )
    for place, cells in rows:
        if len(cells) != len(header):
            raise RawDataError(
                f"{place}: Expected {len(header)} cells, got {len(cells)}. Correct the list."
            )
        yield place, dict(zip(header, cells, strict=True))


def check_text(place: str, cells: Iterable[str]) -> None:
    """Raises RawDataError where a cell has a zero byte or line break, lost in files of names."""
    for cell in cells:
        for mark in ("\0", "\n", "\r"):
            if mark in cell:
                raise RawDataError(
                    f"{place}: Expected cells without zero bytes and line breaks, got "
                    f"{cell[:60]!r}. Correct the list, or save it as UTF-8."
                )


def whole_number(place: str, cell: str) -> int:
    """Returns a cell's number; raises RawDataError if it is not a whole number."""
    if not cell.isdecimal() or len(cell) > _DIGITS:
        raise RawDataError(
            f"{place}: Expected a whole number, got {cell!r}. Use the list as published."
        )
    return int(cell)


def find_media(folder: Path) -> dict[str, Path]:
    """Finds media files at any depth.

    Returns:
      {name without its ending: file}; of files of one name the first in the order of their paths.
    """
    files = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stem, ending = os.path.splitext(name)
            if ending.lower() in _MEDIA:
                files.setdefault(stem, Path(parent, name))
    return files
