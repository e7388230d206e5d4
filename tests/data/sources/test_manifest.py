import re

import pytest

from tcmax_jax.data.clips import Clip, RawDataError
from tcmax_jax.data.sources.manifest import read_manifest

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
