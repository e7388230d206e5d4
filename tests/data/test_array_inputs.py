"""Arrays as they are, series with their mask, and pictures that are stored as arrays."""

import numpy as np
import pytest

from tcmax_jax.data.forms import Arrays, Flow, Frames, LogSpectrogram
from tcmax_jax.data.inputs import ArrayInput, FlowInput, FramesInput, SeriesInput, SpectrogramInput
from tcmax_jax.data.pictures import decode_flow
from tcmax_jax.section import SectionError
from tests.data.test_inputs import (
    ANY,
    encoded,
    encoded_flow,
    flow_input,
    frames_input,
    pictures,
    smooth_flow,
)


@pytest.mark.parametrize("seed", [None, 0])
def test_features_stay(seed):
    stored = np.arange(3, dtype=np.float16)
    np.testing.assert_array_equal(ArrayInput()(stored, seed), stored, strict=True)


def assert_series(series, values, mask):
    """Asserts the values, their dtype and the mask of a series."""
    np.testing.assert_array_equal(series.values, values, strict=True)
    np.testing.assert_array_equal(series.mask, np.array(mask, bool), strict=True)


@pytest.mark.parametrize("seed", [None, 0])
def test_a_short_series_is_filled_up_with_zeros(seed):
    stored = np.array([[1, 2], [3, 4]], np.float16)
    filled = np.array([[1, 2], [3, 4], [0, 0], [0, 0]], np.float16)
    assert_series(SeriesInput(steps=4)(stored, seed), filled, [1, 1, 0, 0])
    assert_series(SeriesInput(steps=2)(stored, seed), stored, [1, 1])
    assert_series(SeriesInput(steps=3)(stored[:, 1], seed), np.float16([2, 4, 0]), [1, 1, 0])
    ids = np.array([7], np.int32)
    assert_series(SeriesInput(steps=2)(ids, seed), np.array([7, 0], np.int32), [1, 0])


@pytest.mark.parametrize(("length", "start"), [(7, 2), (6, 1), (4, 0)])
def test_a_long_series_is_cropped_at_the_centre(length, start):
    stored = np.arange(2 * length, dtype=np.float32).reshape(length, 2)
    series = SeriesInput(steps=3)(stored, None)
    assert_series(series, stored[start : start + 3], [1, 1, 1])


def test_random_crops_of_a_series_start_anywhere_alike():
    stored = np.arange(7, dtype=np.int32)
    to_input = SeriesInput(steps=3)
    starts = np.zeros(5, int)
    for seed in range(1000):
        series = to_input(stored, seed)
        starts[series.values[0]] += 1
        assert_series(series, stored[series.values[0] :][:3], [1, 1, 1])
    assert (np.abs(starts - 200) < 4 * np.sqrt(1000 * 0.2 * 0.8)).all()


def test_a_series_is_cropped_by_its_seed_alone():
    to_input, stored = SeriesInput(steps=3), np.arange(100, dtype=np.int32)
    first, again = (
        [to_input(x, seed).values.min() for seed in range(20)] for x in (stored, stored[:, None])
    )
    assert first == again and len(set(first)) > 10


SERIES = Arrays(shape=(5, 2), dtype="float32", varying=True)
FIXED = Arrays(shape=(5, 2), dtype="float32", varying=False)


def test_a_series_without_steps_takes_the_largest_length_of_the_data():
    assert SeriesInput().fitted(SERIES).steps == 5
    assert SeriesInput(steps=3).fitted(SERIES).steps == 3
    assert SeriesInput(steps=9).fitted(SERIES).steps == 9
    assert SeriesInput().shape(SERIES) == (5, 2) and SeriesInput(steps=3).shape(SERIES) == (3, 2)
    assert_series(SeriesInput(steps=3).zeros(SERIES), np.zeros((3, 2), np.float32), [0, 0, 0])


@pytest.mark.parametrize(
    ("to_input", "shape"),
    [
        (SeriesInput(), (5, 2)),
        (SeriesInput(steps=5), (5, 2)),
        (SeriesInput(), (5,)),
        (ArrayInput(), (5, 2)),
        (ArrayInput(), ()),
        (SpectrogramInput(), (5, 2)),
        (SpectrogramInput(steps=2), (5, 2)),
    ],
)
@pytest.mark.parametrize("seed", [None, 0])
def test_inputs_of_whole_batches_are_those_of_single_examples(to_input, shape, seed):
    stored = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    form = Arrays(shape=shape, dtype="float32", varying=False)
    assert to_input.takes_batches(form)
    single = [to_input.fitted(form)(x, seed) for x in stored]
    batch = to_input.fitted(form).of_batch(stored)
    if not isinstance(to_input, SeriesInput):
        np.testing.assert_array_equal(batch, np.stack(single), strict=True)
        return
    assert_series(batch, np.stack([x.values for x in single]), np.stack([x.mask for x in single]))


