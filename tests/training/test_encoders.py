"""Encoders that start from weights of PyTorch's names."""

import dataclasses

import jax
import numpy as np
import pytest

from tcmax_jax.data.inputs import SpectrogramInput
from tcmax_jax.models import MultimodalClassifier, ResNetEncoder
from tcmax_jax.models.fusion import SumHead
from tcmax_jax.training import build, loop
from tcmax_jax.training.config import Config, Modality
from tcmax_jax.training.encoders import load_weights
from tcmax_jax.training.state import TrainState
from tests.training.tiny import tiny_config

INPUTS = {
    "audio": np.zeros((1, 32, 32, 1), np.float32),
    "visual": np.zeros((1, 32, 32, 3), np.float32),
}


def config_with(**options) -> Config:
    config = Config()
    sound = Modality(input=SpectrogramInput(), encoder=ResNetEncoder(width=4, **options))
    return dataclasses.replace(config, modalities=config.modalities | {"audio": sound})


def variables_of(config, seed):
    model = MultimodalClassifier(
        build.make_model(config, 3).encoders, SumHead(("audio", "visual"), 3)
    )
    return jax.device_get(model.init(jax.random.key(seed), INPUTS))


def torch_names(variables, prefix):
    """Returns the arrays of one encoder in PyTorch's names and layout."""
    arrays = {}
    for kind in ("params", "batch_stats"):
        for path, x in jax.tree.leaves_with_path(variables[kind]["encoders_audio"]):
            *layers, entry = (k.key for k in path)
            if layers[0].startswith("stage"):
                stage, block = layers[0].removeprefix("stage").split("_block")
                inner = {"shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1"}.get(
                    layers[1], layers[1].replace("norm", "bn")
                )
                layer = f"layer{stage}.{int(block) - 1}.{inner}"
            else:
                layer = {"stem_conv": "conv1", "stem_norm": "bn1"}[layers[0]]
            entry = {
                "kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var",
            }.get(entry, entry)  # fmt: skip
            arrays[f"{prefix}{layer}.{entry}"] = x.transpose(3, 2, 0, 1) if x.ndim == 4 else x
    return arrays


def state_of(variables):
    return TrainState(
        np.int32(0), dict(variables["params"]), dict(variables["batch_stats"]), (), ()
    )


@pytest.mark.parametrize(
    ("kind", "written", "prefix"),
    [
        ("resnet18", "", None),
        ("resnet18", "audio_net.", None),
        ("resnet34", "module.encoder.", "encoder."),
        ("resnet50", "", None),
    ],
)
def test_the_encoder_gets_the_weights_and_the_rest_stays(tmp_path, kind, written, prefix):
    plain = config_with(kind=kind)
    trained, fresh = variables_of(plain, 1), variables_of(plain, 2)
    trained["batch_stats"] = jax.tree.map(lambda x: x + 0.5, trained["batch_stats"])
    np.savez(tmp_path / "w.npz", **torch_names(trained, written))
    config = config_with(kind=kind, weights=str(tmp_path / "w.npz"), weights_prefix=prefix)
    state = load_weights(config, state_of(fresh))
    for got, expected in (
        (state.params["encoders_audio"], trained["params"]["encoders_audio"]),
        (state.batch_stats["encoders_audio"], trained["batch_stats"]["encoders_audio"]),
        (state.params["head"], fresh["params"]["head"]),
        (state.params["encoders_visual"], fresh["params"]["encoders_visual"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, got, expected)
    size = config.modalities["audio"].encoder.feature_size
    assert trained["params"]["head"]["audio"]["kernel"].shape == (size, 3)


def test_weights_of_another_network(tmp_path):
    np.savez(tmp_path / "w.npz", **torch_names(variables_of(config_with(), 1), ""))
    deeper = config_with(kind="resnet34", weights=str(tmp_path / "w.npz"))
    fresh = state_of(variables_of(config_with(kind="resnet34"), 2))
    with pytest.raises(ValueError, match=r"encoder of audio, got in .*w\.npz the shape none at"):
        load_weights(deeper, fresh)


def test_a_missing_file_is_found_before_any_data_is_touched(tmp_path):
    config = tiny_config(modalities__audio__encoder__kind="resnet18")
    audio = dataclasses.replace(
        config.modalities["audio"],
        encoder=ResNetEncoder(width=4, weights=str(tmp_path / "none.npz")),
    )
    config = dataclasses.replace(config, modalities=config.modalities | {"audio": audio})
    with pytest.raises(FileNotFoundError, match=r"audio\.encoder\.weights, got .*none\.npz"):
        loop.train(config, tmp_path / "run", str(tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []
