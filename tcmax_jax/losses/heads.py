"""Types of prediction heads that tell the loss about their structure.

A head is a function from features {modality: [N, ...]} to logits [N, C], row by row. As a plain
function it is opaque: every tuple has to be scored separately. One of the classes below declares
its structure, and the loss is then computed exactly at a lower cost.
"""

import math
import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import wide_dtype


class AdditiveHead(NamedTuple):
    """A head whose logits are a sum over modalities: F(z, y) = sum_m f_m(z_m)_y.

    `tcmax_loss` needs only O(M B C) for such a head instead of O(B^M C).

    Attributes:
      modality_logits: function from features, {modality: [N, ...]}, to each modality's own part of
        the logits, {modality: [N, C]}.

    Example:
      >>> import jax.numpy as jnp
      >>> head = AdditiveHead(lambda z: {m: x @ jnp.eye(2) for m, x in z.items()})
      >>> print(head({"audio": jnp.array([[1.0, 2.0]]), "visual": jnp.array([[3.0, 4.0]])}))
      [[4. 6.]]
    """

    modality_logits: Callable[[Mapping[str, jax.Array]], Mapping[str, jax.Array]]

    def __call__(self, features):
        """Returns the joint logits [N, C], the sum of all modalities' parts."""
        return sum(self.modality_logits(features).values())

    def only(self, modalities):
        """Returns the head that sums the parts of some modalities."""
        parts = self.modality_logits
        return AdditiveHead(lambda z: {m: x for m, x in parts(z).items() if m in modalities})


class Projections(NamedTuple):
    """The parts of a multilinear head's logits, each but the kernel of one modality alone.

      F(z, y) = sum_d kernel[d, y] prod_m factors[m]_d + sum_m modality_logits[m]_y

    Attributes:
      factors: {modality: [N, D]}, for every modality.
      modality_logits: {modality: [N, C]}, what single modalities (none, some or all of them) add by
        themselves; a bias belongs to any one of them.
      kernel: [D, C].
    """

    factors: Mapping[str, jax.Array]
    modality_logits: Mapping[str, jax.Array]
    kernel: jax.Array


class MultilinearHead(NamedTuple):
    """A head that is linear in a product of per-modality projections: bilinear for two modalities.

      F(z, y) = sum_d W_dy prod_m p_m(z_m)_d + sum_m f_m(z_m)_y

    FiLM, gated and bigated fusion and low-rank tensor fusion are of this kind. `tcmax_loss`
    projects each example once, instead of once in each of its B^(M-1) tuples.

    Attributes:
      project: function from features, {modality: [N, ...]}, to `Projections`.

    Example:
      >>> import jax.numpy as jnp
      >>> head = MultilinearHead(lambda z: Projections(z, {"audio": z["audio"]}, jnp.eye(2)))
      >>> print(head({"audio": jnp.array([[1.0, 2.0]]), "visual": jnp.array([[3.0, 4.0]])}))
      [[ 4. 10.]]
    """

    project: Callable[[Mapping[str, jax.Array]], Projections]

    def __call__(self, features):
        """Returns the joint logits [N, C]."""
        factors, modality_logits, kernel = self.project(features)
        return sum(modality_logits.values(), math.prod(factors.values()) @ kernel)


class TupleScorer(NamedTuple):
    """A head with features, split into what is computed once for each example and each tuple.

    Attributes:
      rows: {modality: pytree of [B, ...]}, what is computed once for an example, each of one
        modality alone; in the order of the modalities' names, as JAX orders dictionaries.
      score: function from the rows of N tuples, shaped like `rows`, to their logits [N, C]; unless
        the head was left whole a `Partial`, so that what is compiled for one serves the next.
      product: function from rows {modality: pytree of [r_m, ...]} to the logits of all tuples in
        their product, [r_1, .., r_M, C].
      product_floats: function from (r_1, .., r_M) to the floats that `product` holds for them.
    """

    rows: Mapping[str, Any]
    score: Callable
    product: Callable
    product_floats: Callable


def tuple_scorer(head, features) -> TupleScorer:
    """Splits a head into its parts of examples and of tuples, as far as its type allows.

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


def _sum_of_parts(rows):
    return sum(rows.values())


def _coupled(kernel, rows):
    coupled = math.prod(row["factor"] for row in rows.values()) @ kernel
    return sum((row["logits"] for row in rows.values() if "logits" in row), coupled)


def _additive(modality_logits) -> TupleScorer:
    num_classes = next(iter(modality_logits.values())).shape[-1]
    return TupleScorer(
        rows={m: modality_logits[m] for m in sorted(modality_logits)},
        score=Partial(_sum_of_parts),
        product=lambda rows: sum(along(x, i, len(rows)) for i, x in enumerate(rows.values())),
        product_floats=lambda sizes: math.prod(sizes) * num_classes,
    )


def _multilinear(projections: Projections) -> TupleScorer:
    factors, modality_logits, kernel = projections
    rows = {m: {"factor": factors[m]} for m in sorted(factors)}
    for m, logits in modality_logits.items():
        rows[m]["logits"] = logits

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

    return TupleScorer(rows, Partial(_coupled, kernel), product, product_floats)


def _opaque(head, features) -> TupleScorer:
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

    return TupleScorer({m: features[m] for m in sorted(features)}, head, product, product_floats)


def along(x, axis, count):
    """Reshapes [r, ...] to [1, .., r, .., 1, ...], with its rows on axis `axis` of `count`."""
    return jnp.expand_dims(x, [i for i in range(count) if i != axis])