@pytest.mark.parametrize(
    ("to_input", "form"),
    [
        (SeriesInput(), SERIES),
        (SeriesInput(steps=4), FIXED),
        (SeriesInput(steps=6), FIXED),
        (SpectrogramInput(steps=1), FIXED),
        (FramesInput(size=8), Arrays(shape=(2, 8, 8, 3), dtype="uint8", varying=False)),
    ],
)
def test_whole_batches_are_not_taken_where_examples_are_cut_or_filled_up(to_input, form):
    assert not to_input.takes_batches(form)


@pytest.mark.parametrize("seed", [None, *range(4)])
@pytest.mark.parametrize("size", [None, 6])
def test_pictures_that_are_stored_as_arrays_are_not_decoded(size, seed):
    frames = pictures(3, 10, 12)
    got = frames_input(frames, seed, size=size, **ANY)
    np.testing.assert_array_equal(got, frames_input(encoded(frames), seed, size=size, **ANY))
    form = Arrays(shape=frames.shape, dtype="uint8", varying=False)
    assert FramesInput(size=size).shape(form) == got.shape


@pytest.mark.parametrize("seed", [None, *range(4)])
def test_flow_that_is_stored_as_arrays_is_not_decoded(seed):
    stored = encoded_flow(smooth_flow(3, 10, 12), 16.0)
    fields = np.stack([decode_flow(field) for field in stored])
    before = fields.copy()
    got = flow_input(fields, seed, size=6, **ANY)
    np.testing.assert_array_equal(got, flow_input(stored, seed, size=6, **ANY), strict=True)
    np.testing.assert_array_equal(fields, before)  # mirroring changes signs of a copy
    form = Arrays(shape=fields.shape, dtype="uint8", varying=False)
    assert FlowInput(size=6).shape(form) == got.shape


def arrays(*shape, dtype="uint8", varying=False):
    return Arrays(shape=shape, dtype=dtype, varying=varying)


PICTURES, FIELDS = (rf"pictures \[number, height, width, {channels}\] uint8" for channels in (3, 2))
SPECTROGRAMS = r"spectrograms \[frequencies, windows\] of one length"
ONE_SHAPE = r"arrays of one shape \(input\.kind=series takes other lengths\)"


@pytest.mark.parametrize(
    ("to_input", "form", "expected", "got"),
    [
        (FramesInput(), arrays(2, 8, 8, 2), PICTURES, r"\[2, 8, 8, 2\] of arrays"),
        (FramesInput(), arrays(8, 8, 3), PICTURES, r"\[8, 8, 3\] of arrays"),
        (FramesInput(), arrays(2, 8, 8, 3, dtype="float32"), PICTURES, r"\[2, 8, 8, 3\] of"),
        (FramesInput(), arrays(2, 8, 8, 3, varying=True), PICTURES, r"\[2, 8, 8, 3\] of"),
        (FramesInput(), LogSpectrogram(), PICTURES, r"\[\d+, \d+\] of log_spectrogram"),
        (FlowInput(), arrays(2, 8, 8, 3), FIELDS, r"\[2, 8, 8, 3\] of arrays"),
        (FlowInput(), arrays(2, 8, 8, 2, dtype="int8"), FIELDS, r"\[2, 8, 8, 2\] of arrays"),
        (SpectrogramInput(), arrays(7), SPECTROGRAMS, r"\[7\] of arrays"),
        (SpectrogramInput(), arrays(7, 3, varying=True), SPECTROGRAMS, r"\[7, 3\] of arrays"),
        (SpectrogramInput(), Frames(count=2), SPECTROGRAMS, r"\[2\] of frames"),
        (ArrayInput(), arrays(7, 3, varying=True), ONE_SHAPE, r"\[7, 3\] of arrays"),
        (ArrayInput(), Frames(count=2), ONE_SHAPE, r"\[2\] of frames"),
        (SeriesInput(), arrays(), r"series \[steps, \.\.\.\]", r"\[\] of arrays"),
        (SeriesInput(), Flow(count=2), r"series \[steps, \.\.\.\]", r"\[2\] of flow"),
    ],
)
def test_data_that_an_input_does_not_take_is_refused(to_input, form, expected, got):
    message = rf"^Expected {expected} in the data, got {got}.*\. Choose another input\.$"
    with pytest.raises(SectionError, match=message):
        to_input.shape(form)
