import dataclasses
import re
import shutil

import numpy as np
import pytest

from tcmax_jax.data.clips import Clip, RawDataError
from tcmax_jax.data.forms import Arrays, Frames
from tcmax_jax.data.sources.manifest import ManifestData, read_manifest
from tcmax_jax.section import SectionError
from tests.made_arrays import ids_of, write_list

HEADER = "id,split,label,path,start,end\n"
FIRST = "a,train,cat,a.mp4,,\n"


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "manifest.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_rows(write, tmp_path):
    path = write(HEADER + FIRST + "b,test,cat,clips/b.mp4,0.5, 1.25\n")
    first, second = read_manifest(path).clips
    media = tmp_path / "a.mp4"
    assert first == Clip(
        "a", "train", "cat", media, media, None, None, f"{path}, line 2", tmp_path, 0
    )
    media = tmp_path / "clips" / "b.mp4"
    assert second == Clip(
        "b", "test", "cat", media, media, 0.5, 1.25, f"{path}, line 3", tmp_path, 1
    )


def test_optional_columns_may_be_left_out(write):
    (clip,) = read_manifest(write("label,path,id,split\ncat,a.mp4,a,train\n")).clips
    assert (clip.label, clip.start, clip.end) == ("cat", None, None)


def test_separate_sound(write, tmp_path):
    text = "id,split,label,path,audio_path\na,train,cat,a.mp4,a.wav\nb,train,cat,b.mp4,\n"
    first, second = read_manifest(write(text)).clips
    assert (first.video, first.audio) == (tmp_path / "a.mp4", tmp_path / "a.wav")
    assert second.audio == second.video == tmp_path / "b.mp4"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_byte_order_mark_and_line_ends(write, encoding):
    text = (HEADER + "a,train,Bär,a.mp4,,\n").replace("\n", "\r\n")
    assert read_manifest(write(text, encoding)).clips[0].label == "Bär"


def test_groups_and_weights(write):
    text = "id,split,label,group,weight\na,train,cat,Ann,2.5\nb,test,cat,,0\nc,test,cat,Bob,\n"
    clips = read_manifest(write(text)).clips
    assert [(clip.group, clip.weight) for clip in clips] == [("Ann", 2.5), ("", 0.0), ("Bob", 1.0)]
    (clip,) = read_manifest(write("id,split,label\na,train,cat\n")).clips
    assert (clip.group, clip.weight) == ("", 1.0)


def test_a_file_of_each_modality(write, tmp_path):
    text = "id,split,label,path,pose_path\na,train,cat,a.mp4,pose/a.npy\nb,train,cat,b.mp4,\n"
    first, second = read_manifest(write(text), modalities=("sound", "pose")).clips
    assert first.files == (("pose", tmp_path / "pose" / "a.npy"),)
    assert first.of("pose").video == tmp_path / "pose" / "a.npy"
    assert first.of("sound").video == tmp_path / "a.mp4"
    assert second.files == () and second.of("pose").video == tmp_path / "b.mp4"


def test_a_file_of_a_modality_may_not_lead_out(write):
    path = write("id,split,label,pose_path\na,train,cat,../a.npy\n")
    with pytest.raises(RawDataError, match=r"line 2: Expected a path inside .*got '\.\./a\.npy'"):
        read_manifest(path, modalities=("pose",))
    (clip,) = read_manifest(path, modalities=("pose",), outside_paths=True).clips
    assert clip.files == (("pose", path.parent / "../a.npy"),)


def test_files_of_unknown_modalities_are_refused(write):
    path = write("id,split,label,pose_path\na,train,cat,a.npy\n")
    message = (
        r"Expected the columns id, label and optionally split, path, audio_path, start, end, "
        r"group, weight, sound_path, text_path; got id, split, label, pose_path, which has unknown "
        r"'pose_path'\. Correct the first line"
    )
    with pytest.raises(RawDataError, match=message):
        read_manifest(path, modalities=("sound", "text"))


@pytest.mark.parametrize("weight", ["x", "-1", "nan", "inf", "2e9", "1,5"])
def test_weights_that_are_none(write, weight):
    path = write(f'id,split,label,weight\na,train,cat,1\nb,train,cat,"{weight}"\n')
    message = (
        rf"manifest\.csv, line 3: Expected weight, a number from 0 to 1e\+09, got '{weight}'\. "
        "Correct it or leave it empty"
    )
    with pytest.raises(RawDataError, match=message):
        read_manifest(path)


def test_a_group_in_two_splits_names_both_lines(write):
    path = write("id,split,label,group\na,train,cat,Ann\nb,train,cat,\nc,test,cat,Ann\n")
    message = r"manifest\.csv, line 4: .*the group 'Ann' .*test and train \(.*csv, line 2\)"
    with pytest.raises(RawDataError, match=message):
        read_manifest(path)


