"""Metrics of a whole split, from features and labels."""

import jax
import numpy as np
import optax

from tcmax_jax.losses import AdditiveHead, tcmax_loss

# A share of one predicted class above which a prediction counts as constant.
_CONSTANT = 0.99
# Tuples that estimate the log-partition of heads for which all tuples are too many.
_BOUND_TUPLES = 2**14


def split_metrics(method, head, features, labels) -> dict[str, float]:
    """Returns the metrics of one split.

    Args:
      method: a `tcmax_jax.methods.Method`, which predicts.
      head: the classifier's head, see `tcmax_jax.models.head_of`.
      features: {modality: [N, D]} of every example of the split.
      labels: [N] integers.

    Returns:
      {name: float}:
      accuracy: share of correct predictions;
      cross_entropy: -mean log softmax(predict)[y], nats;
      tc_bound: -mean TCMax loss over all tuples of the split (2^14 sampled ones for heads that are
        not additive): an estimate, in nats, of a lower bound of TC + KL(p(y) || label_prior);
      accuracy/<modality>: for additive heads, share of correct predictions of the head's own part
        for that modality (`split`).
    """
    scores = predictions(method, head, features)
    fused = scores.pop("fused")
    bound = -tcmax_loss(
        head,
        features,
        labels,
        label_prior=method.label_prior,
        num_negatives=None if isinstance(head, AdditiveHead) else _BOUND_TUPLES,
        key=jax.random.key(0),
    )
    metrics = {
        "accuracy": accuracy(fused, labels),
        "cross_entropy": optax.softmax_cross_entropy_with_integer_labels(fused, labels).mean(),
        "tc_bound": bound.mean(),
    }
    metrics |= {f"accuracy/{m}": accuracy(logits, labels) for m, logits in scores.items()}
    return {name: float(value) for name, value in metrics.items()}


def predictions(method, head, features):
    """Returns scores [N, C] by name: "fused", and each modality's own for additive heads."""
    parts = head.modality_logits(features) if isinstance(head, AdditiveHead) else {}
    return {"fused": method.predict(head, features), **parts}


def accuracy(scores, labels) -> float:
    """Returns the share of rows whose largest score is the label's."""
    return float(np.mean(np.argmax(np.asarray(scores), axis=-1) == labels))


def constant_predictions(method, head, features, labels) -> list[str]:
    """Returns the names of predictions that (nearly) always choose one class: a collapse.

    Args:
      method: a `tcmax_jax.methods.Method`.
      head: the classifier's head.
      features: {modality: [N, D]}.
      labels: [N]; where they are nearly constant themselves nothing is reported.

    Returns:
      "fused" and names of modalities.
    """
    if _largest_share(labels) > _CONSTANT:
        return []
    scores = predictions(method, head, features)
    return [name for name, s in scores.items() if _largest_share(np.argmax(s, axis=-1)) > _CONSTANT]


def _largest_share(classes):
    return np.bincount(classes).max() / len(classes)
