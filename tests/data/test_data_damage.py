"""Prepared data that was damaged later is named, by file and record, and never used."""

import shutil

import pytest

from tcmax_jax.data.datasets import DataError, open_dataset
from tcmax_jax.data.pipeline import Process, Readers, eval_batches
from tcmax_jax.data.preparation.prepare import prepare
from tests.data.test_datasets import SETTINGS
from tests.harms import HARMS


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return prepare(SETTINGS, tmp_path_factory.mktemp("data")).data_path


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "1.0.0")


@pytest.fixture
def old(folder):
    """Returns a folder as earlier versions prepared it, without digests of its files."""
    (folder / "digests.json").unlink()
    return folder


def read_all(folder):
    dataset = open_dataset(folder, ["audio", "visual"])
    for source in dataset.sources.values():
        for index in range(len(source)):
            source[index]


HARM = pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)


@HARM
def test_any_file_that_is_damaged_is_named(template, tmp_path, harm):
    names = sorted(path.name for path in template.iterdir() if path.name != "digests.json")
    assert len(names) == 7  # four that describe, and three shards
    for name in names:
        folder = shutil.copytree(template, tmp_path / name / "1.0.0")
        harm(folder / name)
        message = rf"Expected {folder / name} as it was written, got .*\. The prep.*it again"
        with pytest.raises(DataError, match=message):
            read_all(folder)


def test_where_nothing_is_known_of_files_all_are_taken(old):
    read_all(old)


@HARM
def test_a_damaged_shard_of_earlier_versions(old, harm):
    [shard] = old.glob("*-train.array_record*")
    harm(shard)
    message = r"Expected to read record 0 in .*1\.0\.0 \(train\), got: .*delete that folder and pre"
    with pytest.raises(DataError, match=message):
        read_all(old)


@HARM
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "metadata.json"])
def test_a_damaged_description_of_earlier_versions(old, name, harm):
    harm(old / name)
    with pytest.raises(DataError, match=r"in .*1\.0\.0.*, got.*prepare it again"):
        read_all(old)


@pytest.mark.parametrize(("text", "left"), [("a\nb\n", 2), ("", 0), (None, 0)])
def test_lost_names_of_classes_of_earlier_versions(old, text, left):
    file = old / "label.labels.txt"
    file.unlink() if text is None else file.write_text(text)
    message = rf"Expected the names of 3 classes in {file}, got {left}\. The prepared data"
    with pytest.raises(DataError, match=message):
        read_all(old)


def test_a_label_out_of_range_stops_the_pipeline(old):
    (old / "label.labels.txt").write_text("a\nb\n")  # one of three classes is lost
    features = (old / "features.json").read_text()
    (old / "features.json").write_text(features.replace('"numClasses": "3"', '"numClasses": "2"'))
    dataset = open_dataset(old, ["audio", "visual"])
    message = r"labels below 2, the number of classes, got 2 in record \d+ of .*1\.0\.0 \(train\)"
    options = {"batch_size": 1, "readers": Readers(1, 0), "process": Process()}
    with pytest.raises(DataError, match=message):
        list(eval_batches(dataset.sources["train"], {}, **options))
