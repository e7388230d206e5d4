"""Joint, unimodal and TCMax training against formulas in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.methods import Forward
from tcmax_jax.step_bound import bound_decrease
from tests.losses.reference import ADDITIVE, additive_head, brute_force, make_batch, product_head
from tests.methods.problem import Problem
from tests.methods.reference import cross_entropy, forward_of, random_params, take_turn


def loss_of(method, head, features, labels, seed=0):
    return method.loss(forward_of(head, features, labels, seed), ())


def test_joint():
    features, labels = make_batch(0, modalities=3, dtype=np.float32)
    method = methods.Joint().make()
    losses = loss_of(method, product_head, features, labels).values
    np.testing.assert_allclose(losses, cross_entropy(product_head(features), labels), rtol=1e-5)
    np.testing.assert_array_equal(method.predict(product_head, features), product_head(features))


def test_unimodal():
    features, labels = make_batch(1, modalities=3, dtype=np.float32)
    method = methods.Unimodal().make()
    expected = sum(cross_entropy(z, labels) for z in features.values())
    np.testing.assert_allclose(loss_of(method, ADDITIVE, features, labels).values, expected, 1e-5)
    scores = method.predict(ADDITIVE, features)
    np.testing.assert_allclose(scores, additive_head(features), rtol=1e-6)


def test_one_modality_alone():
    features, labels = make_batch(1, modalities=3, dtype=np.float32)
    method = methods.Unimodal(modality="m1").make()
    losses = loss_of(method, ADDITIVE, features, labels).values
    np.testing.assert_allclose(losses, cross_entropy(features["m1"], labels), 1e-5)
    np.testing.assert_array_equal(method.predict(ADDITIVE, features), features["m1"])


def test_one_modality_alone_leaves_the_other_encoders_at_rest():
    toy = Problem("unimodal", modality="visual")
    grads = take_turn(toy, random_params(toy)).grads
    assert not any(np.any(g) for g in jax.tree.leaves(grads["encoders_audio"]))
    assert all(np.any(g) for g in jax.tree.leaves(grads["encoders_visual"]))


@pytest.mark.parametrize("prior", [None, np.float32([0.2, 0.5, 0.3])])
def test_tcmax(prior):
    features, labels = make_batch(2, dtype=np.float32)
    kind = "uniform" if prior is None else "empirical"
    method = methods.TCMax(label_prior=kind).make(label_prior=prior)
    loss = loss_of(method, product_head, features, labels)
    assert 1 < loss.metrics["effective_sample_size"] < 5**2 * 3
    expected = brute_force(product_head, features, labels, label_prior=prior)
    np.testing.assert_allclose(loss.values, expected, rtol=1e-4, atol=1e-5)
    q = np.full(3, 1 / 3) if prior is None else prior
    np.testing.assert_allclose(loss.floor, -np.log(5) + np.mean(np.log(q[labels])), rtol=1e-6)
    shift = 0 if prior is None else np.log(prior)
    scores = method.predict(product_head, features)
    np.testing.assert_allclose(scores, product_head(features) + shift, rtol=1e-5)


def test_sampled_tcmax_uses_its_key():
    features, labels = make_batch(3, dtype=np.float32)
    method = methods.TCMax(num_negatives=8).make()
    first, again, other = (
        loss_of(method, product_head, features, labels, seed).values for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("num_negatives", [64, "adaptive"])
def test_sampled_tcmax_leaves_its_steps_what_exact_tcmax_has_left(num_negatives):
    """A head that knows its batch by heart: true tuples, rarely sampled, carry the partition."""
    labels = np.arange(32) % 4
    scores = 8 * jax.nn.one_hot(labels, 4)
    features = {m: np.eye(32, dtype=np.float32) for m in "av"}

    def gap(key, **options):
        forward = Forward(lambda z: (z["a"] * z["v"]) @ scores, features, labels, key=key)
        loss = methods.TCMax(**options).make().loss(forward, ())
        return loss.values.mean() - loss.floor

    keys = jax.random.split(jax.random.key(0), 20)
    gaps = jax.jit(jax.vmap(functools.partial(gap, num_negatives=num_negatives)))(keys)
    exact = gap(None)
    assert exact > 0.04 and np.all(gaps > 0.99 * exact)
    # So no gradient is zeroed.
    rule = bound_decrease(0.1)
    update = lambda gap: rule.update(jnp.ones(3), rule.init(None), gap=gap)[0]
    assert np.all(jax.vmap(update)(gaps) > 0)


def test_adaptive_tcmax_logs_the_number_of_tuples():
    features, labels = make_batch(4, dtype=np.float32)
    method = methods.TCMax(num_negatives="adaptive").make()
    loss = loss_of(method, product_head, features, labels)
    # Eight passes of five tuples would be the least, and more than there are.
    assert loss.metrics["tuples"] == 25
    np.testing.assert_allclose(loss.values, brute_force(product_head, features, labels), 1e-4)
