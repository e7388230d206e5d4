"""What the lists of MVSA say: the shared one, tweets of one label, pictures."""

import json

import pytest

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.forms import Arrays, Frames
from tcmax_jax.data.preparation.checks import check_files
from tcmax_jax.data.sources.mvsa import MvsaData
from tests.data.sources import raw_folders
from tests.data.sources.test_lists import by_split, list_mvsa


@pytest.fixture
def mvsa(tmp_path):
    raw_folders.mvsa(tmp_path)
    return tmp_path


def test_mvsa_takes_the_shared_list(mvsa):
    listing = list_mvsa(mvsa)
    assert by_split(listing) == {"train": ["1", "2", "3"], "validation": ["4"], "test": ["5", "6"]}
    assert [listing.class_names.index(clip.label) for clip in listing.clips[:3]] == [1, 2, 0]


def test_mvsa_takes_tweets_of_one_label(mvsa):
    (mvsa / "dev.jsonl").unlink()
    rows = ["ID\ttext,image", *(f"{n}\tpositive,positive" for n in range(1, 9))]
    rows += ["9\tneutral,positive", "10\tnegative,negative", "11\tpositive,negative"]
    (mvsa / "labelResultAll.txt").write_text("\r\n".join(rows))
    listing = list_mvsa(mvsa)
    ids = by_split(listing)
    assert sorted(map(len, ids.values())) == [2, 2, 5]
    assert {name for own in ids.values() for name in own} == {*map(str, range(1, 9)), "10"}


@pytest.mark.parametrize(
    "name,text,message",
    [
        ("dev.jsonl", '{"id": 4}\n', r"dev\.jsonl, line 1: Expected \{\"id\": \.\., \"label\""),
        ("dev.jsonl", "4,positive\n", r"dev\.jsonl, line 1: Expected .*, got '4,positive'"),
        ("dev.jsonl", '{"id": 4, "label": "good"}\n', "line 1: .*3 labels .* got 'good' in val"),
        ("dev.jsonl", '{"id": 5, "label": "neutral"}\n', "line 1: Expected a new id, got '5'"),
    ],
)
def test_mvsa_bad_lists(mvsa, name, text, message):
    (mvsa / name).write_text(text)
    with pytest.raises(RawDataError, match=message):
        list_mvsa(mvsa)


PICTURES = {"image": Frames(count=1), "text": Arrays(path="tokens.npz")}


def mvsa_pictures(raw):
    listing = MvsaData(raw_dir=str(raw), stored=PICTURES).list_clips()
    return {clip.id: clip.video for clip in listing.clips}


def test_mvsa_finds_pictures_where_they_are_read(mvsa):
    files = mvsa_pictures(mvsa)
    assert files == {str(n): mvsa / "data" / f"{n}.jpg" for n in range(1, 7)}
    assert all(clip.video is None for clip in list_mvsa(mvsa).clips)
    (mvsa / "dev.jsonl").unlink()
    (mvsa / "labelResultAll.txt").write_text("ID\ttext,image\n1\tpositive,positive\n")
    assert mvsa_pictures(mvsa) == {"1": mvsa / "data" / "1.jpg"}


def test_mvsa_without_the_name_of_a_picture(mvsa):
    (mvsa / "dev.jsonl").write_text('{"id": 4, "label": "neutral"}\n')
    assert mvsa_pictures(mvsa)["4"] is None
    source = MvsaData(raw_dir=str(mvsa), stored=PICTURES)
    with pytest.raises(RawDataError, match=r"dev\.jsonl, line 1: Expected a file for image, got n"):
        check_files(source.list_clips(), source)


@pytest.mark.parametrize(
    "path,message",
    [
        ("../4.jpg", r"'\.\.', which names no file"),
        ("data/../../4.jpg", r"'\.\.', which names no file"),
        ("/etc/4.jpg", r"'/', which has '/' in it"),
        ("a\0.jpg", r"has '\\x00' in it"),
        ("\ud800.jpg", "which is no valid text"),
        ("x" * 256, "longer than 255 bytes"),
        ("x/" * 2500 + "4.jpg", "Expected a path of at most 4095 bytes"),
        ("", "Expected a path as img, got ''"),
        (4, "Expected a path as img, got 4"),
    ],
)
def test_mvsa_pictures_stay_in_the_folder(mvsa, path, message):
    (mvsa / "dev.jsonl").write_text(json.dumps({"id": 4, "label": "neutral", "img": path}))
    with pytest.raises(RawDataError, match=rf"dev\.jsonl, line 1: .*{message}"):
        mvsa_pictures(mvsa)
    assert "4" in by_split(list_mvsa(mvsa))["validation"]


def test_mvsa_unknown_sentiment(mvsa):
    (mvsa / "dev.jsonl").unlink()
    (mvsa / "labelResultAll.txt").write_text("ID\ttext,image\n1\tpositive,good\n")
    with pytest.raises(RawDataError, match=r"line 2: Expected two of negative, neutral, positive"):
        list_mvsa(mvsa)
