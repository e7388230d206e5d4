"""Digests of files, recorded when written and checked when read, to detect damage and mix-ups.

digests.json in a folder holds {file name: [[size in bytes, SHA-256], ..]}. A replaced file has two
entries, of the old and the new content, since a kill may come between the entry and the file. Files
without an entry, such as those of earlier versions, are not checked; to edit one, remove its entry.
"""

import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tcmax_jax.files import json_text, parse_json, write_atomically
from tcmax_jax.space import named

_FILE = "digests.json"
_PART = 2**16  # bytes of the begin, middle and end of files with checksums of their own
_OWN_CHECKSUMS = (".npz", ".array_record")
_GROWING = ".jsonl"  # lines are added, and those that are there stay
_AT_ONCE = 16  # files; their storage may be far away


class DamagedFileError(ValueError):
    """A file is not as it was written, or cannot be read; the message names it."""


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yields a path to write to; then that file replaces `path`, and its digest is recorded."""
    temporary = path.with_name(f"{path.name}.tmp")
    with named(path):
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
    with _alone(path.parent):
        known = _read(path.parent)
        as_before = [digest for digest in known.get(path.name, []) if _matches(path, digest)]
        known[path.name] = [*as_before[-1:], _digest(temporary)]
        _store(path.parent, known)
        os.replace(temporary, path)


def write(path: Path, text: str) -> None:
    """Writes a text file atomically and records its digest."""
    with written(path) as temporary:
        temporary.write_bytes(text.encode(errors="backslashreplace"))


def remember(folder: Path, names: Iterable[str]) -> None:
    """Records the digests of files of a folder as they are now."""
    with _alone(folder):
        _store(folder, _read(folder) | {name: [_digest(folder / name)] for name in names})


def known(folder: Path) -> list[str]:
    """Returns the names of the files in a folder that have a digest."""
    return list(_read(folder))


def faults(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Returns {name: what was found instead} of files that are not as they were written."""
    digests = _read(folder)
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda name: _fault(folder / name, digests.get(name)), names)
        return {name: fault for name, fault in zip(names, found, strict=True) if fault}


def fault(path: Path) -> str | None:
    """Returns what was found instead of a file that is not as it was written, None if it is."""
    return faults(path.parent, [path.name]).get(path.name)


def is_due(path: Path) -> bool:
    """Returns whether a file is there, or was and should be."""
    return path.exists() or path.name in known(path.parent)


def is_known(path: Path) -> bool:
    """Returns whether a file is there and known to be as it was written."""
    return path.name in _read(path.parent) and fault(path) is None


def check(paths: Sequence[Path], remedy: str) -> None:
    """Raises DamagedFileError, with what to do, where a file of a folder is not as it was."""
    if not paths:
        return
    found = faults(paths[0].parent, [path.name for path in paths])
    for name, fault in found.items():
        raise DamagedFileError(
            f"Expected {paths[0].parent / name} as it was written, got {fault}. {remedy}"
        )


def read_json(path: Path, remedy: str, fields: Sequence[str] = ()) -> Any:
    """Returns what a JSON file holds.

    Args:
      path: the file.
      remedy: what to do where it is damaged, a sentence.
      fields: of the object that it has to be.

    Raises:
      DamagedFileError: it cannot be read, lacks a field, or is not as it was written.
    """
    content = _parsed(path, remedy, parse_json)
    for field in fields:
        if not isinstance(content, dict) or field not in content:
            raise DamagedFileError(f"Expected a field {field!r} in {path}, got none. {remedy}")
    return content


def read_json_or_none(
    path: Path, say: Callable[[str], None], lost: str, fields: Sequence[str] = ()
) -> Any | None:
    """Returns what a JSON file holds that can be done without, None where it is not there.

    Args:
      path: the file.
      say: function of a text, told where it is damaged.
      lost: what becomes of it then, a sentence.
      fields: see `read_json`.
    """
    if not is_due(path):
        return None
    try:
        return read_json(path, lost, fields)
    except DamagedFileError as error:
        say(f"warning: {error}")
        return None


def read_json_lines(path: Path, remedy: str) -> list:
    """Returns what the lines of a JSON lines file hold; see `read_json`."""
    return _parsed(path, remedy, lambda text: [parse_json(line) for line in text.splitlines()])


def _parsed(path, remedy, parse):
    check([path], remedy)
    try:
        return parse(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"Expected JSON in {path}, got: {error}. {remedy}") from error


def _fault(path, digests) -> str | None:
    if not path.is_file():
        return "no such file"
    if digests is None or any(_matches(path, digest) for digest in digests):
        return None
    size, least = path.stat().st_size, digests[-1][0]
    if size == least or (size > least and path.suffix == _GROWING):
        return f"other content than {_FILE} there knows"
    return f"{size} bytes in place of the {least} that {_FILE} there knows"


def _matches(path, digest) -> bool:
    size = digest[0]
    try:
        there = path.stat().st_size
        fits = there >= size if path.suffix == _GROWING else there == size
        return fits and _digest(path, size) == digest
    except OSError:
        return False


def _digest(path, size=None) -> list:
    size, hashed = path.stat().st_size if size is None else size, hashlib.sha256()
    parts = [(0, size)]
    if size > 3 * _PART and any(ending in path.name for ending in _OWN_CHECKSUMS):
        parts = [(at, _PART) for at in (0, size // 2, size - _PART)]
    with path.open("rb") as file:
        for at, left in parts:
            file.seek(at)
            while left and (block := file.read(min(left, 2**20))):
                hashed.update(block)
                left -= len(block)
    return [size, hashed.hexdigest()]


def _read(folder) -> dict[str, list]:
    """Returns the digests of a folder; none where they are damaged, which is no harm to files."""
    try:
        digests = json.loads((folder / _FILE).read_text())
        return {
            name: [[int(size), str(digest)] for size, digest in each]
            for name, each in digests.items()
            if each
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _store(folder, digests):
    write_atomically(folder / _FILE, json_text(dict(sorted(digests.items())), indent=None) + "\n")


@contextlib.contextmanager
def _alone(folder):
    """Keeps others from writing digests of the folder meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # File systems of clusters need not have locks.
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
