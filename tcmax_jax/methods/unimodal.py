"""Unimodal training: each modality learns the label on its own; the ensemble predicts."""

import optax

from tcmax_jax.methods.base import Method


def unimodal() -> Method:
    """Returns the ensemble of classifiers trained apart, for additive heads.

    loss_i = -sum_m log softmax(f_m(z_m,i))[y_i], with f_m = head.modality_logits; the prediction is
    softmax(sum_m f_m). No modality can crowd out another, and none can help another.
    """

    def loss(head, features, labels, *, key, where, axis_name):
        del key, where, axis_name
        losses = sum(
            optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            for logits in head.modality_logits(features).values()
        )
        return losses, {}

    return Method(loss=loss, predict=lambda head, features: head(features))
