"""Sampling of tuples: independent, or in two strata, within and across classes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def independent_tuples(key, num_negatives, num_modalities, batch_size, *, where=None):
    """Draws index tuples uniformly with replacement, independently for each modality.

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


class Orders(NamedTuple):
    """Random orders of the rows: of all rows together, and within each class.

    The tuples of n rows fall into two strata: those whose rows are all of one class, few, but after
    some training the ones with nearly all the weight, and the others. Sampling each by itself, with
    the known sizes of the strata as weights, takes far fewer tuples than sampling all alike.

    Attributes:
      rows: [M, B] row indices, each line the n valid rows in random order, then the others.
      rows_by_class: [M, B] row indices, each line sorted by class, in random order within it.
      start: [B] for each row, where its class begins in `rows_by_class`.
      size: [B] for each row, the number of valid rows of its class; 0 for masked rows.
      rank: [B] for each row, its place within its class in the first line of `rows_by_class`.
      labels: [B] labels.
      num_rows: n, int32, at least 1.
    """

    rows: jax.Array
    rows_by_class: jax.Array
    start: jax.Array
    size: jax.Array
    rank: jax.Array
    labels: jax.Array
    num_rows: jax.Array

    def pairings(self, dtype=jnp.float32):
        """Returns [B], the number of tuples within its class that start at each row."""
        return jnp.where(self.size > 0, self.size.astype(dtype) ** (len(self.rows) - 1), 0)

    def share_within(self, dtype=jnp.float32):
        """Returns the share of all n^M tuples that lie within a class."""
        return jnp.sum(self.pairings(dtype)) / self.num_rows.astype(dtype) ** len(self.rows)


def draw_orders(key, labels, num_modalities, *, where=None) -> Orders:
    """Shuffles the rows of each modality independently.

    Args:
      key: a PRNG key.
      labels: [B] integers.
      num_modalities: number of modalities M.
      where: [B] bool, False for rows to leave out.
    """
    batch_size = len(labels)
    labels = jnp.asarray(labels, jnp.int32)
    valid = jnp.ones(batch_size, bool) if where is None else jnp.asarray(where)
    # The k-th valid row gets the k-th random numbers, wherever the masked ones lie.
    number = jnp.maximum(jnp.cumsum(valid, dtype=jnp.int32) - 1, 0)
    random = jax.random.uniform(key, (batch_size, 2, num_modalities))[number]
    last = np.iinfo(np.int32).max  # masked rows come after all others
    whole, classes = jnp.where(valid, 0, last), jnp.where(valid, labels, last)

    def shuffle(sorted_by, use):
        orders = [jnp.lexsort((random[:, use, m], sorted_by)) for m in range(num_modalities)]
        return jnp.stack(orders).astype(jnp.int32)

    rows_by_class = shuffle(classes, 1)
    ordered = classes[rows_by_class[0]]
    start = jnp.searchsorted(ordered, classes, side="left").astype(jnp.int32)
    end = jnp.searchsorted(ordered, classes, side="right").astype(jnp.int32)
    return Orders(
        rows=shuffle(whole, 0),
        rows_by_class=rows_by_class,
        start=start,
        size=jnp.where(valid, end - start, 0),
        rank=jnp.argsort(rows_by_class[0]).astype(jnp.int32) - start,
        labels=labels,
        num_rows=jnp.maximum(jnp.sum(valid, dtype=jnp.int32), 1),
    )


def tuples_within_classes(orders: Orders, numbers):
    """Returns tuples whose rows are of one class.

    In each pass of n numbers every row of every modality occurs once. In the next pass a row gets
    the next partners of its class, and so on around: after `pairings` passes it has met all.

    Args:
      orders: what `draw_orders` returned.
      numbers: [N] int32 numbers from 0 on.

    Returns:
      ([N, M] int32 row indices, [N] float32: the pairings of the first row, for how many tuples of
      its class one of them stands).
    """
    first = orders.rows[0][numbers % orders.num_rows]
    size = jnp.maximum(orders.size[first], 1)
    turn = numbers // orders.num_rows
    others = _rotate(orders.rows_by_class, orders.start[first], size, orders.rank[first], turn)
    return jnp.stack([first, *others], axis=1), orders.pairings()[first]


def tuples_of_all(orders: Orders, numbers):
    """Returns tuples without repetition in which all rows occur equally often.

    In each pass of n numbers every row of every modality occurs once, and n^M numbers give every
    tuple exactly once. One tuple by itself is uniform over all.

    Args:
      orders: what `draw_orders` returned.
      numbers: [N] int32 numbers from 0 on.

    Returns:
      ([N, M] int32 row indices, [N] float32: 1 for tuples across classes, 0 for those within one).
    """
    position = numbers % orders.num_rows
    others = _rotate(orders.rows, 0, orders.num_rows, position, numbers // orders.num_rows)
    tuples = jnp.stack([orders.rows[0][position], *others], axis=1)
    labels = orders.labels[tuples]
    return tuples, jnp.any(labels != labels[:, :1], axis=1).astype(jnp.float32)


def _rotate(rows, start, size, rank, turn):
    """Returns the partners of a row in all modalities but the first, different ones at each turn.

    Args:
      rows: [M, B] row indices, of which start .. start + size - 1 take part.
      start: [N] or scalar.
      size: [N] or scalar, at least 1.
      rank: [N] place of the first row among those that take part.
      turn: [N], how far to go around; size^(M - 1) turns give every combination once.
    """
    partners, digit = [], turn
    for m in range(1, len(rows)):
        # In base `size` the turn has digits d_1 d_2 .. : adding m d_1 to the later ones keeps the
        # map one to one, and gives any two modalities new partners in each of the first turns.
        shift = digit % size if m == 1 else (digit + m * (turn % size)) % size
        partners.append(rows[m][start + (rank + shift) % size])
        digit = digit // size
    return partners
