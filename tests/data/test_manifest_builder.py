import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tcmax_jax.data.builders.manifest import decode
from tcmax_jax.data.builders.manifest.manifest_dataset_builder import (
    manifest_builder,
    prepare_manifest,
)
from tcmax_jax.data.builders.manifest.settings import ManifestSettings, content_name
from tcmax_jax.data.builders.manifest.summary import skipped_row, split_summary, summary_text
from tcmax_jax.data.features import log_spectrogram
from tcmax_jax.data.manifest import ManifestError, read_manifest
from tcmax_jax.data.media import decode_image, fit_length
from tests.data.media_files import RATE, flat_frames, tone, write_media

ROOT = Path(__file__).parents[2]
HEADER = "id,split,label,path,audio_path,start,end\n"
ROWS = (
    "a,train,low,clips/low.avi,,,\n"
    "b,train,high,clips/high.avi,,0.2,0.6\n"
    "c,train,low,clips/low.avi,clips/other.wav,,\n"
    "d,validation,high,clips/high.avi,,,\n"
    "e,test,low,clips/low.avi,,0.5,\n"
)
LEVELS = {"low": np.arange(30, 80, 5), "high": np.arange(150, 250, 10)}
HERTZ = {"low": 300.0, "high": 1200.0}


@pytest.fixture
def settings(tmp_path):
    folder = tmp_path / "words"
    for name in LEVELS:
        write_media(
            folder / "clips" / f"{name}.avi",
            frames=flat_frames(LEVELS[name]),
            audio=tone(1.0, hertz=HERTZ[name]),
        )
    write_media(folder / "clips" / "other.wav", audio=tone(0.25, hertz=2000.0))
    (folder / "manifest.csv").write_text(HEADER + ROWS)
    return ManifestSettings(
        manifest=str(folder / "manifest.csv"),
        rate=RATE,
        seconds=0.5,
        fill="tile",
        n_fft=64,
        hop=32,
        frames=2,
        short_side=16,
        box=(0, 0, 1, 1),
        allow_skipped=False,
        processes=1,
    )


def append(settings, rows):
    with open(settings.manifest, "a") as file:
        file.write(rows)


def examples(builder, split):
    """The split's examples by id."""
    return {example["id"].decode(): example for example in builder.as_data_source(split=split)}


def test_examples(settings, tmp_path):
    builder = prepare_manifest(settings, tmp_path / "data")
    assert builder.info.features["label"].names == ["high", "low"]
    train = examples(builder, "train")
    assert sorted(train) == ["a", "b", "c"]
    assert [train[name]["label"] for name in "abc"] == [1, 0, 1]
    cut = tone(1.0, hertz=HERTZ["high"])[round(0.2 * RATE) : round(0.6 * RATE)]
    spectrogram = log_spectrogram(fit_length(cut, round(0.5 * RATE), "tile"), n_fft=64, hop=32)
    assert train["b"]["audio"].dtype == np.float16
    # Where the tone is, not where only rounding to 16 bits is left.
    loud = spectrogram > -2
    np.testing.assert_allclose(train["b"]["audio"][loud], spectrogram[loud], atol=0.02)
    pictures = [decode_image(encoded) for encoded in train["b"]["visual"]]
    assert pictures[0].shape == (16, 24, 3)
    levels = [picture.mean() for picture in pictures]
    assert levels == pytest.approx(LEVELS["high"][[3, 5]], abs=3)


def test_separate_sound_is_used(settings, tmp_path):
    builder = prepare_manifest(settings, tmp_path / "data")
    middle = examples(builder, "train")["c"]["audio"][:, 100]
    assert middle.argmax() == 2000 * settings.n_fft // RATE


