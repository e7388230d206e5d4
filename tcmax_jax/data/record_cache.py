"""A cache in memory of the decoded records of a split."""

import concurrent.futures
import threading
from collections.abc import Mapping, Sequence

import numpy as np

from tcmax_jax.cores import usable_cores
from tcmax_jax.data.forms import Form
from tcmax_jax.data.inputs import Input

_LOOKED_AT = 16  # records from which the size of all is estimated


class CachedRecords(Sequence):
    """Records that are decoded at the first call of `hold`, and cached in memory if they fit.

    Pictures are cached decoded, before any augmentation, cropping or padding. Values are those of
    the source, so results do not change.
    """

    def __init__(
        self,
        source: Sequence,
        inputs: Mapping[str, Input],
        forms: Mapping[str, Form],
        limit: int,
    ):
        """Takes the records to cache.

        Args:
          source: records by index, {"label", modality: value, ...}.
          inputs: {modality: its input}; of a record, only these modalities and label, weight and
            id are cached.
          forms: {modality: stored form}.
          limit: most bytes of the cache.
        """
        self.forms = forms
        self._source = source
        self._inputs = dict(inputs)
        self._limit = limit
        self._columns = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        """Returns a record, from memory if it is cached."""
        if not self._columns:
            return self._source[index]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return {name: column[index] for name, column in self._columns.items()}

    def hold(self) -> bool:
        """Decodes all records at the first call if they fit; returns whether they are cached."""
        with self._lock:
            if self._columns is None:
                self._columns = self._decoded() if self._size() <= self._limit else {}
        return bool(self._columns)

    @property
    def has_batches(self) -> bool:
        """Whether `batch` can be called: records are cached and of one shape."""
        return self.hold() and all(isinstance(self._columns[m], np.ndarray) for m in self._inputs)

    def batch(self, indices: np.ndarray) -> dict:
        """Returns records as arrays [B, ...]."""
        names = [name for name in self._columns if name != "id"]
        return {name: self._columns[name][indices] for name in names}

    def _size(self) -> float:
        """Estimates the bytes of all records, decoded."""
        if not self._limit:
            return float("inf")
        at = np.linspace(0, len(self) - 1, min(_LOOKED_AT, len(self))).astype(int)
        records = [self._record(int(index)) for index in at]
        values = [record[m] for record in records for m in self._inputs]
        # Encoded pictures remain where those of an example differ in size.
        sizes = [x.nbytes if isinstance(x, np.ndarray) else sum(map(len, x)) for x in values]
        return sum(sizes) / len(at) * len(self)

    def _record(self, index) -> dict:
        record = self._source[index]
        decoded = {m: x.decoded(record[m]) for m, x in self._inputs.items()}
        about = {name: record[name] for name in ("id", "weight") if name in record}
        return {"label": np.int32(record["label"]), **about, **decoded}

    def _decoded(self) -> dict:
        with concurrent.futures.ThreadPoolExecutor(usable_cores()) as pool:
            records = list(pool.map(self._record, range(len(self))))
        columns = {name: [record[name] for record in records] for name in records[0]}
        return {name: _stacked(column) for name, column in columns.items()}


def _stacked(values: list):
    """Returns values as one array if they are arrays of one shape and dtype."""
    if not all(isinstance(x, np.ndarray | np.generic) for x in values):
        return values
    return np.stack(values) if len({(x.shape, x.dtype) for x in values}) == 1 else values
