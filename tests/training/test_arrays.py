"""Runs on arrays: in files, in memory, as records by index, and what is refused of them."""

import csv
import dataclasses
import json
import re
import shutil
from typing import ClassVar, Literal

import jax
import numpy as np
import pytest

from tcmax_jax import api
from tcmax_jax.commands import train
from tcmax_jax.commands.doctor import examine as doctor
from tcmax_jax.commands.export import write_export
from tcmax_jax.commands.predict import predict_file
from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.datasets import Dataset
from tcmax_jax.data.forms import Arrays
from tcmax_jax.data.inputs import ArrayInput, SeriesInput
from tcmax_jax.data.sources import Source
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.data.sources.memory import CheckedRecords
from tcmax_jax.evaluation.outputs import read_outputs
from tcmax_jax.models import MLPEncoder, TemporalEncoder
from tcmax_jax.section import section
from tcmax_jax.training import loop
from tcmax_jax.training.config import Config, Modality, Training
from tcmax_jax.training.optimizer import SGD
from tests.made_arrays import ids_of, motion, splits_of, write_list, write_motion

ENCODERS = {"accel": TemporalEncoder(width=8, depth=2), "pose": MLPEncoder(sizes=(8,))}
RECIPE = Config(
    training=Training(epochs=3, batch_size=12, eval_batch_size=16, threads=1, noise=(1.0,)),
    optimizer=SGD(learning_rate=0.05),
)
GROUPS = [f"g{i // 3}" for i in range(60)]  # three examples of each, all in one split


