"""Prepared data sets, as the pipeline reads them."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow_datasets as tfds

from tcmax_jax.data.preparation.quiet import quiet


class Dataset(NamedTuple):
    """A prepared data set.

    Attributes:
      name: name and version of the prepared folder.
      class_names: names of the classes, in the order of their labels.
      kinds: {modality: kind of input that reads it: spectrogram, frames, flow or features}.
      summary: what became of the listed clips, see
        `tcmax_jax.data.preparation.summary.summarise`; {} for generated sets.
      sources: {split: random-access source of records {"id", "label", modality: value}}.
    """

    name: str
    class_names: Sequence[str]
    kinds: Mapping[str, str]
    summary: Mapping
    sources: Mapping[str, Sequence]


def open_dataset(path: str | os.PathLike, modalities: Sequence[str]) -> Dataset:
    """Opens a prepared folder for training.

    Args:
      path: folder of the prepared data set.
      modalities: names of the modalities that will be read.

    Raises:
      ValueError: a modality is not in the records, or there is no train or validation split.
    """
    with quiet():
        builder = tfds.builder_from_directory(path)
    stored = sorted(set(builder.info.features) - {"id", "label"})
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
    metadata = dict(builder.info.metadata)
    return Dataset(
        name=builder.info.full_name,
        class_names=builder.info.features["label"].names,
        kinds=metadata.pop("kinds"),
        summary=metadata,
        sources={split: builder.as_data_source(split) for split in builder.info.splits},
    )


def clip_counts(dataset: Dataset) -> dict:
    """Returns {split: {"listed": number of clips in its list, "used": number of them prepared}}.

    Generated data sets have no list; {} for them.
    """
    splits = dataset.summary.get("splits", {})
    return {
        name: {"listed": split["listed"], "used": split["used"]} for name, split in splits.items()
    }
