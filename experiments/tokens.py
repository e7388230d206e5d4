"""Turns texts into ids of tokens, for recipes with a text encoder (pip install 'tcmax_jax[text]').

For MVSA-Single (experiments/mvsa_clip.py), with the tokenizer.json of the encoder's weights:

    python experiments/tokens.py --raw_dir=FOLDER --tokenizer=clip/tokenizer.json

FOLDER holds train.jsonl, dev.jsonl and test.jsonl with lines {"id", "text"}; tokens.npz is written
beside them, an int32 array for each id, of its own length. For data of your own, list it as CSV
with the columns id and text; --max_length is that of the encoder:

    python experiments/tokens.py --list=texts.csv --tokenizer=bert/tokenizer.json --max_length=512

The tokens that the tokenizer puts around a text, such as its end, stay where the text is cut.
"""

import argparse
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tcmax_jax.data.array_files import write_arrays


class Text(NamedTuple):
    """A text.

    Attributes:
      id: name of its example, as in the list that is trained on.
      text: the text.
      place: where it is listed, for messages.
    """

    id: str
    text: str
    place: str


def load_tokenizer(path: Path, max_length: int):
    """Returns the tokenizer of a file, which cuts texts and fills none up.

    Args:
      path: a tokenizer.json.
      max_length: the most tokens of a text, with those that are put around it.

    Raises:
      ModuleNotFoundError: the package tokenizers is not installed.
      ValueError: the file holds no tokenizer, or no token of a text would be left.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected the package tokenizers to read {path}. Install it: "
            "pip install 'tcmax_jax[text]'"
        ) from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # The package raises no narrower one.
        raise ValueError(
            f"{path}: Expected a tokenizer.json, got '{error}'. Take that of the encoder's weights."
        ) from error
    around = tokenizer.num_special_tokens_to_add(is_pair=False)
    if max_length <= around:
        raise ValueError(
            f"Expected max_length of more than the {around} tokens around a text, got {max_length}."
        )
    tokenizer.enable_truncation(max_length)
    # An encoder would take what a text is filled up with for a part of it.
    tokenizer.no_padding()
    return tokenizer


def tokenize(texts: Iterable[Text], tokenizer) -> dict[str, np.ndarray]:
    """Returns {id: int32 [tokens]}.

    Args:
      texts: the texts.
      tokenizer: what `load_tokenizer` returns.

    Raises:
      ValueError: an id comes twice, or a text has no tokens; names the place.
    """
    arrays, places = {}, {}
    for text in texts:
        if text.id in arrays:
            raise ValueError(
                f"{text.place}: Expected a new id, got {text.id!r} of {places[text.id]} again. "
                "Rename or remove one of the two."
            )
        arrays[text.id] = np.array(tokenizer.encode(text.text).ids, np.int32)
        places[text.id] = text.place
        if not arrays[text.id].size:
            raise ValueError(
                f"{text.place}: Expected a text, got {text.text!r}, of which no token comes. "
                "Leave the example out, or take a tokenizer that marks the end of a text."
            )
    return arrays


def mvsa_texts(folder: Path) -> Iterator[Text]:
    """Yields the texts of MVSA-Single; raises ValueError for a line that holds none."""
    for name in ("train.jsonl", "dev.jsonl", "test.jsonl"):
        # Not str.splitlines, which also breaks at marks that tweets have in them.
        lines = _read(folder / name).split("\n")
        for number, line in enumerate(lines, start=1):
            if line.strip():
                place = f"{folder / name}, line {number}"
                try:
                    entry = json.loads(line)
                    tweet, text = str(entry["id"]), entry["text"]
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    raise ValueError(
                        f'{place}: Expected {{"id": .., "text": ..}}, got {line[:60]!r}. Correct '
                        "it."
                    ) from error
                yield _checked(place, tweet, text)


def listed_texts(path: Path) -> Iterator[Text]:
    """Yields the texts of a CSV file; raises ValueError for one without id or text."""
    reader = csv.DictReader(io.StringIO(_read(path), newline=""))
    missing = [name for name in ("id", "text") if name not in (reader.fieldnames or [])]
    if missing:
        raise ValueError(
            f"{path}: Expected the columns id and text, got {', '.join(reader.fieldnames or [])}. "
            f"Add {' and '.join(missing)}."
        )
    for row in reader:
        yield _checked(f"{path}, line {reader.line_num}", (row["id"] or "").strip(), row["text"])


def _read(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path}: Expected a list of texts, got no such file. Put it there.")
    try:
        # As it stands: Python would make line breaks inside of texts others.
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: Expected UTF-8, got {error}. Save it as UTF-8.") from error


def _checked(place: str, name: str, text) -> Text:
    """Returns a text that can be encoded; raises ValueError for others."""
    if not name or not isinstance(text, str):
        raise ValueError(f"{place}: Expected an id and a text, got {name!r} and {text!r}.")
    try:
        f"{name}{text}".encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place}: Expected text, got {error}. Correct it.") from error
    return Text(name, text, place)


def summary(arrays: Mapping[str, np.ndarray], tokenizer, max_length: int) -> str:
    """Returns a line on what was written, for the fields of the encoder."""
    lengths = [len(array) for array in arrays.values()]
    full = sum(length == max_length for length in lengths)
    return (
        f"{len(arrays)} texts of {min(lengths)} .. {max(lengths)} tokens, {full} of them with all "
        f"{max_length} that are allowed; vocabulary_size={tokenizer.get_vocab_size()}"
    )


def main():
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw_dir", type=Path, help="folder of MVSA-Single")
    source.add_argument("--list", type=Path, help="CSV file with the columns id and text")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a tokenizer.json")
    parser.add_argument("--max_length", type=int, default=77, help="the most tokens of a text")
    args = parser.parse_args()
    out = (args.raw_dir or args.list.parent) / "tokens.npz"
    try:
        tokenizer = load_tokenizer(args.tokenizer, args.max_length)
        texts = mvsa_texts(args.raw_dir) if args.raw_dir else listed_texts(args.list)
        arrays = tokenize(texts, tokenizer)
        write_arrays(out, arrays)
    except (ValueError, ModuleNotFoundError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"written: {out}, {summary(arrays, tokenizer, args.max_length)}")


if __name__ == "__main__":
    main()
