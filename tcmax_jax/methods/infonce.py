"""Joint training with a contrastive alignment of the modalities, the method closest to TCMax."""

import itertools
from typing import ClassVar, Literal

import jax.numpy as jnp

from tcmax_jax.losses.collectives import all_gather, device_index, logsumexp
from tcmax_jax.methods.base import (
    Loss,
    Method,
    MethodOptions,
    cross_entropy,
    follow,
    joint_logits,
)
from tcmax_jax.models.fusion import unit_length
from tcmax_jax.section import NonNegative, Positive, section


@section
class InfoNCE(MethodOptions):
    """Joint training plus InfoNCE between the features of each pair of modalities.

      loss_i = CE(F(z_i), y_i) + weight mean_{m < n} 1/2 (NCE_mn,i + NCE_nm,i)
      NCE_mn,i = -log [ exp(cos(z_m,i, z_n,i) / temperature) / sum_j exp(cos(z_m,i, z_n,j) / ..) ]

    j runs over the valid rows of the global batch. It aligns modalities whether or not what they
    share has to do with the label; TCMax has the label among its variables.

    Attributes:
      weight: of the alignment; not stated anywhere, 1 chosen here.
      temperature: 0.07 as in CLIP (Radford et al., ICML 2021).

    Source: InfoNCE, van den Oord et al., arXiv 1807.03748; symmetric form of CLIP.
    """

    kind: Literal["infonce"] = "infonce"
    weight: NonNegative = 1.0
    temperature: Positive = 0.07

    equal_features: ClassVar = True

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""

        def loss(forward, state):
            logits = forward.head(forward.features)
            pairs = list(itertools.combinations(forward.features.values(), 2))
            alignment = sum(
                _contrast(forward, a, b, self.temperature)
                + _contrast(forward, b, a, self.temperature)
                for a, b in pairs
            ) / (2 * len(pairs))
            metrics = {"alignment": forward.mean(alignment)}
            values = cross_entropy(logits, forward.labels) + self.weight * alignment
            return Loss(values, metrics, state, scores=logits)

        return follow(loss, joint_logits)


def _contrast(forward, queries, keys, temperature):
    if queries.shape != keys.shape:
        raise ValueError(
            f"Expected features of one size to align, got {queries.shape[-1]} and "
            f"{keys.shape[-1]}. Give the encoders the same width."
        )
    all_keys = all_gather(unit_length(keys), forward.axis_name)
    similarities = unit_length(queries) @ all_keys.T / temperature
    rows = len(queries)
    place = jnp.arange(rows) + device_index(forward.axis_name) * rows
    positives = jnp.take_along_axis(similarities, place[:, None], axis=1)[:, 0]
    if forward.where is not None:
        valid = all_gather(forward.where, forward.axis_name)
        similarities = jnp.where(valid[None], similarities, -jnp.inf)
    return logsumexp(similarities, axis=1) - positives
