"""The one place that maps over devices."""

import functools

import jax
import numpy as np
from flax import jax_utils

AXIS_NAME = "batch"


def map_train_step(step, devices):
    """Returns `step` (state, batch) -> (state, metrics) over devices; the state is donated.

    Args:
      step: a pure function that takes `axis_name`.
      devices: local devices; the state is replicated, the batch sharded over them.
    """
    step = functools.partial(step, axis_name=AXIS_NAME)
    return jax.pmap(step, axis_name=AXIS_NAME, donate_argnums=0, devices=devices)


def map_encode_step(step, devices):
    """Returns `step` (state, inputs) -> features over devices, row by row."""
    return jax.pmap(step, axis_name=AXIS_NAME, devices=devices)


def replicate(state, devices):
    """Returns a copy of the state on every device."""
    # The sharding has to be that of the step's own output, or the second step compiles again.
    return jax_utils.replicate(state, devices, axis_name=AXIS_NAME)


def unreplicate(state):
    """Returns one copy of a replicated state, as NumPy arrays on the host."""
    return jax.tree.map(_first_copy, state)


def shard(batch, devices):
    """Returns a batch of [B, ...] arrays as [devices, B / devices, ...]; B is their multiple."""
    return jax.tree.map(lambda x: x.reshape(len(devices), -1, *x.shape[1:]), batch)


def put(batch, devices):
    """Starts moving a batch of [B, ...] arrays to the devices; returns what `shard` does, there."""
    # Made of a plain mesh: pmap refuses the explicit axes that jax.make_mesh gives.
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS_NAME,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS_NAME))
    return jax.device_put(shard(batch, devices), sharding)


def unshard(x):
    """Returns [devices, B / devices, ...] arrays as one NumPy array [B, ...]."""
    return np.asarray(x).reshape(-1, *x.shape[2:])


def scalars(metrics):
    """Returns the scalars that are equal on all devices as {name: float}; waits for them."""
    return {name: _first_copy(value).item() for name, value in metrics.items()}


def _first_copy(x):
    # Not x[0], which runs a program on the device and is a thousand times slower.
    return np.asarray(x.addressable_data(0)).reshape(x.shape[1:])
