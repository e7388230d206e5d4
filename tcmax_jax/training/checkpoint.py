"""Checkpoints: the latest states and the best on validation (Orbax).

Nothing else of the project knows Orbax. A checkpoint is written whole or not at all, and holds the
checksum of every array, so that damage is found before training goes on from it.
"""

import contextlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as keep

from tcmax_jax.training.processes import all_agree, is_primary, wait_for_all
from tcmax_jax.training.state import TrainState

SELECTED_BY = "accuracy"
_LATEST_KEPT = 2  # Of two, one is left where the other is damaged.
_LINES = 10  # of a list of differences


class CheckpointError(ValueError):
    """A checkpoint cannot be written, is damaged, or belongs to another model."""


class _DamagedError(CheckpointError):
    """A checkpoint cannot be read, or not as it was written."""


class Checkpoints:
    """The checkpoints of one run, by step; a context manager that waits for writes at its end.

    With several processes all of them take part in every call.
    """

    def __init__(self, folder: Path, *, clean: bool = True):
        """Opens (or creates) the folder, and removes remains of interrupted writes.

        Without `clean` they stay, for a look at a run that may be going on.
        """

        def validation(metrics):
            return metrics[SELECTED_BY]

        # Both policies and best_fn: without the first the newest is deleted when it is not the
        # best, without the second best_step() is silently the latest.
        best = keep.BestN(
            get_metric_fn=validation, n=1, reverse=False, keep_checkpoints_without_metrics=False
        )
        self._folder = folder
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            options=ocp.CheckpointManagerOptions(
                best_fn=validation,
                best_mode="max",
                preservation_policy=keep.AnyPreservationPolicy([keep.LatestN(_LATEST_KEPT), best]),
                cleanup_tmp_directories=clean,
            ),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "arrays": ocp.JsonCheckpointHandler(),
            },
        )

    def __enter__(self):
        """Returns itself."""
        return self

    def __exit__(self, *exception):
        """Waits for pending writes; raises CheckpointError where one failed."""
        with self._writing():
            self._manager.close()

    @property
    def latest(self) -> int | None:
        """Step of the latest checkpoint, None without one."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the highest validation accuracy, None without one."""
        return self._manager.best_step()

    def save(self, state: TrainState, validation: dict | None = None) -> None:
        """Writes a checkpoint in the background; a step that is there already stays as it is.

        Args:
          state: the state on the host.
          validation: {metric: float}, among them the accuracy that selects the best; None between
            two validations.

        Raises:
          CheckpointError: an earlier write failed, or this one.
        """
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), arrays=ocp.args.JsonSave(_describe(state))
        )
        with self._writing():
            self._manager.save(int(state.step), args=items, metrics=validation and dict(validation))

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Returns the state of a step, on the host.

        Args:
          step: a step of which there is a checkpoint.
          like: a state of the same structure, shapes and dtypes.

        Raises:
          CheckpointError: it is damaged, or of another structure; says where.
        """
        arrays = self._read(step, arrays=ocp.args.JsonRestore()).arrays
        _check_structure(self._folder / str(step), arrays, _describe(like))
        target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        state = self._read(step, state=ocp.args.StandardRestore(target)).state
        if changed := [name for name, array in _describe(state).items() if array != arrays[name]]:
            raise _DamagedError(self._damage(step, f"another checksum of {changed[0]}"))
        return state

    def restore_latest(self, like: TrainState, say: Callable[[str], None]) -> TrainState | None:
        """Returns the latest good state, None if there never was a checkpoint.

        Training from an earlier checkpoint ends with the same numbers. A damaged one is put aside,
        in the folder beside this one whose name begins with "damaged".

        Args:
          like: a state of the same structure, shapes and dtypes.
          say: function of a text, told about damage.

        Raises:
          CheckpointError: all are damaged, or the latest good one is of another structure.
        """
        damaged = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, error = self.restore(step, like), None
            except _DamagedError as raised:
                error = raised
            if all_agree(error is None):
                for broken, text in damaged.items():
                    self._put_aside(broken)
                    say(f"warning: {text}. Going on after step {step} instead.")
                return state
            damaged[step] = error or self._damage(step, "another process could not read it")
        if damaged:
            raise CheckpointError(
                f"Expected a good checkpoint, got none: {'; '.join(map(str, damaged.values()))}. "
                "Restore the files from a copy, or train anew in another --workdir."
            )
        return None

    def _read(self, step, **items):
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # Orbax and its parts raise all kinds.
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise _DamagedError(self._damage(step, reason)) from error

    def _damage(self, step, reason):
        return f"the checkpoint {self._folder / str(step)} is damaged ({reason})"

    def _put_aside(self, step):
        aside = self._folder.with_name(f"damaged-{self._folder.name}")
        if is_primary():
            aside.mkdir(exist_ok=True)
            number = sum(1 for path in aside.iterdir() if path.name.split("-")[0] == str(step))
            (self._folder / str(step)).rename(aside / f"{step}-{number}")
        wait_for_all(f"put aside {step}")
        self._manager.reload()

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except Exception as error:  # Orbax and its parts raise all kinds.
            raise CheckpointError(
                f"Expected to write a checkpoint into {self._folder}, got: "
                f"{str(error).splitlines()[0][:300]}. Earlier checkpoints are as they were: free "
                "space or mend the folder, and go on with the same command."
            ) from error


def _describe(state) -> dict:
    """Returns {path of an array: [shape, dtype, CRC-32 of its bytes]}, as JSON reads it."""
    described = {}
    for path, leaf in jax.tree.leaves_with_path(state):
        array = np.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        described[name] = [list(array.shape), str(array.dtype), zlib.crc32(array.tobytes())]
    return described


def _check_structure(path, stored, expected):
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
