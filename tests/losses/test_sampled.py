"""The sampled form: unbiased, convergent, reproducible, and blind to masked rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from tcmax_jax.losses import Sampled, masked_mean, tcmax_terms
from tcmax_jax.losses.draws import independent_tuples
from tests.losses.reference import (
    ADDITIVE,
    exhaustive_tcmax_loss,
    make_batch,
    product_head,
    sampled_tcmax_loss,
)

pytestmark = pytest.mark.usefixtures("strict")


# Compiled as a whole; by single operations the loss takes far longer.
compiled_loss = jax.jit(sampled_tcmax_loss, static_argnums=(0, 4), static_argnames="stratified")
exact_loss = jax.jit(exhaustive_tcmax_loss, static_argnums=0)


def log_partition(losses, features, labels):
    """Returns the partition term that all the examples share."""
    positives = product_head(features)[np.arange(len(labels)), labels]
    terms = np.asarray(losses) + positives
    np.testing.assert_allclose(terms, terms[0], rtol=1e-5)
    return terms[0]


def test_equals_a_loop_over_the_drawn_tuples():
    features, labels = make_batch(0, modalities=3)
    key, number = jax.random.key(1), 20
    terms = []
    for rows in np.asarray(independent_tuples(key, number, 3, 5)):
        one = {m: features[m][[row]] for m, row in zip(sorted(features), rows, strict=True)}
        terms += list(product_head(one)[0] - np.log(3))
    expected = np.log(np.mean(np.exp(terms)) * 3)
    with jax.enable_x64(True):
        losses = compiled_loss(product_head, features, labels, key, number, stratified=False)
    np.testing.assert_allclose(log_partition(losses, features, labels), expected, rtol=1e-12)


def test_mean_exp_is_unbiased():
    features, labels = make_batch(1, dtype=np.float32)
    exact = log_partition(exact_loss(product_head, features, labels), features, labels)
    keys = jax.random.split(jax.random.key(0), 4000)
    loss = lambda key: sampled_tcmax_loss(product_head, features, labels, key, 16, stratified=False)
    losses = jax.jit(jax.vmap(loss))(keys)
    positives = product_head(features)[np.arange(5), labels]
    ratios = np.exp(np.asarray(losses)[:, 0] + positives[0] - exact)
    standard_error = ratios.std() / np.sqrt(len(ratios))
    assert standard_error < 0.01
    assert abs(ratios.mean() - 1) < 4 * standard_error


def test_converges_to_the_exhaustive_loss():
    features, labels = make_batch(2, dtype=np.float32)
    exact = exact_loss(product_head, features, labels)
    key = jax.random.key(3)
    few, many = (
        np.abs(compiled_loss(product_head, features, labels, key, n, stratified=False) - exact)
        for n in (10, 100_000)
    )
    assert many[0] < 0.01
    assert many[0] < few[0]


@pytest.mark.parametrize("stratified", [True, False])
def test_where_equals_dropping_the_rows(stratified):
    features, labels = make_batch(3, batch_size=9, dtype=np.float32)
    where = np.array([False, True, True, False, True, True, True, False, True])
    kept = {m: z[where] for m, z in features.items()}
    loss = jax.jit(
        lambda z, labels, where=None: sampled_tcmax_loss(
            product_head, z, labels, jax.random.key(4), 20, stratified=stratified, where=where
        )
    )
    masked = loss(features, np.where(where, labels, -1), where)
    np.testing.assert_allclose(masked[where], loss(kept, labels[where]), rtol=1e-6)
    np.testing.assert_array_equal(masked[~where], 0)


def test_tuples_cover_all_rows_of_each_modality_independently():
    tuples = np.asarray(independent_tuples(jax.random.key(5), 20_000, 2, 4))
    counts = np.zeros((4, 4))
    np.add.at(counts, tuple(tuples.T), 1)
    # 16 equally likely cells, 1250 expected in each, standard deviation 34.
    np.testing.assert_allclose(counts, 1250, atol=170)


def test_gradient_equals_finite_differences():
    features, labels = make_batch(6, batch_size=8)
    with jax.enable_x64(True):
        check_grads(
            jax.jit(
                lambda z: masked_mean(
                    sampled_tcmax_loss(product_head, z, labels, jax.random.key(0), 32)
                )
            ),
            (jax.tree.map(jnp.asarray, features),),
            order=1,
            modes="rev",
        )


def test_finite_at_extreme_logits():
    features, labels = make_batch(7, dtype=np.float32)
    features = {m: np.float32(100) * np.sign(z) for m, z in features.items()}
    mean = lambda z: sampled_tcmax_loss(product_head, z, labels, jax.random.key(0), 20).mean()
    value, gradient = jax.jit(jax.value_and_grad(mean))(features)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in gradient.values())


@pytest.mark.parametrize("head", [ADDITIVE, product_head])
def test_tuples_are_sampled_when_a_number_is_given_whatever_the_head(head):
    features, labels = make_batch(8, dtype=np.float32)
    negatives = Sampled(8, jax.random.key(9))
    terms = jax.jit(lambda z: tcmax_terms(head, z, labels, negatives=negatives))(features)
    assert terms.tuples == 8
    exact = exact_loss(head, features, labels)
    assert 1e-3 < np.abs(terms.loss - exact).max() < 10
