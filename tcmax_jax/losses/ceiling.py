"""Upper limits of the TCMax bound on one batch."""

import jax
import jax.numpy as jnp
from jax import lax

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import count, logsumexp, masked_mean, to_float32
from tcmax_jax.losses.terms import log_label_prior


def tcmax_ceiling(
    labels, num_modalities, num_classes, *, label_prior=None, where=None, axis_name=None
):
    """Returns the largest value that -mean(loss) can take on a batch, for any head, in nats.

      ceiling = (M - 1) log n - (1/n) sum_i log q(y_i)

    which is log(n^(M - 1) C) for the uniform measure: the n true tuples are among the n^M C terms
    of the partition, so by Jensen's inequality it is at least exp(mean log(q(y_i) exp F_i)) /
    n^(M - 1). It holds for the exact forms; see `sampled_tcmax_ceiling` for sampled tuples.

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


def sampled_tcmax_ceiling(
    logits,
    labels,
    log_partition,
    num_modalities,
    *,
    label_prior=None,
    where=None,
    axis_name=None,
):
    """Returns an upper limit of -mean(loss) of sampled tuples, in nats.

      tcmax_ceiling + log(1 + exp(P - L)),   P = log n^-M sum_i sum_y q(y) exp F(z_i, y)

    with P the part that the true tuples have in the partition of all tuples, and L that of the
    sampled ones. Where no true tuple is sampled a head can raise their scores alone, and no number
    is above -mean(loss) of all heads. This one depends on the head: mean F(z_i, y_i) - P is at most
    the ceiling whatever is sampled, so -mean(loss) = mean F - L is at most ceiling + P - L.

    Added to mean(loss) it gives mean(loss) + ceiling with log(exp L + exp P) in place of L: what is
    left for the loss to fall if the true tuples count in full, whether or not they were drawn.
    Where they were, they count twice, which adds log 2 at most.

    Args:
      logits: [B, C], F at the true tuples.
      labels: [B] integers in 0 .. C - 1.
      log_partition: L, that of `TCMaxTerms`.
      num_modalities: M.
      label_prior: [C] reference distribution of the label, uniform when None.
      where: [B] bool, False for rows to leave out.
      axis_name: name of the mapped axis that holds the rest of the batch.

    Returns:
      A float32 (or wider) scalar without gradient, the same on every device.

    Example:
      >>> import jax.numpy as jnp
      >>> logits = 20 * jnp.eye(4)  # and 0 at all the tuples sampled: L = 0
      >>> print(f"{sampled_tcmax_ceiling(logits, jnp.arange(4), 0.0, num_modalities=2):.2f}")
      20.00
    """
    logits = lax.stop_gradient(to_float32(logits))
    num_classes = checks.check_logits(logits, len(labels))
    shared = {"label_prior": label_prior, "where": where, "axis_name": axis_name}
    ceiling = tcmax_ceiling(labels, num_modalities, num_classes, **shared)
    scores = logits + log_label_prior(label_prior, num_classes, logits.dtype)
    if where is not None:
        scores = jnp.where(where[:, None], scores, -jnp.inf)
    rows = count(where, len(labels), axis_name)
    log_true = logsumexp(scores, axis_name=axis_name) - num_modalities * jnp.log(rows)
    # Without a valid row both are -inf.
    ratio = jnp.where(jnp.isneginf(log_true), -jnp.inf, log_true - log_partition)
    return ceiling + jax.nn.softplus(lax.stop_gradient(ratio))
