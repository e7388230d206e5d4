"""From a stored record to an encoder's input, with augmentation where a generator is given.

Each function takes the stored value and a NumPy random generator, or None for evaluation, which is
deterministic. Values stay in their stored width (uint8, float16): the device makes the floats.
"""

import math

import cv2
import numpy as np

from tcmax_jax.data.media import decode_image

_CROP_ATTEMPTS = 10


def spectrogram_input(stored, rng, *, steps):
    """Crops a spectrogram in time and adds the channel axis.

    Args:
      stored: [F, T] float.
      rng: generator of the crop's start in training; None crops at the centre.
      steps: time steps to keep; None keeps all.

    Returns:
      [F, steps, 1], of the dtype of `stored`.

    Raises:
      ValueError: fewer than `steps` are stored.
    """
    spare = 0 if steps is None else stored.shape[1] - steps
    if spare < 0:
        raise ValueError(
            f"Expected spectrograms of at least steps={steps} time steps, got "
            f"{stored.shape[1]} stored ones. Store longer sound or lower steps."
        )
    start = spare // 2 if rng is None else int(rng.integers(spare + 1))
    end = None if steps is None else start + steps
    return stored[:, start:end, None]


def frames_input(stored, rng, *, size, area, aspect, flip):
    """Decodes pictures and brings them to one size, all frames of a clip in the same way.

    Args:
      stored: [T] encoded pictures (JPEG or PNG bytes).
      rng: generator of a random resized crop and of a flip in training; None takes the whole
        picture.
      size: height and width of the result in pixels; None keeps the pictures as they are.
      area: smallest and largest share of the picture's area in the crop.
      aspect: smallest and largest ratio of width to height of the crop.
      flip: whether training mirrors half of the clips.

    Returns:
      [T, size, size, 3] uint8, RGB; [T, H, W, 3] without a size.
    """
    frames = [decode_image(image) for image in stored]
    if size is None:
        return np.stack(frames)
    height, width = frames[0].shape[:2]
    box = (0, 0, height, width)
    mirrored = False
    if rng is not None:
        box = random_crop_box(rng, height, width, area=area, aspect=aspect)
        mirrored = flip and rng.random() < 0.5
    top, left, rows, columns = box
    cut = [frame[top : top + rows, left : left + columns] for frame in frames]
    # Averaging over areas when shrinking, since interpolation would alias.
    method = cv2.INTER_AREA if rows * columns > size * size else cv2.INTER_LINEAR
    resized = np.stack([cv2.resize(frame, (size, size), interpolation=method) for frame in cut])
    return np.ascontiguousarray(resized[:, :, ::-1]) if mirrored else resized


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
