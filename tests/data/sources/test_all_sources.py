"""What holds for each of the six data sets: a small raw folder is prepared, a wrong one refused."""

import dataclasses
import shutil
import wave

import numpy as np
import pytest

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.preparation import chunks
from tcmax_jax.data.preparation import prepare as engine
from tcmax_jax.data.preparation.prepare import prepare as prepare_source
from tests.data.media_files import RATE, flat_frames, write_media
from tests.data.sources.raw_folders import DATA_SETS

# split: (clips of train, validation, test) that the tiny folders give
COUNTS = {
    "crema_d_av": (5, 1, 2),
    "kinetics_sounds": (3, 1, 2),
    "ave": (3, 1, 2),
    "vggsound": (3, 1, 1),
    "ucf101_flow": (8, 4, 4),
    "mvsa_features": (3, 1, 2),
}
WITH_MEDIA = sorted(set(DATA_SETS) - {"mvsa_features"})
every = pytest.mark.parametrize("name", sorted(DATA_SETS))
every_with_media = pytest.mark.parametrize("name", WITH_MEDIA)


@pytest.fixture
def raw(tmp_path):
    """A folder whose name holds a space and letters beyond ASCII."""
    folder = tmp_path / "räw data"
    folder.mkdir()
    return folder


def prepare(name, raw, data_dir, **changes):
    _, source = DATA_SETS[name]
    return prepare_source(
        dataclasses.replace(source, **({"raw_dir": str(raw)} | changes)), data_dir
    )


@every
def test_a_small_folder_is_prepared(name, raw, tmp_path, capsys):
    write, source = DATA_SETS[name]
    write(raw)
    builder = prepare(name, raw, tmp_path / "data")
    assert builder.name == name
    assert builder.info.citation and builder.info.description
    stored = source.stored
    dataset = open_dataset(builder.data_path, list(stored))
    sizes = {split: len(source) for split, source in dataset.sources.items()}
    assert tuple(sizes.values()) == COUNTS[name]
    kinds = {modality: form.input_kind for modality, form in stored.items()}
    assert builder.info.metadata["kinds"] == kinds
    for modality, form in stored.items():
        value = dataset.sources["train"][0][modality]
        assert value.shape == form.shape
        assert form.encoded or value.dtype == form.dtype
    printed = capsys.readouterr().err
    assert "checksum of the list: " in printed and "clips published" in printed


@every
def test_what_is_prepared_needs_no_raw_data(name, raw, tmp_path):
    DATA_SETS[name][0](raw)
    before = prepare(name, raw, tmp_path / "data")
    shutil.rmtree(raw)
    after = prepare(name, None, tmp_path / "data", raw_dir=None)
    assert after.data_path == before.data_path


@every
def test_no_folder_named(name, tmp_path):
    with pytest.raises(RawDataError, match=r"got no folder\. Pass --raw_dir=FOLDER") as error:
        prepare(name, None, tmp_path / "data", raw_dir=None)
    assert DATA_SETS[name][1].layout.splitlines()[1] in str(error.value)


@every
def test_folder_that_is_not_there(name, raw, tmp_path):
    with pytest.raises(RawDataError, match=r"nowhere: Expected the folder of the raw data"):
        prepare(name, raw / "nowhere", tmp_path / "data")


@every
def test_empty_folder(name, raw, tmp_path):
    with pytest.raises(RawDataError, match="räw data") as error:
        prepare(name, raw, tmp_path / "data")
    assert DATA_SETS[name][1].layout.splitlines()[1] in str(error.value)
    assert not list((tmp_path / "data").rglob("dataset_info.json"))


@every
def test_media_that_is_missing(name, raw, tmp_path):
    first = DATA_SETS[name][0](raw)[0]
    first.unlink()
    with pytest.raises(RawDataError, match=r"got none for \d+, first .*Layout:") as error:
        prepare(name, raw, tmp_path / "data")
    assert first.stem.split("_")[0] in str(error.value)
    assert "allow_skipped" in str(error.value)


