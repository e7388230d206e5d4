"""Atomic writing of files, safe file names, and strict JSON."""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tcmax_jax.space import named


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """Returns plain data as JSON, with null for NaN and infinity, which JSON lacks."""
    return json.dumps(_without_constants(value), indent=indent, allow_nan=False)


def parse_json(text: str) -> Any:
    """Parses JSON, with None for NaN and infinity, which earlier versions wrote."""
    return json.loads(text, parse_constant=lambda name: None)


def _without_constants(value):
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _without_constants(each) for key, each in value.items()}
        case list() | tuple():
            return [_without_constants(each) for each in value]
        case _:
            return value


_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # one letter would be a drive


def local(path: str | os.PathLike) -> Path:
    """Returns a path on this machine, with ~ for the home folder.

    Raises:
      ValueError: it is the address of a bucket or server, which would become a folder named gs:.

    Example:
      >>> str(local("runs/pets"))
      'runs/pets'
    """
    if _ELSEWHERE.match(os.fspath(path)):
        raise ValueError(
            f"Expected a path of this machine, got {path}. Mount it as a folder, a bucket with "
            "gcsfuse or s3fs for instance, and give that."
        )
    return Path(path).expanduser()


_LONGEST = 200  # bytes; file systems take 255, and a temporary file has an ending more


def file_name(text: str) -> str:
    """Returns a valid name of a file or folder for a text of any characters.

    It is the text itself wherever that can be one. No other leads out of the folder, or is that of
    another text: a digest tells them apart.

    Example:
      >>> file_name("tcmax-sum-seed0"), file_name("../tcmax")
      ('tcmax-sum-seed0', '.._tcmax-dc1cfc9b')
    """
    name = text.replace("/", "_").replace("\0", "_")
    if name == text and text not in ("", ".", "..") and len(os.fsencode(name)) <= _LONGEST:
        return text
    digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
    return f"{os.fsdecode(os.fsencode(name)[:_LONGEST])}-{digest}"


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file atomically: after a crash it is complete or unchanged."""
    # Names of files may hold bytes that are no text.
    write_bytes_atomically(path, text.encode(errors="backslashreplace"))


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Writes a file atomically: after a crash it is complete or unchanged."""
    temporary = path.with_name(path.name + ".tmp")
    with named(path):
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            # Or a loss of power could leave the new name without its content.
            os.fsync(file.fileno())
        os.replace(temporary, path)
