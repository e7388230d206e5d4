"""AVE: audio-visual events."""

import collections
from typing import ClassVar, Literal

from tcmax_jax.data.clips import Clip, Listing, check_name
from tcmax_jax.data.sources.raw import RawSource, read_rows
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
    known_classes: ClassVar = len(CATEGORIES)
    needed: ClassVar = ("AVE", *_LISTS.values())
    citation: ClassVar = (
        "Tian et al., Audio-Visual Event Localization in Unconstrained Videos, ECCV 2018"
    )

    def _list(self, folder):
        clips, splits = [], collections.defaultdict(list)
        for split, name in _LISTS.items():
            for place, (category, video, *_) in read_rows(folder / name, 5, delimiter="&"):
                if category == "Category":
                    continue  # Some copies have a header.
                check_name(place, video)
                splits[video].append(split)
                number = len(splits[video])
                key = video if number == 1 else f"{video}#{number}"
                file = folder / "AVE" / f"{video}.mp4"
                clips.append(Clip(key, split, category, file, file, place=place, folder=folder))
        return Listing(clips, CATEGORIES, EXPECTED, _notes(splits))


def _notes(splits: dict[str, list[str]]) -> list[str]:
    repeated = {s: sum(places.count(s) > 1 for places in splits.values()) for s in _LISTS}
    return [f"{n} videos are listed more than once in {s}" for s, n in repeated.items() if n]
