"""The files of an evaluation: the classifier's outputs for every example, and analyses of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tcmax_jax import digests
from tcmax_jax.evaluation.quantities import (
    MARGINAL,
    Condition,
    Name,
    read_name,
    under,
    without,
    write_name,
)
from tcmax_jax.files import json_text
from tcmax_jax.npz import DAMAGED, open_npz
from tcmax_jax.run_folder import RunFolder

SPLITS = ("validation", "test")
BINS = 15  # of equal width, of the confidences in "reliability"
_SCORES, _FEATURES, _PREDICTED, _MARGINAL = "scores/", "features/", "predicted/", "marginal/"
_ABOUT, _GROUPS = ("class_names", "dataset", "split"), ("groups", "trained_groups")
# Metrics that results.json has too, where that of the fused prediction goes without its name.
_METRICS = ("accuracy", "cross_entropy")


class Outputs(NamedTuple):
    """Per-example outputs, in the order of the split.

    Attributes:
      labels: [N] int32.
      scores: {"fused" or modality: [N, C]}; softmax gives the prediction. A modality's own scores
        are those of its part of an additive head.
      features: {modality: [N, D]}, what the encoders gave.
      predicted: {condition: [N] int32}, the class that is predicted under noise, and where a
        modality's part is missing from the sum of an additive head.
      class_names: names of the C classes.
      dataset: name of the data set, which holds a digest of its settings.
      split: name of the split.
      marginal: {names of modalities, sorted: [N, C]}, scores of the prediction from these alone,
        see `tcmax_jax.evaluation.marginal`; none in outputs of earlier versions.
      groups: N names, of the example's speaker, patient or recording, "" for none; () where the
        data has no groups, and in outputs of earlier versions.
      trained_groups: those of them that training had too.
    """

    labels: np.ndarray
    scores: Mapping[str, np.ndarray]
    features: Mapping[str, np.ndarray]
    predicted: Mapping[Condition, np.ndarray]
    class_names: Sequence[str]
    dataset: str
    split: str
    marginal: Mapping[tuple[str, ...], np.ndarray] = MappingProxyType({})
    groups: Sequence[str] = ()
    trained_groups: Sequence[str] = ()

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities with scores of their own."""
        return [name for name in self.scores if name != "fused"]


