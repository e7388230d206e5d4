"""A process that decodes and reads with processes of its own until it is killed.

MARK=NAME python -m tests.data.working FOLDER PROCESSES

It prints a line before it starts them, and one when all of them work. What they put into /dev/shm
has a name that holds the mark.
"""

import multiprocessing
import os
import sys
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np

from tcmax_jax.data.clips import Clip
from tcmax_jax.data.pipeline import Process, Readers, train_batches
from tcmax_jax.data.preparation.chunks import Chunk
from tcmax_jax.data.preparation.decode import decode_chunks

# In the children too, which import this file; there is no public way to name these.
shared_memory._SHM_NAME_PREFIX = f"/{os.environ['MARK']}"
multiprocessing.current_process()._config["semprefix"] = f"/{os.environ['MARK']}"

RECORDS = [{"label": 0, "noise": number} for number in range(8)]


class Noise:
    """What is stored of a clip: nothing that was recorded."""

    encoded = False

    def read(self, clip):
        """Returns the content, its length and a remark."""
        del clip
        return np.zeros(100), None, None


def noise(value, seed):
    """Returns an input large enough for shared memory."""
    return np.random.default_rng(seed).normal(size=100_000) + value


if __name__ == "__main__":
    print("starting", flush=True)
    folder, processes = Path(sys.argv[1]), int(sys.argv[2])  # so many of each kind
    clips = [Clip(str(number), "train", "dog") for number in range(10**4)]
    chunks = [Chunk(folder / f"{clip.id}.npz", [clip]) for clip in clips]
    readers = Readers(threads=1, workers=processes)
    options = {"batch_size": 4, "epochs": 10**6, "seed": 0}
    batches = train_batches(
        RECORDS, {"noise": noise}, readers=readers, process=Process(), **options
    )
    decoded = decode_chunks({"noise": Noise()}, chunks, processes)
    for number, _ in enumerate(zip(decoded, batches, strict=False)):
        if number == processes:
            print("working", flush=True)
