"""Linear probes: accuracy of a linear classifier on the feature of a frozen encoder."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from tcmax_jax.evaluation.metrics import accuracy
from tcmax_jax.methods.base import cross_entropy

_TOLERANCE = 1e-5


class Probe(NamedTuple):
    """A linear classifier on standardised features.

    Attributes:
      mean: [D] mean of the training features.
      scale: [D] their standard deviation, 1 where it is zero.
      kernel: [D, C].
      bias: [C].
    """

    mean: np.ndarray
    scale: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray


def fit_probe(features, labels, num_classes: int, *, l2: float = 1e-3, max_steps: int = 500):
    """Fits a multinomial logistic regression to frozen features.

      minimise mean_i -log softmax(W x_i + b)[y_i] + l2 / 2 |W|^2,  x standardised

    from zero, by L-BFGS on all examples at once until no entry of the gradient exceeds 1e-5. The
    problem is convex: the result depends on no seed, order or learning rate.

    Args:
      features: [N, D] floats.
      labels: [N] integers below `num_classes`.
      num_classes: C.
      l2: weight of the penalty.
      max_steps: largest number of steps.

    Returns:
      A `Probe`.

    Raises:
      ValueError: no examples, lengths that differ, NaN or infinite features, labels out of range.
    """
    features, labels = np.asarray(features, np.float32), np.asarray(labels)
    if features.ndim != 2 or not len(features) or len(features) != len(labels):
        raise ValueError(
            "Expected features [N, D] and labels [N] of at least one example, got shapes "
            f"{features.shape} and {labels.shape}."
        )
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).sum())
        raise ValueError(
            f"Expected finite features, got {bad} entries that are NaN or infinite. Look for an "
            "encoder that has diverged."
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"Expected labels in 0 .. {num_classes - 1}, got {labels.min()} .. {labels.max()}."
        )
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-6 * (1 + np.abs(mean)), scale, 1.0).astype(np.float32)
    kernel, bias = _minimise((features - mean) / scale, labels, num_classes, l2, max_steps)
    return Probe(mean, scale, kernel, bias)


def probe_logits(probe: Probe, features):
    """Returns the logits [N, C] of features [N, D]."""
    return (features - probe.mean) / probe.scale @ probe.kernel + probe.bias


def probe_accuracies(train_features: Mapping, train_labels, splits: Mapping, num_classes: int):
    """Returns the accuracies of a probe for each modality, fitted on the training split.

    Args:
      train_features: {modality: [N, D]}.
      train_labels: [N] integers.
      splits: {split: (features {modality: [N', D]}, labels [N'])}.
      num_classes: number of classes.

    Returns:
      {split: {modality: share of correct predictions}}.

    Raises:
      ValueError: as `fit_probe`, with the modality's name.
    """
    accuracies = {split: {} for split in splits}
    for modality, features in train_features.items():
        try:
            probe = fit_probe(features, train_labels, num_classes)
        except ValueError as error:
            raise ValueError(f"{modality}: {error}") from error
        for split, (held_out, labels) in splits.items():
            scores = probe_logits(probe, held_out[modality])
            accuracies[split][modality] = accuracy(scores, labels)
    return accuracies


def _minimise(x, labels, num_classes, l2, max_steps):
    """Returns kernel and bias; in float64, or rounding would hide the last steps' decrease."""
    size = x.shape[1]
    with jax.enable_x64(True):
        x = jnp.asarray(x, jnp.float64)

        def objective(flat):
            value, gradient = _value_and_grad(flat.reshape(size + 1, num_classes), x, labels, l2)
            return float(value), np.asarray(gradient).ravel()

        options = {"gtol": _TOLERANCE, "ftol": 0.0, "maxiter": max_steps, "maxfun": 20 * max_steps}
        start = np.zeros((size + 1) * num_classes)
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    weights = found.x.reshape(size + 1, num_classes).astype(np.float32)
    return weights[:-1], weights[-1]


@jax.jit
@jax.value_and_grad
def _value_and_grad(weights, x, labels, l2):
    kernel, bias = weights[:-1], weights[-1]
    return cross_entropy(x @ kernel + bias, labels).mean() + l2 / 2 * jnp.sum(kernel**2)