def on_files(path, **options):
    stored = {"accel": Arrays(path="accel.npz"), "pose": Arrays(path="pose.npy")}
    inputs = {"accel": SeriesInput(), "pose": ArrayInput()}
    return dataclasses.replace(
        RECIPE,
        data=ManifestData(manifest=str(path), stored=stored, processes=1, **options),
        modalities={m: Modality(input=inputs[m], encoder=ENCODERS[m]) for m in ENCODERS},
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns the folder of files and of a run that read them in place."""
    folder = tmp_path_factory.mktemp("motion")
    path = write_motion(folder)
    write_list(path, motion()[1], split=splits_of(60), group=GROUPS)
    loop.train(on_files(path), folder / "run", str(folder / "data"))
    return folder


def results_of(folder):
    return json.loads((folder / "run" / "results.json").read_text())["splits"]


def test_it_learns_both_modalities(trained):
    test = results_of(trained)["test"]
    assert test["accuracy"] == 1 and min(test["accuracy/accel"], test["accuracy/pose"]) > 0.5
    config = json.loads((trained / "run" / "config.json").read_text())
    stored = config["data"]["stored"]
    assert (stored["accel"]["shape"], stored["accel"]["varying"]) == ([19, 2], True)
    assert (stored["pose"]["shape"], stored["pose"]["dtype"]) == ([12, 3], "float16")


def test_an_evaluation_knows_the_groups_of_its_examples(trained):
    for split in ("validation", "test"):
        found = read_outputs(trained / "run" / f"outputs-{split}.npz")
        own = [g for g, s in zip(GROUPS, splits_of(60), strict=True) if s == split]
        assert list(found.groups) == own and found.trained_groups == ()
    # Twelve examples of validation are too few to judge anything.
    assert json.loads((trained / "run" / "results.json").read_text())["recalibration"] is None


def test_python_gives_the_numbers_of_the_files(trained):
    values, labels = motion()
    names = [f"c{k}" for k in labels]
    classifier = api.fit_arrays(
        values, names, RECIPE, encoders=ENCODERS, splits=splits_of(60), ids=ids_of(60)
    )
    assert classifier.results["splits"] == results_of(trained)
    # A list in another folder, with the arrays beside it and no column but the id.
    other = trained / "elsewhere"
    other.mkdir()
    for name in ("accel.npz", "pose.npy"):
        shutil.copy(trained / name, other)
    (other / "new.csv").write_text("id\n" + "\n".join(ids_of(60)))
    predict_file(trained / "run", other / "new.csv", other / "predictions.csv")
    with (other / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    probabilities = classifier.predict(values)
    assert set(probabilities) == {"fused", "accel", "pose"}
    for number, name in enumerate(classifier.class_names):
        written = [float(row[name]) for row in rows]
        np.testing.assert_allclose(probabilities["fused"][:, number], written, atol=1e-6)


def test_prepared_records_give_the_numbers_of_files_in_place(trained):
    config = on_files(trained / "list.csv", in_place=False)
    results = loop.train(config, trained / "prepared", str(trained / "records"))
    assert results["splits"] == results_of(trained)


def test_a_run_goes_on_with_shapes_that_it_has_read(trained):
    config = on_files(trained / "list.csv")
    again = loop.train(config, trained / "run", str(trained / "data"))
    assert again["splits"] == results_of(trained)


def test_a_saved_classifier_is_exported(trained, tmp_path):
    values, _ = motion()
    saved = api.load(trained / "run").save(tmp_path / "saved")
    write_export(tmp_path / "saved", tmp_path / "export")
    about = json.loads((tmp_path / "export" / "model.json").read_text())
    assert about["inputs"]["accel"]["values"] == {"shape": ["rows", 19, 2], "dtype": "float32"}
    function = jax.export.deserialize(
        (tmp_path / "export" / "classifier.jax_export").read_bytes()
    ).call
    to_input = SeriesInput(steps=19)
    series = [to_input(x, None) for x in values["accel"][:5]]
    given = {
        "accel": {
            "values": np.stack([x.values for x in series]),
            "mask": np.stack([x.mask for x in series]),
        },
        "pose": values["pose"][:5],
    }
    expected = saved.predict({m: x[:5] for m, x in values.items()})
    np.testing.assert_allclose(function(given)["fused"], expected["fused"], atol=1e-6)
    with pytest.raises(FileExistsError, match=r"Expected a new folder, got .*saved"):
        saved.save(tmp_path / "saved")


def test_examples_without_finite_scores_are_not_predicted(trained):
    classifier, (values, _) = api.load(trained / "run"), motion()
    diverged = jax.tree.map(lambda x: np.nan * x, classifier._trained.variables)
    vars(classifier)["_trained"] = classifier._trained._replace(variables=diverged)
    with pytest.raises(RawDataError, match=r"example 0: Expected finite scores, got NaN or infin"):
        classifier.predict({m: x[:5] for m, x in values.items()})


class Lazy:
    """Records that are made when they are asked for, as a data set elsewhere gives them."""

    def __init__(self, rows):
        self.values, self.labels = motion()
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return {
            "pose": self.values["pose"][row],
            "twice": 2 * self.values["pose"][row, 0],
            "label": f"c{self.labels[row]}",
        }


def test_records_by_index_are_trained_on_as_they_are():
    splits = np.array(splits_of(60))
    sources = {split: Lazy(np.flatnonzero(splits == split)) for split in ("train", "validation")}
    encoders = {"pose": MLPEncoder(sizes=(8,)), "twice": MLPEncoder(sizes=(8,))}
    classifier = api.fit_records(sources, ["c0", "c1", "c2"], RECIPE, encoders=encoders)
    assert classifier.results["splits"]["validation"]["accuracy"] > 0.6
    with pytest.raises(RawDataError, match=r"train, record 0: .*got 'c0'\. Correct it, or class"):
        api.fit_records(sources, ["a", "b", "c"], RECIPE, encoders=encoders)
    with pytest.raises(RawDataError, match="Expected records of train and validation, got train"):
        api.fit_records({"train": sources["train"]}, ["c0", "c1", "c2"])


def test_a_hugging_face_data_set_is_trained_on_without_files_of_ours():
    datasets = pytest.importorskip("datasets")
    values, labels = motion()
    features = datasets.Features(
        {
            "pose": datasets.Array2D((12, 3), "float32"),
            "head": datasets.List(datasets.Value("float32"), length=3),
            "label": datasets.ClassLabel(names=["a", "b", "c"]),
        }
    )
    rows = {
        "pose": list(values["pose"].astype(np.float32)),
        "head": [pose[0].tolist() for pose in values["pose"].astype(np.float32)],
        "label": [int(k) for k in labels],
    }
    whole = datasets.Dataset.from_dict(rows, features=features).with_format("numpy")
    parts = {"train": whole.select(range(45)), "validation": whole.select(range(45, 60))}
    encoders = {"pose": MLPEncoder(sizes=(8,)), "head": MLPEncoder(sizes=(8,))}
    names = whole.features["label"].names
    classifier = api.fit_records(parts, names, RECIPE, encoders=encoders)
    assert classifier.results["splits"]["validation"]["accuracy"] > 0.6
    assert list(classifier.class_names) == ["a", "b", "c"]


@section
class LazyData(Source):
    """A source of a recipe that needs no preparation."""

    kind: Literal["test_lazy"] = "test_lazy"

    forms: ClassVar = {
        "pose": Arrays(shape=(12, 3), dtype="float16", varying=False),
        "twice": Arrays(shape=(3,), dtype="float16", varying=False),
    }

    def open(self):
        """Opens records by index."""
        names, splits = ["c0", "c1", "c2"], np.array(splits_of(60))
        sources = {
            split: CheckedRecords(
                Lazy(np.flatnonzero(splits == split)), self.forms, names, place=split
            )
            for split in ("train", "validation", "test")
        }
        return Dataset("lazy", names, {}, sources)


def test_a_source_of_a_recipe_is_opened_as_it_is(tmp_path):
    modality = Modality(input=ArrayInput(), encoder=MLPEncoder(sizes=(8,)))
    config = dataclasses.replace(
        RECIPE, data=LazyData(), modalities=dict.fromkeys(LazyData.forms, modality)
    )
    results = loop.train(config, tmp_path / "run", str(tmp_path / "data"))
    assert results["splits"]["test"]["accuracy"] > 0.6
    assert loop.evaluate(tmp_path / "run", str(tmp_path / "data"))["splits"].keys() == {
        "validation",
        "test",
    }


def bad_motion(change):
    values, labels = motion(30)
    change(values)
    return values, labels


def other_shape(values):
    values["accel"][3] = values["accel"][3][:, :1]


def not_finite(values):
    values["pose"][2, 1, 1] = np.nan


def objects(values):
    values["pose"] = np.array([None] * 30)


def shorter(values):
    values["pose"] = values["pose"][:-1]


def missing(values):
    del values["pose"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_shape, r"accel: .*one shape .* got \[\d+, 1\] for example 3 and \[\d+, 2\] for ex"),
        (not_finite, r"pose of example 2: Expected finite float16 numbers, got NaN or infinity"),
        (objects, r"pose of example 0: Expected an array of numbers, got \[\] of object"),
        (shorter, r"as many examples of each modality, one or more, got \{'accel': 30, 'pose': 29"),
        (missing, "Expected encoders of accel, got one of pose. Add its arrays"),
    ],
)
def test_arrays_in_memory_that_do_not_fit(change, message):
    values, labels = bad_motion(change)
    with pytest.raises(RawDataError, match=message):
        api.fit_arrays(values, labels, RECIPE, encoders=ENCODERS)


def test_labels_and_splits_in_memory_that_do_not_fit():
    values, labels = motion(30)
    with pytest.raises(RawDataError, match="Expected 30 labels, one for each example, got 29"):
        api.fit_arrays(values, labels[:-1], RECIPE, encoders=ENCODERS)
    with pytest.raises(RawDataError, match=r"Expected the splits train, .*got 'dev'"):
        api.fit_arrays(values, labels, RECIPE, encoders=ENCODERS, splits=["dev"] * 30)


def in_file(change):
    def write(folder):
        values, labels = motion(30)
        change(values)
        np.savez(folder / "accel.npz", **dict(zip(ids_of(30), values["accel"], strict=True)))
        np.save(folder / "pose.npy", values["pose"])
        write_list(folder / "list.csv", labels, split=splits_of(30))

    return write


def other_ids(folder):
    values, labels = motion(30)
    np.savez(folder / "accel.npz", **{f"x{i}": x for i, x in enumerate(values["accel"])})
    np.save(folder / "pose.npy", values["pose"])
    write_list(folder / "list.csv", labels, split=splits_of(30))


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (in_file(other_shape), r"data\.stored\.accel: .* got \[\d+, 1\] for 'e3' \(.*line 5\)"),
        (in_file(not_finite), r"list\.csv, line 4 \(e2\): .*pose\.npy \(e2\): Expected finite"),
        (in_file(objects), r"pose\.npy: Expected arrays of numbers, got Python objects"),
        (in_file(shorter), r"pose\.npy: Expected a row for each of the 30 clips .*got \[29, 12"),
        (other_ids, r"accel\.npz: Expected an array of 'e0', got those of 30 others"),
    ],
)
def test_arrays_in_files_that_do_not_fit(tmp_path, write, message, in_place):
    write(tmp_path)
    config = on_files(tmp_path / "list.csv", in_place=in_place)
    with pytest.raises(ValueError, match=message):
        loop.train(config, tmp_path / "run", str(tmp_path / "data"))
    assert not (tmp_path / "run").exists()


def test_a_collapse_tells_scale_from_rate(capfd):
    values, labels = motion(30)
    far = {"pose": values["pose"].astype(np.float32), "far": 1e4 + 1e3 * values["pose"][:, 0]}
    plain = Modality(input=ArrayInput(standardize=False), encoder=MLPEncoder(sizes=(4,)))
    recipe = Config(
        optimizer=SGD(learning_rate=1.0, clip_norm=1.0),
        training=Training(epochs=2, batch_size=8, probe=False, noise=()),
    )
    api.fit_arrays(far, labels, recipe, encoders=dict.fromkeys(far, plain))
    said = " ".join(capfd.readouterr().err.split())
    assert "warning: far has collapsed" in said
    assert re.search(r"its encoder gets has mean 1\.\d+e\+04 and standard deviation", said)
    assert "set modalities.far.input.standardize=true" in said


def test_the_commands_before_training_say_that_nothing_is_prepared(tmp_path, monkeypatch):
    config = on_files(write_motion(tmp_path))
    monkeypatch.setattr(doctor, "_try", lambda *arguments: ([], [], 0, None))
    report = doctor.examine(config, tmp_path / "run", str(tmp_path / "data"))
    lines = report.sections["data"]
    assert "this experiment: arrays of 60 examples, read in place" in lines
    assert any(re.match(r"accel of .*accel\.npz: 19 x 2, float32", line) for line in lines)
    assert not [x for x in report.findings if "prepared" in x.text]
    monkeypatch.setattr(train, "recipe_of", lambda options: config)
    monkeypatch.setattr(train, "data_folder", lambda options: str(tmp_path / "data"))
    said = train.prepare(None).text
    assert re.match(r"nothing to prepare: manifest/\S+ is read in place", said)
