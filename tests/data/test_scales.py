"""Claims about mean and standard deviation of the inputs, against NumPy in float64."""

import jax
import numpy as np
import pytest

from tcmax_jax.data.forms import Arrays
from tcmax_jax.data.inputs import ArrayInput, SeriesInput, SpectrogramInput
from tcmax_jax.data.scales import Scale, is_standardized, measure_scales
from tcmax_jax.data.sources.memory import MemoryRecords
from tcmax_jax.models.classifier import standardized
from tcmax_jax.series import Series

N = 300  # more than are read at once, and no multiple of that


def normal(*shape, seed=0):
    """Normal numbers, of another mean and deviation at each place of the last axis."""
    values = np.random.default_rng(seed).normal(2.0, 3.0, shape) * (1 + np.arange(shape[-1]))
    return values.astype(np.float32)


def series(*step, longest=9):
    """N arrays [T, ...] with T from 1 to the longest."""
    return [normal(1 + i % longest, *step, seed=i) for i in range(N)]


def form_of(values):
    return Arrays().of_arrays((str(i), x) for i, x in enumerate(values))


def in_batches(values):
    return MemoryRecords({"x": form_of(values)}, {"x": values}, range(len(values)), [0] * N)


def one_by_one(values):
    return [{"x": x, "label": 0} for x in values]


def measure(values, to_input, records=one_by_one, folder=None):
    form = form_of(values)
    source = None if records is None else records(values)
    return measure_scales(source, {"x": to_input.fitted(form)}, {"x": form}, folder)


