"""What a classifier said of every example of a split: the file from which all analyses are made."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tcmax_jax.npz import DAMAGED, check_size

_SCORES, _FEATURES, _PREDICTED = "scores/", "features/", "predicted/"


class Outputs(NamedTuple):
    """Per-example outputs, in the order of the split.

    Attributes:
      labels: [N] int32.
      scores: {"fused" or modality: [N, C]}; softmax gives the prediction. A modality's own scores
        are those of its part of an additive head.
      features: {modality: [N, D]}, what the encoders gave.
      predicted: {condition: [N] int32}, the class that is predicted where a modality is missing or
        noisy, see `tcmax_jax.evaluation.conditions`.
      class_names: names of the C classes.
      dataset: name of the data set, which holds a digest of its settings.
      split: name of the split.
    """

    labels: np.ndarray
    scores: Mapping[str, np.ndarray]
    features: Mapping[str, np.ndarray]
    predicted: Mapping[str, np.ndarray]
    class_names: Sequence[str]
    dataset: str
    split: str

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities with scores of their own."""
        return [name for name in self.scores if name != "fused"]


def write_outputs(path: Path, outputs: Outputs) -> None:
    """Writes a compressed .npz file, whole or not at all."""
    about = {name: getattr(outputs, name) for name in ("class_names", "dataset", "split")}
    arrays = {"labels": np.asarray(outputs.labels, np.int32), "about": np.array(json.dumps(about))}
    arrays |= {_SCORES + m: np.asarray(x, np.float32) for m, x in outputs.scores.items()}
    arrays |= {_FEATURES + m: np.asarray(x, np.float32) for m, x in outputs.features.items()}
    arrays |= {_PREDICTED + c: np.asarray(x, np.int32) for c, x in outputs.predicted.items()}
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, path)


def read_outputs(path: Path) -> Outputs:
    """Reads what `write_outputs` wrote.

    Raises:
      ValueError: there is no such file, or it is damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            check_size(file)
            about = json.loads(str(file["about"]))
            arrays = {name: file[name] for name in file.files}
            return Outputs(
                labels=arrays["labels"],
                scores=_named(arrays, _SCORES),
                features=_named(arrays, _FEATURES),
                predicted=_named(arrays, _PREDICTED),
                **{name: about[name] for name in ("class_names", "dataset", "split")},
            )
    except DAMAGED as error:
        raise ValueError(
            f"Expected the outputs of an evaluation in {path}, got: {error}. Write them with "
            "--mode=evaluate."
        ) from error


def _named(arrays, prefix):
    return {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}
