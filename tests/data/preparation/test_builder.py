import dataclasses
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.datasets import groups_of, open_dataset
from tcmax_jax.data.features import fit_length, log_spectrogram
from tcmax_jax.data.forms import Frames, LogSpectrogram
from tcmax_jax.data.pictures import decode_image
from tcmax_jax.data.preparation import chunks
from tcmax_jax.data.preparation import prepare as prepare_module
from tcmax_jax.data.preparation.decode import decode_chunks
from tcmax_jax.data.preparation.prepare import builder_of, prepare
from tcmax_jax.data.sources.manifest import ManifestData, read_manifest
from tests.data.media_files import RATE, flat_frames, tone, write_media
from tests.data.small_forms import ALONE, AUDIO_VISUAL, SOUND

ROOT = Path(__file__).parents[3]
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
    return ManifestData(manifest=str(folder / "manifest.csv"), stored=AUDIO_VISUAL, **ALONE)


def append(settings, rows):
    with open(settings.manifest, "a") as file:
        file.write(rows)


def break_decoding(monkeypatch):
    monkeypatch.setattr(chunks, "_decode", None)


def examples(builder, split):
    """The split's examples by id."""
    return {example["id"].decode(): example for example in builder.as_data_source(split=split)}


def assert_equal_records(one, two, split):
    pairs = zip(one.as_data_source(split=split), two.as_data_source(split=split), strict=True)
    for first, second in pairs:
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])


def test_examples(settings, tmp_path):
    builder = prepare(settings, tmp_path / "data")
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
    builder = prepare(settings, tmp_path / "data")
    middle = examples(builder, "train")["c"]["audio"][:, 100]
    assert middle.argmax() == 2000 * SOUND.n_fft // RATE


def test_second_run_reuses_the_data(settings, tmp_path, monkeypatch, capsys):
    first = prepare(settings, tmp_path / "data")
    assert "checksum of the list: " in capsys.readouterr().err
    break_decoding(monkeypatch)
    again = prepare(dataclasses.replace(settings, processes=2), tmp_path / "data")
    assert again.data_path == first.data_path
    assert again.info.metadata == first.info.metadata
    assert capsys.readouterr() == ("", "")  # The table is that of a preparation.


def test_processes_do_not_change_the_data(settings, tmp_path):
    one = prepare(settings, tmp_path / "one")
    two = prepare(dataclasses.replace(settings, processes=2), tmp_path / "two")
    assert one.info.metadata == two.info.metadata
    for split in ("train", "validation", "test"):
        assert_equal_records(one, two, split)


