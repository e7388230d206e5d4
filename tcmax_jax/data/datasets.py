"""Prepared data sets, as the pipeline reads them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tcmax_jax import digests
from tcmax_jax.data.prepared import AGAIN, RECORDS, DataError, open_prepared, unreadable


class Dataset(NamedTuple):
    """A prepared data set.

    Attributes:
      name: name and version of the prepared folder.
      class_names: names of the classes, in the order of their labels.
      summary: what became of the listed clips, see
        `tcmax_jax.data.preparation.summary.summarise`; {} for generated sets.
      sources: {split: random-access source of records {"label": number of the class, modality:
        value}}, with "weight" for all of them or none.
      forms: {modality: fields of its stored form that were read from files}.
      folder: where what is computed of the data is kept; None for nowhere.
    """

    name: str
    class_names: Sequence[str]
    summary: Mapping
    sources: Mapping[str, Sequence]
    forms: Mapping[str, Mapping] = MappingProxyType({})
    folder: Path | None = None


def open_dataset(path: str | os.PathLike, modalities: Sequence[str]) -> Dataset:
    """Opens a prepared folder for training.

    Args:
      path: folder of the prepared data set.
      modalities: names of the modalities that will be read.

    Raises:
      DataError: a file cannot be read.
      ValueError: a modality is not in the records, or there is no train or validation split.
    """
    builder = open_prepared(path)
    metadata = dict(builder.info.metadata)
    del metadata["kinds"]  # of the inputs, which the configuration knows
    forms = metadata.pop("forms", {})
    metadata.pop("media", None)  # a line a file, for the preparation
    stored = sorted(set(builder.info.features) - {"id", "label", "weight"})
    missing = sorted(set(modalities) - set(stored))
    if missing:
        raise ValueError(
            f"Expected modalities of the data set ({', '.join(stored)}), got {missing[0]!r}. "
            "Correct the names under `modalities` in the configuration."
        )
    for split in ("train", "validation"):
        if split not in builder.info.splits or not builder.info.splits[split].num_examples:
            raise ValueError(
                f"Expected a {split} split in {path}, got {', '.join(builder.info.splits)}. "
                "Training fits train and selects the best checkpoint on validation."
            )
    return Dataset(
        name=builder.info.full_name,
        class_names=builder.info.features["label"].names,
        summary=metadata,
        sources={split: _Records(builder, split) for split in builder.info.splits},
        forms=forms,
        folder=Path(path),
    )


class _Records:
    """The records of a split; its errors name the record."""

    always_the_same = True

    def __init__(self, builder, split):
        self._where = f"{builder.data_path} ({split})"
        self._num_classes = len(builder.info.features["label"].names)
        try:
            _check_files(Path(builder.data_path), split)
            self._source = builder.as_data_source(split)
        except Exception as error:  # ArrayRecord and its parts raise all kinds.
            raise unreadable("files of records", self._where, error) from error

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)  # which ends a loop over them
        try:
            record = self._source[index]
        except Exception as error:
            raise unreadable(f"record {index}", self._where, error) from error
        if not 0 <= record["label"] < self._num_classes:
            raise DataError(
                f"Expected labels below {self._num_classes}, the number of classes, got "
                f"{record['label']} in record {index} of {self._where}. {AGAIN}"
            )
        return record


def _check_files(folder, split):
    names = [name for name in digests.known(folder) if f"-{split}{RECORDS}" in name]
    try:
        digests.check([folder / name for name in names], AGAIN)
    except digests.DamagedFileError as error:
        raise DataError(str(error)) from error


def groups_of(dataset: Dataset, split: str) -> list[str]:
    """Returns the names of the groups of a split's examples, "" for none; [] without groups."""
    return dataset.summary.get("groups", {}).get(split, [])


def clip_counts(dataset: Dataset) -> dict:
    """Returns {split: {"listed": clips in its list, "used": clips that were prepared}}.

    Generated data sets have no list; {} for them.
    """
    splits = dataset.summary.get("splits", {})
    return {
        name: {"listed": split["listed"], "used": split["used"]} for name, split in splits.items()
    }
