import wave

import av
import numpy as np
import pytest

from tcmax_jax.data.features import fit_length
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.media import read_audio, read_frames
from tcmax_jax.data.pictures import decode_flow, decode_image, encode_image
from tests.data.media_files import RATE, flat_frames, quadrants, tone, write_media

LEVELS = np.arange(30, 230, 20)  # One grey per frame of a clip of one second.
CONTAINERS = [
    ("clip.mp4", "libx264", "aac"),
    ("clip.mkv", "libx264", "aac"),
    ("clip.mkv", "mjpeg", "pcm_s16le"),
    ("clip.avi", "mpeg4", "pcm_s16le"),
    ("clip.ts", "libx264", "aac"),
]


@pytest.fixture
def sound(tmp_path):
    return write_media(tmp_path / "sound.wav", audio=tone(1.0, onset=0.5))


@pytest.fixture
def video(tmp_path):
    return write_media(tmp_path / "video.avi", frames=flat_frames(LEVELS))


def shown(path, **options):
    """Index of each frame that was read."""
    levels = read_frames(path, short_side=16, **options).mean(axis=(1, 2, 3))
    return [int(np.abs(LEVELS - level).argmin()) for level in levels]


def test_pcm_sound_is_exact(sound):
    np.testing.assert_allclose(read_audio(sound, rate=RATE), tone(1.0, onset=0.5), atol=1e-4)


@pytest.mark.parametrize("start,end", [(0.4, 0.6), (0.25, None), (None, 0.75), (0.12345, 0.54321)])
def test_sound_is_cut_to_the_sample(sound, start, end):
    audio = read_audio(sound, rate=RATE, start=start, end=end)
    first, last = round((start or 0) * RATE), round((end or 1) * RATE)
    assert audio.dtype == np.float32
    np.testing.assert_allclose(audio, tone(1.0, onset=0.5)[first:last], atol=1e-4)


def test_sound_ends_with_the_clip(sound):
    assert len(read_audio(sound, rate=RATE, start=0.9, end=3.0)) == round(0.1 * RATE)