def test_workers_start_light():
    check = (
        "import sys, tcmax_jax.data.preparation.decode; "
        "print({'jax', 'tensorflow_datasets', 'pydantic'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stderr


def test_name_tells_content_apart(settings):
    name = settings.content_name()
    assert name.startswith("words-")
    same = {"processes": 2, "allow_skipped": True, "beam": ["--runner=DirectRunner"]}
    assert dataclasses.replace(settings, **same).content_name() == name
    box = Frames(count=2, short_side=16, box=(0.0, 0.0, 1.0, 1.0))
    assert (
        dataclasses.replace(settings, stored=AUDIO_VISUAL | {"visual": box}).content_name() == name
    )
    forms = [
        AUDIO_VISUAL | {"audio": dataclasses.replace(SOUND, rate=8000)},
        AUDIO_VISUAL | {"audio": dataclasses.replace(SOUND, fill="zero")},
        AUDIO_VISUAL | {"visual": dataclasses.replace(box, count=3)},
        {"audio": SOUND, "face": box},
    ]
    others = {dataclasses.replace(settings, stored=form).content_name() for form in forms}
    append(settings, "f,test,low,clips/low.avi,,,\n")
    assert len(others | {name, settings.content_name()}) == len(forms) + 2


@pytest.mark.parametrize(
    "form,change,message",
    [
        (LogSpectrogram, {"rate": 0}, r"^Expected rate: integer > 0, got 0\."),
        (Frames, {"count": -1}, r"^Expected count: integer > 0, got -1\."),
        (
            Frames,
            {"box": (0.5, 0, 0.5, 1)},
            "^Expected box with left < right and top < bottom",
        ),
    ],
)
def test_forms_are_checked(form, change, message):
    (good,) = (each for each in AUDIO_VISUAL.values() if isinstance(each, form))
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(good, **change)


def test_missing_files_are_found_before_decoding(settings, tmp_path, monkeypatch):
    append(settings, "".join(f"m{i},train,low,clips/m{i}.avi,,,\n" for i in range(7)))
    break_decoding(monkeypatch)
    with pytest.raises(
        RawDataError, match=r"files of all 12 clips, got none for 7.*Correct the"
    ) as error:
        prepare(settings, tmp_path / "data")
    assert "m0.avi (" in str(error.value) and "line 7)" in str(error.value)
    assert "m4.avi" in str(error.value) and "m5.avi" not in str(error.value)


@pytest.mark.parametrize("processes", [1, 2])
def test_broken_file_stops(settings, tmp_path, processes):
    (tmp_path / "words" / "clips" / "broken.avi").write_bytes(b"nothing")
    append(settings, "f,train,low,clips/broken.avi,,,\n")
    settings = dataclasses.replace(settings, processes=processes)
    with pytest.raises(RawDataError, match=r"line 7 \(f\): .*broken\.avi: .* allow_skipped"):
        prepare(settings, tmp_path / "data")
    assert not builder_of(settings, tmp_path / "data").is_prepared()


def test_skipped_rows_are_listed(settings, tmp_path, capsys):
    append(settings, "f,train,low,clips/none.avi,,,\ng,test,low,clips/low.avi,,5,6\n")
    settings = dataclasses.replace(settings, allow_skipped=True)
    summary = prepare(settings, tmp_path / "data").info.metadata
    assert [(each["id"], each["split"], each["reason"]) for each in summary["skipped"]] == [
        ("f", "train", "missing file"),
        ("g", "test", "no sound in the cut"),
    ]
    assert "line 7 (f): " in summary["skipped"][0]["message"]
    assert "got a clip of 1.00 s" in summary["skipped"][1]["message"]
    counts = {name: (s["listed"], s["used"]) for name, s in summary["splits"].items()}
    assert counts == {"train": (4, 3), "validation": (1, 1), "test": (2, 1)}
    assert summary["splits"]["train"]["classes"] == {"high": 1, "low": 2}
    assert summary["splits"]["train"]["seconds"] == pytest.approx(
        {"total": 1.65, "min": 0.25, "mean": 0.55, "max": 1.0}
    )
    captured = capsys.readouterr()
    assert "skipped: 1 (missing file), 1 (no sound in the cut)" in captured.err
    assert "line 7 (f): " in captured.err
    assert "decoded 7/7 clips, 2 skipped (test)" in captured.err
    # What was left out is not taken for complete by somebody who does not allow that.
    strict = dataclasses.replace(settings, allow_skipped=False)
    with pytest.raises(RawDataError, match=r"complete data set, got one without 2 clips.*delete"):
        prepare(strict, tmp_path / "data")


def test_groups_stand_in_the_order_of_the_records(settings, tmp_path, monkeypatch):
    for module, name in ((chunks, "CLIPS_IN_CHUNK"), (prepare_module, "CHUNKS_IN_SHARD")):
        monkeypatch.setattr(module, name, 1)
    names = {"a": "anna", "b": "", "c": "ben", "d": "carl", "e": "dora", "f": "anna", "g": "anna"}
    rows = f"{ROWS}f,train,low,clips/none.avi,,,\ng,train,low,clips/low.avi,,,\n".splitlines()
    lines = [HEADER.strip() + ",group", *(f"{row},{names[row[0]]}" for row in rows)]
    Path(settings.manifest).write_text("\n".join(lines) + "\n")
    builder = prepare(dataclasses.replace(settings, allow_skipped=True), tmp_path / "data")
    assert builder.info.splits["train"].num_shards == 5
    dataset = open_dataset(builder.data_path, ["audio"])
    for split, ids in (("train", "abcg"), ("validation", "d"), ("test", "e")):
        assert [record["id"].decode() for record in dataset.sources[split]] == list(ids)
        assert groups_of(dataset, split) == [names[name] for name in ids]


@pytest.mark.parametrize(
    "cut,reason", [("clips/none.avi,,,", "missing"), ("clips/low.avi,,8,9", "clip")]
)
def test_split_may_not_lose_all_rows(settings, tmp_path, cut, reason):
    rows = ROWS.replace("clips/high.avi,,,", cut)
    with open(settings.manifest, "w") as file:
        file.write(HEADER + rows)
    settings = dataclasses.replace(settings, allow_skipped=True)
    message = (
        rf"clips of the split validation .* got none\. .*line 5.*{reason}.*leave the split out"
    )
    with pytest.raises(RawDataError, match=message):
        prepare(settings, tmp_path / "data")
    assert not builder_of(settings, tmp_path / "data").is_prepared()


KILLED_PREPARATION = """
import json, os, sys
from tests.data.small_forms import ALONE, AUDIO_VISUAL
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.data.preparation import chunks
from tcmax_jax.data.preparation.prepare import prepare

decode, chunks.CLIPS_IN_CHUNK = chunks._decode, 2

def killed_at_c(stored, clip):
    return os._exit(9) if clip.id == "c" else decode(stored, clip)

chunks._decode = killed_at_c
settings = ManifestData(manifest=sys.argv[1], stored=AUDIO_VISUAL, **ALONE)
prepare(settings, sys.argv[2])
"""


def test_killed_preparation_goes_on(settings, tmp_path, monkeypatch):
    arguments = [settings.manifest, str(tmp_path / "data")]
    killed = subprocess.run([sys.executable, "-c", KILLED_PREPARATION, *arguments], cwd=ROOT)
    assert killed.returncode == 9
    folder = Path(builder_of(settings, tmp_path / "data").data_path).parent
    assert not builder_of(settings, tmp_path / "data").is_prepared()
    decoded, decode = [], chunks._decode

    def watched(stored, clip):
        decoded.append(clip.id)
        return decode(stored, clip)

    monkeypatch.setattr(chunks, "CLIPS_IN_CHUNK", 2)
    monkeypatch.setattr(chunks, "_decode", watched)
    builder = prepare(settings, tmp_path / "data")
    assert decoded == ["c", "d", "e"]  # a and b were decoded before the kill
    assert sorted(examples(builder, "train")) == ["a", "b", "c"]
    assert builder_of(settings, tmp_path / "data").is_prepared()
    whole = prepare(settings, tmp_path / "whole")
    for split in ("train", "validation", "test"):
        assert_equal_records(builder, whole, split)
    assert not list(folder.glob("decoded-*"))


def test_interrupted_preparation_keeps_nothing_half(settings, tmp_path, monkeypatch):
    decode = chunks._decode
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def interrupt(stored, clip):
        if clip.id == "d":
            raise KeyboardInterrupt
        return decode(stored, clip)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(chunks, "_decode", interrupt)
        prepare(settings, tmp_path / "data")
    builder = prepare(settings, tmp_path / "data")
    assert [folder.name for folder in Path(builder.data_path).parent.iterdir()] == ["1.0.0"]
    assert [folder.name for folder in (tmp_path / "data").iterdir()] == ["manifest"]
    assert not list((tmp_path / "temporary").iterdir())


def test_what_other_decoders_left_is_decoded_anew(settings, tmp_path, monkeypatch):
    folder = builder_of(settings, tmp_path / "data").kept_folder()
    now = prepare_module.versions()
    assert builder_of(settings, tmp_path / "data").kept_folder() == folder
    monkeypatch.setattr(prepare_module, "versions", lambda: now | {"FFmpeg": "0.1"})
    assert builder_of(settings, tmp_path / "data").kept_folder() != folder


def test_prepared_data_keeps_the_versions_that_made_it(settings, tmp_path):
    metadata = prepare(settings, tmp_path / "data").info.metadata
    assert metadata["versions"] == prepare_module.versions()
    assert metadata["versions"]["av"] == av.__version__


class Dying(Frames):
    """A form whose reader dies."""

    def read(self, clip):
        os._exit(1)


def test_died_process_is_reported(settings, tmp_path):
    clips = read_manifest(settings.manifest).clips
    each_alone = [chunks.Chunk(tmp_path / f"{clip.id}.npz", [clip]) for clip in clips]
    dying = {"visual": Dying(count=1, short_side=8, box=(0, 0, 1, 1))}
    with pytest.raises(RuntimeError, match=r"process that died soon after .*line 2\. Look"):
        list(decode_chunks(dying, each_alone, processes=2))


def test_beam_decodes_the_same(settings, tmp_path):
    # The runner of one process that needs nothing else; DirectRunner looks for a binary first.
    beam = dataclasses.replace(settings, beam=["--runner=FnApiRunner"])
    one = prepare(settings, tmp_path / "one")
    other = prepare(beam, tmp_path / "beam")
    assert one.info.metadata == other.info.metadata
    for split in ("train", "validation", "test"):
        assert_equal_records(one, other, split)


def test_beam_reports_broken_files(settings, tmp_path):
    (tmp_path / "words" / "clips" / "broken.avi").write_bytes(b"nothing")
    append(settings, "f,train,low,clips/broken.avi,,,\n")
    beam = dataclasses.replace(settings, beam=["--runner=FnApiRunner"])
    with pytest.raises(RawDataError, match=r"line 7 \(f\): .*broken\.avi: "):
        prepare(beam, tmp_path / "data")


def test_beam_that_is_not_installed(settings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    beam = dataclasses.replace(settings, beam=["--runner=FnApiRunner"])
    with pytest.raises(
        RawDataError, match=r"got none installed\. Run pip install 'tcmax_jax\[beam"
    ):
        prepare(beam, tmp_path / "data")
