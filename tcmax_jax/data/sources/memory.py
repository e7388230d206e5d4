"""Data passed from Python: arrays in memory, or any sequence of records."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.forms import ArrayForm
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.sources.base import Source, Stored
from tcmax_jax.section import section


@section
class MemoryData(Source):
    """Arrays or records passed from Python, see `tcmax_jax.api`.

    Attributes:
      stored: {modality: shape and dtype of its arrays}.
    """

    kind: Literal["memory"] = "memory"
    stored: Stored

    elsewhere: ClassVar = ()

    @property
    def forms(self):
        """{modality: shape and dtype of its arrays}."""
        return self.stored

    def open(self):
        """Raises RawDataError: the data exists in the process of its caller only."""
        raise RawDataError(
            "Expected data that a command can read, got a run on arrays that were handed over in "
            "Python. Train and evaluate it with tcmax_jax.api, or write the arrays to files and "
            "list them (data.kind=manifest)."
        )


class MemoryRecords(Sequence):
    """Records of arrays in memory."""

    def __init__(self, forms: Mapping[str, ArrayForm], values, rows, labels, weights=None):
        """Takes the records of some rows.

        Args:
          forms: {modality: shape and dtype of an array}.
          values: {modality: [N, ...], or N arrays}.
          rows: which of the N these are.
          labels: [N] numbers of the classes.
          weights: [N] weights of the losses in training; None for none.
        """
        self.forms = forms
        self._values = values
        self._rows = np.asarray(rows)
        self._labels = np.asarray(labels, np.int32)
        self._weights = None if weights is None else np.asarray(weights, np.float32)
        self.has_batches = all(isinstance(x, np.ndarray) for x in values.values())

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._rows)

    def __getitem__(self, index: int) -> dict:
        """Returns a record."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = self._rows[index]
        values = {
            m: form.cast(self._values[m][row], f"{m} of row {row}")
            for m, form in self.forms.items()
        }
        return self._about(row) | values

    def batch(self, indices: np.ndarray) -> dict:
        """Returns records as arrays [B, ...]."""
        rows = self._rows[indices]
        values = {m: form.cast(self._values[m][rows], m) for m, form in self.forms.items()}
        return self._about(rows) | values

    def _about(self, rows):
        about = {"label": self._labels[rows]}
        return about if self._weights is None else about | {"weight": self._weights[rows]}


class CheckedRecords(Sequence):
    """Records of a random-access source, checked against the configuration."""

    def __init__(self, source: Sequence, forms: Mapping[str, ArrayForm], class_names, place: str):
        """Takes a source that has a length and gives {"label", modality: array} by index.

        Args:
          source: the source; a label is the name or the number of a class.
          forms: {modality: shape and dtype of an array}.
          class_names: names of the classes.
          place: what to call it in messages.
        """
        self.forms = forms
        self._source = source
        self._numbers = {name: number for number, name in enumerate(class_names)}
        self._place = place

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        """Returns a record; raises RawDataError if it does not fit."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        record, place = self._source[int(index)], f"{self._place}, record {index}"
        if missing := [name for name in ("label", *self.forms) if name not in record]:
            raise RawDataError(
                f"{place}: Expected {', '.join(('label', *self.forms))}, got "
                f"{', '.join(map(str, record))}, without {missing[0]}. Rename its columns."
            )
        number = self._numbers.get(record["label"], record["label"])
        if isinstance(number, str) or not 0 <= number < len(self._numbers):
            raise RawDataError(
                f"{place}: Expected a label of the {len(self._numbers)} classes, or its number, "
                f"got {record['label']!r}. Correct it, or class_names."
            )
        weight = {"weight": record["weight"]} if "weight" in record else {}
        values = {m: self._value(record, m, place) for m in self.forms}
        return {"label": int(number), **weight, **values}

    def _value(self, record, modality, place):
        try:
            return self.forms[modality].stored(np.asarray(record[modality]), f"{place}, {modality}")
        except MediaError as error:
            raise RawDataError(str(error)) from error
