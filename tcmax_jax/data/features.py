"""Features computed from decoded sound."""

import numpy as np
import scipy.fft


def log_spectrogram(audio: np.ndarray, *, n_fft: int, hop: int, floor: float = 1e-7) -> np.ndarray:
    """Logarithm of the magnitude of the short-time Fourier transform.

    S[k, m] = log(|sum_n w[n] x[m H + n - N // 2] exp(-2 pi i k n / N)| + floor), n = 0 .. N - 1,
    with x = `audio` and zero outside it, N = `n_fft`, H = `hop`, and the periodic Hann window
    w[n] = (1 - cos(2 pi n / N)) / 2.

    Args:
        audio: float [samples].
        n_fft: Samples per window.
        hop: Samples from one window to the next.
        floor: Added to the magnitude so that silence stays finite.

    Returns:
        float32 [n_fft // 2 + 1, 1 + samples // hop].

    Source: the preprocessing of TCMax, arXiv 2602.13015. Equals librosa's centred STFT.
    """
    if audio.ndim != 1 or n_fft < 1 or hop < 1:
        raise ValueError(
            f"expected audio [samples], n_fft >= 1 and hop >= 1, got shape {audio.shape}, n_fft "
            f"{n_fft} and hop {hop}; pass one mono clip and positive sizes"
        )
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    padded = np.pad(audio.astype(np.float32), (n_fft // 2, n_fft - n_fft // 2))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    spectrum = scipy.fft.rfft(pieces * window, axis=-1)
    return np.log(np.abs(spectrum.T) + np.float32(floor))
