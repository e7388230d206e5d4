"""Which tuples to sample: independent draws, or shuffles that use every row equally often."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


def independent_tuples(key, num_negatives, num_modalities, batch_size, *, where=None):
    """Draws index tuples uniformly and with replacement, each modality on its own.

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
    return valid_rows_first[jax.random.randint(key, shape, 0, _at_least_one(where), jnp.int32)]


class Shuffles(NamedTuple):
    """A random order of the valid rows for each modality.

    Attributes:
      rows: [M, B] row indices, each line the n valid rows in random order, then the others.
      valid_rows: n, int32, at least 1.
    """

    rows: jax.Array
    valid_rows: jax.Array


def draw_shuffles(key, num_modalities, batch_size, *, where=None) -> Shuffles:
    """Shuffles the rows of each modality on its own; arguments as in `independent_tuples`."""
    if where is None:
        where = jnp.ones(batch_size, bool)
    # The k-th valid row gets the k-th random number, wherever the masked ones lie.
    rank = jnp.maximum(jnp.cumsum(where) - 1, 0)
    order = jax.random.uniform(key, (batch_size, num_modalities))[rank]
    rows = jnp.argsort(jnp.where(where[:, None], order, jnp.inf), axis=0).astype(jnp.int32)
    return Shuffles(rows.T, _at_least_one(where))


def stratified_tuples(shuffles: Shuffles, numbers):
    """Returns tuples without repetition in which all rows occur equally often.

    With n valid rows, tuples 0 .. n - 1 pair the shuffled rows position by position, the next n
    pair each row with the next position of the other modalities, and so on: in each pass of n
    every row of every modality occurs once, and n^M numbers give every tuple exactly once. One
    tuple by itself is uniform over all, so means over any of them are unbiased.

    Args:
      shuffles: what `draw_shuffles` returned.
      numbers: [N] int32 numbers from 0 on.

    Returns:
      [N, M] int32 row indices.
    """
    rows, n = shuffles
    position, turn = numbers % n, numbers // n
    indices, digit = [rows[0][position]], turn
    for m in range(1, len(rows)):
        # In base n the turn has the digits d_1 d_2 .. : adding m d_1 to the others keeps the map
        # one to one, and gives two modalities new partners in each of the first n turns.
        shift = digit % n if m == 1 else (digit + m * (turn % n)) % n
        indices.append(rows[m][(position + shift) % n])
        digit = digit // n
    return jnp.stack(indices, axis=1)


def _at_least_one(where):
    return jnp.maximum(jnp.sum(where, dtype=jnp.int32), 1)
