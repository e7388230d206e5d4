"""Joint training: one cross-entropy on the fused logits."""

from typing import Literal

from tcmax_jax.methods.base import (
    Loss,
    Method,
    MethodOptions,
    cross_entropy,
    follow,
    joint_logits,
)
from tcmax_jax.section import section


@section
class Joint(MethodOptions):
    """Plain joint training, the baseline of all methods.

    loss_i = -log softmax(F(z_i))[y_i], with F(z) = head(features); the prediction is softmax F.
    It maximises I(y; z_1, .., z_M), and has no use for a modality once another explains y.
    """

    kind: Literal["joint"] = "joint"

    def make(self, modalities=(), label_prior=None) -> Method:
        """Returns the method, see `MethodOptions.make`."""

        def loss(forward, state):
            logits = forward.head(forward.features)
            return Loss(cross_entropy(logits, forward.labels), state=state, scores=logits)

        return follow(loss, joint_logits)
