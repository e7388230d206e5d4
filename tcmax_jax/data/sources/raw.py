"""Reading of raw folders: their lists, and where their media lie."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tcmax_jax.data.clips import RawDataError

_MEDIA = {".mp4", ".mkv", ".webm", ".avi", ".flv", ".mov", ".wav", ".m4a"}
# Python reads no number of more than some thousands of digits, and no list has one of this many.
_DIGITS = 18


def open_folder(raw_dir: str | None, layout: str, needed: Sequence[str] = ()) -> Path:
    """Checks that a raw folder is there and holds what it has to.

    Args:
      raw_dir: the folder; None if the user named none.
      layout: how it has to lie there, for messages.
      needed: files or folders that have to be in it.

    Raises:
      RawDataError: it does not fit.
    """
    if raw_dir is None:
        raise RawDataError(
            f"expected the raw data, got no folder; pass --raw_dir=FOLDER of this layout: {layout}"
        )
    folder = Path(raw_dir).expanduser()
    if not folder.is_dir():
        raise RawDataError(
            f"{folder}: expected the folder of the raw data, got none there; correct --raw_dir. "
            f"Layout: {layout}"
        )
    missing = [name for name in needed if not (folder / name).exists()]
    if missing:
        found = sorted(path.name for path in folder.iterdir())[:5]
        raise RawDataError(
            f"{folder}: expected {', '.join(missing)} in it, got {', '.join(found) or 'nothing'}; "
            f"unpack the data there. Layout: {layout}"
        )
    return folder


def read_rows(
    path: Path, columns: int, *, delimiter: str = ",", encoding: str = "utf-8-sig"
) -> Iterator[tuple[str, list[str]]]:
    """Reads the rows of a text table without a header.

    Args:
      path: the file.
      columns: number of cells that each row has to have.
      delimiter: what separates them.
      encoding: of the text.

    Yields:
      (place for messages, stripped cells) of each row that is not blank.

    Raises:
      RawDataError: the file is missing, is no text, or has a row of another length.
    """
    for place, cells in _rows(path, delimiter, encoding):
        if len(cells) != columns:
            raise RawDataError(
                f"{place}: expected {columns} cells, got {len(cells)}: "
                f"{delimiter.join(cells)!r}; correct the list"
            )
        yield place, cells


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
    rows = _rows(path, ",", "utf-8-sig")
    place, header = next(rows, (f"{path}, line 1", []))
    missing = [name for name in columns if name not in header]
    if missing:
        raise RawDataError(
            f"{place}: expected the columns {', '.join(columns)}, got "
            f"{', '.join(header) or 'none'}; take the list as its owners ship it"
        )
    for place, cells in rows:
        if len(cells) != len(header):
            raise RawDataError(
                f"{place}: expected {len(header)} cells, got {len(cells)}; correct the list"
            )
        yield place, dict(zip(header, cells, strict=True))


def check_text(place: str, cells: Iterable[str]) -> None:
    """Checks that cells hold no zero byte and no line break, which names written to files lose.

    Raises:
      RawDataError: one does.
    """
    for cell in cells:
        for mark in ("\0", "\n", "\r"):
            if mark in cell:
                raise RawDataError(
                    f"{place}: expected cells without zero bytes and line breaks, got "
                    f"{cell[:60]!r}; correct the list, or save it as UTF-8"
                )


def whole_number(place: str, cell: str) -> int:
    """Returns a cell's number.

    Raises:
      RawDataError: the cell does not hold one.
    """
    if not cell.isdecimal() or len(cell) > _DIGITS:
        raise RawDataError(
            f"{place}: expected a whole number, got {cell!r}; take the list as its owners ship it"
        )
    return int(cell)


def find_media(folder: Path) -> dict[str, Path]:
    """Finds media files at any depth.

    Returns:
      {name without its ending: file}; of files of one name the first in the order of their paths.
    """
    found = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stem, ending = os.path.splitext(name)
            if ending.lower() in _MEDIA:
                found.setdefault(stem, Path(parent, name))
    return found


def _rows(path: Path, delimiter: str, encoding: str) -> Iterator[tuple[str, list[str]]]:
    if not path.is_file():
        raise RawDataError(f"{path}: expected a list, got no such file; put it there")
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    place = f"{path}, line {reader.line_num}"
                    check_text(place, cells)
                    yield place, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise RawDataError(
            f"{path}: expected a list as text, got '{error}'; take it as its owners ship it"
        ) from error
