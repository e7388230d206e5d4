"""Temporal convolutions equal loops over steps; what fills up a series changes nothing."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.models import Temporal, TemporalEncoder
from tcmax_jax.section import SectionError
from tcmax_jax.series import Series

LENGTHS = (7, 4, 1)


def make(dtype=np.float32):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 7, 2)).astype(dtype)
    mask = np.arange(7) < np.array(LENGTHS)[:, None]
    return Series(np.where(mask[..., None], values, 0).astype(dtype), mask)


def norm(x, params):
    centred = x - x.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-6) * params["scale"] + params["bias"]


def gelu(x):  # the tanh form, Flax's default
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def dense(x, params):
    return x @ params["kernel"] + params["bias"]


def slow(params, series, depth, kernel):
    """Returns the feature of one series [T, C] without padding, step by step."""
    x = [dense(step, params["embed"]) for step in series]
    for k in range(depth):
        normed = [norm(step, params[f"norm{k}"]) for step in x]
        for t in range(len(x)):
            y = params[f"conv{k}"]["bias"]
            for tap in range(kernel):
                at = t + (tap - kernel // 2) * 2**k
                if 0 <= at < len(x):
                    y = y + normed[at] @ params[f"conv{k}"]["kernel"][tap]
            x[t] = x[t] + dense(gelu(y), params[f"dense{k}"])
    return np.mean([norm(step, params["norm"]) for step in x], axis=0)


# By single operations applying a module takes far longer.
@functools.cache
def compiled(module):
    return jax.jit(lambda params, x: module.apply({"params": params}, x, False))


def random_params(module, x):
    rng = np.random.default_rng(1)
    params = jax.eval_shape(lambda: module.init(jax.random.key(0), x, False))["params"]
    return jax.tree.map(lambda p: rng.normal(0, 0.5, p.shape).astype(np.float64), params)


@pytest.mark.parametrize(("depth", "kernel"), [(0, 1), (2, 3), (3, 5)])
def test_features_equal_a_loop_over_steps(depth, kernel):
    module, x = Temporal(6, depth, kernel), make()
    params = random_params(module, x)
    got = compiled(module)(params, x)
    for row, length in enumerate(LENGTHS):
        expected = slow(params, x.values[row, :length].astype(np.float64), depth, kernel)
        np.testing.assert_allclose(got[row], expected, rtol=1e-4, atol=1e-5)
    alone = compiled(module)(params, x.values[:1])
    np.testing.assert_allclose(alone, got[:1], rtol=1e-5, atol=1e-6)


def test_what_fills_up_has_no_influence_and_no_gradient():
    module, x = Temporal(4, 2, 3), make()
    params = jax.tree.map(np.float32, random_params(module, x))
    other = Series(np.where(x.mask[..., None], x.values, 1e4).astype(np.float32), x.mask)
    apply = compiled(module)
    np.testing.assert_array_equal(apply(params, x), apply(params, other))
    total = lambda values: jnp.sum(apply(params, Series(values, x.mask)))
    gradient = jax.jit(jax.grad(total))(other.values)
    assert np.all(np.asarray(gradient)[~x.mask] == 0) and np.isfinite(gradient).all()


def test_a_series_without_steps_is_zero():
    x = make()
    empty = Series(x.values, np.zeros_like(x.mask))
    module = Temporal(4, 1, 3)
    features = compiled(module)(random_params(module, x), empty)
    np.testing.assert_array_equal(features, np.zeros((3, 4), np.float32), strict=True)


def test_half_precision_stays_near():
    module, x = Temporal(8, 2, 3), make()
    params = jax.jit(module.init, static_argnums=2)(jax.random.key(0), x, False)["params"]
    exact = compiled(module)(params, x)
    half = compiled(Temporal(8, 2, 3, dtype=jnp.bfloat16))(params, x)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, exact, atol=0.1)


def test_options():
    options = TemporalEncoder(width=8, dropout=0.5)
    assert options.feature_size == 8 and options.make() == Temporal(8, 3, 5, 0.5)
    with pytest.raises(SectionError, match=r"Expected an odd kernel, got 4\. Add or take 1"):
        TemporalEncoder(kernel=4)
    with pytest.raises(SectionError, match=r"temporal needs series \[steps, \.\.\.\], got shape"):
        options.check_input(())
