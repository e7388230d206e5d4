"""The classifier: encode, then fuse, with any modalities; its head as the losses see it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tcmax_jax.losses import AdditiveHead, MultilinearHead, tcmax_loss
from tcmax_jax.models import MLP, HeadOptions, MultimodalClassifier, head_of
from tcmax_jax.models.classifier import broken_modality, finite_examples
from tcmax_jax.models.fusion import AdditiveFusion
from tcmax_jax.series import Series
from tests.models.random_params import randomised

SHAPES = {"audio": (4, 5), "visual": (3,), "text": (6,)}


def build(fusion, modalities):
    rng = np.random.default_rng(0)
    inputs = {m: rng.normal(size=(5, *SHAPES[m])).astype(np.float32) for m in modalities}
    model = MultimodalClassifier(
        encoders={m: MLP(sizes=(8,)) for m in modalities},
        head=HeadOptions.of_kind(fusion).make(modalities, 3),
    )
    params = randomised(jax.eval_shape(model.init, jax.random.key(0), inputs)["params"])
    return model, params, inputs


@pytest.mark.parametrize(
    ("fusion", "modalities"),
    [(name, ("audio", "visual")) for name in HeadOptions.members()]
    + [(name, ("audio", "visual", "text")) for name in ("sum", "low_rank")],
)
def test_encode_then_fuse(fusion, modalities):
    model, params, inputs = build(fusion, modalities)
    features = model.apply({"params": params}, inputs, method="encode")
    assert {m: z.shape for m, z in features.items()} == dict.fromkeys(modalities, (5, 8))
    logits = model.apply({"params": params}, inputs)
    head = head_of(model, params)
    assert isinstance(
        head, AdditiveHead if isinstance(model.head, AdditiveFusion) else MultilinearHead
    )
    np.testing.assert_allclose(head(features), logits, rtol=1e-5, atol=1e-5)
    labels = np.array([0, 1, 2, 0, 1])
    opaque = lambda z: model.apply({"params": params}, z, method="fuse")
    loss = jax.jit(tcmax_loss, static_argnums=0)  # by single operations it takes far longer
    expected = loss(opaque, features, labels)
    np.testing.assert_allclose(loss(head, features, labels), expected, rtol=1e-4, atol=1e-5)


def test_missing_modality_is_named():
    model, params, inputs = build("sum", ("audio", "visual"))
    del inputs["visual"]
    with pytest.raises(ValueError, match=r"\['audio', 'visual'\], got \['audio'\]: no visual"):
        model.apply({"params": params}, inputs)


class Bounded(nn.Module):
    """An encoder that makes a finite number of anything but NaN."""

    @nn.compact
    def __call__(self, x, train):
        return jnp.tanh(jnp.nan_to_num(x))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_not_finite_has_no_feature_whatever_the_encoder_makes_of_it(value):
    model = MultimodalClassifier(
        encoders={"audio": Bounded(), "visual": Bounded()},
        head=HeadOptions.of_kind("sum").make(("audio", "visual"), 3),
    )
    inputs = {m: np.ones((3, 2), np.float32) for m in ("audio", "visual")}
    inputs["visual"][1, 0] = value
    features = model.apply({}, inputs, method="encode")
    assert np.isfinite(features["audio"]).all()
    np.testing.assert_array_equal(np.isfinite(features["visual"]).all(axis=1), [True, False, True])
    # Training has messages of its own, of the whole step.
    trained = model.apply({}, inputs, True, method="encode")
    assert np.isfinite(trained["visual"]).all()
    assert broken_modality(inputs, 1) == "visual" and broken_modality(inputs, 0) is None


def test_what_fills_up_a_series_is_no_part_of_the_input():
    values = np.ones((3, 4, 2), np.float32)
    values[0, 3], values[2, 0] = np.nan, np.inf
    mask = np.arange(4) < np.array([[3], [4], [2]])
    np.testing.assert_array_equal(finite_examples(Series(values, mask)), [True, True, False])
    np.testing.assert_array_equal(finite_examples(values), [False, True, False])
    np.testing.assert_array_equal(finite_examples(np.arange(3)), [True] * 3)
