"""The media files that data was prepared from: sizes and digests, and what has changed since."""

import concurrent.futures
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tcmax_jax.data.clips import Clip, Listing
from tcmax_jax.data.forms import ArrayForm, Form

# Bytes that are read of a file's begin, middle and end. Whatever encodes media anew changes these,
# if not the size.
_READ = 2**16
_AT_ONCE = 16  # files; their storage may be far away


class Identity(NamedTuple):
    """What identifies a file: size, time of change, digest.

    Attributes:
      size: in bytes.
      changed: time of its last change, in nanoseconds.
      digest: of its size and some of its content.
    """

    size: int
    changed: int
    digest: str


def media_files(stored: Mapping[str, Form], clip: Clip) -> list[Path]:
    """Returns the media files of a clip that are decoded; files of arrays are not among them."""
    forms = {m: form for m, form in stored.items() if not isinstance(form, ArrayForm)}
    files = [form.file(clip.of(modality)) for modality, form in forms.items()]
    return list(dict.fromkeys(file for file in files if file is not None))


def identify(
    stored: Mapping[str, Form], listing: Listing, known: Mapping[str, Sequence] | None = None
) -> dict[str, Identity]:
    """Returns {path relative to the common folder: identity} of the listed media that exist.

    Args:
      stored: {modality: what is stored of it}.
      listing: the clips.
      known: the same from before, as JSON has it; where size and time of change are those, the
        content is not read again.
    """
    files = _by_name(stored, listing)
    known = {name: Identity(*each) for name, each in (known or {}).items()}
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda name: _identity(files[name], known.get(name)), files)
        return {name: each for name, each in zip(files, found, strict=True) if each is not None}


def digests_of_clips(
    stored: Mapping[str, Form], listing: Listing, identities: Mapping[str, Identity]
) -> dict[str, str]:
    """Returns {id of a clip: digests of its files}, from the result of `identify`."""
    names = {file: name for name, file in _by_name(stored, listing).items()}
    none = Identity(0, 0, "none")
    return {
        clip.id: " ".join(
            identities.get(names[file], none).digest for file in media_files(stored, clip)
        )
        for clip in listing.clips
    }


def others(now: Mapping[str, Identity], before: Mapping[str, Sequence]) -> list[str]:
    """Returns the names of files that are new or have changed."""
    then = {name: Identity(*each).digest for name, each in before.items()}
    return [name for name, each in now.items() if each.digest != then.get(name)]


def digest_of_all(identities: Mapping[str, Identity]) -> str:
    """Returns a digest of all files."""
    text = "\n".join(f"{name} {each.digest}" for name, each in sorted(identities.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:10]


def _by_name(stored, listing: Listing) -> dict[str, Path]:
    files = dict.fromkeys(file for clip in listing.clips for file in media_files(stored, clip))
    if not files:
        return {}
    # So that they are the same wherever the folder lies.
    folder = os.path.commonpath([os.path.abspath(file.parent) for file in files])
    return {os.path.relpath(file, folder): file for file in files}


def _identity(path: Path, known: Identity | None) -> Identity | None:
    try:
        about = path.stat()
        if known is not None and (about.st_size, about.st_mtime_ns) == known[:2]:
            return known
        if not path.is_file():  # A pipe would wait for somebody to write into it.
            return None
        hashed = hashlib.sha256(str(about.st_size).encode())
        with path.open("rb") as file:
            for at in sorted({0, max(about.st_size // 2, 0), max(about.st_size - _READ, 0)}):
                file.seek(at)
                hashed.update(file.read(_READ))
    except (OSError, ValueError):
        return None  # What is wrong with it is said where it is read.
    return Identity(about.st_size, about.st_mtime_ns, hashed.hexdigest()[:16])
