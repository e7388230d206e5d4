"""Tiny media files for tests."""

from pathlib import Path

import av
import numpy as np

RATE = 16000
FPS = 10


def tone(seconds: float, *, rate: int = RATE, onset: float = 0.0, hertz: float = 440.0):
    """A sine that begins at `onset` seconds, silence before it."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time) * (time >= onset)).astype(np.float32)


def flat_frames(levels, size=(32, 48)):
    """Grey pictures uint8 [T, H, W, 3], one per level."""
    frames = np.zeros((len(levels), *size, 3), np.uint8)
    frames += np.asarray(levels, np.uint8)[:, None, None, None]
    return frames


def quadrants(size=(32, 48)):
    """One picture: red, green over blue, white."""
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = 255, 0, 0
    picture[: height // 2, width // 2 :] = 0, 255, 0
    picture[height // 2 :, : width // 2] = 0, 0, 255
    picture[height // 2 :, width // 2 :] = 255, 255, 255
    return picture


def write_media(
    path: Path,
    *,
    frames=None,
    audio=None,
    video_codec="mpeg4",
    audio_codec="pcm_s16le",
    rate=RATE,
    fps=FPS,
) -> Path:
    """Write frames uint8 [T, H, W, 3] and audio float32 [samples] or [channels, samples]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = sound = None
        if frames is not None:
            video = container.add_stream(video_codec, rate=fps)
            video.height, video.width = frames.shape[1:3]
            video.pix_fmt = "yuvj420p" if video_codec == "mjpeg" else "yuv420p"
            video.bit_rate = 2_000_000
        if audio is not None:
            audio = np.atleast_2d(audio)
            layout = {1: "mono", 2: "stereo"}[len(audio)]
            sound = container.add_stream(audio_codec, rate=rate, layout=layout)
        for picture in frames if video else ():
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if video:
            container.mux(video.encode(None))
        if sound:
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), "fltp", layout)
            block.sample_rate, block.pts = rate, 0
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path
