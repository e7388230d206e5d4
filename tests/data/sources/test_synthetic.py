"""Claims about the generated data set: what an example holds, and what its modalities share."""

import numpy as np
import pytest

from tcmax_jax.data.sources.synthetic import audio_patterns, generate, visual_patterns

CLASSES, STYLES = 3, 4
KNOBS = {
    "seed": 0,
    "num_classes": CLASSES,
    "audio_signal": 0.0,
    "audio_noise": 0.0,
    "visual_signal": 0.0,
    "visual_noise": 0.0,
    "correlation": 0.0,
    "audio_shape": (12, 10),
    "visual_shape": (2, 8, 9),
}
# Small enough that no grey level has to be clipped.
NOISY = {"audio_signal": 0.5, "audio_noise": 0.3, "visual_signal": 0.25, "visual_noise": 0.3}


def draw(num_examples, **knobs):
    return generate(num_examples, **{**KNOBS, **knobs})


def spectra():
    return audio_patterns(CLASSES + STYLES, KNOBS["audio_shape"])


def pictures():
    """Patterns [count, H, W, 3], the colours last as in examples."""
    patterns = visual_patterns(CLASSES + STYLES, KNOBS["visual_shape"])
    return np.moveaxis(patterns, 1, -1)


def contrast(visual):
    return (visual / 255 - 0.5) / 0.25


def coefficients(values, label, patterns):
    """Least squares over the patterns of the label and of the styles, [N, 1 + STYLES], errors."""
    fitted, errors = [], []
    for value, y in zip(values.astype(float), label, strict=True):
        basis = patterns[[y, *range(CLASSES, CLASSES + STYLES)]].reshape(1 + STYLES, -1).T
        fitted.append(np.linalg.lstsq(basis, value.ravel())[0])
        errors.append(np.abs(basis @ fitted[-1] - value.ravel()).max())
    return np.array(fitted), np.array(errors)


def test_same_seed_gives_the_same_arrays():
    one, two = draw(9, **NOISY, correlation=0.5), draw(9, **NOISY, correlation=0.5)
    other = draw(9, **NOISY, correlation=0.5, seed=1)
    for key in ("audio", "visual", "label"):
        np.testing.assert_array_equal(one[key], two[key], strict=True)
        assert not np.array_equal(one[key], other[key])


def test_form_of_the_examples():
    examples = draw(5, **NOISY)
    form = {key: (value.shape, value.dtype) for key, value in examples.items()}
    assert form == {
        "audio": ((5, 12, 10), np.float16),
        "visual": ((5, 2, 8, 9, 3), np.uint8),
        "label": ((5,), np.int32),
    }


def test_patterns_have_mean_zero_and_mean_square_one():
    for patterns in (spectra(), pictures()):
        flat = patterns.reshape(CLASSES + STYLES, -1).astype(float)
        np.testing.assert_allclose(flat.mean(axis=1), 0, atol=1e-5)
        gram = flat @ flat.T / flat.shape[1]
        np.testing.assert_allclose(np.diag(gram), 1, rtol=1e-5)
        assert np.abs(gram - np.diag(np.diag(gram))).max() < 0.9  # and they differ


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_audio_without_noise_is_the_class_pattern(seed):
    examples = draw(10, audio_signal=0.75, seed=seed)
    expected = 0.75 * spectra()[examples["label"]]
    np.testing.assert_array_equal(examples["audio"], expected.astype(np.float16))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("strength", [0.5, 2.0])  # without and with clipping
def test_frame_without_noise_is_the_class_pattern_up_to_sign(seed, strength):
    examples = draw(20, visual_signal=strength, seed=seed)
    signs = []
    for clip, y in zip(examples["visual"], examples["label"], strict=True):
        grey = [np.clip(127.5 + 63.75 * s * strength * pictures()[y], 0, 255) for s in (-1, 1)]
        near = [[np.abs(frame - g).max() < 0.501 for g in grey] for frame in clip]
        assert all(sum(matches) == 1 for matches in near)
        signs.append([minus for minus, _ in near])
    # Both signs occur, and every frame has its own.
    assert {tuple(pair) for pair in signs} == {(a, b) for a in (True, False) for b in (True, False)}


def test_labels_are_balanced_and_shuffled():
    label = draw(100)["label"]
    assert sorted(np.bincount(label, minlength=CLASSES)) == [33, 33, 34]
    assert not np.array_equal(label, np.arange(100) % CLASSES)
    assert (np.diff(label) < 0).sum() > 10


