"""Joint training with alignment against its formula, pair by pair."""

import itertools

import numpy as np
import pytest

from tcmax_jax import methods
from tests.losses.reference import make_batch, product_head
from tests.methods.reference import cross_entropy, forward_of, loss_of


def alignment(features, temperature, rows):
    """Returns the alignment terms of the rows, by loops over pairs of modalities and rows."""

    def cosine(a, b):
        return np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) / temperature

    pairs = list(itertools.permutations(features, 2))
    terms = []
    for i in rows:
        total = 0.0
        for m, n in pairs:
            query = np.float64(features[m][i])
            others = [cosine(query, np.float64(features[n][j])) for j in rows]
            own = cosine(query, np.float64(features[n][i]))
            total += max(others) + np.log(np.sum(np.exp(others - max(others)))) - own
        terms.append(total / len(pairs))
    return np.array(terms)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("where", [None, np.array([1, 0, 1, 1, 1], bool)])
def test_losses(modalities, where):
    features, labels = make_batch(0, modalities=modalities, dtype=np.float32)
    rows = np.arange(5) if where is None else np.flatnonzero(where)
    method = methods.InfoNCE(weight=0.5, temperature=0.2).make()
    loss = loss_of(method, product_head, features, labels, where=where)
    terms = alignment(features, 0.2, rows)
    joint = cross_entropy(product_head(features), labels)[rows]
    np.testing.assert_allclose(np.asarray(loss.values)[rows], joint + 0.5 * terms, rtol=1e-4)
    assert loss.metrics["alignment"] == pytest.approx(terms.mean(), rel=1e-4)


def test_aligned_features_have_the_least_alignment():
    features, labels = make_batch(1, dtype=np.float32)
    features["m1"] = features["m0"]
    method = methods.InfoNCE(temperature=0.01).make()
    aligned = loss_of(method, product_head, features, labels).metrics["alignment"]
    features["m1"] = features["m0"][::-1]
    reversed_ = loss_of(method, product_head, features, labels).metrics["alignment"]
    assert 0 <= aligned < 0.1 < reversed_


def test_features_of_different_sizes():
    features = {"a": np.ones((4, 3), np.float32), "v": np.ones((4, 2), np.float32)}
    forward = forward_of(lambda f: np.zeros((4, 3), np.float32), features, np.zeros(4, np.int32))
    with pytest.raises(ValueError, match=r"one size to align, got 3 and 2\. Give the encoders"):
        methods.InfoNCE().make().loss(forward, ())
