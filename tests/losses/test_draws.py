"""Stratified draws: every row equally often, no tuple twice, all of them in the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.losses import exhaustive_tcmax_loss, sampled_tcmax_loss
from tcmax_jax.losses.draws import draw_shuffles, stratified_tuples
from tests.losses.reference import PRODUCT, make_batch, product_head

pytestmark = pytest.mark.usefixtures("strict")


def draw(seed, count, modalities, batch_size, where=None):
    shuffles = draw_shuffles(jax.random.key(seed), modalities, batch_size, where=where)
    return np.asarray(stratified_tuples(shuffles, jnp.arange(count)))


@pytest.mark.parametrize(("modalities", "rows"), [(2, 6), (3, 4), (3, 5), (4, 3)])
def test_a_full_round_gives_every_tuple_once(modalities, rows):
    tuples = draw(0, rows**modalities, modalities, rows)
    assert len(np.unique(tuples, axis=0)) == rows**modalities
    for one_pass in tuples.reshape(-1, rows, modalities):
        np.testing.assert_array_equal(np.sort(one_pass, axis=0).T, [np.arange(rows)] * modalities)


def test_every_pair_of_modalities_meets_anew_in_the_first_passes():
    rows = 7
    tuples = draw(1, rows**2, 3, rows)
    for pair in ([0, 1], [0, 2], [1, 2]):
        assert len(np.unique(tuples[:, pair], axis=0)) == rows**2


def test_masked_rows_are_never_drawn():
    where = jnp.array([True, False, True, True, False])
    tuples = draw(2, 27, 3, 5, where)
    assert len(np.unique(tuples, axis=0)) == 27
    assert set(tuples.ravel()) == {0, 2, 3}


def test_a_tuple_by_itself_is_uniform():
    shuffles = jax.vmap(lambda key: draw_shuffles(key, 2, 3))(
        jax.random.split(jax.random.key(3), 9000)
    )
    number_four = jax.vmap(lambda s: stratified_tuples(s, jnp.array([4]))[0])(shuffles)
    counts = np.zeros((3, 3))
    np.add.at(counts, tuple(np.asarray(number_four).T), 1)
    # Nine equally likely tuples, 1000 expected of each, standard deviation 30.
    np.testing.assert_allclose(counts, 1000, atol=150)


@pytest.mark.parametrize("modalities", [2, 3])
def test_all_tuples_give_the_exhaustive_loss(modalities):
    features, labels = make_batch(4, batch_size=4, modalities=modalities, dtype=np.float32)
    np.testing.assert_allclose(
        sampled_tcmax_loss(product_head, features, labels, jax.random.key(0), 4**modalities),
        exhaustive_tcmax_loss(product_head, features, labels),
        rtol=1e-5,
    )


# Late in training few tuples dominate, whichever rows they share, and strata help less.
@pytest.mark.parametrize(("scale", "share"), [(0.3, 0.25), (1.0, 0.9)])
def test_less_variance_than_independent_draws_and_no_bias(scale, share):
    features, labels = make_batch(5, batch_size=12, scale=scale, dtype=np.float32)
    exact = exhaustive_tcmax_loss(PRODUCT, features, labels)[0]
    keys = jax.random.split(jax.random.key(6), 2000)

    def ratios(stratified):
        """Partition functions relative to the exact one, from 24 of the 144 tuples."""
        loss = lambda key: sampled_tcmax_loss(
            PRODUCT, features, labels, key, 24, stratified=stratified
        )[0]
        return np.exp(np.asarray(jax.vmap(loss)(keys)) - exact)

    stratified, independent = ratios(True), ratios(False)
    assert stratified.var() < share * independent.var()
    for r in (stratified, independent):
        assert abs(r.mean() - 1) < 4 * r.std() / np.sqrt(len(r))
