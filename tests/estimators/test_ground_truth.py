"""Distributions with known total correlation: closed forms against each other and samples."""

import math

import jax
import numpy as np
import pytest

from tcmax_jax.estimators import ground_truth


@pytest.mark.parametrize(
    ("truth", "shared"),
    [
        (ground_truth.equicorrelated_gaussians(3.0, num_variables=4, dim=3), {(0, 1), (0, 3)}),
        (ground_truth.independent_pairs(3.0, num_variables=4, dim=3), {(0, 1), (2, 3)}),
    ],
)
def test_gaussians_have_the_stated_total_correlation(truth, shared):
    samples = truth.sample(jax.random.key(0), 200_000)
    joined = np.concatenate([samples[f"x{m}"] for m in range(1, 5)], axis=1)
    covariance = np.cov(joined.T)
    np.testing.assert_allclose(np.diag(covariance), 1, atol=0.02)
    estimate = ground_truth.gaussian_total_correlation(covariance, [3] * 4)
    # A Wishart's log determinant: the bias is about D^2 / 4 N, the spread about sqrt(TC / N).
    assert estimate == pytest.approx(3, abs=0.02)
    between = covariance.reshape(4, 3, 4, 3)
    for a, b in shared:
        assert between[a, 0, b, 0] > 0.3
        assert abs(between[a, 0, b, 1]) < 0.02


def test_pairs_share_nothing_with_each_other():
    samples = ground_truth.independent_pairs(4.0).sample(jax.random.key(0), 20_000)
    assert abs(np.mean(np.asarray(samples["x1"] * samples["x3"]))) < 0.01
    with pytest.raises(ValueError, match="an even number of variables, got 3"):
        ground_truth.independent_pairs(4.0, num_variables=3)


def test_closed_forms_agree():
    rho, n, dim = 0.3, 4, 5
    block = np.full((n, n), rho) + (1 - rho) * np.eye(n)
    covariance = np.kron(block, np.eye(dim))
    expected = ground_truth.gaussian_total_correlation(covariance, [dim] * n)
    closed = ground_truth.equicorrelated_total_correlation(rho, n, dim)
    assert closed == pytest.approx(expected)
    pair = ground_truth.equicorrelated_total_correlation(rho, 2, dim)
    assert pair == pytest.approx(-dim / 2 * math.log(1 - rho**2))
    assert ground_truth.solve_correlation(closed, n, dim) == pytest.approx(rho)


def test_cubic_is_the_cube_of_the_same_samples():
    plain = ground_truth.equicorrelated_gaussians(2.0, num_variables=2, dim=2)
    cubed = ground_truth.cubic(plain)
    key = jax.random.key(0)
    np.testing.assert_allclose(
        cubed.sample(key, 5)["x2"], np.asarray(plain.sample(key, 5)["x2"]) ** 3, rtol=1e-5
    )
    assert cubed.total_correlation == 2


def test_xor_bits_are_pairwise_independent_and_jointly_determined():
    bits = ground_truth.xor_bits().sample(jax.random.key(0), 4000)
    table = np.zeros((2, 2, 2))
    np.add.at(table, tuple(np.asarray(bits[m]) for m in "avy"), 1 / 4000)
    assert ground_truth.table_total_correlation(table) == pytest.approx(math.log(2), abs=5e-3)
    for axis in range(3):
        assert ground_truth.table_total_correlation(table.sum(axis)) < 5e-3


def test_tables_are_sampled_with_their_probabilities():
    table = np.array([[0.5, 0.1], [0.1, 0.3]])
    truth = ground_truth.discrete(table)
    samples = truth.sample(jax.random.key(0), 20_000)
    seen = np.zeros((2, 2))
    np.add.at(seen, (np.asarray(samples["x1"]), np.asarray(samples["x2"])), 1 / 20_000)
    np.testing.assert_allclose(seen, table, atol=0.015)
    expected = sum(
        p * math.log(p / (0.6 * 0.6 if i == j == 0 else 0.4 * 0.4 if i == j else 0.6 * 0.4))
        for (i, j), p in np.ndenumerate(table)
    )
    assert truth.total_correlation == pytest.approx(expected)


def test_labelled_mixture_against_the_limits():
    # Classes so far apart that each view tells the label: TC = 2 log 3 + I(x1; x2 | y).
    far = 100 * np.stack([np.eye(3), np.eye(3)])
    truth = ground_truth.labelled_mixture(far, 0.6, num_monte_carlo=20_000)
    expected = 2 * math.log(3) - 3 / 2 * math.log(1 - 0.36)
    assert abs(truth.total_correlation - expected) < 4 * truth.standard_error
    # Classes on top of each other: the label tells nothing.
    near = ground_truth.labelled_mixture(np.zeros((2, 3, 2)), 0.6, num_monte_carlo=20_000)
    assert abs(near.total_correlation + math.log(1 - 0.36)) < 4 * near.standard_error
    assert near.standard_error < 0.01
