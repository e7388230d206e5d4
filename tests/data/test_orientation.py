"""Pictures are read as they are shown: turned, mirrored and stretched as files say."""

import fractions
import shutil
import struct
import subprocess
import zlib

import av
import numpy as np
import pytest

from tcmax_jax.data.media import MediaError, read_frame_pairs, read_frames
from tcmax_jax.data.media.orientation import exif_orientation
from tcmax_jax.data.pictures import decode_image, encode_image
from tests.data.media_files import quadrants, write_media

SIZE = (32, 64)
# What is done to the stored picture before it is shown, by the number of EXIF's Orientation.
SHOWN = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: np.rot90(x, 2),
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}
# The same as rows (a, b), (c, d) of a display matrix: (x, y) is shown at (a x + c y, b x + d y).
MATRIX = {
    1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
    5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
}  # fmt: skip


def with_matrix(path, a, b, c, d):
    """Writes a display matrix into the header of the first track of an MP4 file."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    numbers = [round(x * 2**16) for x in (a, b, 0, c, d, 0, 0, 0)]
    content[at : at + 36] = struct.pack(">8iI", *numbers, 2**30)
    path.write_bytes(content)
    return path


def with_exif(encoded, orientation, order="<"):
    """Puts EXIF of one entry into a JPEG or PNG file."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)
    if encoded.startswith(b"\x89PNG"):
        at = encoded.index(b"IDAT") - 4
        chunk = b"eXIf" + tiff
        chunk = struct.pack(">I", len(tiff)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return encoded[:at] + chunk + encoded[at:]
    segment = b"Exif\0\0" + tiff
    return encoded[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + encoded[2:]


def near(picture, expected):
    """Compares pictures inside of their quarters, which codecs blur at the edges."""
    assert picture.shape == expected.shape
    difference = np.abs(picture.astype(int) - expected)
    assert np.median(difference) <= 6 and difference.mean() < 12


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    return write_media(path, frames=np.stack([quadrants(SIZE)] * 3), video_codec="libx264")


@pytest.mark.parametrize("number", SHOWN)
def test_display_matrix(video, tmp_path, number):
    path = with_matrix(shutil.copy(video, tmp_path / "a.mp4"), *MATRIX[number])
    expected = SHOWN[number](quadrants(SIZE))
    near(read_frames(path, count=1, short_side=32)[0], expected)
    for picture in read_frame_pairs(path, count=1, short_side=32)[0]:
        near(picture, expected)
    # The box is of the picture as it is shown.
    half = read_frames(path, count=1, short_side=16, box=(0, 0, 0.5, 0.5))[0]
    height, width = (side // 2 for side in expected.shape[:2])
    near(half, expected[:height, :width])


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("number", SHOWN)
def test_display_matrix_as_ffmpeg_shows_it(video, tmp_path, number):
    path = with_matrix(shutil.copy(video, tmp_path / "a.mp4"), *MATRIX[number])
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-pix_fmt", "rgb24"]
    shown = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True)
    picture = read_frames(path, count=1, short_side=32)[0]
    near(picture, np.frombuffer(shown.stdout, np.uint8).reshape(picture.shape))


@pytest.mark.parametrize("number", [1, 3, 6, 8])
def test_exif_within_a_video(tmp_path, number):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10, width=SIZE[1], height=SIZE[0])
        stream.pix_fmt = "yuvj420p"
        packet = av.Packet(with_exif(encode_image(quadrants(SIZE)), number))
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        packet.time_base = fractions.Fraction(1, 10)
        container.mux(packet)
    near(read_frames(path, count=1, short_side=32)[0], SHOWN[number](quadrants(SIZE)))


def test_a_matrix_of_zeros_says_nothing(video, tmp_path):
    path = with_matrix(shutil.copy(video, tmp_path / "a.mp4"), 0, 0, 0, 0)
    near(read_frames(path, count=1, short_side=32)[0], quadrants(SIZE))


def test_other_turns_are_refused(video, tmp_path):
    path = with_matrix(shutil.copy(video, tmp_path / "a.mp4"), 0.8, 0.6, -0.6, 0.8)
    with pytest.raises(MediaError, match=r"turned by quarters, got the display matrix .*upright"):
        read_frames(path, count=1, short_side=32)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("number", SHOWN)
def test_exif(tmp_path, number, lossless, order):
    path = tmp_path / ("a.png" if lossless else "a.jpg")
    encoded = with_exif(encode_image(quadrants(SIZE), lossless=lossless), number, order)
    path.write_bytes(encoded)
    assert exif_orientation(encoded) == number
    expected = SHOWN[number](quadrants(SIZE))
    near(read_frames(path, count=1, short_side=32)[0], expected)
    if not lossless:  # OpenCV by itself does the same, with what is stored as pictures.
        near(decode_image(encoded), expected)


def test_exif_that_says_nothing():
    encoded = encode_image(quadrants(SIZE))
    assert exif_orientation(encoded) == 1
    for number in (0, 9, 65535):
        assert exif_orientation(with_exif(encoded, number)) == 1
    whole = with_exif(encoded, 6)
    end = whole.index(b"Exif") + 24  # within the entry
    assert [exif_orientation(whole[:length]) for length in range(end)] == [1] * end


@pytest.mark.parametrize(
    "aspect,shape", [((2, 1), (32, 128)), ((1, 2), (32, 32)), ((1, 1), (32, 64))]
)
def test_pixels_that_are_not_square(tmp_path, aspect, shape):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.sample_aspect_ratio = fractions.Fraction(*aspect)
        frame = av.VideoFrame.from_ndarray(quadrants(SIZE), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert read_frames(path, count=1, short_side=32).shape[1:3] == shape


def test_pixels_that_are_not_square_are_turned_with_the_picture(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.sample_aspect_ratio = fractions.Fraction(2, 1)
        frame = av.VideoFrame.from_ndarray(quadrants(SIZE), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with_matrix(path, *MATRIX[6])
    assert read_frames(path, count=1, short_side=32).shape[1:3] == (128, 32)
