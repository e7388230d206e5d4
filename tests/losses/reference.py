"""Independent slow versions of the losses in float64, and the heads that the tests share."""

import itertools

import numpy as np

from tcmax_jax.losses import (
    Adaptive,
    AdditiveHead,
    MultilinearHead,
    Projections,
    Sampled,
    tcmax_loss,
)
from tcmax_jax.losses.exhaustive import exhaustive_terms
from tcmax_jax.losses.terms import Measure


def sampled_tcmax_loss(head, features, labels, key, number, *, stratified=True, **options):
    """Returns the loss from sampled tuples."""
    negatives = Sampled(number, key, stratified)
    return tcmax_loss(head, features, labels, negatives=negatives, **options)


def adaptive_tcmax_loss(
    head, features, labels, key, *, target_error=0.05, max_negatives=2**16, **options
):
    """Returns the loss from as many tuples as it takes."""
    negatives = Adaptive(key, target_error, max_negatives)
    return tcmax_loss(head, features, labels, negatives=negatives, **options)


def exhaustive_tcmax_loss(head, features, labels, *, chunk_size=None, **measure):
    """Returns the exact loss by the form that suits every head."""
    over = Measure(**measure)
    return exhaustive_terms(head, features, labels, over, chunk_size=chunk_size).loss


def brute_force(head, features, labels, *, label_prior=None, where=None):
    """Returns [B] TCMax losses by a Python loop over every tuple and every class."""
    rows = np.arange(len(labels)) if where is None else np.flatnonzero(where)
    names = sorted(features)
    logits = np.asarray(head(features), np.float64)
    num_classes = logits.shape[1]
    prior = np.full(num_classes, 1 / num_classes) if label_prior is None else label_prior
    terms = []
    for tuple_rows in itertools.product(rows, repeat=len(names)):
        one = {m: features[m][row][None] for m, row in zip(names, tuple_rows, strict=True)}
        scores = np.asarray(head(one), np.float64)[0]
        for label in range(num_classes):
            if prior[label] > 0:
                terms.append(scores[label] + np.log(prior[label]))
    largest = max(terms)
    log_sum = largest + np.log(sum(np.exp(term - largest) for term in terms))
    log_partition = log_sum - len(names) * np.log(len(rows))
    losses = np.zeros(len(labels))
    for row in rows:
        losses[row] = log_partition - logits[row, labels[row]]
    return losses


def numerical_gradient(function, x, epsilon=1e-6):
    """Returns the gradient of a scalar function of a float64 array by central differences."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = epsilon
        gradient[index] = (function(x + step) - function(x - step)) / (2 * epsilon)
    return gradient


def additive_head(features):
    """Takes the features themselves as each modality's logits."""
    return sum(features[m] for m in sorted(features))


ADDITIVE = AdditiveHead(lambda features: features)


def product_head(features):
    """Couples all modalities: the product of their features plus their sum."""
    names = sorted(features)
    product = features[names[0]]
    for name in names[1:]:
        product = product * features[name]
    return product + 0.5 * additive_head(features)


def _product_projections(features):
    kernel = np.eye(features["m0"].shape[1], dtype=features["m0"].dtype)
    return Projections(features, {m: 0.5 * z for m, z in features.items()}, kernel)


PRODUCT = MultilinearHead(_product_projections)  # the product head, as it declares itself


def make_batch(seed, *, batch_size=5, num_classes=3, modalities=2, scale=1.0, dtype=np.float64):
    """Returns random features {modality: [B, C]} and labels [B]."""
    rng = np.random.default_rng(seed)
    features = {
        f"m{i}": (scale * rng.normal(size=(batch_size, num_classes))).astype(dtype)
        for i in range(modalities)
    }
    return features, rng.integers(0, num_classes, batch_size).astype(np.int32)
