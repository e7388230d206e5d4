"""Batch statistics against NumPy in double precision, on one device and on several."""

import functools
import re

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec

from tcmax_jax.models.norm import BatchNorm

X = np.random.default_rng(0).normal([3.0, -1.0], [2.0, 0.5], (8, 3, 2)).astype(np.float32)
N = 24
VARIABLES = {
    "params": {"scale": np.float32([1, 1]), "bias": np.float32([0, 0])},
    "batch_stats": {"mean": np.float32([0.5, 0.5]), "var": np.float32([2, 4])},
}


def trained(x, **options):
    """Returns what a step makes of values, and the statistics."""
    norm = BatchNorm(use_running_average=False, momentum=0.9, **options)
    y, updated = jax.jit(functools.partial(norm.apply, mutable=["batch_stats"]))(VARIABLES, x)
    return y, updated["batch_stats"]


def expected(variance):
    return 0.9 * VARIABLES["batch_stats"]["var"] + 0.1 * variance


@pytest.mark.parametrize(("unbiased", "ddof"), [(True, 1), (False, 0)])
def test_running_variance_is_that_of_torch_or_that_of_flax(unbiased, ddof):
    y, stats = trained(X, unbiased=unbiased)
    # momentum 0.1 of torch is 0.9 here
    np.testing.assert_allclose(stats["var"], expected(X.var((0, 1), ddof=ddof)), rtol=1e-6)
    np.testing.assert_allclose(stats["mean"], 0.45 + 0.1 * X.mean((0, 1)), rtol=1e-6)
    # In training both normalise by the biased one.
    by_hand = (X - X.mean((0, 1))) / np.sqrt(X.var((0, 1)) + 1e-5)
    np.testing.assert_allclose(y, by_hand, rtol=1e-5, atol=1e-6)


def pmapped(function, x):
    split = x.reshape(4, 2, *x.shape[1:])
    return jax.tree.map(lambda a: a[0], jax.pmap(function, axis_name="batch")(split))


def shard_mapped(function, x):
    options = {"mesh": Mesh(jax.devices(), ("batch",)), "check_vma": False}
    whole, rows = PartitionSpec(), PartitionSpec("batch")
    return jax.jit(jax.shard_map(function, in_specs=rows, out_specs=whole, **options))(x)


@pytest.mark.parametrize("mapped", [pmapped, shard_mapped])
@pytest.mark.parametrize("shared", [True, False])
def test_devices_that_share_statistics_count_the_values_of_all(devices, mapped, shared):
    def statistics(x):
        return trained(x, axis_name="batch" if shared else None)[1]["var"]

    variance = (X if shared else X[:2]).var((0, 1), ddof=1)
    np.testing.assert_allclose(mapped(statistics, X), expected(variance), rtol=1e-6)


@pytest.mark.parametrize("mapped", [pmapped, shard_mapped])
@pytest.mark.parametrize(("mean", "rtol"), [(0.0, 1e-6), (1000.0, 1e-5)])
def test_devices_that_share_statistics_compute_what_one_would(devices, mapped, mean, rtol):
    # Each device has a mean of its own, which the variance over all has to count. Values near 1000
    # have no more digits than 6e-5.
    rows = np.repeat(np.arange(4.0), 2)[:, None, None]
    x, weights = (mean + 5 * rows + X).astype(np.float32), np.cos(X)

    def loss(x, weights, **options):
        y, stats = trained(x, **options)
        return (y * weights).sum(), (y, stats)

    def shared(values):
        gradient, (y, stats) = jax.grad(loss, has_aux=True)(
            values[..., :2], values[..., 2:], axis_name="batch"
        )
        return jax.lax.all_gather((gradient, y), "batch", tiled=True), stats

    (gradient, y), stats = mapped(shared, np.concatenate([x, weights], -1))
    exact = x.astype(float)
    variance = exact.var((0, 1), ddof=1)
    np.testing.assert_allclose(stats["var"], expected(variance), rtol=rtol)
    np.testing.assert_allclose(stats["mean"], 0.45 + 0.1 * exact.mean((0, 1)), rtol=1e-6)
    std = np.sqrt(exact.var((0, 1)) + 1e-5)
    by_hand = (exact - exact.mean((0, 1))) / std
    np.testing.assert_allclose(y, by_hand, atol=20 * rtol)
    moved = weights - weights.mean((0, 1)) - by_hand * (weights * by_hand).mean((0, 1))
    np.testing.assert_allclose(gradient, moved / std, atol=20 * rtol)


def test_devices_exchange_once_forward_and_once_backward(devices):
    def gradient(x):
        return jax.grad(lambda x: (trained(x, axis_name="batch")[0] ** 3).sum())(x)

    program = str(jax.make_jaxpr(jax.pmap(gradient, axis_name="batch"))(X.reshape(4, 2, 3, 2)))
    exchanges = re.findall(r"\b(all_gather|psum|pmean|reduce_scatter|all_to_all)\w*\[", program)
    assert sorted(exchanges) == ["all_gather", "psum"]


def test_one_device_trains_as_flax_does_to_the_last_bit():
    options = {"use_running_average": False, "momentum": 0.9}
    flax = nn.BatchNorm(use_fast_variance=False, **options)
    ours = BatchNorm(unbiased=False, **options)
    for x in (X, X.astype(jax.numpy.bfloat16)):
        run = [jax.jit(functools.partial(n.apply, mutable=["batch_stats"])) for n in (ours, flax)]
        got, expected = (each(VARIABLES, x) for each in run)
        jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_values_far_from_zero_keep_their_variance():
    x = (1000 + np.random.default_rng(1).normal(size=(64, 16, 2))).astype(np.float32)
    exact = x.astype(float).var((0, 1), ddof=1)
    np.testing.assert_allclose(trained(x)[1]["var"], expected(exact), rtol=1e-6)
    y, _ = trained(x)
    np.testing.assert_allclose(y.std((0, 1)), 1, rtol=1e-4)


def test_one_value_adds_no_variance():
    y, stats = trained(X[:1, 0])
    np.testing.assert_allclose(stats["var"], expected(0), rtol=1e-6)
    np.testing.assert_allclose(y, 0, atol=1e-6)


def test_variables_and_evaluation_are_those_of_flax():
    ours, flax = (kind(use_running_average=True) for kind in (BatchNorm, nn.BatchNorm))
    np.testing.assert_array_equal(ours.apply(VARIABLES, X), flax.apply(VARIABLES, X))
    variables = [
        jax.eval_shape(functools.partial(each.init, jax.random.key(0)), X) for each in (ours, flax)
    ]
    assert variables[0] == variables[1]
