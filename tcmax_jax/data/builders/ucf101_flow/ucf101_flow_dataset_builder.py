"""UCF101 with pictures and optical flow."""

import dataclasses
import re
from pathlib import Path
from typing import Literal

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_clips
from tcmax_jax.data.paths import check_name
from tcmax_jax.data.preparation.builder import ClipsBuilder
from tcmax_jax.data.preparation.settings import ClipsSettings
from tcmax_jax.data.raw import open_folder, read_rows, whole_number
from tcmax_jax.data.splits import move

EXPECTED = {
    1: {"train": 9537, "test": 3783},
    2: {"train": 9586, "test": 3734},
    3: {"train": 9624, "test": 3696},
}
LAYOUT = """
  UCF-101/<class>/v_<class>_gNN_cNN.avi
  ucfTrainTestlist/classInd.txt, trainlist01.txt, testlist01.txt"""
_GROUP = re.compile(r"_g(\d+)_c\d+$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ucf101Settings(ClipsSettings):
    """Source and form of UCF101.

    Attributes:
        raw_dir: Folder of the raw data.
        official_split: 1, 2 or 3.
        validation: "group" takes whole groups of train for validation, which are cut from one
            video each; "example" single clips, as in the PyTorch TCMax code, most of whose groups
            stay in train as well.
        validation_share: Share of the groups, or clips, of each class.
    """

    raw_dir: str | None
    official_split: int
    validation: Literal["group", "example"]
    validation_share: float


class Ucf101Flow(ClipsBuilder):
    """13320 clips of 101 human actions."""

    LAYOUT = f"Layout: {LAYOUT}"

    def list_clips(self) -> Listing:
        """Lists the raw folder."""
        s = self.settings
        return list_ucf101(s.raw_dir, s.official_split, s.validation, s.validation_share)


def list_ucf101(
    raw_dir: str | None, official_split: int, validation: str, validation_share: float
) -> Listing:
    """List the clips of UCF101.

    Args:
        raw_dir: Folder of the raw data.
        official_split: 1, 2 or 3.
        validation: "group" or "example", see `Ucf101Settings`.
        validation_share: Share of the groups, or clips, of each class.

    Raises:
        RawDataError: If the folder does not fit.
    """
    folder = open_folder(raw_dir, LAYOUT, ["UCF-101", "ucfTrainTestlist"])
    lists = folder / "ucfTrainTestlist"
    rows = read_rows(lists / "classInd.txt", 2, delimiter=" ")
    numbered = {whole_number(place, number): name for place, (number, name) in rows}
    class_names = [numbered[number] for number in sorted(numbered)]
    clips = [
        _clip(folder, split, place, cells[0])
        for split in ("train", "test")
        # Train rows, and in some copies test rows, end in the number of the class.
        for place, cells in _listed(lists / f"{split}list{official_split:02d}.txt")
    ]
    clips = move(
        clips,
        validation_share,
        to="validation",
        group_of=_group if validation == "group" else lambda clip: clip.id,
        stratum_of=lambda clip: clip.label,
    )
    shared = {_group(c) for c in clips if c.split == "train"} & {
        _group(c) for c in clips if c.split == "validation"
    }
    notes = [f"official split {official_split}"]
    if shared:
        notes.append(f"{len(shared)} groups are in both train and validation")
    listing = Listing(clips, class_names, EXPECTED[official_split], notes)
    check_clips(listing, folder)
    return listing


def _listed(path: Path):
    for place, (line,) in read_rows(path, 1, delimiter="\t"):
        yield place, line.split()


def _clip(folder: Path, split: str, place: str, file: str) -> Clip:
    label, _, name = file.partition("/")
    if not _GROUP.search(name.removesuffix(".avi")):
        raise RawDataError(
            f"{place}: expected <class>/v_<class>_gNN_cNN.avi, got {file!r}; take the list as its "
            "owners ship it"
        )
    check_name(place, label)
    check_name(place, name)
    path = folder / "UCF-101" / label / name
    return Clip(
        id=name.removesuffix(".avi"),
        split=split,
        label=label,
        video=path,
        audio=None,
        place=place,
        folder=folder,
    )


def _group(clip: Clip) -> str:
    return _GROUP.sub(r"_g\1", clip.id)
