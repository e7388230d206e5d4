"""Made-up examples of the shape of a data set, to time a model before its data is prepared."""

from collections.abc import Sequence

import numpy as np

from tcmax_jax.data.datasets import Dataset
from tcmax_jax.training.config import Config


class UnknownShapeError(ValueError):
    """The shape of an input is not known before the data is prepared."""


def stand_in(config: Config, num_classes: int) -> Dataset:
    """Returns a data set of records in the form of the configuration's, without a meaning.

    Args:
      config: the configuration.
      num_classes: number of classes.

    Raises:
      UnknownShapeError: nobody knows the size of the pictures yet.
    """
    rng = np.random.default_rng(0)
    forms = config.data.forms
    for name, modality in config.modalities.items():
        if None in modality.input.shape(forms[name]):
            raise UnknownShapeError(
                f"Expected modalities.{name}.input.size to know the shape of the pictures before "
                "they are prepared, got none. Set it, or prepare the data first."
            )
    values = {name: form.stand_in(rng) for name, form in forms.items()}
    number = getattr(config.data, "train_examples", max(config.training.batch_size, num_classes))
    return Dataset(
        name="made-up examples",
        class_names=[f"class{label}" for label in range(num_classes)],
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
