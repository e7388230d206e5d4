"""OPM: on-the-fly prediction modulation (Wei et al., TPAMI 2024, arXiv 2410.11582)."""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from tcmax_jax.losses.collectives import device_count, device_index
from tcmax_jax.methods.base import (
    Forward,
    Loss,
    Method,
    MethodOptions,
    cross_entropy,
    follow,
    joint_logits,
    label_scores,
    ratio_to_others,
)
from tcmax_jax.models.fusion import AdditiveFusion
from tcmax_jax.section import CountOrZero, Fraction, NonNegative, section

_SHIFTS = {"excess": 1.0, "ratio": 0.0}


@section
class OPM(MethodOptions):
    """Joint training that drops features of the dominant modality, for additive heads.

      s_m = sum_i softmax(f_m(z_m,i))[y_i],  rho_m = s_m / mean_{w != m} s_w
      q_m = base (1 + strength tanh(rho_m - 1)) if rho_m > 1, else 0, cut to [0, 1]
      z_m,i <- z_m,i Bernoulli(1 - q_m) / (1 - theta),  theta = sum_m D_m q_m / sum_m D_m

    with probability `apply_probability` for a batch; examples that lose all modalities leave the
    mean. The prediction is softmax F of whole features.

    Attributes:
      base: q_base, 0.5 in the authors' command line (0.4 in their configuration file).
      strength: lambda, 0.5 in the same place.
      apply_probability: p_exe, 0.7 in the same place.
      warmup_epochs: epochs at the start without dropping; 6 (the authors' "epoch <= 5").
      probabilities: "excess" as above; "ratio" takes tanh(rho_m), which jumps at rho_m = 1, as
        the PyTorch TCMax repository does.

    Differs from the official code in:
      1. It runs (there: a stray bracket and a missing module).
      2. Any number of modalities, by the mean of the others' scores.
      3. Dropped examples have weight zero in the mean, so that shapes stay fixed; a batch that
         loses all of them is a step with a gradient of zero (there: no step).
    """

    kind: Literal["opm"] = "opm"
    base: Fraction = 0.5
    strength: NonNegative = 0.5
    apply_probability: Fraction = 0.7
    warmup_epochs: CountOrZero = 6
    probabilities: Literal["excess", "ratio"] = "excess"

    heads: ClassVar = AdditiveFusion

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""
        shift = _SHIFTS[self.probabilities]

        def loss(forward, state):
            parts = forward.head.modality_logits(forward.features)
            scores = jax.lax.stop_gradient(label_scores(forward, parts))
            q = drop_probabilities(scores, base=self.base, strength=self.strength, shift=shift)
            when, rows = jax.random.split(forward.key)
            applies = jax.random.bernoulli(when, self.apply_probability)
            applies &= forward.progress >= self.warmup_epochs
            q = {m: jnp.where(applies, x, 0.0) for m, x in q.items()}
            kept = _draw_kept(forward, q, rows)
            sizes = {m: z.shape[-1] for m, z in forward.features.items()}
            theta = sum(sizes[m] * q[m] for m in q) / sum(sizes.values())
            features = {
                m: z * (kept[m][:, None] / (1 - theta)).astype(z.dtype)
                for m, z in forward.features.items()
            }
            left = sum(kept.values()) > 0
            values = jnp.where(left, cross_entropy(forward.head(features), forward.labels), 0.0)
            share = forward.mean(left)
            metrics = {f"drop_probability/{m}": x for m, x in q.items()}
            return Loss(values / jnp.maximum(share, 1e-8), metrics, state)

        return follow(loss, joint_logits)


def drop_probabilities(scores, *, base: float, strength: float, shift: float = 1.0) -> dict:
    """Returns q_m = base (1 + strength tanh(rho_m - shift)) where rho_m > 1, else 0, in [0, 1].

    Args:
      scores: {modality: s_m}, positive scalars; rho_m = s_m / mean of the others.
      base: probability at the threshold.
      strength: of its growth.
      shift: 1 for a growth from the threshold on.
    """
    return {
        m: jnp.where(rho > 1, jnp.clip(base * (1 + strength * jnp.tanh(rho - shift)), 0, 1), 0.0)
        for m, rho in ratio_to_others(scores).items()
    }


def _draw_kept(forward: Forward, q, key):
    """Returns {modality: [B] 0 or 1}: this device's rows of a draw for the global batch."""
    rows = len(forward.labels)
    start = device_index(forward.axis_name) * rows
    kept = {}
    for number, m in enumerate(sorted(q)):
        shape = (rows * device_count(forward.axis_name),)
        draw = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - q[m], shape)
        kept[m] = jax.lax.dynamic_slice_in_dim(draw, start, rows).astype(jnp.float32)
    return kept
