"""Every form on four devices equals the whole batch on one: values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tcmax_jax.losses import (
    MultilinearHead,
    Projections,
    additive_tcmax_loss,
    masked_mean,
    sampled_tcmax_ceiling,
    tcmax_loss,
)
from tests.losses.reference import adaptive_tcmax_loss, exhaustive_tcmax_loss, sampled_tcmax_loss

B, C, D = 16, 5, 6


def project(params, inputs):
    return {m: x @ params[m] for m, x in inputs.items()}


def gated(params, z):
    return (jax.nn.sigmoid(z["a"]) * z["v"]) @ params["out"]


def additive(params, inputs, labels, **options):
    logits = {m: z @ params["out"] for m, z in project(params, inputs).items()}
    return additive_tcmax_loss(logits, labels, **options)


def exhaustive(params, inputs, labels, **options):
    head = functools.partial(gated, params)
    return exhaustive_tcmax_loss(head, project(params, inputs), labels, chunk_size=20, **options)


def sampled(params, inputs, labels, **options):
    head = functools.partial(gated, params)
    # 30 tuples do not divide by four devices.
    return sampled_tcmax_loss(
        head, project(params, inputs), labels, jax.random.key(3), 30, **options
    )


def multilinear(params, inputs, labels, **options):
    head = MultilinearHead(
        lambda z: Projections({"a": jax.nn.sigmoid(z["a"]), "v": z["v"]}, {}, params["out"])
    )
    return tcmax_loss(head, project(params, inputs), labels, **options)


def adaptive(params, inputs, labels, **options):
    # Four passes of each kind are enough for this target, one for each of four devices.
    head = functools.partial(gated, params)
    z = project(params, inputs)
    return adaptive_tcmax_loss(head, z, labels, jax.random.key(5), target_error=9.0, **options)


def make_problem():
    """Returns params, inputs, labels and a mask, always the same."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    params = {"a": normal(4, D), "v": normal(3, D), "out": normal(D, C)}
    inputs = {"a": normal(B, 4), "v": normal(B, 3)}
    labels = jnp.asarray(rng.integers(0, C, B), jnp.int32)
    # Uneven on purpose: one device holds no valid row at all, another holds them all.
    where = jnp.asarray([1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 1], bool)
    return params, inputs, labels, where


@pytest.fixture
def problem():
    return make_problem()


@functools.cache
def whole(loss, masked):
    """Returns what the whole batch on one device gives; all mappings are compared with it."""
    params, inputs, labels, where = make_problem()
    step = jax.jit(functools.partial(on_one_device, loss))
    return jax.device_get(step(params, inputs, labels, where if masked else None))


def on_one_device(loss, params, inputs, labels, where, axis_name=None):
    def mean(params):
        losses = loss(params, inputs, labels, where=where, axis_name=axis_name)
        return masked_mean(losses, where=where, axis_name=axis_name), losses

    (value, losses), gradient = jax.value_and_grad(mean, has_aux=True)(params)
    if axis_name is not None:
        gradient = lax.pmean(gradient, axis_name)
    return value, losses, gradient


def shard(x):
    return x.reshape(4, B // 4, *x.shape[1:])


def vmap(step, in_axes, axis_name):
    """Maps by vmap, compiled as a whole."""
    return jax.jit(jax.vmap(step, in_axes, axis_name=axis_name))


def shard_map(step, in_axes, axis_name):
    """Maps like pmap does, through shard_map on the four devices."""
    mesh = jax.make_mesh((4,), (axis_name,), axis_types=(jax.sharding.AxisType.Auto,))
    specs = tuple(jax.P() if axis is None else jax.P(axis_name) for axis in in_axes)

    def local(x, axis):
        return x if axis is None else jax.tree.map(lambda row: row[0], x)

    def one_row(*args):
        outputs = step(*map(local, args, in_axes))
        return jax.tree.map(lambda x: x[None], outputs)

    return jax.jit(
        jax.shard_map(
            one_row, mesh=mesh, in_specs=specs, out_specs=jax.P(axis_name), check_vma=False
        )
    )


LOSSES = (additive, exhaustive, multilinear, sampled, adaptive)


# Without a mask nothing depends on the mapping that does not with one. All losses use the same few
# collectives: by the other mappings go those that do so in a sum over all tuples, at a place of
# their own among the devices, and in a loop that all devices leave together.
@pytest.mark.parametrize(
    ("loss", "mapping", "masked"),
    [(loss, jax.pmap, masked) for loss in LOSSES for masked in (False, True)]
    + [(loss, vmap, True) for loss in (exhaustive, adaptive)]
    + [(loss, shard_map, True) for loss in (sampled, adaptive)],
)
def test_four_devices_equal_one(devices, problem, loss, mapping, masked):
    params, inputs, labels, where = problem
    value, losses, gradient = whole(loss, masked)
    step = functools.partial(on_one_device, loss, axis_name="batch")
    sharded = mapping(step, in_axes=(None, 0, 0, 0 if masked else None), axis_name="batch")(
        params,
        jax.tree.map(shard, inputs),
        shard(labels),
        shard(where) if masked else None,
    )
    values4, losses4, gradient4 = jax.device_get(sharded)
    np.testing.assert_allclose(values4, np.full(4, value), rtol=1e-5)
    np.testing.assert_allclose(losses4.reshape(-1), losses, rtol=1e-5, atol=1e-6)
    for name, expected in gradient.items():
        for device in range(4):
            np.testing.assert_allclose(gradient4[name][device], expected, rtol=1e-4, atol=1e-6)


def test_the_sampled_ceiling_is_that_of_the_whole_batch(devices, problem):
    params, inputs, labels, where = problem
    logits = gated(params, project(params, inputs))

    def ceiling(logits, labels, where, axis_name=None):
        return sampled_tcmax_ceiling(logits, labels, 1.5, 2, where=where, axis_name=axis_name)

    whole = jax.jit(ceiling)(logits, labels, where)
    sharded = jax.pmap(functools.partial(ceiling, axis_name="batch"), "batch")(
        shard(logits), shard(labels), shard(where)
    )
    np.testing.assert_allclose(sharded, np.full(4, whole), rtol=1e-5)


def test_summing_the_gradients_over_devices_is_four_times_too_much(devices, problem):
    """Pins the rule of the docstrings: the mean over devices, not the sum, is the gradient."""
    params, inputs, labels, _ = problem

    def step(params, inputs, labels):
        mean = lambda p: additive(p, inputs, labels, axis_name="batch").mean()
        return lax.psum(jax.grad(mean)(params), "batch")

    summed = jax.pmap(step, in_axes=(None, 0, 0), axis_name="batch")(
        params, jax.tree.map(shard, inputs), shard(labels)
    )
    whole = jax.jit(jax.grad(lambda p: additive(p, inputs, labels).mean()))(params)
    np.testing.assert_allclose(summed["a"][0], 4 * whole["a"], rtol=1e-4, atol=1e-5)
