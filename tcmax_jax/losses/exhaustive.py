"""TCMax for any head: exact, over all tuples, in blocks of bounded memory."""

import math

import jax.numpy as jnp

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import count, to_float32
from tcmax_jax.losses.terms import Measure, TCMaxTerms, evaluate_head, finish, stream_sums
from tcmax_jax.losses.tuples import (
    BLOCK_FLOATS,
    logsumexp_over_tuples,
    row_counts,
    with_partners,
)


def exhaustive_terms(head, features, labels, over: Measure, *, chunk_size=None) -> TCMaxTerms:
    """Returns the exact TCMax loss of any head, over all B^M tuples of the batch.

      loss_i = -F(z_i, y_i) + log B^-M sum_{(j_1 .. j_M), y} q(y) exp F((z_1[j_1] .. z_M[j_M]), y)

    Tuples are visited in blocks whose value and gradient are computed together, so memory is
    bounded by the block. A plain function is called on all B^M tuples; a `MultilinearHead` projects
    the B examples alone, and the tuples are contracted from those. On mapped devices each one
    visits the tuples that start in its own rows, so the work is shared.

    Args:
      head: see `tcmax_loss`, like the next two.
      features: {modality: [B, ...]}.
      labels: [B] integers.
      over: what the means go over.
      chunk_size: most tuples in one block; chosen from the shapes when None.
    """
    if chunk_size is not None:
        checks.check_positive_int(chunk_size, "chunk_size")
    _, where, axis_name = over
    scorer, logits, log_prior = evaluate_head(head, features, labels, over)
    rows, kept = with_partners(scorer.rows, where, axis_name)
    sizes = row_counts(kept)
    if chunk_size is None:
        tuple_floats = scorer.product_floats(sizes) / math.prod(sizes)
        chunk_size = max(1, math.floor(BLOCK_FLOATS / tuple_floats))

    def product_scores(rows):
        return to_float32(scorer.product(rows)) + jnp.expand_dims(log_prior, range(len(rows)))

    stream = logsumexp_over_tuples(product_scores, rows, kept, chunk_size)
    tuples = count(where, len(logits), axis_name, logits.dtype) ** len(rows)
    log_sum, log_squares = stream_sums(stream, axis_name)
    log_n = jnp.log(tuples)
    return finish(logits, labels, log_sum - log_n, log_squares - 2 * log_n, where, tuples=tuples)
