"""Data sets of array files read in place, unprepared, and in whole batches if possible.

All arrays are checked when the data is opened for the first time; the result is stored beside the
folder that prepared data would have.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from tcmax_jax import digests
from tcmax_jax.data.array_files import Table, table
from tcmax_jax.data.clips import Clip, Listing, RawDataError
from tcmax_jax.data.datasets import Dataset
from tcmax_jax.data.forms import ArrayForm, Arrays
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.preparation.checks import (
    LEAVE_OUT,
    check_all,
    check_complete,
    check_used,
    from_files,
    is_weighted,
    resolved,
)
from tcmax_jax.data.preparation.chunks import Outcome
from tcmax_jax.data.preparation.summary import summarise, summary_text
from tcmax_jax.data.sources import ClipsSource, Source
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.files import json_text, parse_json
from tcmax_jax.user_text import printable

_FILE = "checked.json"


class ArrayRecords(Sequence):
    """Records of clips whose arrays are read from their files."""

    always_the_same = True

    def __init__(self, forms: Mapping[str, ArrayForm], clips: Sequence[Clip], labels, weighted):
        """Takes {modality: stored form}, clips, their class indices, whether they are weighted."""
        self.forms = forms
        self._clips = clips
        self._labels = np.asarray(labels, np.int32)
        self._weights = np.float32([clip.weight for clip in clips]) if weighted else None
        tables = {m: self._table(m) for m in forms}
        self._tables = {m: each for m, each in tables.items() if each is not None}
        self._rows = {
            m: np.array([each.row(clip) for clip in clips]) for m, each in self._tables.items()
        }

    def __reduce__(self):
        # Files are opened again in a worker process: mapped memory would be copied to it.
        weighted = self._weights is not None
        return ArrayRecords, (self.forms, self._clips, self._labels, weighted)

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._clips)

    def __getitem__(self, index: int) -> dict:
        """Returns a record."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        clip = self._clips[index]
        weight = {} if self._weights is None else {"weight": self._weights[index]}
        values = {m: form.read(clip.of(m)).value for m, form in self.forms.items()}
        return {"id": clip.id, "label": self._labels[index], **weight, **values}

    @property
    def has_batches(self) -> bool:
        """Whether `batch` can be called: each modality has one file, with a row for each clip."""
        return len(self._tables) == len(self.forms)

    def batch(self, indices: np.ndarray) -> dict:
        """Returns records as arrays [B, ...]."""
        weight = {} if self._weights is None else {"weight": self._weights[indices]}
        values = {
            m: form.cast(self._tables[m].values[self._rows[m][indices]], str(self._tables[m].path))
            for m, form in self.forms.items()
        }
        return {"label": self._labels[indices], **weight, **values}

    def _table(self, modality) -> Table | None:
        form = self.forms[modality]
        path = form.file(self._clips[0].of(modality))
        if form.path is None or path.is_dir():
            return None
        opened = table(path, form.key)
        return None if opened.values is None else opened


def is_in_place(source: Source) -> bool:
    """Returns whether a manifest is read in place; by default if all forms are `Arrays`."""
    if not isinstance(source, ManifestData):
        return False
    if source.in_place is None:
        return all(isinstance(form, Arrays) for form in source.stored.values())
    return source.in_place


def open_in_place(source: ClipsSource, data_dir: str) -> Dataset:
    """Opens the arrays of a source, and checks them all the first time.

    Args:
      source: the data set; all its stored forms are of arrays.
      data_dir: folder that holds prepared data sets.

    Raises:
      RawDataError: the list or an array does not fit.
    """
    # Beside the folder of records, which is there only when they are complete.
    listing, prepared = source.list_clips(), source.prepared_folder(data_dir)
    folder = prepared.parent / "in_place"
    if digests.is_known(folder / _FILE):  # What is damaged is looked at anew.
        about = parse_json((folder / _FILE).read_text())
        check_complete(folder, about["summary"]["skipped"], source)
        forms = source.with_forms(about["forms"]).forms
    else:
        check_all(source, listing)
        forms = resolved(source, listing)
        outcomes = _outcomes(forms, listing, source)
        about = {"summary": summarise(listing, outcomes), "forms": from_files(forms)}
        folder.mkdir(parents=True, exist_ok=True)
        digests.write(folder / _FILE, json_text(about, indent=None))
        print(printable(summary_text(about["summary"])), file=sys.stderr, flush=True)
    skipped = {clip["id"] for clip in about["summary"]["skipped"]}
    used = [clip for clip in listing.clips if clip.id not in skipped]
    classes = {name: number for number, name in enumerate(listing.class_names)}
    weighted = is_weighted(listing)
    sources = {}
    for split in about["summary"]["splits"]:
        clips = tuple(clip for clip in used if clip.split == split)
        labels = [classes[clip.label] for clip in clips]
        sources[split] = ArrayRecords(forms, clips, labels, weighted)
    name = f"{source.kind}/{prepared.parent.name}/{prepared.name}"
    return Dataset(name, listing.class_names, about["summary"], sources, about["forms"], folder)


def _outcomes(forms, listing: Listing, source: ClipsSource) -> list[Outcome]:
    """Returns the outcome of reading the arrays of each clip."""
    print(f"reading the arrays of {len(listing.clips)} examples ...", file=sys.stderr, flush=True)
    outcomes = []
    for clip in listing.clips:
        outcome = Outcome(clip.id, clip.split, clip.label, weight=clip.weight)
        try:
            for modality, form in forms.items():
                form.read(clip.of(modality))
        except MediaError as error:
            message = f"{clip.place} ({clip.id}): {error}"
            if not source.allow_skipped:
                raise RawDataError(f"{message} Or: {LEAVE_OUT}.") from error
            outcome = outcome._replace(reason=error.reason, message=message)
        outcomes.append(outcome)
    check_used(outcomes)
    return outcomes
