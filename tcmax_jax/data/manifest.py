"""The manifest: a CSV file that lists the clips of a data set.

Columns: id, split, label, path and, as wanted, audio_path, start, end. Paths are relative to the
CSV's folder; start and end are seconds in the clip and may be left empty.
"""

import csv
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SPLITS = ("train", "validation", "test")
REQUIRED = ("id", "split", "label", "path")
OPTIONAL = ("audio_path", "start", "end")


class ManifestError(ValueError):
    """A manifest, or a file it lists, that cannot be used."""


class Row(NamedTuple):
    """One example of the manifest; `number` is its line in the CSV, times are in seconds."""

    number: int
    id: str
    split: str
    label: str
    video: Path
    audio: Path
    start: float | None
    end: float | None


def read_manifest(path: str | os.PathLike) -> tuple[Row, ...]:
    """Read and check a manifest; the media files themselves are not looked at.

    Args:
        path: CSV file in UTF-8.

    Returns:
        The rows in the order of the file, their paths joined to the CSV's folder.

    Raises:
        ManifestError: If a column, a cell or the whole does not fit; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ManifestError(f"{path}: expected a CSV file, got none there; correct the path")
    try:
        # utf-8-sig also takes the byte order mark that spreadsheet programs write.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            _check_columns(path, reader.fieldnames or [])
            rows = tuple(_row(path, reader.line_num, cells) for cells in reader)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: expected UTF-8, got {error}; save it as UTF-8") from error
    except csv.Error as error:
        raise ManifestError(
            f"{path}, line {reader.line_num + 1}: expected CSV, got '{error}'; correct the quotes"
        ) from error
    _check_ids(path, rows)
    _check_labels(path, rows)
    return rows


def labels_of(rows: Iterable[Row]) -> list[str]:
    """The labels of the train rows, sorted; a label's place is its class index."""
    return sorted({row.label for row in rows if row.split == "train"})


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    repeated = [name for name in dict.fromkeys(columns) if columns.count(name) > 1]
    for problem, names in (("lacks", missing), ("has unknown", unknown), ("repeats", repeated)):
        if names:
            raise ManifestError(
                f"{path}: expected the columns {', '.join(REQUIRED)} and optionally "
                f"{', '.join(OPTIONAL)}; got {', '.join(columns) or 'none'}, which {problem} "
                f"{', '.join(map(repr, names))}; correct the first line"
            )


def _row(path: Path, number: int, cells: dict) -> Row:
    where = f"{path}, line {number}"
    extra = cells.pop(None, None)
    if extra:
        raise ManifestError(
            f"{where}: expected {len(cells)} cells, got {len(cells) + len(extra)}; "
            "put cells that hold a comma in double quotes"
        )
    cells = {name: (cell or "").strip() for name, cell in cells.items()}
    for name in REQUIRED:
        if not cells[name]:
            raise ManifestError(f"{where}: expected a value for {name}, got an empty cell; fill it")
    if cells["split"] not in SPLITS:
        raise ManifestError(
            f"{where}: expected the split {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, "
            f"got {cells['split']!r}; use one of these names"
        )
    start, end = (_seconds(where, name, cells.get(name, "")) for name in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ManifestError(
            f"{where}: expected end after start, got start {start or 0.0:g} and end {end:g}; "
            "correct the times"
        )
    return Row(
        number=number,
        id=cells["id"],
        split=cells["split"],
        label=cells["label"],
        video=path.parent / cells["path"],
        audio=path.parent / (cells.get("audio_path") or cells["path"]),
        start=start,
        end=end,
    )


def _seconds(where: str, name: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ManifestError(
            f"{where}: expected {name} in seconds, a number >= 0, got {cell!r}; "
            "correct it or leave it empty"
        )
    return seconds


def _check_ids(path: Path, rows: tuple[Row, ...]) -> None:
    first_seen = {}
    for row in rows:
        earlier = first_seen.setdefault(row.id, row)
        if earlier is not row:
            raise ManifestError(
                f"{path}, line {row.number}: expected a new id, got {row.id!r} of line "
                f"{earlier.number} again; rename one of the two"
            )


def _check_labels(path: Path, rows: tuple[Row, ...]) -> None:
    known = set(labels_of(rows))
    if not known:
        raise ManifestError(
            f"{path}: expected at least one row of the split train, got {len(rows)} other rows; "
            "add rows to train on"
        )
    for row in rows:
        if row.label not in known:
            raise ManifestError(
                f"{path}, line {row.number}: expected a label that train has, got {row.label!r} in "
                f"{row.split}; correct it, or add train rows of it"
            )
