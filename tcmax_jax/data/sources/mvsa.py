"""MVSA-Single as pre-extracted features of its pictures and texts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from tcmax_jax.data.clips import Clip, Listing, RawDataError, check_name
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
  image.npz, text.npz                   `ids` and `features`, see experiments/embed.py"""
_LISTS = {"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"}
_SHARE = 0.2  # of the clips in test, as in the shared list


@section
class MvsaData(RawSource):
    """MVSA-Single: tweets of a picture and a text in three sentiments, as features of encoders.

    The list that papers share (1555 / 518 / 519) keeps tweets whose picture and text have one
    label. Another rule lets neutral yield to the other label and keeps 4511 tweets; results under
    the two cannot be compared. experiments/embed.py extracts the features.
    """

    kind: Literal["mvsa_features"] = "mvsa_features"
    stored: Stored = stores(
        image=Features(path="image.npz", size=512), text=Features(path="text.npz", size=512)
    )

    layout: ClassVar = LAYOUT
    citation: ClassVar = "Niu et al., Sentiment Analysis on Multi-View Social Data, MMM 2016"

    def _list(self, folder):
        if all((folder / name).is_file() for name in _LISTS.values()):
            clips, note = list(_listed(folder)), "split by train.jsonl, dev.jsonl and test.jsonl"
        elif (folder / "labelResultAll.txt").is_file():
            clips = move(list(_agreeing(folder)), _SHARE, to="test")
            clips = move(clips, _SHARE / (1 - _SHARE), to="validation")
            note = "split by a hash of the ids, not the list of other papers"
        else:
            raise RawDataError(
                f"{folder}: Expected {', '.join(_LISTS.values())} or labelResultAll.txt, got none. "
                f"Put them there. Layout: {LAYOUT}"
            )
        return Listing(clips, SENTIMENTS, EXPECTED, [note])


def _listed(folder: Path) -> Iterator[Clip]:
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
            yield Clip(tweet, split, label, place=place, folder=folder)


def _agreeing(folder: Path) -> Iterator[Clip]:
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
            yield Clip(tweet, "train", text, place=place, folder=folder)
