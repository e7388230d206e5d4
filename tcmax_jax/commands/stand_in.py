"""Synthetic examples with the shapes of a configuration, for use without its data."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tcmax_jax.data.datasets import Dataset
from tcmax_jax.training.config import Config

SOME_CLASSES = 100  # where nothing names them; hardly any step takes longer for it


class UnknownShapeError(ValueError):
    """The shape of an input is not known before the data is prepared."""


def stand_in(config: Config, num_classes: int) -> Dataset:
    """Returns a data set of synthetic records with the shapes of the configuration's data.

    Raises:
      UnknownShapeError: nobody knows the size of the pictures yet.
    """
    rng = np.random.default_rng(0)
    forms = config.data.forms
    for name, modality in config.modalities.items():
        if forms[name].shape is None:
            raise UnknownShapeError(
                f"Expected the files of data.stored.{name}, which say its shape, got none that can "
                "be read. Correct the list, or the paths."
            )
        if None in modality.input.shape(forms[name]):
            raise UnknownShapeError(
                f"Expected modalities.{name}.input.size to know the shape of the pictures before "
                "they are prepared, got none. Set it, or prepare the data first."
            )
    values = {name: form.stand_in(rng) for name, form in forms.items()}
    number = getattr(config.data, "train_examples", max(config.training.batch_size, num_classes))
    return Dataset(
        name="generated examples",
        class_names=[f"class{label}" for label in range(num_classes)],
        summary={},
        sources={
            "train": _Records(values, number, num_classes),
            "validation": _Records(values, 1, 1),
        },
    )


@dataclasses.dataclass
class _Records(Sequence):
    """Synthetic examples that differ in their labels alone."""

    values: dict
    number: int
    num_classes: int

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        if not 0 <= index < self.number:
            raise IndexError(index)
        return {"id": str(index), "label": index % self.num_classes, **self.values}