@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_noise_has_the_given_deviation_in_every_cell(noise):
    examples = draw(2000, audio_noise=noise, visual_noise=noise)
    for cells in (examples["audio"].astype(float), contrast(examples["visual"])):
        # The error of a deviation over 2000 draws is 1.6 %.
        np.testing.assert_allclose(cells.std(axis=0), noise, rtol=0.08)
        np.testing.assert_allclose(cells.mean(axis=0), 0, atol=0.12 * noise)


def test_noise_is_smooth():
    examples = draw(2000, audio_noise=0.4, visual_noise=0.4)
    audio, visual = examples["audio"].astype(float), contrast(examples["visual"])
    # White noise under a Gaussian of width b has the correlation exp(-d^2 / (4 b^2)) at distance d.
    for one, two, expected in [
        (audio[:, 5, 5], audio[:, 6, 5], np.exp(-1 / 4)),
        (audio[:, 5, 4], audio[:, 5, 6], np.exp(-1)),
        (visual[:, 0, 4, 4, 0], visual[:, 0, 4, 5, 0], np.exp(-1 / 4)),
        (visual[:, 0, 4, 4, 0], visual[:, 0, 4, 4, 1], 0),  # another colour
        (visual[:, 0, 4, 4, 0], visual[:, 1, 4, 4, 0], 0),  # another frame
    ]:
        assert np.corrcoef(one, two)[0, 1] == pytest.approx(expected, abs=0.08)


def test_strengths_leave_the_draws_alone():
    one, two = draw(8, **NOISY), draw(8, **{**NOISY, "visual_noise": 0.1}, correlation=0.5)
    np.testing.assert_array_equal(one["label"], two["label"])
    difference = (two["audio"].astype(float) - one["audio"]).reshape(8, -1).T
    basis = spectra()[CLASSES:].reshape(STYLES, -1).T
    assert np.abs(difference).max() > 0.1
    rest = difference - basis @ np.linalg.lstsq(basis, difference)[0]
    assert np.abs(rest).max() < 0.005  # rounding to 16 bits


def test_modalities_share_the_style():
    examples = draw(200, audio_signal=0.5, visual_signal=0.25, correlation=0.2)
    audio, error = coefficients(examples["audio"], examples["label"], spectra())
    assert error.max() < 0.005
    np.testing.assert_allclose(audio[:, 0], 0.5, atol=0.005)
    for t in range(2):
        frame = contrast(examples["visual"][:, t])
        visual, error = coefficients(frame, examples["label"], pictures())
        assert error.max() < 0.02  # rounding to grey levels, 1 / 63.75 wide
        np.testing.assert_allclose(np.abs(visual[:, 0]), 0.25, atol=0.02)
        np.testing.assert_allclose(visual[:, 1:], audio[:, 1:], atol=0.02)
    # The style has variance 1 / STYLES in each of its directions; the error of this mean is 5 %.
    assert (audio[:, 1:] ** 2).sum(axis=1).mean() == pytest.approx(0.2**2, rel=0.2)


@pytest.mark.parametrize("correlation,low,high", [(0, -0.1, 0.1), (0.3, 0.3, 1)])
def test_dependence_given_the_label(correlation, low, high):
    examples = draw(500, **NOISY, correlation=correlation)
    audio, _ = coefficients(examples["audio"], examples["label"], spectra())
    visual, _ = coefficients(contrast(examples["visual"][:, 0]), examples["label"], pictures())
    measured = np.corrcoef(audio[:, 1:].ravel(), visual[:, 1:].ravel())[0, 1]
    assert low < measured < high


def test_class_means_show_in_audio_but_not_in_pictures():
    examples = draw(3000, **NOISY)
    for y in range(CLASSES):
        of_class = examples["label"] == y
        audio = examples["audio"][of_class].astype(float).mean(axis=0)
        np.testing.assert_allclose(audio, 0.5 * spectra()[y], atol=0.06)
        # 2000 frames leave 1 / 45 of the contrast of 16 grey levels.
        visual = examples["visual"][of_class].mean(axis=(0, 1)) - 127.5
        assert np.sqrt((visual**2).mean()) < 1.5


@pytest.mark.parametrize("correlation", [-0.1, 1.1])
def test_correlation_outside_its_range(correlation):
    with pytest.raises(ValueError, match=rf"correlation in \[0, 1\], got {correlation}"):
        draw(4, correlation=correlation)
