"""A generated audio-visual data set on which joint training shows modality competition.

Both modalities carry the class, but at unequal pace. A spectrogram is a class mean plus noise, so
the first gradient steps already find it. A picture is a class pattern whose contrast is inverted
at random, frame by frame: its mean given the class is mid-grey, so that to first order nothing
points to the class, and an encoder has to learn the symmetry first. Joint training fits its
examples with the audio before that happens, and the gradient that would train the visual encoder
fades.
"""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np

from tcmax_jax.data.forms import Form
from tcmax_jax.data.pictures import encode_image
from tcmax_jax.data.sources.base import Source
from tcmax_jax.data.sources.shares import Shares
from tcmax_jax.section import (
    Count,
    Fraction,
    Limits,
    NonNegative,
    SectionError,
    Seed,
    section,
)

# One fixed world, so that every split, whatever its seed, shares the same class patterns.
_WORLD_SEED = 20260213
_STYLES = 4  # patterns per modality spanned by the latent that both modalities share
_RIDGES = 4  # ridges per spectrogram pattern
_NOISE_BLUR = 1.0  # cells; smooth enough to hide patterns, rough enough to memorise examples by
_PICTURE_BLUR = 2.0  # cells; class pictures are smoother than the noise on them
_REDUNDANT = Shares()  # both modalities tell the label of every example
_GREY_LEVELS = 63.75  # grey levels per unit of contrast, so that (x / 255 - 0.5) / 0.25 undoes it


class _Sound(NamedTuple):
    """The stored form of generated spectrograms, see `tcmax_jax.data.forms.Form`."""

    shape: tuple[int, int]

    dtype = np.float16
    kind = input_kind = "spectrogram"
    encoded = varying = False
    from_files = ()
    stand_in = Form.stand_in


class _Pictures(NamedTuple):
    """The stored form of generated frames, see `tcmax_jax.data.forms.Form`."""

    shape: tuple[int]
    picture_size: tuple[int, int]

    dtype = np.uint8
    kind = input_kind = "frames"
    encoded, varying = True, False
    from_files = ()

    def stand_in(self, rng):
        picture = rng.integers(256, size=(*self.picture_size, 3), dtype=np.uint8)
        return [encode_image(picture, lossless=True)] * self.shape[0]


@section
class SyntheticData(Source):
    """A generated audio-visual set: the sound is easy, the picture hard; see `generate`.

    Attributes:
      train_examples: number of training examples.
      validation_examples: number of validation examples.
      test_examples: number of test examples.
      num_classes: number of classes.
      audio_signal: strength of the class pattern in the spectrogram.
      audio_noise: standard deviation of the noise in the spectrogram.
      visual_signal: contrast of the class pattern in the frames.
      visual_noise: standard deviation of the noise in the frames.
      correlation: strength of what the modalities share beyond the label.
      unique_audio: share of examples in which the sound alone tells the label.
      unique_visual: share of examples in which the pictures alone tell the label.
      synergy: share of examples in which both tell the label together, and neither alone; in all
        that remain both tell it, see `tcmax_jax.data.sources.shares`.
      audio_shape: frequencies and time steps of the spectrogram.
      visual_shape: frames, height and width of the pictures.
      seed: seed of the examples; the class patterns never change.
    """

    later: ClassVar = ("unique_audio", "unique_visual", "synergy")

    kind: Literal["synthetic"] = "synthetic"
    train_examples: Count = 2000
    validation_examples: Count = 500
    test_examples: Count = 2000
    num_classes: Annotated[int, Limits(ge=2)] = 10
    audio_signal: NonNegative = 0.35
    audio_noise: NonNegative = 1.0
    visual_signal: NonNegative = 0.4
    visual_noise: NonNegative = 1.0
    correlation: Fraction = 0.0
    unique_audio: Fraction = 0.0
    unique_visual: Fraction = 0.0
    synergy: Fraction = 0.0
    audio_shape: tuple[Count, Count] = (32, 32)
    visual_shape: tuple[Count, Count, Count] = (2, 16, 16)
    seed: Seed = 0

    splits: ClassVar = ("train", "validation", "test")

    def check(self):
        """Raises SectionError where the shares of the examples sum to more than 1."""
        if self.shares.redundancy < -1e-9:
            raise SectionError(
                f"Expected {', '.join(self.later)} of at most 1 in all, got {sum(self.shares):g}. "
                "Lower one of them."
            )

    @property
    def shares(self) -> Shares:
        """The shares of examples by which modalities determine the label."""
        return Shares(self.unique_audio, self.unique_visual, self.synergy)

    @property
    def forms(self):
        """The stored forms of sound and pictures."""
        count, *size = self.visual_shape
        return {"audio": _Sound(self.audio_shape), "visual": _Pictures((count,), tuple(size))}

    @property
    def known_classes(self):
        """The number of classes."""
        return self.num_classes

    @property
    def class_names(self) -> list[str]:
        """Names of the classes."""
        return [f"class{label}" for label in range(self.num_classes)]

    def arrays(self, split: str) -> dict[str, np.ndarray]:
        """Returns the examples of a split in the form of `generate`."""
        names = {field.name for field in dataclasses.fields(self)} - {"kind", *self.later}
        settings = {name: getattr(self, name) for name in names} | {"shares": self.shares}
        sizes = {name: settings.pop(f"{name}_examples") for name in self.splits}
        settings["seed"] = 3 * self.seed + self.splits.index(split)
        return generate(sizes[split], **settings)

    def examples(self, split: str) -> Iterator[tuple[str, dict]]:
        """Yields (key, record) of every example of a split."""
        made = self.arrays(split)
        columns = (made["audio"], made["visual"], made["label"])
        for i, (audio, frames, label) in enumerate(zip(*columns, strict=True)):
            key = f"{split}{i}"
            # PNG, since JPEG would blur the noise of such small pictures.
            images = [encode_image(frame, lossless=True) for frame in frames]
            yield key, {"id": key, "label": int(label), "audio": audio, "visual": images}