@every_with_media
def test_a_partial_folder_is_prepared_when_that_is_allowed(name, raw, tmp_path, capsys):
    DATA_SETS[name][0](raw)[0].unlink()
    builder = prepare(name, raw, tmp_path / "data", allow_skipped=True)
    skipped = builder.info.metadata["skipped"]
    assert {clip["reason"] for clip in skipped} == {"missing file"}
    sizes = sum(split.num_examples for split in builder.info.splits.values())
    assert sizes == sum(COUNTS[name]) - len(skipped)
    assert f"skipped: {len(skipped)} (missing file)" in capsys.readouterr().err


def truncated(path):
    path.write_bytes(path.read_bytes()[:80])


def lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")


def without_frames(path):
    codec, rate = ("libmp3lame", 44100) if path.suffix == ".flv" else ("aac", RATE)
    write_media(path, audio=np.zeros(rate // 2, np.float32), audio_codec=codec, rate=rate)


def without_sound(path):
    write_media(path, frames=flat_frames([1, 2]))


def of_no_length(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", None))


@pytest.mark.parametrize(
    "damage,reason",
    [
        (truncated, "Expected decodable|Expected a decodable|bytes, as the file declares, got 80"),
        (lfs_pointer, "got a Git LFS pointer. Fetch"),
        (without_frames, "Expected a decodable video stream, got audio"),
    ],
)
@every_with_media
def test_media_that_cannot_be_read(name, raw, tmp_path, damage, reason):
    first = next(p for p in DATA_SETS[name][0](raw) if p.suffix != ".wav")
    damage(first)
    with pytest.raises(RawDataError, match=reason) as error:
        prepare(name, raw, tmp_path / "data")
    assert first.name in str(error.value)
    assert not list((tmp_path / "data").rglob("dataset_info.json"))


@pytest.mark.parametrize("name", ["ave", "kinetics_sounds", "vggsound"])
def test_clips_without_sound(name, raw, tmp_path):
    first = DATA_SETS[name][0](raw)[0]
    without_sound(first)
    with pytest.raises(RawDataError, match="Expected a decodable audio stream, got video"):
        prepare(name, raw, tmp_path / "data")


def test_sound_of_no_length(raw, tmp_path):
    media = DATA_SETS["crema_d_av"][0](raw)
    sound = next(path for path in media if path.suffix == ".wav")
    of_no_length(sound)
    with pytest.raises(RawDataError, match=rf"{sound.name}: Expected sound .* got a clip of 0.00"):
        prepare("crema_d_av", raw, tmp_path / "data")


@pytest.mark.parametrize("name,old", [("ave", "c"), ("kinetics_sounds", "-x_0"), ("vggsound", "d")])
def test_names_of_files_may_hold_spaces_and_any_letters(name, old, raw, tmp_path):
    """The other sets' owners fix their ids; every test's folder has such a name in any case."""
    media, new = DATA_SETS[name][0](raw), "é 1 ü"
    for path in [*raw.rglob("*.txt"), *raw.rglob("*.csv")]:
        text = path.read_text().replace(f"&{old}&", f"&{new}&").replace(f",{old},", f",{new},")
        path.write_text(text.replace(f"\n{old},", f"\n{new},"))
    for path in media:
        if path.stem == old or path.stem.startswith(f"{old}_0"):
            path.rename(path.with_name(path.name.replace(old, new, 1)))
    builder = prepare(name, raw, tmp_path / "data")
    ids = {r["id"].decode() for s in builder.info.splits for r in builder.as_data_source(s)}
    assert any(each.startswith(new) for each in ids)


def test_shards_are_written_whatever_their_number(raw, tmp_path, monkeypatch):
    DATA_SETS["ucf101_flow"][0](raw)
    one = prepare("ucf101_flow", raw, tmp_path / "one")
    monkeypatch.setattr(chunks, "CLIPS_IN_CHUNK", 2)
    monkeypatch.setattr(engine, "CHUNKS_IN_SHARD", 1)
    many = prepare("ucf101_flow", raw, tmp_path / "many")
    assert len(many.info.splits["train"].shard_lengths) == 4
    assert one.info.metadata == many.info.metadata
    pairs = zip(one.as_data_source("train"), many.as_data_source("train"), strict=True)
    assert all(first["id"] == second["id"] for first, second in pairs)
