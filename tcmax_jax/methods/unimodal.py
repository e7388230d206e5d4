"""Unimodal training: each modality learns the label on its own; the ensemble predicts."""

from typing import ClassVar, Literal

from tcmax_jax.methods.base import (
    Loss,
    Method,
    MethodOptions,
    cross_entropy,
    follow,
    joint_logits,
    known_parts,
)
from tcmax_jax.models.fusion import AdditiveFusion
from tcmax_jax.section import section


@section
class Unimodal(MethodOptions):
    """The ensemble of separately trained classifiers, or one of them, for additive heads.

    loss_i = -sum_m log softmax(f_m(z_m,i))[y_i], with f_m = head.modality_logits; the prediction is
    softmax(sum_m f_m). No modality can crowd out another, and none can help another.

    Attributes:
      modality: the only one to train and to predict from; None for all of them.
    """

    kind: Literal["unimodal"] = "unimodal"
    modality: str | None = None

    heads: ClassVar = AdditiveFusion

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""

        def loss(forward, state):
            if self.modality is None:
                parts = forward.head.modality_logits(forward.features).values()
            else:
                parts = [predict_one(forward.head, forward.features)]
            return Loss(sum(cross_entropy(z, forward.labels) for z in parts), state=state)

        def predict_one(head, features):
            if self.modality not in features:
                raise ValueError(
                    f"Expected modality to be one of {', '.join(features)}, got {self.modality!r}."
                )
            return head.modality_logits(features)[self.modality]

        if self.modality is None:
            return follow(loss, joint_logits, marginal=known_parts)
        return follow(loss, predict_one, modalities=(self.modality,), marginal=known_parts)
