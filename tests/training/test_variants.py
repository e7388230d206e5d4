"""Whole tiny runs away from the defaults: heads, optimiser, dtype, workers, priors, own clips."""

import contextlib
import dataclasses
import math

import pytest

from tcmax_jax.data.forms import Frames, LogSpectrogram
from tcmax_jax.data.inputs import FramesInput, SpectrogramInput
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.models import MLPEncoder
from tcmax_jax.training import loop, run_folders
from tcmax_jax.training.config import Modality
from tcmax_jax.training.config.overrides import load_experiment, override
from tcmax_jax.training.config.tree import ConfigError
from tests.data.media_files import flat_frames, tone, write_media
from tests.training.tiny import tiny_config

VARIANTS = {
    "film-adamw-bfloat16": {
        "model__fusion": "film",
        "model__dtype": "bfloat16",
        "optimizer__kind": "adamw",
        "optimizer__learning_rate": 0.001,
    },
    "empirical-prior": {"method__label_prior": "empirical", "model__fusion": "share_head"},
    "unimodal-own-heads": {"method__kind": "unimodal", "model__fusion": "concat_msh"},
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_train_and_evaluate(tmp_path, data_dir, name):
    config = tiny_config(training__epochs=2, **VARIANTS[name])
    results = loop.train(config, tmp_path / "run", data_dir)
    assert all(math.isfinite(v) for m in results["splits"].values() for v in m.values())
    assert ("accuracy/audio" in results["splits"]["test"]) == (
        config.model.fusion.kind in ("share_head", "concat_msh")
    )
    assert loop.evaluate(tmp_path / "run", data_dir) == results


def test_the_input_kind_has_to_be_that_of_the_data():
    with pytest.raises(ValueError, match=r"audio.input.kind is spectrogram, which .* got frames"):
        tiny_config(modalities__audio__input__kind="frames")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Returns the list of two clips, whose folder has a space in its name, without a test split."""
    folder = tmp_path_factory.mktemp("own") / "my clips"
    folder.mkdir()
    for name, level, hertz in (("cat", 50, 300.0), ("dog", 200, 900.0)):
        frames, sound = flat_frames([level] * 4), tone(0.4, hertz=hertz)
        write_media(folder / f"{name}.mkv", frames=frames, audio=sound)
    write_manifest(folder / "clips.csv", rows=24)
    return folder / "clips.csv"


def write_manifest(path, rows):
    with path.open("w") as file:
        file.write("id,split,label,path\n")
        for i in range(rows):
            label, split = ("cat", "dog")[i % 2], "train" if i < 16 else "validation"
            file.write(f"{i},{split},{label},{label}.mkv\n")


def manifest_config(path):
    stored = {
        "audio": LogSpectrogram(rate=8000, seconds=0.2, hop=64),
        "visual": Frames(count=2, short_side=16),
    }
    data = ManifestData(manifest=str(path), stored=stored, processes=1)
    modalities = {
        "audio": Modality(input=SpectrogramInput(steps=20), encoder=MLPEncoder(sizes=(8,))),
        "visual": Modality(input=FramesInput(size=12), encoder=MLPEncoder(sizes=(8,))),
    }
    config = tiny_config(training__epochs=1, training__eval_batch_size=12)
    return dataclasses.replace(config, data=data, modalities=modalities)


@pytest.fixture(scope="module")
def own_clips(tmp_path_factory, manifest):
    """Returns the folder of a run that was trained beside the list, that of its data, its results.

    Tests only read them.
    """
    folder = tmp_path_factory.mktemp("own_clips")
    workdir, data_dir = folder / "run", str(folder / "data")
    with contextlib.chdir(manifest.parent):
        results = loop.train(manifest_config("clips.csv"), workdir, data_dir)
    return workdir, data_dir, results


def test_own_clips_from_any_folder_and_without_test_split(own_clips, tmp_path, monkeypatch):
    workdir, data_dir, results = own_clips
    assert list(results["splits"]) == ["validation"]
    monkeypatch.chdir(tmp_path)
    assert loop.evaluate(workdir, data_dir) == results


@pytest.mark.parametrize("method", ["joint", "unimodal"])
def test_the_recipe_for_own_clips_stands_dense_encoders_on_raw_inputs(
    tmp_path, manifest, data_dir, method
):
    fields = {
        "data.manifest": str(manifest),
        "data.processes": "1",
        "data.stored.audio.seconds": "0.4",
        "data.stored.visual.short_side": "16",
        "modalities.audio.input.steps": "null",
        "modalities.visual.input.size": "16",
        "modalities.audio.encoder": "mlp",
        "modalities.visual.encoder": "mlp",
        "method": method,
        "training.epochs": "12",
        "training.eval_every": "12",
        "training.probe": "false",
    }
    config = override(load_experiment("own_clips"), fields)
    # No mean and no deviation: log-magnitudes down to -16 go in as they are.
    assert config.modalities["audio"].encoder == MLPEncoder()
    results = loop.train(config, tmp_path / "run", data_dir)
    assert results["splits"]["validation"]["accuracy"] == 1.0
    assert all(math.isfinite(v) for v in results["splits"]["validation"].values())


@pytest.fixture
def longer_manifest(manifest):
    """Has two more rows in the list for a while."""
    write_manifest(manifest, rows=26)
    yield manifest
    write_manifest(manifest, rows=24)


def test_a_run_refuses_other_data_than_it_was_trained_on(own_clips, longer_manifest):
    workdir, data_dir, _ = own_clips
    config = run_folders.stored_config(workdir)
    message = (
        r"run on the data set manifest/my_clips-\w+/1.0.0 \(2 classes, list \w+\), .*now gives the "
        "data set manifest/my"
    )
    with pytest.raises(ConfigError, match=message):
        loop.train(config, workdir, data_dir)
    with pytest.raises(ConfigError, match=message):
        loop.evaluate(workdir, data_dir)


def test_what_changes_no_number_may_change_on_the_way(tmp_path, data_dir):
    config = tiny_config(training__epochs=1)
    results = loop.train(config, tmp_path / "run", data_dir)
    # Processes are asked for where not all is held in memory.
    other = {"threads": 4, "workers": 1, "held_mib": 0, "log_every": 2}
    options = {f"training__{name}": value for name, value in other.items()}
    faster = tiny_config(training__epochs=1, **options)
    assert loop.train(faster, tmp_path / "run", data_dir) == results


def test_what_is_held_in_memory_changes_no_number(tmp_path, data_dir):
    results = []
    for held in (0, 64):
        config = tiny_config(training__epochs=1, training__held_mib=held)
        results.append(loop.train(config, tmp_path / str(held) / "run", data_dir))
    assert results[0] == results[1]


def test_an_empirical_prior_needs_every_class(tmp_path, data_dir):
    config = tiny_config(method__label_prior="empirical", data__train_examples=16)
    lost = dataclasses.replace(config, data=dataclasses.replace(config.data, num_classes=20))
    with pytest.raises(ValueError, match=r"examples of every class .*got none of 'class\d+'"):
        loop.train(lost, tmp_path / "run", data_dir)
