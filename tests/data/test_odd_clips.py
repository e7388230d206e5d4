"""Clips without content, leaks between splits, and files and names that no clip should have."""

import os
import wave
from pathlib import Path

import numpy as np
import pytest

from tcmax_jax.data import array_files, features
from tcmax_jax.data.clips import Clip, RawDataError
from tcmax_jax.data.forms import Arrays, FilterBank, Flow, Frames, LogSpectrogram
from tcmax_jax.data.leakage import leakage_notes
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.media import read_audio, read_frames
from tcmax_jax.data.pictures import encode_image
from tcmax_jax.data.preparation.prepare import prepare
from tcmax_jax.data.sources.manifest import ManifestData, read_manifest
from tests.data.media_files import RATE, flat_frames, tone, write_media
from tests.data.small_forms import ALONE, AUDIO_VISUAL, FLOW, PICTURES, SOUND


def clip(name, split="train", label="x", file="a.mp4", start=None, end=None):
    return Clip(name, split, label, Path(file), Path(file), start, end)


@pytest.mark.parametrize(
    "second,notes",
    [
        (clip("b", "test"), ["1 file is in several splits: a.mp4 (train: a, test: b)"]),
        (clip("b", label="y"), ["1 file is listed with several labels: a.mp4 (x: a, y: b)"]),
        (clip("b"), []),
        (clip("b", "test", file="b.mp4"), []),
        (clip("b", "test", start=1.9), ["1 file is in several splits: a.mp4 (train: a, test: b)"]),
        (clip("b", "test", start=2.0), []),
        (clip("b", "test", end=1.0), []),
    ],
)
def test_leaks_between_two_cuts(second, notes):
    first = clip("a", start=1.0, end=2.0) if second.start or second.end else clip("a")
    assert leakage_notes([first, second]) == notes
    flipped = leakage_notes([second, first])
    assert len(flipped) == len(notes)


def test_leaks_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(200):
        clips = []
        for i in range(rng.integers(2, 9)):
            start = rng.integers(0, 10) if rng.random() < 0.8 else None
            end = (start or 0) + rng.integers(1, 4) if rng.random() < 0.8 else None
            clips.append(clip(f"{i}", rng.choice(["train", "test"]), start=start, end=end))
        leaks = any(
            a.split != b.split
            and (a.start or 0) < (np.inf if b.end is None else b.end)
            and (b.start or 0) < (np.inf if a.end is None else a.end)
            for a in clips
            for b in clips
        )
        assert bool(leakage_notes(clips)) == leaks


def test_a_list_says_its_leaks(tmp_path):
    rows = [f"{i},{s},x,{i % 5}.mp4" for i, s in enumerate(["train"] * 5 + ["test"] * 5)]
    (tmp_path / "list.csv").write_text(
        "\n".join(["id,split,label,path", *rows, "v,validation,x,v"])
    )
    (note,) = read_manifest(tmp_path / "list.csv").notes
    assert note.startswith("5 files are in several splits: 0.mp4 (train: 0, test: 5); 1.mp4 (")
    assert note.endswith(", ..")


def source_of(folder, stored, labels="xyx"):
    splits = ("train", "train", "validation")
    rows = [f"{n},{s},{x},{n}.avi" for n, s, x in zip("abc", splits, labels, strict=True)]
    (folder / "list.csv").write_text("\n".join(["id,split,label,path", *rows]))
    return ManifestData(manifest=str(folder / "list.csv"), stored=stored, **ALONE)


