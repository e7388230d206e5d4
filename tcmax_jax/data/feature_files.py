"""Files of features that were extracted elsewhere, a row for each clip.

Three kinds: a folder with `<id>.npy` [D] for each clip; an .npz file with `ids` [N] (text) and
`features` [N, D]; an .npy file [N, D] whose rows are in the order of the list. Nothing is
unpickled, and the arrays of an .npz file may hold `tcmax_jax.npz.MAX_BYTES`.
"""

import functools
from pathlib import Path

import numpy as np

from tcmax_jax.data.clips import Clip, RawDataError, name_fault
from tcmax_jax.data.limits import MediaError
from tcmax_jax.npz import DAMAGED, check_size


def read_feature(path: Path, clip: Clip, size: int) -> np.ndarray:
    """Reads the feature of one clip.

    Args:
      path: folder, .npz or .npy file.
      clip: the clip.
      size: expected number of entries, D.

    Returns:
      float32 [D].

    Raises:
      MediaError: it is missing, of another shape, not numeric or not finite.
    """
    feature = _find(path, clip)
    if feature.shape != (size,) or feature.dtype.kind not in "fiu":
        raise MediaError(
            "feature of another form",
            f"{path}: Expected {size} numbers of {clip.id!r}, got shape {list(feature.shape)} of "
            f"{feature.dtype}. Correct `size`, or extract it again.",
        )
    with np.errstate(over="ignore"):
        feature = feature.astype(np.float32)
    if not np.isfinite(feature).all():
        raise MediaError(
            "feature not finite",
            f"{path}: Expected finite float32 numbers of {clip.id!r}, got NaN or infinity. Extract "
            "it again.",
        )
    return feature


def check_rows(path: Path, number: int) -> None:
    """Raises RawDataError where an .npy file has not a row for each clip; others name theirs."""
    if path.suffix != ".npy" or not path.is_file():
        return
    rows = _open(path)
    if rows.shape[:1] != (number,):
        raise RawDataError(
            f"{path}: Expected a row for each of the {number} clips of the list, got "
            f"{list(rows.shape)}. Extract it again, or write an .npz file with `ids`."
        )


def write_features(path: Path, ids, features) -> None:
    """Writes an .npz file that `read_feature` reads, whole or not at all.

    Args:
      path: the file, its name ending in .npz.
      ids: ids of N clips.
      features: float [N, D] in the same order.
    """
    temporary = path.with_name(f".{path.name}")
    np.savez(temporary, ids=np.array(ids, np.str_), features=np.asarray(features))
    temporary.replace(path)


def _find(path: Path, clip: Clip) -> np.ndarray:
    if path.is_dir():
        if fault := name_fault(clip.id):
            raise MediaError(
                "id is no file name",
                f"{path}: Expected ids that are names of files in it, got {clip.id!r}, which "
                f"{fault}. Change the id, or write an .npz file with `ids`.",
            )
        return _open(path / f"{clip.id}.npy")
    if path.suffix == ".npy":
        if clip.row is None:
            raise MediaError(
                "features without ids",
                f"{path}: Expected an .npz file with `ids`, since this list has no order of rows, "
                "got an .npy file. Write it anew.",
            )
        rows = _open(path)
        if rows.ndim == 0 or clip.row >= len(rows):
            raise MediaError(
                "missing feature",
                f"{path}: Expected row {clip.row} for {clip.id!r}, got {list(rows.shape)}. Extract "
                "it again.",
            )
        return rows[clip.row]
    features, rows = _table(path, path.stat().st_mtime_ns if path.is_file() else 0)
    if clip.id not in rows:
        raise MediaError(
            "missing feature",
            f"{path}: Expected a feature of {clip.id!r}, got those of {len(rows)} others. "
            "Extract it too.",
        )
    return features[rows[clip.id]]


def _open(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise MediaError(
            "missing feature", f"{path}: Expected a feature, got none there. Extract it too."
        ) from error
    except DAMAGED as error:
        raise MediaError(
            "broken features", f"{path}: Expected a plain array, got '{error}'. Extract it again."
        ) from error


@functools.lru_cache(maxsize=8)
def _table(path: Path, changed: int) -> tuple[np.ndarray, dict[str, int]]:
    """Returns the content of an .npz file: [N, D], and {id: row}."""
    del changed  # Of the key only: a file that changes is read again.
    expected = f"{path}: Expected `ids` [N] (text) and `features` [N, D] without Python objects"
    try:
        with np.load(path, allow_pickle=False) as file:
            check_size(file)
            ids, features = file["ids"], file["features"]
    except FileNotFoundError as error:
        raise MediaError(
            "missing file",
            f"{path}: Expected an .npz or .npy file or a folder of features, got none there. "
            "Extract them, or correct the path.",
        ) from error
    except DAMAGED as error:
        raise MediaError(
            "broken features", f"{expected}, got {str(error)!r}. Write it anew."
        ) from error
    if ids.ndim != 1 or ids.dtype.kind != "U" or features.shape[:1] != ids.shape:
        raise MediaError(
            "broken features",
            f"{expected}, got ids {list(ids.shape)} of {ids.dtype} and features "
            f"{list(features.shape)}. Write it anew.",
        )
    rows = {str(name): row for row, name in enumerate(ids)}
    if len(rows) < len(ids):
        raise MediaError(
            "broken features", f"{path}: Expected every id once, got repeated ones. Remove them."
        )
    return features, rows
