"""Unimodal training: each modality learns the label on its own; the ensemble predicts."""

from tcmax_jax.methods.base import Loss, Method, cross_entropy, follow, joint_logits
from tcmax_jax.methods.options import check_choice


def unimodal(*, modality: str | None = None) -> Method:
    """Returns the ensemble of classifiers trained apart, or one of them, for additive heads.

    loss_i = -sum_m log softmax(f_m(z_m,i))[y_i], with f_m = head.modality_logits; the prediction is
    softmax(sum_m f_m). No modality can crowd out another, and none can help another.

    Args:
      modality: the only one to train and to predict from; None for all of them.

    Raises:
      ValueError: the head does not have that modality, when it is called.
    """

    def loss(forward, state):
        if modality is None:
            parts = forward.head.modality_logits(forward.features).values()
        else:
            parts = [predict_one(forward.head, forward.features)]
        return Loss(sum(cross_entropy(z, forward.labels) for z in parts), state=state)

    def predict_one(head, features):
        check_choice("modality", modality, features)
        return head.modality_logits(features)[modality]

    if modality is None:
        return follow(loss, joint_logits)
    return follow(loss, predict_one, modalities=(modality,))
