"""What media files may ask for: sizes beyond all limits, and other files, are refused."""

import fractions
import struct
import time
import wave
import zlib

import av
import numpy as np
import pytest

from tcmax_jax.data import limits
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.media import containers, read_audio, read_frame_pairs, read_frames
from tcmax_jax.data.pictures import declared_size, decode_image, encode_image
from tests.data.media_files import RATE, flat_frames, quadrants, tone, write_media

LEVELS = [40, 90, 140, 190]
READERS = [
    lambda path: read_frames(path, count=2, short_side=16),
    lambda path: read_frame_pairs(path, count=2, short_side=16),
]
LISTS = {
    "list.mp4": "ffconcat version 1.0\nfile real.ts\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\nreal.ts\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_other_files_are_refused(tmp_path, name):
    frames, audio = flat_frames(LEVELS), tone(0.4)
    write_media(tmp_path / "real.ts", frames=frames, audio=audio, audio_codec="aac")
    (tmp_path / name).write_text(LISTS[name])
    for read in (*READERS, lambda path: read_audio(path, rate=RATE)):
        with pytest.raises(MediaError, match=f"{name}: Expected a media file, got a playlist"):
            read(tmp_path / name)


def test_no_format_opens_another_file(tmp_path, monkeypatch):
    """Also where a list is not known by its beginning."""
    monkeypatch.setattr(containers, "_BEGINNINGS", {})
    frames, audio = flat_frames(LEVELS), tone(0.4)
    write_media(tmp_path / "real.ts", frames=frames, audio=audio, audio_codec="aac")
    for name, text in LISTS.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError, match=f"{name}: Expected decodable audio"):
            read_audio(tmp_path / name, rate=RATE)


def test_a_name_is_no_pattern(tmp_path):
    (tmp_path / "picture1.png").write_bytes(encode_image(quadrants(), lossless=True))
    with pytest.raises(MediaError, match=r"picture%d\.png: Expected a media file, got none there"):
        read_frames(tmp_path / "picture%d.png", count=1, short_side=16)


@pytest.mark.parametrize("name", ["a\0.mp4", "x" * 5000 + ".mp4"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(MediaError, match=r"Expected a media file, got none there\. Correct"):
        read_audio(tmp_path / name, rate=RATE)


@pytest.mark.parametrize("read", READERS)
def test_large_pictures_are_refused_by_what_the_file_declares(tmp_path, monkeypatch, read):
    path = write_media(tmp_path / "large.avi", frames=flat_frames(LEVELS, size=(240, 320)))
    monkeypatch.setattr(limits, "MAX_PIXELS", 240 * 320)
    read(path)
    monkeypatch.setattr(limits, "MAX_PIXELS", 240 * 320 - 1)
    message = r"large\.avi: Expected pictures of at most 76799 pixels, got 320 x 240\. Re-encode"
    with pytest.raises(MediaError, match=message) as error:
        read(path)
    assert error.value.reason == "picture too large"


def growing(path, sizes):
    """Writes a stream of JPEG pictures, which may differ in size."""
    with av.open(str(path), "w") as container:
        height, width = sizes[0]
        stream = container.add_stream("mjpeg", rate=10, width=width, height=height)
        stream.pix_fmt = "yuvj420p"
        for number, size in enumerate(sizes):
            packet = av.Packet(encode_image(quadrants(size)))
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base = fractions.Fraction(1, 10)
            container.mux(packet)
    return path


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "limit,message",
    [
        (2**26, "pictures of one size, got 24 x 16, 16 x 16 after resizing. Re-encode"),
        (400 * 400 - 1, "at most 159999 pixels, got 400 x 400. Re-encode"),  # of the frame
        (50_000, "growing.mkv: Expected decodable video, got"),  # in the decoder
    ],
)
def test_pictures_that_change_their_size(tmp_path, monkeypatch, read, limit, message):
    path = growing(tmp_path / "growing.mkv", 2 * [(160, 240)] + 2 * [(400, 400)])
    monkeypatch.setattr(limits, "MAX_PIXELS", limit)
    with pytest.raises(MediaError, match=message):
        read(path)


@pytest.mark.parametrize("read", READERS)
def test_strips_are_not_blown_up(tmp_path, monkeypatch, read):
    path = growing(tmp_path / "strip.mkv", 2 * [(2, 20_000)])
    monkeypatch.setattr(limits, "MAX_PIXELS", 2_000_000)
    with pytest.raises(MediaError, match=r"strip\.mkv, resized: .*got 160000 x 16\. Re-encode"):
        read(path)


@pytest.mark.parametrize("read", READERS)
def test_too_many_frames(tmp_path, monkeypatch, read):
    path = write_media(tmp_path / "long.avi", frames=flat_frames(LEVELS))
    monkeypatch.setattr(limits, "MAX_FRAMES", 4)
    read(path)
    monkeypatch.setattr(limits, "MAX_FRAMES", 3)
    with pytest.raises(MediaError, match=r"long\.avi: Expected at most 3 frames, got more\. Cut"):
        read(path)


def test_too_much_sound(tmp_path, monkeypatch):
    path = write_media(tmp_path / "long.wav", audio=tone(1.0))
    monkeypatch.setattr(limits, "MAX_SAMPLES", 4000)
    assert len(read_audio(path, rate=RATE, start=0.5, end=0.75)) == 4000
    with pytest.raises(MediaError, match=r"at most 4000 samples, got more\. Name start and end"):
        read_audio(path, rate=RATE)
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.5)
    with pytest.raises(MediaError, match=r"long\.wav: Expected sound of at most 0\.5 s, got more"):
        read_audio(path, rate=RATE, start=0.5, end=0.75)


