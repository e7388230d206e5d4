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
    return jax_utils.replicate(state, devices)


def unreplicate(state):
    """Returns one copy of a replicated state, as NumPy arrays on the host."""
    return jax.device_get(jax_utils.unreplicate(state))


def shard(batch, devices):
    """Returns a batch of [B, ...] arrays as [devices, B / devices, ...]; B is their multiple."""
    return jax.tree.map(lambda x: x.reshape(len(devices), -1, *x.shape[1:]), batch)


def unshard(x):
    """Returns [devices, B / devices, ...] arrays as one NumPy array [B, ...]."""
    return np.asarray(x).reshape(-1, *x.shape[2:])


def first_copy(metrics):
    """Returns metrics that are equal on all devices, still on the device and not waited for."""
    return jax.tree.map(lambda x: x.addressable_data(0), metrics)
