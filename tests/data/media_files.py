"""Tiny media files for tests."""

import fractions
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


def write_frames(path: Path, frames, times, codec="libx264", b_frames=0, gop=12, **options) -> Path:
    """Write pictures uint8 [T, H, W, 3] that come on display at `times`, in milliseconds.

    The last of `times` is when the last picture ends, where the container can say that.
    """
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.bit_rate, stream.gop_size = 2_000_000, gop
        stream.time_base = stream.codec_context.time_base = fractions.Fraction(1, 1000)
        stream.codec_context.max_b_frames = b_frames
        spans = dict(zip(times, np.diff(times).tolist(), strict=False))
        packets = []
        for picture, time in zip(frames, times, strict=False):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, stream.time_base
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)]:
            packet.duration = spans[packet.pts]
            container.mux(packet)
    return path


def write_sound(path: Path, blocks, codec="pcm_s16le", rate=RATE) -> Path:
    """Write sound float32 [samples] whose blocks begin at given samples: {begin: block}."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.time_base = fractions.Fraction(1, rate)
        for begin, samples in blocks.items():
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], "fltp", "mono")
            block.sample_rate, block.pts = rate, begin
            block.time_base = stream.time_base
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return path
