"""What the lists of the six data sets say: splits, classes, repeated rows, unknown labels."""

import collections
import re

import pytest

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.sources.ave import CATEGORIES, AveData
from tcmax_jax.data.sources.crema_d import CremaDData
from tcmax_jax.data.sources.kinetics_sounds import KineticsSoundsData
from tcmax_jax.data.sources.mvsa import MvsaData
from tcmax_jax.data.sources.ucf101 import Ucf101Data
from tcmax_jax.data.sources.vggsound import VggsoundData
from tests.data.sources import raw_folders
from tests.data.sources.raw_folders import CLASSES


def list_ave(raw):
    return AveData(raw_dir=str(raw)).list_clips()


def list_crema_d(raw, split, share):
    return CremaDData(raw_dir=str(raw), split=split, validation_share=share).list_clips()


def list_kinetics_sounds(raw, classes, test_split, share):
    return KineticsSoundsData(
        raw_dir=str(raw), classes=classes, test_split=test_split, validation_share=share
    ).list_clips()


def list_mvsa(raw):
    return MvsaData(raw_dir=str(raw)).list_clips()


def list_ucf101(raw, official_split, validation, share):
    return Ucf101Data(
        raw_dir=str(raw),
        official_split=official_split,
        validation=validation,
        validation_share=share,
    ).list_clips()


def list_vggsound(raw, share):
    return VggsoundData(raw_dir=str(raw), validation_share=share).list_clips()


