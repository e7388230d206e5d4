"""What is said of a set-up: each finding of made-up facts, and whole looks at a tiny run."""

import dataclasses
import re
import sys
import time

import jax
import numpy as np
import pytest

from tcmax_jax.commands.doctor import checks, machine, speed
from tcmax_jax.commands.doctor import examine as doctor
from tcmax_jax.commands.doctor.speed import StepTime, summarise
from tcmax_jax.commands.stand_in import UnknownShapeError, stand_in
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.training import run_folders
from tcmax_jax.training.build import prepare_data
from tcmax_jax.training.config.overrides import load_experiment, override
from tests.data.media_files import flat_frames, tone, write_media
from tests.test_experiments import EXPERIMENTS, RECIPES, abstract_inputs, with_known_shapes
from tests.training.tiny import tiny_config

GB = 10**9


@pytest.mark.parametrize(
    ("platform", "there", "environ", "expected"),
    [
        ("gpu", ["gpu"], {}, None),
        ("cpu", [], {}, None),
        ("cpu", ["gpu"], {}, ("error", 'pip install "jax[cuda13]"')),
        ("cpu", ["tpu"], {}, ("error", 'pip install "jax[tpu]"')),
        ("cpu", ["gpu"], {"JAX_PLATFORMS": "cpu"}, ("warning", "Unset JAX_PLATFORMS")),
        ("cpu", ["gpu"], {"CUDA_VISIBLE_DEVICES": ""}, ("warning", "Unset CUDA_VISIBLE_DEVICES")),
        ("cpu", ["gpu"], {"CUDA_VISIBLE_DEVICES": "0"}, ("error", "although there is a GPU")),
    ],
)
def test_unused_accelerator(platform, there, environ, expected):
    check(machine.unused_accelerator(platform, there, environ), expected)


@pytest.mark.parametrize(
    ("memory", "environ", "paths", "expected"),
    [
        ("0, 0, 80000", {}, (), ["gpu"]),
        ("", {}, ("/dev/nvidia0",), ["gpu"]),
        ("", {}, ("/dev/accel0",), ["tpu"]),
        ("", {"TPU_NAME": "a"}, ("/dev/vfio",), ["tpu"]),
        ("", {}, ("/dev/vfio",), []),
    ],
)
def test_what_shows_an_accelerator(memory, environ, paths, expected):
    assert machine.accelerators(memory, environ, paths.__contains__) == expected


def test_gpus_that_others_use():
    query = "0, 4, 81559\n1, 40000, 81559\n2, [N/A], 81559\n"
    check(machine.taken_gpus(query, None), ("warning", "40000 of the 81559 MiB of GPU 1"))
    check(machine.taken_gpus(query, "0, 1"), ("warning", "GPU 1"))
    check(machine.taken_gpus(query, "0,2"), None)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}, None),
        ({"XLA_FLAGS": "--a --xla_force_host_platform_device_count=4"}, ("warning", "NPROC=16")),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "NPROC": "16"}, None),
    ],
)
def test_fake_devices_need_threads(environ, expected):
    check(machine.fake_devices(environ, cores=4 if expected else 3), expected)


@pytest.mark.parametrize(
    ("overrides", "platform", "expected"),
    [
        ({}, "cpu", None),
        ({"training__batch_size": 6}, "cpu", ("error", "multiple of the 4 devices, got 6")),
        ({"training__accumulate": 3}, "cpu", ("error", "4 devices times training.accumulate=3")),
        ({"training__eval_batch_size": 7}, "cpu", ("error", "training.eval_batch_size")),
        ({"model__dtype": "bfloat16"}, "cpu", ("warning", "Use float32")),
        ({"training__workers": 9}, "cpu", ("warning", "training.workers=9 is more than the 8")),
        ({"model__dtype": "bfloat16"}, "gpu", None),
    ],
)
def test_settings_that_do_not_fit(overrides, platform, expected):
    check(checks.settings(tiny_config(**overrides), platform, 4, 8), expected)


