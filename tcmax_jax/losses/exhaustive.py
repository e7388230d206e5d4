"""TCMax for any head: exact, over all tuples, in blocks of bounded memory."""

import math

import jax.numpy as jnp

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import count, to_float32
from tcmax_jax.losses.terms import Measure, TCMaxTerms, evaluate_head, finish, stream_sums
from tcmax_jax.losses.tuples import logsumexp_over_tuples, row_counts, with_partners

# Floats that one block of tuples may hold: 4 MiB, so that it stays in a cache.
_BLOCK_FLOATS = 2**20


def exhaustive_tcmax_loss(
    head,
    features,
    labels,
    *,
    chunk_size=None,
    label_prior=None,
    where=None,
    axis_name=None,
):
    """Exact TCMax loss of any head, over all B^M tuples of the batch.

      loss_i = -F(z_i, y_i) + log B^-M sum_{(j_1 .. j_M), y} q(y) exp F((z_1[j_1] .. z_M[j_M]), y)

    with F(z, y) = head(z)[y], z_m = features[m], y_i = labels[i], q = label_prior (uniform: 1/C).
    Tuples are visited in blocks whose value and gradient are computed together, so memory is
    bounded by the block. A plain function is called on all B^M tuples; a `MultilinearHead` projects
    the B examples alone, and the tuples are contracted from those.

    Args:
      head: function {modality: [N, ...]} -> [N, C], row by row (no batch statistics), or a head of
        `tcmax_jax.losses.heads`; an `AdditiveHead` is cheaper with `additive_tcmax_loss`.
      features: {modality: [B, ...]}, M >= 2 of them.
      labels: [B] integers in 0 .. C - 1.
      chunk_size: most tuples in one block; chosen from the shapes when None.
      label_prior: [C] reference distribution of the label, uniform when None.
      where: [B] bool, False for rows to leave out.
      axis_name: name of the mapped axis that holds the rest of the batch. Each device visits the
        tuples that start in its own rows, so the work is shared.

    Returns:
      [B] float32 (or wider) losses in nats, 0 at masked rows; the caller takes the mean.

    Raises:
      ValueError, TypeError: shapes, dtypes or labels do not fit; see `tcmax_jax.losses.checks`.

    Source: TCMax (arXiv 2602.13015), the objective over all tuples.

    Example:
      >>> import jax.numpy as jnp
      >>> z = {"audio": jnp.array([[1.0], [-1.0]]), "visual": jnp.array([[1.0], [-1.0]])}
      >>> gated = lambda z: jnp.concatenate([z["audio"] * z["visual"], -z["audio"]], axis=1)
      >>> print(exhaustive_tcmax_loss(gated, z, jnp.array([0, 0])))
      [-0.5662191 -0.5662191]
    """
    over = Measure(label_prior, where, axis_name)
    return exhaustive_terms(head, features, labels, over, chunk_size=chunk_size).loss


def exhaustive_terms(head, features, labels, over: Measure, *, chunk_size=None) -> TCMaxTerms:
    """Returns the loss of `exhaustive_tcmax_loss` and its partition function."""
    if chunk_size is not None:
        checks.check_positive_int(chunk_size, "chunk_size")
    _, where, axis_name = over
    scorer, logits, log_prior = evaluate_head(head, features, labels, over)
    rows, kept = with_partners(scorer.rows, where, axis_name)
    sizes = row_counts(kept)
    if chunk_size is None:
        tuple_floats = scorer.product_floats(sizes) / math.prod(sizes)
        chunk_size = max(1, math.floor(_BLOCK_FLOATS / tuple_floats))

    def product_scores(rows):
        return to_float32(scorer.product(rows)) + jnp.expand_dims(log_prior, range(len(rows)))

    stream = logsumexp_over_tuples(product_scores, rows, kept, chunk_size)
    tuples = count(where, len(logits), axis_name, logits.dtype) ** len(rows)
    log_sum, log_squares = stream_sums(stream, axis_name)
    log_n = jnp.log(tuples)
    return finish(logits, labels, log_sum - log_n, log_squares - 2 * log_n, where, tuples=tuples)
