"""Claims about what is stored of a clip: filter banks, flow, and the frames that flow joins."""

import numpy as np
import pytest

from tcmax_jax.data.clips import Clip
from tcmax_jax.data.features import log_filter_bank
from tcmax_jax.data.forms import FilterBank, Flow
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.media import read_audio, read_frame_pairs
from tcmax_jax.data.pictures import decode_flow
from tests.data.media_files import RATE, flat_frames, tone, write_media

BANK = FilterBank(rate=RATE, bins=16, steps=60)
WHOLE = (0, 0, 1, 1)


def clip_of(path, **cut):
    return Clip("a", "train", "x", path, path, **cut)


def test_filter_bank_is_followed_by_zeros(tmp_path):
    path = write_media(tmp_path / "a.wav", audio=tone(0.4))
    value, seconds, _ = BANK.read(clip_of(path))
    assert value.shape == BANK.shape == (16, 60) and value.dtype == np.float16
    audio = read_audio(path, rate=RATE)
    expected = log_filter_bank(audio - audio.mean(), rate=RATE, bins=16)
    assert expected.shape[1] == 38  # windows of 25 ms every 10 ms in 400 ms
    np.testing.assert_array_equal(value[:, :38], expected.astype(np.float16))
    assert not value[:, 38:].any()
    assert seconds == pytest.approx(0.4)


def test_filter_bank_of_longer_sound_is_cut(tmp_path):
    path = write_media(tmp_path / "a.wav", audio=tone(1.0))
    value, _, _ = BANK.read(clip_of(path))
    audio = read_audio(path, rate=RATE)
    banks = log_filter_bank(audio - audio.mean(), rate=RATE, bins=16)
    np.testing.assert_array_equal(value, banks[:, :60].astype(np.float16))


def test_filter_bank_of_sound_below_one_window(tmp_path):
    path = write_media(tmp_path / "a.wav", audio=tone(0.01))
    value, _, _ = BANK.read(clip_of(path))
    assert value[:, 0].any() and not value[:, 1:].any()


def levels_of(pairs):
    """Mean grey level of both pictures of each pair."""
    return [tuple(round(float(picture.mean()), -1) for picture in pair) for pair in pairs]


@pytest.fixture
def stairs(tmp_path):
    """Ten frames, a tenth of a second each, 20 grey levels apart."""
    return write_media(tmp_path / "a.avi", frames=flat_frames(range(20, 220, 20)))


def test_pairs_are_frames_and_those_that_follow(stairs):
    # The middles of five fifths of a second lie in frames 1, 3, 5, 7 and 9, and the last frame
    # comes second.
    pairs = read_frame_pairs(stairs, count=5, short_side=16)
    assert levels_of(pairs) == [(40, 60), (80, 100), (120, 140), (160, 180), (180, 200)]


def test_pairs_inside_a_cut(stairs):
    pairs = read_frame_pairs(stairs, count=2, short_side=16, start=0.2, end=0.6)
    assert levels_of(pairs) == [(80, 100), (120, 140)]  # at 0.3 s and 0.5 s


def test_a_single_frame_is_paired_with_itself(tmp_path):
    path = write_media(tmp_path / "a.avi", frames=flat_frames([100]))
    assert levels_of(read_frame_pairs(path, count=2, short_side=16)) == [(100, 100)] * 2


def moving(shift, count=6, size=(48, 64)):
    """A smooth pattern that moves to the right by `shift` pixels a frame."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    return np.stack(
        [
            np.repeat(
                (127 + 60 * np.sin((x - shift * t) / 5) + 60 * np.sin(y / 4))[..., None], 3, axis=-1
            )
            for t in range(count)
        ]
    ).astype(np.uint8)


@pytest.mark.parametrize("shift", [2, -2])
def test_flow_of_a_moving_picture(tmp_path, shift):
    path = write_media(tmp_path / "a.avi", frames=moving(shift))
    form = Flow(count=3, short_side=48, box=WHOLE, bound=8.0)
    value, seconds, _ = form.read(clip_of(path))
    assert len(value) == 3 and seconds is None
    for encoded in value:
        field = (decode_flow(encoded).astype(np.float32) / 127.5 - 1) * 8.0
        inner = field[12:-12, 16:-16]
        assert inner[..., 0].mean() == pytest.approx(shift, abs=0.3)
        assert inner[..., 1].mean() == pytest.approx(0, abs=0.3)


def test_flow_names_a_file_without_frames(tmp_path):
    path = write_media(tmp_path / "a.wav", audio=tone(0.2))
    form = Flow(count=3, short_side=48, box=WHOLE, bound=8.0)
    with pytest.raises(MediaError, match=r"a\.wav: Expected a decodable video stream, got audio"):
        form.read(clip_of(path))


def test_a_cut_behind_the_end(stairs):
    form = Flow(count=1, short_side=16, box=WHOLE, bound=8.0)
    with pytest.raises(MediaError, match=r"Expected frames from 5 s to its end, got a clip of 1\."):
        form.read(clip_of(stairs, start=5.0))
