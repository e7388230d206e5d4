"""Files of existing arrays: features, spectrograms, frames, series, token ids.

One file for all examples of a modality, or one for each. For all of them:

- `.npy`: [N, ...], rows in the order of the list; read where it lies (memory-mapped).
- `.npz`, `.safetensors`: one array [N, ...], rows in the order of the list, or in that of an array
  `ids` [N] (text, in `.npz` alone) beside it; or an array for each example, named by its id.
- a folder: `<id>.npy`, `<id>.npz` or `<id>.safetensors` for each example.

A file of one example holds one array. Where a file holds several, a key says which. Nothing is
unpickled, and the arrays of an .npz file may hold `tcmax_jax.npz.MAX_BYTES`.
"""

import functools
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tcmax_jax.data.clips import Clip, RawDataError, name_fault
from tcmax_jax.data.limits import MediaError
from tcmax_jax.npz import DAMAGED, open_npz

ENDINGS = (".npy", ".npz", ".safetensors")
_IDS, _FEATURES = "ids", "features"  # names in the files that `write_features` writes
_KINDS = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"


class Table(NamedTuple):
    """Arrays of many examples.

    Attributes:
      path: the file.
      values: [N, ...], a row for each example; None where each has an array of its own.
      rows: {id: row}; None where rows are in the order of the list.
      named: {id: array} where each has an array of its own.
    """

    path: Path
    values: np.ndarray | None = None
    rows: Mapping[str, int] | None = None
    named: Mapping[str, np.ndarray] | None = None

    def row(self, clip: Clip) -> int:
        """Returns the row index of a clip; raises MediaError if it has none."""
        if self.rows is not None:
            if clip.id not in self.rows:
                raise self._missing(clip, self.rows)
            return self.rows[clip.id]
        if clip.row is None:
            raise MediaError(
                "arrays without ids",
                f"{self.path}: Expected an .npz file with `ids`, since this list has no order of "
                f"rows, got {list(self.values.shape)} without ids. Write it again.",
            )
        if self.values.ndim == 0 or clip.row >= len(self.values):
            raise MediaError(
                "missing array",
                f"{self.path}: Expected row {clip.row} for {clip.id!r}, got "
                f"{list(self.values.shape)}. Write it again.",
            )
        return clip.row

    def read(self, clip: Clip) -> np.ndarray:
        """Returns the array of a clip; raises MediaError if it has none."""
        if self.named is None:
            return self.values[self.row(clip)]
        if clip.id not in self.named:
            raise self._missing(clip, self.named)
        return self.named[clip.id]

    def _missing(self, clip, others):
        return MediaError(
            "missing array",
            f"{self.path}: Expected an array of {clip.id!r}, got those of {len(others)} others. "
            "Add it.",
        )


def read_row(path: Path, clip: Clip, key: str | None = None) -> np.ndarray:
    """Reads the array of one clip from a file with the arrays of all clips.

    Args:
      path: folder or file.
      clip: the clip.
      key: name of the array in files that hold several.

    Raises:
      MediaError: it is missing, or the file cannot be read.
    """
    return read_file(_in_folder(path, clip), key) if path.is_dir() else table(path, key).read(clip)


def read_file(path: Path, key: str | None = None) -> np.ndarray:
    """Reads the only array of a file, or the one of a given name; raises MediaError."""
    arrays = _arrays(path)
    if key is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    if key not in arrays:
        wanted = f"the array {key!r}" if key else "one array, or `key` to say which"
        raise MediaError(
            "broken array",
            f"{path}: Expected {wanted}, got {_names(arrays)}. Write it again, or correct `key`.",
        )
    return arrays[key]


def table(path: Path, key: str | None = None) -> Table:
    """Opens a file that holds the arrays of all examples; raises MediaError."""
    opened = _table(path, key, path.stat().st_mtime_ns if path.is_file() else 0)
    if isinstance(opened, MediaError):
        raise opened
    return opened


def check_rows(path: Path, number: int, key: str | None = None) -> None:
    """Raises RawDataError where rows in list order are not one for each clip."""
    if path.is_dir():
        return
    opened = table(path, key)
    if opened.named is None and opened.rows is None and opened.values.shape[:1] != (number,):
        raise RawDataError(
            f"{path}: Expected a row for each of the {number} clips of the list, got "
            f"{list(opened.values.shape)}. Write it again, or as an .npz file with `ids`."
        )