def assert_scale(scales, entries):
    """Compares with the moments of [entries, channels]."""
    entries = np.float64(entries)
    np.testing.assert_allclose(scales["x"].mean, entries.mean(axis=0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(scales["x"].std, entries.std(axis=0), rtol=1e-8)


@pytest.mark.parametrize("records", [one_by_one, in_batches])
@pytest.mark.parametrize(
    ("shape", "to_input"),
    [
        ((), ArrayInput()),
        ((3,), ArrayInput()),
        ((4, 3), ArrayInput()),
        ((2, 4, 3), ArrayInput()),
        ((5,), SeriesInput()),
        ((5, 3), SeriesInput()),
        ((5, 2, 3), SeriesInput()),
    ],
)
def test_the_last_axis_is_that_of_channels(records, shape, to_input):
    values = normal(N, *shape)
    channels = shape[-1] if len(shape) > isinstance(to_input, SeriesInput) else 1
    assert_scale(measure(values, to_input, records), values.reshape(-1, channels))


@pytest.mark.parametrize("records", [one_by_one, in_batches])
def test_a_spectrogram_has_one_channel(records):
    values = normal(N, 4, 6)
    assert_scale(measure(values, SpectrogramInput(), records), values.reshape(-1, 1))


def test_what_evaluation_cuts_off_does_not_count():
    values = normal(N, 4, 6)
    middle = values[:, :, 2:4].reshape(-1, 1)
    assert_scale(measure(values, SpectrogramInput(steps=2), in_batches), middle)
    # A series of T steps keeps two in the middle, from step (T - 2) // 2 on.
    values = series(3)
    middle = [x[max(len(x) - 2, 0) // 2 :][:2] for x in values]
    assert_scale(measure(values, SeriesInput(steps=2)), np.concatenate(middle))


@pytest.mark.parametrize("step", [(), (3,), (2, 3)])
@pytest.mark.parametrize("records", [one_by_one, in_batches])
def test_only_true_steps_of_series_count(step, records):
    values = series(*step)
    channels = step[-1] if step else 1
    entries = np.concatenate([x.reshape(-1, channels) for x in values])
    assert_scale(measure(values, SeriesInput(), records), entries)


@pytest.mark.parametrize("records", [one_by_one, in_batches])
def test_nothing_cancels_where_the_mean_is_large(records):
    values = (1e4 + np.random.default_rng(0).normal(size=(N, 2))).astype(np.float32)
    scales = measure(values, ArrayInput(), records)
    assert_scale(scales, values)
    np.testing.assert_allclose(scales["x"].std, 1, rtol=0.1)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7e4, 1e30])
@pytest.mark.parametrize("records", [one_by_one, in_batches])
def test_a_constant_channel_has_a_deviation_of_one(constant, records):
    values = normal(N, 2)
    values[:, 1] = constant
    (scale,) = measure(values, ArrayInput(), records).values()
    assert scale.mean[1] == pytest.approx(float(np.float32(constant)), rel=1e-12)
    assert scale.std[1] == 1 and scale.std[0] > 2
    both = np.asarray(standardized(values, *scale))
    np.testing.assert_allclose(both[:, 1], 0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_integers_stay_unless_it_is_asked_for(dtype):
    values = np.random.default_rng(0).integers(0, 100, (N, 2)).astype(dtype)
    assert measure(values, ArrayInput(), None) == {}
    assert measure(values, SeriesInput(standardize=False), None) == {}
    assert_scale(measure(values, ArrayInput(standardize=True), in_batches), values)


def test_numbers_stay_where_it_is_asked_for():
    assert measure(normal(N, 2), ArrayInput(standardize=False), None) == {}
    form = Arrays(shape=(2,), dtype="float16", varying=False)
    given = {choice: is_standardized(ArrayInput(standardize=choice), form) for choice in
             (None, True, False)}  # fmt: skip
    assert given == {None: True, True: True, False: False}


def test_each_modality_has_its_own(capsys):
    values = {"a": normal(N, 2), "b": 5 * normal(N, 3, seed=1), "ids": np.arange(N)}
    forms = {m: form_of(x) for m, x in values.items()}
    records = MemoryRecords(forms, values, range(N), [0] * N)
    scales = measure_scales(records, dict.fromkeys(values, ArrayInput()), forms)
    assert list(scales) == ["a", "b"]
    for m in scales:
        assert_scale({"x": scales[m]}, values[m])
    assert "measuring the scale of a, b ..." in capsys.readouterr().err


def test_a_scale_is_measured_once_and_kept(tmp_path, capsys):
    values = normal(N, 5, 2)
    scales = measure(values, SeriesInput(), in_batches, tmp_path)
    assert "measuring the scale of x" in capsys.readouterr().err
    assert measure(values, SeriesInput(), None, tmp_path) == scales
    assert isinstance(scales["x"], Scale) and not capsys.readouterr().err
    # Inputs that are made in another way have another one.
    cropped = measure(values, SeriesInput(steps=3), in_batches, tmp_path)
    assert_scale(cropped, values[:, 1:4].reshape(-1, 2))
    assert measure(values, SeriesInput(), None, tmp_path) == scales
    files = list((tmp_path / "scales").glob("x-*.json"))
    assert len(files) == 2
    capsys.readouterr()
    for file in files:  # What is damaged is measured again.
        file.write_text(file.read_text().replace("1", "2"))
    assert measure(values, SeriesInput(), in_batches, tmp_path) == scales
    assert "measuring the scale of x" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path):
    (tmp_path / "file").write_text("")
    values = normal(N, 2)
    for _ in range(2):
        assert_scale(measure(values, ArrayInput(), in_batches, tmp_path / "file"), values)


def test_arrays_are_standardised_by_channel():
    x = np.array([[[1, 2], [3, 6]]], np.float16)
    got = standardized(x, (2.0, 4.0), (1.0, 0.5))
    expected = np.float32([[[-1, -4], [1, 4]]])
    np.testing.assert_array_equal(got, expected, strict=True)
    np.testing.assert_array_equal(standardized(x.astype(np.uint8), (2.0, 4.0), (1.0, 0.5)), got)


def test_what_fills_up_a_series_stays_zero():
    x = Series(np.float32([[[1, 2], [3, 6], [0, 0]]]), np.array([[True, True, False]]))
    got = standardized(x, (2.0, 4.0), (1.0, 0.5))
    np.testing.assert_array_equal(got.values, np.float32([[[-1, -4], [1, 4], [0, 0]]]), strict=True)
    np.testing.assert_array_equal(got.mask, x.mask)
    deep = Series(x.values[..., None, :].repeat(3, axis=2), x.mask)
    got_deep = standardized(deep, (2.0, 4.0), (1.0, 0.5)).values
    np.testing.assert_array_equal(got_deep, np.asarray(got.values)[..., None, :].repeat(3, axis=2))


def test_one_number_an_example_or_a_step_has_one_scale():
    x = np.float32([1, 5])
    np.testing.assert_array_equal(standardized(x, (3.0,), (2.0,)), np.float32([-1, 1]))
    steps = Series(np.float32([[1, 5], [3, 0]]), np.array([[True, True], [True, False]]))
    got = standardized(steps, (3.0,), (2.0,)).values
    np.testing.assert_array_equal(got, np.float32([[-1, 1], [0, 0]]), strict=True)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e4, 1e30])
def test_standardised_inputs_have_mean_zero_and_deviation_one(size):
    values = (size * np.random.default_rng(0).normal(2, 3, (N, 4))).astype(np.float32)
    (scale,) = measure(values, ArrayInput(), in_batches).values()
    got = np.asarray(jax.jit(standardized)(values, *scale))
    np.testing.assert_allclose(got.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(got.std(axis=0), 1, rtol=1e-5)
