"""The methods' losses and predictions against formulas in NumPy."""

import jax
import numpy as np
import pytest

from tcmax_jax import methods
from tests.losses.reference import ADDITIVE, additive_head, brute_force, make_batch, product_head

OPTIONS = {"key": jax.random.key(0), "where": None, "axis_name": None}


def cross_entropy(logits, labels):
    logits = np.float64(logits)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels]


def test_joint():
    features, labels = make_batch(0, modalities=3, dtype=np.float32)
    method = methods.joint()
    losses, _ = method.loss(product_head, features, labels, **OPTIONS)
    np.testing.assert_allclose(losses, cross_entropy(product_head(features), labels), rtol=1e-5)
    np.testing.assert_array_equal(method.predict(product_head, features), product_head(features))


def test_unimodal():
    features, labels = make_batch(1, modalities=3, dtype=np.float32)
    method = methods.unimodal()
    expected = sum(cross_entropy(z, labels) for z in features.values())
    losses, _ = method.loss(ADDITIVE, features, labels, **OPTIONS)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    scores = method.predict(ADDITIVE, features)
    np.testing.assert_allclose(scores, additive_head(features), rtol=1e-6)


@pytest.mark.parametrize("prior", [None, np.float32([0.2, 0.5, 0.3])])
def test_tcmax(prior):
    features, labels = make_batch(2, dtype=np.float32)
    method = methods.tcmax(label_prior=prior)
    losses, metrics = method.loss(product_head, features, labels, **OPTIONS)
    assert 1 < metrics["effective_sample_size"] < 5**2 * 3
    expected = brute_force(product_head, features, labels, label_prior=prior)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)
    floor = method.floor(labels, 2, 3, where=None, axis_name=None)
    q = np.full(3, 1 / 3) if prior is None else prior
    np.testing.assert_allclose(floor, -np.log(5) + np.mean(np.log(q[labels])), rtol=1e-6)
    shift = 0 if prior is None else np.log(prior)
    scores = method.predict(product_head, features)
    np.testing.assert_allclose(scores, product_head(features) + shift, rtol=1e-5)


def test_sampled_tcmax_uses_its_key():
    features, labels = make_batch(3, dtype=np.float32)
    method = methods.tcmax(num_negatives=8)
    first, again, other = (
        method.loss(product_head, features, labels, **OPTIONS | {"key": jax.random.key(k)})[0]
        for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_adaptive_tcmax_logs_the_number_of_tuples():
    features, labels = make_batch(4, dtype=np.float32)
    method = methods.tcmax(num_negatives="adaptive")
    losses, metrics = method.loss(product_head, features, labels, **OPTIONS)
    # Eight passes of five tuples would be the least, and more than there are.
    assert metrics["tuples"] == 25
    np.testing.assert_allclose(losses, brute_force(product_head, features, labels), rtol=1e-4)
