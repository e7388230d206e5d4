"""Terms that all forms of the TCMax loss share: the true tuple's score, the label prior."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import logsumexp, to_float32
from tcmax_jax.losses.heads import tuple_scorer


class Measure(NamedTuple):
    """The measure over which a loss takes its means.

    Attributes:
      label_prior: [C] reference distribution of the label; uniform when None.
      where: [B] bool, False for rows to leave out; None for none.
      axis_name: name of the mapped axis that holds the rest of the batch; None for none.
    """

    label_prior: Any = None
    where: Any = None
    axis_name: str | None = None


class TCMaxTerms(NamedTuple):
    """A TCMax loss with statistics of its partition function, the same on every device.

    Let w_t = q(y) exp F(t) / (number of tuples) over the pairs t of a tuple and a class that were
    visited (stratified draws: with the weight of the draw in place of 1 / number).

    Attributes:
      loss: [B] per-example losses in nats, 0 at masked rows; the only differentiable part.
      log_partition: log sum_t w_t, nats.
      effective_sample_size: (sum_t w_t)^2 / sum_t w_t^2, from 1 (one pair carries the whole
        gradient of the log-partition) to the number of pairs; 0 when no row is valid.
      tuples: number of tuples visited, B^M for the exact forms.
      standard_error: of log_partition, nats; 0 for the exact forms.
      logits: [B, C] scores of the true tuples, float32 or wider, zeros at masked rows' inputs.
    """

    loss: jax.Array
    log_partition: jax.Array
    effective_sample_size: jax.Array
    tuples: jax.Array
    standard_error: jax.Array
    logits: jax.Array


def finish(
    logits, labels, log_partition, log_squares, where, *, tuples, standard_error=0.0
) -> TCMaxTerms:
    """Combines scores of the true tuples and sums over all tuples into the terms of the loss.

    Args:
      logits: [B, C] scores of the true tuples, float32 or wider.
      labels: [B] integers.
      log_partition: log sum_t w_t over the tuples of all devices.
      log_squares: log sum_t w_t^2 over the same.
      where: [B] bool or None.
      tuples: number of tuples that all devices visited.
      standard_error: of the log-partition, nats.
    """
    nothing = jnp.isneginf(log_partition)
    ess = jnp.where(nothing, 0, jnp.exp(2 * log_partition - log_squares))
    loss = per_example(logits, labels, log_partition, where)
    diagnostics = (log_partition, ess, tuples, standard_error, logits)
    return TCMaxTerms(loss, *(lax.stop_gradient(jnp.asarray(x, logits.dtype)) for x in diagnostics))


def stream_sums(stream, axis_name):
    """Returns the two sums of a device's `Stream` over all devices, for `finish`."""
    return (
        logsumexp(stream.log_sum, axis_name=axis_name),
        logsumexp(stream.log_square_sum, axis_name=axis_name),
    )


def log_label_prior(label_prior, num_classes, dtype):
    """Returns the log of the label's reference measure, [C]; uniform when `label_prior` is None."""
    if label_prior is None:
        return jnp.full((num_classes,), -math.log(num_classes), dtype)
    return jnp.log(jnp.asarray(label_prior, dtype))


def evaluate_head(head, features, labels, over: Measure):
    """Checks the inputs of a loss that calls its head, and calls it on the true tuples.

    Args:
      head: an `AdditiveHead`, a `MultilinearHead`, or a function {modality: [N, ...]} -> [N, C].
      features: {modality: [B, ...]}.
      labels: [B] integers.
      over: what the means go over.

    Returns:
      (`TupleScorer` of the head and the features, masked rows zeroed; logits [B, C], float32 or
      wider; log of the label's reference measure, [C]).
    """
    batch_size = checks.check_features(features)
    checks.check_where(over.where, batch_size)
    features = {name: keep_valid(features[name], over.where) for name in sorted(features)}
    scorer = tuple_scorer(head, features)
    logits = scorer.score(scorer.rows)
    num_classes = checks.check_logits(logits, batch_size)
    checks.check_labels(labels, batch_size, num_classes, over.where)
    checks.check_label_prior(over.label_prior, num_classes)
    logits = to_float32(logits)
    return scorer, logits, log_label_prior(over.label_prior, num_classes, logits.dtype)


def keep_valid(x, where):
    """Returns `x`, [B, ...], with masked rows set to zero, so that none of their values leak."""
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
