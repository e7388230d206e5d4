"""From a stored record to an encoder's input, with augmentation where a seed is given.

Each function takes the stored value and the example's seed, or None for evaluation, which is
deterministic. Modalities that show the same scene draw from the same stream of random numbers, so
that frames and optical flow of a clip are cut and mirrored alike; sound draws from its own. Values
stay in their stored width (uint8, float16): the device makes the floats.
"""

import math

import cv2
import numpy as np

from tcmax_jax.data.pictures import decode_flow, decode_image

_SOUND, _SCENE = 0, 1  # streams of random numbers
_CROP_ATTEMPTS = 10


def spectrogram_input(stored, seed, *, steps):
    """Crops a spectrogram in time and adds the channel axis.

    Args:
      stored: [F, T] float.
      seed: seed of the crop's start in training; None crops at the centre.
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
    start = spare // 2 if seed is None else int(_stream(seed, _SOUND).integers(spare + 1))
    end = None if steps is None else start + steps
    return stored[:, start:end, None]


def frames_input(stored, seed, *, size, area, aspect, flip):
    """Decodes pictures and brings them to one size, all frames of a clip in the same way.

    Args:
      stored: [T] encoded pictures (bytes of `tcmax_jax.data.pictures.encode_image`).
      seed: seed of a random resized crop and of a flip in training; None takes the whole picture.
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
    resized, _ = _resized(frames, seed, size, area, aspect, flip)
    return resized


def flow_input(stored, seed, *, size, area, aspect, flip):
    """Decodes optical flow and stacks it in the channels, cut and mirrored as the frames are.

    Where the scene is mirrored, displacements to the right change their sign. Their lengths stay
    those in stored pixels, whatever the crop.

    Args:
      stored: [T] flow fields, see `tcmax_jax.data.pictures.encode_flow`.
      seed: seed of a random resized crop and of a flip in training; None takes the whole picture.
      size: height and width of the result in pixels.
      area: smallest and largest share of the picture's area in the crop.
      aspect: smallest and largest ratio of width to height of the crop.
      flip: whether training mirrors half of the clips.

    Returns:
      [size, size, 2 T] uint8: x and y of the first field, of the second, and so on; 127.5 is no
      motion.
    """
    fields = [decode_flow(field) for field in stored]
    resized, mirrored = _resized(fields, seed, size, area, aspect, flip)
    if mirrored:
        resized[..., 0] = 255 - resized[..., 0]
    return resized.transpose(1, 2, 0, 3).reshape(size, size, -1)


def features_input(stored, seed):
    """Returns a stored feature vector as it is."""
    del seed
    return stored


def _resized(pictures, seed, size, area, aspect, flip):
    """Returns ([T, size, size, channels], whether mirrored) of one crop of all pictures."""
    height, width = pictures[0].shape[:2]
    box = (0, 0, height, width)
    mirrored = False
    if seed is not None:
        rng = _stream(seed, _SCENE)
        # Drawn first: how many numbers a box takes may depend on the size of the pictures.
        mirrored = bool(rng.random() < 0.5) and flip
        box = random_crop_box(rng, height, width, area=area, aspect=aspect)
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
