"""Preparation of a source with TensorFlow Datasets builders, of clips or generated examples."""

import contextlib
import functools
import inspect
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow_datasets as tfds

from tcmax_jax.data.clips import SPLITS, Listing, RawDataError
from tcmax_jax.data.forms import Form
from tcmax_jax.data.leakage import copies_note
from tcmax_jax.data.preparation.checks import (
    LEAVE_OUT,
    check_all,
    check_complete,
    check_used,
    from_files,
    is_weighted,
    resolved,
)
from tcmax_jax.data.preparation.chunks import Chunk, Outcome, chunks_of, examples_of
from tcmax_jax.data.preparation.decode import decode_chunks, decode_with_beam
from tcmax_jax.data.preparation.identity import (
    Identity,
    digest_of_all,
    digests_of_clips,
    identify,
    others,
)
from tcmax_jax.data.preparation.summary import Progress, summarise, summary_text
from tcmax_jax.data.prepared import KnownInfo, is_prepared, open_prepared, quiet
from tcmax_jax.data.sources import ClipsSource, Source
from tcmax_jax.data.sources.base import digest
from tcmax_jax.packages import DECODERS, versions
from tcmax_jax.space import is_full, lacking
from tcmax_jax.user_text import printable

# TFDS holds a shard in memory while it writes it.
CHUNKS_IN_SHARD = 4
_ROOM = "Free some, or choose another --data_dir."


class _SourceBuilder:
    """Base of both builders; `builder_of` makes a subclass for each source."""

    VERSION = tfds.core.Version(Source.version)
    source: Source

    def _make_download_manager(self, **_):
        """Downloads nothing: TFDS's manager would create empty folders."""
        return SimpleNamespace(downloaded_size=0)

    def _described(self, class_names: Sequence[str], forms, weighted: bool = False):
        features = {
            "id": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=list(class_names)),
        }
        if weighted:
            features["weight"] = tfds.features.Scalar(np.float32)
        for modality, form in forms.items():
            # Encoded pictures: the Image feature needs TensorFlow, and decoding can wait until use.
            how = {"dtype": np.str_}
            if not form.encoded:
                # Nothing is known where no file can be read, which is said before any is.
                how = {"dtype": np.dtype(form.dtype or np.float32).type, "encoding": "bytes"}
            shape = (None, *form.shape[1:]) if form.varying else form.shape or ()
            features[modality] = tfds.features.Tensor(shape=shape, **how)
        return KnownInfo(
            builder=self,
            description=inspect.getdoc(self.source),
            citation=self.source.citation,
            features=tfds.features.FeaturesDict(features),
            # A summary comes in when all clips have been decoded, and is saved with the data.
            metadata=tfds.core.MetadataDict(
                kinds={modality: form.input_kind for modality, form in forms.items()},
                forms=from_files(forms),
            ),
        )


