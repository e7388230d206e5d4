"""Stratified draws: two kinds of tuples, every row equally often, no bias, less variance."""

import functools
import itertools

import jax
import numpy as np
import pytest

from tcmax_jax.losses import draws
from tcmax_jax.losses.draws import draw_orders
from tests.losses.reference import (
    PRODUCT,
    exhaustive_tcmax_loss,
    make_batch,
    product_head,
    sampled_tcmax_loss,
)

pytestmark = pytest.mark.usefixtures("strict")


# By single operations all of them take far longer.
compiled_orders = jax.jit(draw_orders, static_argnums=2)
tuples_of_all = jax.jit(draws.tuples_of_all)
tuples_within_classes = jax.jit(draws.tuples_within_classes)
exact_loss = jax.jit(exhaustive_tcmax_loss, static_argnums=0)
compiled_loss = jax.jit(sampled_tcmax_loss, static_argnums=(0, 4))


def orders_of(seed, modalities, labels, where=None):
    return compiled_orders(jax.random.key(seed), np.asarray(labels), modalities, where=where)


@pytest.mark.parametrize(("modalities", "rows"), [(2, 6), (3, 4), (3, 5), (4, 3)])
def test_a_full_round_gives_every_tuple_once(modalities, rows):
    labels = np.arange(rows) % 2
    tuples, across = tuples_of_all(orders_of(0, modalities, labels), np.arange(rows**modalities))
    assert len(np.unique(tuples, axis=0)) == rows**modalities
    for one_pass in np.asarray(tuples).reshape(-1, rows, modalities):
        np.testing.assert_array_equal(np.sort(one_pass, axis=0).T, [np.arange(rows)] * modalities)
    np.testing.assert_array_equal(across, [len(set(labels[t])) > 1 for t in np.asarray(tuples)])


def test_every_pair_of_modalities_meets_anew_in_the_first_passes():
    rows = 7
    tuples, _ = tuples_of_all(orders_of(1, 3, np.zeros(rows, int)), np.arange(rows**2))
    for pair in ([0, 1], [0, 2], [1, 2]):
        assert len(np.unique(np.asarray(tuples)[:, pair], axis=0)) == rows**2


@pytest.mark.parametrize("modalities", [2, 3])
def test_tuples_within_classes(modalities):
    labels = np.array([4, 0, 4, 2, 4, 0])  # three rows of one class, two of another, one alone
    orders = orders_of(2, modalities, labels)
    expected = {
        t
        for t in itertools.product(range(6), repeat=modalities)
        if len({labels[i] for i in t}) == 1
    }
    passes = 6 ** (modalities - 1)  # both 3 and 2 go into it
    tuples, counts = map(np.asarray, tuples_within_classes(orders, np.arange(6 * passes)))
    # Weighted by their counts all tuples have occurred equally often.
    weights = dict.fromkeys(expected, 0)
    for t, count in zip(tuples, counts, strict=True):
        weights[tuple(t)] += count
    np.testing.assert_array_equal(list(weights.values()), passes)
    np.testing.assert_allclose(orders.share_within(), len(expected) / 6**modalities, rtol=1e-6)
    for one_pass in tuples.reshape(passes, 6, modalities):
        np.testing.assert_array_equal(np.sort(one_pass, axis=0).T, [np.arange(6)] * modalities)


def test_a_tuple_within_a_class_by_itself_is_uniform_but_for_its_count():
    labels = np.array([0, 0, 1])
    keys = jax.random.split(jax.random.key(5), 9000)
    draw = lambda key: tuples_within_classes(draw_orders(key, labels, 2), np.array([1]))
    tuples, counts = map(np.asarray, jax.jit(jax.vmap(draw))(keys))
    weights = np.zeros((3, 3))
    np.add.at(weights, tuple(tuples[:, 0].T), counts[:, 0])
    # The four tuples of the first class come in 1500 draws of 9000 each and count twice, the one of
    # the second in 3000; standard deviations 71 and 45.
    expected = 3000 * (labels[:, None] == labels[None])
    np.testing.assert_allclose(weights, expected, atol=350)


def test_masked_rows_are_never_drawn():
    where, labels = np.array([True, False, True, True, False]), np.array([1, 1, 1, 0, -1])
    orders = orders_of(3, 3, labels, where)
    numbers = np.arange(27)
    everything, _ = tuples_of_all(orders, numbers)
    assert len(np.unique(everything, axis=0)) == 27
    assert set(np.asarray(everything).ravel()) == {0, 2, 3}
    within, _ = tuples_within_classes(orders, numbers)
    expected = {(3, 3, 3), *itertools.product((0, 2), repeat=3)}
    assert {tuple(t) for t in np.asarray(within)} == expected
    np.testing.assert_allclose(orders.share_within(), 9 / 27, rtol=1e-6)


def test_a_tuple_by_itself_is_uniform():
    labels = np.array([0, 0, 1])
    keys = jax.random.split(jax.random.key(4), 9000)
    draw = lambda key: tuples_of_all(draw_orders(key, labels, 2), np.array([4]))[0][0]
    counts = np.zeros((3, 3))
    np.add.at(counts, tuple(np.asarray(jax.jit(jax.vmap(draw))(keys)).T), 1)
    # Nine equally likely tuples, 1000 expected of each, standard deviation 30.
    np.testing.assert_allclose(counts, 1000, atol=150)


@pytest.mark.parametrize("modalities", [2, 3])
def test_all_tuples_give_the_exhaustive_loss(modalities):
    features, labels = make_batch(4, batch_size=4, modalities=modalities, dtype=np.float32)
    np.testing.assert_allclose(
        compiled_loss(product_head, features, labels, jax.random.key(0), 4**modalities),
        exact_loss(product_head, features, labels),
        rtol=1e-5,
    )


def class_batch(weight):
    """Two views of three classes; the larger the weight, the more tuples within a class count."""
    features, labels = make_batch(5, batch_size=24, scale=0.5, dtype=np.float32)
    return {
        m: z + weight * np.eye(3, dtype=np.float32)[labels] for m, z in features.items()
    }, labels


@functools.partial(jax.jit, static_argnames="stratified")
def many_losses(features, labels, where, stratified):
    """Returns the loss of row 1 from each of many draws of 100 of the 576 tuples."""
    loss = lambda key: sampled_tcmax_loss(
        PRODUCT, features, labels, key, 100, stratified=stratified, where=where
    )[1]
    return jax.vmap(loss)(jax.random.split(jax.random.key(6), 2000))


@pytest.mark.parametrize("where", [None, np.arange(24) % 5 > 0])
@pytest.mark.parametrize(("weight", "share"), [(0, 0.85), (1.5, 0.2)])
def test_less_variance_than_independent_draws_and_no_bias(weight, share, where):
    features, labels = class_batch(weight)
    exact = exact_loss(PRODUCT, features, labels, where=where)[1]
    # Partition functions relative to the exact one.
    stratified, independent = (
        np.exp(np.asarray(many_losses(features, labels, where, each)) - exact)
        for each in (True, False)
    )
    assert stratified.var() < share * independent.var()
    for r in (stratified, independent):
        assert abs(r.mean() - 1) < 4 * r.std() / np.sqrt(len(r))


def test_equal_weights_leave_no_error():
    features, labels = make_batch(6, dtype=np.float32)
    flat = {m: 0 * z for m, z in features.items()}
    losses = compiled_loss(product_head, flat, labels, jax.random.key(0), 9)
    np.testing.assert_allclose(losses, 0, atol=1e-6)
