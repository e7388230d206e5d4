"""The interface of all stored forms."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from tcmax_jax.data.clips import Clip
from tcmax_jax.section import Family, section


class Content(NamedTuple):
    """The content read from one clip for one modality.

    Attributes:
      value: array, or list of encoded pictures.
      seconds: length of the clip's sound before it was brought to the stored length; None of
        pictures.
      remark: what is odd about it, in a few words that are the same for all clips; None if nothing.
    """

    value: np.ndarray | list[bytes]
    seconds: float | None = None
    remark: str | None = None


@section
class Form(Family):
    """Base of all stored forms.

    Attributes:
      dtype: of the stored array, or of the pictures; None where files say it that nobody has read.
      input_kind: kind of the input that reads it, see `tcmax_jax.data.inputs`; None for any that
        takes its shape.
      encoded: whether encoded pictures are stored, as bytes.
      varying: whether the length of the first axis varies; `shape` has the largest one.
      from_files: fields that `resolved` reads from the files where they are None.
    """

    dtype: ClassVar[type | str | None]
    input_kind: ClassVar[str | None]
    encoded: ClassVar[bool] = False
    varying: ClassVar[bool] = False
    from_files: ClassVar[tuple[str, ...]] = ()

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of one stored example, or the number of pictures; None where `dtype` is None."""
        raise NotImplementedError

    def resolved(self, clips: Sequence[Clip]) -> "Form":
        """Returns the form with all fields that the files of the clips determine.

        Raises:
          RawDataError: they do not agree.
        """
        return self

    @property
    def picture_size(self) -> tuple[int | None, int | None]:
        """Height and width of stored pictures; None where they depend on the example."""
        return None, None

    def file(self, clip: Clip) -> Path | None:
        """Returns the file or folder that is read; None if the clip has none."""
        raise NotImplementedError

    def read(self, clip: Clip) -> Content:
        """Reads a clip.

        Raises:
          MediaError: its files cannot be decoded.
        """
        raise NotImplementedError

    def check_listed(self, clips: Sequence[Clip]) -> None:
        """Raises RawDataError where a file fits single clips of a list, but not the whole list."""

    def stand_in(self, rng: np.random.Generator) -> np.ndarray | list[bytes]:
        """Returns a synthetic value of the shape of a stored one."""
        if np.issubdtype(self.dtype, np.integer):
            return rng.integers(2, size=self.shape, dtype=self.dtype)
        return rng.standard_normal(self.shape).astype(self.dtype)