def test_optional_packages(tmp_path):
    weights = tmp_path / "a.safetensors"
    config = override(
        load_experiment(str(EXPERIMENTS / "ave.py")),
        {"modalities.audio.encoder.weights": str(weights), "data.beam": "[]"},
    )
    lost, safetensors, beam = checks.packages(config, prepared=False, find=lambda name: None)
    assert f"got {weights}, which does not exist" in lost.text
    assert "pip install 'tcmax_jax[beam]'" in beam.text
    assert "pip install 'tcmax_jax[pretrained]'" in safetensors.text
    weights.touch()
    check(checks.packages(config, prepared=True, find=lambda name: None), ("error", "pretrained"))
    check(checks.packages(config, prepared=False, find=lambda name: "found"), None)


def test_folders_that_cannot_be_written(tmp_path, monkeypatch):
    check(checks.folder("workdir", tmp_path / "a" / "b"), None)
    (tmp_path / "file").touch()
    check(checks.folder("workdir", tmp_path / "file" / "b"), ("error", "file is no folder"))
    monkeypatch.setattr(checks.os, "access", lambda path, mode: path != tmp_path)  # not for root
    check(checks.folder("data_dir", tmp_path / "a"), ("error", f"{tmp_path} cannot be written"))


@pytest.mark.parametrize(
    ("free", "checkpoint", "expected"),
    [
        (6 * GB, 0, None),
        (4 * GB, 0, ("warning", "Only 4.0 GB are free")),
        (6 * GB, 1 * GB, None),
        (6 * GB, 1.5 * GB, ("warning", "a run keeps 4.5 GB of checkpoints")),
        (6 * GB, 2.5 * GB, ("error", "choose another --workdir")),
    ],
)
def test_little_space(tmp_path, free, checkpoint, expected):
    check(checks.space("workdir", tmp_path, free, checkpoint), expected)


def test_the_folder_of_another_run_that_is_going_on(tmp_path):
    config = tiny_config()
    check(checks.run_folder(tmp_path, config), None)
    dataset = stand_in(config, 3)
    with run_folders.occupied(tmp_path):
        run_folders.claim(tmp_path, config, dataset)
        check(
            checks.run_folder(tmp_path, config),
            ("error", r"A run is using .* \(process \d+ on"),
        )
    check(checks.run_folder(tmp_path, config), None)
    other, *_ = checks.run_folder(tmp_path, tiny_config(seed=1))
    assert "another configuration:\n  seed: 0 -> 1\n" in other.text
    (tmp_path / "damaged-checkpoints" / "8-0").mkdir(parents=True)
    check(checks.run_folder(tmp_path, config), ("warning", "1 damaged checkpoints"))


def test_prepared_data_without_some_clips():
    summary = {"skipped": [{"message": "a.mp4: broken"}]}
    check(checks.incomplete(summary, False), ("error", "lacks 1 clips, the first: a.mp4: broken"))
    check(checks.incomplete(summary, True), None)
    check(checks.incomplete({}, False), None)


def test_the_last_ten_steps_count():
    times = (
        [StepTime(9.0, 8.0), StepTime(5.0, 0.0)] + [StepTime(0.2, 0.1)] * 9 + [StepTime(1.0, 1.0)]
    )
    measured = summarise(times, waits=True, unfinished=False)
    assert measured[:3] == (9.0, 10, 0.2)
    assert measured.input_wait == pytest.approx(1.9 / 2.8)
    check(checks.speed(measured), ("warning", "waits for data 68% of the time"))
    check(checks.speed(measured._replace(input_wait=0.1)), None)
    check(checks.speed(measured._replace(input_wait=None)), None)
    assert "10), 0.5 examples/s" in doctor.describe_speed(measured._replace(seconds=4.0), 2)[1]
    lines = doctor.describe_speed(measured, 16)
    assert lines[0] == "9.0 s for the first step, compilation included"
    assert lines[1].startswith("200.0 ms a step (median of 10), 80 examples/s, 68% of the time")


@pytest.mark.parametrize(("times", "first"), [([], None), ([StepTime(2.0, 0.0)], 2.0)])
def test_steps_that_take_too_long(times, first):
    measured = summarise(times, waits=True, unfinished=True)
    assert measured[:5] == (first, 0, None, None, measured.memory)
    check(checks.speed(measured), ("warning", "Steps take so long"))
    line, memory = doctor.describe_speed(measured, 16)
    assert line.startswith("2.0 s for the first step" if first else "the first step, compilation")
    assert re.fullmatch(r"peak memory: \d+ MiB \(host\)", memory)


