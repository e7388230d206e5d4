"""Writes checkpoints during training: the latest states and the best on validation.

Only this module and `checkpoint_reader` use Orbax. Checkpoints are written atomically.
"""

import contextlib
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy as keep

from tcmax_jax import digests
from tcmax_jax.space import lacking
from tcmax_jax.training.checkpoint_reader import (
    SELECTED_BY,
    STATE,
    CheckpointError,
    CheckpointReader,
    DamagedError,
    checksum,
    describe_arrays,
    reason_of,
)
from tcmax_jax.training.processes import (
    all_agree,
    is_primary,
    say,
    together,
    wait_for_all,
)
from tcmax_jax.training.state import TrainState

# Renamed first: a kill must not leave a part of one, which would look like damage.
_SUPERSEDED = "superseded"
_LATEST_KEPT = 2  # Of two, one is left where the other is damaged.


def check_room(folder: Path, state: TrainState) -> None:
    """Checks that the checkpoints of a run fit on the disk, with one more while it is written.

    Raises:
      CheckpointError: they do not.
    """
    more = max(_LATEST_KEPT + 2 - len(CheckpointReader(folder).steps), 1)
    if lack := lacking(folder, more * _bytes_of(state)):
        raise CheckpointError(
            f"Expected room for {more} checkpoints in {folder}, got {lack}. Free some, or choose "
            "another --workdir."
        )


def _bytes_of(state) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(state))


class Checkpoints(CheckpointReader):
    """Reads and writes the checkpoints of a run; a context manager that waits for pending writes.

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
        self._say, self._saving = say, None
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
                async_options=ocp.AsyncOptions(post_finalization_callback=self._note_files),
            ),
            item_handlers={
                STATE: ocp.StandardCheckpointHandler(),
                "about": ocp.JsonCheckpointHandler(),
            },
        )

    def __enter__(self):
        """Returns itself."""
        return self

    def __exit__(self, kind, error, trace):
        """Waits for pending writes; raises CheckpointError where one failed."""
        try:
            with self._writing():
                self._manager.close()
        except CheckpointError:
            if error is None:  # Otherwise what failed first says more.
                raise
        self._remove_superseded()

    def save(self, state: TrainState, validation: dict | None = None) -> None:
        """Writes a checkpoint in the background; an existing step stays unchanged.

        Args:
          state: the state on the host.
          validation: {metric: float}, among them the accuracy that selects the best; None between
            two validations.

        Raises:
          CheckpointError: an earlier write failed, or this one.
        """
        self.wait()  # as Orbax would
        self._remove_superseded()
        self._saving = int(state.step)
        about = {"arrays": describe_arrays(state), "validation": validation and dict(validation)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            about=ocp.args.JsonSave(about | {"checksum": checksum(about)}),
        )
        with self._writing(), _without_hints():
            with together():  # Orbax would say it in hundreds of lines.
                if is_primary() and (lack := lacking(self._folder, _bytes_of(state))):
                    raise OSError(lack)
            self._manager.save(self._saving, args=items, metrics=validation and dict(validation))

    def wait(self) -> None:
        """Waits for pending writes; raises CheckpointError where one failed."""
        with self._writing():
            self._manager.wait_until_finished()

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """Returns the latest undamaged state, None if there never was a checkpoint.

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
                    self._say(f"warning: {text}. Resuming after step {step} instead.")
                    if is_primary():
                        _put_aside(self._folder / str(broken))
                wait_for_all("damaged checkpoints are put aside")
                self._manager.reload()
                return state
            error = error or DamagedError(self._damage(step, "another process cannot read it"))
            if not all_agree(isinstance(error, DamagedError)):
                raise error
            damaged[step] = error
        if damaged:
            raise CheckpointError(
                f"Expected a good checkpoint, got none: {'; '.join(map(str, damaged.values()))}. "
                "Restore the files from a copy, or train again in another --workdir."
            )
        return None

    def _note_files(self):
        """Records the digests of a written checkpoint before it gets its final name."""
        if is_primary():
            for path in self._folder.glob(f"{self._saving}.orbax-checkpoint-tmp*"):
                # Not those of the folder itself, which Orbax writes last.
                files = (file for file in path.glob("*/**/*") if file.is_file())
                digests.remember(path, [str(file.relative_to(path)) for file in files])

    def _remove_superseded(self):
        if is_primary():
            shutil.rmtree(self._folder / _SUPERSEDED, ignore_errors=True)

    def _check_metrics(self):
        """Sets checkpoints with damaged metrics aside if training will repeat them; refuses others.

        Orbax could neither list them nor choose.
        """
        damaged = self._damaged()
        good = max(set(self.steps) - set(damaged), default=math.inf)
        for step, reason in damaged.items():
            if step < good:
                raise self._lost(step, reason)
            self._say(f"warning: {self._damage(step, reason)}. Moved to damaged-checkpoints.")
            _put_aside(self._folder / str(step))

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except Exception as error:  # Orbax and its parts raise all kinds.
            raise CheckpointError(
                f"Expected to write a checkpoint into {self._folder}, got: "
                f"{reason_of(error)}. Earlier checkpoints are as they were: free space or fix the "
                "folder, and resume with the same command."
            ) from error


@contextlib.contextmanager
def _without_hints():
    """Suppresses Orbax's warnings about checkpoints without metrics, between validations."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _put_aside(path):
    """Moves a checkpoint out of the folder of checkpoints."""
    aside = path.parents[1] / f"damaged-{path.parent.name}"
    aside.mkdir(exist_ok=True)
    number = len(list(aside.glob(f"{path.name}-*")))
    path.rename(aside / f"{path.name}-{number}")
