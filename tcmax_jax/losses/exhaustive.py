"""TCMax for any head: exact, over all tuples, in blocks of bounded memory."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import all_gather, count, logsumexp, to_float32
from tcmax_jax.losses.terms import evaluate_head, per_example

# Floats that one block of tuples holds as features and logits: 4 MiB, so that it stays in a cache.
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
    Tuples are visited in blocks whose logits are computed again in the backward pass, so memory is
    bounded by the block. Time is O(B^M) head evaluations; an `AdditiveHead` never needs that.

    Args:
      head: function {modality: [N, ...]} -> [N, C], row by row (no batch statistics).
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
    if chunk_size is not None:
        checks.check_positive_int(chunk_size, "chunk_size")
    features, logits, log_prior = evaluate_head(head, features, labels, where, label_prior)
    batch_size, num_classes = logits.shape
    valid = jnp.ones(batch_size, bool) if where is None else where
    first, *others = features
    factors = {first: features[first]} | {m: all_gather(features[m], axis_name) for m in others}
    masks = {first: valid} | {m: all_gather(valid, axis_name) for m in others}
    if chunk_size is None:
        row_floats = sum(z[0].size for z in factors.values()) + num_classes
        chunk_size = max(1, _BLOCK_FLOATS // row_floats)

    log_sum = _logsumexp_over_tuples(head, factors, masks, log_prior, chunk_size)
    log_rows = jnp.log(count(where, batch_size, axis_name, logits.dtype))
    log_partition = logsumexp(log_sum, axis_name=axis_name) - len(features) * log_rows
    return per_example(logits, labels, log_partition, where)


def _logsumexp_over_tuples(head, factors, masks, log_prior, chunk_size):
    """Log-sum-exp of head(tuple) + log_prior over the product of all factors' rows.

    Args:
      head: function {modality: [N, ...]} -> [N, C].
      factors: {modality: [n_m, ...]}, the rows that a tuple may take from each modality.
      masks: {modality: [n_m] bool}, the rows that count.
      log_prior: [C].
      chunk_size: most tuples in one block.

    Returns:
      [blocks] log-sum-exps, one for each block of tuples.
    """
    names = list(factors)
    shape = _block_shape([len(factors[m]) for m in names], chunk_size)
    rows = {m: _split_rows(factors[m], size) for m, size in zip(names, shape, strict=True)}
    kept = {m: _split_rows(masks[m], size) for m, size in zip(names, shape, strict=True)}
    grid = [len(rows[m]) for m in names]

    def spread(x, axis):
        """Repeats one modality's rows [r_m, ...] over a block, [r_1 * .. * r_M, ...]."""
        x = jnp.expand_dims(x, [i for i in range(len(shape)) if i != axis])
        x = jnp.broadcast_to(x, (*shape, *x.shape[len(shape) :]))
        return x.reshape(-1, *x.shape[len(shape) :])

    def block_logsumexp(block):
        at = dict(zip(names, jnp.unravel_index(block, grid), strict=True))
        tuples = {m: spread(rows[m][at[m]], axis) for axis, m in enumerate(names)}
        inside = [spread(kept[m][at[m]], axis) for axis, m in enumerate(names)]
        scores = to_float32(head(tuples)) + log_prior[None]
        return logsumexp(jnp.where(jnp.all(jnp.stack(inside), axis=0)[:, None], scores, -jnp.inf))

    if math.prod(grid) == 1:
        return block_logsumexp(0)[None]
    # Without the checkpoint the backward pass would keep every block's logits: B^M C floats.
    return lax.map(jax.checkpoint(block_logsumexp), jnp.arange(math.prod(grid)))


def _block_shape(sizes, chunk_size):
    """Returns how many rows of each modality form a block of at most `chunk_size` tuples.

    The last modalities are taken whole as far as they fit; blocks of one modality are of nearly
    equal size, so that little is padded.
    """
    shape = []
    for size in reversed(sizes):
        blocks = -(-size // min(size, chunk_size))
        shape.append(-(-size // blocks))
        chunk_size = max(1, chunk_size // shape[-1])
    return shape[::-1]


def _split_rows(x, size):
    """Cuts [n, ...] into blocks [ceil(n / size), size, ...], the last one padded with zeros."""
    padding = -len(x) % size
    x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(-1, size, *x.shape[1:])
