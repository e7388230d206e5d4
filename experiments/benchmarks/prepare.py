"""Clips a second that preparation decodes on one core, and what a large data set would take.

    python experiments/benchmarks/prepare.py          # two minutes on 2 CPU cores

Clips of ten seconds (340 x 256 at 25 frames a second, H.264 and AAC) become a log-spectrogram and
four frames of short side 256, as in experiments/vggsound.py. Decoding is timed with one process and
with all cores, process starts included; then TFDS writes the records, alone and in one process. The
extrapolation to 200 000 clips divides decoding by the cores and leaves writing as it is: it holds
where storage keeps up, which was not measured. Results: experiments/results/benchmark_prepare.md.
"""

import argparse
import tempfile
import time
from pathlib import Path

from made_clips import write_clips

from tcmax_jax.cores import usable_cores
from tcmax_jax.data.forms import Frames, LogSpectrogram
from tcmax_jax.data.preparation.chunks import chunks_of
from tcmax_jax.data.preparation.decode import decode_chunks
from tcmax_jax.data.preparation.prepare import prepare
from tcmax_jax.data.sources.manifest import ManifestData, read_manifest

STORED = {
    "audio": LogSpectrogram(rate=22050, seconds=10.0, fill="tile", n_fft=256, hop=128),
    "visual": Frames(count=4, short_side=256, box=(0, 0, 1, 1)),
}
VGGSOUND = 200_000


def decode_seconds(clips, folder: Path, processes: int) -> float:
    """Returns the seconds that decoding all clips takes."""
    folder.mkdir()
    begin = time.perf_counter()
    for _ in decode_chunks(STORED, chunks_of(clips, folder), processes):
        pass
    return time.perf_counter() - begin


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=160)
    number = parser.parse_args().clips
    cores = usable_cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_clips(folder / "raw", number, seconds=10.0)
        clips = read_manifest(manifest).clips
        train = [clip._replace(split="train") for clip in clips]
        one = decode_seconds(train, folder / "one", 1)
        many = decode_seconds(train, folder / "many", cores)
        settings = ManifestData(
            manifest=str(manifest), stored=STORED, allow_skipped=False, processes=cores, beam=None
        )
        begin = time.perf_counter()
        builder = prepare(settings, folder / "data")
        writing = max(time.perf_counter() - begin - many, 0.0)
        size = sum(file.stat().st_size for file in Path(builder.data_path).iterdir())
    print(f"{number} clips of 10 s, {size / number / 2**20:.2f} MiB a record; {cores} cores")
    print(f"decoding, 1 process:   {number / one:6.1f} clips/s")
    print(
        f"decoding, {cores} processes: {number / many:6.1f} clips/s, "
        f"{number / many / cores:.1f} a core"
    )
    print(f"writing:               {number / writing:6.1f} clips/s")
    for machine in (16, 256):
        hours = VGGSOUND / 3600 * (many * cores / number / machine + writing / number)
        print(f"{VGGSOUND} clips on {machine} cores: {hours:.2f} h (extrapolated)")


if __name__ == "__main__":
    main()
