"""The adaptive number of negatives: as accurate as asked, no more work than needed."""

import jax
import numpy as np
import pytest

from tcmax_jax.losses import (
    adaptive_tcmax_loss,
    exhaustive_tcmax_loss,
    masked_mean,
    tcmax_loss,
    tcmax_terms,
)
from tcmax_jax.losses.adaptive import adaptive_terms
from tests.losses.reference import PRODUCT, make_batch, product_head

pytestmark = pytest.mark.usefixtures("strict")
SHARED = {"label_prior": None, "where": None, "axis_name": None}


def run(scale, target_error=0.05, max_negatives=2**16, keys=200, modalities=2, batch_size=64):
    """Returns (errors of the log-partition, terms), each over many keys."""
    features, labels = make_batch(
        0, batch_size=batch_size, modalities=modalities, scale=scale, dtype=np.float32
    )
    exact = tcmax_terms(PRODUCT, features, labels).log_partition
    options = {"target_error": target_error, "max_negatives": max_negatives, **SHARED}
    terms = jax.jit(
        jax.vmap(lambda key: adaptive_terms(PRODUCT, features, labels, key, **options))
    )(jax.random.split(jax.random.key(1), keys))
    return np.asarray(terms.log_partition - exact), terms


def test_the_error_is_what_was_asked_for():
    # Scaled so that the weights differ by factors of a hundred, as they do late in training.
    errors, terms = run(scale=1.2)
    assert np.sqrt(np.mean(errors**2)) < 1.25 * 0.05
    assert np.all(terms.standard_error <= 0.05)
    assert np.all(terms.tuples < 64**2)


def test_the_stated_standard_error_is_the_spread_that_there_is():
    # With no target within reach the number of tuples is fixed: 16 of 64 passes.
    errors, terms = run(scale=1.0, target_error=1e-9, max_negatives=16 * 64)
    np.testing.assert_array_equal(terms.tuples, 16 * 64)
    stated = np.sqrt(np.mean(np.asarray(terms.standard_error) ** 2))
    np.testing.assert_allclose(stated, errors.std(), rtol=0.2)


def test_even_weights_take_few_tuples_and_uneven_ones_more():
    few, more = (run(scale, keys=20)[1].tuples for scale in (0.1, 1.2))
    np.testing.assert_array_equal(few, 8 * 64)
    assert np.all(more > 8 * 64)


def test_exact_when_all_tuples_are_needed():
    # A target that cannot be met below the full round of 12 passes.
    errors, terms = run(scale=1.0, target_error=1e-9, batch_size=12, keys=3)
    np.testing.assert_array_equal(terms.tuples, 144)
    np.testing.assert_allclose(terms.standard_error, 0)
    np.testing.assert_allclose(errors, 0, atol=1e-5)


@pytest.mark.parametrize("head", [product_head, PRODUCT])
def test_value_and_gradient_of_a_full_round_equal_exhaustive(head):
    features, labels = make_batch(2, batch_size=5, modalities=3, dtype=np.float32)
    where = np.array([True, True, False, True, True])

    def mean(loss, features):
        return masked_mean(loss(features), where=where)

    adaptive = lambda z: adaptive_tcmax_loss(
        head, z, labels, jax.random.key(3), target_error=1e-9, where=where
    )
    exhaustive = lambda z: exhaustive_tcmax_loss(head, z, labels, where=where)
    value, gradient = jax.value_and_grad(lambda z: mean(adaptive, z))(features)
    expected, expected_gradient = jax.value_and_grad(lambda z: mean(exhaustive, z))(features)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for m in features:
        np.testing.assert_allclose(gradient[m], expected_gradient[m], rtol=1e-4, atol=1e-6)


def test_gradient_is_that_of_the_visited_tuples():
    features, labels = make_batch(4, batch_size=20)
    with jax.enable_x64(True):
        loss = lambda z: adaptive_tcmax_loss(
            product_head, z, labels, jax.random.key(0), max_negatives=100
        ).mean()
        gradient = jax.grad(loss)(features)
        step = 1e-6 * np.eye(20, 3)
        up, down = (float(loss(features | {"m0": features["m0"] + s * step})) for s in (1, -1))
    along = np.sum(np.asarray(gradient["m0"]) * np.eye(20, 3))
    np.testing.assert_allclose(along, (up - down) / 2e-6, rtol=1e-6)


def test_finite_at_extreme_logits():
    features, labels = make_batch(5, batch_size=32, dtype=np.float32)
    features = {m: np.float32(100) * np.sign(z) for m, z in features.items()}
    loss = lambda z: adaptive_tcmax_loss(product_head, z, labels, jax.random.key(0)).mean()
    value, gradient = jax.value_and_grad(loss)(features)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in gradient.values())


def test_tcmax_loss_takes_it_by_name():
    features, labels = make_batch(6, dtype=np.float32)
    key = jax.random.key(9)
    np.testing.assert_array_equal(
        tcmax_loss(product_head, features, labels, num_negatives="adaptive", key=key),
        adaptive_tcmax_loss(product_head, features, labels, key),
    )
