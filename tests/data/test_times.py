"""Frames are those on display at a time, and sound lies where its time stamps say."""

import shutil
import subprocess

import numpy as np
import pytest

from tcmax_jax.data import limits
from tcmax_jax.data.media import MediaError, read_audio, read_frame_pairs, read_frames, sound
from tcmax_jax.data.media.times import frames_from, video_end
from tests.data.media_files import RATE, flat_frames, tone, write_frames, write_media, write_sound

LEVELS = np.arange(20, 180, 10)
# Milliseconds; the last one is the end of the last frame.
CONSTANT = [*range(0, 1700, 100)]
# Two long frames, one of them the last.
VARIABLE = [0, 100, 200, 1500, 1540, 1580, 1620, 2000, 2040, 2600, 2700, 2800, 2900, 3000, 3100]
VARIABLE += [3200, 4000]
CONTAINERS = {
    "a.mp4": {}, "a.mov": {}, "a.mkv": {}, "a.flv": {}, "a.ts": {},
    "fragmented.mp4": {"movflags": "frag_keyframe+empty_moov"},
}  # fmt: skip
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def shown(path, **options):
    """Index of each frame that was read."""
    levels = read_frames(path, short_side=16, **options).mean(axis=(1, 2, 3))
    return [int(np.abs(LEVELS - level).argmin()) for level in levels]


def on_display(times, at):
    """Index of the frame on display at milliseconds after the first, by its definition."""
    return max(i for i, time in enumerate(times[:-1]) if time - times[0] <= at)


@pytest.mark.parametrize("late", [0, 700])
@pytest.mark.parametrize("times", [CONSTANT, VARIABLE], ids=["constant", "variable"])
@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("name", CONTAINERS)
def test_frames_are_those_on_display(tmp_path, name, b_frames, times, late):
    stamps = [late + time for time in times]
    options = CONTAINERS[name]
    path = write_frames(tmp_path / name, flat_frames(LEVELS), stamps, b_frames=b_frames, **options)
    end = times[-1] / 1000
    at = (np.arange(20) + 0.5) * times[-1] / 20
    expected = [on_display(stamps, time + 1e-6) for time in at]
    assert shown(path, count=20, start=0.0, end=end) == expected
    if name in ("a.mp4", "a.mov", "a.mkv"):  # The others do not tell how long the last one stays.
        assert video_end(path) == pytest.approx(end, abs=0.002)
        assert shown(path, count=20) == expected


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_shows_each_frame_once_and_in_order(tmp_path, codec):
    path = tmp_path / "a.avi"
    write_frames(path, flat_frames(LEVELS), CONSTANT, codec, b_frames=2)
    assert shown(path, count=16, start=0.0, end=1.6) == list(range(16))
    assert shown(path, count=5, start=0.5, end=1.0) == [5, 6, 7, 8, 9]
    assert video_end(path) == pytest.approx(1.6, abs=0.01)


def test_streams_without_time_stamps_run_at_their_rate(tmp_path):
    write_media(tmp_path / "a.h264", frames=flat_frames(LEVELS), video_codec="libx264", fps=25)
    assert shown(tmp_path / "a.h264", count=16) == list(range(16))
    assert video_end(tmp_path / "a.h264") == pytest.approx(16 / 25)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_video_of_one_frame(tmp_path, ending):
    path = write_frames(tmp_path / f"a.{ending}", flat_frames(LEVELS[:1]), [0, 400])
    assert shown(path, count=3) == [0, 0, 0]


@needs_ffmpeg
@pytest.mark.parametrize("times", [CONSTANT, VARIABLE], ids=["constant", "variable"])
@pytest.mark.parametrize("name", CONTAINERS)
def test_times_are_those_of_ffmpeg(tmp_path, name, times):
    path = tmp_path / name
    write_frames(path, flat_frames(LEVELS), times, b_frames=2, **CONTAINERS[name])
    command = ["ffmpeg", "-v", "info", "-copyts", "-i", str(path), "-vf", "showinfo"]
    told = subprocess.run([*command, "-vsync", "0", "-f", "null", "-"], capture_output=True)
    lines = told.stderr.decode().split("pts_time:")[1:]
    expected = np.array([float(line.split()[0]) for line in lines])
    got = [frame.seconds for frame in frames_from(path, 0.0, None)]
    np.testing.assert_allclose(got, expected - expected[0], atol=1e-4)