def write_features(path: Path, ids, features) -> None:
    """Writes an .npz file with ids, atomically.

    Args:
      path: the file, its name ending in .npz.
      ids: ids of N clips.
      features: [N, ...] in the same order.
    """
    temporary = path.with_name(f".{path.name}")
    np.savez(temporary, ids=np.array(ids, np.str_), features=np.asarray(features))
    temporary.replace(path)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz file with an array of any shape for each id, atomically.

    Args:
      path: the file, its name ending in .npz.
      arrays: {id: array}.

    Raises:
      ValueError: an example is called as the array of all ids is.
    """
    if _IDS in arrays:
        raise ValueError(
            f"{path}: Expected other ids than {_IDS!r}, which names the ids of all. Rename it."
        )
    if len(arrays) == 1:  # By itself it would be taken for the rows of a list.
        return write_features(path, list(arrays), list(arrays.values()))
    temporary = path.with_name(f".{path.name}")
    # Not numpy.savez, for which "file" is an argument of its own and no id.
    with zipfile.ZipFile(temporary, "w") as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    temporary.replace(path)


def _in_folder(path: Path, clip: Clip) -> Path:
    if fault := name_fault(clip.id):
        raise MediaError(
            "id is no file name",
            f"{path}: Expected ids that are names of files in it, got {clip.id!r}, which "
            f"{fault}. Change the id, or write an .npz file with `ids`.",
        )
    files = [path / f"{clip.id}{ending}" for ending in ENDINGS]
    return next((file for file in files if file.exists()), files[0])


@functools.lru_cache(maxsize=32)
def _table(path: Path, key: str | None, changed: int) -> Table | MediaError:
    del changed  # Of the cache's key only: a file that changes is read again.
    try:
        return _open(path, key)
    except MediaError as error:
        return error  # So that a damaged file is not read again for each example.


def _open(path: Path, key: str | None) -> Table:
    arrays = _arrays(path)
    if path.suffix == ".npy":
        return Table(path, arrays[""])
    if _IDS in arrays:
        return _with_ids(path, arrays, key)
    if key is not None or len(arrays) == 1:
        return Table(path, read_file(path, key))
    return Table(path, named=arrays)


def _with_ids(path: Path, arrays: Mapping, key: str | None) -> Table:
    others = [name for name in arrays if name != _IDS]
    name = key or (others[0] if len(others) == 1 else _FEATURES)
    expected = f"{path}: Expected `ids` [N] (text) and `{name}` [N, ...]"
    if name not in arrays:
        raise MediaError(
            "broken array", f"{expected}, got {_names(arrays)}. Write it again, or correct `key`."
        )
    ids, values = arrays[_IDS], arrays[name]
    if ids.ndim != 1 or ids.dtype.kind != "U" or values.shape[:1] != ids.shape:
        raise MediaError(
            "broken array",
            f"{expected}, got ids {list(ids.shape)} of {ids.dtype} and {name} "
            f"{list(values.shape)}. Write it again.",
        )
    rows = {str(each): row for row, each in enumerate(ids)}
    if len(rows) < len(ids):
        raise MediaError(
            "broken array", f"{path}: Expected every id once, got repeated ones. Remove them."
        )
    return Table(path, values, rows)


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    """Returns {name: array} of a file; arrays of .npz and .safetensors are read on access."""
    readers = {".npy": _npy, ".npz": _Npz, ".safetensors": _Safetensors}
    if path.suffix not in readers:
        raise MediaError(
            "no file of arrays",
            f"{path}: Expected a folder, or a file that ends in {_KINDS}, got another one. Save "
            "the arrays as one of these.",
        )
    if not path.is_file():
        raise MediaError(
            "missing array",
            f"{path}: Expected arrays in {_KINDS}, got none there. Add the file, or correct the "
            "path.",
        )
    try:
        return readers[path.suffix](path)
    except DAMAGED as error:
        raise _damaged(path, error) from error


def _npy(path: Path) -> dict[str, np.ndarray]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("several arrays; files of them end in .npz")
    return {"": array}


class _Lazy(Mapping):
    """Arrays by name, each read on access."""

    def __init__(self, path: Path, names: Sequence[str]):
        self._path = path
        self._in_file = names

    def __iter__(self) -> Iterator[str]:
        return iter(self._in_file)

    def __len__(self) -> int:
        return len(self._in_file)

    def __contains__(self, name) -> bool:
        return name in self._in_file

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self._read(name)
        except DAMAGED as error:
            raise _damaged(self._path, error) from error


class _Npz(_Lazy):
    def __init__(self, path):
        # It stays open: reading the names again for each array would take longer than the array.
        self._file = open_npz(path)
        self._arrays, self._lock = {}, threading.Lock()
        super().__init__(path, dict.fromkeys(self._file.files))

    def _read(self, name):
        # Headers are parsed by Python's own parser, which Python 3.11 cannot run in two threads.
        with self._lock:
            if name not in self._arrays:
                self._arrays[name] = self._file[name]
            return self._arrays[name]


class _Safetensors(_Lazy):
    def __init__(self, path):
        from safetensors import SafetensorError, safe_open

        try:
            self._file = safe_open(path, framework="numpy")
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        super().__init__(path, dict.fromkeys(self._file.keys()))

    def _read(self, name):
        return self._file.get_tensor(name)


def _damaged(path: Path, error: Exception) -> MediaError:
    if "Object arrays" in str(error) or "Python objects" in str(error):
        return MediaError(
            "array of objects",
            f"{path}: Expected arrays of numbers, got Python objects, such as rows of different "
            "lengths. Save an array for each example: "
            "numpy.savez(path, **{id: array for each example}).",
        )
    return MediaError(
        "broken array",
        f"{path}: Expected plain arrays, got {str(error) or type(error).__name__!r}. Write it "
        "again.",
    )


def _names(arrays: Mapping) -> str:
    names = [repr(name) for name in arrays]
    return ", ".join(names[:5]) + (", .." if len(names) > 5 else "") or "no array"
