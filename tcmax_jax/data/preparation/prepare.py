"""From a source to prepared data, of clips or generated."""

import os
import sys

import tensorflow_datasets as tfds

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.preparation.builder import LEAVE_OUT, builder_of, quiet
from tcmax_jax.data.preparation.summary import summary_text
from tcmax_jax.data.sources import ClipsSource, Source


def prepare(source: Source, data_dir: str | os.PathLike) -> tfds.core.DatasetBuilder:
    """Prepares a data set unless that was done before; tells what became of its clips.

    Args:
      source: the data set.
      data_dir: folder that holds the prepared data sets.

    Returns:
      The builder of the prepared data; of clips, its `info.metadata` holds the summary.

    Raises:
      RawDataError: the raw data does not fit, or a clip cannot be decoded, or clips are missing in
        data that was prepared before and the options do not allow that.
    """
    if not isinstance(source, ClipsSource):
        builder = builder_of(source, data_dir)
        with quiet():
            if not builder.is_prepared():
                print("generating the built-in data set ...", file=sys.stderr, flush=True)
                builder.download_and_prepare()
        return builder
    # What was prepared is read without its raw data.
    path = source.prepared_folder(data_dir)
    with quiet():
        if (path / "dataset_info.json").is_file():
            builder = tfds.builder_from_directory(path)
        else:
            builder = builder_of(source, data_dir)
            builder.download_and_prepare()
            builder.remove_kept()
            print(summary_text(builder.info.metadata), file=sys.stderr, flush=True)
    skipped = builder.info.metadata["skipped"]
    if skipped and not source.allow_skipped:
        raise RawDataError(
            f"{builder.data_path}: expected a complete data set, got one without "
            f"{len(skipped)} clips, the first {skipped[0]['message']}; {LEAVE_OUT}; or complete "
            "the raw data, delete that folder and prepare it again"
        )
    return builder
