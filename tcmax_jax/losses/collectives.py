"""Reductions that span the batch: over the local rows and, with `axis_name`, over all devices.

Every function is the plain local one when `axis_name` is None. All are differentiable: compute the
global loss, differentiate it, then average the gradients over the devices with `lax.pmean`.
"""

import jax
import jax.numpy as jnp
from jax import lax


def all_sum(x, axis_name=None):
    """Returns `x` summed over the devices of `axis_name`."""
    return x if axis_name is None else lax.psum(x, axis_name)


def all_gather(x, axis_name=None):
    """Returns the rows of all devices: each array [B, ...] of `x` becomes [devices * B, ...]."""
    return x if axis_name is None else lax.all_gather(x, axis_name, tiled=True)


def device_index(axis_name=None):
    """Returns this device's position on `axis_name`, 0 without one."""
    return 0 if axis_name is None else lax.axis_index(axis_name)


def device_count(axis_name=None):
    """Returns the number of devices on `axis_name`, a Python int."""
    return 1 if axis_name is None else lax.axis_size(axis_name)


def logsumexp(x, axis=None, axis_name=None):
    """Log-sum-exp over `axis` of `x` and over the devices of `axis_name`.

    log sum_i exp x_i = m + log sum_i exp(x_i - m), with m the maximum over everything that is
    summed, so that logits of any size stay finite.

    Args:
      x: float array; entries of -inf add nothing.
      axis: axis or axes of `x` to reduce, all of them by default.
      axis_name: name of a mapped axis to reduce over too.

    Returns:
      The reduced array. Where there is nothing to add the value is -inf and the gradient is zero
      (not NaN, which `jax.nn.logsumexp` would give).
    """
    largest = lax.stop_gradient(jnp.max(x, axis=axis, keepdims=True))
    if axis_name is not None:
        largest = lax.pmax(largest, axis_name)
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    total = all_sum(jnp.sum(jnp.exp(x - largest), axis=axis), axis_name)
    empty = total == 0
    log_total = jnp.log(jnp.where(empty, 1, total)) + largest.reshape(total.shape)
    return jnp.where(empty, -jnp.inf, log_total)


def count(where, batch_size, axis_name=None, dtype=jnp.float32):
    """Returns the number of valid rows on all devices, at least 1, as a scalar."""
    rows = batch_size if where is None else jnp.sum(where)
    return jnp.maximum(all_sum(jnp.asarray(rows, dtype), axis_name), 1)


def masked_mean(values, *, where=None, axis_name=None):
    """Mean of per-example values over the valid rows of all devices.

    mean = sum_i where_i values_i / sum_i where_i, both sums over the whole global batch, so that
    uneven masks on the devices do not bias it. Differentiate this, then `lax.pmean` the gradients.

    Args:
      values: [B] per-example losses, for instance of `tcmax_loss`.
      where: [B] bool, False for padding; all rows count when None.
      axis_name: name of the mapped axis that holds the rest of the batch.

    Returns:
      A float32 (or wider) scalar, the same on every device; 0 when no row is valid.

    Example:
      >>> import jax.numpy as jnp
      >>> float(masked_mean(jnp.array([1.0, 2.0, 9.0]), where=jnp.array([True, True, False])))
      1.5
    """
    values = to_float32(values)
    kept = values if where is None else jnp.where(where, values, 0)
    total = all_sum(jnp.sum(kept), axis_name)
    return total / count(where, len(values), axis_name, values.dtype)


def to_float32(x):
    """Returns `x` in float32, unchanged if it is a wider float."""
    return jnp.asarray(x, wide_dtype(jnp.result_type(x)))


def wide_dtype(dtype):
    """Returns `dtype` if it is a float of at least 32 bits, float32 otherwise."""
    wide = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 32
    return dtype if wide else jnp.float32


def is_traced(x):
    """Returns whether the values of `x` are unknown at this point (inside jit, grad, vmap, ..)."""
    return isinstance(x, jax.core.Tracer)