@pytest.fixture(autouse=True)
def light_media(monkeypatch):
    """Lists look at names alone, so that empty files will do."""

    def touch(path, **content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    monkeypatch.setattr(raw_folders, "clip", touch)
    monkeypatch.setattr(raw_folders, "write_media", touch)


def by_split(listing):
    names = collections.defaultdict(list)
    for clip in listing.clips:
        names[clip.split].append(clip.id)
    return dict(names)


# --- CREMA-D


@pytest.fixture
def crema_d(tmp_path):
    raw_folders.crema_d(tmp_path)
    return tmp_path


def test_crema_d_takes_the_shared_list(crema_d):
    listing = list_crema_d(crema_d, "auto", 0.2)
    names = by_split(listing)
    assert names["test"] == ["1004_DFA_ANG_XX", "1004_DFA_HAP_XX"]
    assert len(names["train"]) == 5 and len(names["validation"]) == 1
    assert {clip.label for clip in listing.clips} == {"ANG", "HAP"}
    assert listing.class_names.index("ANG") == 5
    assert listing.expected == {"train": 6698, "test": 744}
    first = listing.clips[0]
    assert first.video == crema_d / "VideoFlash" / "1001_DFA_ANG_XX.flv"
    assert first.audio == crema_d / "AudioWAV" / "1001_DFA_ANG_XX.wav"
    assert first.place == f"{crema_d / 'train.csv'}, line 1"


def test_crema_d_splits_by_hash_without_a_list(crema_d):
    (crema_d / "test.csv").unlink()
    listing = list_crema_d(crema_d, "auto", 0.2)
    assert {split: len(ids) for split, ids in by_split(listing).items()} == {
        "train": 6, "validation": 1, "test": 1,
    }  # fmt: skip
    assert listing.expected == {}
    assert listing == list_crema_d(crema_d, "hash", 0.2)
    assert "not the list of other papers" in listing.notes[0]
    with pytest.raises(RawDataError, match=r"train\.csv and test\.csv for data\.split=list, got"):
        list_crema_d(crema_d, "list", 0.2)


def test_crema_d_keeps_speakers_apart(crema_d):
    listing = list_crema_d(crema_d, "speaker", 0.2)
    assert all(clip.group == clip.id[:4] for clip in listing.clips)
    actors = {split: {n[:4] for n in ids} for split, ids in by_split(listing).items()}
    assert {split: len(own) for split, own in actors.items()} == {
        "train": 2, "validation": 1, "test": 1,
    }  # fmt: skip
    assert len(set.union(*actors.values())) == 4


def test_crema_d_names_and_emotions(crema_d):
    (crema_d / "AudioWAV" / "1001_DFA_JOY_XX.wav").touch()
    with pytest.raises(RawDataError, match=r"1001_DFA_JOY_XX.wav: .* 6 labels .* got 'JOY'"):
        list_crema_d(crema_d, "hash", 0.2)
    (crema_d / "AudioWAV" / "notes.wav").touch()
    with pytest.raises(RawDataError, match=r"Expected a name such as 1001_DFA_ANG_XX, got notes"):
        list_crema_d(crema_d, "hash", 0.2)


# --- Kinetics-Sounds


@pytest.fixture
def kinetics(tmp_path):
    raw_folders.kinetics_sounds(tmp_path)
    return tmp_path


def test_kinetics_keeps_its_classes_only(kinetics):
    listing = list_kinetics_sounds(kinetics, CLASSES, "test", 0.0)
    names = by_split(listing)
    assert names == {
        "train": [f"-x_{n}_{n:06d}_{n + 10:06d}" for n in range(4)],
        "test": [f"-x_{n}_{n:06d}_{n + 10:06d}" for n in (4, 5)],
    }
    assert listing.class_names == CLASSES
    assert all(clip.video.is_file() and clip.video == clip.audio for clip in listing.clips)


def test_kinetics_class_without_clips(kinetics):
    with pytest.raises(RawDataError, match=r"train\.csv: .* 3 classes, got none of yodelling"):
        list_kinetics_sounds(kinetics, (*CLASSES, "yodelling"), "test", 0.2)


def test_kinetics_other_columns(kinetics):
    path = kinetics / "annotations" / "test.csv"
    path.write_text(path.read_text().replace("label,", "", 1))
    with pytest.raises(RawDataError, match=r"columns label, youtube_id, .*got youtube_id"):
        list_kinetics_sounds(kinetics, CLASSES, "test", 0.2)
    with pytest.raises(RawDataError, match=r"Expected val\.csv or validate\.csv, got none"):
        list_kinetics_sounds(kinetics, CLASSES, "val", 0.2)


def test_kinetics_takes_replacements_of_broken_clips(kinetics):
    name = "-x_0_000000_000010.mp4"
    (kinetics / "replacement").mkdir()
    (kinetics / "replacement" / name).touch()
    listing = list_kinetics_sounds(kinetics, CLASSES, "test", 0.2)
    assert listing.clips[0].video == kinetics / "replacement" / name


# --- AVE


@pytest.fixture
def ave(tmp_path):
    raw_folders.ave(tmp_path)
    return tmp_path


def test_ave_keeps_and_counts_repeated_rows(ave):
    listing = list_ave(ave)
    assert by_split(listing) == {
        "train": ["a-1", "b_2", "a-1#2"], "validation": ["c"], "test": ["d", "b_2#2"],
    }  # fmt: skip
    assert [clip.label for clip in listing.clips[:3]] == [
        "Church bell", "Baby cry, infant cry", "Bark",
    ]  # fmt: skip
    assert listing.notes == [
        "1 videos are listed more than once in train",
        "1 file is in several splits: b_2.mp4 (train: b_2, test: b_2#2)",
        "2 files are listed with several labels: a-1.mp4 (Church bell: a-1, Bark: a-1#2); "
        "b_2.mp4 (Baby cry, infant cry: b_2, Church bell: b_2#2)",
    ]
    assert len(CATEGORIES) == 28 == len(listing.class_names)


def test_ave_unknown_category_and_short_row(ave):
    path = ave / "valSet.txt"
    path.write_text("Barking&c&good&0&0\n")
    with pytest.raises(RawDataError, match=r"valSet\.txt, line 1: .*28 labels.*got 'Barking'"):
        list_ave(ave)
    path.write_text("Bark&c&good\n")
    with pytest.raises(RawDataError, match=r"line 1: Expected 5 cells, got 3: 'Bark&c&good'"):
        list_ave(ave)


# --- VGGSound


@pytest.fixture
def vggsound(tmp_path):
    raw_folders.vggsound(tmp_path)
    return tmp_path


def test_vggsound_finds_clips_by_any_of_their_names(vggsound):
    listing = list_vggsound(vggsound, 0.0)
    assert listing.class_names == ["bird chirping, tweeting", "zebra braying"]
    found = {clip.id: str(clip.video.relative_to(vggsound)) for clip in listing.clips}
    assert found == {
        "a-b_000001": "a-b_000001.mp4",
        "c_000020": "clips/vc_20_30_out.mkv",
        "d_000003": "d_000003.mp4",
        "e_000000": "e_0_10000.mp4",
        "f_000005": "test/f_000005.mp4",
    }


@pytest.mark.parametrize(
    "row,message",
    [
        ("g,1,zebra braying,dev", "line 6: Expected the split train or test, got 'dev'"),
        ("g,1.5,zebra braying,test", r"line 6: Expected a whole number, got '1\.5'"),
        ("g,1,zebra,test", "line 6: .* 2 labels of train .* got 'zebra' in test"),
        ("f,5,zebra braying,train", "line 6: Expected a new id, got 'f_000005' of .*line 5"),
        ("g,1,a label, without quotes,test", "line 6: Expected 4 cells, got 5"),
    ],
)
def test_vggsound_bad_rows(vggsound, row, message):
    with (vggsound / "vggsound.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(RawDataError, match=message):
        list_vggsound(vggsound, 0.0)


# --- UCF101


@pytest.fixture
def ucf101(tmp_path):
    raw_folders.ucf101(tmp_path)
    return tmp_path


def groups(listing, split):
    names = [clip.id for clip in listing.clips if clip.split == split]
    return {re.sub(r"_c\d+$", "", name) for name in names}


def test_ucf101_keeps_groups_apart(ucf101):
    listing = list_ucf101(ucf101, 1, "group", 0.2)
    train, validation, test = (groups(listing, s) for s in ("train", "validation", "test"))
    assert not (train & validation or train & test or validation & test)
    assert len(validation) == 2  # one of the three groups of each class
    labels = collections.Counter(c.label for c in listing.clips if c.split == "validation")
    assert labels == {"ApplyEyeMakeup": 2, "HandstandPushups": 2}
    assert listing.class_names == ["ApplyEyeMakeup", "HandstandPushups"]
    assert listing.notes == ["official split 1"]
    assert all(clip.id.startswith(f"{clip.group}_c") for clip in listing.clips)
    assert all(clip.video.is_file() and clip.audio is None for clip in listing.clips)


def test_ucf101_says_when_groups_are_shared(ucf101):
    listing = list_ucf101(ucf101, 1, "example", 0.2)
    shared = groups(listing, "train") & groups(listing, "validation")
    assert shared
    assert listing.notes[1] == f"{len(shared)} groups are in both train and validation"


def test_ucf101_bad_lists(ucf101):
    lists = ucf101 / "ucfTrainTestlist"
    with pytest.raises(RawDataError, match=r"trainlist02\.txt: Expected a list, got no such"):
        list_ucf101(ucf101, 2, "group", 0.2)
    (lists / "testlist01.txt").write_text("ApplyEyeMakeup/strange.avi\n")
    with pytest.raises(RawDataError, match=r"testlist01\.txt, line 1: Expected <class>/v_<class>"):
        list_ucf101(ucf101, 1, "group", 0.2)
    (lists / "testlist01.txt").write_text("Yoga/v_Yoga_g01_c01.avi\n")
    with pytest.raises(RawDataError, match=r"line 1: .*2 labels .* got 'Yoga' in test"):
        list_ucf101(ucf101, 1, "group", 0.2)
    (lists / "classInd.txt").write_text("one ApplyEyeMakeup\n")
    with pytest.raises(RawDataError, match=r"classInd\.txt, line 1: Expected a whole number, got"):
        list_ucf101(ucf101, 1, "group", 0.2)


# --- names that would lead to other files


LISTED = {
    "crema_d": (lambda f: list_crema_d(f, "list", 0.2), "train.csv", "{},ANG\n"),
    "kinetics_sounds": (
        lambda f: list_kinetics_sounds(f, CLASSES, "test", 0.25),
        "annotations/train.csv",
        "label,youtube_id,time_start,time_end\ntap dancing,{},0,10\n",
    ),
    "ave": (list_ave, "trainSet.txt", "Bark&{}&good&0&10\n"),
    "vggsound": (lambda f: list_vggsound(f, 0.25), "vggsound.csv", "{},1,zebra braying,train\n"),
    "ucf101": (
        lambda f: list_ucf101(f, 1, "group", 0.2),
        "ucfTrainTestlist/trainlist01.txt",
        "ApplyEyeMakeup/{}_g01_c01.avi 1\n",
    ),
    "mvsa": (list_mvsa, "train.jsonl", '{{"id": "{}", "label": "neutral"}}\n'),
}


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", "x" * 256])
@pytest.mark.parametrize("data_set", LISTED)
def test_names_that_are_paths_are_refused(tmp_path, data_set, name):
    list_clips, file, line = LISTED[data_set]
    getattr(raw_folders, data_set)(tmp_path)
    (tmp_path / file).write_text(line.format(name))
    with pytest.raises(
        RawDataError, match=rf"{file}, line \d: Expected a name, which becomes that"
    ):
        list_clips(tmp_path)


def test_a_class_of_ucf101_is_no_path(tmp_path):
    raw_folders.ucf101(tmp_path)
    path = tmp_path / "ucfTrainTestlist" / "trainlist01.txt"
    path.write_text("../v_x_g01_c01.avi 1\n")
    with pytest.raises(RawDataError, match=r"line 1: Expected a name, .* '\.\.', which names no"):
        list_ucf101(tmp_path, 1, "group", 0.2)


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "1.5", "²"])
def test_numbers_that_are_none(tmp_path, number):
    raw_folders.vggsound(tmp_path)
    (tmp_path / "vggsound.csv").write_text(f"a,{number},zebra braying,train\n")
    with pytest.raises(RawDataError, match="line 1: Expected a whole number, got"):
        list_vggsound(tmp_path, 0.25)


