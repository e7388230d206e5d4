"""The whole run: what it leaves behind, how it goes on, how it stops."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.special import logsumexp
from tensorboardX.proto import plugin_hparams_pb2

from tcmax_jax.data import pipeline
from tcmax_jax.evaluation.analysis import analyse
from tcmax_jax.evaluation.finite import NonFiniteError
from tcmax_jax.evaluation.outputs import SPLITS, read_outputs
from tcmax_jax.evaluation.quantities import Condition, without
from tcmax_jax.training import loop, run_folders
from tcmax_jax.training.checkpoint_reader import CheckpointError
from tcmax_jax.training.config.tree import ConfigError
from tests.harms import change
from tests.training.event_files import event_values
from tests.training.tiny import tiny_config


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """Returns the folder and the results of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    return workdir, loop.train(tiny_config(), workdir, data_dir)


def entries(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_what_a_run_leaves_behind(finished):
    workdir, results = finished
    names = {path.name.split(".")[0] for path in workdir.iterdir()}
    assert names == {
        "config", "data", "environments", "lock", "metrics", "events", "results", "checkpoints",
        "outputs-validation", "outputs-test", "analysis", "hparams", "digests",
    }  # fmt: skip
    assert json.loads((workdir / "results.json").read_text()) == results
    [environment] = json.loads((workdir / "environments.json").read_text())
    assert environment["after_step"] == 0
    assert (environment["devices"], environment["processes"]) == ("4 x cpu", "1")
    assert environment["jax"] == jax.__version__


def test_the_log_has_every_window_and_every_validation(finished):
    log = entries(finished[0])
    # 70 examples in batches of 16: 4 steps an epoch; logged every 3 steps and at ends of epochs.
    assert [e["step"] for e in log if e["split"] == "train"] == [3, 4, 6, 8, 9, 12]
    validations = [e for e in log if e["split"] == "validation"]
    assert [(e["step"], e["epoch"]) for e in validations] == [(4, 1), (8, 2), (12, 3)]
    clock = {"learning_rate", "examples_per_second", "input_wait", "host_memory"}
    assert {"loss", "accuracy", "grad_norm/audio"} | clock <= set(log[0])


def test_tensorboard_has_the_configuration_and_the_final_metrics(finished):
    workdir, results = finished
    (text,) = (v for v in event_values(workdir) if v.tag == "configuration/text_summary")
    assert '"batch_size": 16' in text.tensor.string_val[0].decode()
    values = list(event_values(workdir / "hparams"))
    final = {v.tag: v.simple_value for v in values if v.tag.startswith("final/")}
    assert final["final/test/accuracy"] == np.float32(results["splits"]["test"]["accuracy"])
    (start,) = (v for v in values if v.tag == "_hparams_/session_start_info")
    content = plugin_hparams_pb2.HParamsPluginData.FromString(start.metadata.plugin_data.content)
    fields = content.session_start_info.hparams
    assert fields["training.batch_size"].number_value == 16
    assert fields["method.kind"].string_value == "tcmax"
    assert not any(name.startswith("comparison.") for name in fields)


def test_a_run_is_mirrored_to_a_tracker_as_the_docs_say(finished):
    page = Path(__file__).parents[2] / "docs" / "trackers.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    namespace, params, metrics = {}, {}, {}
    exec(code, namespace)
    workdir, results = finished
    namespace["mirror"](workdir, params.update, lambda values, step: metrics.update(values))
    assert params["training.batch_size"] == 16
    assert not any(isinstance(value, dict) for value in params.values())
    assert metrics["final_test/accuracy"] == results["splits"]["test"]["accuracy"]
    assert {"train/loss", "train/grad_norm_audio", "validation/accuracy"} <= set(metrics)


def test_results_are_those_of_the_best_validation(finished):
    workdir, results = finished
    validations = [e for e in entries(workdir) if e["split"] == "validation"]
    best = max(validations, key=lambda e: e["accuracy"])
    assert results["splits"]["validation"]["accuracy"] == best["accuracy"]
    assert set(results["splits"]["test"]) == {
        "accuracy",
        "cross_entropy",
        "tc_bound",
        "accuracy/audio",
        "accuracy/visual",
        "marginal/accuracy/audio",
        "marginal/accuracy/visual",
        "marginal/cross_entropy/audio",
        "marginal/cross_entropy/visual",
        "cross_entropy/audio",
        "cross_entropy/visual",
        "probe/audio",
        "probe/visual",
    }


def test_outputs_of_every_example_are_stored_and_analysed(finished):
    workdir, results = finished
    analyses = json.loads((workdir / "analysis.json").read_text())
    for split, metrics in results["splits"].items():
        outputs = read_outputs(workdir / f"outputs-{split}.npz")
        assert len(outputs.labels) == analyses[split]["examples"] == 30
        assert outputs.modalities == list(outputs.features) == ["audio", "visual"]
        hits = {m: np.mean(x.argmax(-1) == outputs.labels) for m, x in outputs.scores.items()}
        assert hits["fused"] == pytest.approx(metrics["accuracy"])
        assert hits["audio"] == pytest.approx(metrics["accuracy/audio"])
        # TCMax, with a head that is a sum: the part and the log-mean-exp of the other one over the
        # validation split.
        bank = read_outputs(workdir / "outputs-validation.npz").scores["visual"]
        expected = outputs.scores["audio"] + logsumexp(bank, axis=0) - np.log(len(bank))
        np.testing.assert_allclose(outputs.marginal["audio",], expected, rtol=1e-4, atol=1e-5)
        share = np.mean(expected.argmax(-1) == outputs.labels)
        assert metrics["marginal/accuracy/audio"] == pytest.approx(share)
        recalibration = analyses[split].pop("recalibration")
        # 30 examples of validation are too few to say how good it is.
        assert set(recalibration) == {"weights", "offsets"}
        assert analyses[split] == analyse(outputs)


def test_harder_conditions_are_predicted_on_the_last_split_alone(data_dir, tmp_path):
    config = tiny_config(training__epochs=1, training__probe="false", training__noise="[2]")
    loop.train(config, tmp_path, data_dir)
    validation, test = (read_outputs(tmp_path / f"outputs-{s}.npz") for s in SPLITS)
    assert validation.predicted == {}
    assert list(test.predicted) == [
        without(["audio"]), without(["visual"]),
        Condition(noisy="audio", strength=2), Condition(noisy="visual", strength=2),
    ]  # fmt: skip
    # Without the picture the head's part for the sound is what is left of the sum.
    np.testing.assert_array_equal(
        test.predicted[without(["visual"])], test.scores["audio"].argmax(-1)
    )


def test_another_checkpoint_is_evaluated_beside_the_best_one(finished, data_dir):
    workdir, _ = finished
    before = (workdir / "results.json").read_bytes()
    last = loop.evaluate(workdir, data_dir, step=12)
    assert (last["step"], last["epoch"]) == (12, 3)
    assert (workdir / "results.json").read_bytes() == before
    folder = workdir / "steps" / "12"
    assert json.loads((folder / "results.json").read_text()) == last
    outputs = read_outputs(folder / "outputs-test.npz")
    hits = np.mean(outputs.scores["fused"].argmax(-1) == outputs.labels)
    assert last["splits"]["test"]["accuracy"] == pytest.approx(hits)
    with pytest.raises(FileNotFoundError, match=r"after 7 steps in .*, got those after .*12\."):
        loop.evaluate(workdir, data_dir, step=7)


def test_a_finished_run_is_not_repeated(finished, data_dir):
    workdir, results = finished
    before = (workdir / "metrics.jsonl").read_bytes()
    assert loop.train(tiny_config(), workdir, data_dir) == results
    assert (workdir / "metrics.jsonl").read_bytes() == before
    assert loop.evaluate(workdir, data_dir) == results


def test_another_configuration_is_refused_with_a_diff(finished, data_dir):
    workdir, _ = finished
    config = tiny_config(training__epochs=5, method__kind="joint")
    with pytest.raises(
        ConfigError, match=r"(?s)method.kind: tcmax -> joint.*epochs: 3 -> 5.*--wor"
    ):
        loop.train(config, workdir, data_dir)


def test_evaluating_what_is_not_there(tmp_path, data_dir):
    with pytest.raises(ConfigError, match=r"Expected the folder of a run, got .*Train first"):
        loop.evaluate(tmp_path, data_dir)


@pytest.mark.parametrize("field", ["batch_size", "eval_batch_size"])
def test_batches_have_to_fit_the_devices(tmp_path, data_dir, field):
    config = tiny_config(**{f"training__{field}": 10})
    with pytest.raises(
        ValueError, match=rf"training.{field} to be a multiple of the 4 dev.*got 10"
    ):
        loop.train(config, tmp_path / "run", data_dir)
    assert not (tmp_path / "run").exists()


def test_a_batch_of_more_than_all_data_is_made_to_fit(tmp_path, data_dir, capsys):
    config = tiny_config(training__batch_size=80, training__epochs=2)
    results = loop.train(config, tmp_path / "run", data_dir)
    # 70 examples on four devices: 68 of them in a step, one step an epoch.
    assert (results["step"], results["epoch"]) in [(1, 1), (2, 2)] and results["finished"]
    assert "training.batch_size=80 is more than the 70 training examples: a step takes 68" in (
        capsys.readouterr().err
    )
    # The configuration stays as it was given, so that the same command goes on.
    assert run_folders.stored_config(tmp_path / "run") == config


def test_more_devices_than_data(tmp_path):
    config = tiny_config(data__train_examples=3)
    with pytest.raises(ValueError, match=r"at least 4 training examples, one for each of the 4 d"):
        loop.train(config, tmp_path / "run", str(tmp_path / "data"))
    assert not (tmp_path / "run").exists()


def test_a_non_finite_step_stops_the_run_and_is_named(tmp_path, data_dir, monkeypatch):
    original = pipeline._Augment.__call__
    poisoned = {}

    def poison(self, element, rng=None):
        example = original(self, element, rng)
        if rng is not None and element["index"] == 7:
            audio = example["inputs"]["audio"].copy()
            audio[0, 0] = np.nan
            example["inputs"]["audio"] = audio
            poisoned["seen"] = True
        return example

    monkeypatch.setattr(pipeline._Augment, "__call__", poison)
    with pytest.raises(NonFiniteError, match=r"got \S+ = nan at step \d \(epoch [12]\)\. Last"):
        loop.train(tiny_config(training__held_mib=0), tmp_path / "run", data_dir)
    assert poisoned["seen"]


def test_a_collapse_is_reported_by_name(tmp_path, data_dir, capfd):
    # Without signal in the pictures and at this rate, one class wins them all.
    config = tiny_config(
        optimizer__learning_rate=30, optimizer__clip_norm=100,
        optimizer__bound_decrease=False, data__visual_signal=0,
        training__epochs=2,
    )  # fmt: skip
    loop.train(config, tmp_path / "run", data_dir)
    assert "warning: audio has collapsed: the same prediction" in capfd.readouterr().err


def test_one_device_equals_four(finished, data_dir, devices, tmp_path):
    single = loop.train(tiny_config(), tmp_path / "tiny", data_dir, devices=devices[:1])
    for split, metrics in finished[1]["splits"].items():
        for name, value in metrics.items():
            assert single["splits"][split][name] == pytest.approx(value, abs=1e-3), (split, name)


def test_a_step_that_diverges_is_told_from_broken_data(tmp_path, data_dir):
    config = tiny_config(
        optimizer__learning_rate=1e30, optimizer__bound_decrease=False, method__kind="joint"
    )
    message = r"at step \d+ \(epoch \d\)\. .*Its batch is finite: lower optimizer.learning_rate"
    with pytest.raises(NonFiniteError, match=message):
        loop.train(config, tmp_path / "run", data_dir)


def test_a_folder_in_use_is_refused(finished, data_dir):
    workdir, results = finished
    with run_folders.occupied(workdir):
        message = r"Another run is using .*tiny \(process \d+ on .*\)\. Wait for its end"
        with pytest.raises(ConfigError, match=message):
            loop.train(tiny_config(), workdir, data_dir)
        assert loop.evaluate(workdir, data_dir) == results  # looking is allowed
    assert loop.train(tiny_config(), workdir, data_dir) == results


def test_a_folder_that_cannot_be_written(tmp_path, data_dir):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"folder that can be written, got .*: Not a directory"):
        loop.train(tiny_config(), tmp_path / "file" / "run", data_dir)


