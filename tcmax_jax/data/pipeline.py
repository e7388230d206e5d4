"""The input pipeline: records become shuffled, augmented, batched arrays (grain).

A batch is `{"inputs": {modality: array or Series}, "label": [B] int32, "where": [B] bool, "index":
[B] int32}`; `index` is the example's position in its split, and `where` is False for padding. Data
whose list weighs its examples adds "weight" [B] float32.

The order of the stages matters. Shuffling comes before repeating, so that each epoch has its own
order; augmenting comes before a process takes its rows, so that no two processes share random
numbers. The global batch, augmentation and order of rows included, thus does not depend on the
number of processes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import grain
import numpy as np
from absl import flags

from tcmax_jax.data.memory import keep_freed_memory
from tcmax_jax.data.workers import begin_children, end_with_parent

Transforms = Mapping[str, Callable]

_BUFFERED = 4  # batches that wait, at least
_QUEUED = 2  # batches of a worker on their way to the loop


class Readers(NamedTuple):
    """The threads and worker processes that read and decode.

    Attributes:
      threads: threads of the main process.
      workers: processes that do it instead, for Python-bound transforms; 0 for none.
    """

    threads: int
    workers: int


class Process(NamedTuple):
    """The share of every batch that this process reads.

    Attributes:
      index: number of this process.
      count: number of processes.
    """

    index: int = 0
    count: int = 1


def steps_per_epoch(source: Sequence, batch_size: int) -> int:
    """Returns the number of whole batches in an epoch; raises ValueError if it is 0."""
    if len(source) < batch_size:
        raise ValueError(
            f"Expected at least one batch of {batch_size} training examples, got {len(source)}. "
            "Lower training.batch_size."
        )
    return len(source) // batch_size


def train_batches(
    source: Sequence,
    transforms: Transforms,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    readers: Readers,
    process: Process,
    first_step: int = 0,
) -> Iterator[dict]:
    """Yields this process's share of the training batches, from any step on.

    Args:
      source: records of the training split.
      transforms: {modality: function (stored value, seed of the example) -> array}; see
        `tcmax_jax.data.inputs.Input`.
      batch_size: examples in a batch over all processes; each epoch drops its own remainder.
      epochs: passes over the data.
      seed: seed of order and augmentation.
      readers: who reads and decodes.
      process: which part of every batch is read here.
      first_step: batches to pass over, at no cost; the rest equal those of an unbroken run.

    Raises:
      ValueError: less than one batch of data, or a batch that the processes cannot share.
    """
    steps = steps_per_epoch(source, batch_size)
    if takes_batches(source, transforms):
        order = grain.MapDataset.source(range(len(source))).seed(seed).shuffle()
        batches = _WholeBatches(order, steps, batch_size, process, _Gather(source, transforms))
        return _iterate(batches.repeat(epochs)[first_step:], readers)
    examples = (
        grain.MapDataset.source(_Indexed(source, len(source)))
        .seed(seed)
        .shuffle()[: steps * batch_size]
        .repeat(epochs)
        .random_map(_Augment(transforms))
    )
    return _read(examples, batch_size, readers, process, first_step)


def eval_batches(
    source: Sequence, transforms: Transforms, *, batch_size: int, readers: Readers, process: Process
) -> Iterator[dict]:
    """Yields this process's share of a split in order, each example once, padded and masked.

    Args:
      source: records of the split.
      transforms: {modality: function (stored value, None) -> array}.
      batch_size: examples in a batch over all processes; the last one is filled with copies whose
        `where` is False.
      readers: see `train_batches`.
      process: see `train_batches`.

    Raises:
      ValueError: a batch that the processes cannot share.
    """
    padded = -(-len(source) // batch_size) * batch_size
    if takes_batches(source, transforms):
        order, steps = grain.MapDataset.source(range(padded)), padded // batch_size
        gather = _Gather(source, transforms)
        return _iterate(_WholeBatches(order, steps, batch_size, process, gather), readers)
    examples = grain.MapDataset.source(_Indexed(source, padded)).map(_Augment(transforms))
    return _read(examples, batch_size, readers, process)


def takes_batches(source: Sequence, transforms: Transforms) -> bool:
    """Returns whether a source and all transforms handle whole batches, which is much faster."""
    return getattr(source, "has_batches", False) and all(
        transform.takes_batches(source.forms[m]) for m, transform in transforms.items()
    )


class Subset:
    """Some records of a source, read on access."""

    def __init__(self, source: Sequence, indices: Sequence[int]):
        self._source = source
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index) -> dict:
        return self._source[int(self._indices[index])]


class _Indexed:
    """A source whose records know their index, padded to a length with masked copies."""

    def __init__(self, source: Sequence, length: int):
        self._source = source
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index) -> dict:
        index = int(index)
        last = len(self._source) - 1
        return {"record": self._source[min(index, last)], "index": index, "where": index <= last}


class _Augment:
    """Applies each modality's transform; a class, so that worker processes can unpickle it."""

    def __init__(self, transforms: Transforms):
        self._transforms = dict(transforms)

    def __call__(self, element: dict, rng: np.random.Generator | None = None) -> dict:
        record = element["record"]
        seed = None if rng is None else rng.integers(2**63)
        return {
            "inputs": {m: f(record[m], seed) for m, f in self._transforms.items()},
            "label": np.int32(record["label"]),
            "where": np.bool_(element["where"]),
            "index": np.int32(element["index"]),
        } | ({"weight": np.float32(record["weight"])} if "weight" in record else {})