def test_a_step_that_hangs_is_left_behind(monkeypatch):
    monkeypatch.setattr(speed, "_steps", lambda *_: iter_slowly())
    setup = type("Setup", (), {"config": tiny_config(), "_replace": lambda self, config: self})()
    begin = time.monotonic()
    measured = speed.measure_speed(setup, None, repeat=True, limit=0.2)
    assert time.monotonic() - begin < 2
    assert (measured.first_step, measured.unfinished) == (1.0, True)


def iter_slowly():
    yield StepTime(1.0, 0.0)
    time.sleep(3)
    yield StepTime(1.0, 0.0)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_made_up_examples_have_the_form_of_a_recipes(path):
    config = with_known_shapes(path)
    record = stand_in(config, 5).sources["train"][3]
    assert record["label"] == 3
    for name, expected in abstract_inputs(config, 1).items():
        got = config.inputs[name](record[name], 0)
        shapes = jax.tree.map(lambda x: ((1, *x.shape), np.dtype(x.dtype)), got)
        assert shapes == jax.tree.map(lambda x: (x.shape, np.dtype(x.dtype)), expected), name


def test_pictures_of_unknown_size_cannot_be_made_up():
    config = override(
        load_experiment(str(EXPERIMENTS / "ave.py")), {"modalities.visual.input.size": "null"}
    )
    with pytest.raises(
        UnknownShapeError, match=r"Expected modalities\.visual\.input\.size to know"
    ):
        stand_in(config, 5)


def test_arrays_of_unknown_shape_cannot_be_made_up():
    config = load_experiment(str(EXPERIMENTS / "grid_arrays.py"))
    message = r"Expected the files of data\.stored\.audio, which say its shape, got none"
    with pytest.raises(UnknownShapeError, match=message):
        stand_in(config, 5)


def test_a_look_before_and_after_preparation(tmp_path, devices):
    config, data_dir = tiny_config(), tmp_path / "data"
    before = doctor.examine(config, tmp_path / "run", str(data_dir))
    assert not list(tmp_path.iterdir())
    assert (before.failed, before.speed.timed, before.speed.input_wait) == (False, 10, None)
    text = doctor.report_text(before)
    assert re.search(r"devices +4 x cpu; processes: 1\n", text)
    assert f"jax {jax.__version__}" in text
    assert f"{data_dir}: nothing prepared this experiment: not prepared; train" in one_line(text)
    assert "on generated examples" in text

    folder = prepare_data(config, data_dir)
    assert folder == str(config.data.prepared_folder(data_dir))
    after = doctor.examine(config, tmp_path / "run", str(data_dir))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert (after.failed, after.speed.timed, after.speed.unfinished) == (False, 10, False)
    assert 0 <= after.speed.input_wait < 1
    text = doctor.report_text(after)
    assert re.search(
        rf"data {folder}: 0\.\d MB this experiment: prepared in {folder}", one_line(text)
    )
    assert "on generated examples" not in text


def test_a_set_of_less_than_a_batch_is_trained_with_a_smaller_one(tmp_path, capsys):
    config = tiny_config(data__train_examples=15)
    report = doctor.examine(config, tmp_path / "run", str(tmp_path / "data"))
    assert (report.failed, report.speed.timed) == (False, 10)
    assert "training.batch_size=16 is more than the 15 training examples: a step takes 12" in (
        capsys.readouterr().err
    )


def test_a_set_of_less_than_one_example_a_device_is_refused(tmp_path):
    config = tiny_config(data__train_examples=3)
    report = doctor.examine(config, tmp_path / "run", str(tmp_path / "data"))
    assert (report.failed, report.speed) == (True, None)
    assert "error: Expected at least 4 training examples, one for each of the 4 devices" in (
        one_line(doctor.report_text(report))
    )


def test_a_platform_that_is_not_there(tmp_path, monkeypatch):
    found, raised = jax.devices(), [AssertionError()]
    monkeypatch.setattr(jax, "devices", lambda: raise_from(raised) or found)
    monkeypatch.setattr(doctor, "measure_speed", exhausted)
    report = doctor.examine(tiny_config(), tmp_path / "run", str(tmp_path / "data"))
    assert "error: JAX has no devices of JAX_PLATFORMS='cpu': its plugin is not installed." in (
        one_line(doctor.report_text(report))
    )


