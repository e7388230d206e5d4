"""The encoders: known sizes, equivalences, dtypes and statistics over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tcmax_jax.models import MLP, ResNet, resnet18


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def tiny(**options):
    return ResNet(stage_sizes=(1, 1), width=4, **options)


# By single operations initialising and applying take far longer.
@functools.cache
def compiled_init(model):
    return jax.jit(functools.partial(model.init, train=False))


def initialised(model, x):
    """Returns the variables that training starts from."""
    return compiled_init(model)(jax.random.key(0), x)


@functools.cache
def compiled(model):
    return jax.jit(functools.partial(model.apply, train=False))


@functools.cache
def compiled_training(model):
    """Returns a function to the features and the updated statistics."""
    return jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("channels", "parameters"),
    # torchvision's resnet18 has 11 689 512, of which 512 * 1000 + 1000 are the classifier layer;
    # each channel more or less changes the first 7 x 7 x 64 kernel alone.
    [(3, 11_176_512), (1, 11_176_512 - 2 * 49 * 64), (20, 11_176_512 + 17 * 49 * 64)],
)
def test_parameter_count(channels, parameters):
    x = jax.ShapeDtypeStruct((2, 224, 224, channels), jnp.float32)
    init = functools.partial(resnet18().init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), x)
    assert count(variables["params"]) == parameters
    assert count(variables["batch_stats"]) == 9600  # torchvision: 4800 means, 4800 variances


def test_initialisation_is_he_fan_out():
    variables = initialised(ResNet(stage_sizes=(1,), width=64), pictures(1, 32, 32, 1))
    kernel = variables["params"]["stage1_block1"]["conv2"]["kernel"]
    assert kernel.shape == (3, 3, 64, 64)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)


def test_clips_are_the_mean_over_their_frames():
    clips = pictures(2, 3, 33, 40, 2)
    model = tiny()
    variables = initialised(model, clips)
    features = compiled(model)(variables, clips)
    assert features.shape == (2, 8)
    by_frame = [compiled(model)(variables, clips[:, t]) for t in range(3)]
    np.testing.assert_allclose(features, np.mean(by_frame, axis=0), rtol=1e-5)


def test_bfloat16_computes_low_and_keeps_float32_state():
    x = pictures(4, 32, 32, 3)
    model, reference = tiny(dtype=jnp.bfloat16), tiny()
    variables = initialised(model, x)
    features, updated = compiled_training(model)(variables, x)
    assert features.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, updated))} == {jnp.dtype("float32")}
    exact, _ = compiled_training(reference)(variables, x)
    np.testing.assert_allclose(features, exact, rtol=0.1, atol=0.05)
    assert not np.allclose(features, exact, rtol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_batch_statistics_over_devices(devices, shared):
    x = pictures(8, 32, 32, 1)
    axis_name = "batch" if shared else None
    model, reference = tiny(axis_name=axis_name), tiny()
    variables = initialised(reference, x)
    whole, _ = compiled_training(reference)(variables, x)

    def apply(x):
        return model.apply(variables, x, train=True, mutable=["batch_stats"])

    sharded, updated = jax.pmap(apply, axis_name="batch")(x.reshape(4, 2, 32, 32, 1))
    agree = np.allclose(sharded.reshape(8, -1), whole, rtol=1e-4, atol=1e-5)
    assert agree == shared
    means = jax.tree.leaves(updated)[0]
    assert np.allclose(means[0], means[1], rtol=1e-5) == shared


def test_integer_pictures_are_scaled_and_normalised_by_channel():
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    model, plain = tiny(mean=mean, std=std), tiny()
    variables = initialised(model, x)
    by_hand = ((x / 255 - np.array(mean)) / np.array(std)).astype(np.float32)
    np.testing.assert_allclose(
        compiled(model)(variables, x),
        compiled(plain)(variables, by_hand),
        rtol=1e-4,
        atol=1e-5,
    )


def test_mlp_equals_its_formula():
    x = pictures(3, 4, 5)
    model = MLP(sizes=(7, 6), mean=(0.5,), std=(2.0,))
    variables = initialised(model, x)
    h = ((x - 0.5) / 2).reshape(3, 20)
    for name in ("Dense_0", "Dense_1"):
        p = variables["params"][name]
        h = np.maximum(h @ np.asarray(p["kernel"]) + np.asarray(p["bias"]), 0)
    np.testing.assert_allclose(compiled(model)(variables, x), h, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (pictures(2, 32, 32), r"got shape \(2, 32, 32\).*channel axis of size 1"),
        (pictures(2, 32, 32, 4), r"Expected 1 or 4 numbers as mean .*got 3"),
    ],
)
def test_wrong_inputs_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        tiny(mean=(0, 0, 0), std=(1, 1, 1)).init(jax.random.key(0), x, train=False)


def test_statistics_follow_the_running_mean():
    x = pictures(4, 32, 32, 1)
    model = tiny()
    variables = initialised(model, x)
    _, updated = compiled_training(model)(variables, x)
    kernel = np.asarray(variables["params"]["stem_conv"]["kernel"])
    stem = lax.conv_general_dilated(
        x, kernel, (2, 2), [(3, 3)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    stats = updated["batch_stats"]["stem_norm"]
    np.testing.assert_allclose(stats["mean"], 0.1 * np.mean(stem, (0, 1, 2)), atol=1e-5)
    variance = np.var(stem, (0, 1, 2), ddof=1)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * variance, rtol=1e-4)
