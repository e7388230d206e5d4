"""From a source to prepared data: builders of TensorFlow Datasets, of clips or generated."""

import contextlib
import functools
import inspect
import io
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from tcmax_jax.data.clips import SPLITS, Listing, RawDataError
from tcmax_jax.data.preparation.chunks import Chunk, Outcome, chunks_of, examples_of
from tcmax_jax.data.preparation.decode import decode_chunks, decode_with_beam
from tcmax_jax.data.preparation.summary import Progress, summarise, summary_text
from tcmax_jax.data.sources import ClipsSource, Source
from tcmax_jax.data.sources.base import digest
from tcmax_jax.packages import DECODERS, versions

# TFDS holds a shard in memory while it writes it.
CHUNKS_IN_SHARD = 4
_LEAVE_OUT = "allow_skipped (--allow_skipped) leaves such clips out"
_MISSING_SHOWN = 5


class _SourceBuilder:
    """What both builders have in common; `builder_of` makes a class of its own for each source."""

    VERSION = tfds.core.Version(Source.version)
    source: Source

    def _described(self, class_names: Sequence[str]) -> tfds.core.DatasetInfo:
        forms = self.source.forms
        features = {
            "id": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=list(class_names)),
        }
        for modality, form in forms.items():
            # Encoded pictures: the Image feature needs TensorFlow, and decoding can wait until use.
            how = {"dtype": form.dtype, "encoding": "bytes"} if form.dtype else {"dtype": np.str_}
            features[modality] = tfds.features.Tensor(shape=form.shape, **how)
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.getdoc(self.source),
            citation=self.source.citation,
            features=tfds.features.FeaturesDict(features),
            # A summary comes in when all clips have been decoded, and is saved with the data.
            metadata=tfds.core.MetadataDict(
                kinds={modality: form.input_kind for modality, form in forms.items()}
            ),
        )


