"""Manifests: what was written comes back, and any other text is read or refused with its place."""

import csv
import os
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcmax_jax.data.clips import Clip, RawDataError
from tcmax_jax.data.sources.manifest import read_manifest
from tests.data.mutations import mutated
from tests.data.sources import raw_folders
from tests.data.sources.test_lists import LISTED, light_media  # noqa: F401

COLUMNS = ("id", "split", "label", "path", "audio_path", "start", "end")
# Text that survives the reader's stripping, of all of Unicode that UTF-8 can hold.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1, max_size=8)
CELL = TEXT.map(str.strip).filter(bool)
NAME = CELL.filter(lambda cell: "/" not in cell and cell not in (".", ".."))
FILE = st.lists(NAME, min_size=1, max_size=3).map("/".join)
TIMES = st.tuples(
    st.none() | st.floats(0, 1e3), st.none() | st.floats(1e-3, 1e3), st.booleans()
).map(lambda t: (t[0], None if t[1] is None else (t[0] or 0) + t[1]))
ROWS = st.lists(
    st.tuples(CELL, st.sampled_from(["validation", "test"]), CELL, FILE, st.none() | FILE, TIMES),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row[0],
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("manifest") / "list.csv"


@given(rows=ROWS, mark=st.sampled_from(["utf-8", "utf-8-sig"]))
def test_what_was_written_comes_back(path, rows, mark):
    # Every other row trains; a label of another split has to be one of them.
    labels = [row[2] for row in rows[::2]]
    clips = [
        Clip(name, split if i % 2 else "train", label if i % 2 == 0 else labels[i // 2],
             path.parent / video, path.parent / (audio or video), *times)
        for i, (name, split, label, video, audio, times) in enumerate(rows)
    ]  # fmt: skip
    with path.open("w", encoding=mark, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for clip, (_, _, _, video, audio, times) in zip(clips, rows, strict=True):
            writer.writerow([clip.id, clip.split, clip.label, video, audio, *times])
    listing = read_manifest(path)
    for row, (got, expected) in enumerate(zip(listing.clips, clips, strict=True)):
        place = f"{path}, line {row + 2}"
        assert got == expected._replace(place=place, folder=path.parent, row=row)
    assert listing.class_names == sorted({c.label for c in clips if c.split == "train"})


FRAGMENTS = st.lists(
    st.sampled_from([
        ",", "\n", "\r", "\r\n", '"', "id", "split", "label", "path", "train", "test", "cat", "a",
        "../", "/", "\0", "-1", "nan", "1e999", " ", "\t", "\ufeff", "é", "x" * 300, "1", "start",
    ]) | st.text(st.characters(codec="utf-8"), max_size=3),
    max_size=40,
).map("".join)  # fmt: skip
BEGINNINGS = st.sampled_from(["", "id,split,label\n", ",".join(COLUMNS) + "\na,train,cat,b,,,\n"])


def check(path, content):
    """Returns whether a manifest of these bytes is read; if not, the error names the file."""
    path.write_bytes(content)
    try:
        listing = read_manifest(path)
    except RawDataError as error:
        assert str(error).startswith(str(path))
        return False
    for clip in listing.clips:
        assert clip.id and clip.label in listing.class_names
        for file in filter(None, (clip.video, clip.audio)):
            assert not os.path.relpath(file, path.parent).startswith("../")
            file.is_file()  # A name that no file can have would raise.
    return True


@given(BEGINNINGS, FRAGMENTS)
@example("", "\ufeff")
@example("id,split,label\n", "a,train,")
def test_any_text_is_read_or_refused(path, beginning, text):
    check(path, (beginning + text).encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(path, content):
    check(path, b"id,split,label\na,train,cat\n" + content)


WHOLE = (
    "id,split,label,path,audio_path,start,end\n"
    'a,train,cat,clips/a.mp4,,0.5,1.25\n"b, c",train,"the ""dog""",b é.mkv,sound/b.wav,,2\n'
    "d,validation,cat,d.mp4,,,\ne,test,cat,clips/../e.mp4,,1,\n"
).encode()


@pytest.mark.parametrize("number", [800, pytest.param(50_000, marks=pytest.mark.slow)])
def test_damaged_manifests_are_read_or_refused(path, number):
    rng = random.Random(0)
    read = sum(check(path, mutated(WHOLE, rng)) for _ in range(number))
    # Of both there have to be some, or the damage says little.
    assert 0.02 < read / number < 0.98


@pytest.mark.parametrize("number", [50, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("data_set", LISTED)
def test_damaged_lists_are_read_or_refused(tmp_path, data_set, number):
    """The lists of the six data sets."""
    rng = random.Random(1)
    list_clips, _, _ = LISTED[data_set]
    getattr(raw_folders, data_set)(tmp_path)
    lists = sorted(p for p in tmp_path.rglob("*") if p.suffix in (".csv", ".txt", ".jsonl"))
    for path in lists:
        whole = path.read_bytes()
        for _ in range(number):
            path.write_bytes(mutated(whole, rng))
            try:
                listing = list_clips(tmp_path)
            except RawDataError as error:
                assert str(tmp_path) in str(error)
                continue
            for file in {clip.video for clip in listing.clips} - {None}:
                assert file.resolve().is_relative_to(tmp_path.resolve())
        path.write_bytes(whole)
