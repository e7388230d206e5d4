import cmath
import math

import numpy as np
import pytest

from tcmax_jax.data.features import log_spectrogram


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
    with pytest.raises(ValueError, match=r"got shape \(2, 8\), n_fft 4 and hop 2; pass one mono"):
        log_spectrogram(np.zeros((2, 8)), n_fft=4, hop=2)