def test_clips_without_content_are_counted(tmp_path):
    moving = flat_frames([40, 120, 200])
    write_media(tmp_path / "a.avi", frames=moving, audio=np.zeros(RATE // 3, np.float32))
    write_media(tmp_path / "b.avi", frames=flat_frames([90] * 3), audio=tone(0.3))
    write_media(tmp_path / "c.avi", frames=flat_frames([0] * 3), audio=tone(0.3))
    source = source_of(tmp_path, {**AUDIO_VISUAL, "motion": FLOW})
    assert prepare(source, tmp_path / "data").info.metadata["notes"][:4] == [
        "1 of 3 clips have black pictures: c",
        "1 of 3 clips have silent sound: a",
        "1 of 3 clips have still pictures: b",
        "no clip has the split test, so that results are those of validation, which also chose the "
        "checkpoint",
    ]


def test_forms_say_what_is_odd(tmp_path):
    still = write_media(tmp_path / "a.avi", frames=flat_frames([90] * 3), audio=tone(0.3) * 1e-5)
    given = Clip("a", "train", "x", still, still)
    assert SOUND.read(given).remark == "silent sound"
    assert PICTURES.read(given).remark == FLOW.read(given).remark == "still pictures"
    assert Frames(count=1).read(given).remark is None  # One picture is always still.
    moving = write_media(tmp_path / "b.avi", frames=flat_frames([40, 120]), audio=tone(0.3))
    given = Clip("b", "train", "x", moving, moving)
    assert {form.read(given).remark for form in (SOUND, PICTURES, Flow(count=1))} == {None}


def test_one_class_is_refused(tmp_path):
    for name in "abc":
        write_media(tmp_path / f"{name}.avi", frames=flat_frames([90] * 3))
    source = source_of(tmp_path, {"visual": PICTURES}, labels="xxx")
    said = r"Expected train clips of two classes or more, got 'x' alone\. Add others, or correct"
    with pytest.raises(RawDataError, match=said):
        prepare(source, tmp_path / "data")


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "folder.mp4"):
        for read in (
            lambda path: read_audio(path, rate=RATE),
            lambda path: read_frames(path, count=1, short_side=16),
        ):
            with pytest.raises(
                MediaError, match=f"{name}: Expected a media file, got a folder, pipe"
            ):
                read(tmp_path / name)
    source = source_of(tmp_path, {"visual": PICTURES})
    for name in "abc":
        os.mkfifo(tmp_path / f"{name}.avi")
    with pytest.raises(RawDataError, match=r"a\.avi: Expected a media file, got a folder, pipe"):
        prepare(source, tmp_path / "data")


def test_a_picture_that_jpeg_cannot_hold(tmp_path):
    path = tmp_path / "strip.png"
    path.write_bytes(encode_image(np.zeros((1, 4000, 3), np.uint8), lossless=True))
    given = Clip("a", "train", "x", path, path)
    said = r"that JPEG can hold, of at most 65500 pixels a side, got 192000 x 48\. Cut it, or"
    with pytest.raises(MediaError, match=said):
        Frames(count=1, short_side=48).read(given)
    assert len(Frames(count=1, short_side=16).read(given).value) == 1


def test_ids_that_are_too_long(tmp_path):
    (tmp_path / "list.csv").write_text(
        f"id,split,label,path\n{'i' * 100_000},train,x,a.mp4\nb,validation,x,a.mp4\n"
    )
    said = (
        r"list\.csv, line 2: Expected an id of at most 1000 characters, got 100000: 'iii.*Shorten"
    )
    with pytest.raises(RawDataError, match=said):
        read_manifest(tmp_path / "list.csv")


def test_npz_under_the_name_of_npy(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3), y=np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(
        MediaError, match=r"a\.npy: Expected plain arrays, got .several arrays; files"
    ):
        array_files.read_file(tmp_path / "a.npy")


def test_a_damaged_file_of_arrays_is_opened_once(tmp_path, monkeypatch):
    (tmp_path / "x.npz").write_bytes(b"PK broken")
    opened, read = [], array_files.open_npz
    monkeypatch.setattr(array_files, "open_npz", lambda path: opened.append(path) or read(path))
    form = Arrays(path="x.npz", shape=(3,), dtype="float32", varying=False)
    for i in range(5):
        with pytest.raises(MediaError, match=r"x\.npz: Expected plain arrays, got"):
            form.read(Clip(f"{i}", "train", "x", folder=tmp_path, row=i))
    assert len(opened) == 1


@pytest.mark.parametrize("form", [FilterBank(steps=50), LogSpectrogram(seconds=1.0)])
def test_hours_of_a_low_rate_make_no_windows(tmp_path, monkeypatch, form):
    """A file of 6 KB at 1 Hz: 100 minutes, of which the windows took 2.6 GiB."""
    path = tmp_path / "slow.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 1, 1, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(0).bytes(6000))
    windows = []
    view = np.lib.stride_tricks.sliding_window_view
    monkeypatch.setattr(
        features.np.lib.stride_tricks,
        "sliding_window_view",
        lambda x, *given: windows.append(len(x)) or view(x, *given),
    )
    form.read(Clip("a", "train", "x", path, path))
    assert max(windows) < 1.1 * form.rate


def test_filter_banks_of_long_sound_are_those_of_all_of_it(tmp_path):
    """The mean that is removed is that of the whole."""
    path = write_media(tmp_path / "a.wav", audio=tone(1.0, onset=0.5) + 0.1)
    form = FilterBank(steps=20, bins=16)
    audio = read_audio(path, rate=form.rate)
    whole = features.log_filter_bank(audio - audio.mean(), rate=form.rate, bins=16)[:, :20]
    got = form.read(Clip("a", "train", "x", path, path)).value
    np.testing.assert_array_equal(got, whole.astype(np.float16))
