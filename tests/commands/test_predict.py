"""New clips are predicted from the run's folder alone, as the run predicted its own."""

import csv
import json
import os
import shutil

import jax
import numpy as np
import pytest

from tcmax_jax.commands import predict
from tcmax_jax.commands.predict import (
    Prediction,
    class_heading,
    predict_file,
    prediction_text,
    predictions_csv,
)
from tcmax_jax.data.clips import Clip, RawDataError
from tcmax_jax.data.forms import Frames, LogSpectrogram
from tcmax_jax.data.inputs import FramesInput, SpectrogramInput
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.evaluation.outputs import read_outputs
from tcmax_jax.models import MLPEncoder
from tcmax_jax.training import loop, run_folders
from tcmax_jax.training.config import Config, Modality, Training
from tcmax_jax.training.config.tree import ConfigError
from tests.data.media_files import RATE, flat_frames, tone, write_media
from tests.training.tiny import tiny_config

HERTZ = {"cat": 400, "dog": 2000}
LEVELS = {"cat": 60, "dog": 200}


def write_clip(path, label, number):
    audio = tone(0.5, hertz=HERTZ[label] + 20 * number)
    frames = flat_frames([LEVELS[label] + 5 * number] * 5, (16, 16))
    return write_media(path, frames=frames, audio=audio)


