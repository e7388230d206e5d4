"""Stored forms of existing arrays: features, spectrograms, frames, series, token ids."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np

from tcmax_jax.data.array_files import check_rows, read_file, read_row
from tcmax_jax.data.clips import Clip, RawDataError
from tcmax_jax.data.forms.base import Content, Form
from tcmax_jax.data.limits import MediaError
from tcmax_jax.section import Count, section

Dtype = Literal["float16", "float32", "uint8", "int8", "int16", "int32"]


@section
class ArrayForm(Form):
    """Base of forms of existing arrays, see `tcmax_jax.data.array_files`.

    Their fields or class variables are `path`, of the file or folder with the arrays of all clips,
    relative to the list, or None for a file of each clip; and `key`, the name of the array in files
    that hold several, or None.
    """

    path: ClassVar[str | None] = None
    key: ClassVar[str | None] = None

    def file(self, clip: Clip) -> Path | None:
        """Returns the file or folder of the arrays."""
        return clip.video if self.path is None else clip.folder / self.path

    def read(self, clip: Clip) -> Content:
        """Reads a clip; raises MediaError."""
        return Content(self.stored(self._find(clip), f"{self.file(clip)} ({clip.id})"))

    def stored(self, array: np.ndarray, place: str) -> np.ndarray:
        """Returns the array of an example in the form in which it is stored.

        Raises:
          MediaError: it has another shape, or holds other numbers; names the `place`.
        """
        if not self._fits(array):
            expected = "an array of numbers"
            if None not in (self.shape, self.dtype):  # else no file had one to read them from
                axes = _axes(self.shape, self.varying)
                expected = f"{axes} numbers, to be stored as {np.dtype(self.dtype)}"
            raise MediaError(
                "array of another form",
                f"{place}: Expected {expected}, got {_axes(array.shape)} of {array.dtype}. Fix "
                "the array, or correct the configuration.",
            )
        return self.cast(array, place)

    def cast(self, array: np.ndarray, place: str) -> np.ndarray:
        """Returns an array, or the rows of several clips, in the stored dtype.

        Raises:
          MediaError: a number is not finite, or too large for the dtype; names the `place`.
        """
        with np.errstate(over="ignore"):
            stored = np.asarray(array, self.dtype)
        if not np.isfinite(stored).all():
            raise MediaError(
                "array not finite",
                f"{place}: Expected finite {stored.dtype} numbers, got NaN or infinity. Fix the "
                "array.",
            )
        if stored.dtype.kind in "iu" and (stored != array).any():
            raise MediaError(
                "integer too large",
                f"{place}: Expected integers that fit {stored.dtype}, got some up to "
                f"{np.max(array)}. Renumber them.",
            )
        return stored

    def check_listed(self, clips: Sequence[Clip]) -> None:
        """Raises RawDataError where a file does not have one row for each clip."""
        if self.path is not None:
            check_rows(self.file(clips[0]), len(clips), self.key)

    def _find(self, clip):
        file = self.file(clip)
        return read_file(file, self.key) if self.path is None else read_row(file, clip, self.key)

    def _fits(self, array):
        raise NotImplementedError


@section
class Arrays(ArrayForm):
    """Existing arrays of any rank, see `tcmax_jax.data.array_files`.

    All arrays of a modality have one shape, but for the length of the first axis. They keep their
    dtype; float64 becomes float32, and integers of more than 32 bits become int32.

    Attributes:
      path: file or folder with the arrays of all clips, relative to the list; None for a file of
        each clip, which the list names in a column `<modality>_path`, or `path`.
      key: name of the array in files that hold several.
      shape: of one array; None is read from the files.
      dtype: of the arrays; None is read from the files.
      varying: whether the first axis is as long as it happens to be, with its largest length in
        `shape`; None is read from the files.
    """

    input_kind: ClassVar = None
    from_files: ClassVar = ("shape", "dtype", "varying")

    kind: Literal["arrays"] = "arrays"
    path: str | None = None
    key: str | None = None
    shape: tuple[Count, ...] | None = None
    dtype: Dtype | None = None
    varying: bool | None = None

    def resolved(self, clips: Sequence[Clip]) -> "Arrays":
        """Returns the form with shape and dtype of the clips' arrays; raises RawDataError."""
        if None not in (self.shape, self.dtype, self.varying):
            return self
        known = ((f"{clip.id!r} ({clip.place})", self._known(clip)) for clip in clips)
        return self.of_arrays((place, array) for place, array in known if array is not None)

    def of_arrays(self, arrays: Iterable[tuple[str, np.ndarray]]) -> "Arrays":
        """Returns the form with shape and dtype of (place, array) pairs.

        Raises:
          RawDataError: they have several shapes; names the places of two.
        """
        arrays = iter(arrays)
        first, array = next(arrays, (None, None))
        if first is None:
            return self  # No file can be read; each is named when it is asked for.
        shape, dtype = array.shape, stored_dtype(array.dtype)
        varying = False
        for place, other in arrays:
            if other.shape[1:] != shape[1:] or other.ndim != len(shape):
                raise RawDataError(
                    f"Expected arrays of one shape but for their length, got {_axes(other.shape)} "
                    f"for {place} and {_axes(array.shape)} for {first}. Bring them to one shape."
                )
            if other.shape != shape:
                varying, shape = True, (max(shape[0], other.shape[0]), *shape[1:])
            dtype = stored_dtype(np.promote_types(dtype, other.dtype))
        resolved = {"shape": shape, "dtype": dtype, "varying": varying}
        given = {name: getattr(self, name) for name in resolved}
        return dataclasses.replace(
            self, **{n: x if given[n] is None else given[n] for n, x in resolved.items()}
        )

    def _known(self, clip):
        """Returns the array of a clip, None if it cannot be used."""
        try:
            array = self._find(clip)
            return array if stored_dtype(array.dtype) and array.size else None
        except MediaError:
            return None

    def _fits(self, array):
        same = array.shape == self.shape
        if self.varying:
            same = array.ndim == len(self.shape) and array.shape[1:] == self.shape[1:]
        dtype = stored_dtype(array.dtype)
        return same and array.size > 0 and dtype is not None and np.can_cast(dtype, self.dtype)


@section
class Features(ArrayForm):
    """Existing feature vectors, one for each clip, stored as float32.

    Attributes:
      path: file or folder of the features of all clips, relative to that of the clips' list.
      size: number of entries of a clip's feature.
    """

    dtype: ClassVar = np.float32
    input_kind: ClassVar = "array"

    kind: Literal["features"] = "features"
    path: str
    size: Count

    @property
    def shape(self) -> tuple[int]:
        """Number of entries."""
        return (self.size,)

    def _fits(self, array):
        return array.shape == self.shape and array.dtype.kind in "fiu"


def stored_dtype(dtype: np.dtype) -> str | None:
    """Returns the name of the dtype in which numbers are stored; None if they are not numbers."""
    name = dtype.name
    narrower = {"float64": "float32", "int64": "int32", "uint64": "int32", "uint32": "int32"}
    name = {"uint16": "int32", "bool": "uint8", **narrower}.get(name, name)
    return name if name in get_args(Dtype) else None


def _axes(shape: Sequence[int], varying: bool = False) -> str:
    sizes = [*map(str, shape)]
    return f"[{', '.join([f'1 .. {sizes[0]}', *sizes[1:]] if varying else sizes)}]"
