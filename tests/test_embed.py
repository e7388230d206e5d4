"""experiments/embed.py with two small functions in place of CLIP."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tcmax_jax.data.array_files import read_row
from tcmax_jax.data.clips import Clip
from tcmax_jax.data.pictures import encode_image
from tests.data.media_files import flat_frames

SCRIPT = Path(__file__).parents[1] / "experiments" / "embed.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("embed_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mean_level(pictures):
    return np.array([[picture.mean(), picture.shape[1]] for picture in pictures])


def length(texts):
    return np.array([[len(text)] for text in texts])


@pytest.fixture
def folder(tmp_path):
    """Five pairs in the layout of MVSA-Single."""
    (tmp_path / "data").mkdir()
    for number, level in enumerate(range(50, 150, 20)):
        picture = encode_image(flat_frames([level])[0], lossless=True)
        (tmp_path / "data" / f"{number}.png").write_bytes(picture)
    splits = {"train": [0, 1, 2], "dev": [3], "test": [4]}
    for split, numbers in splits.items():
        entries = [
            {"id": n, "img": f"data/{n}.png", "text": "é" * n, "label": "x"} for n in numbers
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n")
    return tmp_path


def check(script, pairs, out):
    script.embed(pairs, mean_level, length, out, batch=2)
    for number, level in enumerate(range(50, 150, 20)):
        clip = Clip(str(number), "train", "x")
        np.testing.assert_array_equal(read_row(out / "image.npz", clip), [level, 48])
        np.testing.assert_array_equal(read_row(out / "text.npz", clip), [number])


def test_mvsa(script, folder):
    check(script, list(script.mvsa_pairs(folder)), folder)


def test_any_list(script, folder):
    rows = "".join(f"{n},data/{n}.png,{'é' * n}\n" for n in range(5))
    (folder / "pairs.csv").write_text("id,image,text\n" + rows)
    check(script, list(script.listed_pairs(folder / "pairs.csv")), folder)


def test_pictures_that_cannot_be_read_are_named(script, folder):
    (folder / "data" / "3.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"3\.png: Expected an encoded image, got 7 other bytes"):
        script.embed(list(script.mvsa_pairs(folder)), mean_level, length, folder, batch=2)
    (folder / "data" / "3.png").unlink()
    with pytest.raises(ValueError, match=r"3\.png: Expected a picture, got no such file"):
        script.embed(list(script.mvsa_pairs(folder)), mean_level, length, folder, batch=2)
    assert not list(folder.glob("*.npz"))
