"""The folder of a page: files of an earlier page are replaced, and no others are touched."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tcmax_jax.files import write_atomically, write_bytes_atomically

_WRITTEN = "written.json"


def write_pages(out: Path, texts: Mapping[str, str], pictures: Mapping[str, bytes]) -> list[Path]:
    """Writes the files of a page, and removes those of an earlier page that are not among them.

    written.json keeps {name: SHA-256} of what was written, so that files of others, and files that
    others have changed, are known.

    Args:
      out: folder; made if need be.
      texts: {name: content} of text files.
      pictures: {name: PNG}, written to figures/<name>.png.

    Returns:
      The paths of the text files.

    Raises:
      FileExistsError: a file that no page has written has one of the names; nothing was written.
    """
    files = {name: text.encode() for name, text in texts.items()}
    files |= {f"figures/{name}.png": png for name, png in pictures.items()}
    before = _read(out)
    ours = {name for name, digest in before.items() if _digest_of(out / name) == digest}
    strangers = [n for n, own in files.items() if n not in ours and _holds_other(out / n, own)]
    if strangers:
        raise FileExistsError(
            f"Expected a folder whose files are those of an earlier page, got {out} with a "
            f"{strangers[0]} that no page has written, or that was changed since. Choose another "
            "--workdir, or move that file away."
        )
    (out / "figures").mkdir(parents=True, exist_ok=True)
    # First the names, so that a page that is not finished is known too.
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    write_atomically(out / _WRITTEN, json.dumps(before | digests, indent=2) + "\n")
    for name in ours - files.keys():
        (out / name).unlink()
    for name, content in files.items():
        write_bytes_atomically(out / name, content)
    write_atomically(out / _WRITTEN, json.dumps(digests, indent=2) + "\n")
    return [out / name for name in texts]


def _read(out):
    path = out / _WRITTEN
    if not path.exists():
        return {}
    try:
        written = json.loads(path.read_text())
        # Names alone: nothing outside the folder is ever removed.
        return {n: d for n, d in written.items() if not Path(n).is_absolute() and ".." not in n}
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged, so that nobody can tell which files here are those of an earlier "
            "page. Choose another --workdir."
        ) from error


def _digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _holds_other(path, content):
    return path.exists() and (not path.is_file() or path.read_bytes() != content)
