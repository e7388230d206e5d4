"""Folders of prepared data: whether one exists, and whether it is complete and unchanged."""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging

from tcmax_jax import digests

AGAIN = "The prepared data is damaged: delete that folder and prepare it again."
RECORDS = ".array_record"  # part of the names of files of records
_CLASSES, _METADATA = "label.labels.txt", "metadata.json"


class DataError(ValueError):
    """Prepared data that cannot be read, or that is invalid."""


class KnownInfo(tfds.core.DatasetInfo):
    """Describes a data set whose files get digests when they are written, see `digests`."""

    def initialize_from_bucket(self):
        """Does not look in public data: each look would leave an empty folder."""

    def write_to_directory(self, dataset_info_dir, all_metadata=True):
        """Writes the description, the last file of a data set."""
        super().write_to_directory(dataset_info_dir, all_metadata)
        folder = Path(dataset_info_dir)
        digests.remember(folder, [path.name for path in folder.iterdir() if path.is_file()])


def is_prepared(folder: Path) -> bool:
    """Returns whether a folder holds prepared data; it gets its name when complete."""
    return folder.is_dir() and any(folder.iterdir())


def open_prepared(folder: str | os.PathLike) -> tfds.core.DatasetBuilder:
    """Returns the builder of prepared data, after checking its description.

    Raises:
      DataError: a file is missing, or not as it was written; names it.
    """
    folder = Path(folder)
    described = [folder / name for name in digests.known(folder) if RECORDS not in name]
    try:
        digests.check(described, AGAIN)
        with quiet():
            builder = tfds.builder_from_directory(folder)
        _check_described(folder, builder)
    except digests.DamagedFileError as error:
        raise DataError(str(error)) from error
    except Exception as error:  # TFDS raises all kinds.
        raise unreadable("the description of a prepared data set", folder, error) from error
    return builder


def _check_described(folder, builder):
    """Checks for missing files in place of which TFDS would use defaults."""
    if "kinds" not in (builder.info.metadata or {}):  # which every version has written
        raise DataError(
            f"Expected what data was made of in {folder / _METADATA}, got none. {AGAIN}"
        )
    features = json.loads((folder / "features.json").read_text())["featuresDict"]["features"]
    number = int(features["label"]["classLabel"]["numClasses"])
    file = folder / _CLASSES
    names = file.read_text().split("\n")[:-1] if file.is_file() else []
    if len(names) != number:
        raise DataError(
            f"Expected the names of {number} classes in {file}, got {len(names)}. {AGAIN}"
        )
    used = builder.info.metadata.get("splits", {}).values()
    if lost := {label for split in used for label in split["classes"]} - set(names):
        raise DataError(f"Expected the class {min(lost)!r} in {file}, got none. {AGAIN}")


def unreadable(what: str, where: str | os.PathLike, error: Exception) -> DataError:
    """Returns the error for prepared data that cannot be read."""
    if isinstance(error, DataError):
        return error
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return DataError(f"Expected to read {what} in {where}, got: {reason}. {AGAIN}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Stops TFDS from reporting a download, a custom configuration and a bar for each split."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
