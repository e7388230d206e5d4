"""Which tuples to sample: independent draws, or two strata, within the classes and across them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


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
    valid_rows = jnp.maximum(jnp.sum(where, dtype=jnp.int32), 1)
    return valid_rows_first[jax.random.randint(key, shape, 0, valid_rows, jnp.int32)]


class Orders(NamedTuple):
    """Random orders of the rows, as a whole and within each class.

    The tuples of n rows fall into two strata: those whose rows are all of one class, few, but after
    some training the ones with nearly all the weight, and the others. Sampling each by itself, with
    the known sizes of the strata as weights, takes far fewer tuples than sampling all alike.

    Attributes:
      rows: [M, B] row indices, each line the n valid rows in random order, then the others.
      rows_by_class: [M, B] row indices, each line sorted by class, in random order within it.
      start: [B] for each place in `rows_by_class`, where its class begins.
      size: [B] for each place in `rows_by_class`, the number of rows of its class.
      ends: [B] number of tuples within a class that begin with a row up to each place.
      places: [B] the numbers 0 .. n - 1 in random order, then others.
      offset: random int32, from 0 on.
      labels: [B] labels.
      num_rows: n, int32, at least 1.
    """

    rows: jax.Array
    rows_by_class: jax.Array
    start: jax.Array
    size: jax.Array
    ends: jax.Array
    places: jax.Array
    offset: jax.Array
    labels: jax.Array
    num_rows: jax.Array

    @property
    def passes_within(self):
        """Passes of n numbers after which `tuples_within_classes` has given all of them, int32."""
        return jnp.maximum(-(-self.ends[-1] // self.num_rows), 1)

    def share_within(self, dtype=jnp.float32):
        """Returns the share of all n^M tuples that lie within a class."""
        shares = (self.size.astype(dtype) / self.num_rows.astype(dtype)) ** (len(self.rows) - 1)
        return jnp.sum(jnp.where(self.size > 0, shares, 0)) / self.num_rows.astype(dtype)


def draw_orders(key, labels, num_modalities, *, where=None) -> Orders:
    """Shuffles the rows of each modality on its own.

    Args:
      key: a PRNG key.
      labels: [B] integers.
      num_modalities: number of modalities M.
      where: [B] bool, False for rows to leave out.
    """
    batch_size = len(labels)
    labels = jnp.asarray(labels, jnp.int32)
    valid = jnp.ones(batch_size, bool) if where is None else jnp.asarray(where)
    order_key, offset_key = jax.random.split(key)
    # The k-th valid row gets the k-th random numbers, wherever the masked ones lie.
    number = jnp.maximum(jnp.cumsum(valid, dtype=jnp.int32) - 1, 0)
    random = jax.random.uniform(order_key, (batch_size, 2, num_modalities))[number]
    masked = np.iinfo(np.int32).max
    rows, rows_by_class = (
        jnp.stack(
            [
                jnp.lexsort((random[:, use, m], first_by)).astype(jnp.int32)
                for m in range(num_modalities)
            ]
        )
        for use, first_by in enumerate(
            (jnp.where(valid, 0, masked), jnp.where(valid, labels, masked))
        )
    )
    classes = jnp.where(valid, labels, masked)[rows_by_class[0]]
    start = jnp.searchsorted(classes, classes, side="left").astype(jnp.int32)
    end = jnp.searchsorted(classes, classes, side="right").astype(jnp.int32)
    size = jnp.where(valid[rows_by_class[0]], end - start, 0)
    # No more than int32 can count; the tuples beyond would not be reached by any sample.
    most = np.float32(np.iinfo(np.int32).max // 2 // batch_size)
    begun = jnp.minimum(size.astype(jnp.float32) ** (num_modalities - 1), most).astype(jnp.int32)
    return Orders(
        rows=rows,
        rows_by_class=rows_by_class,
        start=start,
        size=size,
        ends=jnp.cumsum(jnp.where(size > 0, begun, 0), dtype=jnp.int32),
        places=number[rows[0]],
        offset=jax.random.randint(offset_key, (), 0, np.iinfo(np.int32).max, jnp.int32),
        labels=labels,
        num_rows=jnp.maximum(jnp.sum(valid, dtype=jnp.int32), 1),
    )


def tuples_within_classes(orders: Orders, numbers):
    """Returns tuples whose rows are of one class, without repetition.

    With R = `orders.passes_within` each pass of n numbers takes every R-th of them in the order of
    their first rows, so that rows and classes get their shares of it, and each pass starts one
    further on; n R numbers give each tuple once. One tuple by itself is uniform over all of them.

    Args:
      orders: what `draw_orders` returned.
      numbers: [N] int32 numbers from 0 on.

    Returns:
      ([N, M] int32 row indices, [N] bool: False for numbers that have no tuple).
    """
    passes = orders.passes_within
    turn = numbers // orders.num_rows
    number = orders.places[numbers % orders.num_rows] * passes
    number += (turn + orders.offset % passes) % passes
    place = jnp.searchsorted(orders.ends, number, side="right").astype(jnp.int32)
    place = jnp.minimum(place, len(orders.ends) - 1)
    before = jnp.where(place > 0, orders.ends[jnp.maximum(place - 1, 0)], 0)
    start, size = orders.start[place], jnp.maximum(orders.size[place], 1)
    others = _rotate(orders.rows_by_class, start, size, place - start, number - before)
    tuples = jnp.stack([orders.rows_by_class[0][place], *others], axis=1)
    return tuples, (number < orders.ends[-1]) & (turn < passes)


def tuples_of_all(orders: Orders, numbers):
    """Returns tuples without repetition in which all rows occur equally often.

    In each pass of n numbers every row of every modality occurs once, and n^M numbers give every
    tuple exactly once. One tuple by itself is uniform over all.

    Args:
      orders: what `draw_orders` returned.
      numbers: [N] int32 numbers from 0 on.

    Returns:
      ([N, M] int32 row indices, [N] bool: whether the tuple reaches across classes).
    """
    position = numbers % orders.num_rows
    others = _rotate(orders.rows, 0, orders.num_rows, position, numbers // orders.num_rows)
    tuples = jnp.stack([orders.rows[0][position], *others], axis=1)
    labels = orders.labels[tuples]
    return tuples, jnp.any(labels != labels[:, :1], axis=1)


def _rotate(rows, start, size, rank, turn):
    """Returns the partners of a row in all modalities but the first, at each turn others.

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
