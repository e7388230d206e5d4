"""Claims about crops, sizes and flips, on pictures small enough to know every pixel."""

import math

import numpy as np
import pytest

from tcmax_jax.data.inputs import (
    FlowInput,
    FramesInput,
    SeriesInput,
    SpectrogramInput,
    random_crop_box,
)
from tcmax_jax.data.pictures import encode_flow, encode_image

WHOLE = {"area": (1, 1), "aspect": (1, 1)}  # with a square picture, a crop that keeps it
QUARTER = {"area": (0.25, 0.25), "aspect": (1, 1)}
ANY = {"area": (0.1, 1), "aspect": (3 / 4, 4 / 3)}


def spectrogram_input(stored, seed, **options):
    return SpectrogramInput(**options)(stored, seed)


def frames_input(stored, seed, **options):
    return FramesInput(**options)(stored, seed)


def flow_input(stored, seed, **options):
    return FlowInput(**options)(stored, seed)


def pictures(count, height, width):
    shape = (count, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def encoded(frames):
    return np.array([encode_image(frame, lossless=True) for frame in frames], object)


@pytest.fixture
def spectrogram():
    return np.arange(14, dtype=np.float16).reshape(2, 7)


def test_spectrogram_is_cropped_at_the_centre(spectrogram):
    cropped = spectrogram_input(spectrogram, None, steps=3)
    expected = np.array([[[2], [3], [4]], [[9], [10], [11]]], np.float16)
    np.testing.assert_array_equal(cropped, expected, strict=True)


def test_random_crop_of_a_spectrogram_reaches_every_start(spectrogram):
    starts = set()
    for seed in range(60):
        cropped = spectrogram_input(spectrogram, seed, steps=4)
        starts.add(start := int(cropped[0, 0, 0]))
        np.testing.assert_array_equal(cropped[:, :, 0], spectrogram[:, start : start + 4])
    assert starts == {0, 1, 2, 3}


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("steps", [None, 7])
def test_whole_spectrogram(spectrogram, seed, steps):
    kept = spectrogram_input(spectrogram, seed, steps=steps)
    np.testing.assert_array_equal(kept, spectrogram[:, :, None], strict=True)


@pytest.mark.parametrize("seed", [None, 0])
def test_spectrogram_that_is_too_short(spectrogram, seed):
    with pytest.raises(ValueError, match=r"at least steps=8 time steps, got 7 stored ones"):
        spectrogram_input(spectrogram, seed, steps=8)


def test_evaluation_shrinks_the_whole_picture():
    frames = pictures(2, 8, 12)
    result = frames_input(encoded(frames), None, size=4, flip=True, **QUARTER)
    # Every pixel is the mean of a block of 2 x 3.
    blocks = frames.reshape(2, 4, 2, 4, 3, 3).mean(axis=(2, 4))
    assert result.shape == (2, 4, 4, 3) and result.dtype == np.uint8
    np.testing.assert_allclose(result, blocks, rtol=0, atol=0.5 + 1e-6)


def test_evaluation_enlarges_by_interpolation():
    frame = np.zeros((2, 2, 3), np.uint8)
    frame[:, 1] = 100
    result = frames_input(encoded([frame]), None, size=4, flip=True, **QUARTER)
    # Pixel centres lie at -1/4, 1/4, 3/4 and 5/4 of the two columns.
    expected = np.broadcast_to(np.array([0, 25, 75, 100])[:, None], (1, 4, 4, 3))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("seed", [None, 0])
def test_no_size_keeps_the_pictures(seed):
    frames = pictures(3, 5, 7)
    kept = frames_input(encoded(frames), seed, size=None, flip=True, **QUARTER)
    np.testing.assert_array_equal(kept, frames, strict=True)


def test_training_crops_inside_the_picture():
    frame = pictures(1, 10, 10)[0]
    windows = {
        frame[top : top + 5, left : left + 5].tobytes(): (top, left)
        for top in range(6)
        for left in range(6)
    }
    # A crop of the result's size is not interpolated, so it is found again bit for bit.
    crops = [frames_input(encoded([frame]), r, size=5, flip=False, **QUARTER) for r in range(100)]
    places = {windows[crop.tobytes()] for crop in crops}
    assert {top for top, _ in places} == {left for _, left in places} == set(range(6))


def test_frames_of_a_clip_share_crop_and_flip():
    clip = encoded(pictures(1, 12, 16)).repeat(4)
    results = [frames_input(clip, seed, size=6, flip=True, **ANY) for seed in range(40)]
    for result in results:
        assert result.shape == (4, 6, 6, 3) and result.dtype == np.uint8
        np.testing.assert_array_equal(result, result[:1].repeat(4, axis=0))
    assert len({result.tobytes() for result in results}) == 40


def test_flip_mirrors_half_of_the_clips():
    frames = pictures(2, 6, 6)
    mirrored = 0
    for seed in range(200):
        result = frames_input(encoded(frames), seed, size=6, flip=True, **WHOLE)
        flipped = not (result == frames).all()
        np.testing.assert_array_equal(result, frames[:, :, ::-1] if flipped else frames)
        mirrored += flipped
    assert 70 <= mirrored <= 130  # 100 on average, standard deviation 7


def test_no_flip_unless_asked_for():
    frames = pictures(2, 6, 6)
    for seed in range(20):
        result = frames_input(encoded(frames), seed, size=6, flip=False, **WHOLE)
        np.testing.assert_array_equal(result, frames)


def test_crop_boxes_have_permitted_area_and_aspect():
    height, width, area, aspect = 80, 100, (0.1, 0.4), (0.5, 2.0)  # every draw fits
    rng = np.random.default_rng(0)
    boxes = [random_crop_box(rng, height, width, area=area, aspect=aspect) for _ in range(1000)]
    top, left, rows, columns = np.array(boxes).T
    assert (top >= 0).all() and (top + rows <= height).all()
    assert (left >= 0).all() and (left + columns <= width).all()
    # Sides are rounded, so the range has to hold within half a pixel.
    assert ((rows + 0.5) * (columns + 0.5) >= area[0] * height * width).all()
    assert ((rows - 0.5) * (columns - 0.5) <= area[1] * height * width).all()
    assert ((columns + 0.5) / (rows - 0.5) >= aspect[0]).all()
    assert ((columns - 0.5) / (rows + 0.5) <= aspect[1]).all()
    # Uniform in the area and log-uniform in the ratio: mean (a + b) / 2, deviation
    # (b - a) / sqrt(12), which leaves errors of the means of 0.003 and 0.013.
    share, log_ratio = rows * columns / (height * width), np.log(columns / rows)
    assert share.mean() == pytest.approx(0.25, abs=0.012)
    assert share.std() == pytest.approx(0.3 / math.sqrt(12), rel=0.08)
    assert log_ratio.mean() == pytest.approx(0, abs=0.05)
    assert log_ratio.std() == pytest.approx(math.log(4) / math.sqrt(12), rel=0.08)


def test_crop_boxes_that_do_not_fit_are_drawn_again():
    # Of the ratios 1/4 to 4, equally likely in logarithm, 1/2 to 2 fit: area 1/2 of a square of 20
    # has a side of 20 at ratio 2. All ten attempts fail in one of 1000 draws.
    rng = np.random.default_rng(0)
    draws = [random_crop_box(rng, 20, 20, area=(0.5, 0.5), aspect=(0.25, 4)) for _ in range(500)]
    areas = np.array([rows * columns for _, _, rows, columns in draws])
    fallen_back = areas == 400
    assert fallen_back.sum() <= 5
    assert (np.abs(areas[~fallen_back] - 200) <= 20).all()


@pytest.mark.parametrize(
    "height,width,box",
    [
        (10, 100, (0, 43, 10, 13)),  # 10 rows at the ratio 4/3 are 13 columns
        (100, 10, (43, 0, 13, 10)),  # 10 columns at the ratio 3/4 are 13 rows
    ],
)
def test_crop_box_that_never_fits_is_the_largest_centred_one(height, width, box):
    rng = np.random.default_rng(0)
    drawn = random_crop_box(rng, height, width, area=(0.9, 1.0), aspect=(3 / 4, 4 / 3))
    assert drawn == box


def smooth_flow(count, height, width):
    """Fields whose x component grows to the right and whose y component grows downwards."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return [np.stack([x + t, y], axis=-1) for t in range(count)]


def encoded_flow(fields, bound):
    return np.array([encode_flow(field, bound) for field in fields], object)


def displacements(levels, bound):
    return (levels.astype(np.float32) / 127.5 - 1) * bound


def test_flow_is_stacked_in_the_channels():
    fields, bound = smooth_flow(3, 16, 24), 32.0
    result = flow_input(encoded_flow(fields, bound), None, size=8, flip=True, **WHOLE)
    assert result.shape == (8, 8, 6) and result.dtype == np.uint8
    got = displacements(result, bound)
    for t, field in enumerate(fields):
        # Every pixel is the mean of a block of 2 x 3; a level is 1/4 pixel, JPEG adds as much.
        blocks = field.reshape(8, 2, 8, 3, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(got[..., 2 * t : 2 * t + 2], blocks, atol=0.6)


def test_large_displacements_are_clipped():
    field = np.full((8, 8, 2), (100.0, -100.0), np.float32)
    result = flow_input(encoded_flow([field], 20.0), None, size=8, flip=False, **WHOLE)
    assert (result[..., 0] == 255).all() and (result[..., 1] == 0).all()


def test_flow_is_cut_and_mirrored_as_its_frames_are():
    # Frames that show their own coordinates: red grows to the right, green downwards.
    height, width = 24, 32
    y, x = np.mgrid[0:height, 0:width]
    frame = np.stack([x * 8, y * 8, 0 * x], axis=-1).astype(np.uint8)
    field = np.stack([x, y], axis=-1).astype(np.float32)
    mirrored = 0
    for seed in range(40):
        options = {"size": 16, "flip": True, **ANY}
        picture = frames_input(encoded([frame]), seed, **options)[0].astype(np.float32) / 8
        flow = displacements(flow_input(encoded_flow([field], 64.0), seed, **options), 64.0)
        flipped = picture[8, -1, 0] < picture[8, 0, 0]
        sign = -1 if flipped else 1
        np.testing.assert_allclose(sign * flow[..., 0], picture[..., 0], atol=1.3)
        np.testing.assert_allclose(flow[..., 1], picture[..., 1], atol=1.3)
        mirrored += flipped
    assert 8 <= mirrored <= 32  # 20 on average, standard deviation 3


def start_of_sound(stored, seed):
    return spectrogram_input(stored[None], seed, steps=1)[0, 0, 0]


def start_of_series(stored, seed):
    return SeriesInput(steps=1)(stored, seed).values[0]


@pytest.mark.parametrize("start_of", [start_of_sound, start_of_series])
def test_sound_and_series_draw_from_the_first_stream_of_a_seed(start_of):
    """So that both are cut at one place, and a run gives the same numbers in later versions."""
    for seed in (0, 1, 2**62):
        stream = np.random.Generator(np.random.Philox(key=(seed, 0)))
        assert start_of(np.arange(1000, dtype=np.float32), seed) == stream.integers(1000)


@pytest.mark.parametrize("start_of", [start_of_sound, start_of_series])
def test_sound_is_not_cut_by_the_numbers_of_the_scene(start_of):
    stored = np.arange(1000, dtype=np.float32)
    starts = np.array([start_of(stored, s) for s in range(400)])
    frames = pictures(1, 6, 6)
    flips = [
        (frames_input(encoded(frames), s, size=6, flip=True, **WHOLE) != frames).any()
        for s in range(400)
    ]
    # Independent: |r| stays below 3 / sqrt(400).
    assert abs(np.corrcoef(starts, flips)[0, 1]) < 0.15
