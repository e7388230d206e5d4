"""MVSA-Single: its pictures and texts, or features extracted from them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_name, inner_path
from tcmax_jax.data.forms import Features
from tcmax_jax.data.sources.base import Stored, stores
from tcmax_jax.data.sources.raw import RawSource, read_rows
from tcmax_jax.data.splits import move
from tcmax_jax.section import section

SENTIMENTS = ("negative", "neutral", "positive")
EXPECTED = {"train": 1555, "validation": 518, "test": 519}
LAYOUT = """
  train.jsonl, dev.jsonl, test.jsonl    lines {"id": .., "label": .., ..}, the list that other
                                        papers share; or labelResultAll.txt, from which pictures
                                        and texts of one label are taken
  image.npz, text.npz                   `ids` and `features`, see experiments/embed.py
  or, for encoders of pictures and texts:
  the pictures                          where the lists say, "img": ..; data/<id>.jpg with
                                        labelResultAll.txt
  tokens.npz                            ids of tokens, see experiments/tokens.py"""
_LISTS = {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"}
_SHARE = 0.2  # of the clips in test, as in the shared list


@section
class MvsaData(RawSource):
    """MVSA-Single: tweets of a picture and a text in three sentiments.

    The list that papers share (1555 / 518 / 519) keeps tweets whose picture and text have one
    label. Another rule lets neutral yield to the other label and keeps 4511 tweets; results under
    the two cannot be compared. The default is features of encoders, which experiments/embed.py
    extracts. Forms that read a file of each tweet, such as `Frames`, get its picture.
    """

    kind: Literal["mvsa_features"] = "mvsa_features"
    stored: Stored = stores(
        image=Features(path="image.npz", size=512), text=Features(path="text.npz", size=512)
    )

    layout: ClassVar = LAYOUT
    known_classes: ClassVar = len(SENTIMENTS)
    citation: ClassVar = "Niu et al., Sentiment Analysis on Multi-View Social Data, MMM 2016"

    def _list(self, folder):
        # Lists for features alone may name pictures that are not there, or nowhere.
        pictures = any(getattr(form, "path", None) is None for form in self.stored.values())
        if all((folder / name).is_file() for name in _LISTS.values()):
            clips, note = (
                list(_listed(folder, pictures)),
                "split by train.jsonl, dev.jsonl and test.jsonl",
            )
        elif (folder / "labelResultAll.txt").is_file():
            clips = move(list(_agreeing(folder, pictures)), _SHARE, to="test")
            clips = move(clips, _SHARE / (1 - _SHARE), to="validation")
            note = "split by a hash of the ids, not the list of other papers"
        else:
            raise RawDataError(
                f"{folder}: Expected {', '.join(_LISTS.values())} or labelResultAll.txt, got none. "
                f"Put them there. Layout: {LAYOUT}"
            )
        return Listing(clips, SENTIMENTS, EXPECTED, [note])


def _listed(folder: Path, pictures: bool) -> Iterator[Clip]:
    for split, name in _LISTS.items():
        path = folder / name
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RawDataError(f"{path}: Expected UTF-8, got {error}. Save it as UTF-8.") from error
        # Not str.splitlines, which also breaks at marks that tweets have in them.
        for number, line in enumerate(text.split("\n"), start=1):
            place = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                tweet, label = str(entry["id"]), entry["label"]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise RawDataError(
                    f'{place}: Expected {{"id": .., "label": ..}}, got {line[:60]!r}. Correct it.'
                ) from error
            check_name(place, tweet)
            file = _picture(place, folder, entry) if pictures else None
            yield Clip(tweet, split, label, file, place=place, folder=folder)


def _picture(place: str, folder: Path, entry: dict) -> Path | None:
    """Returns the picture of a line of the list; None if it has none."""
    path = entry.get("img")
    if path is None:
        return None
    if not isinstance(path, str) or not path:
        raise RawDataError(f"{place}: Expected a path as img, got {path!r}. Correct it.")
    for part in Path(path).parts:
        check_name(place, part)
    return inner_path(place, folder, path, outside=False)


def _agreeing(folder: Path, pictures: bool) -> Iterator[Clip]:
    """Yields the tweets whose picture and text have one label, as in the list others share."""
    rows = read_rows(folder / "labelResultAll.txt", 2, delimiter="\t", encoding="latin-1")
    for place, (tweet, labels) in rows:
        if tweet == "ID":
            continue
        check_name(place, tweet)
        text, _, image = labels.partition(",")
        for label in (text, image):
            if label not in SENTIMENTS:
                raise RawDataError(
                    f"{place}: Expected two of {', '.join(SENTIMENTS)}, got {labels!r}. Correct it."
                )
        if text == image:
            file = folder / "data" / f"{tweet}.jpg" if pictures else None
            yield Clip(tweet, "train", text, file, place=place, folder=folder)
