"""The two terms of every TCMax loss: the score of the true pair, and the reference measure."""

import math

import jax.numpy as jnp

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import to_float32


def log_label_prior(label_prior, num_classes, dtype):
    """Returns the log of the label's reference measure, [C]; uniform when `label_prior` is None."""
    if label_prior is None:
        return jnp.full((num_classes,), -math.log(num_classes), dtype)
    return jnp.log(jnp.asarray(label_prior, dtype))


def evaluate_head(head, features, labels, where, label_prior):
    """Checks the inputs of a loss that calls its head, and calls it on the true tuples.

    Args:
      head: function {modality: [N, ...]} -> [N, C].
      features: {modality: [B, ...]}.
      labels: [B] integers.
      where: [B] bool or None.
      label_prior: [C] or None.

    Returns:
      (features with the masked rows zeroed, in the order of their names; logits [B, C], float32 or
      wider; log of the label's reference measure, [C]).
    """
    batch_size = checks.check_features(features)
    checks.check_where(where, batch_size)
    features = {name: keep_valid(features[name], where) for name in sorted(features)}
    logits = head(features)
    num_classes = checks.check_logits(logits, batch_size)
    checks.check_labels(labels, batch_size, num_classes, where)
    checks.check_label_prior(label_prior, num_classes)
    logits = to_float32(logits)
    return features, logits, log_label_prior(label_prior, num_classes, logits.dtype)


def keep_valid(x, where):
    """Returns `x`, [B, ...], with the masked rows zeroed, so that nothing in them can leak."""
    x = jnp.asarray(x)
    if where is None:
        return x
    return jnp.where(where.reshape(where.shape + (1,) * (x.ndim - 1)), x, 0)


def per_example(logits, labels, log_partition, where):
    """Returns loss_i = log_partition - F(z_i, y_i), [B].

    Args:
      logits: [B, C] scores F of the true tuples, float32 or wider.
      labels: [B] integers; an impossible one gives NaN.
      log_partition: scalar, the log-mean-exp of F over all tuples and labels.
      where: [B] bool or None; masked rows give 0.
    """
    num_classes = logits.shape[-1]
    labels = jnp.asarray(labels, jnp.int32)  # in a narrow type num_classes itself may not fit
    possible = (labels >= 0) & (labels < num_classes)
    row = jnp.where(possible, labels, 0)[:, None]
    positive = jnp.take_along_axis(logits, row, axis=1)[:, 0]
    loss = log_partition - jnp.where(possible, positive, jnp.nan)
    return loss if where is None else jnp.where(where, loss, 0)
