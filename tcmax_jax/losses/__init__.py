"""TCMax losses: pure functions of arrays that need only JAX, for any Flax or JAX project."""

from tcmax_jax.losses.adaptive import Adaptive
from tcmax_jax.losses.additive import additive_tcmax_loss
from tcmax_jax.losses.ceiling import sampled_tcmax_ceiling, tcmax_ceiling
from tcmax_jax.losses.collectives import masked_mean
from tcmax_jax.losses.heads import AdditiveHead, MultilinearHead, Projections
from tcmax_jax.losses.marginal import marginal_logits
from tcmax_jax.losses.sampled import Sampled
from tcmax_jax.losses.tcmax import (
    adaptive_tcmax_loss,
    exhaustive_tcmax_loss,
    sampled_tcmax_loss,
    tcmax_loss,
    tcmax_terms,
)
from tcmax_jax.losses.terms import TCMaxTerms

__all__ = [
    "Adaptive",
    "AdditiveHead",
    "MultilinearHead",
    "Projections",
    "Sampled",
    "TCMaxTerms",
    "adaptive_tcmax_loss",
    "additive_tcmax_loss",
    "exhaustive_tcmax_loss",
    "marginal_logits",
    "masked_mean",
    "sampled_tcmax_ceiling",
    "sampled_tcmax_loss",
    "tcmax_ceiling",
    "tcmax_loss",
    "tcmax_terms",
]
