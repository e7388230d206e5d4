"""TCMax for any head: as many sampled tuples as a target accuracy takes."""

import math

import jax.numpy as jnp

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import all_gather, device_count, device_index
from tcmax_jax.losses.draws import draw_shuffles, stratified_tuples
from tcmax_jax.losses.sampled import score_tuples
from tcmax_jax.losses.streaming import stream_logsumexp
from tcmax_jax.losses.terms import TCMaxTerms, evaluate_head, finish, stream_sums

TARGET_ERROR = 0.05
MAX_NEGATIVES = 2**16
# Passes from which the spread between passes is first estimated.
_MIN_PASSES = 8


def adaptive_tcmax_loss(
    head,
    features,
    labels,
    key,
    *,
    target_error=TARGET_ERROR,
    max_negatives=MAX_NEGATIVES,
    label_prior=None,
    where=None,
    axis_name=None,
):
    """TCMax loss from as many sampled tuples as its log-partition takes to be known well enough.

      loss_i = -F(z_i, y_i) + log (1/K) sum_k w_k,
      w_k = (1/n) sum_{n tuples j of pass k} sum_y q(y) exp F((z_1[j_1] .. z_M[j_M]), y)

    A pass uses each of the n rows of every modality once and no tuple comes twice
    (`sampled_tcmax_loss` with `stratified`). Passes are added until the standard error of the log,

      s = (sd(w_k) / mean(w_k)) sqrt((1/K - 1/n^(M-1))),

    falls to the target or nothing is left to sample; the loss is then low by s^2 / 2 on average.
    Early in training all tuples weigh the same and the least number of passes (8) does; later the
    number follows the spread of the weights. After n^(M-1) passes the loss is exact. Value and
    gradient are computed together, pass by pass, in memory of one pass.

    Args:
      head: function {modality: [N, ...]} -> [N, C], row by row (no batch statistics), or a head of
        `tcmax_jax.losses.heads`.
      features: {modality: [B, ...]}, M >= 2 of them.
      labels: [B] integers in 0 .. C - 1.
      key: a PRNG key, the same on every device.
      target_error: s in nats at which to stop. The default, 0.05, is far below the spread of the
        loss from batch to batch, and needs no tuning.
      max_negatives: most tuples to sample, over all devices (static), whatever the error.
      label_prior: [C] reference distribution of the label, uniform when None.
      where: [B] bool, False for rows to leave out.
      axis_name: name of the mapped axis that holds the rest of the batch. Each device takes every
        D-th pass; all stop together.

    Returns:
      [B] float32 (or wider) losses in nats, 0 at masked rows; the caller takes the mean. Number of
      tuples and standard error: see `tcmax_terms`.

    Raises:
      ValueError, TypeError: shapes, dtypes, labels or the target do not fit.

    Source: an answer to the question that TCMax (arXiv 2602.13015) leaves open, how many negatives
    to sample; worked out here.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> z = {"audio": jnp.array([[1.0], [-1.0]]), "visual": jnp.array([[1.0], [-1.0]])}
      >>> gated = lambda z: jnp.concatenate([z["audio"] * z["visual"], -z["audio"]], axis=1)
      >>> print(adaptive_tcmax_loss(gated, z, jnp.array([0, 0]), jax.random.key(0)))
      [-0.5662191 -0.5662191]
    """
    return adaptive_terms(
        head,
        features,
        labels,
        key,
        target_error=target_error,
        max_negatives=max_negatives,
        label_prior=label_prior,
        where=where,
        axis_name=axis_name,
    ).loss


def adaptive_terms(
    head,
    features,
    labels,
    key,
    *,
    target_error,
    max_negatives,
    label_prior,
    where,
    axis_name,
) -> TCMaxTerms:
    """Returns the loss of `adaptive_tcmax_loss` (same arguments) and its partition function."""
    checks.check_positive(target_error, "target_error")
    checks.check_positive_int(max_negatives, "max_negatives")
    parts, logits, log_prior = evaluate_head(head, features, labels, where, label_prior)
    rows = all_gather(parts.rows, axis_name)
    valid = None if where is None else all_gather(where, axis_name)
    devices, device = device_count(axis_name), device_index(axis_name)
    global_size = len(labels) * devices
    shuffles = draw_shuffles(key, len(rows), global_size, where=valid)
    n = shuffles.valid_rows
    all_passes = n.astype(logits.dtype) ** (len(rows) - 1)

    def block_scores(block, rows):
        turn = block * devices + device
        position = jnp.arange(global_size, dtype=jnp.int32)
        tuples = stratified_tuples(shuffles, turn * n + position % n)
        scores = score_tuples(parts.tuples, rows, tuples, log_prior)
        real = (position < n) & (turn.astype(all_passes.dtype) < all_passes)
        return jnp.where(real[:, None], scores, -jnp.inf)

    def enough(pass_log_sums, visited):
        passes, error = _standard_error(pass_log_sums, visited * devices, all_passes, axis_name)
        return (passes >= _MIN_PASSES) & (error <= target_error) | (passes >= all_passes)

    most_passes = min(math.ceil(max_negatives / global_size), global_size ** (len(rows) - 1))
    stream = stream_logsumexp(block_scores, -(-most_passes // devices), rows, enough=enough)
    passes, error = _standard_error(
        stream.block_log_sums, stream.visited * devices, all_passes, axis_name
    )
    sums = stream_sums(stream, axis_name)
    return finish(
        logits, labels, sums, where, tuples=passes * n.astype(passes.dtype), standard_error=error
    )


def _standard_error(pass_log_sums, visited, all_passes, axis_name):
    """Returns (number of passes made, standard error of the log of the mean over them in nats).

    Args:
      pass_log_sums: [blocks] log-sums of this device's passes, -inf for those not made.
      visited: number of passes that all devices have been through, some of them empty.
      all_passes: number of different passes that there are.
      axis_name: name of the mapped axis over devices, or None.
    """
    passes = jnp.minimum(visited.astype(all_passes.dtype), all_passes)
    log_sums = all_gather(pass_log_sums, axis_name)
    weights = jnp.exp(log_sums - jnp.maximum(jnp.max(log_sums), jnp.finfo(log_sums.dtype).min))
    mean = jnp.sum(weights) / jnp.maximum(passes, 1)
    spread = jnp.sum(jnp.where(weights > 0, weights - mean, 0) ** 2)
    variance = spread / jnp.maximum(passes - 1, 1) * (1 / jnp.maximum(passes, 1) - 1 / all_passes)
    error = jnp.sqrt(jnp.maximum(variance, 0)) / jnp.where(mean > 0, mean, 1)
    return passes, error