def _blur_matrix(size, blur):
    """Returns K float32 [size, size], a Gaussian blur that keeps white noise at variance 1.

    K[i, j] is proportional to exp(-(i - j)^2 / (2 blur^2)), `blur` in cells, with every row scaled
    to Euclidean norm 1, for then (K n)_i has the variance of n_j, at the borders too.
    """
    offset = np.arange(size)[:, None] - np.arange(size)[None, :]
    kernel = np.exp(-0.5 * (offset / blur) ** 2)
    return (kernel / np.linalg.norm(kernel, axis=1, keepdims=True)).astype(np.float32)


def _smooth_noise(rng, shape, blur):
    """Returns a Gaussian field float32 `shape`, blurred along its last two axes, variance 1.

    Neighbouring cells are correlated, for a pattern averaged over hundreds of independent cells
    would stand out of any noise through which it can be seen.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    return _blur_matrix(shape[-2], blur) @ white @ _blur_matrix(shape[-1], blur).T


def _standardise(patterns):
    """Returns `patterns` [K, ...] float32, shifted to mean 0 and scaled to mean square 1 each."""
    axes = tuple(range(1, patterns.ndim))
    centred = patterns - patterns.mean(axis=axes, keepdims=True)
    rms = np.sqrt(np.mean(centred**2, axis=axes, keepdims=True))
    return (centred / rms).astype(np.float32)


def audio_patterns(count, audio_shape):
    """Returns `count` spectrogram patterns float32 [count, F, T], each a sum of four ridges.

    A ridge is exp(-((f - f0 - g (t - t0)) / w_f)^2 / 2 - ((t - t0) / w_t)^2 / 2) with f and t in
    [0, 1]: narrow in frequency, long in time and gliding at slope g, like a formant. Each sum is
    standardised to mean 0 and mean square 1.
    """
    rng = np.random.default_rng([_WORLD_SEED, 0])
    size_f, size_t = audio_shape
    f = ((np.arange(size_f) + 0.5) / size_f)[:, None]
    t = ((np.arange(size_t) + 0.5) / size_t)[None, :]
    each = (count, _RIDGES, 1, 1)
    f0, t0 = rng.uniform(0.1, 0.9, each), rng.uniform(0.1, 0.9, each)
    w_f, w_t = rng.uniform(0.03, 0.06, each), rng.uniform(0.1, 0.3, each)
    glide = rng.uniform(-0.3, 0.3, each)
    ridges = np.exp(-0.5 * ((f - f0 - glide * (t - t0)) / w_f) ** 2 - 0.5 * ((t - t0) / w_t) ** 2)
    return _standardise(ridges.sum(axis=1))


def visual_patterns(count, visual_shape):
    """Returns `count` pictures float32 [count, 3, H, W]: colour clouds, mean 0, mean square 1.

    A picture has no time axis; the frames of one example differ in polarity and noise only.
    """
    rng = np.random.default_rng([_WORLD_SEED, 1])
    return _standardise(_smooth_noise(rng, (count, 3, *visual_shape[1:]), _PICTURE_BLUR))


def generate(
    num_examples,
    *,
    seed,
    num_classes,
    audio_signal,
    audio_noise,
    visual_signal,
    visual_noise,
    correlation,
    audio_shape,
    visual_shape,
    shares=_REDUNDANT,
):
    """Draws labelled pairs of a spectrogram and a short clip.

    With class patterns A_a, V_v, where a and v are the label but for `shares`, style patterns A'_k,
    V'_k, all of mean square 1, smooth unit noise n and m, a style u ~ N(0, I/K) of K = 4 numbers
    per example and a polarity s_t = +1 or -1 per frame, fair and independent of all else:

        audio     = audio_signal A_a + audio_noise n + correlation sum_k u_k A'_k
        visual[t] = clip(127.5 + 63.75 (visual_signal s_t V_v + visual_noise m_t
                                        + correlation sum_k u_k V'_k), 0, 255)

    The patterns depend on `num_classes` and the shapes alone, so calls with different seeds give
    splits of one task. `correlation` sets the standard deviation of what the modalities share
    beyond the label; at 0 they are independent given the label. The style is drawn in any case,
    so that calls which differ only in strengths share their labels, signs and noise.

    Args:
      num_examples: n.
      seed: non-negative integer from which the examples (not the patterns) are drawn.
      num_classes: c.
      audio_signal: strength of the class pattern in the spectrogram, in its (unit) scale.
      audio_noise: standard deviation of the noise in the spectrogram, in the same scale.
      visual_signal: strength of the class pattern in the picture; 1 is 63.75 grey levels.
      visual_noise: standard deviation of the noise in the picture, in the same scale.
      correlation: strength of the shared style in both modalities, in [0, 1].
      audio_shape: (F, T), frequency bins and time steps of the spectrogram.
      visual_shape: (T, H, W), frames, rows and columns of the clip; it always has 3 colours.
      shares: shares of examples in which a, v or both are not the label.

    Returns:
      dict of "audio" float16 [N, F, T], "visual" uint8 [N, T, H, W, 3] and "label" int32 [N].
      Labels are balanced (class counts differ by one at most) and in random order.

    Raises:
      ValueError: `correlation` is outside [0, 1].
    """
    if not 0 <= correlation <= 1:
        raise ValueError(f"Expected a correlation in [0, 1], got {correlation}. Scale it down.")
    spectra = audio_patterns(num_classes + _STYLES, audio_shape)
    pictures = visual_patterns(num_classes + _STYLES, visual_shape)
    frames, height, width = visual_shape

    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(num_examples) % num_classes).astype(np.int32)
    style = rng.standard_normal((num_examples, _STYLES), dtype=np.float32) / np.sqrt(_STYLES)
    style = np.float32(correlation) * style.astype(np.float32)
    polarity = rng.choice(np.float32([-1, 1]), (num_examples, frames, 1, 1, 1))
    # Drawn apart, so that examples which differ in shares alone share all else.
    a, v = shares.draw(label, num_classes, np.random.default_rng([seed, 1]))

    audio = np.float32(audio_noise) * _smooth_noise(rng, (num_examples, *audio_shape), _NOISE_BLUR)
    audio += np.float32(audio_signal) * spectra[a]
    audio += np.tensordot(style, spectra[num_classes:], axes=1)

    noise_shape = (num_examples, frames, 3, height, width)
    visual = np.float32(visual_noise) * _smooth_noise(rng, noise_shape, _NOISE_BLUR)
    visual += np.float32(visual_signal) * polarity * pictures[v][:, None]
    visual += np.tensordot(style, pictures[num_classes:], axes=1)[:, None]
    grey = np.clip(np.rint(127.5 + _GREY_LEVELS * visual), 0, 255).astype(np.uint8)
    return {
        "audio": audio.astype(np.float16),
        "visual": np.ascontiguousarray(np.moveaxis(grey, 2, -1)),
        "label": label,
    }
