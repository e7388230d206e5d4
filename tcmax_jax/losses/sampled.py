"""TCMax for any head: an estimate from a free number of sampled tuples."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import (
    all_gather,
    device_count,
    device_index,
    logsumexp,
    to_float32,
)
from tcmax_jax.losses.terms import evaluate_head, per_example


def sampled_tcmax_loss(
    head,
    features,
    labels,
    key,
    num_negatives,
    *,
    label_prior=None,
    where=None,
    axis_name=None,
):
    """TCMax loss with the partition function estimated from N sampled tuples.

      loss_i = -F(z_i, y_i) + log (1/N) sum_n sum_y q(y) exp F((z_1[j_n1] .. z_M[j_nM]), y)

    with F(z, y) = head(z)[y], z_m = features[m], y_i = labels[i], q = label_prior (uniform: 1/C),
    and j_nm drawn uniformly, with replacement, from the rows of the global batch. The mean inside
    the log is unbiased, so the loss lies below the exact one on average by about Var / (2 N) of the
    relative weights, and tends to it as N grows.

    Args:
      head: function {modality: [N, ...]} -> [N, C], row by row (no batch statistics).
      features: {modality: [B, ...]}, M >= 2 of them.
      labels: [B] integers in 0 .. C - 1.
      key: a PRNG key, the same on every device.
      num_negatives: N, the number of tuples (static); a choice of cost, not of the objective.
      label_prior: [C] reference distribution of the label, uniform when None.
      where: [B] bool, False for rows to leave out.
      axis_name: name of the mapped axis that holds the rest of the batch. The N tuples are shared
        out over the devices.

    Returns:
      [B] float32 (or wider) losses in nats, 0 at masked rows; the caller takes the mean.

    Raises:
      ValueError, TypeError: shapes, dtypes or labels do not fit; see `tcmax_jax.losses.checks`.

    Source: TCMax (arXiv 2602.13015), the sampled objective.
    """
    checks.check_positive_int(num_negatives, "num_negatives")
    features, logits, log_prior = evaluate_head(head, features, labels, where, label_prior)
    everything = {m: all_gather(z, axis_name) for m, z in features.items()}
    valid = None if where is None else all_gather(where, axis_name)
    global_size = len(labels) * device_count(axis_name)
    tuples = sample_tuples(key, num_negatives, len(features), global_size, where=valid)
    tuples, drawn = _device_share(tuples, axis_name)

    def energy(rows):
        picked = {m: z[row][None] for (m, z), row in zip(everything.items(), rows, strict=True)}
        return logsumexp(to_float32(head(picked))[0] + log_prior)

    energies = jnp.where(drawn, jax.vmap(energy)(tuples), -jnp.inf)
    log_partition = logsumexp(energies, axis_name=axis_name) - math.log(num_negatives)
    return per_example(logits, labels, log_partition, where)


def sample_tuples(key, num_negatives, num_modalities, batch_size, *, where=None):
    """Draws index tuples, uniformly and with replacement, each modality on its own.

    Args:
      key: a PRNG key.
      num_negatives: number of tuples N.
      num_modalities: number of modalities M.
      batch_size: number of rows B to draw from.
      where: [B] bool; only rows that are True are drawn.

    Returns:
      [N, M] int32 row indices. With `where` they equal the draws from the valid rows alone.
    """
    shape = (num_negatives, num_modalities)
    if where is None:
        return jax.random.randint(key, shape, 0, batch_size, jnp.int32)
    valid_rows_first = jnp.argsort(~where, stable=True)
    valid_rows = jnp.maximum(jnp.sum(where, dtype=jnp.int32), 1)
    return valid_rows_first[jax.random.randint(key, shape, 0, valid_rows, jnp.int32)]


def _device_share(tuples, axis_name):
    """Returns this device's part of the tuples, [ceil(N / devices), M], and which are real."""
    devices = device_count(axis_name)
    share = -(-len(tuples) // devices)
    padded = jnp.pad(tuples, [(0, share * devices - len(tuples)), (0, 0)])
    start = device_index(axis_name) * share
    drawn = start + jnp.arange(share) < len(tuples)
    return lax.dynamic_slice_in_dim(padded, start, share), drawn
