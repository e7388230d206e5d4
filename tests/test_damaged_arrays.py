"""Damaged files of arrays: what is read of them or a ValueError that names the file."""

import random

import numpy as np
import pytest

from tcmax_jax.data.array_files import read_row, write_features
from tcmax_jax.data.clips import Clip
from tcmax_jax.estimators.samples import read_samples
from tcmax_jax.models.convert import read_arrays
from tests.data.mutations import mutated

CLIP = Clip("b", "train", "cat", row=1)
ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)


def npz(path):
    write_features(path, ["a", "b", "c"], ROWS)


def compressed(path):
    np.savez_compressed(path, ids=np.array(["a", "b", "c"]), features=ROWS)


def npy(path):
    np.save(path, ROWS)


def safetensors(path):
    pytest.importorskip("safetensors.numpy").save_file({"features": ROWS}, path)


READERS = {
    "feature": (lambda path: read_row(path, CLIP), (npz, compressed, npy, safetensors)),
    "weights": (read_arrays, (npz, compressed, safetensors)),
    "samples": (read_samples, (npz, compressed)),
}


@pytest.mark.parametrize("number", [300, pytest.param(6_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name,write", [(name, write) for name, (_, writers) in READERS.items() for write in writers]
)
def test_damaged_files_are_read_or_refused(tmp_path, name, write, number):
    rng, read = random.Random(0), READERS[name][0]
    ending = {npy: "npy", safetensors: "safetensors"}.get(write, "npz")
    path = tmp_path / f"a.{ending}"
    write(path)
    whole, refused = path.read_bytes(), 0
    for count in range(number):
        # Each under its own name, since tables are kept.
        path = tmp_path / f"{count}.{ending}"
        path.write_bytes(mutated(whole, rng))
        try:
            read(path)
        except ValueError as error:
            assert path.name in str(error)
            refused += 1
        path.unlink()
    assert 0.1 < refused / number < 1