def test_cells_that_no_file_keeps(tmp_path):
    raw_folders.vggsound(tmp_path)
    for label in ("zebra\0braying", '"zebra\nbraying"'):
        (tmp_path / "vggsound.csv").write_text(f"a,1,{label},train\n")
        with pytest.raises(RawDataError, match=r"line \d: Expected cells without zero bytes and"):
            list_vggsound(tmp_path, 0.25)


@pytest.mark.parametrize(
    "line", ["[" * 100_000, "1", '{"id": 1}', '{"id": 1, "label": ' + "9" * 5000]
)
def test_lines_of_json_that_describe_no_tweet(tmp_path, line):
    raw_folders.mvsa(tmp_path)
    (tmp_path / "dev.jsonl").write_text(line)
    with pytest.raises(RawDataError, match=r"dev\.jsonl, line 1: Expected {\"id\": \.\., "):
        list_mvsa(tmp_path)


def test_tweets_may_hold_any_mark_of_unicode(tmp_path):
    raw_folders.mvsa(tmp_path)
    text = '{"id": "4", "label": "neutral", "text": "a\u2028b\x85c"}\n'
    (tmp_path / "dev.jsonl").write_text(text, encoding="utf-8")
    assert by_split(list_mvsa(tmp_path))["validation"] == ["4"]


def test_lists_of_tweets_are_utf_8(tmp_path):
    raw_folders.mvsa(tmp_path)
    (tmp_path / "dev.jsonl").write_bytes(b'{"id": "4", "label": "\xff"}')
    with pytest.raises(
        RawDataError, match=r"dev\.jsonl: Expected UTF-8, got .*\. Save it as UTF-8"
    ):
        list_mvsa(tmp_path)
