"""Clips made for benchmarks: moving clouds and noise, of the size and length of web videos."""

from pathlib import Path

import av
import cv2
import numpy as np

RATE = 22050
FPS = 25


def write_clips(folder: Path, number: int, *, seconds: float, size=(256, 340)) -> Path:
    """Writes H.264 and AAC clips as MP4, and their manifest.

    Args:
        folder: where to.
        number: of clips; a tenth each is validation and test, at least one.
        seconds: length of a clip.
        size: height and width of the pictures in pixels.

    Returns:
        The manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["id,split,label,path"]
    held_out = max(1, number // 10)
    for index in range(number):
        split = ["test", "validation"][index // held_out] if index < 2 * held_out else "train"
        _write_clip(folder / f"{index}.mp4", index, seconds, size)
        rows.append(f"{index},{split},class{index % 2},{index}.mp4")
    # Every class has training clips, since both kinds of index are among them.
    path = folder / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def _write_clip(path: Path, seed: int, seconds: float, size) -> None:
    rng = np.random.default_rng(seed)
    height, width = size
    clouds = cv2.resize(rng.integers(0, 256, (12, 40, 3), np.uint8), (3 * width, height))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        video.height, video.width, video.pix_fmt = height, width, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(round(seconds * FPS)):
            left = 2 * number % (2 * width)
            picture = clouds[:, left : left + width].astype(np.int16)
            picture = picture + rng.integers(-12, 13, picture.shape, np.int16)
            picture = np.clip(picture, 0, 255).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        noise = rng.normal(0, 0.1, (1, round(seconds * RATE))).astype(np.float32)
        block = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
        block.sample_rate, block.pts = RATE, 0
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
