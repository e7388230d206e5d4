"""Claims about files of arrays: where each example is found, and what is refused."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.numpy as safetensors

from tcmax_jax.data.array_files import check_rows, read_row, table, write_arrays, write_features
from tcmax_jax.data.clips import Clip, RawDataError
from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.forms import Arrays, Features
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.preparation.prepare import prepare
from tcmax_jax.data.sources.manifest import ManifestData
from tests.data.small_forms import ALONE

ROWS = np.arange(6, dtype=np.float64).reshape(3, 2)
IDS = ["a", "b é", "c"]
CLIP = Clip("b é", "train", "cat", row=1)


def folder_of(path):
    (path / "image").mkdir()
    for name, row in zip(IDS, ROWS, strict=True):
        np.save(path / "image" / f"{name}.npy", row)
    return path / "image"


def npz_of(path):
    write_features(path / "image.npz", IDS, ROWS)
    return path / "image.npz"


def npy_of(path):
    np.save(path / "image.npy", ROWS)
    return path / "image.npy"


def named_of(path):
    np.savez(path / "image.npz", **dict(zip(IDS, ROWS, strict=True)))
    return path / "image.npz"


def tensors_of(path):
    safetensors.save_file({"rows": ROWS}, path / "image.safetensors")
    return path / "image.safetensors"


def named_tensors_of(path):
    rows = dict(zip(IDS, ROWS, strict=True))
    safetensors.save_file(rows, path / "image.safetensors")
    return path / "image.safetensors"


KINDS = [folder_of, npz_of, npy_of, named_of, tensors_of, named_tensors_of]


def read_feature(path, clip, size):
    return Features(path=str(path), size=size).read(clip).value


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_finds_its_row(tmp_path, kind):
    feature = read_feature(kind(tmp_path), CLIP, 2)
    np.testing.assert_array_equal(feature, np.float32([2, 3]), strict=True)


def test_arrays_of_other_lengths_are_written_by_id(tmp_path):
    """Also under ids that are arguments of numpy.savez, and one array alone."""
    arrays = {name: np.arange(n, dtype=np.int32) for n, name in enumerate(("file", "b é", "c"), 1)}
    for some in (arrays, {"b é": arrays["b é"]}):
        write_arrays(tmp_path / "x.npz", some)
        np.testing.assert_array_equal(read_row(tmp_path / "x.npz", CLIP), [0, 1])
        assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
    with pytest.raises(ValueError, match=r"x\.npz: Expected other ids than 'ids', which names"):
        write_arrays(tmp_path / "x.npz", {"ids": arrays["c"], "d": arrays["c"]})


@pytest.mark.parametrize("kind", KINDS)
def test_other_sizes_are_refused(tmp_path, kind):
    with pytest.raises(MediaError, match=r"image.*\(b é\): Expected \[3\] numbers, .* got \[2\]"):
        read_feature(kind(tmp_path), CLIP, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(tmp_path, bad):
    write_features(tmp_path / "x.npz", ["b é"], [[0.0, bad]])
    with pytest.raises(MediaError, match=r"\(b é\): Expected finite float32 numbers, got NaN or"):
        read_feature(tmp_path / "x.npz", CLIP, 2)


def objects(path):
    np.savez(path / "x.npz", ids=np.array(["b é"], object), features=ROWS[:1])


def without_array(path):
    np.savez(path / "x.npz", ids=np.array(IDS), a=ROWS, b=ROWS)


def unequal(path):
    np.savez(path / "x.npz", ids=np.array(IDS), features=ROWS[:2])


def repeated(path):
    write_features(path / "x.npz", ["b é", "b é"], ROWS[:2])


def truncated(path):
    write_features(path / "x.npz", IDS, ROWS)
    (path / "x.npz").write_bytes((path / "x.npz").read_bytes()[:100])


def missing_id(path):
    write_features(path / "x.npz", ["a"], ROWS[:1])


def nothing(path):
    pass


@pytest.mark.parametrize(
    "write,message",
    [
        (objects, "got Python objects, such as rows of different lengths. Save an array for"),
        (without_array, r"Expected `ids` \[N\] \(text\) and `features`.*got 'ids', 'a', 'b'"),
        (unequal, r"got ids \[3\] of <U3 and features \[2, 2\]"),
        (repeated, "Expected every id once, got repeated ones"),
        (truncated, r"Expected plain arrays, got .*\. Write it again"),
        (missing_id, "Expected an array of 'b é', got those of 1 others. Add it"),
        (nothing, "Expected arrays in .npy, .npz or .safetensors, got none there"),
    ],
)
def test_bad_files(tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(MediaError, match=message) as error:
        read_feature(tmp_path / "x.npz", CLIP, 2)
    assert str(error.value).startswith(str(tmp_path / "x.npz"))


def test_bad_file_in_a_folder(tmp_path):
    folder = folder_of(tmp_path)
    (folder / "b é.npy").write_bytes(b"nothing")
    with pytest.raises(MediaError, match=r"b é\.npy: Expected plain arrays"):
        read_feature(folder, CLIP, 2)
    (folder / "b é.npy").unlink()
    with pytest.raises(MediaError, match=r"b é\.npy: Expected arrays in .*, got none there"):
        read_feature(folder, CLIP, 2)


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "..", "a\\b", "a\0b", "x" * 256, "\ud800"])
def test_ids_that_are_paths_name_no_file_in_a_folder(tmp_path, name):
    np.save(tmp_path / "a.npy", ROWS[0])
    with pytest.raises(MediaError, match=r"image: Expected ids that are names of files") as error:
        read_feature(folder_of(tmp_path), CLIP._replace(id=name), 2)
    assert error.value.reason == "id is no file name"


def test_rows_that_are_not_there(tmp_path):
    with pytest.raises(MediaError, match=r"image\.npy: Expected row 3 for 'b é', got \[3, 2\]"):
        read_feature(npy_of(tmp_path), CLIP._replace(row=3), 2)
    np.save(tmp_path / "image.npy", 1.0)
    with pytest.raises(MediaError, match=r"image\.npy: Expected row 1 for 'b é', got \[\]"):
        read_feature(tmp_path / "image.npy", CLIP, 2)
    with pytest.raises(RawDataError, match=r"row for each of the 3 clips of the list, got \[\]"):
        check_rows(tmp_path / "image.npy", 3)


def test_rows_without_names_have_to_be_as_many_as_clips(tmp_path):
    check_rows(npy_of(tmp_path), 3)
    check_rows(npz_of(tmp_path), 4)  # names its clips
    with pytest.raises(RawDataError, match=r"row for each of the 4 clips of the list, got \[3, 2"):
        check_rows(npy_of(tmp_path), 4)


@pytest.mark.parametrize(
    ("rows", "got"),
    [
        (np.array(["x", "y", "z"]), r"\[\] of <U1"),
        (np.zeros((3, 0)), r"\[0\] of float64"),
        (np.zeros((3, 2), complex), r"\[2\] of complex128"),
    ],
)
def test_arrays_of_a_shape_that_no_file_tells(tmp_path, rows, got):
    np.save(tmp_path / "x.npy", rows)
    form = Arrays(path=str(tmp_path / "x.npy")).resolved([CLIP])
    assert form.shape is form.dtype is None
    message = rf"x\.npy \(b é\): Expected an array of numbers, got {got}\. Fix the array"
    with pytest.raises(MediaError, match=message):
        form.read(CLIP)


@pytest.fixture
def settings(tmp_path):
    """Three clips of which nothing but features is there."""
    npz_of(tmp_path)
    write_features(tmp_path / "text.npz", IDS, -ROWS[:, :1])
    listed = "".join(
        f"{name},{split},{label}\n"
        for name, split, label in zip(
            IDS, ["train", "train", "validation"], ["x", "y", "x"], strict=True
        )
    )
    (tmp_path / "list.csv").write_text("id,split,label\n" + listed)
    stored = {
        "image": Features(path="image.npz", size=2),
        "text": Features(path="text.npz", size=1),
    }
    return ManifestData(manifest=str(tmp_path / "list.csv"), stored=stored, **ALONE)


def test_a_data_set_of_features_alone(settings, tmp_path):
    builder = prepare(settings, tmp_path / "data")
    dataset = open_dataset(builder.data_path, ["image", "text"])
    assert builder.info.metadata["kinds"] == {"image": "array", "text": "array"}
    records = {record["id"].decode(): record for record in dataset.sources["train"]}
    np.testing.assert_array_equal(records["b é"]["image"], np.float32([2, 3]), strict=True)
    np.testing.assert_array_equal(records["b é"]["text"], np.float32([-2]), strict=True)


def test_features_that_were_extracted_anew_are_read(settings, tmp_path):
    before = prepare(settings, tmp_path / "data").data_path
    write_features(tmp_path / "text.npz", IDS, ROWS[:, :1])
    after = prepare(settings, tmp_path / "data").data_path
    assert before != after
    assert next(iter(open_dataset(after, ["text"]).sources["validation"]))["text"] == [4]


def test_a_list_without_media_cannot_give_sound(settings, tmp_path):
    from tests.data.small_forms import SOUND

    settings = dataclasses.replace(settings, stored={"audio": SOUND})
    with pytest.raises(
        RawDataError, match=r"line 2: Expected a file for audio, got none\. Name it"
    ):
        prepare(settings, tmp_path / "data")


def test_arrays_of_an_archive_are_read_by_several_threads(tmp_path):
    rows = {f"e{i}": np.arange(i, i + 3) for i in range(300)}
    np.savez(tmp_path / "x.npz", **rows)
    opened = table(tmp_path / "x.npz")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda name: opened.named[name], [*rows] * 4))
    for array, expected in zip(read, [*rows.values()] * 4, strict=True):
        np.testing.assert_array_equal(array, expected)
