"""Joint training: one cross-entropy on the fused logits."""

import optax

from tcmax_jax.methods.base import Method


def joint() -> Method:
    """Returns plain joint training, the baseline of all methods.

    loss_i = -log softmax(F(z_i))[y_i], with F(z) = head(features); the prediction is softmax F.
    It maximises I(y; z_1, .., z_M), and has no use for a modality once another explains y.
    """

    def loss(head, features, labels, *, key, where, axis_name):
        del key, where, axis_name
        return optax.softmax_cross_entropy_with_integer_labels(head(features), labels), {}

    return Method(loss=loss, predict=lambda head, features: head(features))
