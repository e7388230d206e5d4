"""Prepared data knows the media that it was made of."""

import csv
import os
import shutil

import numpy as np
import pytest

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.pictures import decode_image
from tcmax_jax.data.preparation.prepare import builder_of, prepare
from tcmax_jax.data.sources.manifest import ManifestData
from tests.data.media_files import flat_frames, write_media
from tests.data.small_forms import ALONE, PICTURES

LEVELS = {"a": 40, "b": 90, "c": 140, "d": 190}


def write_folder(folder, levels):
    """Writes grey videos and the same list of them, wherever it is and whatever they show."""
    rows = [("id", "split", "label", "path")]
    for number, (name, level) in enumerate(levels.items()):
        write_media(folder / f"{name}.avi", frames=flat_frames([level] * 3))
        split = "validation" if name == "d" else "train"
        rows.append((name, split, "xy"[number % 2], f"{name}.avi"))
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return ManifestData(manifest=str(folder / "list.csv"), stored={"picture": PICTURES}, **ALONE)


def levels_of(builder):
    """{id: mean level of its first picture} of prepared data."""
    sources = open_dataset(builder.data_path, ["picture"]).sources
    records = [record for source in sources.values() for record in source]
    means = {r["id"]: decode_image(r["picture"][0]).mean() for r in records}
    return {name.decode(): round(mean / 10) * 10 for name, mean in means.items()}


@pytest.fixture
def source(tmp_path):
    return write_folder(tmp_path / "one" / "clips", LEVELS)


OTHERS = dict(zip(LEVELS, reversed(LEVELS.values()), strict=True))


def test_other_media_under_the_same_list_are_prepared_anew(source, tmp_path, capsys):
    first = prepare(source, tmp_path / "data")
    other = write_folder(tmp_path / "two" / "clips", OTHERS)
    assert other.content_name() == source.content_name()
    capsys.readouterr()
    second = prepare(other, tmp_path / "data")
    said = capsys.readouterr().err
    assert "note: 4 of 4 media files differ from those that" in said
    assert f"first a.avi; they are prepared in {second.data_path}" in said
    assert (levels_of(first), levels_of(second)) == (LEVELS, OTHERS)
    # Both stay, and each is found again; the data sets have names of their own.
    for each, builder in ((source, first), (other, second)):
        assert prepare(each, tmp_path / "data").data_path == builder.data_path
    names = [open_dataset(builder.data_path, ["picture"]).name for builder in (first, second)]
    assert names[0] != names[1]
    assert "they were prepared in" in capsys.readouterr().err


def test_a_file_that_is_replaced_is_seen(source, tmp_path, capsys):
    first = prepare(source, tmp_path / "data")
    folder = tmp_path / "one" / "clips"
    write_media(folder / "b.avi", frames=flat_frames([200] * 3))
    again = prepare(source, tmp_path / "data")
    assert "note: 1 of 4 media files differ" in capsys.readouterr().err
    assert levels_of(again) == LEVELS | {"b": 200} and again.data_path != first.data_path


def test_moved_or_touched_files_are_the_same(source, tmp_path, capsys):
    first = prepare(source, tmp_path / "data")
    capsys.readouterr()
    for file in (tmp_path / "one" / "clips").iterdir():
        os.utime(file, (1, 1))
    assert prepare(source, tmp_path / "data").data_path == first.data_path
    moved = tmp_path / "elsewhere" / "clips"
    shutil.move(tmp_path / "one" / "clips", moved)
    there = ManifestData(manifest=str(moved / "list.csv"), stored={"picture": PICTURES}, **ALONE)
    assert prepare(there, tmp_path / "data").data_path == first.data_path
    assert capsys.readouterr().err == ""


def test_without_its_media_prepared_data_is_read_as_it_is(source, tmp_path, capsys):
    first = prepare(source, tmp_path / "data")
    for name in LEVELS:
        (tmp_path / "one" / "clips" / f"{name}.avi").unlink()
    capsys.readouterr()
    assert prepare(source, tmp_path / "data").data_path == first.data_path
    assert capsys.readouterr().err == ""


def test_what_was_decoded_of_other_files_is_decoded_again(source, tmp_path):
    """A preparation that failed goes on after all files were encoded anew."""
    folder = tmp_path / "one" / "clips"
    (folder / "d.avi").write_bytes(b"broken")
    with pytest.raises(RawDataError, match=r"d\.avi: Expected decodable video"):
        prepare(source, tmp_path / "data")
    assert len(list(builder_of(source, tmp_path / "data").kept_folder().iterdir())) == 2
    for name, level in OTHERS.items():
        write_media(folder / f"{name}.avi", frames=flat_frames([level] * 3))
    assert levels_of(prepare(source, tmp_path / "data")) == OTHERS


def test_media_of_one_content_in_two_splits_are_counted(source, tmp_path):
    folder = tmp_path / "one" / "clips"
    shutil.copy(folder / "a.avi", folder / "d.avi")
    notes = prepare(source, tmp_path / "data").info.metadata["notes"]
    copies = "1 file is under other names in other splits too: a.avi (train: a, validation: d)"
    assert copies in notes


def test_the_digest_sees_begin_middle_and_end(source, tmp_path):
    from tcmax_jax.data.preparation.identity import digest_of_all, identify

    rng = np.random.default_rng(0)
    content, path = bytearray(rng.bytes(400_000)), tmp_path / "one" / "clips" / "a.avi"
    digests = set()
    for at in (None, 0, 200_000, 399_999):
        changed = content.copy()
        if at is not None:
            changed[at] ^= 1
        path.write_bytes(changed)
        digests.add(digest_of_all(identify(source.stored, source.list_clips())))
    path.write_bytes(content + b"x")
    digests.add(digest_of_all(identify(source.stored, source.list_clips())))
    assert len(digests) == 5
