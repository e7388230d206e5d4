"""TensorFlow Datasets builder for the clips of a manifest."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds

from tcmax_jax.data.builders.manifest.decode import decode_rows
from tcmax_jax.data.builders.manifest.progress import Progress
from tcmax_jax.data.builders.manifest.settings import ManifestSettings, content_name
from tcmax_jax.data.builders.manifest.summary import skipped_row, split_summary, summary_text
from tcmax_jax.data.builders.quiet import quiet
from tcmax_jax.data.manifest import SPLITS, ManifestError, Row, labels_of, read_manifest
from tcmax_jax.data.media import MediaError

MISSING_SHOWN = 5


@dataclasses.dataclass(eq=False, kw_only=True)
class ManifestConfig(tfds.core.BuilderConfig):
    """Names a data set after its content; see `content_name`."""

    settings: ManifestSettings


class Manifest(tfds.core.GeneratorBasedBuilder):
    """Log-spectrograms and frames of the clips of a manifest."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, **options):
        with quiet():
            super().__init__(**options)

    @functools.cached_property
    def rows(self) -> tuple[Row, ...]:
        """The manifest's rows."""
        return read_manifest(self.builder_config.settings.manifest)

    def _info(self) -> tfds.core.DatasetInfo:
        settings = self.builder_config.settings
        features = {
            "id": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=labels_of(self.rows)),
            "audio": tfds.features.Tensor(
                shape=settings.spectrogram_shape, dtype=np.float16, encoding="bytes"
            ),
            # JPEG bytes: the Image feature needs TensorFlow, and decoding can wait until use.
            "visual": tfds.features.Tensor(shape=(settings.frames,), dtype=np.str_),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager
        splits = {name: [row for row in self.rows if row.split == name] for name in SPLITS}
        splits = {name: rows for name, rows in splits.items() if rows}
        settings = self.builder_config.settings
        _check_files(settings, splits)
        # Saved with the data, and so renamed with it once everything is written.
        self.info.metadata.update(splits={}, skipped=[])
        progress = Progress(len(self.rows))
        return {name: self._generate_examples(rows, progress) for name, rows in splits.items()}

    def _generate_examples(
        self, rows: Sequence[Row], progress: Progress
    ) -> Iterator[tuple[str, dict]]:
        settings = self.builder_config.settings
        labels, seconds, skipped = [], [], []
        for row, decoded in decode_rows(settings, rows):
            failed = isinstance(decoded, MediaError)
            progress.advance(row.split, skipped=failed)
            if failed:
                if not settings.allow_skipped:
                    raise ManifestError(
                        f"{settings.manifest}, line {row.number} ({row.id}): {decoded}; "
                        "or set allow_skipped"
                    )
                skipped.append(skipped_row(row, str(decoded)))
                continue
            labels.append(row.label)
            seconds.append(decoded.seconds)
            yield (
                row.id,
                {
                    "id": row.id,
                    "label": row.label,
                    "audio": decoded.audio,
                    "visual": decoded.visual,
                },
            )
        if not labels:
            raise _lost_split(settings, rows, skipped[0]["reason"])
        self.info.metadata["splits"][rows[0].split] = split_summary(labels, seconds)
        self.info.metadata["skipped"] += skipped


def manifest_builder(settings: ManifestSettings, data_dir: str | os.PathLike) -> Manifest:
    """Make the builder of a manifest's data set, without preparing it.

    Args:
        settings: Source and form of the data set.
        data_dir: Folder that holds the prepared data sets.

    Returns:
        The builder; `is_prepared()` tells whether the data is there.
    """
    config = ManifestConfig(name=content_name(settings), settings=settings)
    return Manifest(config=config, data_dir=data_dir, file_format="array_record")


def prepare_manifest(settings: ManifestSettings, data_dir: str | os.PathLike) -> Manifest:
    """Prepare a manifest's data set unless that was done before, and print its summary.

    An interrupted preparation leaves nothing that a later run would read: the folder gets its name
    once everything is written.

    Args:
        settings: Source and form of the data set.
        data_dir: Folder that holds the prepared data sets.

    Returns:
        The builder of the prepared data; its `info.metadata` is the summary.

    Raises:
        ManifestError: If the manifest does not fit, or a row of it cannot be decoded.
    """
    builder = manifest_builder(settings, data_dir)
    with quiet():
        if not builder.is_prepared():
            builder.download_and_prepare()
    print(summary_text(builder.info.metadata))
    return builder


def _check_files(settings: ManifestSettings, splits: dict[str, list[Row]]) -> None:
    """Look for all media files at once, before time goes into decoding some of them."""
    rows = [row for rows in splits.values() for row in rows]
    files = {path for row in rows for path in (row.video, row.audio)}
    absent = {path for path in files if not path.is_file()}
    lacking = sorted(row for row in rows if {row.video, row.audio} & absent)
    if lacking and not settings.allow_skipped:
        shown = ", ".join(
            f"line {row.number}: {row.video if row.video in absent else row.audio}"
            for row in lacking[:MISSING_SHOWN]
        )
        raise ManifestError(
            f"{settings.manifest}: expected the media of all {len(rows)} rows, got none for "
            f"{len(lacking)}, first {shown}; correct the paths or set allow_skipped"
        )
    for rows in splits.values():
        if set(rows) <= set(lacking):
            raise _lost_split(settings, rows, "media files are missing")


def _lost_split(settings: ManifestSettings, rows: Sequence[Row], reason: str) -> ManifestError:
    return ManifestError(
        f"{settings.manifest}: expected rows of the split {rows[0].split} that can be decoded, got "
        f"none of {len(rows)}, line {rows[0].number}: {reason}; correct the files or leave the "
        "split out"
    )
