"""GRID talker s1 as arrays: log-mel filter banks and mouth crops of spoken words, by time.

    python experiments/grid_arrays.py PATH/manifest.csv grid_arrays  # makes the arrays, a minute
    python launch.py --mode=compare --experiment=grid_arrays

The manifest is that of the recipe grid: six words a clip, 51 classes. Of each word the first
command keeps 40 filter banks every 10 ms and grey mouths of 24 x 24 pixels at 25 a second, with
50 ms on both sides; both are series of varying length, read in place, and encoded by temporal
convolutions.

Hardware and time: 2 CPU cores; the comparison of all methods takes minutes.
Results: experiments/results/grid_arrays.md.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from tcmax_jax.data.forms import Arrays
from tcmax_jax.data.inputs import SeriesInput
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.models import TemporalEncoder
from tcmax_jax.training.config import Comparison, Config, Modality, Training
from tcmax_jax.training.optimizer import SGD, Cosine

RATE, BANKS = 16_000, 40  # Hz; filter banks
FRAME_RATE, SIZE = 25, 24  # pictures a second; pixels
BOX = (0.29, 0.61, 0.58, 0.885)  # the mouth: left, top, right, bottom as shares of the picture
MARGIN = 0.05  # seconds before and after a word


def config():
    """Returns the recipe."""
    return Config(
        name="grid_arrays",
        data=ManifestData(
            manifest="grid_arrays/list.csv",
            stored={"audio": Arrays(path="audio.npz"), "mouth": Arrays(path="mouth.npz")},
        ),
        modalities={
            "audio": Modality(input=SeriesInput(), encoder=TemporalEncoder(width=32, kernel=3)),
            "mouth": Modality(
                input=SeriesInput(standardize=True), encoder=TemporalEncoder(width=32, kernel=3)
            ),
        },
        optimizer=SGD(learning_rate=0.05, schedule=Cosine(warmup_epochs=1.0), clip_norm=1.0),
        training=Training(epochs=8, batch_size=64, eval_batch_size=200, log_every=20),
        comparison=Comparison(seeds=(0,)),
    )


def read_clip(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns sound [samples] at 16 kHz and grey mouths uint8 [frames, SIZE, SIZE] of a clip."""
    import av
    import cv2

    from tcmax_jax.data.media import read_audio

    left, top, right, bottom = BOX
    mouths = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            grey = frame.to_ndarray(format="gray")
            height, width = grey.shape
            rows = slice(round(top * height), round(bottom * height))
            columns = slice(round(left * width), round(right * width))
            mouths.append(cv2.resize(grey[rows, columns], (SIZE, SIZE), None, 0, 0, cv2.INTER_AREA))
    return read_audio(path, rate=RATE), np.stack(mouths)


def cut(sound, mouths, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns filter banks float16 [T, BANKS] and mouths uint8 [T', SIZE * SIZE] of a word."""
    from tcmax_jax.data.features import log_filter_bank

    start, end = max(start - MARGIN, 0.0), end + MARGIN
    banks = log_filter_bank(sound[round(start * RATE) : round(end * RATE)], rate=RATE, bins=BANKS)
    first = min(round(start * FRAME_RATE), len(mouths) - 1)
    last = max(round(end * FRAME_RATE), first + 1)
    return banks.T.astype(np.float16), mouths[first:last].reshape(-1, SIZE * SIZE)


def make_arrays(manifest: Path, folder: Path) -> None:
    """Writes audio.npz, mouth.npz and list.csv of the words of a manifest."""
    with manifest.open(newline="") as file:
        words = list(csv.DictReader(file))
    audio, mouth, clip, path = {}, {}, None, None
    for word in words:
        if word["path"] != path:
            path = word["path"]
            clip = read_clip(manifest.parent / path)
        cuts = cut(*clip, float(word["start"]), float(word["end"]))
        audio[word["id"]], mouth[word["id"]] = cuts
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "audio.npz", **audio)
    np.savez(folder / "mouth.npz", **mouth)
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split", "label"])
        writer.writerows((w["id"], w["split"], w["label"]) for w in words)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("folder", type=Path)
    make_arrays(**vars(parser.parse_args()))
