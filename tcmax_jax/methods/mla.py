"""MLA: multimodal learning with alternating unimodal adaptation (Zhang et al., CVPR 2024)."""

import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from tcmax_jax.methods.base import (
    Method,
    MethodOptions,
    Step,
    Turn,
    cross_entropy,
    encoder_group,
    known_parts,
)
from tcmax_jax.models.fusion import SharedHead
from tcmax_jax.section import section

_DECAY = 0.1


@section
class MLA(MethodOptions):
    """Trains one modality after the other through a shared head.

      turn m: minimise CE(W z_m + b) over encoder m and the head, with a step of the optimiser
      prediction: out_i = sum_m w_m,i f_m(z_m,i),  w_m,i = exp(-H(p_m,i)) / sum_n exp(-H(p_n,i))

    with p_m = softmax f_m and H the entropy. With projection "owm" the head's gradient g is
    projected away from the mean features r of all turns so far, first that of the turn itself, as
    the official code means to (the aim is to spare what earlier turns have learnt):

      k = P r,  P <- P - k k^T / (a + r^T k),  P <- P / |P|_F,  g <- P g,  a = 0.1^(1 + t)

    with t the elapsed share of the epoch and P = I before the first turn, which is not projected.

    Attributes:
      projection: "off" (default), the behaviour behind all published numbers, since the official
        code compares parameter names in a way that never matches; or "owm", the paper's formula.
        |P|_F = 1 then shortens the head's gradient by a factor of up to sqrt(D).

    Differs from the official code in:
      1. Where the projection is on its denominator is the scalar of the formula, not a matrix.
      2. Weights at test are per example; there softmax is over the batch.
      3. An encoder rests outside its turn, momentum and weight decay included, as with gradients
         set to None there; the schedule counts steps, not turns.

    State: {} or {"projection": [D, D], "turns": int32}.

    Source: arXiv 2311.10707; official code for the constants.
    """

    kind: Literal["mla"] = "mla"
    projection: Literal["off", "owm"] = "off"

    heads: ClassVar = SharedHead

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""
        projected = self.projection == "owm"

        def init(sizes):
            if not projected:
                return {}
            size = next(iter(sizes.features.values()))
            return {"projection": jnp.eye(size), "turns": jnp.zeros((), jnp.int32)}

        turns = tuple(functools.partial(_turn, m, projected) for m in modalities)
        return Method(
            predict=entropy_weighted, loss=None, turns=turns, init=init, marginal=known_parts
        )


def _turn(modality: str, projected: bool, step: Step, params, state) -> Turn:
    def objective(params):
        features, batch_stats = step.encode(params)
        forward = step.forward(params, features)
        logits = forward.head.modality_logits(features)[modality]
        metrics = forward.metrics(logits)
        z = features[modality]
        mean_feature = forward.sum(z) / jnp.maximum(forward.sum(jnp.ones(len(z))), 1)
        loss = forward.mean_loss(cross_entropy(logits, forward.labels))
        return loss, (batch_stats, metrics, mean_feature)

    (loss, aux), grads = jax.value_and_grad(objective, has_aux=True)(params)
    batch_stats, metrics, feature = aux
    encoder = encoder_group(modality)
    moved = {name: grads[name] for name in (encoder, "head") if name in grads}
    moved, batch_stats = step.reduce((moved, batch_stats))
    if projected:
        damping = _DECAY ** (1 + step.progress % 1)
        p = update_projection(state["projection"], feature, damping)
        first = state["turns"] == 0
        p = jnp.where(first, state["projection"], p)
        moved["head"] = jax.tree.map(lambda g: p @ g if g.ndim == 2 else g, moved["head"])
        state = {"projection": p, "turns": state["turns"] + 1}
    return Turn(
        grads=moved,
        batch_stats={name: x for name, x in batch_stats.items() if name == encoder},
        state=state,
        loss=loss,
        metrics={f"{name}/{modality}": value for name, value in metrics.items()},
    )


def update_projection(projection, feature, damping):
    """Returns (P - k k^T / (damping + r^T k)) / |.|_F with k = P r.

    Args:
      projection: P, [D, D].
      feature: r, [D].
      damping: positive scalar.
    """
    k = projection @ feature
    p = projection - jnp.outer(k, k) / (damping + feature @ k)
    return p / jnp.linalg.norm(p)


def entropy_weighted(head, features):
    """Returns sum_m w_m f_m(z_m), [B, C], with w_m the softmax over modalities of -H(p_m)."""
    parts = jnp.stack(list(head.modality_logits(features).values()))
    log_p = jax.nn.log_softmax(parts.astype(jnp.promote_types(parts.dtype, jnp.float32)))
    negative_entropy = jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    return jnp.sum(jax.nn.softmax(negative_entropy, axis=0)[..., None] * parts, axis=0)