def test_more_checkpoints_and_a_profile_change_no_number(finished, data_dir, tmp_path):
    config = tiny_config(training__checkpoint_every=2, training__profile_steps=[2, 3])
    results = loop.train(config, tmp_path / "tiny", data_dir)
    assert results == finished[1]
    assert list((tmp_path / "tiny" / "profile").rglob("*.xplane.pb"))
    steps = [e["step"] for e in entries(tmp_path / "tiny") if e["split"] == "train"]
    assert steps == [2, 3, 4, 6, 8, 9, 10, 12]


def test_both_maps_over_devices_and_parts_of_a_batch_give_the_same_run(
    finished, data_dir, tmp_path
):
    config = tiny_config(training__parallel="shard_map", training__accumulate=2)
    results = loop.train(config, tmp_path / "tiny", data_dir)
    for split, metrics in finished[1]["splits"].items():
        assert results["splits"][split] == pytest.approx(metrics, rel=1e-4, abs=1e-6)


def test_a_batch_has_to_fit_devices_and_parts(tmp_path, data_dir):
    config = tiny_config(training__accumulate=3)
    with pytest.raises(ValueError, match=r"multiple of the 4 devices times .*accumulate=3, got 16"):
        loop.train(config, tmp_path / "run", data_dir)


def test_a_damaged_best_checkpoint_is_not_replaced_silently(finished, data_dir, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "tiny")
    step = finished[1]["step"]
    (workdir / "checkpoints" / str(step) / "state" / "_METADATA").write_text("{")
    message = rf"of step {step} cannot be evaluated: .*/{step} is damaged .* or move its folder"
    with pytest.raises(CheckpointError, match=message):
        loop.evaluate(workdir, data_dir)


def test_an_evaluation_before_the_end_does_not_pass_for_a_finished_run(
    finished, data_dir, tmp_path
):
    assert finished[1]["finished"]
    workdir = shutil.copytree(finished[0], tmp_path / "tiny")
    config = json.loads((workdir / "config.json").read_text())
    config["training"]["epochs"] = 5  # as if it were to go on
    change(workdir / "config.json", json.dumps(config))
    assert not loop.evaluate(workdir, data_dir)["finished"]
