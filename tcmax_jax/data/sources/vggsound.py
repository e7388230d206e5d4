"""VGGSound."""

from typing import ClassVar, Literal

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_name
from tcmax_jax.data.sources.base import ValidationShare
from tcmax_jax.data.sources.raw import RawSource, find_media, read_rows, whole_number
from tcmax_jax.data.splits import move
from tcmax_jax.section import section

SECONDS = 10
EXPECTED = {"test": 15446}
LAYOUT = """
  vggsound.csv                 lines `youtube id,start second,label,train or test`
  <youtube id>_<start>.mp4     in any folders, start in seconds with six digits; the names
                               <id>_<start>_<end> and v<id>_<start>_<end>_out are known too"""


@section
class VggsoundData(RawSource):
    """VGGSound: some 200 000 clips of ten seconds in 309 classes of sounds whose source is seen.

    Its owners ship the list alone; many clips are gone from the web. Train on what is there with
    `allow_skipped`: the summary says what share that is. The classes are the labels of the list,
    sorted.

    Attributes:
      validation_share: share of train that becomes validation.
    """

    kind: Literal["vggsound"] = "vggsound"
    validation_share: ValidationShare = 0.2

    layout: ClassVar = LAYOUT
    known_classes: ClassVar = 309
    needed: ClassVar = ("vggsound.csv",)
    citation: ClassVar = "Chen et al., VGGSound: A Large-Scale Audio-Visual Dataset, ICASSP 2020"

    def _list(self, folder):
        media = find_media(folder)
        clips = []
        for place, (video, start, label, split) in read_rows(folder / "vggsound.csv", 4):
            if split not in ("train", "test"):
                raise RawDataError(
                    f"{place}: Expected the split train or test, got {split!r}. Use the list as "
                    "published."
                )
            check_name(place, video)
            names = _names(video, whole_number(place, start))
            found = next((media[name] for name in names if name in media), None)
            file = found or folder / f"{names[0]}.mp4"
            clips.append(Clip(names[0], split, label, file, file, place=place, folder=folder))
        labels = sorted({clip.label for clip in clips if clip.split == "train"})
        clips = move(clips, self.validation_share, to="validation")
        return Listing(clips, labels, EXPECTED, [f"{len(labels)} classes"])


def _names(video: str, start: int) -> list[str]:
    """File names that a clip may have, the usual one first."""
    end = start + SECONDS
    return [
        f"{video}_{start:06d}",
        f"{video}_{start:06d}_{end:06d}",
        f"{video}_{start}_{end}",
        f"{video}_{1000 * start}_{1000 * end}",
        f"v{video}_{start}_{end}_out",
    ]
