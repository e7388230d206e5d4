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
from tests.models.random_params import randomised

NAMES = ("a", "b", "c")
RNG = np.random.default_rng(0)
SAMPLES = {m: RNG.normal(size=(6, i + 1)).astype(np.float32) for i, m in enumerate(NAMES)}


def random_params(critic, samples=SAMPLES, seed=1):
    return randomised(jax.eval_shape(critic.init, jax.random.key(0), samples), seed)


def compiled(model):
    """Returns its function (params, samples, method=None); single operations take far longer."""
    return jax.jit(model.apply, static_argnames="method")


@pytest.mark.parametrize("critic", [JointCritic, SeparableCritic, AdditiveCritic])
def test_tuples_of_embedded_rows_score_as_embedded_tuples(critic):
    critic = critic(NAMES, (4,))
    params, apply = random_params(critic), compiled(critic)
    tuples = RNG.integers(0, 6, (10, 3))
    embeddings = jax.device_get(apply(params, SAMPLES, method="embed"))
    picked = {m: embeddings[m][tuples[:, i]] for i, m in enumerate(NAMES)}
    scores = apply(params, picked, method="score")
    direct = apply(params, {m: SAMPLES[m][tuples[:, i]] for i, m in enumerate(NAMES)})
    assert scores.shape == (10,)
    np.testing.assert_allclose(scores, direct, rtol=2e-4)
    assert np.ptp(scores) > 0.1
    # Pairs of groups: entry [i, j] joins (a, b) of example i and c of example j.
    spread = {m: e[None] if m == "c" else e[:, None] for m, e in embeddings.items()}
    grid = apply(params, spread, method="score")
    assert grid.shape == (6, 6)
    mixed = apply(params, SAMPLES | {"c": SAMPLES["c"][::-1]})
    np.testing.assert_allclose(np.diagonal(grid[:, ::-1]), mixed, rtol=2e-4)


def test_separable_critic_is_a_mean_of_products():
    critic = SeparableCritic(NAMES, (4,), 5)
    params, apply = random_params(critic), compiled(critic)
    factors = apply(params, SAMPLES, method="embed")
    expected = np.mean(np.prod([factors[m] for m in NAMES], axis=0), axis=-1)
    np.testing.assert_allclose(apply(params, SAMPLES), expected, rtol=1e-4)


def test_additive_critic_has_no_interaction_of_three():
    critic = AdditiveCritic(NAMES, (4,), 5)
    params, apply = random_params(critic), compiled(critic)
    changed = lambda names: {m: SAMPLES[m] + (1.0 if m in names else 0.0) for m in NAMES}
    score = lambda *names: np.asarray(apply(params, changed(names)), np.float64)
    third = score("a", "b", "c") - score("a", "b") - score("a", "c") - score("b", "c")
    third += score("a") + score("b") + score("c") - score()
    np.testing.assert_allclose(third, 0, atol=2e-3)
    second = score("a", "b") - score("a") - score("b") + score()
    assert np.all(np.abs(second) > 1e-2)


@pytest.mark.parametrize("seed", range(3))
def test_additive_critic_is_blind_to_xor(seed):
    cube = np.array(list(np.ndindex(2, 2, 2)))
    samples = {m: np.eye(2, dtype=np.float32)[cube[:, i]] for i, m in enumerate(NAMES)}
    critic = AdditiveCritic(NAMES, (4,))
    scores = compiled(critic)(random_params(critic, samples, seed), samples)
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
    labels = np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1, 0]]
    samples = {"x": SAMPLES["c"], "y": labels, "z": SAMPLES["b"]}
    model = Conditional(("x",), ("y", "z"), frozenset("y"), (4,))
    params, apply = random_params(model, samples), compiled(model)
    value = apply(params, samples)
    embeddings = jax.device_get(apply(params, samples, method="embed"))
    average, raw = np.split(embeddings["prediction of z"], 2, axis=-1)
    expected = categorical_log_likelihood(samples["y"], embeddings["prediction of y"])
    expected += gaussian_log_likelihood(samples["z"], average, 8 * np.tanh(raw / 8))
    assert embeddings["prediction of y"].shape == (6, 2)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
