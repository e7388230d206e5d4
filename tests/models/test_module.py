"""Any Flax module as an encoder: fields, NNX, random streams, statistics, weights."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from tcmax_jax.models import FrozenEncoder, MultimodalClassifier, encoder_of
from tcmax_jax.models.fusion import SumHead
from tcmax_jax.section import SectionError
from tcmax_jax.training.config.tree import from_dict, to_dict


class Dense(nn.Module):
    size: int
    rate: float = 0.0
    activation: Literal["relu", "tanh"] = "relu"
    inner: Any = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train):
        x = getattr(nn, self.activation)(nn.Dense(self.size, dtype=self.dtype)(x))
        return nn.Dropout(self.rate, deterministic=not train)(x)


class Net(nnx.Module):
    """Two layers with a norm between them."""

    def __init__(self, size: int = 4, rate: float = 0.5, *, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(3, size, rngs=rngs), nnx.Linear(size, size, rngs=rngs)])
        self.norm = nnx.BatchNorm(size, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x, train):
        x = self.norm(self.layers[0](x), use_running_average=not train)
        return self.dropout(self.layers[1](x), deterministic=not train)


DenseEncoder = encoder_of(Dense, "test_dense")
NetEncoder = encoder_of(Net, "test_net")
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
MANY = np.random.default_rng(1).normal(size=(4000, 3)).astype(np.float32) + 2


def init(options, **run):
    module = options.make(**run)
    return module, module.init(jax.random.key(0), X, False)


def test_what_a_configuration_can_hold_becomes_a_field():
    options = DenseEncoder(size=4, activation="tanh")
    plain = {
        "kind": "test_dense", "size": 4, "rate": 0.0, "activation": "tanh", "weights": None,
        "weights_prefix": None,
    }  # fmt: skip
    assert to_dict(options) == plain
    assert from_dict(plain, DenseEncoder) == options
    assert options.make(jnp.bfloat16) == Dense(4, activation="tanh", dtype=jnp.bfloat16)
    with pytest.raises(SectionError, match=r"Expected size: integer, got 1\.5"):
        DenseEncoder(size=1.5)


def test_a_function_may_make_the_module():
    def narrow(size: int = 2, dtype=jnp.float32):
        return Dense(size, rate=0.5, dtype=dtype)

    options = encoder_of(narrow, "test_narrow")()
    assert options.size == 2 and options.make(jnp.float16) == Dense(2, 0.5, dtype=jnp.float16)

    def without_annotation(inner, size: int = 2):
        return Dense(size, inner=inner)

    with pytest.raises(
        SectionError, match=r"test_wrong: Expected arguments .*got inner: .*default"
    ):
        encoder_of(without_annotation, "test_wrong")


def test_an_nnx_module_computes_what_it_computes_alone():
    module, variables = init(NetEncoder(rate=0.0))
    params = variables["params"]["module"]
    hidden = X @ params["layers"]["0"]["kernel"] + params["layers"]["0"]["bias"]
    hidden = hidden / np.sqrt(1 + 1e-5)  # running mean 0 and variance 1
    hidden = hidden * params["norm"]["scale"] + params["norm"]["bias"]
    expected = hidden @ params["layers"]["1"]["kernel"] + params["layers"]["1"]["bias"]
    np.testing.assert_allclose(module.apply(variables, X, False), expected, atol=1e-5)


def test_statistics_of_an_nnx_module_follow_the_batches():
    module, variables = init(NetEncoder(rate=0.0))
    _, updated = module.apply(variables, MANY, True, mutable=["batch_stats"])
    params = variables["params"]["module"]["layers"]["0"]
    hidden = MANY @ params["kernel"] + params["bias"]
    norm = updated["batch_stats"]["module"]["norm"]
    np.testing.assert_allclose(norm["mean"], 0.1 * hidden.mean(0), rtol=1e-4)
    np.testing.assert_allclose(norm["var"], 0.9 + 0.1 * hidden.var(0), rtol=1e-4)


@pytest.mark.parametrize("options", [DenseEncoder(size=400, rate=0.5), NetEncoder(size=400)])
def test_dropout_drops_in_training_alone_and_by_its_stream(options):
    module, variables = init(options)

    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, X, True, rngs=rngs, mutable=["batch_stats"])[0]

    assert 0.3 < np.mean(np.asarray(train(1)) == 0) < 0.9
    np.testing.assert_array_equal(train(1), train(1))
    assert np.any(train(1) != train(2))
    evaluated = module.apply(variables, X, False)
    np.testing.assert_array_equal(evaluated, module.apply(variables, X, False))


def test_features_of_steps_are_pooled():
    class Steps(nn.Module):
        masked: bool

        @nn.compact
        def __call__(self, x, train):
            mask = jnp.arange(x.shape[1]) < jnp.array([1, 2])[:, None]
            return (x, mask) if self.masked else x

    x = np.arange(12, dtype=np.float16).reshape(2, 3, 2)
    for masked, expected in ((False, [[2, 3], [8, 9]]), (True, [[0, 1], [7, 8]])):
        model = MultimodalClassifier({"a": Steps(masked)}, SumHead(("a",), 2))
        features = model.apply({}, {"a": x}, method="encode")["a"]
        np.testing.assert_array_equal(features, np.float32(expected), strict=True)


def test_weights_of_a_file_by_their_paths(tmp_path):
    _, there = init(DenseEncoder(size=2))
    kernel = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.savez(tmp_path / "w.npz", **{"net.Dense_0.kernel": kernel, "net.Dense_0.bias": kernel[0]})
    options = DenseEncoder(size=2, weights=str(tmp_path / "w.npz"), weights_prefix="net.")
    got = options.initial({"params": there["params"]}, "a", (3,))
    np.testing.assert_array_equal(got["params"]["Dense_0"]["kernel"], kernel)
    smaller = init(DenseEncoder(size=1))[1]["params"]
    with pytest.raises(ValueError, match=r"encoder of a, got in .*w\.npz the shape \(2,\) at"):
        options.initial({"params": smaller}, "a", (3,))


@pytest.mark.parametrize("as_function", [False, True])
def test_weights_of_a_file_by_a_map_of_names(tmp_path, as_function):
    def place(name, array):
        path = names.get(name)
        return path and (path, array + 1)

    names = {"w": "params/Dense_0/kernel", "b": "params/Dense_0/bias"}
    arrays = {"w": np.ones((3, 2)), "b": np.zeros(2), "head": np.ones(9)}
    np.savez(tmp_path / "w.npz", **arrays)
    kind = f"test_mapped_{as_function}"
    mapped = encoder_of(Dense, kind, names=place if as_function else names)
    options = mapped(size=2, weights=str(tmp_path / "w.npz"))
    got = options.initial({"params": init(options)[1]["params"]}, "a", (3,))["params"]["Dense_0"]
    np.testing.assert_array_equal(got["kernel"], np.full((3, 2), 1.0 + as_function))
    np.testing.assert_array_equal(got["bias"], np.full(2, 0.0 + as_function))


def test_weights_of_a_function():
    doubled = encoder_of(
        Dense, "test_doubled", initial=lambda v, modality: jax.tree.map(lambda x: 2 * x, v)
    )
    before = {"params": init(doubled(size=2))[1]["params"]}
    after = doubled(size=2).initial(before, "a", (3,))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(2 * x, y), before, after)


def test_the_frozen_encoder_knows_its_size():
    assert FrozenEncoder(size=3).feature_size == 3 and DenseEncoder(size=3).feature_size is None
