"""Batch normalisation with the statistics of torch."""

from flax import linen as nn
from jax import lax


class BatchNorm(nn.BatchNorm):
    """Flax's batch normalisation over all axes but the last, as torch has it.

    To the running variance flax adds the sum of squares of a batch divided by its number of values
    n, torch divided by n - 1; in training both normalise by the former. It is computed as the mean
    of (x - mean)^2, since flax's E x^2 - (E x)^2 loses its digits where the mean is large.

    Attributes:
      unbiased: whether the running variance is that of torch; over several devices, n counts the
        values of all. One value alone adds 0, where torch refuses.
    """

    use_fast_variance: bool = False
    unbiased: bool = True

    def __call__(self, x):
        """Normalises [..., C] by the statistics of each channel."""
        before = self.get_variable("batch_stats", "var")
        y = super().__call__(x)
        if self.unbiased and not (self.use_running_average or self.is_initializing()):
            devices = 1 if self.axis_name is None else lax.psum(1, self.axis_name)
            n = x.size // x.shape[-1] * devices
            kept = self.momentum * before
            added = self.get_variable("batch_stats", "var") - kept
            self.put_variable("batch_stats", "var", kept + added * (n / max(n - 1, 1)))
        return y
