"""The one-pass gradient under all of JAX's transformations, against plain differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.losses.streaming import stream_logsumexp

pytestmark = pytest.mark.usefixtures("strict")
BLOCKS, SIZE = 4, 3
X = np.random.default_rng(0).normal(size=(BLOCKS, SIZE))
W = np.random.default_rng(1).normal(size=(BLOCKS, SIZE))


def in_one_pass(w, x, enough=None):
    """The scores depend on an operand, and on closed-over floats and integers."""
    w, x = jnp.asarray(w), jnp.asarray(x)
    order = jnp.argsort(0 * w[:, 0])  # 0, 1, .. as a traced array
    scores = lambda i, x: jnp.sin(x[order[i]]) * w[order[i]]
    return stream_logsumexp(scores, BLOCKS, x, enough=enough)


def plain(w, x):
    return jax.nn.logsumexp(jnp.sin(x) * w)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def one_pass(w, x):
    return in_one_pass(w, x).log_sum


def test_value_and_sums():
    scores = np.sin(X) * W
    stream = in_one_pass(W, X)
    np.testing.assert_allclose(stream.log_sum, np.log(np.exp(scores).sum()), rtol=1e-12)
    np.testing.assert_allclose(stream.log_square_sum, np.log(np.exp(2 * scores).sum()), rtol=1e-12)
    np.testing.assert_allclose(
        stream.block_log_sums, np.log(np.exp(scores).sum(axis=1)), rtol=1e-12
    )
    assert stream.visited == BLOCKS


DERIVATIVES = {
    "grad": lambda f: jax.grad(f, argnums=(0, 1)),
    "grad of jit": lambda f: jax.grad(jax.jit(f), argnums=(0, 1)),
    "jit": lambda f: jax.jit(jax.grad(f, argnums=(0, 1))),
    "forward": lambda f: jax.jacfwd(f, argnums=(0, 1)),
    "hessian": lambda f: jax.hessian(f),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f), argnums=(0, 1)),
    "vmap": lambda f: jax.vmap(jax.grad(f, argnums=(0, 1)), in_axes=(0, None)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name):
    w = np.stack([W, -W]) if name == "vmap" else W
    derivative = DERIVATIVES[name](one_pass)
    if "grad" not in name:  # By single operations it takes far longer, and does so in two cases.
        derivative = jax.jit(derivative)
    derivative, expected = derivative(w, X), jax.jit(DERIVATIVES[name](plain))(w, X)
    for d, e in zip(*map(jax.tree.leaves, (derivative, expected)), strict=True):
        np.testing.assert_allclose(d, e, rtol=1e-10, atol=1e-12)


def test_stops_when_enough():
    stream = in_one_pass(W, X, enough=lambda log_sums, visited: log_sums[visited - 1] < np.inf)
    assert stream.visited == 0  # asked before the first block too
    two = jax.jit(lambda w: in_one_pass(w, X, enough=lambda _, visited: visited >= 2))
    np.testing.assert_allclose(two(W).log_sum, plain(W[:2], X[:2]), rtol=1e-12)
    assert two(W).visited == 2
    assert np.all(np.isneginf(two(W).block_log_sums[2:]))
    gradient = jax.grad(lambda w: two(w).log_sum)(W)
    expected = jax.jit(jax.grad(plain))(W[:2], X[:2])
    np.testing.assert_allclose(gradient[:2], expected, rtol=1e-10)
    np.testing.assert_array_equal(gradient[2:], 0)


@pytest.mark.parametrize("order", [1, -1])
def test_later_blocks_may_be_larger_or_smaller_by_any_amount(order):
    scale = 1e4 * np.arange(BLOCKS)[::order, None]
    w, x = scale * np.ones_like(W), np.full_like(X, 1.5)
    (value, gradient), expected = (jax.jit(jax.value_and_grad(f))(w, x) for f in (one_pass, plain))
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, expected[1], atol=1e-12)


def test_nothing_to_add_gives_no_gradient():
    nothing = lambda w: stream_logsumexp(lambda i, w: jnp.where(w[i] > 9, w[i], -jnp.inf), 2, w)
    value, gradient = jax.value_and_grad(lambda w: nothing(w).log_sum)(jnp.asarray(W))
    assert np.isneginf(value)
    np.testing.assert_array_equal(gradient, 0)


def test_half_precision_operands_are_summed_in_float32():
    """300 blocks that each add 1/256 to a gradient: in bfloat16 the sum would stall near 1."""
    w = jnp.ones((), jnp.bfloat16)

    def log_sum(w):
        scores = lambda i, w: jnp.asarray(w[None], jnp.float32)
        return stream_logsumexp(scores, 300, w).log_sum

    assert jax.grad(log_sum)(w) == 1
    assert jax.grad(log_sum)(w).dtype == jnp.bfloat16
