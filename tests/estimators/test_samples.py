"""Samples: what a file may hold, and what is refused with which words."""

import zipfile

import numpy as np
import pytest

from tcmax_jax.estimators import prepare, read_samples
from tcmax_jax.estimators.samples import standardise

X, Y = np.arange(12.0).reshape(4, 3), np.array([5, 9, 5, 5])


class Bomb:
    """Unpickling it would raise."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_a_file_comes_back_as_it_was_written(tmp_path):
    np.savez(tmp_path / "s.npz", x=X, y=Y)
    samples = read_samples(tmp_path / "s.npz")
    assert list(samples) == ["x", "y"]
    np.testing.assert_array_equal(samples["x"], X)


def test_objects_are_refused_and_never_unpickled(tmp_path):
    np.savez(tmp_path / "s.npz", x=X, y=np.array([Bomb()] * 4, dtype=object))
    with pytest.raises(
        ValueError, match=r"arrays of numbers in .*s.npz, got 'y', .* not unpickled"
    ):
        read_samples(tmp_path / "s.npz")
    np.save(tmp_path / "o.npy", np.array([Bomb()], dtype=object))
    with pytest.raises(ValueError, match=r"an \.npz file, got .*o.npy, which is none\. Write"):
        read_samples(tmp_path / "o.npy")


def test_files_that_are_none(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"\.npz file of samples, got .*which does not exist"
    ):
        read_samples(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match=r"an \.npz file, got .*text.npz, which is none"):
        read_samples(tmp_path / "text.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as file:
        file.writestr("notes.txt", "none")
    with pytest.raises(ValueError, match=r"arrays in .*zip.npz, got the file 'notes.txt'"):
        read_samples(tmp_path / "zip.npz")


def damaged(tmp_path, damage, save=np.savez):
    """Returns the path of a file of x and y after `damage`, bytes -> bytes."""
    path = tmp_path / "d.npz"
    save(path, x=X, y=Y)
    path.write_bytes(damage(path.read_bytes()))
    return path


def flip(raw, position):
    """Returns bytes with all bits of one of them turned."""
    return raw[:position] + bytes([raw[position] ^ 255]) + raw[position + 1 :]


def unknown_compression(raw):
    """Returns a file with another compression method of its first member in the directory."""
    return flip(raw, raw.index(b"PK\x01\x02") + 10)


# In a zip file a member begins with 30 bytes and its name, "x.npy"; zip64 fields of 20 follow.
DATA = 30 + len("x.npy") + 20


@pytest.mark.parametrize(
    ("damage", "save", "message"),
    [
        (lambda raw: flip(raw, DATA + 140), np.savez, "'x' cannot be read: Bad CRC-32"),
        (lambda raw: flip(raw, DATA), np.savez_compressed, "'x' cannot be read: Error -3 while"),
        (lambda raw: flip(raw, DATA), np.savez, "'x' cannot be read: "),
        (unknown_compression, np.savez, "'x' cannot be read: That compression method is not supp"),
    ],
    ids=["data", "deflated", "header", "compression"],
)
def test_damaged_arrays(tmp_path, damage, save, message):
    path = damaged(tmp_path, damage, save)
    whole = rf"Expected an undamaged \.npz file, got .*d\.npz, whose array {message}.*Copy or write"
    with pytest.raises(ValueError, match=whole):
        read_samples(path)


def test_damaged_files(tmp_path):
    cut = damaged(tmp_path, lambda raw: raw[: len(raw) // 2])
    with pytest.raises(
        ValueError, match=r"that can be read, got .*d\.npz: File is not a zip file\."
    ):
        read_samples(cut)


@pytest.mark.parametrize(
    ("error", "message"),
    [(EOFError(), "it ends too early"), (OSError("the disk is gone"), "the disk is gone")],
)
def test_reading_that_fails(tmp_path, monkeypatch, error, message):
    """What the checksum does not catch, raised in place of a medium that gives out."""

    def fail(*arguments, **options):
        raise error

    path = damaged(tmp_path, lambda raw: raw)
    monkeypatch.setattr(np.lib.format, "read_array", fail)
    with pytest.raises(ValueError, match=f"array 'x' cannot be read: {message}. Copy or write"):
        read_samples(path)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"x": X}, r"two variables or more.*got \['x'\]\. Store one array a variable"),
        ({"x": X, "y": Y[:3]}, r"as many rows in all arrays, got \{'x': 4, 'y': 3\}\. Row i"),
        ({"x": X, "y": X * np.nan}, "finite numbers in 'y', got 12 NaN or infinite ones. Leave"),
        ({"x": X, "y": np.where(X > 7, np.inf, X)}, "finite numbers in 'y', got 4 NaN"),
        ({"x": X, "y": np.array(list("abcd"))}, "numbers in 'y', got dtype <U1.*numpy.unique"),
        ({"x": X, "y": X * 1j}, "numbers in 'y', got dtype complex128"),
        ({"x": X[:0], "y": Y[:0]}, r"shape \[examples, \.\.\.\], got shape \(0, 3\).*one row an"),
        ({"x": X, "y": np.array(3.0)}, r"got shape \(\), which holds no example"),
        (
            {"x": np.zeros(2000), "y": np.arange(2000)},
            "at most 1000 different labels .* 'y', got 2000.*store them as floats",
        ),
    ],
)
def test_refusals(samples, message):
    with pytest.raises(ValueError, match=message):
        prepare(samples)


def test_labels_become_one_hot_and_numbers_flat():
    samples = prepare(
        {"x": X.reshape(4, 3, 1), "y": Y, "s": X[:, 0], "b": Y > 5, "i": X.astype(int)}
    )
    assert samples.labels == {"y", "b"}
    np.testing.assert_array_equal(samples.arrays["y"], np.eye(2)[[0, 1, 0, 0]])
    shapes = {m: x.shape for m, x in samples.arrays.items()}
    assert shapes == {"x": (4, 3), "y": (4, 2), "s": (4, 1), "b": (4, 2), "i": (4, 3)}


def test_standardised_over_the_rows_fitted_on():
    samples = prepare({"x": np.concatenate([X, 0 * X[:, :1]], axis=1), "y": Y})
    scaled = standardise(samples, np.array([0, 1, 2]))
    np.testing.assert_allclose(scaled["x"][:3, :3].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled["x"][:3, :3].std(0), 1, rtol=1e-6)
    assert np.all(scaled["x"][:, 3] == 0)
    np.testing.assert_array_equal(scaled["y"], samples.arrays["y"])


def test_large_numbers_keep_what_tells_them_apart():
    seconds = np.array([0.0, 1.0, 2.0, 5.0])  # 1.7e9 is one number with its neighbours in float32
    columns = np.stack([1.7e9 + seconds, 1e39 * seconds, 1e300 * seconds, seconds], axis=1)
    scaled = standardise(prepare({"x": columns, "y": Y}), np.arange(4))["x"]
    assert scaled.dtype == np.float32
    expected = (seconds - 2) / np.sqrt((4 + 1 + 0 + 9) / 4)
    np.testing.assert_allclose(scaled, np.repeat(expected[:, None], 4, axis=1), atol=1e-6)


def test_a_constant_column_is_no_noise():
    # The mean of thirty 0.1 is not 0.1 in floating point; their deviation is 0 all the same.
    samples = prepare({"x": np.full((30, 1), 0.1), "y": np.zeros(30, int)})
    np.testing.assert_array_equal(standardise(samples, np.arange(30))["x"], 0)
