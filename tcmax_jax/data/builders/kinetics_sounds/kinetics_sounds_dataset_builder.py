"""Kinetics-Sounds: the classes of Kinetics-400 that can be seen and heard."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_clips
from tcmax_jax.data.paths import check_name
from tcmax_jax.data.preparation.builder import ClipsBuilder
from tcmax_jax.data.preparation.settings import ClipsSettings
from tcmax_jax.data.raw import find_media, open_folder, read_table, whole_number
from tcmax_jax.data.splits import move

EXPECTED = {"train": 14675, "test": 2594}
LAYOUT = """
  train.csv, val.csv, test.csv       of Kinetics-400, there or in annotations/, with the columns
                                     label,youtube_id,time_start,time_end
  <youtube id>_<start>_<end>.mp4     in any folders, start and end in seconds with six digits"""
_NAMES = {"train": ("train.csv",), "val": ("val.csv", "validate.csv"), "test": ("test.csv",)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class KineticsSoundsSettings(ClipsSettings):
    """Source and form of Kinetics-Sounds.

    Attributes:
        raw_dir: Folder of the raw data.
        classes: Names of the classes as Kinetics-400 spells them.
        test_split: Which split of Kinetics-400 is the test split.
        validation_share: Share of train that becomes validation.
    """

    raw_dir: str | None
    classes: Sequence[str]
    test_split: Literal["val", "test"]
    validation_share: float


class KineticsSounds(ClipsBuilder):
    """Ten seconds of an action each, from videos of many makers."""

    LAYOUT = f"Layout: {LAYOUT}"

    def list_clips(self) -> Listing:
        """Lists the raw folder."""
        s = self.settings
        return list_kinetics_sounds(s.raw_dir, s.classes, s.test_split, s.validation_share)


def list_kinetics_sounds(
    raw_dir: str | None, classes: Sequence[str], test_split: str, validation_share: float
) -> Listing:
    """List the clips of some classes of Kinetics-400.

    Args:
        raw_dir: Folder of the raw data.
        classes: Names of the classes.
        test_split: Split of Kinetics-400 that is the test split, "val" or "test".
        validation_share: Share of train that becomes validation.

    Raises:
        RawDataError: If the folder does not fit, or a class has no training clip.
    """
    folder = open_folder(raw_dir, LAYOUT)
    media = find_media(folder)
    clips = []
    for split, source in (("train", "train"), ("test", test_split)):
        path = _csv(folder, source)
        for place, row in read_table(path, ("label", "youtube_id", "time_start", "time_end")):
            if row["label"] in classes:
                start, end = (whole_number(place, row[name]) for name in ("time_start", "time_end"))
                name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
                check_name(place, name)
                file = media.get(name, folder / f"{name}.mp4")
                clips.append(
                    Clip(name, split, row["label"], file, file, place=place, folder=folder)
                )
    lost = set(classes) - {clip.label for clip in clips if clip.split == "train"}
    if lost:
        raise RawDataError(
            f"{_csv(folder, 'train')}: expected clips of the {len(classes)} classes, got none of "
            f"{', '.join(sorted(lost))}; correct data.classes, or the list"
        )
    clips = move(clips, validation_share, to="validation")
    listing = Listing(clips, tuple(classes), EXPECTED, [f"{len(classes)} classes"])
    check_clips(listing, folder)
    return listing


def _csv(folder: Path, split: str) -> Path:
    for name in _NAMES[split]:
        for path in (folder / name, folder / "annotations" / name):
            if path.is_file():
                return path
    raise RawDataError(
        f"{folder}: expected {' or '.join(_NAMES[split])}, got none; put it there. Layout: {LAYOUT}"
    )