class _Gather:
    """Reads a whole batch by indices; those past the end are padding."""

    def __init__(self, source: Sequence, transforms: Transforms):
        self._source = source
        self._transforms = dict(transforms)

    def __call__(self, positions: np.ndarray) -> dict:
        last = len(self._source) - 1
        stored = self._source.batch(np.minimum(positions, last))
        return {
            "inputs": {m: f.of_batch(stored[m]) for m, f in self._transforms.items()},
            "label": stored["label"],
            "where": positions <= last,
            "index": positions.astype(np.int32),
        } | ({"weight": stored["weight"]} if "weight" in stored else {})


def _rows(batch_size: int, process: Process) -> range:
    """Returns a process's rows of every batch: the first process has the first ones, and so on."""
    if batch_size % process.count:
        raise ValueError(
            f"Expected a batch size that {process.count} processes can share equally, "
            f"got {batch_size}."
        )
    number = batch_size // process.count
    return range(process.index * number, (process.index + 1) * number)


class _WholeBatches(grain.MapDataset):
    """A process's rows of the batches of an epoch, each read at once."""

    def __init__(self, order, steps: int, batch_size: int, process: Process, gather: _Gather):
        super().__init__(order)
        self._steps = steps
        self._batch_size = batch_size
        self._rows = _rows(batch_size, process)
        self._gather = gather
        # A stage of grain keeps statistics of each element, which takes twenty times as long as the
        # element itself; what its shuffle computes of a position is the same.
        self._position = getattr(order, "_shuffled_index", order.__getitem__)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        epoch, step = divmod(index, self._steps)
        begin = epoch * len(self._parent) + step * self._batch_size
        positions = [self._position(begin + row) for row in self._rows]
        return self._gather(np.array(positions) % len(self._parent))


class _Share(grain.MapDataset):
    """One process's rows of every batch, one by one."""

    def __init__(self, parent: grain.MapDataset, batch_size: int, process: Process):
        super().__init__(parent)
        self._batch_size = batch_size
        rows = _rows(batch_size, process)
        self._rows, self._first = len(rows), rows.start

    def __len__(self) -> int:
        return len(self._parent) // self._batch_size * self._rows

    def __getitem__(self, index):
        batch, row = divmod(index, self._rows)
        return self._parent[batch * self._batch_size + self._first + row]


def _read(
    examples: grain.MapDataset,
    batch_size: int,
    readers: Readers,
    process: Process,
    first_step: int = 0,
) -> Iterator[dict]:
    share = _Share(examples, batch_size, process)
    batches = share.batch(batch_size // process.count, drop_remainder=True)[first_step:]
    return _iterate(batches, readers)


def buffered_batches(threads: int) -> int:
    """Returns how many batches are buffered for the loop, or for the queue of a worker."""
    # Fewer than there are threads would leave some idle.
    return max(_BUFFERED, threads)


def batches_of_worker(threads: int) -> int:
    """Returns how many batches of a worker are in shared memory, including those in use."""
    return buffered_batches(threads) + _QUEUED + 2


def _iterate(batches: grain.MapDataset, readers: Readers) -> Iterator[dict]:
    # Buffers count batches; grain's defaults would hold hundreds of them.
    options = grain.ReadOptions(
        num_threads=readers.threads, prefetch_buffer_size=buffered_batches(readers.threads)
    )
    dataset = batches.to_iter_dataset(options)
    if readers.workers:
        if not flags.FLAGS.is_parsed():
            # Grain reads its own flags in the workers; outside of absl's app nobody has set them.
            flags.FLAGS(["tcmax_jax"])
        begin_children()
        workers = grain.MultiprocessingOptions(readers.workers, per_worker_buffer_size=_QUEUED)
        dataset = dataset.mp_prefetch(workers, worker_init_fn=_begin_worker)
    return iter(dataset)


def _begin_worker(*_) -> None:
    end_with_parent()
    keep_freed_memory()
