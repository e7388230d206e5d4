"""Claims about prepared data sets: the synthetic one, and what opening a folder accepts."""

import dataclasses

import numpy as np
import pytest

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.pictures import decode_image
from tcmax_jax.data.preparation import checks
from tcmax_jax.data.preparation import prepare as prepare_module
from tcmax_jax.data.preparation.prepare import prepare
from tcmax_jax.data.sources import synthetic
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.data.sources.synthetic import SyntheticData, generate
from tests.data.media_files import flat_frames, tone, write_media
from tests.data.small_forms import ALONE, AUDIO_VISUAL

KNOBS = {
    "num_classes": 3,
    "audio_signal": 0.5,
    "audio_noise": 0.3,
    "visual_signal": 0.4,
    "visual_noise": 0.3,
    "correlation": 0.2,
    "audio_shape": (6, 5),
    "visual_shape": (2, 7, 8),
}
SIZES = {"train": 11, "validation": 5, "test": 4}
SETTINGS = SyntheticData(
    **{f"{split}_examples": size for split, size in SIZES.items()}, **KNOBS, seed=2
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def prepared(data_dir):
    return prepare(SETTINGS, data_dir).data_path


@pytest.fixture
def manifest(tmp_path):
    """Settings of a data set that has train and test only."""
    folder = tmp_path / "words"
    write_media(folder / "a.avi", frames=flat_frames([50] * 5), audio=tone(0.5))
    rows = "a,train,low,a.avi\nb,test,low,a.avi\n"
    (folder / "manifest.csv").write_text("id,split,label,path\n" + rows)
    return ManifestData(manifest=str(folder / "manifest.csv"), stored=AUDIO_VISUAL, **ALONE)


def test_dataset_of_the_folder(prepared):
    dataset = open_dataset(prepared, ["audio", "visual"])
    assert dataset.name == f"synthetic/{prepared.parent.name}/1.0.0"
    assert dataset.summary == {}
    assert list(dataset.class_names) == ["class0", "class1", "class2"]
    assert {split: len(source) for split, source in dataset.sources.items()} == SIZES


@pytest.mark.parametrize("number,split", list(enumerate(SIZES)))
def test_records_are_the_generated_examples(prepared, number, split):
    expected = generate(SIZES[split], **KNOBS, seed=3 * SETTINGS.seed + number)
    source = open_dataset(prepared, ["audio"]).sources[split]
    # The records are stored in an order of their own.
    records = {source[i]["id"].decode(): source[i] for i in range(len(source))}
    assert set(records) == {f"{split}{i}" for i in range(SIZES[split])}
    for i in range(SIZES[split]):
        record = records[f"{split}{i}"]
        assert record["label"] == expected["label"][i]
        np.testing.assert_array_equal(record["audio"], expected["audio"][i], strict=True)
        frames = np.stack([decode_image(image) for image in record["visual"]])
        np.testing.assert_array_equal(frames, expected["visual"][i], strict=True)


def test_second_preparation_finds_the_first(prepared, data_dir, monkeypatch):
    monkeypatch.setattr(synthetic, "generate", None)
    again = prepare(dataclasses.replace(SETTINGS), data_dir)
    assert again.data_path == prepared
    assert again.info.splits["train"].num_examples == SIZES["train"]


@pytest.mark.parametrize("change", [{"seed": 3}, {"train_examples": 12}, {"correlation": 0.3}])
def test_other_settings_have_their_own_folder(prepared, data_dir, change):
    other = prepare(dataclasses.replace(SETTINGS, **change), data_dir)
    assert other.data_path != prepared
    assert other.is_prepared() and prepared.exists()


def test_unknown_modality_is_refused(prepared):
    message = r"modalities of the data set \(audio, visual\), got 'text'\. Correct the names"
    with pytest.raises(ValueError, match=message):
        open_dataset(prepared, ["audio", "text"])


@pytest.mark.parametrize("name", ["id", "label"])
def test_other_fields_are_no_modalities(prepared, name):
    with pytest.raises(ValueError, match=f"got '{name}'"):
        open_dataset(prepared, [name])


def test_validation_is_required_before_anything_is_decoded(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_module, "decode_chunks", None)
    with pytest.raises(RawDataError, match=r"none of validation \(1 of train, 1 of test\)\. Give"):
        prepare(manifest, tmp_path / "data")


def test_validation_is_required_of_prepared_data(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "check_listed", lambda listing: None)
    path = prepare(manifest, tmp_path / "data").data_path
    with pytest.raises(ValueError, match=r"a validation split in .*, got train, test\. Training"):
        open_dataset(path, ["audio"])