def late(path, seconds):
    """Writes a sound whose time stamps begin late."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        picture = container.add_stream("mjpeg", rate=10, width=48, height=32, pix_fmt="yuvj420p")
        container.mux(picture.encode(av.VideoFrame.from_ndarray(quadrants(), format="rgb24")))
        block = av.AudioFrame.from_ndarray(tone(0.1)[None], "fltp", "mono")
        block.sample_rate, block.pts = RATE, round(seconds * RATE)
        container.mux([*sound.encode(block), *sound.encode(None), *picture.encode(None)])
    return path


def test_silence_before_late_sound_takes_no_memory_beyond_the_limit(tmp_path):
    begun = time.monotonic()
    # Eight hours in, 1.8 GB of silence; then more than the whole may last.
    with pytest.raises(MediaError, match=r"at most 268435456 samples, got more\. Name start"):
        read_audio(late(tmp_path / "late.mkv", 8 * 3600), rate=RATE)
    with pytest.raises(MediaError, match=r"sound of at most 131072 s, got more\. Cut it"):
        read_audio(late(tmp_path / "later.mkv", 200_000), rate=RATE)
    assert time.monotonic() - begun < 5


def test_low_rates_are_not_blown_up(tmp_path, monkeypatch):
    path = write_media(tmp_path / "slow.flac", audio=tone(1.0), audio_codec="flac", rate=100)
    monkeypatch.setattr(limits, "MAX_SAMPLES", RATE)
    with pytest.raises(MediaError, match=r"at most 16000 samples a frame, got more\. Re-encode"):
        read_audio(path, rate=RATE)


def test_high_rates_are_refused(tmp_path):
    """Filters grow with the rate: at 1 GHz a short file takes seconds."""
    path = tmp_path / "fast.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 2**30, 0, "NONE", ""))
        file.writeframes(bytes(2000))
    with pytest.raises(MediaError, match=r"at most 1048576 Hz, got 1073741824\. Re-encode"):
        read_audio(path, rate=RATE)


def png(width, height):
    """A PNG file that declares a size, and holds a few rows of it."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def jpeg(width, height):
    """A JPEG file that declares another size than it has."""
    encoded = encode_image(quadrants())
    at = encoded.index(b"\xff\xc0") + 5
    return encoded[:at] + struct.pack(">HH", height, width) + encoded[at + 4 :]


@pytest.mark.parametrize("make", [png, jpeg])
@pytest.mark.parametrize("size", [(8192, 8193), (40_000, 40_000)])  # the latter OpenCV refuses
def test_large_images_are_refused_by_what_they_declare(make, size):
    with pytest.raises(MediaError, match=f"at most 67108864 pixels, got {size[0]} x {size[1]}"):
        decode_image(make(*size))


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("size", [(32, 48), (1, 7)])
def test_declared_size_is_that_of_the_picture(size, lossless):
    encoded = encode_image(np.zeros((*size, 3), np.uint8), lossless=lossless)
    assert declared_size(encoded) == size[::-1]


def test_thumbnails_and_garbage_do_not_hide_the_size():
    encoded, small = encode_image(quadrants()), encode_image(quadrants((2, 2)))
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    for extra in (thumbnail, b"\xff\xff\xff", b"\xff\x01", b"\xff\x00"):
        mixed = encoded[:2] + extra + encoded[2:]
        assert declared_size(mixed) == (48, 32)
        assert decode_image(mixed).shape == (32, 48, 3)
    # libjpeg skips this, but OpenCV does not know the file by its beginning.
    behind = encoded[:20] + b"garbage" + encoded[20:]
    assert declared_size(behind) == (48, 32)
    assert decode_image(behind).shape == (32, 48, 3)


@pytest.mark.parametrize("lossless", [True, False])
def test_headers_that_end_early(lossless):
    encoded = encode_image(quadrants(), lossless=lossless)
    whole = encoded.index(b"IEND") + 4 if lossless else encoded.index(b"\xff\xc0") + 9
    for length in range(whole):
        assert declared_size(encoded[:length]) is None
        with pytest.raises(MediaError, match="Expected an encoded image, got"):
            decode_image(encoded[:length])


def test_chunks_that_declare_more_than_the_file_has():
    """OpenCV would take and fill 4 GiB for this one."""
    encoded = encode_image(quadrants(), lossless=True)
    at = encoded.index(b"IDAT") - 4
    begun = time.monotonic()
    with pytest.raises(MediaError, match="Expected an encoded image, got"):
        decode_image(encoded[:at] + b"\xff" + encoded[at + 1 :])
    assert time.monotonic() - begun < 1


def test_other_kinds_of_pictures_are_refused():
    bitmap = b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 58, 0, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0
    )
    with pytest.raises(MediaError, match=r"got 58 other bytes\. Pass the bytes of a JPEG or PNG"):
        decode_image(bitmap + bytes(4))
