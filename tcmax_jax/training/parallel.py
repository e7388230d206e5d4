"""Mapping of steps over devices, of this process and of all others.

Two classes give the same numbers: `Pmap`, whose arrays have a leading axis of devices, and
`ShardMap` (jit of shard_map), whose arrays are global. A step is a pure function that takes
`axis_name`; it receives its device's rows of the batch and the whole state.
"""

import functools
from collections.abc import Sequence

import jax
import numpy as np
from flax import jax_utils

AXIS_NAME = "batch"
_WHOLE, _ROWS = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(AXIS_NAME)


class _Devices:
    """Some or all devices of all processes; each process holds its own rows of a batch.

    The rows of the global batch are those of the first process, of the second, and so on.
    """

    def __init__(self, devices: Sequence[jax.Device] | None = None):
        """Takes devices of all processes, equally many of each; all devices when None."""
        # By process: global rows are those of the first process, of the second, and so on.
        self.devices = sorted(devices or jax.devices(), key=lambda d: (d.process_index, d.id))
        self.local = [d for d in self.devices if d.process_index == jax.process_index()]

    def first(self, tree):
        """Returns one copy of arrays that are equal on all devices, in NumPy; waits for it."""
        return jax.tree.map(self._first, tree)

    def scalars(self, metrics):
        """Returns scalars that are equal on all devices as {name: float}; waits for them."""
        return {name: self._first(value).item() for name, value in metrics.items()}


class Pmap(_Devices):
    """Maps with `jax.pmap`."""

    def train_step(self, step):
        """Returns `step` (state, batch, key) -> (state, metrics) over devices; donates state."""
        step = functools.partial(step, axis_name=AXIS_NAME)
        return jax.pmap(step, axis_name=AXIS_NAME, donate_argnums=0, devices=self.devices)

    def encode_step(self, step):
        """Returns `step` (state, inputs) -> features over devices, row by row."""
        return jax.pmap(step, axis_name=AXIS_NAME, devices=self.devices)

    def replicate(self, state):
        """Returns a copy of a host state on every device."""
        # The sharding has to be that of the step's own output, or the second step compiles again.
        return jax_utils.replicate(state, self.local, axis_name=AXIS_NAME)

    def put(self, batch):
        """Starts moving this process's [B, ...] arrays to its devices, [devices, B / devices]."""
        parts = jax.tree.map(lambda x: x.reshape(len(self.local), -1, *x.shape[1:]), batch)
        return jax.device_put(parts, _sharding(self.local, AXIS_NAME))

    def replicated_shapes(self, shapes):
        """Returns the shapes after `replicate`, with the devices of all processes first."""
        number = len(self.devices)
        return jax.tree.map(lambda x: _shape((number, *x.shape), x), shapes)

    def put_shapes(self, shapes):
        """Returns the shapes after `put` of a global batch, with all processes' devices first."""
        number = len(self.devices)
        return jax.tree.map(
            lambda x: _shape((number, x.shape[0] // number, *x.shape[1:]), x), shapes
        )

    def rows(self, tree):
        """Returns this process's rows of the result of a step, as NumPy arrays."""
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)

    def _first(self, x):
        # Not x[0], which runs a program on the device and is a thousand times slower.
        return np.asarray(x.addressable_data(0)).reshape(x.shape[1:])


class ShardMap(_Devices):
    """Maps with `jax.jit` and `jax.shard_map`."""

    def train_step(self, step):
        """Returns `step` (state, batch, key) -> (state, metrics) over devices; donates state."""
        step = functools.partial(step, axis_name=AXIS_NAME)
        mapped = self._map(step, (_WHOLE, _ROWS, _WHOLE), (_WHOLE, _WHOLE))
        return jax.jit(mapped, donate_argnums=0)

    def encode_step(self, step):
        """Returns `step` (state, inputs) -> features over devices, row by row."""
        return jax.jit(self._map(step, (_WHOLE, _ROWS), _ROWS))

    def replicate(self, state):
        """Returns a copy of a host state on every device."""
        return self._global(state, ())

    def put(self, batch):
        """Starts moving this process's rows to its devices; returns the global arrays."""
        return self._global(batch, (AXIS_NAME,))

    def replicated_shapes(self, shapes):
        """Returns the shapes after `replicate`."""
        return self._global_shapes(shapes, ())

    def put_shapes(self, shapes):
        """Returns the shapes after `put` of a global batch."""
        return self._global_shapes(shapes, (AXIS_NAME,))

    def rows(self, tree):
        """Returns this process's rows of the result of a step, as NumPy arrays."""

        def local(x):
            shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
            return np.concatenate([np.asarray(shard.data) for shard in shards])

        return jax.tree.map(local, tree)

    def _first(self, x):
        return np.asarray(x.addressable_data(0))

    def _map(self, step, in_specs, out_specs):
        # check_vma would reduce gradients by itself, and the step does so: see `Step.reduce`.
        return jax.shard_map(
            step,
            mesh=_sharding(self.devices).mesh,
            in_specs=in_specs,
            out_specs=out_specs,
            check_vma=False,
        )

    def _global(self, tree, spec):
        sharding = _sharding(self.devices, *spec)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
        )

    def _global_shapes(self, shapes, spec):
        sharding = _sharding(self.devices, *spec)
        return jax.tree.map(lambda x: _shape(x.shape, x, sharding=sharding), shapes)


Parallel = Pmap | ShardMap
KINDS = {"pmap": Pmap, "shard_map": ShardMap}


def _shape(shape, like, **options):
    return jax.ShapeDtypeStruct(shape, like.dtype, **options)


def _sharding(devices, *spec):
    # Made of a plain mesh: pmap refuses the explicit axes that jax.make_mesh gives.
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS_NAME,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
