"""What is exported needs nothing of this project, and says what the run says."""

import json
import shutil

import jax
import jax.export
import numpy as np
import pytest

from tcmax_jax.commands import export as exports
from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.forms import Features, Flow, Frames, LogSpectrogram
from tcmax_jax.data.inputs import ArrayInput, FlowInput, FramesInput, SpectrogramInput
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.evaluation.outputs import read_outputs
from tcmax_jax.models import MLPEncoder
from tcmax_jax.training import loop
from tcmax_jax.training.build import make_method, make_model, prepare_data
from tcmax_jax.training.checkpoint_reader import CheckpointError
from tcmax_jax.training.config import Config, Modality
from tcmax_jax.training.config.overrides import override
from tcmax_jax.training.config.tree import ConfigError
from tcmax_jax.training.trained import Trained, classifier
from tests.harms import change
from tests.training.tiny import tiny_config


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """Returns the folder of a run whose prediction needs the labels of its data."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    config = tiny_config(method__label_prior="empirical", training__probe=False)
    loop.train(config, workdir, str(data_dir), jax.devices()[:1])
    return workdir


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    exports.write_export(run, folder)
    return folder


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def inputs_of_test(data_dir):
    config = tiny_config()
    source = open_dataset(prepare_data(config, data_dir), tuple(config.modalities)).sources["test"]
    records = [source[i] for i in range(len(source))]
    return {
        name: np.stack([transform(record[name], None) for record in records])
        for name, transform in config.inputs.items()
    }


def load(folder):
    return jax.export.deserialize((folder / "classifier.jax_export").read_bytes())


def test_the_function_says_what_the_run_said(run, folder, data_dir):
    outputs = read_outputs(run / "outputs-test.npz")
    function = load(folder)
    assert function.platforms == ("cpu", "cuda", "tpu")
    inputs = inputs_of_test(data_dir)
    said = function.call(inputs)
    assert said.keys() == {"fused", "audio", "visual"}
    for name, probabilities in said.items():
        logits = outputs.scores["fused"] if name == "fused" else outputs.marginal[(name,)]
        expected = softmax(logits)
        np.testing.assert_allclose(probabilities, expected, atol=1e-6, rtol=0)
    one = function.call({name: x[:1] for name, x in inputs.items()})
    np.testing.assert_allclose(one["fused"], said["fused"][:1], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("recalibrated", [False, True])
def test_the_function_says_nothing_of_an_input_that_is_not_finite(
    run, folder, data_dir, tmp_path, value, recalibrated
):
    if recalibrated:
        folder = tmp_path / "model"
        exports.write_export(run, folder, recalibrated=True)
    inputs = inputs_of_test(data_dir)
    before = load(folder).call(inputs)
    inputs["audio"][3, 0, 0] = value
    after = load(folder).call(inputs)
    rest = np.arange(30) != 3
    for name, probabilities in after.items():
        assert np.isnan(probabilities[3]).all(), name
        np.testing.assert_allclose(probabilities[rest], before[name][rest], atol=1e-6)


def test_a_recalibrated_function_weighs_the_modalities(run, tmp_path, data_dir):
    exports.write_export(run, tmp_path / "model", recalibrated=True)
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    found = json.loads((run / "analysis.json").read_text())["test"]["recalibration"]
    assert about["recalibration"] == {
        "weights": found["weights"],
        "offsets": found["offsets"],
        "judged": None,  # by 30 examples
    }
    said = load(tmp_path / "model").call(inputs_of_test(data_dir))
    outputs = read_outputs(run / "outputs-test.npz")
    scores = sum(w * outputs.scores[m] for m, w in found["weights"].items()) + found["offsets"]
    np.testing.assert_allclose(said["fused"], softmax(scores), atol=1e-6, rtol=0)
    np.testing.assert_allclose(said["audio"], softmax(outputs.marginal["audio",]), atol=1e-6)


def test_what_is_to_be_expected_of_recalibration_goes_with_it(run, tmp_path, capsys):
    moved = shutil.copytree(run, tmp_path / "moved")
    judged = {"gain": {"mean": -0.029, "half_width": 0.01}, "groups": 6, "holds": False}
    results = json.loads((moved / "results.json").read_text())
    change(moved / "results.json", json.dumps(results | {"recalibration": judged}))
    exports.write_export(moved, tmp_path / "model", recalibrated=True)
    said = capsys.readouterr().err
    assert "-2.90 ±1.00 points of accuracy on 6 groups of validation left out of the fit" in said
    assert "says nothing about new groups: those of validation were trained on" in said
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert about["recalibration"]["judged"] == judged


def test_the_recalibration_of_another_checkpoint_is_refused(run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "moved")
    results = json.loads((moved / "results.json").read_text())
    change(moved / "results.json", json.dumps(results | {"step": 1}))
    with pytest.raises(ValueError, match=r"of the best checkpoint, .*got one of step 1\. Evaluate"):
        exports.write_export(moved, tmp_path / "model", recalibrated=True)
    (moved / "results.json").unlink()
    with pytest.raises(ValueError, match=r"of the best checkpoint, .*got one of step unknown\. Ev"):
        exports.write_export(moved, tmp_path / "model", recalibrated=True)
    (moved / "analysis.json").unlink()
    with pytest.raises(ValueError, match=r"Expected the analyses of an evaluation in .*got none"):
        exports.write_export(moved, tmp_path / "model", recalibrated=True)
    assert not (tmp_path / "model").exists()


def test_the_parameters_are_plain_arrays_that_give_the_same(run, folder, data_dir):
    outputs = read_outputs(run / "outputs-test.npz")
    with np.load(folder / "params.npz", allow_pickle=False) as file:
        params = dict(file)
    x = inputs_of_test(data_dir)["visual"].reshape(30, -1) / 255
    x = (x - 0.5) / 0.25
    for layer in ("Dense_0", "Dense_1"):
        path = f"params/encoders_visual/{layer}"
        x = np.maximum(x @ params[f"{path}/kernel"] + params[f"{path}/bias"], 0)
    np.testing.assert_allclose(x, outputs.features["visual"], atol=1e-4, rtol=1e-4)
    assert params["params/head/bias"].shape == (3,)


def test_the_description(folder):
    about = json.loads((folder / "model.json").read_text())
    assert about["class_names"] == ["class0", "class1", "class2"]
    assert about["inputs"] == {
        "audio": {"shape": ["rows", 6, 6, 1], "dtype": "float16"},
        "visual": {"shape": ["rows", 2, 6, 6, 3], "dtype": "uint8"},
    }
    assert list(about["outputs"]) == ["audio", "fused", "visual"]
    assert about["outputs"]["fused"] == {"shape": ["rows", 3], "dtype": "float32"}
    assert (about["method"]["kind"], about["head"]) == ("tcmax", "concat")
    assert about["modalities"]["visual"]["encoder"]["std"] == [0.25]
    assert about["recalibration"] is None


def test_a_folder_that_holds_something_is_left_alone(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("text")
    with pytest.raises(FileExistsError, match=r"new or empty folder .*got .*Choose another --exp"):
        exports.write_export(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_without_its_label_prior_is_refused(run, tmp_path):
    old = shutil.copytree(run, tmp_path / "old")
    data = json.loads((old / "data.json").read_text())
    assert data.pop("label_prior") == pytest.approx([24 / 70, 23 / 70, 23 / 70])
    change(old / "data.json", json.dumps(data))
    with pytest.raises(
        ConfigError, match=r"Expected the label prior .*earlier version.*Train again"
    ):
        exports.write_export(old, tmp_path / "model")


def test_damaged_parameters_are_found(run, tmp_path):
    damaged = shutil.copytree(run, tmp_path / "damaged")
    for path in damaged.glob("checkpoints/*/about/metadata"):
        about = json.loads(path.read_text())
        about["arrays"]["params/head/bias"][2] += 1
        (path.parents[1] / "digests.json").unlink()  # as earlier versions wrote them
        path.write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match=r"is damaged \(its metrics\)\. Restore"):
        exports.write_export(damaged, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("method", "fusion"), [("joint", "bigated"), ("tcmax", "gated"), ("mla", "share_head")]
)
def test_other_heads_and_predictions_are_exported_as_well(method, fusion):
    config = override(
        clips_config(sound=SpectrogramInput(steps=3)),
        {"method.kind": method, "model.fusion": fusion},
    )
    inputs = exports.input_shapes(config)
    model = make_model(config, num_classes=2)
    rng = np.random.default_rng(0)
    batch = {m: rng.normal(size=(3, *x.shape)).astype(x.dtype) for m, x in inputs.items()}
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    # Not as they begin: heads start at zero, where all classes are equally likely.
    variables = jax.tree.map(lambda x: 0.1 * rng.normal(size=x.shape).astype(np.float32), shapes)
    bank = {m: rng.normal(size=(40, 64)).astype(np.float32) for m in inputs}
    trained = Trained(config, "", ["a", "b"], 0, model, make_method(config, None), variables, bank)
    expected = classifier(trained)(variables, batch)
    assert expected.keys() == {"fused", *inputs}
    assert all(np.ptp(probabilities) > 1e-3 for probabilities in expected.values())
    said = exports.export_function(trained, inputs).call(batch)
    assert said.keys() == expected.keys()
    for name, probabilities in said.items():
        np.testing.assert_allclose(probabilities, expected[name], atol=1e-6)


def clips_config(**inputs):
    stored = {
        "sound": LogSpectrogram(rate=8000, seconds=1.0, n_fft=64, hop=80),
        "picture": Frames(count=3, short_side=32),
        "motion": Flow(count=4, short_side=32),
        "text": Features(path="text.npz", size=5),
    }
    used = {"sound": SpectrogramInput(), "text": ArrayInput()} | inputs
    return Config(
        data=ManifestData(manifest="clips.csv", stored=stored),
        modalities={m: Modality(input=x, encoder=MLPEncoder()) for m, x in used.items()},
    )


def test_shapes_of_inputs_of_clips():
    config = clips_config(
        sound=SpectrogramInput(steps=64), picture=FramesInput(size=24), motion=FlowInput(size=16)
    )
    shapes = exports.input_shapes(config)
    assert {name: (x.shape, str(x.dtype)) for name, x in shapes.items()} == {
        "sound": ((33, 64, 1), "float16"),
        "picture": ((3, 24, 24, 3), "uint8"),
        "motion": ((16, 16, 8), "uint8"),
        "text": ((5,), "float32"),
    }
    assert exports.input_shapes(clips_config())["sound"].shape == (33, 101, 1)


def test_pictures_of_no_known_size_are_refused():
    message = r"Expected modalities\.picture\.input\.size, .*got null.*Train with a size"
    with pytest.raises(ConfigError, match=message):
        exports.input_shapes(clips_config(picture=FramesInput(size=None)))
