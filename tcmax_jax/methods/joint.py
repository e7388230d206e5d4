"""Joint training: one cross-entropy on the fused logits."""

from tcmax_jax.methods.base import Loss, Method, cross_entropy, follow, joint_logits


def joint() -> Method:
    """Returns plain joint training, the baseline of all methods.

    loss_i = -log softmax(F(z_i))[y_i], with F(z) = head(features); the prediction is softmax F.
    It maximises I(y; z_1, .., z_M), and has no use for a modality once another explains y.
    """

    def loss(forward, state):
        logits = forward.head(forward.features)
        return Loss(cross_entropy(logits, forward.labels), state=state)

    return follow(loss, joint_logits)
