"""Predictions from a subset of the modalities, by averaging over the others."""

from collections.abc import Collection, Mapping

import numpy as np

from tcmax_jax.evaluation.metrics import accuracy, mean_cross_entropy
from tcmax_jax.evaluation.quantities import MARGINAL, Name, write_name


def marginal_scores(method, head, features: Mapping, bank: Mapping, subsets: Collection) -> dict:
    """Returns scores of the prediction from each of some subsets of the modalities.

    Args:
      method: a `tcmax_jax.methods.Method`, whose `marginal` says how.
      head: the classifier's head, see `tcmax_jax.models.head_of`.
      features: {modality: [N, D]}.
      bank: {modality: [B, D]}, features of the validation split, from which the others come.
      subsets: tuples of names of modalities; see `single` and `all_but`.

    Returns:
      {names, sorted: [N, C]}; softmax of them is the prediction.
    """
    known = dict.fromkeys(tuple(sorted(each)) for each in subsets)
    return {k: method.marginal(method.predict, head, features, bank, k) for k in known}


def single(method, features: Mapping) -> list[tuple[str, ...]]:
    """Returns the subsets of one modality from which a method can predict: those it trains."""
    return [(m,) for m in features if trained_among(method, (m,))]


def all_but(method, features: Mapping) -> list[tuple[str, ...]]:
    """Returns the subsets that lack one modality from which a method can still predict."""
    rests = (tuple(sorted(set(features) - {m})) for m in features)
    return [rest for rest in rests if trained_among(method, rest)]


def trained_among(method, modalities: Collection[str]) -> list[str]:
    """Returns those of some modalities that a method trains."""
    return [m for m in modalities if m in (method.modalities or modalities)]


def marginal_metrics(scores: Mapping, labels: np.ndarray) -> dict[str, float]:
    """Returns accuracy and cross-entropy (nats) of each single modality, by their keys.

    Args:
      scores: {names of modalities: [N, C]}, see `marginal_scores`.
      labels: [N] integers.
    """
    alone = {known[0]: x for known, x in scores.items() if len(known) == 1}
    return {
        write_name(Name(kind, m, MARGINAL)): of(x, labels)
        for kind, of in (("accuracy", accuracy), ("cross_entropy", mean_cross_entropy))
        for m, x in alone.items()
    }
