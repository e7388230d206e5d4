"""The adaptive number of negatives: as accurate as asked, no more work than needed."""

import functools

import jax
import numpy as np
import pytest

from tcmax_jax.losses import Adaptive, masked_mean, tcmax_terms
from tests.losses.reference import (
    PRODUCT,
    adaptive_tcmax_loss,
    make_batch,
    product_head,
)

pytestmark = pytest.mark.usefixtures("strict")
ROWS, KEPT = 40, 30  # of batches with and without masked rows: few sizes take few programs


def run(weight, scale=0.5, target_error=0.05, max_negatives=2**16, keys=200, batch_size=64):
    """Returns (errors of the log-partition, terms), each over many keys.

    The larger the weight, the more the tuples within a class dominate, as they do late in training.
    """
    features, labels = make_batch(0, batch_size=batch_size, scale=scale, dtype=np.float32)
    centres = weight * np.eye(3, dtype=np.float32)[labels]
    features = {m: z + centres for m, z in features.items()}
    exact = exact_terms(PRODUCT, features, labels).log_partition
    terms = draws(features, labels, target_error, max_negatives, keys)
    return np.asarray(terms.log_partition - exact), terms


exact_terms = jax.jit(tcmax_terms, static_argnums=0)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def draws(features, labels, target_error, max_negatives, keys):
    """Returns the terms of each key."""
    negatives = lambda key: Adaptive(key, target_error, max_negatives)
    terms = lambda key: tcmax_terms(PRODUCT, features, labels, negatives=negatives(key))
    return jax.vmap(terms)(jax.random.split(jax.random.key(1), keys))


@pytest.mark.parametrize("weight", [0, 2])
def test_the_error_is_what_was_asked_for(weight):
    errors, terms = run(weight, target_error=0.02)
    assert np.sqrt(np.mean(errors**2)) < 1.25 * 0.02
    assert np.all(terms.standard_error <= 0.02)
    assert np.all(terms.tuples < 64**2)


def test_heavy_tails_are_found_late():
    # Nothing ties the features to the labels, and few tuples of any kind weigh e^10 and more. What
    # has not been drawn cannot be known: the error exceeds the target, by a bounded factor.
    errors, terms = run(0, scale=1.2)
    assert 0.05 < np.sqrt(np.mean(errors**2)) < 2 * 0.05
    assert np.mean(terms.standard_error) < 0.05


def test_the_stated_standard_error_is_the_spread_that_there_is():
    # With no target within reach the number of tuples is fixed: 8 passes of each kind.
    errors, terms = run(1, target_error=1e-9, max_negatives=16 * 64)
    np.testing.assert_array_equal(terms.tuples, 16 * 64)
    stated = np.sqrt(np.mean(np.asarray(terms.standard_error) ** 2))
    np.testing.assert_allclose(stated, errors.std(), rtol=0.2)


def test_even_weights_take_few_tuples_and_uneven_ones_more():
    few, more = (run(2, scale, target_error=0.02)[1].tuples for scale in (0.1, 0.7))
    np.testing.assert_array_equal(few, 16 * 64)
    assert np.all(more > 16 * 64)


def test_all_passes_are_all_but_exact():
    # Not quite: classes of other sizes are amid a round, passes across have unequal counts.
    errors, terms = run(1, target_error=1e-9, batch_size=KEPT, keys=20)
    assert np.all(terms.standard_error < 0.01)
    assert np.sqrt(np.mean(errors**2)) < 0.01


@pytest.mark.parametrize("head", [product_head, PRODUCT])
def test_few_tuples_are_all_taken(head):
    features, labels = make_batch(2, batch_size=5, dtype=np.float32)
    terms = tcmax_terms(head, features, labels, negatives=Adaptive(jax.random.key(0)))
    exact = tcmax_terms(head, features, labels)
    assert terms.tuples == 25
    np.testing.assert_array_equal(terms.loss, exact.loss)


@jax.jit
@jax.value_and_grad
def differentiate(features, labels, where=None):
    """Returns the mean loss and its gradient."""
    losses = adaptive_tcmax_loss(PRODUCT, features, labels, jax.random.key(3), where=where)
    return masked_mean(losses, where=where)


def test_where_equals_dropping_the_rows_in_value_and_gradient():
    features, labels = make_batch(3, batch_size=ROWS, dtype=np.float32)
    where = np.arange(ROWS) % 4 > 0
    assert where.sum() == KEPT
    spoiled = {m: np.where(where[:, None], z, np.float32(np.nan)) for m, z in features.items()}
    kept = {m: z[where] for m, z in features.items()}
    value, gradient = differentiate(spoiled, np.where(where, labels, -1), where)
    expected, expected_gradient = differentiate(kept, labels[where])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for m in features:
        np.testing.assert_allclose(gradient[m][where], expected_gradient[m], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(gradient[m][~where], 0)


def test_no_valid_row_gives_zero_loss_and_zero_gradient():
    features, labels = make_batch(4, batch_size=ROWS, dtype=np.float32)
    value, gradient = differentiate(features, labels, np.zeros(ROWS, bool))
    assert value == 0
    assert all(np.all(g == 0) for g in gradient.values())


def test_one_class_alone_has_nothing_across():
    features, _ = make_batch(5, batch_size=KEPT, dtype=np.float32)
    labels = np.ones(KEPT, np.int32)
    value, gradient = differentiate(features, labels)
    exact = exact_terms(PRODUCT, features, labels).loss.mean()
    np.testing.assert_allclose(value, exact, atol=0.15)
    assert all(np.all(np.isfinite(g)) for g in gradient.values())


def test_gradient_is_that_of_the_visited_tuples():
    features, labels = make_batch(4, batch_size=40)
    with jax.enable_x64(True):
        loss = jax.jit(
            lambda z: adaptive_tcmax_loss(
                product_head, z, labels, jax.random.key(0), max_negatives=400
            ).mean()
        )
        gradient = jax.jit(jax.grad(loss))(features)
        step = 1e-6 * np.eye(40, 3)
        up, down = (float(loss(features | {"m0": features["m0"] + s * step})) for s in (1, -1))
    along = np.sum(np.asarray(gradient["m0"]) * np.eye(40, 3))
    np.testing.assert_allclose(along, (up - down) / 2e-6, rtol=1e-6)


def test_finite_at_extreme_logits():
    features, labels = make_batch(5, batch_size=KEPT, dtype=np.float32)
    features = {m: np.float32(100) * np.sign(z) for m, z in features.items()}
    value, gradient = differentiate(features, labels)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in gradient.values())
