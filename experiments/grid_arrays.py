"""GRID talker s1 as arrays: filter banks and mouths of spoken words, by time, also in noise.

    python experiments/grid_arrays.py PATH/manifest.csv grid_arrays  # makes the arrays, minutes
    python launch.py --mode=compare --experiment=grid_arrays  # without noise
    python launch.py --mode=study --experiment=grid_arrays  # at each level of noise
    python experiments/grid_arrays.py PATH/manifest.csv grid_-10dB --clips=-10  # for recipe grid

The manifest is that of the recipe grid: six words a clip, 51 classes. Of each word the first
command keeps 40 filter banks every 10 ms and grey mouths of 24 x 24 pixels at 25 a second, with
50 ms on both sides; both are series of varying length, read in place, and encoded by temporal
convolutions. It keeps the filter banks again for each level of noise, which is mixed into the
waveform of whole clips: stationary, with the mean spectrum of the talker's training clips, drawn
anew for each clip and the same for all levels. The last command writes the clips' sound at one
level, and a manifest of it and of the pictures as they are.

Hardware and time: 2 CPU cores; a run takes about a minute, the study has 300 (12 methods, 5 levels,
5 seeds).
Results: experiments/results/grid_noise.md.
"""

import argparse
import csv
import zlib
from pathlib import Path

import numpy as np

from tcmax_jax.data.forms import Arrays
from tcmax_jax.data.inputs import SeriesInput
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.models import TemporalEncoder
from tcmax_jax.training.config import Comparison, Config, Modality, Study, Training
from tcmax_jax.training.optimizer import SGD, Cosine

RATE, BANKS = 16_000, 40  # Hz; filter banks
FRAME_RATE, SIZE = 25, 24  # pictures a second; pixels
BOX = (0.29, 0.61, 0.58, 0.885)  # the mouth: left, top, right, bottom as shares of the picture
MARGIN = 0.05  # seconds before and after a word
# File of filter banks: power of a clip over that of the noise, in dB; None without noise.
LEVELS = {
    "audio.npz": None,
    "audio_5dB.npz": 5,
    "audio_0dB.npz": 0,
    "audio_-5dB.npz": -5,
    "audio_-10dB.npz": -10,
}


def config():
    """Returns the recipe."""
    return Config(
        name="grid_arrays",
        data=ManifestData(
            manifest="grid_arrays/list.csv",
            stored={"audio": Arrays(path="audio.npz"), "mouth": Arrays(path="mouth.npz")},
        ),
        modalities={
            "audio": Modality(
                input=SeriesInput(standardize=True), encoder=TemporalEncoder(width=32, kernel=3)
            ),
            "mouth": Modality(
                input=SeriesInput(standardize=True), encoder=TemporalEncoder(width=32, kernel=3)
            ),
        },
        optimizer=SGD(learning_rate=0.05, schedule=Cosine(warmup_epochs=1.0), clip_norm=1.0),
        training=Training(epochs=16, batch_size=64, eval_batch_size=200, log_every=20),
        comparison=Comparison(seeds=(0, 1, 2, 3, 4)),
        study=Study(field="data.stored.audio.path", values=tuple(LEVELS)),
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


def mean_spectrum(sounds) -> np.ndarray:
    """Returns the root mean square magnitude [257] of the spectra of pieces of 512 samples."""
    pieces = np.concatenate([x[: len(x) // 512 * 512].reshape(-1, 512) for x in sounds])
    return np.sqrt(np.mean(np.abs(np.fft.rfft(pieces * np.hanning(512))) ** 2, axis=0))


def add_noise(sound, level: float | None, spectrum, seed: int) -> np.ndarray:
    """Returns a sound [samples] with noise of a spectrum [257], `level` dB below its mean power."""
    if level is None:
        return sound
    white = np.fft.rfft(np.random.default_rng(seed).normal(size=len(sound)))
    at = np.linspace(0, len(spectrum) - 1, len(white))
    noise = np.fft.irfft(white * np.interp(at, np.arange(len(spectrum)), spectrum), len(sound))
    scale = np.sqrt(np.mean(sound**2) / np.mean(noise**2)) * 10 ** (-level / 20)
    return np.float32(sound + scale * noise)


def with_noise(sounds: dict, words: list[dict], level: float | None) -> dict[str, np.ndarray]:
    """Returns sounds {path: [samples]} with the noise that the talker's training clips give."""
    training = {word["path"] for word in words if word["split"] == "train"}
    spectrum = mean_spectrum([sound for path, sound in sounds.items() if path in training])
    return {
        path: add_noise(sound, level, spectrum, zlib.crc32(path.encode()))
        for path, sound in sounds.items()
    }


def read_words(manifest: Path) -> tuple[list[dict], list[str]]:
    """Returns the rows of a manifest, and the paths of their clips."""
    with manifest.open(newline="") as file:
        words = list(csv.DictReader(file))
    return words, list(dict.fromkeys(word["path"] for word in words))


def write_words(path: Path, columns: list[str], words: list[dict]) -> None:
    """Writes some columns of the rows of a manifest."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(words)


def make_arrays(manifest: Path, folder: Path) -> None:
    """Writes the filter banks of each level, mouth.npz and list.csv of the words of a manifest."""
    words, paths = read_words(manifest)
    clips = {path: read_clip(manifest.parent / path) for path in paths}
    folder.mkdir(parents=True, exist_ok=True)
    for name, level in LEVELS.items():
        audio, mouth = {}, {}
        noisy = with_noise({path: sound for path, (sound, _) in clips.items()}, words, level)
        for word in words:
            path, times = word["path"], (float(word["start"]), float(word["end"]))
            audio[word["id"]], mouth[word["id"]] = cut(noisy[path], clips[path][1], *times)
        np.savez(folder / name, **audio)
    np.savez(folder / "mouth.npz", **mouth)
    write_words(folder / "list.csv", ["id", "split", "label"], words)


def make_clips(manifest: Path, folder: Path, level: float) -> None:
    """Writes the sound of each clip of a manifest with noise, as WAV, and list.csv of the words."""
    import av

    from tcmax_jax.data.media import read_audio

    words, paths = read_words(manifest)
    sounds = {path: read_audio(manifest.parent / path, rate=RATE) for path in paths}
    # Numbered, since clips of several folders may have one name.
    files = {path: f"{number}-{Path(path).stem}.wav" for number, path in enumerate(paths)}
    folder.mkdir(parents=True, exist_ok=True)
    for path, sound in with_noise(sounds, words, level).items():
        # Floats: noise may be louder than the largest integer.
        with av.open(str(folder / files[path]), "w") as container:
            stream = container.add_stream("pcm_f32le", rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
    for word in words:
        word["audio_path"] = files[word["path"]]
        word["path"] = str((manifest.parent / word["path"]).resolve())
    columns = ["id", "split", "label", "path", "audio_path", "start", "end"]
    write_words(folder / "list.csv", columns, words)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=float, metavar="DB", help="write clips in noise instead")
    options = parser.parse_args()
    if options.clips is None:
        make_arrays(options.manifest, options.folder)
    else:
        make_clips(options.manifest, options.folder, options.clips)
