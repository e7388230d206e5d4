"""Batch normalisation with the statistics of torch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with the variables of flax's BatchNorm.

    Two things are not as in flax's. To the running variance it adds the sum of squares of a batch
    divided by its number of values n, torch divided by n - 1; in training both normalise by the
    former. And its E x^2 - (E x)^2 loses its digits where the mean is large; here the variance is
    the mean of (x - mean)^2, over several devices by one exchange in place of two:

      mean = mean_d m_d,  var = mean_d (v_d + (m_d - mean)^2)

    with m_d and v_d of device d alone, each of which has as many values (Chan, Golub and LeVeque,
    1979).

    Attributes:
      use_running_average: whether it normalises by the running statistics, as in evaluation.
      momentum: share of the running statistics that stays at an update.
      epsilon: is added to the variance.
      dtype: of the result; that of values and parameters together when None.
      axis_name: mapped axis over which the statistics are taken as well.
      unbiased: whether the running variance is that of torch; over several devices, n counts the
        values of all. One value alone adds 0, where torch refuses.
    """

    use_running_average: bool
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: Any = None
    axis_name: str | None = None
    unbiased: bool = True

    @nn.compact
    def __call__(self, x):
        """Normalises [..., C] by the statistics of each channel."""
        channels = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        if self.use_running_average:
            mean, var = running_mean.value, running_var.value
        else:
            axis_name = None if self.is_initializing() else self.axis_name
            mean, var, n = _statistics(x, axis_name)
            if not self.is_initializing():
                share = n / max(n - 1, 1) if self.unbiased else 1.0
                running_mean.value = self._moved(running_mean.value, mean)
                kept = self.momentum * running_var.value
                added = self._moved(running_var.value, var) - kept
                running_var.value = kept + added * share
        y = (x - mean) * (lax.rsqrt(var + self.epsilon) * scale) + bias
        return jnp.asarray(y, self.dtype or jnp.result_type(x, scale, bias))

    def _moved(self, running, new):
        return self.momentum * running + (1 - self.momentum) * new


def _statistics(x, axis_name):
    """Returns mean [C] and variance [C] of x [..., C] in float32, and the number of values."""
    x = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
    axes, n = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    mean = x.mean(axes)
    var = jnp.square(x - mean).mean(axes)
    if axis_name is None:
        return mean, var, n
    return *_merged(jnp.stack([mean, var]), axis_name), n * lax.axis_size(axis_name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _merged(own, axis_name):
    """Returns mean and variance [2, C] over all devices, from those of this device."""
    means, variances = jnp.moveaxis(lax.all_gather(own, axis_name), 1, 0)
    mean = means.mean(0)
    return jnp.stack([mean, (variances + jnp.square(means - mean)).mean(0)])


def _merged_forward(own, axis_name):
    merged = _merged(own, axis_name)
    return merged, own[0] - merged[0]


def _merged_backward(axis_name, apart, gradients):
    # Summed before it is multiplied: by itself JAX would exchange a row for each pair of devices.
    of_mean, of_var = lax.pmean(gradients, axis_name)
    return (jnp.stack([of_mean + 2 * apart * of_var, of_var]),)


_merged.defvjp(_merged_forward, _merged_backward)
