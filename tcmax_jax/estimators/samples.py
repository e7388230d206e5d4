"""Samples: reading a file of arrays, checking and converting them for the estimators."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tcmax_jax.npz import DAMAGED, open_npz

# Above this an integer column is an identifier or a count rather than a label.
MAX_CLASSES = 1000
_HOW = "Write it with numpy.savez(path, a=array, b=array), one array a variable."
_AGAIN = "Copy or write the file again."
_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")  # of a zip file, and of an empty one


class Samples(NamedTuple):
    """Samples in the form that estimators take.

    Attributes:
      arrays: {variable: [N, D_m]}, numbers in float64; a label is one-hot in float32, its columns
        in the order of values.
      labels: the names of the labels.
    """

    arrays: dict[str, np.ndarray]
    labels: frozenset[str]


def read_samples(path) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz file; never unpickles.

    Args:
      path: of a file that `numpy.savez(path, a=.., b=..)` wrote, one array a variable.

    Raises:
      FileNotFoundError: no such file.
      ValueError: another kind of file, a damaged one, one of more than `tcmax_jax.npz.MAX_BYTES`,
        or arrays of objects.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected an .npz file of samples, got {path}, which does not exist."
        )
    try:
        with path.open("rb") as stream:
            if stream.read(4) not in _BEGINNINGS:
                raise ValueError(f"Expected an .npz file, got {path}, which is none. {_HOW}")
        with _open(path) as file:
            return {name: _read_array(path, file, name) for name in file.files}
    except OSError as error:
        raise _unreadable(path, error) from error


def prepare(samples: Mapping) -> Samples:
    """Checks samples and converts them to the form that estimators take.

    Args:
      samples: {variable: array}. Integers or booleans [N] are labels; all else, [N, ...], numbers,
        whose trailing dimensions are flattened.

    Raises:
      ValueError: fewer than two variables, no or unequally many examples, values that are no finite
        numbers, an integer array of too many values.

    Example:
      >>> import numpy as np
      >>> samples = prepare({"x": np.zeros((4, 2, 3)), "y": np.array([7, 9, 7, 7])})
      >>> samples.arrays["x"].shape, samples.arrays["y"].shape, *samples.labels
      ((4, 6), (4, 2), 'y')
    """
    samples = {name: np.asarray(x) for name, x in samples.items()}
    _check(samples)
    labels = frozenset(m for m, x in samples.items() if x.dtype.kind in "iub" and x.ndim == 1)
    # In float32 the seconds of a year would be all alike, and 1e39 infinite.
    flat = lambda x: x.reshape(len(x), -1).astype(np.float64)
    arrays = {m: _one_hot(m, x) if m in labels else flat(x) for m, x in samples.items()}
    return Samples(arrays, labels)


def standardise(samples: Samples, rows) -> dict[str, np.ndarray]:
    """Returns float32 arrays of mean 0 and standard deviation 1 over `rows`; labels stay one-hot.

    A bijection of each variable, so mutual information and total correlation stay the same. Columns
    that are constant over `rows` become 0 there.
    """

    def scale(x):
        largest = np.abs(x[rows]).max(0)
        # So that squares stay finite, and a constant is exactly 1 or -1, without rounding.
        x = x / np.where(largest > 0, largest, 1)
        deviation = x[rows].std(0)
        return ((x - x[rows].mean(0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)

    return {m: x if m in samples.labels else scale(x) for m, x in samples.arrays.items()}


def _open(path):
    try:
        return open_npz(path)
    except DAMAGED as error:
        raise _unreadable(path, error) from error


def _unreadable(path, error):
    return ValueError(f"Expected an .npz file that can be read, got {path}: {error}. {_AGAIN}")


def _read_array(path, file, name):
    try:
        array = file[name]
    except DAMAGED as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"Expected arrays of numbers in {path}, got {name!r}, which holds Python objects; "
                f"those are not unpickled. {_HOW}"
            ) from error
        raise ValueError(
            f"Expected an undamaged .npz file, got {path}, whose array {name!r} cannot be read: "
            f"{str(error) or 'it ends too early'}. {_AGAIN}"
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"Expected arrays in {path}, got the file {name!r}. {_HOW}")
    return array


def _check(samples):
    if len(samples) < 2:
        raise ValueError(
            "Expected two variables or more, since total correlation compares them, got "
            f"{list(samples)}. Store one array a variable."
        )
    for name, x in samples.items():
        if x.dtype.kind not in "fiub":
            raise ValueError(
                f"Expected numbers in {name!r}, got dtype {x.dtype}. Labels as text turn into "
                "integers with numpy.unique(labels, return_inverse=True)[1]."
            )
        if x.ndim == 0 or x.size == 0:
            raise ValueError(
                f"Expected {name!r} of shape [examples, ...], got shape {x.shape}, which holds no "
                "example. Store one row an example."
            )
        if not np.all(np.isfinite(x)):
            raise ValueError(
                f"Expected finite numbers in {name!r}, got {np.sum(~np.isfinite(x))} NaN or "
                "infinite ones. Leave out those examples in all arrays."
            )
    sizes = {name: len(x) for name, x in samples.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"Expected as many rows in all arrays, got {sizes}. Row i of each has to come from the "
            "same example."
        )


def _one_hot(name, labels):
    values, numbers = np.unique(labels, return_inverse=True)
    if len(values) > MAX_CLASSES:
        raise ValueError(
            f"Expected at most {MAX_CLASSES} different labels in the integers of {name!r}, got "
            f"{len(values)}. If they are numbers rather than labels, store them as floats."
        )
    return np.eye(len(values), dtype=np.float32)[numbers]
