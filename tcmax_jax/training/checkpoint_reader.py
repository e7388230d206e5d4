"""Reads checkpoints: which exist, which is the best, whether they are complete and undamaged.

A checkpoint holds the digest of every file and the checksum of every array, so that damage is
detected, and located, before the values are used.
"""

import json
import zlib
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from tcmax_jax import digests
from tcmax_jax.training.state import TrainState

SELECTED_BY = "accuracy"
STATE = "state"  # the folder of its arrays
_LINES = 10  # of a list of differences


class CheckpointError(ValueError):
    """A checkpoint cannot be written, is damaged, or belongs to another model."""


class DamagedError(CheckpointError):
    """A checkpoint cannot be read, or not as it was written."""


class CheckpointReader:
    """The checkpoints of a run, by step, read only."""

    def __init__(self, folder: Path):
        """Takes the folder of the checkpoints, which need not exist."""
        self._folder = folder

    @property
    def steps(self) -> list[int]:
        """Steps of all checkpoints, in ascending order."""
        return sorted(int(path.name) for path in self._folder.glob("*") if path.name.isdigit())

    @property
    def latest(self) -> int | None:
        """Step of the latest checkpoint, None without one."""
        return max(self.steps, default=None)

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the highest validation accuracy, None without one.

        Raises:
          CheckpointError: the metrics of any checkpoint are damaged: it may be the best one.
        """
        for step, reason in self._damaged().items():
            raise self._lost(step, reason)
        validations = {s: _read_about(self._folder / str(s))["validation"] for s in self.steps}
        ranks = [(metrics[SELECTED_BY], step) for step, metrics in validations.items() if metrics]
        return max(ranks, default=(None, None))[1]

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Returns the state of a step, on the host.

        Args:
          step: a step of which there is a checkpoint.
          like: a state of the same structure, shapes and dtypes, or these alone.

        Raises:
          CheckpointError: it is damaged, or of another structure; says where.
        """
        arrays = self._arrays(step)
        _check_structure(self._folder / str(step), arrays, like)
        target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        state = self._read(step, target)
        if changed := [
            name for name, array in describe_arrays(state).items() if array != arrays[name]
        ]:
            raise DamagedError(self._damage(step, f"another checksum of {changed[0]}"))
        return state

    def restore_variables(self, step: int) -> dict:
        """Returns the variables of the classifier of a step, on the host.

        Nothing has to be known of the run beside it: neither its data nor its optimiser.

        Args:
          step: a step of which there is a checkpoint.

        Returns:
          {"params": .., "batch_stats": ..}, nested dictionaries of arrays.

        Raises:
          CheckpointError: it is damaged.
        """
        arrays = self._arrays(step)
        state = self._read(step)
        variables = {name: state.get(name) or {} for name in ("params", "batch_stats")}
        checksums = describe_arrays(variables)
        expected = {n: x for n, x in arrays.items() if n.split("/")[0] in variables}
        if changed := [n for n in checksums | expected if checksums.get(n) != expected.get(n)]:
            raise DamagedError(self._damage(step, f"another checksum of {changed[0]}"))
        return variables

    def _arrays(self, step):
        path = self._folder / str(step)
        if reason := _fault(path, lambda name: True):
            raise DamagedError(self._damage(step, reason))
        about = _read_about(path)
        if about is None:
            raise DamagedError(self._damage(step, "its description"))
        return about["arrays"]

    def _read(self, step, target=None):
        # Each process by itself: a process that fails would leave the others waiting.
        me = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
        )
        path = self._folder.resolve() / str(step) / STATE
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
            try:
                return reader.restore(path, args=ocp.args.StandardRestore(target))
            except (PermissionError, MemoryError) as error:
                raise CheckpointError(f"{path} cannot be read: {error}") from error
            except Exception as error:  # Orbax and its parts raise all kinds.
                raise DamagedError(self._damage(step, reason_of(error))) from error

    def _damage(self, step, reason):
        return f"the checkpoint {self._folder / str(step)} is damaged ({reason})"

    def _damaged(self) -> dict[int, str]:
        """Returns {step: what is damaged} of checkpoints damaged outside their state."""
        found = {step: _damage_but_of_state(self._folder / str(step)) for step in self.steps}
        return {step: reason for step, reason in found.items() if reason}

    def _lost(self, step, reason):
        return DamagedError(
            f"Expected to know the best of all checkpoints, got one that may be it: "
            f"{self._damage(step, reason)}. Restore it from a copy, or move its folder away "
            "to take the best of the others."
        )


def _read_about(path):
    """Returns the metadata of a checkpoint, None if it is damaged."""
    try:
        about = json.loads((path / "about" / "metadata").read_text())
        return about if about.pop("checksum") == checksum(about) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _fault(path, asked) -> str | None:
    """Returns the first of the requested files of a checkpoint that is not as it was written."""
    names = [name for name in digests.known(path) if asked(name)]
    faults = [f"{name}: {fault}" for name, fault in digests.faults(path, names).items()]
    return faults[0] if faults else None


def _damage_but_of_state(path) -> str | None:
    if reason := _fault(path, lambda name: not name.startswith(STATE)):
        return reason
    # Checkpoints of earlier versions have no digests of their files.
    about, file = _read_about(path), path / "metrics" / "metrics"
    if about is not None and about["validation"] is None and not file.exists():
        return None
    try:
        good = about is not None and json.loads(file.read_text()) == about["validation"]
    except (OSError, ValueError):
        good = False
    return None if good else "its metrics"


def checksum(about) -> int:
    """Returns the CRC-32 of the metadata of a checkpoint."""
    return zlib.crc32(json.dumps(about, sort_keys=True).encode())


def reason_of(error):
    """Returns the first line of an error; of a long one, its start and its end."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line if len(line) < 300 else f"{line[:100]} ... {line[-190:]}"


def describe_arrays(state) -> dict:
    """Returns {path of an array: [shape, dtype, CRC-32 of its bytes]}, as JSON reads it."""
    described = {}
    for path, leaf in jax.tree.leaves_with_path(state):
        array = np.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        described[name] = [list(array.shape), str(array.dtype), zlib.crc32(array.tobytes())]
    return described


def _check_structure(path, stored, like):
    expected = {
        jax.tree_util.keystr(place, simple=True, separator="/"): [list(x.shape), str(x.dtype)]
        for place, x in jax.tree.leaves_with_path(like)
    }

    def text(array):
        return "nothing" if array is None else f"{array[1]}{json.dumps(array[0])}"

    lines = [
        f"{name}: {text(stored.get(name))} there, {text(expected.get(name))} here"
        for name in sorted(stored.keys() | expected.keys())
        if (stored.get(name) or [None])[:2] != (expected.get(name) or [None])[:2]
    ]
    if lines:
        more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
        raise CheckpointError(
            f"{path} holds the state of another model, optimiser or method:\n  "
            + "\n  ".join(lines[:_LINES] + more)
            + "\nChoose another --workdir, or the configuration and version that wrote it."
        )
