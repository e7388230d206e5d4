"""Runs a classifier over a split."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from tcmax_jax.evaluation.conditions import (
    missing,
    name_noise,
    name_without,
    noisy_views,
    scores_without,
)
from tcmax_jax.evaluation.metrics import accuracy, collapsed, predictions, split_metrics


class Evaluation(NamedTuple):
    """What a classifier does on a split.

    Attributes:
      metrics: {name: float}, see `tcmax_jax.evaluation.metrics.split_metrics`.
      collapsed: "fused" and trained modalities whose prediction or feature is constant.
      labels: [N].
      scores: {name: [N, C]}, see `tcmax_jax.evaluation.metrics.predictions`.
      features: {modality: [N, D]}.
      predicted: {condition: [N] class that is predicted}, see `tcmax_jax.evaluation.conditions`.
    """

    metrics: dict[str, float]
    collapsed: list[str]
    labels: np.ndarray
    scores: dict
    features: dict
    predicted: dict


def evaluate_split(
    encode: Callable,
    head: Callable,
    method,
    batches: Iterable[dict],
    *,
    dropped: Collection[str] = (),
    hard: bool = False,
    noise: Sequence[float] = (),
    gather: Callable = lambda rows: rows,
) -> Evaluation:
    """Evaluates a classifier on every example of a split, each counted once.

    Args:
      encode: function from inputs {modality: [B, ...]} to features {modality: [B, D]} on the host.
      head: the classifier's head, see `tcmax_jax.models.head_of`.
      method: the `tcmax_jax.methods.Method` that predicts.
      batches: padded batches, see `tcmax_jax.data.pipeline.eval_batches`.
      dropped: modalities without which to predict as well, all of them at once.
      hard: whether to predict without each single modality, and under noise.
      noise: strengths of that noise, see `tcmax_jax.evaluation.conditions.noisy_views`.
      gather: function that joins a pytree of this process's rows with those of all others.

    Returns:
      Metrics over the valid rows of all batches, and what has collapsed.

    Raises:
      ValueError: modalities that cannot be dropped.
    """
    strengths = tuple(noise) if hard else ()
    if strengths:
        views, labels = encode_split(
            lambda views: {s: encode(inputs) for s, inputs in views.items()},
            noisy_views(batches, strengths),
            gather,
        )
        features = views[0.0]
    else:
        features, labels = encode_split(encode, batches, gather)
    scores = predictions(method, head, features)
    metrics = split_metrics(method, head, features, labels, scores)
    if dropped:
        without = scores_without(method, head, features, dropped)
        metrics |= {name_without(dropped): accuracy(without, labels)}
    predicted = {}
    for each in missing(method, features) if hard else ():
        predicted[name_without(each)] = scores_without(method, head, features, each)
    for strength in strengths:
        for m, noisy in views[strength].items():
            scores_under = method.predict(head, {**features, m: noisy})
            predicted[name_noise(m, strength)] = scores_under
    resting = set(features) - set(method.modalities or features)
    return Evaluation(
        metrics=metrics,
        collapsed=[x for x in collapsed(features, labels, scores) if x not in resting],
        labels=labels,
        scores=jax.device_get(scores),
        features=features,
        predicted={c: np.argmax(np.asarray(x), axis=-1) for c, x in predicted.items()},
    )


def encode_split(encode: Callable, batches: Iterable[dict], gather: Callable = lambda rows: rows):
    """Returns the features {modality: [N, D]} and labels [N] of a split, without its padding.

    Args:
      encode: function from inputs {modality: [B, ...]} to features {modality: [B, D]} on the host,
        or to another tree of arrays [B, ...], which is then what comes instead of the features.
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
    return jax.tree.map(lambda z: z[valid], rows["features"]), rows["label"][valid]
