"""CREMA-D with sound and pictures."""

import re
from pathlib import Path
from typing import ClassVar, Literal

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_name
from tcmax_jax.data.sources.base import ValidationShare
from tcmax_jax.data.sources.raw import RawSource, read_rows
from tcmax_jax.data.splits import move
from tcmax_jax.section import section

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
EXPECTED = {"train": 6698, "test": 744}
LAYOUT = """
  AudioWAV/<id>.wav      such as 1001_DFA_ANG_XX.wav: actor, sentence, emotion, level
  VideoFlash/<id>.flv
  train.csv, test.csv    lines `id,emotion`, if you have the list that other papers share"""
_ID = re.compile(r"\d{4}_[A-Z]{3}_[A-Z]{3}_[A-Z]{1,2}")
_TEST_SHARE = 0.1  # as of the shared list
_NOTES = {
    "list": "split by train.csv and test.csv, which share their actors",
    "hash": "split by a hash of the ids, not the list of other papers; actors are shared",
    "speaker": "split by actors, none of them in two splits",
}


@section
class CremaDData(RawSource):
    """CREMA-D: 7442 clips of 91 actors who speak twelve sentences in six emotions.

    Get it from its owners (the repository CheyneyComputerScience/CREMA-D, with Git LFS: a file that
    was not fetched is reported as a pointer). There is no official split. `train.csv` / `test.csv`
    (6698 / 744) is the list that papers on balanced multimodal learning share; all 91 actors are in
    both. Known faults of the raw files: 1076_MTI_SAD_XX has no sound, 1064_IEO_DIS_MD is a minute
    long.

    Attributes:
      split: list (train.csv and test.csv); hash (a tenth of the clips for test, by their ids);
        speaker (a tenth of the actors for test, none of them in two splits); auto takes the list if
        it is there and otherwise hash.
      validation_share: share of train that becomes validation, of its actors with speaker.
    """

    kind: Literal["crema_d_av"] = "crema_d_av"
    split: Literal["auto", "list", "hash", "speaker"] = "auto"
    validation_share: ValidationShare = 0.2

    layout: ClassVar = LAYOUT
    known_classes: ClassVar = len(EMOTIONS)
    needed: ClassVar = ("AudioWAV", "VideoFlash")
    citation: ClassVar = (
        "Cao et al., CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset, IEEE TAC "
        "5(4), 2014"
    )

    def _list(self, folder):
        lists = {split: folder / f"{split}.csv" for split in ("train", "test")}
        has_list = all(path.is_file() for path in lists.values())
        split = self.split
        if split == "list" and not has_list:
            raise RawDataError(
                f"{folder}: Expected train.csv and test.csv for data.split=list, got none. Put "
                f"them there, or choose auto, hash or speaker. Layout: {LAYOUT}"
            )
        if split == "auto":
            split = "list" if has_list else "hash"
        group_of = (lambda clip: clip.group) if split == "speaker" else lambda clip: clip.id
        if split == "list":
            clips = [
                _clip(folder, part, name, label, place)
                for part, path in lists.items()
                for place, (name, label) in read_rows(path, 2)
            ]
        else:
            clips = move(_found(folder), _TEST_SHARE, to="test", group_of=group_of)
        clips = move(clips, self.validation_share, to="validation", group_of=group_of)
        return Listing(clips, EMOTIONS, EXPECTED if split == "list" else {}, [_NOTES[split]])


def _found(folder: Path) -> list[Clip]:
    """Returns a clip for each file of sound or pictures, all of them in train."""
    sounds = {path.stem: path for path in (folder / "AudioWAV").glob("*.wav")}
    pictures = {path.stem: path for path in (folder / "VideoFlash").glob("*.flv")}
    clips = []
    for name, path in sorted({**sounds, **pictures}.items()):
        if not _ID.fullmatch(name):
            raise RawDataError(
                f"{path}: Expected a name such as 1001_DFA_ANG_XX, got {name}. Rename or remove it."
            )
        clips.append(_clip(folder, "train", name, name.split("_")[2], str(path)))
    return clips


def _clip(folder: Path, split: str, name: str, label: str, place: str) -> Clip:
    check_name(place, name)
    video, audio = folder / "VideoFlash" / f"{name}.flv", folder / "AudioWAV" / f"{name}.wav"
    actor = name.split("_")[0]
    return Clip(name, split, label, video, audio, place=place, folder=folder, group=actor)
