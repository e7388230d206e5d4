"""Clips decoded in chunks, each in a file of its own, so that an interrupted preparation resumes.

A chunk's file is written whole or not at all, by whichever process or machine decodes it. It holds
the content of the clips that could be decoded and a report on every clip. Clips that failed are
tried again when the chunk is requested again. Worker processes import this module, so it must not
import JAX or TensorFlow Datasets.
"""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tcmax_jax.data.clips import Clip
from tcmax_jax.data.forms import Form
from tcmax_jax.data.limits import MediaError
from tcmax_jax.npz import open_npz

CLIPS_IN_CHUNK = 32
_REPORT = "report"


class Chunk(NamedTuple):
    """Some clips of one split, and the file that holds their decoded content.

    Attributes:
      path: the file, an .npz of plain arrays.
      clips: the clips.
      media: {id: digest of the clip's files}; what was decoded of others is decoded again.
    """

    path: Path
    clips: Sequence[Clip]
    media: Mapping[str, str] = {}


class Outcome(NamedTuple):
    """The outcome of decoding a clip.

    Attributes:
      id: name of the clip.
      split: its split.
      label: its class.
      seconds: length of its sound; None where none is stored or it was not decoded.
      reason: why it was left out, in a few words; None if it was decoded.
      message: the same with file and place.
      weight: of its loss in training.
      remarks: what is odd about its content, in a few words each.
      media: digest of its files.
    """

    id: str
    split: str
    label: str
    seconds: float | None = None
    reason: str | None = None
    message: str | None = None
    weight: float = 1.0
    remarks: Sequence[str] = ()
    media: str = ""


def chunks_of(
    clips: Sequence[Clip], folder: Path, media: Mapping[str, str] = MappingProxyType({})
) -> list[Chunk]:
    """Divides the clips of one split into chunks.

    Args:
      clips: the clips, at least one.
      folder: where their files lie.
      media: see `Chunk`.
    """
    chunks = []
    for number, first in enumerate(range(0, len(clips), CLIPS_IN_CHUNK)):
        part = clips[first : first + CLIPS_IN_CHUNK]
        path = folder / f"{clips[0].split}-{number:06d}.npz"
        chunks.append(Chunk(path, part, {c.id: media[c.id] for c in part if c.id in media}))
    return chunks


def decode_chunk(stored: Mapping[str, Form], chunk: Chunk) -> list[Outcome]:
    """Decodes the clips that the chunk's file lacks, and returns the outcome of every clip.

    Args:
      stored: {modality: what is stored of it}.
      chunk: the chunk.
    """
    outcomes = {
        each.id: each
        for each in read_report(chunk.path)
        if each.reason is None and each.media == chunk.media.get(each.id, "")
    }
    if len(outcomes) == len(chunk.clips):
        return [outcomes[clip.id] for clip in chunk.clips]
    arrays = _load(chunk.path) if outcomes else {}
    for clip in chunk.clips:
        if clip.id not in outcomes:
            outcome, content = _decode(stored, clip)
            outcomes[clip.id] = outcome._replace(media=chunk.media.get(clip.id, ""))
            arrays |= content
    report = [outcomes[clip.id] for clip in chunk.clips]
    text = json.dumps([outcome._asdict() for outcome in report]).encode()
    temporary = chunk.path.with_name(f"{chunk.path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, **{_REPORT: np.frombuffer(text, np.uint8)}, **arrays)
    os.replace(temporary, chunk.path)
    return report


def examples_of(stored: Mapping[str, Form], chunk: Chunk) -> Iterator[tuple[str, dict]]:
    """Yields (id, {"id", "label", modality: value}) of the decoded clips of a decoded chunk."""
    arrays = _load(chunk.path)
    for outcome in read_report(chunk.path):
        if outcome.reason is None:
            values = {m: _value(arrays, f"{outcome.id}/{m}", stored[m]) for m in stored}
            about = {name: getattr(outcome, name) for name in ("id", "label", "weight")}
            yield outcome.id, about | values


def read_report(path: Path) -> list[Outcome]:
    """Returns the outcomes in a chunk's file; empty if it is missing or damaged."""
    try:
        with open_npz(path) as file:
            return [Outcome(**entry) for entry in json.loads(bytes(file[_REPORT]))]
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []


def _decode(stored, clip: Clip) -> tuple[Outcome, dict]:
    """Returns the outcome of a clip, and its content as named arrays."""
    arrays, seconds, remarks = {}, None, []
    about = clip.id, clip.split, clip.label
    for modality, form in stored.items():
        try:
            value, length, remark = form.read(clip.of(modality))
        except MediaError as error:
            return Outcome(*about, None, error.reason, f"{clip.place} ({clip.id}): {error}"), {}
        name = f"{clip.id}/{modality}"
        if form.encoded:
            arrays[name] = np.frombuffer(b"".join(value), np.uint8)
            arrays[f"{name}/ends"] = np.cumsum([len(picture) for picture in value])
        else:
            arrays[name] = value
        seconds = length if seconds is None else seconds
        remarks += [remark] if remark else []
    return Outcome(*about, seconds, weight=clip.weight, remarks=remarks), arrays


def _value(arrays, name: str, form: Form):
    if not form.encoded:
        return arrays[name]
    return [part.tobytes() for part in np.split(arrays[name], arrays[f"{name}/ends"][:-1])]


def _load(path: Path) -> dict[str, np.ndarray]:
    with open_npz(path) as file:
        return {name: file[name] for name in file.files if name != _REPORT}
