"""What a prediction head may tell the loss about itself."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax


class AdditiveHead(NamedTuple):
    """A head whose logits are a sum over modalities: F(z, y) = sum_m f_m(z_m)_y.

    `tcmax_loss` needs only O(M B C) for such a head instead of O(B^M C). Any other head is a plain
    function from features to logits.

    Attributes:
      modality_logits: function from features, {modality: [N, ...]}, to each modality's own part of
        the logits, {modality: [N, C]}.
    """

    modality_logits: Callable[[Mapping[str, jax.Array]], Mapping[str, jax.Array]]

    def __call__(self, features):
        """Returns the joint logits [N, C], the sum of all modalities' parts."""
        return sum(self.modality_logits(features).values())
