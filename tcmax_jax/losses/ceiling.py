"""How large the bound can get on one batch."""

import jax.numpy as jnp

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import count, masked_mean
from tcmax_jax.losses.terms import log_label_prior


def tcmax_ceiling(
    labels, num_modalities, num_classes, *, label_prior=None, where=None, axis_name=None
):
    """Returns the largest value that -mean(loss) can take on a batch, for any head, in nats.

      ceiling = (M - 1) log n - (1/n) sum_i log q(y_i)

    which is log(n^(M - 1) C) for the uniform measure: the n true tuples are among the n^M C terms
    of the partition, so by Jensen's inequality it is at least exp(mean log(q(y_i) exp F_i)) /
    n^(M - 1). It holds for the exact forms; sampled tuples need not contain the true ones.

    Args:
      labels: [B] integers in 0 .. C - 1.
      num_modalities: M.
      num_classes: C.
      label_prior: [C] reference distribution of the label, uniform when None.
      where: [B] bool, False for rows to leave out; n is the number of valid rows of all devices.
      axis_name: name of the mapped axis that holds the rest of the batch.

    Returns:
      A float32 scalar, the same on every device.

    Example:
      >>> import jax.numpy as jnp
      >>> print(f"{tcmax_ceiling(jnp.arange(8) % 4, num_modalities=2, num_classes=4):.4f}")
      3.4657
    """
    checks.check_where(where, len(labels))
    checks.check_labels(labels, len(labels), num_classes, where)
    checks.check_label_prior(label_prior, num_classes)
    log_prior = log_label_prior(label_prior, num_classes, jnp.float32)
    seen = masked_mean(log_prior[jnp.asarray(labels, jnp.int32)], where=where, axis_name=axis_name)
    return (num_modalities - 1) * jnp.log(count(where, len(labels), axis_name)) - seen
