"""Checkpoints: the latest states and the best on validation (Orbax).

Nothing else of the project knows Orbax. A checkpoint is written whole or not at all, and holds the
checksum of every array, so that damage is found before training goes on from it.
"""

import contextlib
import json
import math
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy as keep

from tcmax_jax.training.processes import (
    all_agree,
    is_primary,
    say,
    together,
    wait_for_all,
)
from tcmax_jax.training.state import TrainState

SELECTED_BY = "accuracy"
# Renamed first: a kill must not leave a part of one, which would look like damage.
_SUPERSEDED = "superseded"
_LATEST_KEPT = 2  # Of two, one is left where the other is damaged.
_LINES = 10  # of a list of differences


class CheckpointError(ValueError):
    """A checkpoint cannot be written, is damaged, or belongs to another model."""


class _DamagedError(CheckpointError):
    """A checkpoint cannot be read, or not as it was written."""


class Kept:
    """The checkpoints of a run as they lie there, by step, to look at: nothing is written."""

    def __init__(self, folder: Path):
        """Takes the folder of the checkpoints, which need not be there."""
        self._folder = folder

    @property
    def steps(self) -> list[int]:
        """Steps of all checkpoints that are kept, by rising number."""
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
        abouts = self._abouts()
        for step, about in abouts.items():
            if about is None:
                raise self._lost(step)
        validations = {step: about["validation"] for step, about in abouts.items()}
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
        if changed := [name for name, array in _describe(state).items() if array != arrays[name]]:
            raise _DamagedError(self._damage(step, f"another checksum of {changed[0]}"))
        return state

    def restore_variables(self, step: int) -> dict:
        """Returns what the classifier of a step is made of, on the host.

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
        checksums = _describe(variables)
        expected = {n: x for n, x in arrays.items() if n.split("/")[0] in variables}
        if changed := [n for n in checksums | expected if checksums.get(n) != expected.get(n)]:
            raise _DamagedError(self._damage(step, f"another checksum of {changed[0]}"))
        return variables

    def _arrays(self, step):
        about = _read_about(self._folder / str(step))
        if about is None:
            raise _DamagedError(self._damage(step, "its description"))
        return about["arrays"]

    def _read(self, step, target=None):
        # Each process by itself: a process that fails would leave the others waiting.
        me = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
        )
        path = self._folder.resolve() / str(step) / "state"
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as reader:
            try:
                return reader.restore(path, args=ocp.args.StandardRestore(target))
            except (PermissionError, MemoryError) as error:
                raise CheckpointError(f"{path} cannot be read: {error}") from error
            except Exception as error:  # Orbax and its parts raise all kinds.
                raise _DamagedError(self._damage(step, _reason(error))) from error

    def _damage(self, step, reason):
        return f"the checkpoint {self._folder / str(step)} is damaged ({reason})"

    def _abouts(self) -> dict:
        """Returns {step: what it says of itself, None where that or its metrics are damaged}."""
        return {step: _read_about_metrics(self._folder / str(step)) for step in self.steps}

    def _lost(self, step):
        return _DamagedError(
            f"Expected to know the best of all checkpoints, got one that may be it: "
            f"{self._damage(step, 'its metrics')}. Restore it from a copy, or move its folder away "
            "to take the best of the others."
        )


class Checkpoints(Kept):
    """The same of a run that writes them; a context manager that waits for writes at its end.

    With several processes all of them take part in every call.
    """

    def __init__(self, folder: Path, *, say: Callable = say):
        """Opens (or creates) the folder, and removes remains of interrupted writes.

        Args:
          folder: where the checkpoints are.
          say: function of a text, told about damage.

        Raises:
          CheckpointError: one from which training does not go on, and that may be the best one, is
            damaged.
        """
        super().__init__(folder)
        self._say = say
        self._remove_superseded()
        with together():
            if is_primary():
                self._check_metrics()

        def validation(metrics):
            return metrics[SELECTED_BY]

        # Both policies and best_fn: without the first the newest is deleted when it is not the
        # best, without the second all checkpoints count as the best.
        best = keep.BestN(
            get_metric_fn=validation, n=1, reverse=False, keep_checkpoints_without_metrics=False
        )
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            options=ocp.CheckpointManagerOptions(
                best_fn=validation,
                best_mode="max",
                preservation_policy=keep.AnyPreservationPolicy([keep.LatestN(_LATEST_KEPT), best]),
                cleanup_tmp_directories=True,
                todelete_subdir=_SUPERSEDED,
            ),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "about": ocp.JsonCheckpointHandler(),
            },
        )

    def __enter__(self):
        """Returns itself."""
        return self

    def __exit__(self, *exception):
        """Waits for pending writes; raises CheckpointError where one failed."""
        with self._writing():
            self._manager.close()
        self._remove_superseded()

    def save(self, state: TrainState, validation: dict | None = None) -> None:
        """Writes a checkpoint in the background; a step that is there already stays as it is.

        Args:
          state: the state on the host.
          validation: {metric: float}, among them the accuracy that selects the best; None between
            two validations.

        Raises:
          CheckpointError: an earlier write failed, or this one.
        """
        self.wait()  # as Orbax would
        self._remove_superseded()
        about = {"arrays": _describe(state), "validation": validation and dict(validation)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            about=ocp.args.JsonSave(about | {"checksum": _checksum(about)}),
        )
        with self._writing(), _without_hints():
            self._manager.save(int(state.step), args=items, metrics=validation and dict(validation))

    def wait(self) -> None:
        """Waits until what was saved is written; raises CheckpointError where that failed."""
        with self._writing():
            self._manager.wait_until_finished()

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """Returns the latest good state, None if there never was a checkpoint.

        Training from an earlier checkpoint ends with the same numbers. A damaged one is put aside,
        in the folder beside this one whose name begins with "damaged".

        Args:
          like: a state of the same structure, shapes and dtypes.

        Raises:
          CheckpointError: all are damaged, or the latest good one is of another structure.
        """
        damaged = {}
        for step in reversed(self.steps):
            state = error = None
            try:
                state = self.restore(step, like)
            except CheckpointError as raised:
                error = raised
            if all_agree(error is None):
                for broken, text in damaged.items():
                    self._say(f"warning: {text}. Going on after step {step} instead.")
                    if is_primary():
                        _put_aside(self._folder / str(broken))
                wait_for_all("damaged checkpoints are put aside")
                self._manager.reload()
                return state
            error = error or _DamagedError(self._damage(step, "another process cannot read it"))
            if not all_agree(isinstance(error, _DamagedError)):
                raise error
            damaged[step] = error
        if damaged:
            raise CheckpointError(
                f"Expected a good checkpoint, got none: {'; '.join(map(str, damaged.values()))}. "
                "Restore the files from a copy, or train anew in another --workdir."
            )
        return None

    def _remove_superseded(self):
        if is_primary():
            shutil.rmtree(self._folder / _SUPERSEDED, ignore_errors=True)

    def _check_metrics(self):
        """Puts those of damaged metrics aside that training comes to again; refuses all others.

        Orbax could neither list them nor choose.
        """
        abouts = self._abouts()
        good = max((step for step, about in abouts.items() if about), default=math.inf)
        for step in (step for step, about in abouts.items() if about is None):
            if step < good:
                raise self._lost(step)
            self._say(f"warning: {self._damage(step, 'its metrics')}. Put aside.")
            _put_aside(self._folder / str(step))

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except Exception as error:  # Orbax and its parts raise all kinds.
            raise CheckpointError(
                f"Expected to write a checkpoint into {self._folder}, got: "
                f"{_reason(error)}. Earlier checkpoints are as they were: free space or mend the "
                "folder, and go on with the same command."
            ) from error


@contextlib.contextmanager
def _without_hints():
    """Keeps Orbax from wondering about checkpoints without metrics, between validations."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _put_aside(path):
    """Moves a checkpoint beside the folder of checkpoints."""
    aside = path.parents[1] / f"damaged-{path.parent.name}"
    aside.mkdir(exist_ok=True)
    number = len(list(aside.glob(f"{path.name}-*")))
    path.rename(aside / f"{path.name}-{number}")


def _read_about(path):
    """Returns what a checkpoint says of itself, None where that is damaged."""
    try:
        about = json.loads((path / "about" / "metadata").read_text())
        return about if about.pop("checksum") == _checksum(about) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _read_about_metrics(path):
    """Returns the same, None as well where Orbax's metrics are not those that were saved."""
    about, file = _read_about(path), path / "metrics" / "metrics"
    if about is None or (about["validation"] is None and not file.exists()):
        return about
    try:
        return about if json.loads(file.read_text()) == about["validation"] else None
    except (OSError, ValueError):
        return None


def _checksum(about):
    return zlib.crc32(json.dumps(about, sort_keys=True).encode())


def _reason(error):
    """Returns the first line of an error; its end says most in errors that pass on another."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line if len(line) < 300 else f"{line[:100]} ... {line[-190:]}"


def _describe(state) -> dict:
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
