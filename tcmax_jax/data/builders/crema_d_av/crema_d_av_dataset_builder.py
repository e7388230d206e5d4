"""CREMA-D with sound and pictures."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_clips
from tcmax_jax.data.paths import check_name
from tcmax_jax.data.preparation.builder import ClipsBuilder
from tcmax_jax.data.preparation.settings import ClipsSettings
from tcmax_jax.data.raw import open_folder, read_rows
from tcmax_jax.data.splits import move

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
EXPECTED = {"train": 6698, "test": 744}
LAYOUT = """
  AudioWAV/<id>.wav      such as 1001_DFA_ANG_XX.wav: actor, sentence, emotion, level
  VideoFlash/<id>.flv
  train.csv, test.csv    lines `id,emotion`, if you have the list that other papers share"""
_ID = re.compile(r"\d{4}_[A-Z]{3}_[A-Z]{3}_[A-Z]{1,2}")
_TEST_SHARE = 0.1  # as of the shared list


@dataclasses.dataclass(frozen=True, kw_only=True)
class CremaDSettings(ClipsSettings):
    """Source and form of CREMA-D.

    Attributes:
        raw_dir: Folder of the raw data.
        split: "list" takes train.csv and test.csv; "hash" a tenth of the clips for test, chosen by
            their ids; "speaker" a tenth of the actors for test, and none of them in two splits;
            "auto" the list if it is there and otherwise "hash".
        validation_share: Share of train that becomes validation, of its actors with "speaker".
    """

    raw_dir: str | None
    split: Literal["auto", "list", "hash", "speaker"]
    validation_share: float


class CremaDAv(ClipsBuilder):
    """7442 spoken sentences of 91 actors in six emotions."""

    LAYOUT = f"Layout: {LAYOUT}"

    def list_clips(self) -> Listing:
        """Lists the raw folder."""
        settings = self.settings
        return list_crema_d(settings.raw_dir, settings.split, settings.validation_share)


def list_crema_d(raw_dir: str | None, split: str, validation_share: float) -> Listing:
    """List the clips of CREMA-D.

    Args:
        raw_dir: Folder of the raw data.
        split: See `CremaDSettings`.
        validation_share: Share of train that becomes validation.

    Raises:
        RawDataError: If the folder does not fit.
    """
    folder = open_folder(raw_dir, LAYOUT, ["AudioWAV", "VideoFlash"])
    has_list = (folder / "train.csv").is_file() and (folder / "test.csv").is_file()
    if split == "list" and not has_list:
        raise RawDataError(
            f"{folder}: expected train.csv and test.csv for data.split=list, got none; put them "
            f"there, or choose auto, hash or speaker. Layout: {LAYOUT}"
        )
    if split == "auto":
        split = "list" if has_list else "hash"
    group_of = _actor if split == "speaker" else lambda clip: clip.id
    clips = _listed(folder) if split == "list" else _found(folder)
    if split != "list":
        clips = move(clips, _TEST_SHARE, to="test", group_of=group_of)
    clips = move(clips, validation_share, to="validation", group_of=group_of)
    notes = {
        "list": "split by train.csv and test.csv, which share their actors",
        "hash": "split by a hash of the ids, not the list of other papers; actors are shared",
        "speaker": "split by actors, none of them in two splits",
    }
    expected = EXPECTED if split == "list" else {}
    listing = Listing(clips, EMOTIONS, expected, [notes[split]])
    check_clips(listing, folder)
    return listing


def _listed(folder: Path) -> list[Clip]:
    return [
        _clip(folder, split, name, label, place)
        for split in ("train", "test")
        for place, (name, label) in read_rows(folder / f"{split}.csv", 2)
    ]


def _found(folder: Path) -> Sequence[Clip]:
    """Returns a clip for each file of sound or pictures, all of them in train."""
    sounds = {path.stem: path for path in (folder / "AudioWAV").glob("*.wav")}
    pictures = {path.stem: path for path in (folder / "VideoFlash").glob("*.flv")}
    clips = []
    for name, path in sorted({**sounds, **pictures}.items()):
        if not _ID.fullmatch(name):
            raise RawDataError(
                f"{path}: expected a name such as 1001_DFA_ANG_XX, got {name}; rename or remove it"
            )
        clips.append(_clip(folder, "train", name, name.split("_")[2], str(path)))
    return clips


def _clip(folder: Path, split: str, name: str, label: str, place: str) -> Clip:
    check_name(place, name)
    return Clip(
        id=name,
        split=split,
        label=label,
        video=folder / "VideoFlash" / f"{name}.flv",
        audio=folder / "AudioWAV" / f"{name}.wav",
        place=place,
        folder=folder,
    )


def _actor(clip: Clip) -> str:
    return clip.id.split("_")[0]