def write_list(path, rows):
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Returns a folder of clips and the list that says which is in which split."""
    folder = tmp_path_factory.mktemp("media")
    rows = [("id", "split", "label", "path")]
    for number in range(4):
        for label in HERTZ:
            split = ("train", "train", "validation", "test")[number]
            name = f"{label}{number}"
            write_clip(folder / f"{name}.mkv", label, number)
            rows.append((name, split, label, f"{name}.mkv"))
    return write_list(folder / "manifest.csv", rows)


@pytest.fixture(scope="module")
def run(media, tmp_path_factory):
    """Returns the folder of a finished run, whose data is gone."""
    folder = tmp_path_factory.mktemp("run")
    config = Config(
        name="pets",
        data=ManifestData(
            manifest=str(media),
            stored={
                "sound": LogSpectrogram(rate=RATE, seconds=0.5, n_fft=64, hop=160),
                "picture": Frames(count=2, short_side=16),
                "unused": Frames(count=1, short_side=8),
            },
            processes=1,
        ),
        modalities={
            "sound": Modality(input=SpectrogramInput(steps=32), encoder=MLPEncoder(sizes=(8,))),
            "picture": Modality(input=FramesInput(size=None), encoder=MLPEncoder(sizes=(8,))),
        },
        training=Training(epochs=3, batch_size=4, eval_batch_size=2, probe=False),
    )
    loop.train(config, folder / "run", str(folder / "data"), jax.devices()[:1])
    shutil.rmtree(folder / "data")
    return folder / "run"


def read(path):
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def test_the_probabilities_are_those_of_the_run(run, media, tmp_path):
    prediction = predict_file(run, media, tmp_path / "out.csv")
    header, rows = read(tmp_path / "out.csv")
    assert header == [
        "id", "prediction", "probability", "cat", "dog",
        "sound:cat", "sound:dog", "picture:cat", "picture:dog",
    ]  # fmt: skip
    assert [row[0] for row in rows] == [f"{p}{n}" for n in range(4) for p in ("cat", "dog")]
    outputs = read_outputs(run / "outputs-test.npz")
    columns = {"fused": 3, "sound": 5, "picture": 7}
    for name, first in columns.items():
        said = np.array([row[first : first + 2] for row in rows[-2:]], float)
        logits = outputs.scores["fused"] if name == "fused" else outputs.marginal[(name,)]
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert np.ptp(expected) > 1e-3
        np.testing.assert_allclose(said, expected, atol=1e-6)
    for row in rows:
        best = max((3, 4), key=lambda column: float(row[column]))
        assert row[1:3] == [header[best], row[best]]
    right = np.mean([row[1] == row[0][:3] for row in rows])
    assert prediction_text(prediction) == (
        f"predicted 8 of 8 clips; accuracy {100 * right:.2f} % of the 8 that have a label"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_other_versions_of_the_decoders_are_told(run, media, tmp_path, capsys, monkeypatch):
    predict_file(run, media, tmp_path / "out.csv")
    assert "other versions" not in capsys.readouterr().err
    now = predict.versions()
    monkeypatch.setattr(predict, "versions", lambda: now | {"av": "0.1"})
    predict_file(run, media, tmp_path / "out.csv")
    assert (
        "warning: the training data was decoded with other versions: "
        f"av {now['av']}, here 0.1. Sound may" in capsys.readouterr().err
    )


def test_recalibrated_probabilities(run, media, tmp_path, capsys):
    predict_file(run, media, tmp_path / "out.csv", recalibrated=True)
    assert "Recalibration: not judged on examples left out of the fit" in capsys.readouterr().err
    rows = read(tmp_path / "out.csv")[1]
    scores = read_outputs(run / "outputs-test.npz").scores
    found = json.loads((run / "analysis.json").read_text())["test"]["recalibration"]
    fused = sum(w * scores[m] for m, w in found["weights"].items()) + found["offsets"]
    expected = np.exp(fused) / np.exp(fused).sum(axis=1, keepdims=True)
    said = np.array([row[3:5] for row in rows[-2:]], float)
    np.testing.assert_allclose(said, expected, atol=1e-6)
    plain = np.exp(scores["fused"]) / np.exp(scores["fused"]).sum(axis=1, keepdims=True)
    assert np.abs(said - plain).max() > 1e-3


def test_a_list_of_ids_and_paths_is_enough(run, tmp_path):
    write_clip(tmp_path / "a.mkv", "dog", 1)
    clips = write_list(tmp_path / "new.csv", [("id", "path"), ("a", "a.mkv")])
    prediction = predict_file(run, clips, tmp_path / "out.csv")
    [row] = read(tmp_path / "out.csv")[1]
    assert row[0] == "a"
    assert float(row[3]) + float(row[4]) == pytest.approx(1)
    assert prediction_text(prediction) == "predicted 1 of 1 clips"


def test_more_clips_than_are_decoded_at_once(run, media, tmp_path):
    shutil.copy(media.parent / "cat0.mkv", tmp_path / "a.mkv")
    names = [f"clip{number}" for number in range(34)]
    rows = [("id", "path"), *((name, "a.mkv") for name in names)]
    clips = write_list(tmp_path / "new.csv", rows)
    predict_file(run, clips, tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")[1]
    assert [row[0] for row in rows] == names
    assert len({tuple(row[1:]) for row in rows}) == 1


def test_clips_that_cannot_be_decoded(run, media, tmp_path):
    shutil.copy(media.parent / "cat0.mkv", tmp_path / "a.mkv")
    (tmp_path / "b.mkv").write_text("no media")
    rows = [("id", "path", "label"), ("b", "b.mkv", ""), ("a", "a.mkv", "")]
    clips = write_list(tmp_path / "new.csv", rows)
    out = tmp_path / "out.csv"
    with pytest.raises(
        RawDataError, match=r"line 2 \(b\): .*b\.mkv: .* Or give such clips .*: --allow_skipped"
    ):
        predict_file(run, clips, out)
    assert not out.exists()
    prediction = predict_file(run, clips, out, allow_skipped=True)
    header, [skipped, predicted] = read(out)
    assert header[-1] == "reason"
    assert skipped[:-1] == ["b", *[""] * 8]
    assert "b.mkv: Expected decodable" in skipped[-1]
    assert predicted[1] in ("cat", "dog")
    assert predicted[-1] == ""
    assert prediction_text(prediction) == "predicted 1 of 2 clips"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clips_whose_input_is_not_finite(run, media, tmp_path, monkeypatch, value):
    decoded = predict.examples_of

    def spoilt(forms, chunk):
        for name, record in decoded(forms, chunk):
            sound = np.full_like(record["sound"], value) if name == "b" else record["sound"]
            yield name, record | {"sound": sound}

    monkeypatch.setattr(predict, "examples_of", spoilt)
    shutil.copy(media.parent / "cat0.mkv", tmp_path / "a.mkv")
    rows = [("id", "path", "label"), *((name, "a.mkv", "cat") for name in "abc")]
    clips, out = write_list(tmp_path / "new.csv", rows), tmp_path / "out.csv"
    message = (
        r"line 3 \(b\): Expected finite numbers of sound, got NaN or infinity\. Fix or drop them\."
        " Or give such clips .*: --allow_skipped"
    )
    with pytest.raises(RawDataError, match=message):
        predict_file(run, clips, out)
    assert not out.exists()
    prediction = predict_file(run, clips, out, allow_skipped=True)
    _, [first, skipped, last] = read(out)
    assert skipped[:-1] == ["b", *[""] * 8] and "Expected finite numbers of sound" in skipped[-1]
    assert first[1:] == last[1:] and first[1] in ("cat", "dog") and first[-1] == ""
    assert prediction_text(prediction).startswith("predicted 2 of 3 clips; accuracy ")
    assert prediction_text(prediction).endswith("of the 2 that have a label")


def test_no_clip_that_can_be_decoded(run, tmp_path):
    clips = write_list(tmp_path / "new.csv", [("id", "path"), ("a", "none.mkv")])
    predict_file(run, clips, tmp_path / "out.csv", allow_skipped=True)
    header, [row] = read(tmp_path / "out.csv")
    assert len(header) == len(row)
    assert "none.mkv" in row[-1]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("id", "path", "label"), ("a", "a.mkv", "cow")],
         r"line 2: Expected one of the 2 labels of train \(cat, dog\), got 'cow'\. Correct it"),
        ([("id", "path"), ("a", "a.mkv"), ("a", "b.mkv")], "line 3: Expected a new id, got 'a'"),
        ([("id",), ("a",)], r"line 2: Expected a file for sound, got none\. Add the column path"),
        ([("id", "audio_path"), ("a", "a.wav")], "line 2: Expected a file for picture, got none"),
        ([("id", "path")], r"new\.csv: Expected at least one clip, got none"),
        ([("path",), ("a.mkv",)],
         r"Expected the columns id and optionally label, split, path, .*; got path, which lacks"),
        ([("id", "path"), ("a", "../a.mkv")], "line 2: Expected a path inside"),
    ],
)  # fmt: skip
def test_lists_that_do_not_fit(run, tmp_path, rows, message):
    clips = write_list(tmp_path / "new.csv", rows)
    with pytest.raises(RawDataError, match=message):
        predict_file(run, clips, tmp_path / "out.csv")


def test_paths_may_lead_out_of_the_folder_where_that_is_asked_for(run, media, tmp_path):
    path = os.path.relpath(media.parent / "dog3.mkv", tmp_path)
    clips = write_list(tmp_path / "new.csv", [("id", "path", "split"), ("a", path, "../x")])
    predict_file(run, clips, tmp_path / "out.csv", outside_paths=True)
    assert read(tmp_path / "out.csv")[1][0][0] == "a"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([(16, 16), (16, 32)],
         r"one size for picture, .*got \[2, 16, 16, 3\] and \[2, 16, 32, 3\]\. Bring the clips"),
        ([(16, 32)], r"Expected clips of the shape of those .*got sound \[33, 32, 1\], picture "
         r"\[2, 16, 32, 3\] \(0 and others\)\. Bring them"),
    ],
)  # fmt: skip
def test_pictures_of_another_size_than_in_training(run, tmp_path, sizes, message):
    for number, size in enumerate(sizes):
        frames = flat_frames([60] * 5, size)
        write_media(tmp_path / f"{number}.mkv", frames=frames, audio=tone(0.5))
    rows = [("id", "path"), *((str(n), f"{n}.mkv") for n in range(len(sizes)))]
    with pytest.raises(RawDataError, match=message):
        predict_file(run, write_list(tmp_path / "new.csv", rows), tmp_path / "out.csv")


@pytest.mark.parametrize(
    "name,message",
    [
        ("list", r"another file for the predictions than those that are read"),
        ("clip", r"another file for the predictions than those that are read"),
        ("run/results.json", r"another file for the predictions than those that are read"),
        ("run/digests.json", r"another file for the predictions than those that are read"),
        ("run/outputs-test.npz", r"another file for the predictions than those that are read"),
        ("run/checkpoints/x.csv", r"another file for the predictions than those that are read"),
        ("folder", r"Expected a file for the predictions, got the folder .*Name a file in it"),
    ],
)
def test_nothing_is_overwritten(run, media, tmp_path, monkeypatch, name, message):
    monkeypatch.setattr("tcmax_jax.commands.predict.decode_chunks", None)  # No work was done.
    (tmp_path / "folder").mkdir()
    clip = next(file for file in media.parent.rglob("*") if file.suffix == ".mkv")
    named = {"list": media, "clip": clip, "folder": tmp_path / "folder"}
    target = named.get(name, run.parent / name)
    before = target.read_bytes() if target.is_file() else None
    with pytest.raises(OSError, match=message):
        predict_file(run, media, target)
    assert before is None or target.read_bytes() == before


def test_a_folder_that_is_not_there(run, media, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected a folder for the predictions, got .*no"):
        predict_file(run, media, tmp_path / "no" / "out.csv")


def test_a_run_without_a_checkpoint(run, media, tmp_path):
    bare = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(FileNotFoundError, match=r"Expected a checkpoint of a validation in .*none"):
        predict_file(bare, media, tmp_path / "out.csv")


def test_runs_on_the_synthetic_set_have_no_media(run, media, tmp_path):
    made_up = shutil.copytree(run, tmp_path / "run")
    (made_up / "config.json").unlink()
    (made_up / "data.json").unlink()

    class Data:
        name, class_names, summary = "synthetic", ("cat", "dog"), {}

    run_folders.claim(made_up, tiny_config(), Data)
    with pytest.raises(ConfigError, match=r"on clips, got one on the data set synthetic, .*ma"):
        predict_file(made_up, media, tmp_path / "out.csv")


def test_headings_are_unique_and_cells_no_formulas():
    names = ["id", "prediction", "reason", "fused:id", "a:id", "b:id", "=x", "dog"]
    parts = ["a", "a:b", "a%3Ab"]
    headings = [class_heading(part, name, parts) for part in ("fused", *parts) for name in names]
    assert headings[:8] == [
        "fused:id", "fused:prediction", "fused:reason", "fused:fused:id", "fused:a:id", "b:id",
        "=x", "dog",
    ]  # fmt: skip
    assert headings[-1] == "a%253Ab:dog"
    every = ["id", "prediction", "probability", *headings, "reason"]
    assert len(set(every)) == len(every)
    shares = {"=a": np.eye(8)[6]}
    clips = [Clip("=a", "", ""), Clip("b", "", "")]
    prediction = Prediction(clips, names, dict.fromkeys(("fused", *parts), shares), {"b": "-x"})
    header, *rows = csv.reader(predictions_csv(prediction, with_reasons=True).splitlines())
    assert [cell.removeprefix("'") for cell in header] == every
    assert rows[0][:3] == ["'=a", "'=x", "1.0"]
    assert (rows[1][0], rows[1][-1]) == ("b", "'-x")