class GeneratedBuilder(_SourceBuilder, tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes the examples that a source yields, which has `class_names`, `splits`, `examples`."""

    def _info(self):
        return self._described(self.source.class_names)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self.source.examples(split) for split in self.source.splits}

    def _generate_examples(self):
        raise NotImplementedError  # The splits are generators already.


class ClipsBuilder(_SourceBuilder, tfds.core.ShardBasedBuilder, skip_registration=True):
    """Decodes clips in chunks that are kept, then writes them as shards of records.

    A preparation that is killed goes on where it was: decoded chunks stay in a folder beside the
    data until all is written, and the data's folder gets its name last.
    """

    @functools.cached_property
    def listing(self) -> Listing:
        """The clips."""
        return self.source.list_clips()

    def _info(self):
        return self._described(self.listing.class_names)

    @functools.cached_property
    def _chunks(self) -> dict[str, list[Chunk]]:
        folder = self.kept_folder()
        by_split = {s: [c for c in self.listing.clips if c.split == s] for s in SPLITS}
        return {split: chunks_of(clips, folder) for split, clips in by_split.items() if clips}

    def kept_folder(self) -> Path:
        """Folder of decoded chunks; its name tells lists, stored forms and decoders apart."""
        clips = [[*map(str, clip)] for clip in self.listing.clips]
        forms = repr(sorted(self.source.stored.items()))
        # One data set is decoded by one version of the decoders.
        decoders = {name: versions().get(name) for name in DECODERS}
        name = digest({"clips": clips, "forms": forms, "decoders": decoders})
        return Path(self.data_path).parent / f"decoded-{name}"

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, list[Callable]]:
        del dl_manager
        _check_listed(self.listing)
        _check_files(self.listing, self.source)
        for form in self.source.stored.values():
            form.check_listed(self.listing.clips)
        outcomes = self._decode()
        self.info.metadata.update(summarise(self.listing, outcomes), versions=versions())
        return {
            split: [
                functools.partial(_examples, self.source.stored, chunks[i : i + CHUNKS_IN_SHARD])
                for i in range(0, len(chunks), CHUNKS_IN_SHARD)
            ]
            for split, chunks in self._chunks.items()
        }

    def _decode(self) -> list[Outcome]:
        """Decodes the chunks that have not been, and returns what became of every clip."""
        source, outcomes = self.source, []
        chunks = [chunk for chunks in self._chunks.values() for chunk in chunks]
        self.kept_folder().mkdir(parents=True, exist_ok=True)
        progress = Progress(len(self.listing.clips))
        if source.beam is None:
            decoded = decode_chunks(source.stored, chunks, source.processes)
        else:
            decoded = decode_with_beam(source.stored, chunks, source.beam)
        for of_chunk in decoded:
            progress.advance(of_chunk)
            failed = [outcome for outcome in of_chunk if outcome.reason is not None]
            if failed and not source.allow_skipped:
                raise RawDataError(f"{failed[0].message} Or: {_LEAVE_OUT}.")
            outcomes += of_chunk
        used = {outcome.split for outcome in outcomes if outcome.reason is None}
        for outcome in outcomes:
            if outcome.split not in used:
                raise _lost_split(outcome.split, outcome.message)
        return outcomes


def builder_of(source: Source, data_dir: str | os.PathLike) -> tfds.core.DatasetBuilder:
    """Returns the builder of a data set, in a folder of its kind; prepares nothing."""
    base = ClipsBuilder if isinstance(source, ClipsSource) else GeneratedBuilder
    attributes = {"name": source.kind, "source": source}
    named = type(base.__name__, (base,), attributes, skip_registration=True)
    config = tfds.core.BuilderConfig(name=source.content_name())
    with quiet():
        return named(config=config, data_dir=data_dir, file_format="array_record")


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
            shutil.rmtree(builder.kept_folder(), ignore_errors=True)
            print(summary_text(builder.info.metadata), file=sys.stderr, flush=True)
    skipped = builder.info.metadata["skipped"]
    if skipped and not source.allow_skipped:
        raise RawDataError(
            f"{builder.data_path}: Expected a complete data set, got one without "
            f"{len(skipped)} clips. The first: {skipped[0]['message']} Pass --allow_skipped for "
            "such data; or complete the raw data, delete that folder and prepare it again."
        )
    return builder


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS from reporting a download, a custom configuration and a bar for each split."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _examples(stored, chunks: Sequence[Chunk]) -> Iterator[tuple[str, dict]]:
    for chunk in chunks:
        yield from examples_of(stored, chunk)


def _check_listed(listing: Listing) -> None:
    """Looks for the splits without which nothing can be trained, before anything is decoded."""
    there = Counter(clip.split for clip in listing.clips)
    for split in ("train", "validation"):
        if not there[split]:
            found = ", ".join(f"{number} of {name}" for name, number in there.items())
            raise RawDataError(
                f"Expected clips of the splits train, which is fitted, and validation, which "
                f"chooses the best checkpoint, got none of {split} ({found or 'no clips'}). Give "
                f"some clips the split {split}, or raise data.validation_share where there is one."
            )


def _check_files(listing: Listing, source: ClipsSource) -> None:
    """Looks for all files at once, before time goes into decoding some of them."""
    needed = []
    for clip in listing.clips:
        for modality, form in source.stored.items():
            file = form.file(clip)
            if file is None:
                raise RawDataError(
                    f"{clip.place}: Expected a file for {modality}, got none. Name it in the list, "
                    f"or leave {modality} out of data.stored."
                )
            needed.append((clip, file))
    absent = {file for file in {file for _, file in needed} if not file.exists()}
    lacking = {clip: file for clip, file in needed if file in absent}
    hint = source.layout and f". Layout: {source.layout}"
    if lacking and not source.allow_skipped:
        first = list(lacking.items())[:_MISSING_SHOWN]
        shown = ", ".join(f"{file} ({clip.place})" for clip, file in first)
        raise RawDataError(
            f"Expected the files of all {len(listing.clips)} clips, got none for {len(lacking)}, "
            f"first {shown}. Correct the paths, or {_LEAVE_OUT}{hint or '.'}"
        )
    for split in SPLITS:
        clips = [clip for clip in listing.clips if clip.split == split]
        if clips and all(clip in lacking for clip in clips):
            raise _lost_split(
                split, f"{lacking[clips[0]]} ({clips[0].place}) is missing{hint or '.'}"
            )


def _lost_split(split: str, reason: str) -> RawDataError:
    return RawDataError(
        f"Expected clips of the split {split} that can be decoded, got none. {reason} Correct the "
        "files or leave the split out."
    )