def test_second_run_reuses_the_data(settings, tmp_path, monkeypatch, capsys):
    first = prepare_manifest(settings, tmp_path / "data")
    printed = capsys.readouterr().out
    monkeypatch.setattr(decode, "decode_row", None)
    again = prepare_manifest(dataclasses.replace(settings, processes=2), tmp_path / "data")
    assert again.data_path == first.data_path
    assert again.info.metadata == first.info.metadata
    assert capsys.readouterr().out == printed


def test_processes_do_not_change_the_data(settings, tmp_path):
    one = prepare_manifest(settings, tmp_path / "one")
    two = prepare_manifest(dataclasses.replace(settings, processes=2), tmp_path / "two")
    assert one.info.metadata == two.info.metadata
    for split in ("train", "validation", "test"):
        pairs = zip(one.as_data_source(split=split), two.as_data_source(split=split), strict=True)
        for first, second in pairs:
            for key in first:
                np.testing.assert_array_equal(first[key], second[key])


def test_workers_start_light():
    check = (
        "import sys, tcmax_jax.data.builders.manifest.decode; "
        "print({'jax', 'tensorflow_datasets', 'pydantic'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stderr


def test_name_tells_content_apart(settings):
    name = content_name(settings)
    assert name.startswith("words-")
    assert (
        content_name(dataclasses.replace(settings, processes=2, box=(0.0, 0.0, 1.0, 1.0))) == name
    )
    changes = {"rate": 8000, "fill": "zero", "frames": 3, "allow_skipped": True}
    others = {content_name(dataclasses.replace(settings, **{k: v})) for k, v in changes.items()}
    append(settings, "f,test,low,clips/low.avi,,,\n")
    assert len(others | {name, content_name(settings)}) == len(changes) + 2


@pytest.mark.parametrize(
    "change,message",
    [
        ({"rate": 0}, "rate: expected a number above 0, got 0"),
        ({"processes": -1}, "processes: expected 0 or more, got -1"),
        ({"fill": "mirror"}, "fill: expected 'tile' or 'zero', got 'mirror'"),
        ({"box": (0.5, 0, 0.5, 1)}, "box: expected 0 <= left < right"),
    ],
)
def test_settings_are_checked(settings, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(settings, **change)


def test_missing_files_are_found_before_decoding(settings, tmp_path, monkeypatch):
    append(settings, "".join(f"m{i},train,low,clips/m{i}.avi,,,\n" for i in range(7)))
    monkeypatch.setattr(decode, "decode_row", None)
    with pytest.raises(ManifestError, match=r"all 12 rows, got none for 7.*correct the") as error:
        prepare_manifest(settings, tmp_path / "data")
    assert "line 7: " in str(error.value) and "line 11: " in str(error.value)
    assert "m4.avi" in str(error.value) and "m5.avi" not in str(error.value)


@pytest.mark.parametrize("processes", [1, 2])
def test_broken_file_stops(settings, tmp_path, processes):
    (tmp_path / "words" / "clips" / "broken.avi").write_bytes(b"nothing")
    append(settings, "f,train,low,clips/broken.avi,,,\n")
    settings = dataclasses.replace(settings, processes=processes)
    with pytest.raises(ManifestError, match=r"line 7 \(f\): .*broken\.avi: .* set allow_skipped"):
        prepare_manifest(settings, tmp_path / "data")
    assert not manifest_builder(settings, tmp_path / "data").is_prepared()


def test_skipped_rows_are_listed(settings, tmp_path, capsys):
    append(settings, "f,train,low,clips/none.avi,,,\ng,test,low,clips/low.avi,,5,6\n")
    settings = dataclasses.replace(settings, allow_skipped=True)
    summary = prepare_manifest(settings, tmp_path / "data").info.metadata
    assert [(row["line"], row["id"], row["split"]) for row in summary["skipped"]] == [
        (7, "f", "train"),
        (8, "g", "test"),
    ]
    assert "expected a media file" in summary["skipped"][0]["reason"]
    assert "got a clip of 1.00 s" in summary["skipped"][1]["reason"]
    assert {name: split["rows"] for name, split in summary["splits"].items()} == {
        "train": 3,
        "validation": 1,
        "test": 1,
    }
    assert summary["splits"]["train"]["classes"] == {"high": 1, "low": 2}
    assert summary["splits"]["train"]["seconds"] == pytest.approx(
        {"total": 1.65, "min": 0.25, "mean": 0.55, "max": 1.0}
    )
    captured = capsys.readouterr()
    assert "skipped line 7 (f): " in captured.out
    assert "decoded 7/7 rows, 2 skipped (test)" in captured.err


@pytest.mark.parametrize(
    "cut,reason", [("clips/none.avi,,,", "missing"), ("clips/low.avi,,8,9", "clip")]
)
def test_split_may_not_lose_all_rows(settings, tmp_path, cut, reason):
    rows = ROWS.replace("clips/high.avi,,,", cut)
    with open(settings.manifest, "w") as file:
        file.write(HEADER + rows)
    settings = dataclasses.replace(settings, allow_skipped=True)
    message = rf"rows of the split validation .* none of 1, line 5: .*{reason}.*leave the split out"
    with pytest.raises(ManifestError, match=message):
        prepare_manifest(settings, tmp_path / "data")
    assert not manifest_builder(settings, tmp_path / "data").is_prepared()


KILLED_PREPARATION = """
import json, os, sys
from tests.data.test_manifest_builder import ManifestSettings, decode, prepare_manifest

decode_row = decode.decode_row

def killed_at_d(settings, row):
    return os._exit(9) if row.id == "d" else decode_row(settings, row)

decode.decode_row = killed_at_d
prepare_manifest(ManifestSettings(**json.loads(sys.argv[1])), sys.argv[2])
"""


def test_killed_preparation_is_done_again(settings, tmp_path):
    arguments = [json.dumps(dataclasses.asdict(settings)), str(tmp_path / "data")]
    killed = subprocess.run([sys.executable, "-c", KILLED_PREPARATION, *arguments], cwd=ROOT)
    assert killed.returncode == 9
    builder = manifest_builder(settings, tmp_path / "data")
    assert [folder.name[:10] for folder in builder.data_path.parent.iterdir()] == ["incomplete"]
    assert not builder.is_prepared()
    builder = prepare_manifest(settings, tmp_path / "data")
    assert sorted(examples(builder, "train")) == ["a", "b", "c"]
    assert manifest_builder(settings, tmp_path / "data").is_prepared()


def test_interrupted_preparation_leaves_nothing(settings, tmp_path, monkeypatch):
    decode_row = decode.decode_row

    def interrupt(settings, row):
        if row.id == "d":
            raise KeyboardInterrupt
        return decode_row(settings, row)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decode, "decode_row", interrupt)
        prepare_manifest(settings, tmp_path / "data")
    builder = prepare_manifest(settings, tmp_path / "data")
    assert [folder.name for folder in builder.data_path.parent.iterdir()] == ["1.0.0"]


def die(settings, row):
    os._exit(1)


def test_died_process_is_reported(settings, monkeypatch):
    monkeypatch.setattr(decode, "decode_row", die)
    rows = read_manifest(settings.manifest)
    with pytest.raises(RuntimeError, match="process that died soon after line 2; look"):
        list(decode.decode_rows(dataclasses.replace(settings, processes=2), rows))


def test_summary_text(settings):
    splits = {"train": split_summary(["x", "y", "x"], [1.0, 2.0, 3.0])}
    row = read_manifest(settings.manifest)[0]
    text = summary_text({"splits": splits, "skipped": [skipped_row(row, "why")] * 7})
    lines = text.splitlines()
    assert lines[1].split() == ["train", "3", "7", "2", "1-2", "1.00", "2.00", "3.00", "6.0"]
    assert lines[2] == "skipped line 2 (a): why"
    assert lines[-1] == "... and 2 more, listed in the metadata"
