"""Examples a second of the training input, against a loader of the usual kind over files.

    python experiments/benchmarks/pipeline.py         # three minutes on 2 CPU cores

An example is three frames of 224 x 224 out of pictures of short side 256 (random resized crop,
flip) and a spectrogram of 129 x 862 out of 129 x 1723; batches of 32 on the host. `files` is what
PyTorch code for these data sets does, without its framework: a JPEG file a frame through Pillow,
crop and bilinear resize there, float32 and normalised on the host, an unpickled float32 spectrogram
a clip, worker processes that send whole batches. The others are the pipeline of this project, which
leaves floats to the device: one ArrayRecord read, OpenCV, uint8 and float16. `device crop` leaves
crop and flip to the device as well, and sends whole pictures.

Every row is timed after its first batches; a row with its processes at work is compared by core.
Results: experiments/results/benchmark_pipeline.md.
"""

import argparse
import itertools
import multiprocessing
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np
from made_clips import write_clips
from PIL import Image

from tcmax_jax.cores import usable_cores
from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.forms import Frames, LogSpectrogram
from tcmax_jax.data.inputs import FramesInput, SpectrogramInput, random_crop_box
from tcmax_jax.data.memory import keep_freed_memory
from tcmax_jax.data.pictures import decode_image
from tcmax_jax.data.pipeline import Process, Readers, train_batches
from tcmax_jax.data.preparation.prepare import prepare
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.data.workers import end_with_parent

BATCH = 32
CLIPS = 64  # made for training, each of them many times
SIZE = 224
STEPS = 862
CROP = {"area": (0.08, 1.0), "aspect": (3 / 4, 4 / 3)}
MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])
STORED = {
    "audio": LogSpectrogram(rate=22050, seconds=10.0, fill="tile", n_fft=256, hop=128),
    "visual": Frames(count=3, short_side=256, box=(0, 0, 1, 1)),
}


class Long:
    """A source over and over, as long as a data set: grain's shuffle is slow on tiny ones."""

    def __init__(self, source):
        """Repeats `source`."""
        self._source = source

    def __len__(self):
        """Returns a usual number of clips."""
        return 10_000

    def __getitem__(self, index):
        """Returns a record."""
        return self._source[int(index) % len(self._source)]


class Files:
    """A data set of one JPEG file a frame and one pickle a spectrogram."""

    def __init__(self, folder: Path, source):
        """Writes the files of all records."""
        self.clips = []
        for number in range(CLIPS):
            record = source[number]
            frames = []
            for k, encoded in enumerate(record["visual"]):
                frames.append(folder / f"{number}-{k}.jpg")
                frames[-1].write_bytes(encoded)
            sound = folder / f"{number}.pkl"
            sound.write_bytes(pickle.dumps(record["audio"][:, :STEPS].astype(np.float32)))
            self.clips.append((frames, sound, record["label"]))

    def __getitem__(self, index):
        """Returns one augmented example."""
        paths, sound, label = self.clips[index % len(self.clips)]
        rng = np.random.default_rng(index)
        frames = []
        for path in paths:
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
            top, left, rows, columns = random_crop_box(rng, picture.height, picture.width, **CROP)
            box = (left, top, left + columns, top + rows)
            picture = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
            if rng.random() < 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            frames.append((np.asarray(picture, np.float32) / 255 - MEAN) / STD)
        return np.stack(frames), pickle.loads(sound.read_bytes()), label

    def batch(self, number):
        """Returns a batch."""
        examples = [self[index] for index in range(number * BATCH, (number + 1) * BATCH)]
        return [np.stack(part) for part in zip(*examples, strict=True)]


def file_batches(files: Files, workers: int):
    """Yields batches, made here or by worker processes a few ahead."""
    if not workers:
        yield from map(files.batch, itertools.count())
    with multiprocessing.get_context("spawn").Pool(workers, end_with_parent) as pool:
        yield from pool.imap(files.batch, range(10**6))


def record_batches(source, threads: int, workers: int, visual):
    """Yields batches of the project's pipeline."""
    transforms = {
        "audio": SpectrogramInput(steps=STEPS),
        "visual": visual,
    }
    return train_batches(
        source,
        transforms,
        batch_size=BATCH,
        epochs=10**4,
        seed=0,
        readers=Readers(threads, workers),
        process=Process(),
    )


def whole_pictures(stored, seed):
    """Returns the pictures as they are stored; crop and flip are left to the device."""
    del seed
    return np.stack([decode_image(image) for image in stored])


def rate(batches, seconds: float) -> float:
    """Returns examples a second, after some batches."""
    for _ in range(4):
        next(batches)
    begin, number = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        next(batches)
        number += 1
    return number * BATCH / (time.perf_counter() - begin)


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each row")
    seconds = parser.parse_args().seconds
    cores = usable_cores()
    keep_freed_memory()  # as launch.py does
    cropped = FramesInput(size=SIZE, **CROP)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_clips(folder / "raw", CLIPS * 5 // 4, seconds=3.0)
        settings = ManifestData(
            manifest=str(manifest), stored=STORED, allow_skipped=False, processes=0, beam=None
        )
        path = prepare(settings, folder / "data").data_path
        source = Long(open_dataset(path, list(STORED)).sources["train"])
        (folder / "files").mkdir()
        files = Files(folder / "files", source)
        rows = {
            "files, in the main process": (1, lambda: file_batches(files, 0)),
            f"files, {cores} processes": (cores, lambda: file_batches(files, cores)),
            "records, 1 thread": (1, lambda: record_batches(source, 1, 0, cropped)),
            f"records, {cores} threads": (cores, lambda: record_batches(source, cores, 0, cropped)),
            f"records, {cores} processes": (
                cores, lambda: record_batches(source, 1, cores, cropped)
            ),
            f"records, device crop, {cores} threads": (
                cores, lambda: record_batches(source, cores, 0, whole_pictures)
            ),
        }  # fmt: skip
        base = None
        print(f"{'':<36}{'examples/s':>11}{'a core':>9}{'ratio':>7}{'MiB/example':>13}")
        for title, (used, make) in rows.items():
            batches = make()
            batch = next(batches)
            leaves = batch if isinstance(batch, list) else batch["inputs"].values()
            size = sum(np.asarray(x).nbytes for x in leaves) / BATCH / 2**20
            per_second = rate(batches, seconds)
            if hasattr(batches, "close"):
                batches.close()
            base = base or per_second
            print(
                f"{title:<36}{per_second:>11.0f}{per_second / used:>9.0f}"
                f"{per_second / used / base:>7.1f}{size:>13.2f}"
            )


if __name__ == "__main__":
    main()
