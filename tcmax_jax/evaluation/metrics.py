"""Metrics of a whole split, from features and labels."""

import jax
import jax.numpy as jnp
import numpy as np

from tcmax_jax.losses import AdditiveHead, Sampled, tcmax_loss
from tcmax_jax.methods.base import correct, cross_entropy

# A share of one predicted class above which a prediction counts as constant.
_CONSTANT = 0.99
# Tuples that estimate the log-partition of heads for which all tuples are too many.
_BOUND_TUPLES = 2**14


def split_metrics(method, head, features, labels, scores) -> dict[str, float]:
    """Returns the metrics of one split.

    Args:
      method: a `tcmax_jax.methods.Method`, which predicts.
      head: the classifier's head, see `tcmax_jax.models.head_of`.
      features: {modality: [N, D]} of every example of the split.
      labels: [N] integers.
      scores: {name: [N, C]}, what `predictions` returned for them.

    Returns:
      {name: float}:
      accuracy: share of correct predictions;
      cross_entropy: -mean log softmax(predict)[y], nats;
      tc_bound: -mean TCMax loss over all tuples of the split (2^14 sampled ones for heads that are
        not additive): an estimate, in nats, of a lower bound of TC + KL(p(y) || label_prior);
      accuracy/<modality>, cross_entropy/<modality>: for additive heads, those of the head's own
        part for that modality (`split`).
    """
    fused = scores["fused"]
    prior = method.label_prior
    if isinstance(head, AdditiveHead):
        losses = _additive_loss(head.modality_logits(features), labels, prior)
    else:  # Of a plain function a cache would keep the parameters, and it is a new one each time.
        whole = any(map(callable, jax.tree.leaves(head)))
        loss = _sampled_loss if whole else _compiled_sampled_loss
        losses = loss(head, features, labels, prior)
    parts = {name: logits for name, logits in scores.items() if name != "fused"}
    return {
        "accuracy": accuracy(fused, labels),
        "cross_entropy": mean_cross_entropy(fused, labels),
        "tc_bound": float(-losses.mean()),
        **{f"accuracy/{m}": accuracy(logits, labels) for m, logits in parts.items()},
        **{f"cross_entropy/{m}": mean_cross_entropy(x, labels) for m, x in parts.items()},
    }


def predictions(method, head, features):
    """Returns scores [N, C] by name: "fused", and each modality's own for additive heads.

    Softmax of the scores is the prediction; under a label prior its log is added to all of them.
    """
    parts = head.modality_logits(features) if isinstance(head, AdditiveHead) else {}
    if method.label_prior is not None:
        parts = {m: logits + jnp.log(method.label_prior)[None] for m, logits in parts.items()}
    return {"fused": method.predict(head, features), **parts}


def accuracy(scores, labels) -> float:
    """Returns the share of rows whose largest score is the label's."""
    return float(np.mean(correct(np.asarray(scores), labels)))


def mean_cross_entropy(scores, labels) -> float:
    """Returns -mean log softmax(scores)[label], nats."""
    return float(np.mean(np.asarray(_cross_entropy(scores, labels)), dtype=np.float64))


# Compiled as a whole, once for all evaluations of one size: op by op each has a program of its own.
_cross_entropy = jax.jit(cross_entropy)


@jax.jit
def _additive_loss(parts, labels, label_prior):
    """Returns the TCMax loss of each example from an additive head's parts {modality: [N, C]}."""
    return tcmax_loss(AdditiveHead(lambda z: z), parts, labels, label_prior=label_prior)


def _sampled_loss(head, features, labels, label_prior):
    """Returns the TCMax loss of each example, from a sample of the tuples."""
    tuples = Sampled(_BOUND_TUPLES, jax.random.key(0))
    return tcmax_loss(head, features, labels, label_prior=label_prior, negatives=tuples)


_compiled_sampled_loss = jax.jit(_sampled_loss)


def collapsed(features, labels, scores) -> list[str]:
    """Returns what has collapsed: predictions or features that (nearly) never change.

    Args:
      features: {modality: [N, D]}.
      labels: [N]; where they are nearly constant themselves no prediction is reported.
      scores: {name: [N, C]}, what `predictions` returned.

    Returns:
      Names, "fused" and modalities: those that choose one class for more than 99 % of the rows,
      and modalities whose feature is the same in all rows.
    """
    names = [m for m, z in features.items() if np.allclose(z, z[:1], rtol=1e-5, atol=1e-7)]
    if _largest_share(labels) <= _CONSTANT:
        chosen = {name: np.argmax(s, axis=-1) for name, s in scores.items()}
        names += [name for name, c in chosen.items() if _largest_share(c) > _CONSTANT]
    return sorted(set(names))


def _largest_share(classes):
    return np.bincount(classes).max() / len(classes)
