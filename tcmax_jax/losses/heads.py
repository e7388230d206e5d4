"""What a prediction head may tell the loss about itself.

A head is a function from features {modality: [N, ...]} to logits [N, C], row by row. As a plain
function it is opaque: every tuple has to be scored on its own. Wrapped in one of the classes below
it says how it is built, and the loss takes the cheaper exact way.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax


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