def with_edit(path, seconds, length):
    """Lets the first edit of an MP4 file begin later in its track, and last as long as given."""
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12
    per_second = int.from_bytes(content[content.index(b"mdhd") + 16 :][:4], "big")
    scale = int.from_bytes(content[content.index(b"mvhd") + 16 :][:4], "big")
    begin = int.from_bytes(content[at + 4 : at + 8], "big")
    content[at : at + 4] = round(length * scale).to_bytes(4, "big")
    content[at + 4 : at + 8] = (begin + round(seconds * per_second)).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("b_frames", [0, 2])
def test_edit_lists_cut_the_clip(tmp_path, b_frames):
    path = write_frames(tmp_path / "a.mp4", flat_frames(LEVELS), CONSTANT, b_frames=b_frames)
    with_edit(path, 0.5, 0.8)
    assert shown(path, count=8, start=0.0, end=0.8) == [5, 6, 7, 8, 9, 10, 11, 12]
    assert video_end(path) == pytest.approx(0.8)
    assert shown(path, count=4) == [6, 8, 10, 12]


# As long as two frames of FLAC, which a gap cannot divide.
TONE = tone(2 * 4608 / RATE)
GAP = {0: TONE, 2 * RATE: TONE}
SILENCE = np.zeros(2 * RATE - len(TONE), np.float32)


