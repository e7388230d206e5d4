"""Runs a classifier over a split."""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import jax
import numpy as np

from tcmax_jax.estimators import tc_report
from tcmax_jax.evaluation.metrics import (
    collapsed,
    metrics_without,
    predictions,
    split_metrics,
)


class Evaluation(NamedTuple):
    """What a classifier does on a split.

    Attributes:
      metrics: {name: float}, see `tcmax_jax.evaluation.metrics.split_metrics`.
      collapsed: "fused" and trained modalities whose prediction or feature is constant.
      labels: [N].
      scores: {name: [N, C]}, see `tcmax_jax.evaluation.metrics.predictions`.
      features: {modality: [N, D]}.
    """

    metrics: dict[str, float]
    collapsed: list[str]
    labels: np.ndarray
    scores: dict
    features: dict


def evaluate_split(
    encode: Callable,
    head: Callable,
    method,
    batches: Iterable[dict],
    *,
    dropped: Collection[str] = (),
    gather: Callable = lambda rows: rows,
) -> Evaluation:
    """Evaluates a classifier on every example of a split, each counted once.

    Args:
      encode: function from inputs {modality: [B, ...]} to features {modality: [B, D]} on the host.
      head: the classifier's head, see `tcmax_jax.models.head_of`.
      method: the `tcmax_jax.methods.Method` that predicts.
      batches: padded batches, see `tcmax_jax.data.pipeline.eval_batches`.
      dropped: modalities without which to predict as well, for additive heads.
      gather: function that joins a pytree of this process's rows with those of all others.

    Returns:
      Metrics over the valid rows of all batches, and what has collapsed.

    Raises:
      ValueError: modalities that cannot be dropped.
    """
    features, labels = encode_split(encode, batches, gather)
    scores = predictions(method, head, features)
    metrics = split_metrics(method, head, features, labels, scores)
    if dropped:
        metrics |= metrics_without(method, head, features, labels, dropped)
    resting = set(features) - set(method.modalities or features)
    return Evaluation(
        metrics=metrics,
        collapsed=[x for x in collapsed(features, labels, scores) if x not in resting],
        labels=labels,
        scores=jax.device_get(scores),
        features=features,
    )


def total_correlation(encode: Callable, head: Callable, batches: Iterable[dict], **options):
    """Estimates what a trained classifier's features share, with the label and with each other.

    Args:
      encode: function from inputs {modality: [B, ...]} to features {modality: [B, D]} on the host.
      head: the classifier's head, see `tcmax_jax.models.head_of`.
      batches: padded batches of a split that the classifier was not trained on.
      **options: of `tcmax_jax.estimators.tc_report`.

    Returns:
      A `tcmax_jax.estimators.Report`: the chain I(y; a), I(y; v), I(a; v | y), I(a; v), TC with
      standard errors, whether its two decompositions agree, and the bound of the head itself.
    """
    features, labels = encode_split(encode, batches)
    return tc_report(features, labels, head, **options)


def encode_split(encode: Callable, batches: Iterable[dict], gather: Callable = lambda rows: rows):
    """Returns the features {modality: [N, D]} and labels [N] of a split, without its padding.

    Args:
      encode: function from inputs {modality: [B, ...]} to features {modality: [B, D]} on the host.
      batches: padded batches.
      gather: function that joins a pytree of this process's rows with those of all others.
    """
    parts = [
        {"features": encode(batch["inputs"])} | {x: batch[x] for x in ("label", "where", "index")}
        for batch in batches
    ]
    rows = gather(jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts))
    valid = np.flatnonzero(rows["where"])
    valid = valid[np.argsort(rows["index"][valid])]
    return {m: z[valid] for m, z in rows["features"].items()}, rows["label"][valid]
