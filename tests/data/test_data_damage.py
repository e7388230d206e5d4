"""Prepared data that was damaged later is named, by file and record, and never used."""

import shutil

import pytest

from tcmax_jax.data.datasets import DataError, open_dataset
from tcmax_jax.data.pipeline import Process, Readers, eval_batches
from tcmax_jax.data.preparation.prepare import prepare
from tests.data.test_datasets import SETTINGS


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return prepare(SETTINGS, tmp_path_factory.mktemp("data")).data_path


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "1.0.0")


def read_all(folder):
    dataset = open_dataset(folder, ["audio", "visual"])
    for source in dataset.sources.values():
        for index in range(len(source)):
            source[index]


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("harm", [truncate, empty, flip, lambda path: path.unlink()])
def test_a_damaged_shard(folder, harm):
    [shard] = folder.glob("*-train.array_record*")
    harm(shard)
    message = r"Expected to read record 0 in .*1\.0\.0 \(train\), got: .*delete that folder and pre"
    with pytest.raises(DataError, match=message):
        read_all(folder)


@pytest.mark.parametrize("harm", [truncate, empty, flip, lambda path: path.unlink()])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "metadata.json"])
def test_a_damaged_description(folder, name, harm):
    harm(folder / name)
    with pytest.raises(DataError, match=r"description of a prepared data set in .*it again"):
        read_all(folder)


def test_a_label_out_of_range_stops_the_pipeline(folder):
    (folder / "label.labels.txt").write_text("a\nb\n")  # one of three classes is lost
    dataset = open_dataset(folder, ["audio", "visual"])
    message = r"labels below 2, the number of classes, got 2 in record \d+ of .*1\.0\.0 \(train\)"
    options = {"batch_size": 1, "readers": Readers(1, 0), "process": Process()}
    with pytest.raises(DataError, match=message):
        list(eval_batches(dataset.sources["train"], {}, **options))
