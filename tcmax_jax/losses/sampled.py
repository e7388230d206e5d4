"""TCMax for any head: an estimate from a free number of sampled tuples."""

import jax
import jax.numpy as jnp

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import (
    all_gather,
    device_count,
    device_index,
    logsumexp,
    to_float32,
)
from tcmax_jax.losses.draws import draw_shuffles, independent_tuples, stratified_tuples
from tcmax_jax.losses.terms import TCMaxTerms, evaluate_head, finish


def sampled_tcmax_loss(
    head,
    features,
    labels,
    key,
    num_negatives,
    *,
    stratified=True,
    label_prior=None,
    where=None,
    axis_name=None,
):
    """TCMax loss with the partition function estimated from N sampled tuples.

      loss_i = -F(z_i, y_i) + log (1/N) sum_n sum_y q(y) exp F((z_1[j_n1] .. z_M[j_nM]), y)

    with F(z, y) = head(z)[y], z_m = features[m], y_i = labels[i], q = label_prior (uniform: 1/C),
    and tuples j_n of the global batch's rows. The mean inside the log is unbiased, so the loss lies
    below the exact one on average by about half the variance of its log, and tends to it with N.

    Args:
      head: function {modality: [N, ...]} -> [N, C], row by row (no batch statistics), or a head of
        `tcmax_jax.losses.heads`.
      features: {modality: [B, ...]}, M >= 2 of them.
      labels: [B] integers in 0 .. C - 1.
      key: a PRNG key, the same on every device.
      num_negatives: N, the number of tuples (static); a choice of cost, not of the objective.
      stratified: True uses all rows equally often and no tuple twice, for less variance at the same
        N and the exact loss at N = B^M; False draws each tuple independently, as in the paper.
      label_prior: [C] reference distribution of the label, uniform when None.
      where: [B] bool, False for rows to leave out.
      axis_name: name of the mapped axis that holds the rest of the batch. The N tuples are shared
        out over the devices.

    Returns:
      [B] float32 (or wider) losses in nats, 0 at masked rows; the caller takes the mean.

    Raises:
      ValueError, TypeError: shapes, dtypes or labels do not fit; see `tcmax_jax.losses.checks`.

    Source: TCMax (arXiv 2602.13015), the sampled objective; the stratified draws are added here.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> z = {"audio": jnp.array([[1.0], [-1.0]]), "visual": jnp.array([[1.0], [-1.0]])}
      >>> gated = lambda z: jnp.concatenate([z["audio"] * z["visual"], -z["audio"]], axis=1)
      >>> print(sampled_tcmax_loss(gated, z, jnp.array([0, 0]), jax.random.key(0), 4))
      [-0.5662191 -0.5662191]
    """
    return sampled_terms(
        head,
        features,
        labels,
        key,
        num_negatives,
        stratified=stratified,
        label_prior=label_prior,
        where=where,
        axis_name=axis_name,
    ).loss


def sampled_terms(
    head, features, labels, key, num_negatives, *, stratified, label_prior, where, axis_name
) -> TCMaxTerms:
    """Returns the loss of `sampled_tcmax_loss` (same arguments) and its partition function.

    The standard error is that of independent draws; stratified ones are a little better.
    """
    checks.check_positive_int(num_negatives, "num_negatives")
    parts, logits, log_prior = evaluate_head(head, features, labels, where, label_prior)
    rows = all_gather(parts.rows, axis_name)
    valid = None if where is None else all_gather(where, axis_name)
    global_size = len(labels) * device_count(axis_name)

    share = -(-num_negatives // device_count(axis_name))
    numbers = device_index(axis_name) * share + jnp.arange(share, dtype=jnp.int32)
    if stratified:
        shuffles = draw_shuffles(key, len(rows), global_size, where=valid)
        tuples = stratified_tuples(shuffles, numbers)
    else:
        tuples = independent_tuples(key, num_negatives, len(rows), global_size, where=valid)
        tuples = tuples[jnp.minimum(numbers, num_negatives - 1)]

    scores = score_tuples(parts.tuples, rows, tuples, log_prior)
    scores = jnp.where((numbers < num_negatives)[:, None], scores, -jnp.inf)
    log_sum = logsumexp(scores, axis_name=axis_name)
    log_square_sum = logsumexp(2 * scores, axis_name=axis_name)
    log_squares_of_tuples = logsumexp(2 * logsumexp(scores, axis=1), axis_name=axis_name)
    variance = jnp.exp(log_squares_of_tuples - 2 * log_sum) - 1 / num_negatives
    return finish(
        logits,
        labels,
        (log_sum, log_square_sum),
        where,
        tuples=num_negatives,
        standard_error=jnp.sqrt(jnp.maximum(variance, 0)),
    )


def score_tuples(head, rows, tuples, log_prior):
    """Returns head(tuple) + log_prior for each index tuple, [N, C].

    Args:
      head: function {modality: pytree of [N, ...]} -> [N, C].
      rows: {modality: pytree of [B, ...]}.
      tuples: [N, M] row indices.
      log_prior: [C].
    """

    def score(indices):
        picked = {
            m: jax.tree.map(lambda x, i=i: x[i][None], rows[m])
            for m, i in zip(rows, indices, strict=True)
        }
        return to_float32(head(picked))[0] + log_prior

    return jax.vmap(score)(tuples)