@pytest.mark.parametrize(
    "ending,codec", [("mkv", "pcm_s16le"), ("mkv", "flac"), ("nut", "pcm_s16le")]
)
def test_gaps_in_the_sound_are_silent(tmp_path, ending, codec):
    path = write_sound(tmp_path / f"a.{ending}", GAP, codec)
    whole = np.concatenate([TONE, SILENCE, TONE])
    np.testing.assert_allclose(read_audio(path, rate=RATE), whole, atol=1e-4)
    # And with another rate, in cuts that begin before, in and after the gap.
    half = read_audio(path, rate=RATE // 2)
    assert len(half) == len(whole) // 2
    np.testing.assert_allclose(half[50:-50], whole[::2][50:-50], atol=0.05)  # It rings at edges.
    for start, end in ((0.2, 1.0), (0.6, 1.4), (1.0, 2.3), (2.1, 2.6)):
        cut = read_audio(path, rate=RATE, start=start, end=end)
        expected = whole[round(start * RATE) : round(end * RATE)]
        np.testing.assert_allclose(cut, expected, atol=1e-4)


def test_a_gap_in_aac(tmp_path):
    path = write_sound(tmp_path / "a.mp4", GAP, "aac")
    audio = np.abs(read_audio(path, rate=RATE))
    assert audio[round(0.6 * RATE) : round(1.9 * RATE)].max() < 0.01
    assert 1.95 < np.argmax(audio[RATE:] > 0.1) / RATE + 1 < 2.03


@needs_ffmpeg
@pytest.mark.parametrize("rate", [RATE, 11025])
@pytest.mark.parametrize(
    "name,codec",
    [
        ("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mkv", "flac"), ("a.mp4", "aac"),
        ("a.mp3", "libmp3lame"), ("a.avi", "pcm_s16le"), ("a.ts", "mp2"),
    ],
)  # fmt: skip
def test_sound_is_that_of_ffmpeg(tmp_path, name, codec, rate):
    path = write_media(tmp_path / name, audio=tone(1.0, onset=0.3), audio_codec=codec)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-ar", str(rate), "-f", "f32le", "-"]
    expected = np.frombuffer(
        subprocess.run(command, capture_output=True, check=True).stdout, np.float32
    )
    audio = read_audio(path, rate=rate)
    # Versions of FFmpeg differ in what they leave of the padding at the end.
    shorter = min(len(audio), len(expected))
    assert abs(len(audio) - len(expected)) <= 1152
    np.testing.assert_allclose(audio[: shorter - 64], expected[: shorter - 64], atol=1e-4)


@needs_ffmpeg
def test_gaps_are_filled_as_ffmpeg_fills_them(tmp_path):
    path = write_sound(tmp_path / "a.mkv", GAP, "flac")
    filling = ["-af", "aresample=async=1:min_hard_comp=0.01", "-f", "f32le", "-"]
    command = ["ffmpeg", "-v", "error", "-i", str(path), *filling]
    filled = subprocess.run(command, capture_output=True, check=True).stdout
    expected = np.frombuffer(filled, np.float32)
    np.testing.assert_allclose(read_audio(path, rate=RATE), expected, atol=1e-6)


def test_of_sounds_that_overlap_the_second_begins_late(tmp_path):
    first, second = np.full(RATE, 0.25, np.float32), np.full(RATE, 0.5, np.float32)
    path = write_sound(tmp_path / "a.mkv", {0: first, round(0.8 * RATE): second})
    audio = read_audio(path, rate=RATE)
    assert len(audio) == round(1.8 * RATE)
    np.testing.assert_allclose(audio[:RATE], 0.25, atol=1e-4)
    np.testing.assert_allclose(audio[RATE:], 0.5, atol=1e-4)


def test_rounded_time_stamps_move_nothing(tmp_path):
    """Blocks of 1000 samples at 11.025 kHz begin at no full millisecond."""
    wave = tone(3.0, rate=11025)
    blocks = {at: wave[at : at + 1000] for at in range(0, len(wave), 1000)}
    path = write_sound(tmp_path / "a.mkv", blocks, rate=11025)
    np.testing.assert_allclose(read_audio(path, rate=11025), wave, atol=1e-4)


def test_a_change_of_rate_within_the_stream(tmp_path):
    """Two MP3 files behind one another: half a second each, whatever the rate."""
    parts = []
    for name, rate, hertz in (("a.mp3", 48000, 440.0), ("b.mp3", 32000, 880.0)):
        wave = tone(0.5, rate=rate, hertz=hertz)
        path = tmp_path / name
        write_media(path, audio=wave, audio_codec="libmp3lame", rate=rate)
        content = path.read_bytes()
        # Without the first frame, which tells of one stream's length.
        parts.append(content[content.index(b"\xff\xfb", content.index(b"Info")) :])
    (tmp_path / "ab.mp3").write_bytes(b"".join(parts))
    audio = read_audio(tmp_path / "ab.mp3", rate=RATE)
    assert 1.0 < len(audio) / RATE < 1.2
    for begin, hertz in ((0.1, 440), (0.75, 880)):
        piece = audio[round(begin * RATE) :][: RATE // 5] * np.hanning(RATE // 5)
        assert np.abs(np.fft.rfft(piece)).argmax() * 5 == pytest.approx(hertz, abs=5)


LONG = tone(12.0, rate=11025) + np.random.default_rng(0).normal(0, 0.05, 12 * 11025)


@pytest.mark.parametrize("rate", [11025, 8000, 16000])
@pytest.mark.parametrize(
    "name,codec,sought",
    [
        ("a.wav", "pcm_s16le", True), ("a.flac", "flac", True), ("a.mkv", "flac", False),
        ("a.mp3", "libmp3lame", False), ("a.m4a", "aac", False), ("a.ogg", "libopus", False),
    ],
)  # fmt: skip
def test_late_cuts_are_the_same_as_parts_of_the_whole(
    tmp_path, monkeypatch, name, codec, sought, rate
):
    per_second = 48000 if codec == "libopus" else 11025
    wave = np.resize(LONG, 12 * per_second).astype(np.float32)
    path = write_media(tmp_path / name, audio=wave, audio_codec=codec, rate=per_second)
    whole = read_audio(path, rate=rate)
    for start, end in ((0.5, 0.75), (6.1234, 7.5), (10.7, 13.0), (len(whole) / rate - 0.01, None)):
        cut = read_audio(path, rate=rate, start=start, end=end)
        last = None if end is None else round(end * rate)
        np.testing.assert_array_equal(cut, whole[round(start * rate) : last])
    decoded, check = [], sound._check_sound
    monkeypatch.setattr(sound, "_check_sound", lambda *given: decoded.append(0) or check(*given))
    read_audio(path, rate=rate, start=10.7, end=10.8)
    some = len(decoded)
    read_audio(path, rate=rate, end=10.8)
    assert (some < (len(decoded) - some) / 3) == sought


@pytest.mark.parametrize("codec,b_frames", [("libx264", 2), ("mpeg4", 2), ("libvpx", 0)])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_late_frames_are_the_same_as_from_the_start(tmp_path, monkeypatch, ending, codec, b_frames):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (90, 2, 3, 3)).astype(np.uint8).repeat(16, 1).repeat(16, 2)
    if (ending, codec) == ("mp4", "libvpx"):
        pytest.skip("MP4 holds no VP8")
    times = [*range(0, 9100, 100)]
    path = write_frames(tmp_path / f"a.{ending}", frames, times, codec, b_frames)
    readers = (
        lambda: read_frames(path, count=3, short_side=32, start=8.3, end=8.8),
        lambda: np.array(read_frame_pairs(path, count=2, short_side=32, start=8.3, end=9.0)),
    )
    monkeypatch.setattr(limits, "MAX_FRAMES", 60)  # So many are not read.
    late = [read() for read in readers]
    monkeypatch.setattr(limits, "MAX_FRAMES", 2**22)
    monkeypatch.setattr("tcmax_jax.data.media.times._LATE", 1e9)
    for read, expected in zip(readers, late, strict=True):
        np.testing.assert_array_equal(read(), expected)


WHOLE = {
    "a.wav": {"audio": tone(1.0)},
    "a.aiff": {"audio": tone(1.0), "audio_codec": "pcm_s16be"},
    "a.caf": {"audio": tone(1.0)},
    "a.mp3": {"audio": tone(3.0), "audio_codec": "libmp3lame"},
    "a.flac": {"audio": LONG[: 3 * RATE].astype(np.float32), "audio_codec": "flac"},
    "a.mkv": {"frames": flat_frames(LEVELS), "audio": tone(1.6)},
    "a.avi": {"frames": flat_frames(LEVELS), "audio": tone(1.6)},
    "a.flv": {"frames": flat_frames(LEVELS), "video_codec": "flv1"},
    "a.wmv": {"frames": flat_frames(LEVELS), "video_codec": "wmv2"},
    "a.mp4": {"frames": flat_frames(LEVELS), "video_codec": "libx264"},
}


@pytest.mark.parametrize("name", WHOLE)
def test_parts_of_files_are_refused(tmp_path, name):
    whole = tmp_path / "whole" / name
    write_media(whole, **WHOLE[name])
    if name == "a.mp4":
        frames = np.random.default_rng(0).integers(0, 256, (16, 64, 96, 3)).astype(np.uint8)
        write_frames(whole, frames, CONSTANT, movflags="faststart")
    reads = [lambda path: read_audio(path, rate=RATE)] if "audio" in WHOLE[name] else []
    if "frames" in WHOLE[name]:
        reads.append(lambda path: read_frames(path, count=2, short_side=16))
    content = whole.read_bytes()
    part = tmp_path / name
    part.write_bytes(content[: len(content) // 2])
    for read in reads:
        read(whole)
        with pytest.raises(MediaError, match=r"as the file declares, got|Expected decodable"):
            read(part)
    if name == "a.mp4":
        shown(part, count=1, start=0.0, end=0.2)  # A cut of what is there.
        said = rf"Expected {len(content)} bytes, as the file declares, got {len(content) // 2}: "
        with pytest.raises(MediaError, match=said + ".*Fetch or copy it again") as error:
            shown(part, count=1)
        assert error.value.reason == "part of a file"


@pytest.mark.parametrize("size", [2**32 - 1, 2**31 - 1, 2**31 - 2**12])
def test_files_that_were_written_into_a_pipe_are_whole(tmp_path, size):
    content = bytearray(write_media(tmp_path / "a.wav", audio=tone(1.0)).read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = size.to_bytes(4, "little")
    (tmp_path / "b.wav").write_bytes(content)
    assert len(read_audio(tmp_path / "b.wav", rate=RATE)) == RATE


@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.mkv", "a.mp3", "a.avi"])
def test_what_follows_a_file_does_not_count(tmp_path, name):
    whole = write_media(tmp_path / name, **WHOLE[name] | {"audio": tone(1.6), "rate": 44100})
    expected = len(read_audio(whole, rate=RATE))
    whole.write_bytes(whole.read_bytes() + b"TAGsome text at the end" + bytes(range(256)))
    assert len(read_audio(whole, rate=RATE)) == expected


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38])
def test_samples_that_are_no_sound(tmp_path, number):
    wave = tone(1.0)
    wave[RATE // 4] = number
    path = write_media(tmp_path / "a.wav", audio=wave, audio_codec="pcm_f32le")
    for rate in (RATE, 11025):
        with pytest.raises(
            MediaError, match=r"a\.wav: Expected finite samples.* at 0\.2[45]\d? ?.*s\. Re"
        ):
            read_audio(path, rate=rate)
    assert len(read_audio(path, rate=RATE, start=0.5)) == RATE // 2
