"""Encoders before the first step: weights to start from, and what is refused of others' modules."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from tcmax_jax import api
from tcmax_jax.data.inputs import SpectrogramInput
from tcmax_jax.models import MultimodalClassifier, ResNetEncoder, encoder_of
from tcmax_jax.models.fusion import SumHead
from tcmax_jax.training import build, loop, passes
from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.config import Config, Modality, Training
from tcmax_jax.training.encoders import load_weights
from tcmax_jax.training.optimizer import SGD
from tcmax_jax.training.state import TrainState
from tcmax_jax.training.trained import load_trained
from tests.models.random_params import randomised
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
    return randomised(jax.eval_shape(model.init, jax.random.key(seed), INPUTS), seed)


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


def beginning_with(file):
    """Returns a run whose encoder of sound begins with the weights of a file."""
    config = tiny_config(modalities__audio__encoder__kind="resnet18")
    encoder = ResNetEncoder(width=4, weights=str(file))
    audio = dataclasses.replace(config.modalities["audio"], encoder=encoder)
    return dataclasses.replace(config, modalities=config.modalities | {"audio": audio})


def test_a_missing_file_is_found_before_any_data_is_touched(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"audio\.encoder\.weights, got .*none\.npz"):
        loop.train(beginning_with(tmp_path / "none.npz"), tmp_path / "run", str(tmp_path / "data"))
    assert list(tmp_path.iterdir()) == []


def test_weights_that_do_not_fit_leave_the_folder_free(tmp_path, monkeypatch):
    np.savez(tmp_path / "w.npz", other=np.zeros(3))
    config = beginning_with(tmp_path / "w.npz")
    # What is drawn in their place is not looked at.
    drawn = state_of(variables_of(config_with(), 2))
    monkeypatch.setattr(passes, "initial_state", lambda setup: drawn)
    with pytest.raises(ValueError, match=r"modalities\.audio\.encoder\.weights=.*w\.npz: "):
        loop.train(config, tmp_path / "run", str(tmp_path / "data"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]


class Spread(nn.Module):
    """An encoder with one fault, or none."""

    fault: str = ""

    @nn.compact
    def __call__(self, x, train):
        if self.fault == "bare":
            return x
        y = nn.Dense(4)(x)
        match self.fault:
            case "rank":
                return y[:, None, None]
            case "batch":
                return y - y.mean(axis=0)
            case "noise" if train:
                return y + jax.random.normal(self.make_rng("noise"), y.shape)
            case "crash":
                return y + x
        return y


SpreadEncoder = encoder_of(Spread, "test_spread")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("rank", r"modalities\.b\.encoder: Expected features \[B, D\] or .*got \[4, 1, 1, 4\]"),
        ("batch", r"modalities\.b\.encoder: .* the same whatever else is in the batch"),
        ("bare", r"modalities\.b\.encoder: Expected a module with parameters, got test_spread"),
        ("crash", r"modalities\.b\.encoder: Expected test_spread to take \(x, train\) with x \[4,"),
    ],
)
def test_encoders_that_are_refused_before_the_first_step(tmp_path, fault, message):
    rng, labels = np.random.default_rng(0), np.arange(40) % 2
    inputs = {m: rng.normal(size=(40, 3)).astype(np.float32) for m in "ab"}
    encoders = {"a": SpreadEncoder(), "b": SpreadEncoder(fault=fault)}
    with pytest.raises(ValueError, match=message):
        api.fit_arrays(inputs, labels, encoders=encoders, workdir=tmp_path / "run")


class Droppy(nnx.Module):
    def __init__(self, size: int = 6, *, rngs: nnx.Rngs):
        self.dense = nnx.Linear(3, size, rngs=rngs)
        self.norm = nnx.BatchNorm(size, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)

    def __call__(self, x, train):
        x = self.norm(self.dense(x), use_running_average=not train)
        return self.dropout(nnx.relu(x), deterministic=not train)


DroppyEncoder = encoder_of(Droppy, "test_droppy")


def test_modules_of_both_kinds_train_freeze_and_go_on(tmp_path, monkeypatch):
    rng, labels = np.random.default_rng(0), np.arange(96) % 3
    inputs = {
        m: (np.eye(3)[labels] + 0.3 * rng.normal(size=(96, 3))).astype(np.float32) for m in "ab"
    }
    recipe = Config(
        training=Training(
            epochs=3, batch_size=24, accumulate=2, eval_batch_size=16, probe=False, noise=()
        ),
        optimizer=SGD(learning_rate=0.1, weight_decay=0.1, factors={"encoders_b/*": 0.0}),
    )
    encoders = {"a": DroppyEncoder(), "b": SpreadEncoder(fault="noise")}
    fit = functools.partial(api.fit_arrays, inputs, labels, recipe, encoders=encoders)
    began, real_fit = [], loop.fit

    def noting(setup, state, *rest):
        began.append(state)
        real_fit(setup, state, *rest)

    monkeypatch.setattr(loop, "fit", noting)
    whole = fit(workdir=tmp_path / "whole")
    assert whole.results["splits"]["validation"]["accuracy"] > 0.8
    monkeypatch.setattr(Checkpoints, "save", stop_after(6, Checkpoints.save))
    with pytest.raises(KeyboardInterrupt):
        fit(workdir=tmp_path / "halves")
    monkeypatch.undo()
    halves = fit(workdir=tmp_path / "halves")
    assert halves.results["splits"] == whole.results["splits"]
    params, drawn = load_trained(tmp_path / "whole").variables["params"], began[0].params
    jax.tree.map(np.testing.assert_array_equal, params["encoders_b"], drawn["encoders_b"])
    moved = jax.tree.map(lambda x, y: np.any(x != y), params["encoders_a"], drawn["encoders_a"])
    assert all(jax.tree.leaves(moved))


def stop_after(step, save):
    def stopping(self, state, *args):
        save(self, state, *args)
        if int(state.step) == step:
            raise KeyboardInterrupt

    return stopping
