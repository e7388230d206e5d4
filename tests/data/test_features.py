import cmath
import math

import numpy as np
import pytest

from tcmax_jax.data.features import log_filter_bank, log_spectrogram, optical_flow


def slow_log_spectrogram(audio, n_fft, hop, floor):
    """The formula, term by term."""
    result = np.empty((n_fft // 2 + 1, 1 + len(audio) // hop))
    for k in range(result.shape[0]):
        for m in range(result.shape[1]):
            total = 0
            for n in range(n_fft):
                place = m * hop + n - n_fft // 2
                value = audio[place] if 0 <= place < len(audio) else 0.0
                window = (1 - math.cos(2 * math.pi * n / n_fft)) / 2
                total += window * value * cmath.exp(-2j * math.pi * k * n / n_fft)
            result[k, m] = math.log(abs(total) + floor)
    return result


@pytest.mark.parametrize("samples,n_fft,hop", [(50, 16, 4), (53, 16, 8), (40, 12, 5), (20, 9, 4)])
def test_equals_the_formula(samples, n_fft, hop):
    audio = np.random.default_rng(0).normal(size=samples).astype(np.float32)
    spectrogram = log_spectrogram(audio, n_fft=n_fft, hop=hop, floor=1e-3)
    assert spectrogram.dtype == np.float32
    expected = slow_log_spectrogram(audio, n_fft, hop, 1e-3)
    np.testing.assert_allclose(spectrogram, expected, atol=1e-4)


def test_silence_is_the_floor():
    spectrogram = log_spectrogram(np.zeros(100), n_fft=16, hop=4)
    np.testing.assert_allclose(spectrogram, math.log(1e-7), rtol=1e-6)


def test_tone_is_at_its_frequency():
    rate, n_fft = 16000, 256
    audio = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    spectrogram = log_spectrogram(audio, n_fft=n_fft, hop=80)
    assert spectrogram.shape == (129, 201)
    assert (spectrogram[:, 5:-5].argmax(axis=0) == 1000 * n_fft // rate).all()


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r"got shape \(2, 8\), n_fft 4 and hop 2\. Pass one mono"):
        log_spectrogram(np.zeros((2, 8)), n_fft=4, hop=2)


def slow_filter_bank(audio, rate, bins, low):
    """The formula, term by term, with windows of 25 ms every 10 ms."""
    length, shift = round(0.025 * rate), round(0.01 * rate)
    n_fft = 1
    while n_fft < length:
        n_fft *= 2

    def mel(hertz):
        return 1127 * math.log(1 + hertz / 700)

    step = (mel(rate / 2) - mel(low)) / (bins + 1)
    result = np.empty((bins, 1 + (len(audio) - length) // shift))
    for m in range(result.shape[1]):
        x = audio[m * shift : m * shift + length].astype(float)
        x = x - sum(x) / length
        x = [x[n] - 0.97 * x[max(n - 1, 0)] for n in range(length)]
        x = [v * (1 - math.cos(2 * math.pi * n / (length - 1))) / 2 for n, v in enumerate(x)]
        turns = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2), np.arange(length)) / n_fft)
        power = abs(turns @ np.array(x)) ** 2
        for b in range(bins):
            energy = 0.0
            for k in range(n_fft // 2):
                place = (mel(k * rate / n_fft) - mel(low)) / step - b
                energy += power[k] * max(0.0, min(place, 2 - place))
            result[b, m] = math.log(max(energy, 2.0**-23))
    return result


@pytest.mark.parametrize(
    "samples,rate,bins,low", [(400, 8000, 23, 20.0), (810, 16000, 40, 60.0), (640, 16000, 128, 20)]
)
def test_filter_bank_equals_the_formula(samples, rate, bins, low):
    audio = np.random.default_rng(1).normal(size=samples).astype(np.float32)
    energies = log_filter_bank(audio, rate=rate, bins=bins, low=low)
    assert energies.dtype == np.float32
    np.testing.assert_allclose(energies, slow_filter_bank(audio, rate, bins, low), atol=2e-3)


def test_filter_bank_of_ten_seconds_and_of_silence():
    energies = log_filter_bank(np.zeros(160_000), rate=16000)
    assert energies.shape == (128, 998)
    np.testing.assert_allclose(energies, math.log(2**-23), rtol=1e-6)


def test_filter_bank_of_a_tone_peaks_at_its_frequency():
    audio = np.sin(2 * np.pi * 1000 * np.arange(8000) / 16000)
    peak = log_filter_bank(audio, rate=16000, bins=40).argmax(axis=0)
    mel = 1127 * np.log1p(np.array([20, 8000, 1000]) / 700)
    assert set(peak) == {round((mel[2] - mel[0]) / (mel[1] - mel[0]) * 41) - 1}


def test_too_short_for_a_filter_bank():
    with pytest.raises(ValueError, match=r"at least 400 samples \(0\.025 s\).*got shape \(399,\)"):
        log_filter_bank(np.zeros(399), rate=16000)


def texture(shift_right=0.0, shift_down=0.0):
    """A smooth random picture, moved by parts of pixels through its Fourier transform."""
    rng = np.random.default_rng(2)
    y, x = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(96), indexing="ij")
    spectrum = np.fft.fft2(rng.normal(size=(64, 96))) * np.exp(-800 * (x**2 + y**2))
    spectrum *= np.exp(-2j * np.pi * (x * shift_right + y * shift_down))
    picture = np.fft.ifft2(spectrum).real
    grey = np.clip(128 + 60 * picture / 0.025, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


@pytest.mark.parametrize("right,down", [(0.0, 0.0), (1.5, 0.0), (-2.0, 1.0), (0.0, -3.0)])
def test_flow_is_the_shift_of_the_picture(right, down):
    flow = optical_flow(texture(), texture(right, down))
    assert flow.shape == (64, 96, 2)
    assert flow.dtype == np.float32
    middle = flow[16:-16, 16:-16].reshape(-1, 2)
    np.testing.assert_allclose(middle.mean(axis=0), [right, down], atol=0.1)


def test_flow_of_mirrored_pictures_is_mirrored_and_goes_the_other_way():
    before, after = texture(), texture(1.5, 1.0)
    flow = optical_flow(before, after)
    mirrored = optical_flow(before[:, ::-1].copy(), after[:, ::-1].copy())
    expected = flow[:, ::-1] * [-1, 1]
    np.testing.assert_allclose(mirrored[16:-16, 16:-16], expected[16:-16, 16:-16], atol=0.1)


def test_flow_between_pictures_of_other_shapes():
    with pytest.raises(ValueError, match=r"got \(64, 96, 3\) and \(32, 96, 3\)\. Resize one"):
        optical_flow(texture(), texture()[:32])
