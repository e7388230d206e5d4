"""QMF: quality-aware multimodal fusion (Zhang et al., ICML 2023, arXiv 2306.02050)."""

from typing import ClassVar, Literal

import jax.numpy as jnp
from jax import lax

from tcmax_jax.losses.collectives import all_gather, device_index, logsumexp
from tcmax_jax.methods.base import Loss, Method, MethodOptions, cross_entropy, follow, known_parts
from tcmax_jax.models.fusion import AdditiveFusion
from tcmax_jax.section import NonNegative, section

_TEMPERATURE = 10.0


@section
class QMF(MethodOptions):
    """Training of a confidence-weighted ensemble, for additive heads.

      c_m,i = logsumexp_y f_m(z_m,i)_y / 10,  out_i = sum_m c_m,i f_m(z_m,i)
      loss_i = CE(out_i) + sum_m CE(f_m(z_m,i)) + rank_weight sum_m rank_m,i
      rank_m,i = max(0, t (c_m,i - c_m,j) - |h_m,i - h_m,j|),  t = sign(h_m,i - h_m,j)

    j is the next row of the global batch; h_m, the sum of example i's past CE(f_m), is scaled to
    0 .. 1 over the training set. It holds this step's losses too, as in the authors' text-image
    code (in their RGB-D code it does not yet). An example that has been harder is to be less
    confident. Weights c carry no gradient in out. The prediction is softmax out.

    Attributes:
      rank_weight: 1 in the authors' text-image code; 0.1 in MLA's audio-visual one.

    Differs from the official code in:
      1. log-sum-exp does not overflow; histories are zero, not 0 / 0, until they differ.
      2. Histories live in the checkpoint; the batch is rolled as a whole over all devices.
      3. Validation selects the best checkpoint (in the RGB-D code the test set does).

    State: {modality: [N] float32}, N training examples, the same on every device.
    """

    kind: Literal["qmf"] = "qmf"
    rank_weight: NonNegative = 1.0

    heads: ClassVar = AdditiveFusion

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""

        def init(sizes):
            return {m: jnp.zeros(sizes.num_examples, jnp.float32) for m in sizes.features}

        def loss(forward, state):
            labels = forward.labels
            parts = forward.head.modality_logits(forward.features)
            losses = {m: cross_entropy(z, labels) for m, z in parts.items()}
            histories = {m: _add(state[m], forward, losses[m]) for m in parts}
            fused = predict(forward.head, forward.features)
            values = cross_entropy(fused, labels) + sum(losses.values())
            for m, logits in parts.items():
                rank = _rank(forward, _confidence(logits), _scaled(histories[m]))
                values = values + self.rank_weight * rank
            return Loss(values, state=histories, scores=fused)

        def predict(head, features):
            parts = head.modality_logits(features).values()
            return sum(lax.stop_gradient(_confidence(z))[:, None] * z for z in parts)

        return follow(loss, predict, init=init, marginal=known_parts)


def _confidence(logits):
    return logsumexp(logits, axis=-1) / _TEMPERATURE


def _add(history, forward, losses):
    """Returns the history with the losses of the global batch's valid rows added."""
    losses = lax.stop_gradient(losses)
    if forward.where is not None:
        losses = jnp.where(forward.where, losses, 0)
    index, losses = all_gather((forward.index, losses), forward.axis_name)
    return jnp.asarray(history).at[index].add(losses, mode="drop")


def _scaled(history):
    low, high = jnp.min(history), jnp.max(history)
    return jnp.where(high > low, (history - low) / jnp.maximum(high - low, 1e-30), 0.0)


def _rank(forward, confidence, history):
    """Returns the rank terms [B], scaled so that their mean over valid rows is that over pairs."""
    rows = len(confidence)
    valid = jnp.ones(rows, bool) if forward.where is None else forward.where
    h = history[forward.index]
    everyone = all_gather((confidence, h, valid), forward.axis_name)
    start = device_index(forward.axis_name) * rows
    following = (start + jnp.arange(rows) + 1) % len(everyone[0])
    other_confidence, other_h, other_valid = (x[following] for x in everyone)
    slack = jnp.abs(h - other_h)
    rank = jnp.maximum(0, jnp.sign(h - other_h) * (confidence - other_confidence) - slack)
    pair = valid & other_valid
    share = forward.mean(pair)
    return jnp.where(pair, rank, 0.0) / jnp.maximum(share, 1e-8)
