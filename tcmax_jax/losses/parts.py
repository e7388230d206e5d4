"""Heads taken apart: what is computed once for an example, and what once for a tuple."""

import math
import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import wide_dtype
from tcmax_jax.losses.heads import AdditiveHead, MultilinearHead, Projections


class Parts(NamedTuple):
    """A head and features, taken apart as far as the head allows.

    Attributes:
      rows: {modality: pytree of [B, ...]}, what is computed once for an example, each of one
        modality alone; in the order of the modalities' names, as JAX orders dictionaries.
      tuples: function from the rows of N tuples, shaped like `rows`, to their logits [N, C].
      product: function from rows {modality: pytree of [r_m, ...]} to the logits of all tuples in
        their product, [r_1, .., r_M, C].
      product_floats: function from (r_1, .., r_M) to the floats that `product` holds for them.
    """

    rows: Mapping[str, Any]
    tuples: Callable
    product: Callable
    product_floats: Callable


def decompose(head, features) -> Parts:
    """Takes a head apart.

    Args:
      head: an `AdditiveHead`, a `MultilinearHead`, or any other function, which is left whole.
      features: {modality: [B, ...]}.
    """
    match head:
        case AdditiveHead():
            return _additive(head.modality_logits(features))
        case MultilinearHead():
            projections = head.project(features)
            checks.check_projections(projections, features)
            return _multilinear(projections)
        case _:
            return _opaque(head, features)


def _additive(modality_logits) -> Parts:
    num_classes = next(iter(modality_logits.values())).shape[-1]
    return Parts(
        rows={m: modality_logits[m] for m in sorted(modality_logits)},
        tuples=lambda rows: sum(rows.values()),
        product=lambda rows: sum(along(x, i, len(rows)) for i, x in enumerate(rows.values())),
        product_floats=lambda sizes: math.prod(sizes) * num_classes,
    )


def _multilinear(projections: Projections) -> Parts:
    factors, modality_logits, kernel = projections
    rows = {m: {"factor": factors[m]} for m in sorted(factors)}
    for m, logits in modality_logits.items():
        rows[m]["logits"] = logits

    def tuples(rows):
        coupled = math.prod(row["factor"] for row in rows.values()) @ kernel
        return sum((row["logits"] for row in rows.values() if "logits" in row), coupled)

    width, num_classes = kernel.shape

    def product(rows):
        *leading, last = (row["factor"] for row in rows.values())
        axes = string.ascii_lowercase[: len(leading)]
        leading = jnp.einsum(",".join(f"{a}D" for a in axes) + f"->{axes}D", *leading)
        wide = wide_dtype(jnp.result_type(leading, last, kernel))
        # Two of the three are joined first, the smaller pair, and one matrix product is left.
        if len(last) < num_classes:
            pairs = jnp.einsum(f"{axes}D,zD->{axes}zD", leading, last)
            scores = jnp.einsum(
                f"{axes}zD,DC->{axes}zC", pairs, kernel, preferred_element_type=wide
            )
        else:
            pairs = jnp.einsum(f"{axes}D,DC->{axes}CD", leading, kernel)
            scores = jnp.einsum(f"{axes}CD,zD->{axes}zC", pairs, last, preferred_element_type=wide)
        for axis, row in enumerate(rows.values()):
            if "logits" in row:
                scores += along(row["logits"].astype(wide), axis, len(rows))
        return scores

    def product_floats(sizes):
        *leading, last = sizes
        return math.prod(leading) * (last * num_classes + min(last, num_classes) * width)

    return Parts(rows, tuples, product, product_floats)


def _opaque(head, features) -> Parts:
    def product(rows):
        sizes = [len(z) for z in rows.values()]
        spread = {}
        for axis, (m, z) in enumerate(rows.items()):
            shape = (*sizes, *z.shape[1:])
            spread[m] = jnp.broadcast_to(along(z, axis, len(sizes)), shape)
            spread[m] = spread[m].reshape(-1, *z.shape[1:])
        return head(spread).reshape(*sizes, -1)

    def product_floats(sizes):
        num_classes = jax.eval_shape(head, features).shape[-1]
        feature_floats = sum(math.prod(z.shape[1:]) for z in features.values())
        return math.prod(sizes) * (feature_floats + num_classes)

    return Parts({m: features[m] for m in sorted(features)}, head, product, product_floats)


def along(x, axis, count):
    """Returns [r, ...] as [1, .., r, .., 1, ...], its rows on axis `axis` of `count`."""
    return jnp.expand_dims(x, [i for i in range(count) if i != axis])
