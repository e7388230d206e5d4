"""Extracts features of pictures and texts with a frozen model, for recipes that train heads only.

For MVSA-Single (experiments/mvsa.py), with CLIP from the transformers library
(pip install torch transformers pillow; the model is fetched once):

    python experiments/embed.py --raw_dir=FOLDER --model=openai/clip-vit-base-patch32

FOLDER holds train.jsonl, dev.jsonl and test.jsonl with lines {"id", "text", "img"}; image.npz and
text.npz are written beside them. For data of your own, list it as CSV with the columns id, image
and text (JPEG or PNG files, paths relative to the CSV):

    python experiments/embed.py --list=pairs.csv --model=PATH_OR_NAME

With another model, call `embed` with two functions of your own.
"""

import argparse
import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from tcmax_jax.data.array_files import write_features
from tcmax_jax.data.pictures import decode_image


class Pair(NamedTuple):
    """A picture and its text.

    Attributes:
        id: Name of the pair, as in the list that is trained on.
        image: File of the picture.
        text: The text.
    """

    id: str
    image: Path
    text: str


def embed(
    pairs: Sequence[Pair], encode_images: Callable, encode_texts: Callable, out: Path, batch: int
) -> None:
    """Write the features of all pairs to image.npz and text.npz.

    Args:
        pairs: The pairs.
        encode_images: Function of a list of uint8 [H, W, 3] RGB pictures that returns [N, D].
        encode_texts: Function of a list of strings that returns [N, D].
        out: Folder of the two files.
        batch: Number of pairs that the functions see at once.

    Raises:
        ValueError: If a picture cannot be read; names its file.
    """
    ids, images, texts = [pair.id for pair in pairs], [], []
    for first in tqdm(range(0, len(pairs), batch), unit="batch", disable=None):
        some = pairs[first : first + batch]
        images.append(encode_images([read_image(pair.image) for pair in some]))
        texts.append(encode_texts([pair.text for pair in some]))
    write_features(out / "image.npz", ids, np.concatenate(images))
    write_features(out / "text.npz", ids, np.concatenate(texts))


def read_image(path: Path) -> np.ndarray:
    """Returns a picture, uint8 [H, W, 3] RGB.

    Raises:
        ValueError: If it cannot be read; names the file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: Expected a picture, got no such file. Correct the list.")
    try:
        return decode_image(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def mvsa_pairs(folder: Path) -> Iterator[Pair]:
    """Yields the pairs of MVSA-Single."""
    for name in ("train.jsonl", "dev.jsonl", "test.jsonl"):
        # Not str.splitlines, which also breaks at marks that tweets have in them.
        for line in filter(str.strip, (folder / name).read_text(encoding="utf-8").split("\n")):
            entry = json.loads(line)
            yield Pair(str(entry["id"]), folder / entry["img"], entry["text"])


def listed_pairs(path: Path) -> Iterator[Pair]:
    """Yields the pairs of a CSV file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            yield Pair(row["id"], path.parent / row["image"], row["text"])


def clip(name: str) -> tuple[Callable, Callable]:
    """Returns the functions that encode pictures and texts with a CLIP of transformers."""
    import torch
    from transformers import AutoProcessor, CLIPModel

    model, processor = CLIPModel.from_pretrained(name).eval(), AutoProcessor.from_pretrained(name)
    longest = model.config.text_config.max_position_embeddings

    @torch.no_grad()
    def encode_images(pictures):
        inputs = processor(images=pictures, return_tensors="pt")
        pooled = model.vision_model(**inputs).pooler_output
        return model.visual_projection(pooled).numpy()

    @torch.no_grad()
    def encode_texts(texts):
        inputs = processor(
            text=texts, return_tensors="pt", padding=True, truncation=True, max_length=longest
        )
        pooled = model.text_model(**inputs).pooler_output
        return model.text_projection(pooled).numpy()

    return encode_images, encode_texts


def main():
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw_dir", type=Path, help="folder of MVSA-Single")
    source.add_argument("--list", type=Path, help="CSV file with the columns id, image and text")
    parser.add_argument("--model", default="openai/clip-vit-base-patch32", help="a CLIP")
    parser.add_argument("--batch", type=int, default=64, help="pairs that the model sees at once")
    args = parser.parse_args()
    out = args.raw_dir or args.list.parent
    pairs = list(mvsa_pairs(out) if args.raw_dir else listed_pairs(args.list))
    embed(pairs, *clip(args.model), out, args.batch)
    print(f"written: {out / 'image.npz'} and {out / 'text.npz'}, {len(pairs)} pairs")


if __name__ == "__main__":
    main()
