"""Critics and conditional models: their formulas, and that a tuple costs the scorer alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from tcmax_jax.estimators import (
    AdditiveCritic,
    Conditional,
    JointCritic,
    SeparableCritic,
    club,
    donsker_varadhan,
    ground_truth,
)
from tcmax_jax.estimators.club import categorical_log_likelihood, gaussian_log_likelihood

NAMES = ("a", "b", "c")
RNG = np.random.default_rng(0)
SAMPLES = {m: jnp.asarray(RNG.normal(size=(6, i + 1)), jnp.float32) for i, m in enumerate(NAMES)}


def random_params(critic):
    params = critic.init(jax.random.key(0), SAMPLES)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)


@pytest.mark.parametrize("critic", [JointCritic, SeparableCritic, AdditiveCritic])
def test_tuples_of_embedded_rows_score_as_embedded_tuples(critic):
    critic = critic(NAMES, (4,))
    params = random_params(critic)
    tuples = RNG.integers(0, 6, (10, 3))
    embeddings = critic.apply(params, SAMPLES, method="embed")
    picked = {m: embeddings[m][tuples[:, i]] for i, m in enumerate(NAMES)}
    scores = critic.apply(params, picked, method="score")
    direct = critic.apply(params, {m: SAMPLES[m][tuples[:, i]] for i, m in enumerate(NAMES)})
    assert scores.shape == (10,)
    np.testing.assert_allclose(scores, direct, rtol=2e-4)
    assert np.ptp(scores) > 0.1
    # Pairs of groups: entry [i, j] joins (a, b) of example i and c of example j.
    spread = {m: e[None] if m == "c" else e[:, None] for m, e in embeddings.items()}
    grid = critic.apply(params, spread, method="score")
    assert grid.shape == (6, 6)
    mixed = critic.apply(params, SAMPLES | {"c": SAMPLES["c"][::-1]})
    np.testing.assert_allclose(jnp.diagonal(grid[:, ::-1]), mixed, rtol=2e-4)


def test_separable_critic_is_a_mean_of_products():
    critic = SeparableCritic(NAMES, (4,), 5)
    params = random_params(critic)
    factors = critic.apply(params, SAMPLES, method="embed")
    expected = np.mean(np.prod([factors[m] for m in NAMES], axis=0), axis=-1)
    np.testing.assert_allclose(critic.apply(params, SAMPLES), expected, rtol=1e-4)


def test_additive_critic_has_no_interaction_of_three():
    critic = AdditiveCritic(NAMES, (4,), 5)
    params = random_params(critic)
    changed = lambda names: {m: SAMPLES[m] + (1.0 if m in names else 0.0) for m in NAMES}
    score = lambda *names: np.asarray(critic.apply(params, changed(names)), np.float64)
    third = score("a", "b", "c") - score("a", "b") - score("a", "c") - score("b", "c")
    third += score("a") + score("b") + score("c") - score()
    np.testing.assert_allclose(third, 0, atol=2e-3)
    second = score("a", "b") - score("a") - score("b") + score()
    assert np.all(np.abs(second) > 1e-2)


@pytest.mark.parametrize("seed", range(3))
def test_additive_critic_is_blind_to_xor(seed):
    cube = np.array(list(np.ndindex(2, 2, 2)))
    samples = {m: jnp.eye(2)[cube[:, i]] for i, m in enumerate(NAMES)}
    critic = AdditiveCritic(NAMES, (4,))
    params = critic.init(jax.random.key(0), samples)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)
    scores = critic.apply(params, samples)
    even = jnp.asarray(cube.sum(1) % 2 == 0, jnp.float32)
    assert donsker_varadhan(scores, scores, joint_weights=even) <= 1e-4


def test_likelihoods_against_scipy():
    y, average, deviation = RNG.normal(size=(3, 4, 2))
    deviation = np.exp(deviation)
    expected = scipy.stats.norm.logpdf(y, average, deviation).sum(-1)
    value = gaussian_log_likelihood(*map(jnp.asarray, (y, average, 2 * np.log(deviation))))
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    logits = RNG.normal(size=(4, 3))
    one_hot = np.eye(3)[[0, 2, 1, 1]]
    expected = np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[range(4), [0, 2, 1, 1]]
    value = categorical_log_likelihood(jnp.asarray(one_hot), jnp.asarray(logits))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_club_is_an_upper_bound_with_the_exact_conditional_and_not_with_a_poor_one():
    rho = 0.8
    samples = ground_truth.sample_equicorrelated(
        jax.random.key(0), 2000, rho, num_variables=2, dim=1
    )
    x, y = samples["x1"], samples["x2"]
    truth = -0.5 * np.log(1 - rho**2)
    variance = jnp.log(1 - rho**2)
    exact = gaussian_log_likelihood(y[None], rho * x[:, None], variance)
    # In closed form CLUB is rho^2 / (1 - rho^2) here.
    np.testing.assert_allclose(club(exact), rho**2 / (1 - rho**2), rtol=0.1)
    assert club(exact) > truth
    poor = gaussian_log_likelihood(y[None], -rho * x[:, None], variance)
    assert club(poor) < 0


def test_conditional_models_several_variables_of_both_kinds():
    samples = {"x": SAMPLES["c"], "y": jnp.eye(2)[jnp.array([0, 1, 1, 0, 1, 0])], "z": SAMPLES["b"]}
    model = Conditional(("x",), ("y", "z"), frozenset("y"), (4,))
    params = model.init(jax.random.key(0), samples)
    value = model.apply(params, samples)
    embeddings = model.apply(params, samples, method="embed")
    average, raw = jnp.split(embeddings["prediction of z"], 2, axis=-1)
    expected = categorical_log_likelihood(samples["y"], embeddings["prediction of y"])
    expected += gaussian_log_likelihood(samples["z"], average, 8 * jnp.tanh(raw / 8))
    assert embeddings["prediction of y"].shape == (6, 2)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
