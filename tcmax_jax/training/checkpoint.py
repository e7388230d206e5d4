"""Checkpoints: the latest state and the best on validation (Orbax).

Nothing else of the project knows Orbax. A checkpoint is written whole or not at all.
"""

from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as keep

from tcmax_jax.training.state import TrainState

SELECTED_BY = "accuracy"


class Checkpoints:
    """The checkpoints of one run, by step; a context manager that waits for writes at its end."""

    def __init__(self, folder: Path):
        """Opens (or creates) the folder; remains of interrupted writes are removed."""

        def validation(metrics):
            return metrics[SELECTED_BY]

        # Both policies and best_fn: without the first the newest is deleted when it is not the
        # best, without the second best_step() is silently the latest.
        kept = [keep.LatestN(1), keep.BestN(get_metric_fn=validation, n=1, reverse=False)]
        self._manager = ocp.CheckpointManager(
            folder.resolve(),
            options=ocp.CheckpointManagerOptions(
                best_fn=validation,
                best_mode="max",
                preservation_policy=keep.AnyPreservationPolicy(kept),
                cleanup_tmp_directories=True,
            ),
        )

    def __enter__(self):
        """Returns itself."""
        return self

    def __exit__(self, *exception):
        """Waits for pending writes."""
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """Step of the latest checkpoint, None without one."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """Step of the checkpoint with the highest validation accuracy, None without one."""
        return self._manager.best_step()

    def save(self, state: TrainState, validation: dict) -> None:
        """Writes a checkpoint in the background.

        Args:
          state: the state on the host.
          validation: {metric: float}, among them the accuracy that selects the best.
        """
        self._manager.save(
            int(state.step), args=ocp.args.StandardSave(state), metrics=dict(validation)
        )

    def restore(self, step: int, like: TrainState) -> TrainState:
        """Returns the state of a step, on the host.

        Args:
          step: a step of which there is a checkpoint.
          like: a state of the same structure, shapes and dtypes.
        """
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like
        )
        return jax.device_get(self._manager.restore(step, args=ocp.args.StandardRestore(target)))