def write_outputs(path: Path, outputs: Outputs) -> None:
    """Writes a compressed .npz file, whole or not at all."""
    about = {name: getattr(outputs, name) for name in (*_ABOUT, *_GROUPS)}
    arrays = {"labels": np.asarray(outputs.labels, np.int32), "about": np.array(json_text(about))}
    arrays |= {_SCORES + m: np.asarray(x, np.float32) for m, x in outputs.scores.items()}
    arrays |= {_FEATURES + m: np.asarray(x, np.float32) for m, x in outputs.features.items()}
    predicted = {write_name(under(c)): x for c, x in outputs.predicted.items()}
    arrays |= {_PREDICTED + key: np.asarray(x, np.int32) for key, x in predicted.items()}
    marginal = {"+".join(known): x for known, x in outputs.marginal.items()}
    arrays |= {_MARGINAL + key: np.asarray(x, np.float32) for key, x in marginal.items()}
    with digests.written(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_outputs(path: Path) -> Outputs:
    """Reads what `write_outputs` wrote.

    Raises:
      ValueError: there is no such file, or it is damaged or of another kind.
    """
    try:
        if fault := digests.fault(path):
            raise ValueError(fault)
        with open_npz(path) as file:
            about = json.loads(str(file["about"]))
            arrays = {name: file[name] for name in file.files}
            return Outputs(
                labels=arrays["labels"],
                scores=_named(arrays, _SCORES),
                features=_named(arrays, _FEATURES),
                predicted={read_name(key).of: x for key, x in _named(arrays, _PREDICTED).items()},
                marginal={tuple(k.split("+")): x for k, x in _named(arrays, _MARGINAL).items()},
                **{name: about[name] for name in _ABOUT},
                **{name: tuple(about.get(name, ())) for name in _GROUPS},
            )
    except DAMAGED as error:
        raise ValueError(
            f"Expected the outputs of an evaluation in {path}, got: {error}. Write them "
            "with --mode=evaluate."
        ) from error


def _named(arrays, prefix):
    return {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}


def store(folder: Path, outputs: Mapping[str, Outputs], analyses: Mapping[str, Mapping]) -> None:
    """Writes outputs-<split>.npz of each split, and analysis.json.

    Args:
      folder: of a run, or of one of its checkpoints.
      outputs: {split: outputs}.
      analyses: {split: see `tcmax_jax.evaluation.analysis.analyse_splits`}.
    """
    for split, each in outputs.items():
        write_outputs(RunFolder(folder).outputs(split), each)
    digests.write(RunFolder(folder).analysis, json_text(analyses) + "\n")


def stored_recalibration(folder: Path) -> dict:
    """Returns the recalibration in analysis.json, see `fit_recalibration`.

    Raises:
      ValueError: the run was not evaluated, or its analyses have none.
    """
    path = RunFolder(folder).analysis
    if not path.exists():
        raise ValueError(
            f"Expected the analyses of an evaluation in {path}, got none. Write them with "
            "--mode=evaluate."
        )
    analyses = digests.read_json(path, "Recompute it with --mode=analyse.")
    fitted = analyses.get("validation", {}).get("recalibration")
    if fitted is None:
        raise ValueError(
            f"Expected a recalibration in {path}, got none. Heads that are no sum of modalities "
            "have none; for all others --mode=analyse adds it."
        )
    return {name: fitted[name] for name in ("weights", "offsets")}


def analysis_numbers(analysis: Mapping) -> dict[Name, tuple]:
    """Returns {name: (number, standard error or None)} of all that an analysis says in one number.

    Args:
      analysis: of a split, as analysis.json has it, see `tcmax_jax.evaluation.analysis.analyse`.
        Further entries are numbers, {"mean", "standard_error"}, or numbers by what they are of.
        One that stands by itself is None where it is not finite.
    """
    values = {}
    for key, value in analysis.items():
        match key, value:
            case "recalibration", {"weights": weights, "accuracy": share, **gains}:
                values[Name("recalibrated")] = share, None
                values |= {Name("weight", m): (w, None) for m, w in weights.items()}
                numbers = {kind: x for kind, x in gains.items() if isinstance(x, int | float)}
                values |= {Name(kind, "recalibrated"): (x, None) for kind, x in numbers.items()}
            case "recalibration", _:
                pass  # of a validation split that is too small to tell anything
            case "total_correlation", {"terms": terms}:
                chain = {Name("chain", term): x for term, x in terms.items()}
                values |= {name: (x["nats"], x["standard_error"]) for name, x in chain.items()}
            case "marginal", Mapping():
                marginal = analysis_numbers(value)
                values |= {name._replace(by=MARGINAL): x for name, x in marginal.items()}
            case "accuracy_without", _:
                values |= {under(without(m.split("+"))): (x, None) for m, x in value.items()}
            case "accuracy_under_noise", _:
                for m, shares in value.items():
                    conditions = {
                        Condition(noisy=m, strength=float(s)): x for s, x in shares.items()
                    }
                    values |= {under(condition): (x, None) for condition, x in conditions.items()}
            case _, {"mean": mean, "standard_error": error}:
                values[Name(key)] = mean, error
            case "examples", _:
                pass
            case _, Mapping():
                bare = {"fused": ""} if key in _METRICS else {}
                shares = {of: x for of, x in value.items() if isinstance(x, int | float)}
                values |= {Name(key, bare.get(of, of)): (x, None) for of, x in shares.items()}
            case _, int() | float() | None:
                values[Name(key)] = value, None
    return values
