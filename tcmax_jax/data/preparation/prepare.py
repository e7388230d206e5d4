"""From a source to prepared data, of clips or generated."""

import os
import sys

import tensorflow_datasets as tfds

from tcmax_jax.data.preparation.builder import prepare_clips
from tcmax_jax.data.preparation.records import PreparedConfig, named, quiet, record_features
from tcmax_jax.data.sources import ClipsSource, Source


class GeneratedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes the examples that a source yields, which has `class_names`, `splits`, `examples`."""

    VERSION = tfds.core.Version(Source.version)

    def _info(self) -> tfds.core.DatasetInfo:
        source = self.builder_config.source
        return record_features(self, source, source.class_names)

    def _split_generators(self, dl_manager):
        del dl_manager
        source = self.builder_config.source
        return {split: source.examples(split) for split in source.splits}

    def _generate_examples(self):
        raise NotImplementedError  # The splits are generators already.


def prepare(source: Source, data_dir: str | os.PathLike) -> tfds.core.DatasetBuilder:
    """Prepares a data set unless that was done before.

    Args:
      source: the data set.
      data_dir: folder that holds the prepared data sets.

    Returns:
      The builder of the prepared data.

    Raises:
      RawDataError: see `tcmax_jax.data.preparation.builder.prepare_clips`.
    """
    if isinstance(source, ClipsSource):
        return prepare_clips(source, data_dir)
    config = PreparedConfig(name=source.content_name(), source=source)
    with quiet():
        builder = named(GeneratedBuilder, source)(
            config=config, data_dir=data_dir, file_format="array_record"
        )
        if builder.is_prepared():
            return builder
    print("generating the built-in data set ...", file=sys.stderr, flush=True)
    with quiet():
        builder.download_and_prepare()
    return builder
