"""All tuples of the rows of several modalities, in blocks of bounded memory."""

import functools
import math

import jax
import jax.numpy as jnp

from tcmax_jax.losses.collectives import all_gather, logsumexp
from tcmax_jax.losses.heads import along
from tcmax_jax.losses.streaming import Stream, stream_logsumexp

# Floats that one block of tuples may hold: 4 MiB, so that it stays in a cache.
BLOCK_FLOATS = 2**20


def logsumexp_over_tuples(product_scores, rows, kept, chunk_size) -> Stream:
    """Log-sum-exp of the scores of every tuple in the product of all modalities' rows.

    Args:
      product_scores: function {modality: pytree of [r_m, ...]} -> [r_1, .., r_M, C], the scores of
        all tuples of some rows, float32 or wider.
      rows: {modality: pytree of [n_m, ...]}, the rows that a tuple may take from each modality.
      kept: {modality: [n_m] bool}, those that count.
      chunk_size: most tuples in one block.
    """
    sizes = row_counts(kept)
    shape = dict(zip(rows, _block_shape(sizes, chunk_size), strict=True))
    operands = {
        m: jax.tree.map(lambda x, size=shape[m]: split_rows(x, size), (rows[m], kept[m]))
        for m in rows
    }
    grid = [-(-size // shape[m]) for m, size in zip(rows, sizes, strict=True)]

    def block_scores(block, operands):
        at = dict(zip(operands, jnp.unravel_index(block, grid), strict=True))
        picked = {m: jax.tree.map(lambda x, i=at[m]: x[i], operands[m]) for m in operands}
        scores = product_scores({m: values for m, (values, _) in picked.items()})
        inside = [along(mask, axis, len(picked)) for axis, (_, mask) in enumerate(picked.values())]
        return jnp.where(functools.reduce(jnp.logical_and, inside)[..., None], scores, -jnp.inf)

    num_blocks = math.prod(grid)
    if num_blocks > 1:
        return stream_logsumexp(block_scores, num_blocks, operands)
    scores = block_scores(0, operands)
    log_sum = logsumexp(scores)
    return Stream(log_sum, logsumexp(2 * scores), log_sum[None], jnp.int32(1))


def with_partners(rows, where, axis_name):
    """Adds the rows of all devices to every modality but the first.

    So each device forms the tuples that start in its own rows, and the work is shared.

    Args:
      rows: {modality: pytree of [B, ...]}.
      where: [B] bool, the rows that count; all of them if None.
      axis_name: name of the mapped axis over devices, or None.

    Returns:
      (rows, kept), {modality: pytree of [n_m, ...]} and {modality: [n_m] bool}.
    """
    first, *others = rows
    if where is None:
        where = jnp.ones(len(jax.tree.leaves(rows)[0]), bool)
    everything = all_gather({m: rows[m] for m in others}, axis_name)
    valid = all_gather(where, axis_name)
    return {first: rows[first]} | everything, {first: where} | dict.fromkeys(others, valid)


def row_counts(kept):
    """Returns the number of rows of each modality, masked ones included."""
    return [len(mask) for mask in kept.values()]


def _block_shape(sizes, chunk_size):
    """Returns the number of rows of each modality in a block of at most `chunk_size` tuples.

    The last modalities are taken whole as far as they fit; blocks of one modality are of nearly
    equal size, so that little is padded.
    """
    shape = []
    for size in reversed(sizes):
        blocks = -(-size // min(size, chunk_size))
        shape.append(-(-size // blocks))
        chunk_size = max(1, chunk_size // shape[-1])
    return shape[::-1]


def split_rows(x, size):
    """Returns [n, ...] as blocks [ceil(n / size), size, ...], the last one padded with zeros."""
    # Of shapes alone, which an exported function may not know as numbers.
    blocks = -(-x.shape[0] // size)
    padding = jnp.zeros((blocks * size - x.shape[0], *x.shape[1:]), x.dtype)
    return jnp.concatenate([x, padding]).reshape(blocks, size, *x.shape[1:])
