"""AVE: audio-visual events."""

import collections
import dataclasses

from tcmax_jax.data.clips import Clip, Listing, check_clips
from tcmax_jax.data.paths import check_name
from tcmax_jax.data.preparation.builder import ClipsBuilder
from tcmax_jax.data.preparation.settings import ClipsSettings
from tcmax_jax.data.raw import open_folder, read_rows

CATEGORIES = (
    "Accordion", "Acoustic guitar", "Baby cry, infant cry", "Banjo", "Bark", "Bus", "Cat",
    "Chainsaw", "Church bell", "Clock", "Female speech, woman speaking",
    "Fixed-wing aircraft, airplane", "Flute", "Frying (food)", "Goat", "Helicopter", "Horse",
    "Male speech, man speaking", "Mandolin", "Motorcycle", "Race car, auto racing",
    "Rodents, rats, mice", "Shofar", "Toilet flush", "Train horn", "Truck", "Ukulele",
    "Violin, fiddle",
)  # fmt: skip
EXPECTED = {"train": 3339, "validation": 402, "test": 402}
LAYOUT = """
  AVE/<id>.mp4
  trainSet.txt, valSet.txt, testSet.txt    lines `category&id&quality&start&end`"""
_LISTS = {"train": "trainSet.txt", "validation": "valSet.txt", "test": "testSet.txt"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveSettings(ClipsSettings):
    """Source and form of AVE.

    Attributes:
        raw_dir: Folder of the raw data.
    """

    raw_dir: str | None


class Ave(ClipsBuilder):
    """4143 clips of ten seconds in 28 classes; whole clips, not only the seconds of the event."""

    LAYOUT = f"Layout: {LAYOUT}"

    def list_clips(self) -> Listing:
        """Lists the raw folder."""
        return list_ave(self.settings.raw_dir)


def list_ave(raw_dir: str | None) -> Listing:
    """List the clips of AVE by its official lists.

    The lists name some videos more than once, within a split and across splits. All rows are kept,
    as others do: the second row of an id is called `<id>#2`. How many there are is noted.

    Args:
        raw_dir: Folder of the raw data.

    Raises:
        RawDataError: If the folder does not fit.
    """
    folder = open_folder(raw_dir, LAYOUT, ["AVE", *_LISTS.values()])
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