def test_paths_may_be_left_out(write, tmp_path):
    (clip,) = read_manifest(write("id,split,label\na,train,cat\n")).clips
    assert (clip.video, clip.audio, clip.folder) == (None, None, tmp_path)


LEADING_OUT = ["/x/a.mp4", "../a.mp4", "clips/../../a.mp4", "./..", "..", "//x/a.mp4"]


@pytest.mark.parametrize("column", ["path", "audio_path"])
@pytest.mark.parametrize("outside", LEADING_OUT)
def test_paths_that_lead_out_are_refused(write, outside, column):
    header = "id,split,label,path,audio_path\n"
    cells = ["a.mp4", outside] if column == "audio_path" else [outside, ""]
    path = write(header + "a,train,cat,a.mp4,\nb,train,cat," + ",".join(cells) + "\n")
    message = (
        rf"manifest\.csv, line 3: Expected a path inside .*, got '{re.escape(outside)}', which "
        r"leads out of it\. .*data\.outside_paths=true"
    )
    with pytest.raises(RawDataError, match=message):
        read_manifest(path)


@pytest.mark.parametrize("outside", LEADING_OUT)
def test_paths_that_lead_out_may_be_allowed(write, tmp_path, outside):
    path = write(HEADER + f"a,train,cat,{outside},,\n")
    (clip,) = read_manifest(path, outside_paths=True).clips
    assert clip.video == clip.audio == tmp_path / outside


@pytest.mark.parametrize("inside", ["clips/../a.mp4", "./a.mp4", "a.mp4"])
def test_paths_that_stay_inside(write, tmp_path, inside):
    (clip,) = read_manifest(write(HEADER + f"a,train,cat,{inside},,\n")).clips
    assert clip.video == tmp_path / "a.mp4"


def test_dots_in_names_lead_nowhere(write, tmp_path):
    (clip,) = read_manifest(write(HEADER + "a,train,cat,..a/b..mp4,,\n")).clips
    assert clip.video == tmp_path / "..a" / "b..mp4"


def test_links_are_followed_but_not_left_through_dots(write, tmp_path):
    """The folder behind a link has another parent, which "link/.." must not mean."""
    store = tmp_path / "elsewhere" / "store"
    store.mkdir(parents=True)
    (store / "a.mp4").touch()
    (store.parent / "b.mp4").touch()
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "link").symlink_to(store)
    (folder / "list.csv").write_text(
        HEADER + "a,train,cat,link/a.mp4,,\nb,train,cat,link/../b.mp4,,\n"
    )
    first, second = read_manifest(folder / "list.csv").clips
    assert first.video.is_file()
    assert second.video == folder / "b.mp4" and not second.video.exists()


def test_labels_are_those_of_train_sorted(write):
    path = write(HEADER + "a,train,dog,a,,\nb,train,cat,b,,\nc,test,dog,c,,\n")
    assert read_manifest(path).class_names == ["cat", "dog"]


