"""TCMax losses: pure functions of arrays that need only JAX, for any Flax or JAX project."""

from tcmax_jax.losses.additive import additive_tcmax_loss
from tcmax_jax.losses.collectives import masked_mean
from tcmax_jax.losses.dispatch import tcmax_loss
from tcmax_jax.losses.exhaustive import exhaustive_tcmax_loss
from tcmax_jax.losses.heads import AdditiveHead
from tcmax_jax.losses.sampled import sampled_tcmax_loss

__all__ = [
    "AdditiveHead",
    "additive_tcmax_loss",
    "exhaustive_tcmax_loss",
    "masked_mean",
    "sampled_tcmax_loss",
    "tcmax_loss",
]