def test_resampled_sound_keeps_its_place(tmp_path):
    path = write_media(tmp_path / "sound.wav", audio=tone(1.0, rate=44100), rate=44100)
    audio = read_audio(path, rate=RATE, start=0.3, end=0.7)
    np.testing.assert_allclose(audio, tone(1.0)[round(0.3 * RATE) : round(0.7 * RATE)], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    left, right = tone(0.2), tone(0.2, hertz=1000.0)
    path = write_media(tmp_path / "stereo.wav", audio=np.stack([left, right]))
    np.testing.assert_allclose(read_audio(path, rate=RATE), (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize("channels", [6, 8, 16])
def test_many_channels_are_averaged(tmp_path, channels):
    """With eight planes of sound and more PyAV crashes the process."""
    waves = np.stack([tone(0.2, hertz=100.0 * (n + 1)) for n in range(channels)])
    path = tmp_path / "many.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.rint(32767 * waves.T).astype("<i2").tobytes())
    np.testing.assert_allclose(read_audio(path, rate=RATE), waves.mean(axis=0), atol=1e-3)


@pytest.mark.parametrize("name,video_codec,audio_codec", CONTAINERS)
def test_containers(tmp_path, name, video_codec, audio_codec):
    path = write_media(
        tmp_path / name,
        frames=flat_frames(LEVELS),
        audio=tone(1.0, onset=0.5),
        video_codec=video_codec,
        audio_codec=audio_codec,
    )
    audio = read_audio(path, rate=RATE, start=0.3, end=0.8)
    # A transport stream cannot say that the first block of AAC is start-up; its pictures are
    # delayed by as much, so both stay together.
    delay = 1024 / RATE if name.endswith(".ts") else 0.0
    onset = 0.3 + np.argmax(np.abs(audio) > 0.1) / RATE
    assert onset == pytest.approx(0.5 + delay, abs=0.025)
    interval = {"start": 0.2 + delay, "end": 0.7 + delay}
    assert shown(path, count=5, **interval) == [2, 3, 4, 5, 6]


def test_late_sound_is_led_by_zeros(tmp_path):
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=10, width=48, height=32, pix_fmt="yuvj420p")
        sound = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        picture = av.VideoFrame.from_ndarray(quadrants(), format="rgb24")
        container.mux([*video.encode(picture), *video.encode(None)])
        block = av.AudioFrame.from_ndarray(tone(0.5)[None], "fltp", "mono")
        block.sample_rate, block.pts = RATE, round(0.25 * RATE)
        container.mux([*sound.encode(block), *sound.encode(None)])
    expected = np.concatenate([np.zeros(round(0.15 * RATE)), tone(0.5)[: round(0.25 * RATE)]])
    audio = read_audio(path, rate=RATE, start=0.1, end=0.5)
    np.testing.assert_allclose(audio, expected, atol=1e-4)


@pytest.mark.parametrize(
    "options,expected",
    [
        ({"count": 10}, list(range(10))),
        ({"count": 5}, [1, 3, 5, 7, 9]),  # Times 0.1, 0.3, ...: begins of frames.
        ({"count": 1}, [5]),
        ({"count": 2, "start": 0.2, "end": 0.6}, [3, 5]),
        ({"count": 3, "start": 0.55}, [6, 7, 9]),
        ({"count": 4, "start": 0.42, "end": 0.48}, [4, 4, 4, 4]),
        ({"count": 4, "start": 0.7, "end": 1.5}, [8, 9, 9, 9]),
    ],
)
def test_frames_are_evenly_spaced(video, options, expected):
    assert shown(video, **options) == expected


@pytest.mark.parametrize(
    "box,colour",
    [
        ((0, 0, 0.5, 0.5), (255, 0, 0)),
        ((0.5, 0, 1, 0.5), (0, 255, 0)),
        ((0, 0.5, 0.5, 1), (0, 0, 255)),
        ((0.6, 0.6, 0.9, 0.9), (255, 255, 255)),
    ],
)
def test_box_is_cropped_in_rgb(tmp_path, box, colour):
    frames = quadrants((64, 96))[None]
    path = write_media(tmp_path / "colours.avi", frames=frames)
    picture = read_frames(path, count=1, short_side=20, box=box)[0]
    inner = picture[4:-4, 4:-4].astype(int)
    np.testing.assert_allclose(inner, np.broadcast_to(colour, inner.shape), atol=20)


@pytest.mark.parametrize(
    "short_side,box,shape",
    [
        (16, (0, 0, 1, 1), (16, 24)),
        (64, (0, 0, 1, 1), (64, 96)),
        (16, (0, 0, 0.5, 1), (21, 16)),
        (8, (0.999, 0.999, 1, 1), (8, 8)),
    ],
)
def test_short_side_and_aspect(video, short_side, box, shape):
    frames = read_frames(video, count=2, short_side=short_side, box=box)
    assert frames.shape == (2, *shape, 3) and frames.dtype == np.uint8


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_still_picture_is_a_clip_of_one_frame(tmp_path, ending):
    path = tmp_path / f"still.{ending}"
    path.write_bytes(encode_image(quadrants(), lossless=ending == "png"))
    (frame,) = read_frames(path, count=1, short_side=32)
    difference = np.abs(frame.astype(int) - decode_image(path.read_bytes()))
    # FFmpeg and OpenCV spread the coarser colours of JPEG differently at edges.
    assert (np.median if ending == "jpg" else np.max)(difference) == 0
    again = read_frames(path, count=3, short_side=32)
    assert (again == frame).all()


def test_missing_file(tmp_path):
    with pytest.raises(
        MediaError, match=r"none\.mp4: Expected a media file, got none there.*Correct"
    ):
        read_audio(tmp_path / "none.mp4", rate=RATE)


def test_streams_that_are_not_there(sound, video):
    with pytest.raises(MediaError, match=r"Expected a decodable audio stream, got video\. Use"):
        read_audio(video, rate=RATE)
    with pytest.raises(MediaError, match=r"Expected a decodable video stream, got audio\. Use"):
        read_frames(sound, count=1, short_side=16)


@pytest.mark.parametrize("content", [b"", b"no media at all" * 100])
def test_broken_file(tmp_path, content):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"broken\.mp4: Expected decodable audio, got .*replace"):
        read_audio(path, rate=RATE)
    with pytest.raises(MediaError, match=r"broken\.mp4: Expected decodable video, got .*replace"):
        read_frames(path, count=1, short_side=16)


def test_nothing_inside_the_interval(sound, video):
    with pytest.raises(MediaError, match=r"sound from 2 s to 3 s, got a clip of 1\.00 s\. Correct"):
        read_audio(sound, rate=RATE, start=2.0, end=3.0)
    with pytest.raises(MediaError, match=r"frames from 1\.5 s to its end, got a clip of 1\.00 s"):
        read_frames(video, count=1, short_side=16, start=1.5)


@pytest.mark.parametrize(
    "samples,fill,expected",
    [
        (3, "tile", [1, 2, 3]),
        (8, "tile", [1, 2, 3, 1, 2, 3, 1, 2]),
        (6, "zero", [0, 1, 2, 3, 0, 0]),
        (1, "zero", [2]),
        (1, "tile", [2]),
    ],
)
def test_fit_length(samples, fill, expected):
    fitted = fit_length(np.array([1.0, 2.0, 3.0]), samples, fill)
    assert fitted.dtype == np.float32 and fitted.tolist() == expected


def test_fit_length_refuses_another_fill():
    with pytest.raises(ValueError, match=r"Expected 'tile' or 'zero', got 'mirror'\. Choose"):
        fit_length(np.ones(3), 5, "mirror")


def test_images_survive_encoding():
    picture = quadrants()
    np.testing.assert_array_equal(decode_image(encode_image(picture, lossless=True)), picture)
    inner = decode_image(encode_image(picture))[2:10, 2:18].astype(int)
    np.testing.assert_allclose(inner, np.broadcast_to((255, 0, 0), inner.shape), atol=6)


@pytest.mark.parametrize("encoded", [b"", b"no image"])
def test_decode_image_refuses_other_bytes(encoded):
    with pytest.raises(ValueError, match=rf"got {len(encoded)} other bytes\. Pass"):
        decode_image(encoded)


def test_decode_flow_refuses_other_pictures():
    with pytest.raises(MediaError, match="flow as two pictures above each other, got 3 rows"):
        decode_flow(encode_image(np.zeros((3, 4, 3), np.uint8)))