class GeneratedBuilder(_SourceBuilder, tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes the examples of a source with `class_names`, `splits` and `examples`."""

    def _info(self):
        return self._described(self.source.class_names, self.source.forms)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self.source.examples(split) for split in self.source.splits}

    def _generate_examples(self):
        raise NotImplementedError  # The splits are generators already.


class ClipsBuilder(_SourceBuilder, tfds.core.ShardBasedBuilder, skip_registration=True):
    """Decodes clips in chunks that are stored, then writes them as shards of records.

    A preparation that is killed goes on where it was: decoded chunks stay in a folder beside the
    data until all is written, and the data's folder gets its name last.
    """

    @functools.cached_property
    def listing(self) -> Listing:
        """The clips."""
        return self.source.list_clips()

    def _info(self):
        return self._described(self.listing.class_names, self.forms, is_weighted(self.listing))

    @functools.cached_property
    def forms(self) -> dict[str, Form]:
        """The stored forms of all modalities, with all fields that the files determine."""
        return resolved(self.source, self.listing)

    @functools.cached_property
    def _media(self) -> dict[str, Identity]:
        return identify(self.source.stored, self.listing)

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        return digests_of_clips(self.source.stored, self.listing, self._media)

    @functools.cached_property
    def _chunks(self) -> dict[str, list[Chunk]]:
        folder, media = self.kept_folder(), self._digests
        by_split = {s: [c for c in self.listing.clips if c.split == s] for s in SPLITS}
        return {s: chunks_of(clips, folder, media) for s, clips in by_split.items() if clips}

    def kept_folder(self) -> Path:
        """Folder of decoded chunks; its name depends on list, stored forms and decoders."""
        clips = [[*map(str, clip)] for clip in self.listing.clips]
        forms = repr(sorted(self.source.stored.items()))
        # One data set is decoded by one version of the decoders.
        decoders = {name: versions().get(name) for name in DECODERS}
        name = digest({"clips": clips, "forms": forms, "decoders": decoders})
        return Path(self.data_path).parent / f"decoded-{name}"

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, list[Callable]]:
        del dl_manager
        check_all(self.source, self.listing)
        outcomes = self._decode()
        notes = [*self.listing.notes, *copies_note(self.listing.clips, self._digests)]
        summary = summarise(self.listing._replace(notes=notes), outcomes)
        media = {name: list(identity) for name, identity in self._media.items()}
        self.info.metadata.update(summary, versions=versions(), media=media)
        weighted = is_weighted(self.listing)
        return {
            split: [
                functools.partial(_examples, self.forms, chunks[i : i + CHUNKS_IN_SHARD], weighted)
                for i in range(0, len(chunks), CHUNKS_IN_SHARD)
            ]
            for split, chunks in self._chunks.items()
        }

    def _decode(self) -> list[Outcome]:
        """Decodes the missing chunks, and returns the outcome of every clip."""
        source, outcomes = self.source, []
        chunks = [chunk for chunks in self._chunks.values() for chunk in chunks]
        self.kept_folder().mkdir(parents=True, exist_ok=True)
        progress = Progress(len(self.listing.clips))
        if source.beam is None:
            decoded = decode_chunks(self.forms, chunks, source.processes)
        else:
            decoded = decode_with_beam(self.forms, chunks, source.beam)
        for of_chunk in decoded:
            progress.advance(of_chunk)
            failed = [outcome for outcome in of_chunk if outcome.reason is not None]
            if failed and not source.allow_skipped:
                raise RawDataError(f"{failed[0].message} Or: {LEAVE_OUT}.")
            outcomes += of_chunk
        check_used(outcomes)
        return outcomes


def builder_of(
    source: Source, data_dir: str | os.PathLike, name: str | None = None
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a data set; prepares nothing.

    Args:
      source: the data set.
      data_dir: folder that holds the prepared data sets.
      name: of the prepared data; None for that of the source.
    """
    base = ClipsBuilder if isinstance(source, ClipsSource) else GeneratedBuilder
    attributes = {"name": source.kind, "source": source}
    named = type(base.__name__, (base,), attributes, skip_registration=True)
    config = tfds.core.BuilderConfig(name=name or source.content_name())
    with quiet():
        return named(config=config, data_dir=data_dir, file_format="array_record")


def folder_of(source: Source, data_dir: str | os.PathLike) -> Path:
    """Returns the folder of prepared data, which need not exist; reports changed media.

    It is that of `Source.prepared_folder`, unless that was prepared from other media than are there
    now: then it is a folder of their own. Without the raw data nobody can tell.

    Args:
      source: the data set.
      data_dir: folder that holds the prepared data sets.
    """
    folder = source.prepared_folder(data_dir)
    if not isinstance(source, ClipsSource) or not is_prepared(folder):
        return folder
    before = open_prepared(folder).info.metadata.get("media")
    listing = None
    with contextlib.suppress(RawDataError):  # The raw data need not be there.
        listing = source.list_clips()
    if before is None or listing is None:
        return folder
    now = identify(source.stored, listing, before)
    if not (changed := others(now, before)):
        return folder
    again = folder.parent.with_name(f"{folder.parent.name}-{digest_of_all(now)}") / folder.name
    done = "were prepared in" if is_prepared(again) else "are prepared in"
    print(
        f"note: {len(changed)} of {len(now)} media files differ from those that {folder} was "
        f"prepared from, first {printable(changed[0])}; they {done} {again}",
        file=sys.stderr,
        flush=True,
    )
    return again


def remove_unfinished(folder: Path) -> None:
    """Removes the remains of interrupted preparations beside a data set's folder.

    Only who holds the lock may: it could be somebody else's work. Decoded chunks stay.
    """
    for unfinished in folder.parent.glob("incomplete.*"):
        shutil.rmtree(unfinished)


def prepare(
    source: Source, data_dir: str | os.PathLike, folder: Path | None = None
) -> tfds.core.DatasetBuilder:
    """Prepares a data set unless it is prepared already; reports the outcome of its clips.

    Args:
      source: the data set.
      data_dir: folder that holds the prepared data sets.
      folder: where it lies, or is to lie; None asks `folder_of`.

    Returns:
      The builder of the prepared data; of clips, its `info.metadata` holds the summary.

    Raises:
      RawDataError: the raw data does not fit, or a clip cannot be decoded, or clips are missing in
        data that was prepared before and the options do not allow that.
      DataError: what was prepared before is damaged.
      OSError: the disk is full, or too small for what is known to come.
    """
    # What was prepared is read without its raw data.
    folder = folder or folder_of(source, data_dir)
    of_clips = isinstance(source, ClipsSource)
    if is_prepared(folder):
        builder = open_prepared(folder)
    else:
        builder = builder_of(source, data_dir, folder.parent.name)
        if of_clips:
            _check_room(builder)
        else:
            print("generating the built-in data set ...", file=sys.stderr, flush=True)
        with quiet(), _naming_full_disks(folder):
            builder.download_and_prepare()
        if of_clips:
            shutil.rmtree(builder.kept_folder(), ignore_errors=True)
            print(printable(summary_text(builder.info.metadata)), file=sys.stderr, flush=True)
    if of_clips:
        check_complete(builder.data_path, builder.info.metadata["skipped"], source)
    return builder


def _check_room(builder: ClipsBuilder) -> None:
    """Checks that decoded clips fit on the disk, as far as their forms declare sizes."""
    fixed = [form for form in builder.forms.values() if not (form.encoded or form.varying)]
    known = [form for form in fixed if form.shape is not None]
    of_clip = sum(math.prod(form.shape) * np.dtype(form.dtype).itemsize for form in known)
    there = sum(file.stat().st_size for file in builder.kept_folder().glob("*"))
    if lack := lacking(builder.kept_folder(), len(builder.listing.clips) * of_clip - there):
        raise OSError(
            f"Expected room for {len(builder.listing.clips)} decoded clips in "
            f"{builder.kept_folder().parent}, got {lack}. {_ROOM}"
        )


@contextlib.contextmanager
def _naming_full_disks(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not is_full(error):
            raise
        raise OSError(
            f"Expected to write prepared data into {folder}, got a full disk. {_ROOM} What was "
            "decoded is kept."
        ) from error


def _examples(stored, chunks: Sequence[Chunk], weighted) -> Iterator[tuple[str, dict]]:
    for chunk in chunks:
        for key, example in examples_of(stored, chunk):
            weight = {"weight": example.pop("weight")}
            yield key, example | (weight if weighted else {})