def raise_from(errors):
    if errors:
        raise errors.pop()


def test_a_look_at_listed_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "measure_speed", exhausted)
    (tmp_path / "clips.csv").write_text("id,split,label\na,train,x\nb,train,y\nc,validation,x\n")
    recipe = load_experiment(str(EXPERIMENTS / "mvsa.py"))
    data = ManifestData(manifest=str(tmp_path / "clips.csv"), stored=recipe.data.stored)
    config = dataclasses.replace(recipe, data=data)
    report = doctor.examine(config, tmp_path / "run", str(tmp_path / "data"))
    text = one_line(doctor.report_text(report))
    assert "this experiment: not prepared; its raw data lists 3 clips in 2 classes" in text
    assert "run the same command with --mode=prepare." in text
    assert [path.name for path in tmp_path.iterdir()] == ["clips.csv"]


def clips_config(folder, rows):
    """Returns a recipe of sound and pictures of listed clips, one of which is there."""
    write_media(folder / "a.mkv", frames=flat_frames([50] * 4), audio=tone(0.4))
    (folder / "broken.mkv").write_bytes(b"\x1aE\xdf\xa3 nothing")
    (folder / "clips.csv").write_text("id,split,label,path\n" + rows)
    fields = {"data.manifest": str(folder / "clips.csv"), "data.stored.visual.short_side": "16"}
    return override(load_experiment("own_clips"), fields)


def test_the_first_clip_is_decoded_in_every_stored_form(tmp_path, monkeypatch):
    config = clips_config(tmp_path, "a,train,x,a.mkv\nb,validation,x,a.mkv\n")
    (audio, visual), _ = doctor.try_clip(config, config.data.list_clips())
    assert re.fullmatch(rf"audio of {tmp_path}/a.mkv: 257 x 501, float16, \d+ ms", audio)
    assert re.fullmatch(rf"visual of {tmp_path}/a.mkv: 3, \d+ bytes, \d+ ms", visual)
    monkeypatch.setitem(sys.modules, "tcmax_jax.data.media", None)
    monkeypatch.setitem(sys.modules, "av", None)
    _, findings = doctor.try_clip(config, config.data.list_clips())
    assert len(findings) == 2
    assert "Clips cannot be decoded without" in findings[0].text


def test_a_broken_clip_and_a_missing_split_are_found(tmp_path):
    config = clips_config(tmp_path, "a,train,x,broken.mkv\n")
    _, (split, audio, visual) = doctor.try_clip(config, config.data.list_clips())
    assert split.text == "No clip has the split validation. Preparation refuses that."
    assert "The first clip cannot be decoded: " in audio.text and "broken.mkv" in audio.text
    assert {split.level, audio.level, visual.level} == {"error"}


def test_a_look_at_what_cannot_train(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "measure_speed", exhausted)
    config = override(
        load_experiment(str(EXPERIMENTS / "mvsa.py")), {"data.raw_dir": str(tmp_path / "raw")}
    )
    report = doctor.examine(config, tmp_path / "run", str(tmp_path / "data"))
    assert report.failed
    text = one_line(doctor.report_text(report))
    assert re.search(r" error: The data is not prepared, nor can it be: .*/raw: Expected the", text)
    assert re.search(r" error: The devices have not enough memory for a step .*accumulate", text)
    assert "speed not measured: see below" in text


def exhausted(*_, **__):
    raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")


def test_the_text_names_errors_first():
    found = [checks.Finding("warning", "b"), checks.Finding("error", "a")]
    report = doctor.Report({"data": ["one", "two"]}, None, found)
    lines = ["data        one", "            two", "", "error: a", "warning: b"]
    assert doctor.report_text(report).splitlines() == lines
    assert doctor.report_text(report._replace(findings=[])).endswith("\n\nNothing is wrong.")


def one_line(text):
    """Returns a text without its breaks into lines."""
    return " ".join(text.split())


def check(found, expected):
    """Checks that there is one finding of a level, whose text has what is expected, or none."""
    if expected is None:
        assert list(found) == []
    else:
        [finding] = found
        assert finding.level == expected[0]
        assert re.search(expected[1], finding.text) or expected[1] in finding.text
