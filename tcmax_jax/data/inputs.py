"""Inputs: from the stored value of an example to what an encoder reads.

An input is called with the stored value and the example's seed, from which it augments, or None for
evaluation, which is deterministic. Modalities that show the same scene draw from the same stream of
random numbers, so that frames and optical flow of a clip are cut and mirrored alike; sound draws
from its own. Values stay in their stored width (uint8, float16): the device makes the floats.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, Literal

import cv2
import numpy as np

from tcmax_jax.data.forms import Form
from tcmax_jax.data.pictures import decode_flow, decode_image
from tcmax_jax.section import Count, Family, Fraction, Positive, SectionError, section
from tcmax_jax.series import Series

_SOUND, _SCENE = 0, 1  # streams of random numbers
_CROP_ATTEMPTS = 10


@section
class Input(Family):
    """Base of all inputs.

    Attributes:
      standardize: whether the classifier subtracts the mean of the training split and divides by
        its standard deviation, by channel (the last axis); None does so with floating point
        numbers, and leaves integers, which may be ids.
    """

    standardize: ClassVar[bool | None] = False

    def __call__(self, stored, seed):
        """Returns the encoder's input of one example.

        Args:
          stored: what is stored of it.
          seed: seed of the augmentation in training; None in evaluation.
        """
        raise NotImplementedError

    def decoded(self, stored):
        """Returns what to cache in place of a stored value: decoded if possible, else as stored.

        The input of both is the same.
        """
        return stored

    def shape(self, form: Form) -> tuple[int | None, ...]:
        """Returns the shape of the input; None where a size depends on the example.

        Args:
          form: what is stored.

        Raises:
          SectionError: less is stored than the input takes.
        """
        raise NotImplementedError

    def zeros(self, form: Form):
        """Returns the input of one example, all zero, where its shape is known."""
        return np.zeros(self.shape(form), form.dtype)

    def fitted(self, form: Form) -> "Input":
        """Returns the input with all fields that the stored data determines."""
        return self

    def takes_batches(self, form: Form) -> bool:
        """Returns whether `of_batch` gives the same as a call for each example."""
        return False

    def of_batch(self, stored: np.ndarray):
        """Returns the inputs of a whole batch of stored arrays [B, ...]."""
        raise NotImplementedError


@section
class SpectrogramInput(Input):
    """A stored spectrogram [F, T] becomes [F, steps, 1], of the stored dtype.

    Attributes:
      steps: length in time, cropped at random in training and at the centre in evaluation; None
        keeps all that is stored.
    """

    kind: Literal["spectrogram"] = "spectrogram"
    steps: Count | None = None
    standardize: bool | None = None

    def __call__(self, stored, seed):
        """Crops in time and adds the channel axis."""
        steps = self.steps or stored.shape[1]
        spare = stored.shape[1] - steps
        if spare < 0:
            raise ValueError(
                f"Expected spectrograms of at least steps={steps} time steps, got "
                f"{stored.shape[1]} stored ones. Store longer sound or lower steps."
            )
        start = spare // 2 if seed is None else int(_stream(seed, _SOUND).integers(spare + 1))
        return stored[:, start : start + steps, None]

    def takes_batches(self, form):
        """Returns whether nothing is cropped."""
        return self.steps in (None, form.shape[1])

    def of_batch(self, stored):
        """Adds the channel axis."""
        return stored[..., None]

    def shape(self, form):
        """Returns frequencies, time steps and the one channel."""
        if len(form.shape) != 2 or form.varying:
            raise _misfit("spectrograms [frequencies, windows] of one length", form)
        bins, stored = form.shape
        if (self.steps or 0) > stored:
            raise SectionError(
                f"steps is at most the {stored} that are stored, got {self.steps}; store longer "
                "sound."
            )
        return bins, self.steps or stored, 1


@section
class SceneInput(Input):
    """Base of inputs that are cropped from pictures, all pictures of a clip alike.

    Attributes:
      size: height and width in pixels.
      area: smallest and largest share of the picture that a random crop takes in training.
      aspect: smallest and largest ratio of width to height of that crop.
      flip: whether training mirrors half of the clips.
    """

    size: Count | None = 224
    area: tuple[Fraction, Fraction] = (0.08, 1.0)
    aspect: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    flip: bool = True

    decode: ClassVar[Callable] = staticmethod(decode_image)

    def decoded(self, stored):
        """Returns the pictures as one array, unless they differ in size."""
        pictures = _decoded(stored, self.decode)
        return np.stack(pictures) if len({x.shape for x in pictures}) == 1 else stored


@section
class FramesInput(SceneInput):
    """Stored pictures become [T, size, size, 3] uint8, RGB.

    Attributes:
      size: height and width in pixels; None keeps the stored ones, [T, H, W, 3], without
        augmentation.
    """

    kind: Literal["frames"] = "frames"

    def __call__(self, stored, seed):
        """Decodes, crops, resizes and mirrors the pictures."""
        frames = _decoded(stored, self.decode)
        return np.stack(frames) if self.size is None else _resized(frames, seed, self)[0]

    def takes_batches(self, form):
        """Returns whether nothing is cropped or resized."""
        return self.size is None

    def of_batch(self, stored):
        """Returns the stored arrays."""
        return stored

    def shape(self, form):
        """Returns number of pictures, height, width and the three colours."""
        count, *stored = _pictures(form, 3)
        return count, *(stored if self.size is None else (self.size, self.size)), 3


@section
class FlowInput(SceneInput):
    """Stored optical flow becomes [size, size, 2 T] uint8, cropped and mirrored like the pictures.

    The channels are x and y of the first field, of the second, and so on; 127.5 is no motion. Where
    the scene is mirrored, displacements to the right change their sign. Their lengths stay those in
    stored pixels, whatever the crop.
    """

    kind: Literal["flow"] = "flow"
    size: Count = 224

    decode: ClassVar[Callable] = staticmethod(decode_flow)

    def __call__(self, stored, seed):
        """Decodes, crops, resizes and mirrors the fields, and stacks them in the channels."""
        fields, mirrored = _resized(_decoded(stored, self.decode), seed, self)
        if mirrored:
            fields[..., 0] = 255 - fields[..., 0]
        return fields.transpose(1, 2, 0, 3).reshape(self.size, self.size, -1)

    def shape(self, form):
        """Returns height, width and two channels a field."""
        return self.size, self.size, 2 * _pictures(form, 2)[0]


@section
class ArrayInput(Input):
    """Stored arrays [...] of one shape pass unchanged, such as features [D]."""

    kind: Literal["array"] = "array"
    standardize: bool | None = None

    def __call__(self, stored, seed):
        """Returns the stored array."""
        return stored

    def takes_batches(self, form):
        """Returns True."""
        return True

    def of_batch(self, stored):
        """Returns the stored arrays."""
        return stored

    def shape(self, form):
        """Returns the stored shape."""
        if form.encoded or form.varying:
            raise _misfit("arrays of one shape (input.kind=series takes other lengths)", form)
        return form.shape


@section
class SeriesInput(Input):
    """A stored array [T, ...] becomes a `Series` of `steps` steps, padded with zeros.

    Attributes:
      steps: largest length; longer arrays are cropped at random in training, and at the centre in
        evaluation. None takes the largest length of the data.
    """

    kind: Literal["series"] = "series"
    steps: Count | None = None
    standardize: bool | None = None

    def __call__(self, stored, seed):
        """Crops or pads."""
        spare = len(stored) - self.steps
        if spare > 0:
            start = spare // 2 if seed is None else int(_stream(seed, _SOUND).integers(spare + 1))
            stored = stored[start : start + self.steps]
        values = np.zeros((self.steps, *stored.shape[1:]), stored.dtype)
        values[: len(stored)] = stored
        return Series(values, np.arange(self.steps) < len(stored))

    def fitted(self, form):
        """Returns the input with the largest stored length."""
        return dataclasses.replace(self, steps=self.steps or form.shape[0])

    def zeros(self, form):
        """Returns a series without steps."""
        shape = self.shape(form)
        return Series(np.zeros(shape, form.dtype), np.zeros(shape[0], bool))

    def takes_batches(self, form):
        """Returns whether nothing is cropped or padded."""
        return not form.varying and self.steps in (None, form.shape[0])

    def of_batch(self, stored):
        """Returns the stored arrays with a mask that is True everywhere."""
        return Series(stored, np.ones(stored.shape[:2], bool))

    def shape(self, form):
        """Returns steps, and the shape of one of them."""
        if form.encoded or not form.shape:
            raise _misfit("series [steps, ...]", form)
        return self.steps or form.shape[0], *form.shape[1:]


def _decoded(stored, decode):
    """Returns stored pictures, decoded unless they are stored as arrays."""
    arrays = isinstance(stored, np.ndarray) and stored.dtype == np.uint8
    return stored if arrays else [decode(encoded) for encoded in stored]


def _misfit(expected: str, form: Form) -> SectionError:
    stored = f"{list(form.shape)} of {form.kind}"
    return SectionError(f"Expected {expected} in the data, got {stored}. Choose another input.")


def _pictures(form: Form, channels: int) -> tuple[int | None, ...]:
    """Returns number, height and width of stored pictures; raises SectionError for others."""
    if form.encoded:
        return *form.shape, *form.picture_size
    whole = len(form.shape) == 4 and form.shape[-1] == channels and not form.varying
    if not whole or np.dtype(form.dtype) != np.uint8:
        raise _misfit(f"pictures [number, height, width, {channels}] uint8", form)
    return form.shape[:3]


def _resized(pictures, seed, scene):
    """Returns ([T, size, size, channels], whether mirrored) of one crop of all pictures."""
    height, width = pictures[0].shape[:2]
    size = scene.size
    box = (0, 0, height, width)
    mirrored = False
    if seed is not None:
        rng = _stream(seed, _SCENE)
        # Drawn first: how many numbers a box takes may depend on the size of the pictures.
        mirrored = bool(rng.random() < 0.5) and scene.flip
        box = random_crop_box(rng, height, width, area=scene.area, aspect=scene.aspect)
    top, left, rows, columns = box
    # Interpolation would alias where pictures shrink much; averaging takes seven times as long.
    much = rows * columns > 2 * size * size
    method = cv2.INTER_AREA if much else cv2.INTER_LINEAR
    resized = np.empty((len(pictures), size, size, pictures[0].shape[2]), np.uint8)
    for picture, out in zip(pictures, resized, strict=True):
        cut = picture[top : top + rows, left : left + columns]
        cv2.resize(cut, (size, size), dst=out, interpolation=method)
        if mirrored:
            cv2.flip(out, 1, dst=out)
    return resized, mirrored


def _stream(seed, number):
    # By a key: hashing a seed would take as long as cutting a picture.
    return np.random.Generator(np.random.Philox(key=(int(seed), number)))


def random_crop_box(rng, height, width, *, area, aspect):
    """Draws the box of a random resized crop (Szegedy et al., CVPR 2015).

    The share of the area is uniform in `area`, the ratio log-uniform in `aspect`; a box that does
    not fit is drawn again, and after ten attempts the largest centred box of a permitted ratio is
    taken.

    Args:
      rng: NumPy random generator.
      height: height of the picture in pixels.
      width: width of the picture in pixels.
      area: smallest and largest share of the area.
      aspect: smallest and largest ratio of width to height.

    Returns:
      (top, left, rows, columns) in pixels.
    """
    for _ in range(_CROP_ATTEMPTS):
        pixels = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        columns, rows = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < rows <= height and 0 < columns <= width:
            top = int(rng.integers(height - rows + 1))
            left = int(rng.integers(width - columns + 1))
            return top, left, rows, columns
    ratio = min(max(width / height, aspect[0]), aspect[1])
    rows = min(height, max(1, round(width / ratio)))
    columns = min(width, max(1, round(height * ratio)))
    return (height - rows) // 2, (width - columns) // 2, rows, columns
