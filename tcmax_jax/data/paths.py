"""Names of files that come from lists: none leads out of the folder that it is meant for.

Links are followed: whoever may put one into the folder may put the file there too.
"""

import os
from pathlib import Path

from tcmax_jax.data.clips import RawDataError

# Bytes of a name, and of a path, the most that common file systems take.
_LONGEST, _LONGEST_PATH = 255, 4095


def inner_path(place: str, folder: Path, path: str, *, outside: bool) -> Path:
    """Joins a path of a list to the list's folder.

    Args:
      place: where it is listed, for messages.
      folder: folder of the list.
      path: path as it is listed.
      outside: whether it may be absolute, or leave the folder through "..".

    Raises:
      RawDataError: it may not, or if no file can have it.
    """
    too_long = len(os.fsencode(folder / path)) > _LONGEST_PATH
    if too_long or any(len(os.fsencode(part)) > _LONGEST for part in Path(path).parts):
        raise RawDataError(
            f"{place}: expected a path of at most {_LONGEST_PATH} bytes, of names of at most "
            f"{_LONGEST}, got {path[:60]!r} and more; correct it"
        )
    if outside:
        return folder / path
    # Joined as it was judged: behind a link, "link/../x" is another file than "x".
    plain = os.path.normpath(path)
    if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir:
        raise RawDataError(
            f"{place}: expected a path inside {folder}, got {path!r}, which leads out of it; move "
            "or link the file into the folder, or allow such paths with data.outside_paths=true "
            "(--config.data.outside_paths=true)"
        )
    return folder / plain


def check_name(place: str, name: str) -> None:
    """Checks that a name of a list can be, or be part of, the name of a file and no path.

    Raises:
      RawDataError: it does not fit.
    """
    if fault := name_fault(name):
        raise RawDataError(
            f"{place}: expected a name, which becomes that of a file, got {name[:60]!r}, which "
            f"{fault}; correct the list"
        )


def name_fault(name: str) -> str | None:
    """Returns what keeps a name from being that of a file in a folder, or None."""
    if not name or name in (os.curdir, os.pardir):
        return "names no file"
    for mark in ("/", "\\", "\0"):
        if mark in name:
            return f"has {mark!r} in it"
    try:
        return f"is longer than {_LONGEST} bytes" if len(name.encode()) > _LONGEST else None
    except UnicodeEncodeError:
        return "is no valid text"