@pytest.mark.parametrize(
    "text,message",
    [
        ("", r"got none, which lacks 'id', 'label'\. Correct the first line"),
        ("id,split,lable,path\n", r"got id, split, lable, path, which lacks 'label'"),
        ("id,split,label,path,strat\n", r"which has unknown 'strat'\. Correct"),
        ("id,split,label,path,path\n", r"which repeats 'path'\. Correct"),
        (HEADER, r"Expected at least one clip of the split train, got 0 others\. Add"),
        (HEADER + "a,test,cat,a,,\n", r"Expected at least one clip of the split train, got 1"),
        (HEADER + ",train,cat,a,,\n", r"line 2: Expected a value for id, got an empty cell\. Fill"),
        (HEADER + "a,,cat,a,,\n", r"line 2: Expected a value for split, got an empty cell"),
        (HEADER + "a,train, ,a,,\n", r"line 2: Expected a value for label, got an empty cell"),
        (HEADER + FIRST + "b,train,cat\n", r"line 3: Expected a value for path, got an empty"),
        (HEADER + FIRST + "\na,test,cat,b,,\n", r"line 4: Expected a new id, got 'a' of .*line 2"),
        (HEADER + "a,dev,cat,a,,\n", r"line 2: Expected the split train, .*got 'dev'\. Use one"),
        (HEADER + "a,train,cat,a,x,\n", r"line 2: Expected start in seconds, .*got 'x'\. Correct"),
        (HEADER + "a,train,cat,a,nan,\n", r"line 2: Expected start .*got 'nan'\. Correct"),
        (HEADER + "a,train,cat,a,,inf\n", r"line 2: Expected end .*got 'inf'\. Correct"),
        (HEADER + "a,train,cat,a,-1,\n", r"line 2: Expected start .*got '-1'\. Correct"),
        (
            HEADER + "a,train,cat,a,2,2\n",
            r"line 2: Expected end after start, got start 2 and end 2",
        ),
        (HEADER + "a,train,cat,a,,0\n", r"line 2: Expected end after start, got start 0 and end 0"),
        (
            HEADER + FIRST + "b,test,cow,b,,\n",
            r"line 3: Expected one of the 1 labels of train \(cat\), got 'cow' in test",
        ),
        (HEADER + "a,train,cat,a,1,2,3\n", r"line 2: Expected 6 cells, got 7\. Put cells"),
        (HEADER + "a,train,cat,a,1e9999,\n", r"start .* from 0 to 1e\+09, got '1e9999'\. Correct"),
        (HEADER + "a,train,cat,a,1e300,\n", r"line 2: Expected start .*got '1e300'\. Correct"),
        (HEADER + "a\0b,train,cat,a,,\n", r"line 2: Expected cells without zero bytes .*'a\\x00b'"),
        (HEADER + 'a,train,"c\nat",a,,\n', r"line 3: Expected cells without .*'c\\nat'\. Correct"),
        (HEADER + 'a,train,"c\rat",a,,\n', r"line 3: Expected cells without .*'c\\rat'\. Correct"),
        (
            HEADER + f"a,train,cat,{'x' * 256},,\n",
            r"line 2: Expected a path of at most 4095 bytes, of names of at most 255, got 'x{60}'",
        ),
        (HEADER + f"a,train,cat,{'é/' * 1400},,\n", r"line 2: Expected a path of at most 4095"),
        (HEADER + f"a,train,{'x' * 200_000},a,,\n", r"got 'field larger than field limit \(1"),
        (HEADER + 'a,train,cat,"a,,\n', r"line 2: Expected CSV, got .*\. Correct the quotes"),
    ],
)
def test_errors_name_the_place_and_the_value(write, text, message):
    with pytest.raises(RawDataError, match=message):
        read_manifest(write(text))


def test_missing_file(tmp_path):
    with pytest.raises(RawDataError, match=r"Expected a CSV file, got none there\. Correct"):
        read_manifest(tmp_path / "none.csv")


def test_other_encoding(write):
    with pytest.raises(RawDataError, match=r"Expected UTF-8, got .*\. Save it as UTF-8"):
        read_manifest(write(HEADER + "a,train,Bär,a,,\n", "latin-1"))


def source_of(path, **options):
    """The data set of a list, with a file of arrays of one modality that nobody reads here."""
    stored = options.pop("stored", {"pose": Arrays(path="pose.npy")})
    return ManifestData(manifest=str(path), stored=stored, **options)


def without_splits(folder, number=40, **columns):
    return write_list(folder / "list.csv", [i % 2 for i in range(number)], **columns)


def in_eight_groups(folder):
    return without_splits(folder, group=[f"g{i // 5}" for i in range(40)])


def sizes(source):
    """Returns the number of clips of train, validation and test."""
    splits = [clip.split for clip in source.list_clips().clips]
    return tuple(splits.count(name) for name in ("train", "validation", "test"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Of 20 clips of each class: 3 are 0.15, 5 are a fourth, and 2 are 0.15 of the other 15.
        ({}, (34, 6, 0)),
        ({"validation_share": 0.25}, (30, 10, 0)),
        ({"test_share": 0.25}, (26, 4, 10)),
        ({"test_share": 0.25, "validation_share": 0.2}, (24, 6, 10)),
        ({"folds": 5, "fold": 4, "validation_share": 0.25}, (24, 8, 8)),
    ],
)
def test_a_list_without_splits_is_split_within_its_classes(tmp_path, options, expected):
    source = source_of(without_splits(tmp_path), **options)
    assert sizes(source) == expected
    listing = source.list_clips()
    assert list(listing.class_names) == ["c0", "c1"]
    for split in ("train", "validation"):
        labels = [clip.label for clip in listing.clips if clip.split == split]
        assert labels.count("c0") == labels.count("c1")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # Of eight groups of five: one is 0.15, two are a fourth, and one is 0.15 of the other six.
        ({}, (35, 5, 0)),
        ({"test_share": 0.25}, (25, 5, 10)),
        ({"held_out_group": "g6"}, (30, 5, 5)),
        ({"folds": 3}, (20, 5, 15)),
        ({"folds": 3, "fold": 2}, (25, 5, 10)),
    ],
)
def test_a_list_without_splits_is_split_by_its_groups(tmp_path, options, expected):
    source = source_of(in_eight_groups(tmp_path), **options)
    assert sizes(source) == expected
    clips = source.list_clips().clips
    assert len({(clip.group, clip.split) for clip in clips}) == 8
    if "held_out_group" in options:
        assert {clip.group for clip in clips if clip.split == "test"} == {"g6"}


