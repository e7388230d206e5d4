"""Kinetics-Sounds: the classes of Kinetics-400 that can be seen and heard."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_name
from tcmax_jax.data.forms import FilterBank, Frames
from tcmax_jax.data.sources.base import Stored, ValidationShare, stores
from tcmax_jax.data.sources.raw import RawSource, find_media, read_table, whole_number
from tcmax_jax.data.splits import move
from tcmax_jax.section import Limits, section

_CLASSES = (
    "blowing nose, blowing out candles, bowling, chopping wood, dribbling basketball, "
    "laughing, mowing lawn, playing accordion, playing bagpipes, playing bass guitar, playing "
    "clarinet, playing drums, playing guitar, playing harmonica, playing keyboard, playing "
    "organ, playing piano, playing saxophone, playing trombone, playing trumpet, playing "
    "violin, playing xylophone, ripping paper, shoveling snow, shuffling cards, singing, "
    "stomping grapes, tap dancing, tapping guitar, tapping pen, tickling"
)
CLASSES = tuple(_CLASSES.split(", "))
EXPECTED = {"train": 14675, "test": 2594}
LAYOUT = """
  train.csv, val.csv, test.csv       of Kinetics-400, there or in annotations/, with the columns
                                     label,youtube_id,time_start,time_end
  <youtube id>_<start>_<end>.mp4     in any folders, start and end in seconds with six digits"""
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_NAMES = {"train": ("train.csv",), "val": ("val.csv", "validate.csv"), "test": ("test.csv",)}


@section
class KineticsSoundsData(RawSource):
    """Kinetics-Sounds: those classes of Kinetics-400 that can be both seen and heard.

    The classes are by default the 31 of the PyTorch TCMax and OGM-GE code; other papers use 32, 33
    or 34. That code has 14675 training and 2594 test clips, more than the validation split of
    Kinetics-400 holds (50 a class), so its test clips are taken to be of the test split.
    Kinetics-400 lists more clips than are still to be had.

    Attributes:
      classes: names of the classes as Kinetics-400 spells them.
      test_split: split of Kinetics-400 that is the test split.
      validation_share: share of train that becomes validation.
    """

    kind: Literal["kinetics_sounds"] = "kinetics_sounds"
    stored: Stored = stores(audio=FilterBank(), visual=Frames())
    classes: Annotated[tuple[str, ...], Limits(min_length=2)] = CLASSES
    test_split: Literal["val", "test"] = "test"
    validation_share: ValidationShare = 0.2

    layout: ClassVar = LAYOUT
    citation: ClassVar = (
        "Arandjelovic and Zisserman, Look, Listen and Learn, ICCV 2017; Kay et al., The "
        "Kinetics Human Action Video Dataset, arXiv 1705.06950"
    )

    @property
    def known_classes(self):
        """Number of `classes`."""
        return len(self.classes)

    def _list(self, folder):
        media = find_media(folder)
        clips = []
        for split, source in (("train", "train"), ("test", self.test_split)):
            for place, row in read_table(_csv(folder, source), _COLUMNS):
                if row["label"] in self.classes:
                    start, end = (whole_number(place, row[name]) for name in _COLUMNS[2:])
                    name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
                    check_name(place, name)
                    file = media.get(name, folder / f"{name}.mp4")
                    clips.append(
                        Clip(name, split, row["label"], file, file, place=place, folder=folder)
                    )
        lost = set(self.classes) - {clip.label for clip in clips if clip.split == "train"}
        if lost:
            raise RawDataError(
                f"{_csv(folder, 'train')}: Expected clips of the {len(self.classes)} classes, "
                f"got none of {', '.join(sorted(lost))}. Correct data.classes, or the list."
            )
        clips = move(clips, self.validation_share, to="validation")
        return Listing(clips, self.classes, EXPECTED, [f"{len(self.classes)} classes"])


def _csv(folder: Path, split: str) -> Path:
    places = [folder / inner / name for name in _NAMES[split] for inner in ("", "annotations")]
    if found := next(filter(Path.is_file, places), None):
        return found
    raise RawDataError(
        f"{folder}: Expected {' or '.join(_NAMES[split])}, got none. Put it there. Layout: {LAYOUT}"
    )
