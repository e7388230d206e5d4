"""Examples a second of small arrays: read in place, one by one, and as prepared records.

    python experiments/benchmarks/arrays.py         # three minutes on 2 CPU cores

An example is a series [32, 6] and a feature [64], float32, in one .npy file each; batches of 512.
`input` is the pipeline alone. `training` is whole steps of TCMax with two dense encoders, from the
feed that training uses, with the share of the time in which it waited for input. Every row is timed
after its first batches, and repeated; the median counts.

Results: experiments/results/benchmark_arrays.md.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from tcmax_jax.data.forms import Arrays
from tcmax_jax.data.inputs import ArrayInput
from tcmax_jax.data.memory import keep_freed_memory
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.models import MLPEncoder
from tcmax_jax.training import passes
from tcmax_jax.training.build import build
from tcmax_jax.training.config import Config, Modality, Training
from tcmax_jax.training.feed import Feed
from tcmax_jax.training.step import training_key

NUMBER, CLASSES = 40_000, 10
WARM_UP = 20  # batches


class OneByOne:
    """A source that gives single records only."""

    def __init__(self, source):
        """Hides that `source` gives whole batches."""
        self._source = source

    def __len__(self):
        """Returns the number of records."""
        return len(self._source)

    def __getitem__(self, index):
        """Returns a record."""
        return self._source[index]


def write(folder: Path) -> Path:
    """Writes the arrays and their list; returns the list's path."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, NUMBER)
    series = rng.normal(size=(NUMBER, 32, 6)) + labels[:, None, None] / CLASSES
    features = rng.normal(size=(NUMBER, 64)) + labels[:, None] / CLASSES
    np.save(folder / "series.npy", series.astype(np.float32))
    np.save(folder / "features.npy", features.astype(np.float32))
    lines = [f"e{i},{'validation' if i % 10 == 0 else 'train'},c{k}" for i, k in enumerate(labels)]
    (folder / "list.csv").write_text("\n".join(["id,split,label", *lines, ""]))
    return folder / "list.csv"


def recipe(path: Path, in_place: bool) -> Config:
    """Returns the run."""
    stored = {"series": Arrays(path="series.npy"), "features": Arrays(path="features.npy")}
    return Config(
        data=ManifestData(manifest=str(path), stored=stored, in_place=in_place, processes=1),
        modalities={
            m: Modality(input=ArrayInput(), encoder=MLPEncoder(sizes=(512, 512, 128)))
            for m in stored
        },
        training=Training(epochs=10_000, batch_size=512, eval_batch_size=512),
    )


def input_rate(setup, seconds: float) -> float:
    """Returns examples/s of the pipeline alone."""
    with contextlib.closing(passes.training_batches(setup, 0)) as batches:
        for _ in range(WARM_UP):
            next(batches)
        begin, number = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            number += len(next(batches)["label"])
        return number / (time.perf_counter() - begin)


def training_rate(setup, seconds: float) -> tuple[float, float]:
    """Returns examples/s of training, and the share of the time spent waiting for input."""
    step = setup.programs.step
    initial = passes.initial_state(setup)
    state, key = setup.parallel.replicate((initial, training_key(setup.config.seed)))
    with contextlib.closing(passes.training_batches(setup, 0)) as batches:
        feed = Feed(batches, setup.parallel.put)
        for _ in range(WARM_UP):
            state, _ = step(state, next(feed), key)
        jax.block_until_ready(state)
        feed.waited()
        begin, steps, pending = time.perf_counter(), 0, []
        while time.perf_counter() - begin < seconds:
            state, metrics = step(state, next(feed), key)
            pending.append(metrics["loss"])
            if len(pending) > 2:  # as in training: no further ahead of the device
                jax.block_until_ready(pending.pop(0))
            steps += 1
        jax.block_until_ready(state)
        passed = time.perf_counter() - begin
        return steps * setup.config.training.batch_size / passed, feed.waited() / passed


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder))
        direct = build(recipe(path, True), folder)
        begin = time.perf_counter()
        records = build(recipe(path, False), folder)
        prepared = time.perf_counter() - begin
        sources = {m: OneByOne(x) for m, x in direct.dataset.sources.items()}
        single = direct._replace(dataset=direct.dataset._replace(sources=sources))
        ways = {
            "in place, whole batches": direct,
            "in place, one by one": single,
            "prepared records": records,
        }
        measured = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, setup in ways.items():
                rates = training_rate(setup, options.seconds)
                measured[name].append((input_rate(setup, options.seconds), *rates))
    print(f"records were prepared in {prepared:.0f} s; {jax.devices()[0].device_kind}")
    print("| | input, examples/s | training, examples/s | waited |\n|---|---|---|---|")
    for name, runs in measured.items():
        alone, whole, waited = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"| {name} | {alone:,.0f} | {whole:,.0f} | {waited:.1%} |")


if __name__ == "__main__":
    main()
