"""Bounds as functions of critic values: against NumPy, their gradients, extremes and ceilings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.estimators import (
    club,
    club_sampled,
    donsker_varadhan,
    infonce,
    jensen_shannon,
    js_nwj,
    mine_objective,
    nwj,
    smile,
    tcne,
)
from tcmax_jax.estimators.bounds import off_diagonal

# Compiled as a whole: by single operations they take far longer.
club, club_sampled, donsker_varadhan = map(jax.jit, (club, club_sampled, donsker_varadhan))
infonce, jensen_shannon, js_nwj = map(jax.jit, (infonce, jensen_shannon, js_nwj))
mine_objective, nwj, smile = map(jax.jit, (mine_objective, nwj, smile))
tcne = jax.jit(tcne, static_argnames="with_true")

RNG = np.random.default_rng(0)
JOINT, PRODUCT = RNG.normal(1, 2, 7), RNG.normal(-1, 3, 11)
SCORES = RNG.normal(0, 2, (6, 6))
WEIGHTS = RNG.uniform(0.5, 2, 7), RNG.uniform(0.5, 2, 11)


def as_jax(*arrays):
    return [jnp.asarray(x, jnp.float32) for x in arrays]


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (donsker_varadhan, JOINT.mean() - np.log(np.exp(PRODUCT).mean())),
        (nwj, JOINT.mean() - np.exp(PRODUCT).mean() / np.e),
        (js_nwj, 1 + JOINT.mean() - np.exp(PRODUCT).mean()),
        (smile, JOINT.mean() - np.log(np.exp(np.clip(PRODUCT, -5, 5)).mean())),
        (jensen_shannon, log_sigmoid(JOINT).mean() + log_sigmoid(-PRODUCT).mean()),
        (
            tcne,
            np.mean([t - np.log((np.exp(t) + np.exp(PRODUCT).sum()) / 12) for t in JOINT]),
        ),
        (club_sampled, JOINT.mean() - PRODUCT.mean()),
    ],
)
def test_values_of_joint_and_product(bound, expected):
    np.testing.assert_allclose(bound(*as_jax(JOINT, PRODUCT)), expected, rtol=2e-6)


def test_values_of_all_pairs():
    rows = [SCORES[i, i] - np.log(np.exp(SCORES[i]).mean()) for i in range(6)]
    np.testing.assert_allclose(infonce(*as_jax(SCORES)), np.mean(rows), rtol=1e-5)
    expected = np.trace(SCORES) / 6 - SCORES.mean()
    np.testing.assert_allclose(club(*as_jax(SCORES)), expected, rtol=1e-5)
    others = SCORES[~np.eye(6, dtype=bool)]
    np.testing.assert_allclose(off_diagonal(SCORES), others)


@pytest.mark.parametrize("bound", [donsker_varadhan, nwj, js_nwj, smile, tcne])
def test_whole_weights_are_repetitions(bound):
    joint_weights, product_weights = np.array([1, 2, 3, 1, 1, 2, 1]), np.arange(1, 12)
    weights = {"joint_weights": joint_weights, "product_weights": product_weights}
    weighted = bound(*as_jax(JOINT, PRODUCT), **weights)
    product = np.repeat(PRODUCT, product_weights)
    if bound is tcne:  # its N is that of the tuples, whatever their weights
        log_sum = np.log(11 * np.exp(product).mean())
        terms = JOINT - np.logaddexp(JOINT, log_sum) + np.log(12)
        expected = np.average(terms, weights=joint_weights)
    else:
        expected = bound(*as_jax(np.repeat(JOINT, joint_weights), product))
    np.testing.assert_allclose(weighted, expected, rtol=1e-5)


@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_critic_values_stay_finite(sign):
    joint, product = as_jax(1e4 * sign * np.ones(4), -1e4 * sign * np.ones(5))
    for bound in (donsker_varadhan, smile, tcne, jensen_shannon):
        value, gradient = jax.value_and_grad(bound, argnums=(0, 1))(joint, product)
        assert jnp.isfinite(value), bound
        assert all(jnp.all(jnp.isfinite(g)) for g in gradient), bound
    scores = 1e4 * sign * (2 * jnp.eye(4) - 1)
    assert jnp.isfinite(infonce(scores)) and jnp.isfinite(club(scores))
    objective, log_average = mine_objective(joint, product, jnp.float32(0))
    assert jnp.isfinite(objective) and jnp.isfinite(log_average)


def test_nwj_overflows_by_definition():
    assert nwj(jnp.zeros(3), jnp.full(3, 1e4)) == -jnp.inf
    assert jnp.isfinite(nwj(jnp.zeros(3), jnp.full(3, -1e4)))


def test_mine_gradient_divides_by_the_moving_average():
    joint, product = as_jax(JOINT, PRODUCT)
    average, rate = 2.5, 0.1
    objective = lambda j, p: mine_objective(j, p, jnp.log(average), rate=rate)
    (to_joint, to_product), log_average = jax.grad(objective, argnums=(0, 1), has_aux=True)(
        joint, product
    )
    moved = (1 - rate) * average + rate * np.exp(PRODUCT).mean()
    np.testing.assert_allclose(jnp.exp(log_average), moved, rtol=1e-5)
    np.testing.assert_allclose(to_joint, np.full(7, 1 / 7), rtol=1e-5)
    np.testing.assert_allclose(to_product, -np.exp(PRODUCT) / 11 / moved, rtol=1e-5)
    # With the batch's own mean in place of the average it is the gradient of Donsker-Varadhan.
    own = jax.grad(lambda p: mine_objective(joint, p, jnp.log(average), rate=1 - 1e-7)[0])(product)
    expected = jax.grad(donsker_varadhan, argnums=1)(joint, product)
    np.testing.assert_allclose(own, expected, rtol=1e-4)


def test_smile_clips_the_denominator_alone():
    joint, product = as_jax(10 * JOINT, 10 * PRODUCT)
    np.testing.assert_allclose(
        smile(joint, product, clip=jnp.inf), donsker_varadhan(joint, product), rtol=1e-6
    )
    to_joint, to_product = jax.grad(smile, argnums=(0, 1))(joint, product)
    np.testing.assert_allclose(to_joint, np.full(7, 1 / 7), rtol=1e-5)
    assert np.all(np.asarray(to_product)[np.abs(10 * PRODUCT) > 5] == 0)
    assert smile(joint, product, clip=1.0) != smile(joint, product, clip=5.0)


@pytest.mark.parametrize("seed", range(5))
def test_ceilings_hold_for_any_critic(seed):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-1, 4)
    scores = jnp.asarray(scale * (rng.normal(size=(8, 8)) + 3 * np.eye(8)), jnp.float32)
    # Rounding is relative to the scores.
    rounding = 1e-6 * float(jnp.max(jnp.abs(scores)))
    assert infonce(scores) <= np.log(8) + rounding
    joint, product = as_jax(scale * rng.normal(3, 1, 8), scale * rng.normal(size=31))
    assert tcne(joint, product) <= np.log(32) + 1e-6 * float(jnp.max(jnp.abs(joint)))
    without = tcne(joint, product, with_true=False)
    np.testing.assert_allclose(without, donsker_varadhan(joint, product), rtol=1e-6)


def test_the_ceilings_are_reached():
    np.testing.assert_allclose(infonce(100 * jnp.eye(8)), np.log(8), rtol=1e-5)
    np.testing.assert_allclose(tcne(jnp.full(3, 100.0), jnp.zeros(31)), np.log(32), rtol=1e-5)
