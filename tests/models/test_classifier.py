"""The classifier: encode, then fuse, with any modalities; its head as the losses see it."""

import jax
import numpy as np
import pytest

from tcmax_jax.losses import AdditiveHead, MultilinearHead, tcmax_loss
from tcmax_jax.models import MLP, HeadOptions, MultimodalClassifier, head_of
from tcmax_jax.models.fusion import AdditiveFusion
from tests.models.random_params import randomised

SHAPES = {"audio": (4, 5), "visual": (3,), "text": (6,)}


def build(fusion, modalities):
    rng = np.random.default_rng(0)
    inputs = {m: rng.normal(size=(5, *SHAPES[m])).astype(np.float32) for m in modalities}
    model = MultimodalClassifier(
        encoders={m: MLP(sizes=(8,)) for m in modalities},
        head=HeadOptions.of_kind(fusion).make(modalities, 3),
    )
    params = randomised(model.init(jax.random.key(0), inputs)["params"])
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
    expected = tcmax_loss(opaque, features, labels)
    np.testing.assert_allclose(tcmax_loss(head, features, labels), expected, rtol=1e-4, atol=1e-5)


def test_missing_modality_is_named():
    model, params, inputs = build("sum", ("audio", "visual"))
    del inputs["visual"]
    with pytest.raises(ValueError, match=r"\['audio', 'visual'\], got \['audio'\]: no visual"):
        model.apply({"params": params}, inputs)
