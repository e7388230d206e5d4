"""Joint, unimodal and TCMax training against formulas in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.methods import Forward, Step
from tcmax_jax.step_bound import bound_decrease
from tests.losses.reference import ADDITIVE, additive_head, brute_force, make_batch, product_head
from tests.methods.problem import Problem
from tests.methods.problem import make_batch as toy_batch
from tests.methods.reference import (
    assert_trees_close,
    cross_entropy,
    gradient_of,
    loss_of,
    random_params,
    take_turn,
)


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
        loss_of(method, product_head, features, labels, seed=seed).values for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("num_negatives", [64, "adaptive"])
def test_sampled_tcmax_leaves_its_steps_what_exact_tcmax_has_left(num_negatives):
    """A head that knows its batch by heart: true tuples, rarely sampled, carry the partition."""
    labels = np.arange(32) % 4
    scores = 8 * jax.nn.one_hot(labels, 4)
    features = {m: np.eye(32, dtype=np.float32) for m in "av"}

    def gap(key, num_negatives=None):
        forward = Forward(lambda z: (z["a"] * z["v"]) @ scores, features, labels, key=key)
        loss = methods.TCMax(num_negatives=num_negatives).make().loss(forward, ())
        return loss.values.mean() - loss.floor

    keys = jax.random.split(jax.random.key(0), 20)
    gaps = jax.jit(jax.vmap(functools.partial(gap, num_negatives=num_negatives)))(keys)
    exact = jax.jit(gap)(None)
    assert exact > 0.04 and np.all(gaps > 0.99 * exact)
    # So no gradient is zeroed.
    rule = bound_decrease(0.1)
    update = lambda gap: rule.update(jnp.ones(3), rule.init(None), gap=gap)[0]
    assert np.all(jax.jit(jax.vmap(update))(gaps) > 0)


def test_adaptive_tcmax_logs_the_number_of_tuples():
    features, labels = make_batch(4, dtype=np.float32)
    method = methods.TCMax(num_negatives="adaptive").make()
    loss = loss_of(method, product_head, features, labels)
    # Eight passes of five tuples would be the least, and more than there are.
    assert loss.metrics["tuples"] == 25
    np.testing.assert_allclose(loss.values, brute_force(product_head, features, labels), 1e-4)


VALUES = np.float32([3, 1, 4, 1, 5, 9, 2, 6])
WEIGHTS = np.float32([1, 2, 0, 0.5, 1, 3, 7, 100])
VALID = np.array([True] * 6 + [False] * 2)


def mean_loss(values, weights, where, axis_name=None):
    forward = Forward(None, {}, None, where=where, axis_name=axis_name, weights=weights)
    return forward.mean_loss(values)


@pytest.mark.parametrize("where", [None, VALID])
def test_the_mean_loss_is_weighted_over_the_valid_rows(where):
    rows = slice(None) if where is None else where
    expected = np.average(np.float64(VALUES[rows]), weights=WEIGHTS[rows])
    np.testing.assert_allclose(mean_loss(VALUES, WEIGHTS, where), expected, rtol=1e-6)
    equal = mean_loss(VALUES, np.full(8, 0.25, np.float32), where)
    np.testing.assert_allclose(equal, VALUES[rows].mean(), rtol=1e-6)
    np.testing.assert_array_equal(mean_loss(VALUES, None, where), VALUES[rows].mean())


def test_a_batch_without_any_weight_has_no_loss():
    np.testing.assert_array_equal(mean_loss(VALUES, np.zeros(8, np.float32), VALID), 0)
    slope = jax.grad(mean_loss)(VALUES, np.zeros(8, np.float32), VALID)
    np.testing.assert_array_equal(slope, np.zeros(8))


def test_the_weighted_mean_is_that_of_all_devices():
    # The weights of the devices differ, so that a mean of their means would be another one.
    shares = [x.reshape(4, 2) for x in (VALUES, WEIGHTS, VALID)]
    got = jax.vmap(functools.partial(mean_loss, axis_name="d"), axis_name="d")(*shares)
    expected = np.average(np.float64(VALUES[VALID]), weights=WEIGHTS[VALID])
    np.testing.assert_allclose(got, np.full(4, expected), rtol=1e-6)


@pytest.fixture(scope="module")
def toy():
    return Problem("joint")


@pytest.fixture(scope="module")
def weighted_turn(toy):
    """Returns what a turn of joint training, away from the start, gives back for a batch."""
    params, state = random_params(toy), toy.state

    def turn(batch, axis_name=None):
        step = Step(toy.model, state.batch_stats, batch, jax.random.key(0), 0.0, 1, axis_name)
        return toy.method.turns[0](step, params, state.method_state)

    return jax.jit(turn, static_argnames="axis_name")


def batch_with(weights=None, where=None, rows=range(16)):
    """Returns rows of the toy problem's first batch, with weights if any are given."""
    batch = jax.tree.map(lambda x: x[np.array(rows)], toy_batch())
    batch["where"] = np.ones(16, bool) if where is None else where
    return batch if weights is None else batch | {"weight": np.float32(weights)}


