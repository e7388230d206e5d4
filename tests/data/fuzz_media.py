"""Damaged media files through the decoders: `python -m tests.data.fuzz_media SEED NUMBER FOLDER`.

A process of its own, so that a crash or a hang in a codec is told from a failure, and does not end
the suite. The file at work is kept as FOLDER/damaged.*; prints how often each outcome came as JSON.
"""

import collections
import json
import random
import sys
import time
from pathlib import Path

import numpy as np

from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.media import read_audio, read_frame_pairs, read_frames
from tcmax_jax.data.pictures import decode_flow, decode_image, encode_flow, encode_image
from tests.data.media_files import flat_frames, quadrants, tone, write_media
from tests.data.mutations import mutated

RATE = 8000
# Seconds: FFmpeg zeroes up to 2 GiB for a text that a RIFF file declares, other work beside it.
SLOWEST = 30.0
FRAMES = flat_frames([40, 90, 140, 190])
SOUND = tone(0.3)
CONTAINERS = {
    "a.mp4": {"frames": FRAMES, "audio": SOUND, "video_codec": "libx264", "audio_codec": "aac"},
    "b.mkv": {"frames": FRAMES, "audio": SOUND, "video_codec": "mjpeg"},
    "c.avi": {"frames": FRAMES, "audio": SOUND},
    "d.ts": {"frames": FRAMES, "audio": SOUND, "video_codec": "libx264", "audio_codec": "aac"},
    "e.wav": {"audio": SOUND},
    "f.flv": {
        "frames": FRAMES, "audio": tone(0.3, rate=44100), "video_codec": "flv1",
        "audio_codec": "libmp3lame", "rate": 44100,
    },
    "g.flac": {"audio": SOUND, "audio_codec": "flac"},
    "h.webm": {"frames": FRAMES, "video_codec": "libvpx-vp9"},
}  # fmt: skip


def main(seed: int, number: int, folder: Path) -> None:
    rng = random.Random(seed)
    whole = [write_media(folder / name, **content) for name, content in CONTAINERS.items()]
    originals = [(path.suffix, path.read_bytes()) for path in whole]
    pictures = [encode_image(quadrants()), encode_image(quadrants(), lossless=True)]
    flow = encode_flow(np.zeros((8, 8, 2)), 1.0)
    outcomes = collections.Counter()
    for _ in range(number):
        ending, content = rng.choice(originals)
        path = folder / f"damaged{ending}"
        path.write_bytes(mutated(content, rng))
        outcomes[outcome(check_sound, path)] += 1
        outcomes[outcome(check_cut, path)] += 1
        outcomes[outcome(check_frames, path)] += 1
        outcomes[outcome(check_pairs, path)] += 1
        outcomes[outcome(check_image, mutated(rng.choice(pictures), rng))] += 1
        outcomes[outcome(check_flow, mutated(flow, rng))] += 1
    print(json.dumps(outcomes))


def outcome(check, given) -> str:
    """Returns what came of it; whatever is not a MediaError passes through."""
    begun = time.monotonic()
    try:
        check(given)
    except MediaError as error:
        result = f"{check.__name__}: refused"
        assert error.reason and str(error)
    else:
        result = f"{check.__name__}: read"
    assert time.monotonic() - begun < SLOWEST, given
    return result


def check_sound(path):
    audio = read_audio(path, rate=RATE)
    assert audio.dtype == np.float32 and audio.ndim == 1 and len(audio)


def check_cut(path):
    assert 0 < len(read_audio(path, rate=RATE, start=0.1, end=0.2)) <= 800


def check_frames(path):
    frames = read_frames(path, count=3, short_side=16)
    assert frames.dtype == np.uint8 and frames.shape[::3] == (3, 3)
    assert min(frames.shape[1:3]) == 16


def check_pairs(path):
    pairs = read_frame_pairs(path, count=2, short_side=16, start=0.1, end=0.3)
    assert len(pairs) == 2 and len({picture.shape for pair in pairs for picture in pair}) == 1


def check_image(encoded):
    image = decode_image(encoded)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def check_flow(encoded):
    flow = decode_flow(encoded)
    assert flow.dtype == np.uint8 and flow.ndim == 3 and flow.shape[2] == 2


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
