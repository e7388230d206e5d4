"""Features computed from decoded sound and pictures, each a pure function of arrays."""

import functools
from typing import Literal

import cv2
import numpy as np
import scipy.fft

Fill = Literal["tile", "zero"]


def fit_length(audio: np.ndarray, samples: int, fill: Fill) -> np.ndarray:
    """Brings audio to a fixed length.

    Args:
      audio: float [n], n >= 1. Where n > `samples`, its central part is kept.
      samples: length of the result.
      fill: what to do where n < `samples`: "tile" repeats the clip from its begin until the
        length is reached, "zero" centres it in zeros.

    Returns:
      float32 [samples].
    """
    missing = samples - len(audio)
    if missing <= 0:
        begin = (len(audio) - samples) // 2
        audio = audio[begin : begin + samples]
    elif fill == "tile":
        audio = np.resize(audio, samples)
    elif fill == "zero":
        audio = np.pad(audio, (missing // 2, missing - missing // 2))
    else:
        raise ValueError(f"fill: Expected 'tile' or 'zero', got {fill!r}. Choose one of them.")
    return audio.astype(np.float32)


def log_spectrogram(audio: np.ndarray, *, n_fft: int, hop: int, floor: float = 1e-7) -> np.ndarray:
    """Logarithm of the magnitude of the short-time Fourier transform.

    S[k, m] = log(|sum_n w[n] x[m H + n - N // 2] exp(-2 pi i k n / N)| + floor), n = 0 .. N - 1,
    with x = `audio` and zero outside it, N = `n_fft`, H = `hop`, and the periodic Hann window
    w[n] = (1 - cos(2 pi n / N)) / 2.

    Args:
      audio: float [samples].
      n_fft: samples per window.
      hop: samples from one window to the next.
      floor: added to the magnitude so that silence stays finite.

    Returns:
      float32 [n_fft // 2 + 1, 1 + samples // hop].

    Source: the preprocessing of TCMax, arXiv 2602.13015. Equals librosa's centred STFT.
    """
    if audio.ndim != 1 or n_fft < 1 or hop < 1:
        raise ValueError(
            f"Expected audio [samples], n_fft >= 1 and hop >= 1, got shape {audio.shape}, n_fft "
            f"{n_fft} and hop {hop}. Pass one mono clip and positive sizes."
        )
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    padded = np.pad(audio.astype(np.float32), (n_fft // 2, n_fft - n_fft // 2))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    spectrum = scipy.fft.rfft(pieces * window, axis=-1)
    return np.log(np.abs(spectrum.T) + np.float32(floor))


def log_filter_bank(
    audio: np.ndarray,
    *,
    rate: int,
    bins: int = 128,
    window: float = 0.025,
    hop: float = 0.010,
    low: float = 20.0,
) -> np.ndarray:
    """Logarithm of Kaldi's mel filter bank energies, HTK-compatible, without dither or energy.

    Of each window of L = `window` * `rate` samples, every H = `hop` * `rate` samples (whole windows
    only), the mean is removed, then

    x'[n] = (x[n] - 0.97 x[n - 1]) (1 - cos(2 pi n / (L - 1))) / 2, with x[-1] = x[0],
    E[b, m] = log max(sum_k W[b, k] |X'[k]|^2, 2^-23), X' the Fourier transform of x' padded with
    zeros to the next power of two N.

    W[b, k] is the triangle over the mel frequency 1127 log(1 + f / 700) of f = k `rate` / N that
    rises from mel_b to 1 at mel_{b + 1} and falls to mel_{b + 2}; the mel_b are even from `low` to
    `rate` / 2.

    Args:
      audio: float [samples], at least one window.
      rate: samples per second, in Hz.
      bins: number of filters.
      window: length of a window in seconds.
      hop: from one window to the next in seconds.
      low: lower edge of the first filter in Hz.

    Returns:
      float32 [bins, 1 + (samples - L) // H].

    Raises:
      ValueError: the audio is not one clip of a window or more.

    Source: Kaldi's compute-fbank-feats, as in torchaudio.compliance.kaldi.fbank, which TCMax's
    preprocessing of Kinetics-Sounds calls.
    """
    length, shift = round(rate * window), round(rate * hop)
    if audio.ndim != 1 or len(audio) < length or shift < 1 or bins < 1:
        raise ValueError(
            f"Expected audio of at least {length} samples ({window:g} s), bins >= 1 and a hop of a "
            f"sample or more, got shape {audio.shape}, bins {bins} and hop {hop:g} s. Pass one "
            "mono clip, padded if need be."
        )
    n_fft = 1 << (length - 1).bit_length()
    pieces = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float32), length)[::shift]
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    before = np.concatenate([pieces[:, :1], pieces[:, :-1]], axis=1)
    pieces = (pieces - np.float32(0.97) * before) * np.hanning(length).astype(np.float32)
    power = np.abs(scipy.fft.rfft(pieces, n_fft, axis=1)) ** 2
    energies = _mel_triangles(rate, n_fft, bins, low) @ power.T
    return np.log(np.maximum(energies, np.finfo(np.float32).eps))


@functools.cache
def _mel_triangles(rate: int, n_fft: int, bins: int, low: float) -> np.ndarray:
    """Weights [bins, n_fft // 2 + 1] of the filters."""

    def mel(hertz):
        return 1127 * np.log1p(hertz / 700)

    edges = np.linspace(mel(low), mel(rate / 2), bins + 2)[:, None]
    at = mel(np.arange(n_fft // 2 + 1) * rate / n_fft)[None]
    width = edges[1] - edges[0]
    rising, falling = (at - edges[:-2]) / width, (edges[2:] - at) / width
    triangles = np.maximum(0, np.minimum(rising, falling))
    triangles[:, -1] = 0  # Kaldi leaves the highest frequency out.
    return triangles.astype(np.float32)


def optical_flow(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Dense motion from one picture to the next by Farneback's polynomial expansion.

    Around each pixel both pictures are fitted by quadratics, f1(x) = x^T A x + b1^T x + c1 and
    f2(x) = f1(x - d); then d = -A^-1 (b2 - b1) / 2, averaged over a window and refined from coarse
    to fine: 3 pyramid levels of scale 0.5, windows of 15 pixels, 3 iterations, fits over 5 pixels
    with standard deviation 1.2.

    Args:
      before: uint8 [H, W, 3] RGB.
      after: uint8 [H, W, 3] RGB, the picture that follows.

    Returns:
      float32 [H, W, 2], displacement to the right and downwards in pixels.

    Raises:
      ValueError: the pictures differ in shape.

    Source: G. Farneback, SCIA 2003, by OpenCV; parameters of TCMax's preprocessing of UCF101.
    """
    if before.shape != after.shape:
        raise ValueError(
            f"Expected two pictures of one shape, got {before.shape} and {after.shape}. Resize one."
        )
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after)]
    return cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)
