"""The base of all builders of clips: TensorFlow Datasets, shard by shard."""

import functools
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from tcmax_jax.data.clips import SPLITS, Clip, Listing, RawDataError
from tcmax_jax.data.preparation.beam import decode_with_beam
from tcmax_jax.data.preparation.chunks import Chunk, Outcome, chunks_of, examples_of
from tcmax_jax.data.preparation.decode import decode_chunks
from tcmax_jax.data.preparation.records import PreparedConfig, named, quiet, record_features
from tcmax_jax.data.preparation.summary import Progress, summarise, summary_text
from tcmax_jax.data.sources import ClipsSource
from tcmax_jax.data.sources.base import digest
from tcmax_jax.packages import DECODERS, versions

# TFDS holds a shard in memory while it writes it.
CHUNKS_IN_SHARD = 4
_MISSING_SHOWN = 5
_LEAVE_OUT = "allow_skipped (--allow_skipped) leaves such clips out"


class ClipsBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Decodes clips in chunks that are kept, then writes them as shards of records.

    A preparation that is killed goes on where it was: decoded chunks stay in a folder beside the
    data until all is written, and the data's folder gets its name last.
    """

    VERSION = tfds.core.Version(ClipsSource.version)

    def __init__(self, **options):
        """Passes `config`, `data_dir` and `file_format` to TFDS."""
        with quiet():
            super().__init__(**options)

    @property
    def source(self) -> ClipsSource:
        """The data set."""
        return self.builder_config.source

    def _info(self) -> tfds.core.DatasetInfo:
        return record_features(self, self.source, self.listing.class_names)

    @functools.cached_property
    def listing(self) -> Listing:
        """The clips."""
        return self.source.list_clips()

    @functools.cached_property
    def _chunks(self) -> dict[str, list[Chunk]]:
        folder = self._kept_folder()
        by_split = {s: [c for c in self.listing.clips if c.split == s] for s in SPLITS}
        return {split: chunks_of(clips, folder) for split, clips in by_split.items() if clips}

    def _kept_folder(self) -> Path:
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
        shards = {}
        for split, chunks in self._chunks.items():
            parts = (
                chunks[i : i + CHUNKS_IN_SHARD] for i in range(0, len(chunks), CHUNKS_IN_SHARD)
            )
            shards[split] = [
                functools.partial(_examples, self.source.stored, part) for part in parts
            ]
        return shards

    def _decode(self) -> list[Outcome]:
        """Decodes the chunks that have not been, and returns what became of every clip."""
        source, outcomes = self.source, []
        chunks = [chunk for chunks in self._chunks.values() for chunk in chunks]
        self._kept_folder().mkdir(parents=True, exist_ok=True)
        progress = Progress(len(self.listing.clips))
        if source.beam is None:
            decoded = decode_chunks(source.stored, chunks, source.processes)
        else:
            decoded = decode_with_beam(source.stored, chunks, source.beam)
        for of_chunk in decoded:
            progress.advance(of_chunk)
            _check_outcomes(source, of_chunk)
            outcomes += of_chunk
        _check_splits(outcomes)
        return outcomes

    def remove_kept(self) -> None:
        """Removes the decoded chunks, once the data is written."""
        shutil.rmtree(self._kept_folder(), ignore_errors=True)


def clips_builder(source: ClipsSource, data_dir: str | os.PathLike) -> ClipsBuilder:
    """Returns the builder of a data set; prepares nothing."""
    config = PreparedConfig(name=source.content_name(), source=source)
    return named(ClipsBuilder, source)(config=config, data_dir=data_dir, file_format="array_record")


def prepare_clips(source: ClipsSource, data_dir: str | os.PathLike) -> tfds.core.DatasetBuilder:
    """Prepares a data set unless that was done before; tells what became of its clips.

    Args:
      source: the data set.
      data_dir: folder that holds the prepared data sets.

    Returns:
      The builder of the prepared data; its `info.metadata` holds the summary.

    Raises:
      RawDataError: the raw data does not fit, or a clip cannot be decoded, or clips are missing in
        data that was prepared before and the options do not allow that.
    """
    # What was prepared is read without its raw data.
    path = source.prepared_folder(data_dir)
    with quiet():
        if (path / "dataset_info.json").is_file():
            builder = tfds.builder_from_directory(path)
        else:
            builder = clips_builder(source, data_dir)
            builder.download_and_prepare()
            builder.remove_kept()
            print(summary_text(builder.info.metadata), file=sys.stderr, flush=True)
    summary = builder.info.metadata
    if summary["skipped"] and not source.allow_skipped:
        raise RawDataError(
            f"{builder.data_path}: expected a complete data set, got one without "
            f"{len(summary['skipped'])} clips, the first {summary['skipped'][0]['message']}; "
            f"{_LEAVE_OUT}; or complete the raw data, delete that folder and prepare it again"
        )
    return builder


def _examples(stored, chunks: Sequence[Chunk]) -> Iterator[tuple[str, dict]]:
    for chunk in chunks:
        yield from examples_of(stored, chunk)


def _check_outcomes(source: ClipsSource, outcomes: Sequence[Outcome]) -> None:
    failed = [outcome for outcome in outcomes if outcome.reason is not None]
    if failed and not source.allow_skipped:
        raise RawDataError(f"{failed[0].message}; or {_LEAVE_OUT}")


def _check_splits(outcomes: Sequence[Outcome]) -> None:
    used = {outcome.split for outcome in outcomes if outcome.reason is None}
    for outcome in outcomes:
        if outcome.split not in used:
            raise _lost_split(outcome.split, outcome.message)


def _check_listed(listing: Listing) -> None:
    """Looks for the splits without which nothing can be trained, before anything is decoded."""
    there = Counter(clip.split for clip in listing.clips)
    for split in ("train", "validation"):
        if not there[split]:
            found = ", ".join(f"{number} of {name}" for name, number in there.items())
            raise RawDataError(
                f"expected clips of the splits train, which is fitted, and validation, which "
                f"chooses the best checkpoint, got none of {split} ({found or 'no clips'}); give "
                f"some clips the split {split}, or raise data.validation_share where there is one"
            )


def _check_files(listing: Listing, source: ClipsSource) -> None:
    """Looks for all files at once, before time goes into decoding some of them."""
    needed = {clip: _files(clip, source) for clip in listing.clips}
    absent = {file for file in set().union(*needed.values()) if not file.exists()}
    lacking = {clip: file for clip, files in needed.items() for file in files if file in absent}
    hint = source.layout and f". Layout: {source.layout}"
    if lacking and not source.allow_skipped:
        first = list(lacking.items())[:_MISSING_SHOWN]
        shown = ", ".join(f"{file} ({clip.place})" for clip, file in first)
        raise RawDataError(
            f"expected the files of all {len(listing.clips)} clips, got none for {len(lacking)}, "
            f"first {shown}; correct the paths, or {_LEAVE_OUT}{hint}"
        )
    for split in SPLITS:
        own = [clip for clip in listing.clips if clip.split == split]
        if own and all(clip in lacking for clip in own):
            raise _lost_split(split, f"{lacking[own[0]]} ({own[0].place}) is missing{hint}")


def _files(clip: Clip, source: ClipsSource) -> list[Path]:
    files = []
    for modality, form in source.stored.items():
        file = form.file(clip)
        if file is None:
            raise RawDataError(
                f"{clip.place}: expected a file for {modality}, got none; name it in the list, or "
                f"leave {modality} out of data.stored"
            )
        files.append(file)
    return files


def _lost_split(split: str, reason: str) -> RawDataError:
    return RawDataError(
        f"expected clips of the split {split} that can be decoded, got none: {reason}; correct the "
        "files or leave the split out"
    )
