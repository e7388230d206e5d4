"""AVE: audio-visual events."""

import collections
from typing import ClassVar, Literal

from tcmax_jax.data.clips import Clip, Listing, check_clips
from tcmax_jax.data.paths import check_name
from tcmax_jax.data.sources.base import RawSource
from tcmax_jax.data.sources.raw import open_folder, read_rows
from tcmax_jax.section import section

_CATEGORIES = (
    "Accordion; Acoustic guitar; Baby cry, infant cry; Banjo; Bark; Bus; Cat; Chainsaw; "
    "Church bell; Clock; Female speech, woman speaking; Fixed-wing aircraft, airplane; Flute; "
    "Frying (food); Goat; Helicopter; Horse; Male speech, man speaking; Mandolin; Motorcycle; "
    "Race car, auto racing; Rodents, rats, mice; Shofar; Toilet flush; Train horn; Truck; "
    "Ukulele; Violin, fiddle"
)
CATEGORIES = tuple(_CATEGORIES.split("; "))
EXPECTED = {"train": 3339, "validation": 402, "test": 402}
LAYOUT = """
  AVE/<id>.mp4
  trainSet.txt, valSet.txt, testSet.txt    lines `category&id&quality&start&end`"""
_LISTS = {"train": "trainSet.txt", "validation": "valSet.txt", "test": "testSet.txt"}


@section
class AveData(RawSource):
    """AVE: 4143 clips of ten seconds with an audio-visual event of one of 28 categories.

    Sound and frames are those of the whole clip. The official lists (3339 / 402 / 402) name some
    videos more than once, within a split and across splits. All rows are kept: the second row of an
    id is called `<id>#2`, and how many are repeated or shared is noted in the summary.
    """

    kind: Literal["ave"] = "ave"

    layout: ClassVar = LAYOUT
    citation: ClassVar = (
        "Tian et al., Audio-Visual Event Localization in Unconstrained Videos, ECCV 2018"
    )

    def list_clips(self) -> Listing:
        """Lists the raw folder; raises RawDataError where it does not fit."""
        folder = open_folder(self.raw_dir, LAYOUT, ["AVE", *_LISTS.values()])
        clips, splits = [], collections.defaultdict(list)
        for split, name in _LISTS.items():
            for place, cells in read_rows(folder / name, 5, delimiter="&"):
                category, video = cells[:2]
                if category == "Category":
                    continue  # Some copies have a header.
                check_name(place, video)
                splits[video].append(split)
                number = len(splits[video])
                file = folder / "AVE" / f"{video}.mp4"
                clips.append(
                    Clip(
                        id=video if number == 1 else f"{video}#{number}",
                        split=split,
                        label=category,
                        video=file,
                        audio=file,
                        place=place,
                        folder=folder,
                    )
                )
        listing = Listing(clips, CATEGORIES, EXPECTED, _notes(splits))
        check_clips(listing, folder)
        return listing


def _notes(splits: dict[str, list[str]]) -> list[str]:
    notes = []
    for split in _LISTS:
        repeated = sum(own.count(split) > 1 for own in splits.values())
        if repeated:
            notes.append(f"{repeated} videos are listed more than once in {split}")
    shared = collections.Counter(
        " and ".join(sorted(set(own))) for own in splits.values() if len(set(own)) > 1
    )
    notes += [f"{number} videos are listed in both {pair}" for pair, number in shared.items()]
    return notes
