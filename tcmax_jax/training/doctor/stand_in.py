"""Made-up examples of the shape of a data set, to time a model before its data is prepared."""

from collections.abc import Sequence

import numpy as np

from tcmax_jax.data.datasets import Dataset
from tcmax_jax.data.pictures import encode_flow, encode_image
from tcmax_jax.training.config import Config, Frames
from tcmax_jax.training.config.data import SyntheticData
from tcmax_jax.training.prepare import stored_forms


class UnknownShapeError(ValueError):
    """The shape of an input is not known before the data is prepared."""


def stand_in(config: Config, num_classes: int) -> Dataset:
    """Returns a data set of records in the form of the configuration's, without a meaning.

    Args:
      config: the configuration.
      num_classes: number of classes.

    Raises:
      UnknownShapeError: nobody knows the size of the pictures yet.
      ValueError: the data set does not have a modality.
    """
    rng = np.random.default_rng(0)
    number = max(config.training.batch_size, num_classes)
    if isinstance(config.data, SyntheticData):
        kinds = {"audio": "spectrogram", "visual": "frames"}
        number = config.data.train_examples
        count, *size = config.data.visual_shape
        picture = rng.integers(256, size=(*size, 3), dtype=np.uint8)
        values = {
            "audio": rng.standard_normal(config.data.audio_shape).astype(np.float16),
            "visual": [encode_image(picture, lossless=True)] * count,
        }
    else:
        _check_sizes(config)
        forms = stored_forms(config)
        kinds = {name: form.input_kind for name, form in forms.items()}
        values = {name: _value(form, rng) for name, form in forms.items()}
    if missing := sorted(config.modalities.keys() - values.keys()):
        raise ValueError(
            f"Expected modalities of the data set ({', '.join(values)}), got {missing[0]!r}. "
            "Correct the names under `modalities` in the configuration."
        )
    return Dataset(
        name="made-up examples",
        class_names=[f"class{label}" for label in range(num_classes)],
        kinds=kinds,
        summary={},
        sources={"train": _Records(values, number, num_classes), "validation": _one(values)},
    )


class _Records(Sequence):
    """Examples that differ in their label alone."""

    def __init__(self, values, number, num_classes):
        self._values = values
        self._number = number
        self._num_classes = num_classes

    def __len__(self):
        return self._number

    def __getitem__(self, index):
        if not 0 <= index < self._number:
            raise IndexError(index)
        return {"id": str(index), "label": index % self._num_classes, **self._values}


def _one(values):
    return _Records(values, 1, 1)


def _value(form, rng):
    """Returns what is stored of one example: an array, or encoded pictures."""
    if form.dtype is not None:
        return rng.standard_normal(form.shape).astype(form.dtype)
    size = (form.short_side, form.short_side)
    if form.input_kind == "flow":
        return [encode_flow(rng.uniform(-1, 1, (*size, 2)), 1.0)] * form.count
    return [encode_image(rng.integers(256, size=(*size, 3), dtype=np.uint8))] * form.count


def _check_sizes(config):
    for name, modality in config.modalities.items():
        if isinstance(modality.input, Frames) and modality.input.size is None:
            raise UnknownShapeError(
                f"Expected modalities.{name}.input.size to know the shape of the pictures before "
                "they are prepared, got none. Set it, or prepare the data first."
            )
