"""Distributions with known total correlation: samplers and the exact values in nats."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class GroundTruth(NamedTuple):
    """A distribution with known total correlation.

    Attributes:
      sample: function (key, number N) -> {variable: [N, D] float32, or [N] int32 for labels}.
      total_correlation: nats.
      standard_error: of `total_correlation`, 0 where it is exact.
    """

    sample: Callable
    total_correlation: float
    standard_error: float = 0.0


def gaussian_total_correlation(covariance, sizes) -> float:
    """Total correlation of the groups of a Gaussian, nats.

      TC = (1/2) (sum_m log det S_mm - log det S)

    Args:
      covariance: S, [D, D].
      sizes: number of coordinates of each group, in order; their sum is D.

    Example:
      >>> print(f"{gaussian_total_correlation([[1, 0.6], [0.6, 1]], [1, 1]):.4f}")
      0.2231
    """
    covariance = np.asarray(covariance, np.float64)
    ends = np.cumsum(sizes)
    groups = [covariance[e - s : e, e - s : e] for s, e in zip(sizes, ends, strict=True)]
    log_det = lambda matrix: np.linalg.slogdet(matrix)[1]
    return float(sum(map(log_det, groups)) - log_det(covariance)) / 2


def equicorrelated_total_correlation(rho, num_variables, dim) -> float:
    """Total correlation of n Gaussian vectors whose coordinates are equally correlated, nats.

      TC = -(d/2) log[(1 - rho)^(n - 1) (1 + (n - 1) rho)]

    Args:
      rho: correlation of the same coordinate of any two variables; others are independent.
      num_variables: n; with 2 this is their mutual information, -(d/2) log(1 - rho^2).
      dim: d.
    """
    n = num_variables
    return -dim / 2 * ((n - 1) * math.log1p(-rho) + math.log1p((n - 1) * rho))


def solve_correlation(total_correlation, num_variables, dim) -> float:
    """Returns the rho >= 0 at which `equicorrelated_total_correlation` has a given value.

    Example:
      >>> rho = solve_correlation(6.0, num_variables=4, dim=20)
      >>> print(f"{rho:.4f} {equicorrelated_total_correlation(rho, 4, 20):.4f}")
      0.3580 6.0000
    """
    low, high = 0.0, 1 - 1e-12
    for _ in range(100):
        middle = (low + high) / 2
        if equicorrelated_total_correlation(middle, num_variables, dim) < total_correlation:
            low = middle
        else:
            high = middle
    return low


def sample_equicorrelated(key, number, rho, *, num_variables, dim):
    """Draws standard normal vectors x1 .. xn, each coordinate equally correlated between all.

    Args:
      key: a PRNG key.
      number: number N of examples.
      rho: the correlation, in [0, 1); may be traced.
      num_variables: n.
      dim: length of each vector.

    Returns:
      {"x1": [N, dim], ..}.
    """
    normal = jax.random.normal(key, (num_variables + 1, number, dim))
    # A shared and an own part: the covariance is rho off the diagonal and 1 on it.
    shared, rest = jnp.sqrt(rho) * normal[0], jnp.sqrt(1 - rho) * normal[1:]
    return {f"x{m + 1}": shared + rest[m] for m in range(num_variables)}


def sample_pairs(key, number, rho, *, num_variables, dim):
    """Draws independent pairs (x1, x2), (x3, x4), ..; arguments as in `sample_equicorrelated`."""
    keys = jax.random.split(key, num_variables // 2)
    pairs = [sample_equicorrelated(k, number, rho, num_variables=2, dim=dim) for k in keys]
    return {f"x{2 * i + m}": pair[f"x{m}"] for i, pair in enumerate(pairs) for m in (1, 2)}


def equicorrelated_gaussians(total_correlation, *, num_variables=4, dim=20) -> GroundTruth:
    """Gaussian vectors of `sample_equicorrelated`, with a correlation that gives this TC."""
    rho = solve_correlation(total_correlation, num_variables, dim)
    sample = functools.partial(sample_equicorrelated, rho=rho, num_variables=num_variables, dim=dim)
    return GroundTruth(sample, float(total_correlation))


def independent_pairs(total_correlation, *, num_variables=4, dim=20) -> GroundTruth:
    """Gaussian vectors of `sample_pairs`: TC split evenly over the pairs, nothing between pairs.

    The design of the published notebook of TC estimation (Bai et al. 2023).

    Raises:
      ValueError: an odd number of variables.
    """
    if num_variables % 2:
        raise ValueError(f"Expected an even number of variables, got {num_variables}.")
    rho = solve_correlation(total_correlation / (num_variables // 2), 2, dim)
    sample = functools.partial(sample_pairs, rho=rho, num_variables=num_variables, dim=dim)
    return GroundTruth(sample, float(total_correlation))


def cubic(truth: GroundTruth) -> GroundTruth:
    """Returns x -> x^3 of every coordinate: a bijection of each variable, so TC stays the same."""
    cubes = lambda key, number: {m: x**3 for m, x in truth.sample(key, number).items()}
    return truth._replace(sample=cubes)


def xor_bits() -> GroundTruth:
    """Three bits, any two of them independent, each the XOR of the others: TC = log 2."""

    def sample(key, number):
        a, v = jax.random.bernoulli(key, 0.5, (2, number)).astype(jnp.int32)
        return {"a": a, "v": v, "y": a ^ v}

    return GroundTruth(sample, math.log(2))


def labelled_mixture(means, correlation=0.0, *, num_monte_carlo=200_000) -> GroundTruth:
    """A label y and Gaussian views x1, x2 around its means, with more in common than the label.

      y uniform, x_m | y = N(means[m, y], I), same coordinates of x1 and x2 correlated given y

    Its total correlation, of (x1, x2, y), is the Monte-Carlo mean of the exact log ratio
    log p(x1, x2 | y) - log p(x1) - log p(x2), which y uniform makes a mixture of C terms.

    Args:
      means: [2, C, D].
      correlation: of x1 and x2 given y, in each coordinate.
      num_monte_carlo: number of samples of that mean.
    """
    means = np.asarray(means, np.float64)
    num_classes, dim = means.shape[1:]

    def sample(key, number):
        label_key, noise_key = jax.random.split(key)
        y = jax.random.randint(label_key, (number,), 0, num_classes, jnp.int32)
        noise = jax.random.normal(noise_key, (2, number, dim))
        second = correlation * noise[0] + math.sqrt(1 - correlation**2) * noise[1]
        mu = jnp.asarray(means, jnp.float32)
        return {"x1": mu[0][y] + noise[0], "x2": mu[1][y] + second, "y": y}

    samples = sample(jax.random.key(0), num_monte_carlo)
    x1, x2, y = (np.asarray(samples[m]) for m in ("x1", "x2", "y"))
    ratio = _gaussian_log_ratio(x1 - means[0][y], x2 - means[1][y], correlation)
    for x, mu in zip((x1, x2), means, strict=True):
        by_class = -0.5 * np.sum((x[:, None] - mu) ** 2, axis=-1)
        of_label = by_class[np.arange(num_monte_carlo), y]
        ratio += of_label - np.logaddexp.reduce(by_class, axis=1) + math.log(num_classes)
    error = ratio.std() / math.sqrt(num_monte_carlo)
    return GroundTruth(sample, float(ratio.mean()), float(error))


def table_total_correlation(table) -> float:
    """Total correlation of a discrete distribution, nats; of two variables, mutual information.

      TC = sum_x p(x) log [p(x) / prod_m p(x_m)]

    Args:
      table: [K_1, .., K_M] probabilities.

    Example:
      >>> print(f"{table_total_correlation([[0.5, 0.0], [0.0, 0.5]]):.4f} = log 2")
      0.6931 = log 2
    """
    table = np.asarray(table, np.float64)
    independent = np.ones(())
    for m in range(table.ndim):
        others = tuple(i for i in range(table.ndim) if i != m)
        independent = np.multiply.outer(independent, table.sum(others))
    kept = table > 0
    return float(np.sum(table[kept] * np.log(table[kept] / independent[kept])))


def discrete(table) -> GroundTruth:
    """Labels x1 .. xM with the joint probabilities of a table [K_1, .., K_M]."""
    table = np.asarray(table, np.float64)

    def sample(key, number):
        flat = jax.random.categorical(key, jnp.log(table.reshape(-1)), shape=(number,))
        indices = jnp.unravel_index(flat, table.shape)
        return {f"x{m + 1}": i.astype(jnp.int32) for m, i in enumerate(indices)}

    return GroundTruth(sample, table_total_correlation(table))


def _gaussian_log_ratio(first, second, correlation):
    """Returns log p(x1, x2) - log p(x1) - log p(x2) of standard normal pairs [N, D], [N]."""
    r = correlation
    quadratic = r**2 * (first**2 + second**2) - 2 * r * first * second
    return np.sum(-quadratic / (2 * (1 - r**2)) - 0.5 * math.log1p(-(r**2)), axis=-1)