def test_every_clip_is_tested_in_one_fold(tmp_path):
    path = in_eight_groups(tmp_path)
    tested = []
    for fold in range(3):
        clips = source_of(path, folds=3, fold=fold).list_clips().clips
        tested += [clip.id for clip in clips if clip.split == "test"]
    assert sorted(tested) == sorted(ids_of(40))


def test_splits_of_a_list_stay_and_only_a_share_that_is_asked_for_moves(tmp_path):
    path = without_splits(tmp_path, split=["train"] * 30 + ["test"] * 10)
    assert sizes(source_of(path)) == (30, 0, 10)
    assert sizes(source_of(path, validation_share=0.2)) == (24, 6, 10)


@pytest.mark.parametrize(
    "options", [{"test_share": 0.2}, {"folds": 3}, {"folds": 3, "fold": 1}, {"held_out_group": "a"}]
)
def test_a_list_with_splits_is_not_split_again(tmp_path, options):
    source = source_of(without_splits(tmp_path, split=["train"] * 40), **options)
    message = (
        r"list\.csv: Expected a list without the column split for test_share, folds and "
        r"held_out_group, got one with it\. Remove the column, or those fields"
    )
    with pytest.raises(RawDataError, match=message):
        source.list_clips()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"test_share": 0.2, "folds": 3},
            "Expected one of test_share, folds, held_out_group, got test_share and folds",
        ),
        ({"folds": 3, "held_out_group": "a"}, "got folds and held_out_group"),
        (
            {"test_share": 0.2, "folds": 3, "held_out_group": "a"},
            "got test_share and folds and held_out_group",
        ),
        ({"folds": 3, "fold": 3}, r"fold to be less than folds=3, got 3\. They count from 0"),
        ({"fold": 1}, "fold to be less than folds=None, got 1"),
        ({"folds": 1}, "Expected folds: integer >= 2 or null, got 1"),
        ({"fold": -1, "folds": 3}, "Expected fold: integer >= 0, got -1"),
        ({"test_share": 1.0}, "Expected test_share: number >= 0 and < 1, got 1"),
        (
            {"in_place": True, "stored": {"pose": Arrays(path="pose.npy"), "visual": Frames()}},
            r"Expected arrays alone with in_place=true, got media for visual\. Leave in_place out",
        ),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
    with pytest.raises(SectionError, match=message):
        source_of("list.csv", **options)


@pytest.fixture
def pose_files(tmp_path):
    """A list that names a file of arrays for each clip."""
    folder = tmp_path / "poses"
    folder.mkdir()
    for number, name in enumerate(ids_of(6)):
        np.save(folder / f"{name}.npy", np.float32([number, -number]))
    return without_splits(folder, 6, pose_path=[f"{name}.npy" for name in ids_of(6)])


def test_the_name_of_the_content_is_that_of_what_comes_of_it(pose_files, tmp_path):
    source = source_of(pose_files, stored={"pose": Arrays()})
    name = source.content_name()
    assert name.startswith("poses-")
    same = [{"in_place": True}, {"in_place": False}, {"outside_paths": True}, {"processes": 1}]
    assert {dataclasses.replace(source, **each).content_name() for each in same} == {name}
    other = [
        {"validation_share": 0.2}, {"test_share": 0.2}, {"folds": 3}, {"folds": 3, "fold": 1},
        {"folds": 3, "fold": 2}, {"folds": 2}, {"held_out_group": "g0"}, {"held_out_group": "g1"},
    ]  # fmt: skip
    names = {dataclasses.replace(source, **each).content_name() for each in other}
    assert len(names - {name}) == len(other)
    shutil.copytree(pose_files.parent, tmp_path / "elsewhere" / "poses")
    moved = str(tmp_path / "elsewhere" / "poses" / "list.csv")
    assert dataclasses.replace(source, manifest=moved).content_name() == name


def test_other_bytes_of_an_array_give_the_content_another_name(pose_files):
    source = source_of(pose_files, stored={"pose": Arrays()})
    before = source.content_name()
    np.save(pose_files.parent / "e5.npy", np.float32([5, -6]))
    changed = source.content_name()
    np.save(pose_files.parent / "e5.npy", np.float32([5, -5]))
    np.save(pose_files.parent / "e6.npy", np.float32([6, -6]))  # which the list does not name
    assert changed != before == source.content_name()
