"""VGGSound."""

import dataclasses

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_clips
from tcmax_jax.data.paths import check_name
from tcmax_jax.data.preparation.builder import ClipsBuilder
from tcmax_jax.data.preparation.settings import ClipsSettings
from tcmax_jax.data.raw import find_media, open_folder, read_rows, whole_number
from tcmax_jax.data.splits import move

SECONDS = 10
EXPECTED = {"test": 15446}
LAYOUT = """
  vggsound.csv                 lines `youtube id,start second,label,train or test`
  <youtube id>_<start>.mp4     in any folders, start in seconds with six digits; the names
                               <id>_<start>_<end> and v<id>_<start>_<end>_out are known too"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VggsoundSettings(ClipsSettings):
    """Source and form of VGGSound.

    Attributes:
        raw_dir: Folder of the raw data.
        validation_share: Share of train that becomes validation.
    """

    raw_dir: str | None
    validation_share: float


class Vggsound(ClipsBuilder):
    """Some 200 000 clips of ten seconds in 309 classes of sounds whose source is in the picture."""

    LAYOUT = f"Layout: {LAYOUT}"

    def list_clips(self) -> Listing:
        """Lists the raw folder."""
        return list_vggsound(self.settings.raw_dir, self.settings.validation_share)


def list_vggsound(raw_dir: str | None, validation_share: float) -> Listing:
    """List the clips of VGGSound; its classes are the labels of the list, sorted.

    Args:
        raw_dir: Folder of the raw data.
        validation_share: Share of train that becomes validation.

    Raises:
        RawDataError: If the folder does not fit.
    """
    folder = open_folder(raw_dir, LAYOUT, ["vggsound.csv"])
    media = find_media(folder)
    clips = []
    for place, (video, start, label, split) in read_rows(folder / "vggsound.csv", 4):
        if split not in ("train", "test"):
            raise RawDataError(
                f"{place}: expected the split train or test, got {split!r}; take the list as its "
                "owners ship it"
            )
        check_name(place, video)
        names = _names(video, whole_number(place, start))
        found = next((media[name] for name in names if name in media), None)
        file = found or folder / f"{names[0]}.mp4"
        clips.append(Clip(names[0], split, label, file, file, place=place, folder=folder))
    labels = sorted({clip.label for clip in clips if clip.split == "train"})
    clips = move(clips, validation_share, to="validation")
    listing = Listing(clips, labels, EXPECTED, [f"{len(labels)} classes"])
    check_clips(listing, folder)
    return listing


def _names(video: str, start: int) -> list[str]:
    """Names under which a clip may lie, the usual one first."""
    end = start + SECONDS
    return [
        f"{video}_{start:06d}",
        f"{video}_{start:06d}_{end:06d}",
        f"{video}_{start}_{end}",
        f"{video}_{1000 * start}_{1000 * end}",
        f"v{video}_{start}_{end}_out",
    ]