FOURTEEN = np.arange(16) < 14  # the last two rows are padding


def weights_of(others, **changed):
    weights = np.full(16, others, np.float32)
    for row, weight in changed.items():
        weights[int(row[1:])] = weight
    return weights


def test_a_weight_of_two_is_the_example_twice(weighted_turn):
    # In the place of a row of padding stands row 3 again.
    twice = batch_with(rows=[*range(14), 3, 15], where=np.arange(16) < 15)
    weighted = weighted_turn(batch_with(weights_of(1, r3=2, r14=50), FOURTEEN))
    expected = weighted_turn(twice)
    assert_trees_close(weighted.grads, expected.grads)
    np.testing.assert_allclose(weighted.loss, expected.loss, rtol=1e-5)
    assert any(np.abs(g).max() > 0.01 for g in jax.tree.leaves(expected.grads))


def test_a_weight_of_zero_leaves_the_example_out(weighted_turn):
    weighted = weighted_turn(batch_with(weights_of(0.5, r3=0, r14=50), FOURTEEN))
    expected = weighted_turn(batch_with(where=FOURTEEN & (np.arange(16) != 3)))
    assert_trees_close(weighted.grads, expected.grads)
    np.testing.assert_allclose(weighted.loss, expected.loss, rtol=1e-5)
    # Accuracy and cross-entropy count all examples alike.
    plain = weighted_turn(batch_with(where=FOURTEEN))
    assert set(plain.metrics) == {"accuracy", "cross_entropy"}
    for name, value in plain.metrics.items():
        np.testing.assert_allclose(weighted.metrics[name], value, rtol=1e-5)


def test_weights_of_one_change_nothing(toy, weighted_turn):
    weighted, plain = (
        weighted_turn(batch_with(weights, FOURTEEN)) for weights in (np.ones(16), None)
    )
    assert_trees_close(weighted.grads, plain.grads, atol=1e-7)
    whole = weighted_turn(batch_with(np.full(16, 3.0)))
    assert_trees_close(whole.grads, gradient_of(toy, random_params(toy), toy.model.apply))


def test_four_devices_weigh_as_one(weighted_turn):
    weights = np.random.default_rng(0).uniform(0, 4, 16)
    batch = batch_with(weights, FOURTEEN)
    expected = weighted_turn(batch)
    shares = jax.tree.map(lambda x: x.reshape(4, 4, *x.shape[1:]), batch)
    turn = functools.partial(weighted_turn, axis_name="d")
    got = jax.jit(jax.vmap(turn, axis_name="d"))(shares)
    for device in range(4):
        own = jax.tree.map(lambda x, device=device: x[device], got)
        assert_trees_close(own.grads, expected.grads)
        np.testing.assert_allclose(own.loss, expected.loss, rtol=1e-5)
