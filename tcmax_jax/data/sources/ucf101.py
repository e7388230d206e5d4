"""UCF101 with pictures and optical flow."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_name
from tcmax_jax.data.forms import Flow, Frames
from tcmax_jax.data.sources.base import Stored, ValidationShare, stores
from tcmax_jax.data.sources.raw import RawSource, read_rows, whole_number
from tcmax_jax.data.splits import move
from tcmax_jax.section import Limits, section

EXPECTED = {
    1: {"train": 9537, "test": 3783},
    2: {"train": 9586, "test": 3734},
    3: {"train": 9624, "test": 3696},
}
LAYOUT = """
  UCF-101/<class>/v_<class>_gNN_cNN.avi
  ucfTrainTestlist/classInd.txt, trainlist01.txt, testlist01.txt"""
_GROUP = re.compile(r"_g(\d+)_c\d+$")


@section
class Ucf101Data(RawSource):
    """UCF101: 13320 clips of 101 human actions; frames and optical flow.

    Clips of one group are cut from one video. Flow runs from frame to next frame at times even over
    the clip, and is stored with 8 bits a component. The PyTorch TCMax code takes it at the end of
    each second and transposes it.

    Attributes:
      official_split: 1, 2 or 3.
      validation: group takes whole groups of train for validation; example single clips, as in the
        PyTorch TCMax code, most of whose groups stay in train as well.
      validation_share: share of the groups, or clips, of each class that becomes validation.
    """

    kind: Literal["ucf101_flow"] = "ucf101_flow"
    stored: Stored = stores(visual=Frames(), flow=Flow())
    official_split: Annotated[int, Limits(ge=1, le=3)] = 1
    validation: Literal["group", "example"] = "group"
    validation_share: ValidationShare = 0.2

    layout: ClassVar = LAYOUT
    known_classes: ClassVar = 101
    needed: ClassVar = ("UCF-101", "ucfTrainTestlist")
    citation: ClassVar = (
        "Soomro et al., UCF101: A Dataset of 101 Human Actions Classes From Videos in The "
        "Wild, arXiv 1212.0402"
    )

    def _list(self, folder):
        lists = folder / "ucfTrainTestlist"
        rows = read_rows(lists / "classInd.txt", 2, delimiter=" ")
        numbered = {whole_number(place, number): name for place, (number, name) in rows}
        class_names = [numbered[number] for number in sorted(numbered)]
        clips = []
        for split in ("train", "test"):
            path = lists / f"{split}list{self.official_split:02d}.txt"
            for place, (line,) in read_rows(path, 1, delimiter="\t"):
                # Train rows, and in some copies test rows, end in the number of the class.
                clips.append(_clip(folder, split, place, line.split()[0]))
        clips = move(
            clips,
            self.validation_share,
            to="validation",
            group_of=lambda clip: clip.group if self.validation == "group" else clip.id,
            stratum_of=lambda clip: clip.label,
        )
        groups = {s: {c.group for c in clips if c.split == s} for s in ("train", "validation")}
        shared = groups["train"] & groups["validation"]
        notes = [f"official split {self.official_split}"]
        if shared:
            notes.append(f"{len(shared)} groups are in both train and validation")
        return Listing(clips, class_names, EXPECTED[self.official_split], notes)


def _clip(folder: Path, split: str, place: str, file: str) -> Clip:
    label, _, name = file.partition("/")
    key = name.removesuffix(".avi")
    if not _GROUP.search(key):
        raise RawDataError(
            f"{place}: Expected <class>/v_<class>_gNN_cNN.avi, got {file!r}. Use the list as "
            "published."
        )
    check_name(place, label)
    check_name(place, name)
    video, group = folder / "UCF-101" / label / name, _GROUP.sub(r"_g\1", key)
    return Clip(key, split, label, video, place=place, folder=folder, group=group)
