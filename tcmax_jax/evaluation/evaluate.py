"""Runs a classifier over a split, also with a modality missing or with noise."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tcmax_jax.evaluation.finite import check_finite
from tcmax_jax.evaluation.marginal import (
    all_but,
    marginal_metrics,
    marginal_scores,
    single,
    trained_among,
)
from tcmax_jax.evaluation.metrics import accuracy, collapsed, predictions, split_metrics
from tcmax_jax.evaluation.quantities import MARGINAL, Condition, under, without, write_name
from tcmax_jax.losses import AdditiveHead
from tcmax_jax.series import Series


class Evaluation(NamedTuple):
    """The results of a classifier on a split.

    Attributes:
      metrics: {name: float}, see `tcmax_jax.evaluation.metrics.split_metrics` and
        `tcmax_jax.evaluation.marginal.marginal_metrics`.
      collapsed: "fused" and trained modalities whose prediction or feature is constant.
      labels: [N].
      scores: {name: [N, C]}, see `tcmax_jax.evaluation.metrics.predictions`.
      features: {modality: [N, D]}.
      predicted: {condition: [N] class that is predicted}.
      marginal: {names of modalities: [N, C]}, see `tcmax_jax.evaluation.marginal.marginal_scores`.
    """

    metrics: dict[str, float]
    collapsed: list[str]
    labels: np.ndarray
    scores: dict
    features: dict
    predicted: dict[Condition, np.ndarray]
    marginal: dict[tuple[str, ...], np.ndarray]


def evaluate_split(
    encode: Callable,
    head: Callable,
    method,
    batches: Iterable[dict],
    *,
    bank: Mapping | None = None,
    dropped: Collection[str] = (),
    hard: bool = False,
    noise: Sequence[float] = (),
    gather: Callable = lambda rows: rows,
    about: Callable[[int], str] = "example {}. Fix it, or the parameters.".format,
) -> Evaluation:
    """Evaluates a classifier on every example of a split, each counted once.

    Args:
      encode: function from inputs {modality: [B, ...]} to features {modality: [B, D]} on the host.
      head: the classifier's head, see `tcmax_jax.models.head_of`.
      method: the `tcmax_jax.methods.Method` that predicts.
      batches: padded batches, see `tcmax_jax.data.pipeline.eval_batches`.
      bank: features {modality: [B, D]} of the validation split, from which missing modalities
        come; those of this split if None.
      dropped: modalities without which to predict as well, all of them at once.
      hard: whether to predict without each single modality, and under noise.
      noise: strengths of that noise, see `noisy_views`.
      gather: function that joins a pytree of this process's rows with those of all others.
      about: see `check_finite`.

    Returns:
      Metrics over the valid rows of all batches, and what has collapsed.

    Raises:
      ValueError: modalities that cannot be dropped.
      NonFiniteError: a feature or a score of an example is NaN or infinite.
    """
    strengths = tuple(noise) if hard else ()
    views, labels = encode_split(
        lambda views: {s: encode(inputs) for s, inputs in views.items()},
        noisy_views(batches, strengths),
        gather,
    )
    features = views[0.0]
    check_finite({f"features of {m}": z for m, z in features.items()}, about)
    scores = predictions(method, head, features)
    check_finite({f"scores ({name})": x for name, x in scores.items()}, about)
    metrics = split_metrics(method, head, features, labels, scores)
    at_once = [_rest(method, features, dropped)] if dropped else []
    rests = all_but(method, features) if hard else []
    known = [*single(method, features), *rests, *at_once]
    marginal = jax.device_get(
        marginal_scores(method, head, features, features if bank is None else bank, known)
    )
    check_finite({f"scores (from {'+'.join(k)} alone)": x for k, x in marginal.items()}, about)
    metrics |= marginal_metrics(marginal, labels)
    hard_scores = split_scores(method, head, features, rests)
    hard_scores |= {
        Condition(noisy=m, strength=s): method.predict(head, {**features, m: noisy})
        for s in strengths
        for m, noisy in views[s].items()
        if not np.array_equal(noisy, features[m])  # ids
    }
    asked = split_scores(method, head, features, at_once)
    named = {f"scores ({write_name(under(c))})": x for c, x in (hard_scores | asked).items()}
    check_finite(named, about)
    metrics |= {write_name(under(c)): accuracy(x, labels) for c, x in asked.items()}
    metrics |= {
        write_name(under(_lacking(features, k), MARGINAL)): accuracy(marginal[k], labels)
        for k in at_once
    }
    resting = set(features) - set(method.modalities or features)
    return Evaluation(
        metrics=metrics,
        collapsed=[x for x in collapsed(features, labels, scores) if x not in resting],
        labels=labels,
        scores=jax.device_get(scores),
        features=features,
        predicted={c: np.argmax(np.asarray(x), axis=-1) for c, x in hard_scores.items()},
        marginal=marginal,
    )


def encode_split(encode: Callable, batches: Iterable[dict], gather: Callable = lambda rows: rows):
    """Returns the features {modality: [N, D]} and labels [N] of a split, without padding.

    Args:
      encode: function from inputs {modality: [B, ...]} to features {modality: [B, D]} on the host,
        or to another tree of arrays [B, ...], which is then what comes instead of the features.
      batches: padded batches.
      gather: see `evaluate_split`.
    """
    parts = [
        {"features": encode(batch["inputs"])} | {x: batch[x] for x in ("label", "where", "index")}
        for batch in batches
    ]
    rows = gather(jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts))
    valid = np.flatnonzero(rows["where"])
    valid = valid[np.argsort(rows["index"][valid])]
    return jax.tree.map(lambda z: z[valid], rows["features"]), rows["label"][valid]


def split_scores(method, head, features: Mapping, subsets: Collection) -> dict:
    """Returns scores of the fused prediction from the parts of some modalities.

    The parts of all others leave an additive head's sum, as if their classifiers said nothing, and
    the method's own rule predicts from the rest. Class offsets that parts hold against each other
    show in it, where they cancel in the whole sum; `marginal_scores` does not see them.

    Args:
      method: a `tcmax_jax.methods.Method`, which predicts.
      head: the classifier's head, see `tcmax_jax.models.head_of`.
      features: {modality: [N, D]}.
      subsets: tuples of names of the modalities to predict from.

    Returns:
      {condition: [N, C]}; softmax of them is the prediction. Nothing for heads that are no sum.
    """
    if not isinstance(head, AdditiveHead):
        return {}
    return {
        _lacking(features, known): method.predict(head.only(trained_among(method, known)), features)
        for known in subsets
    }


def _rest(method, features, dropped) -> tuple[str, ...]:
    """Returns all modalities but some.

    Raises:
      ValueError: an unknown modality, or none that is left to predict from.
    """
    rest = tuple(sorted(set(features) - set(dropped)))
    if not set(dropped) <= set(features) or not trained_among(method, rest):
        raise ValueError(
            f"Expected to drop some of the modalities {', '.join(features)} and to keep one that "
            f"the method trains, got {', '.join(dropped)}."
        )
    return rest


def _lacking(features, known) -> Condition:
    return without(set(features) - set(known))


def noisy_views(batches: Iterable[Mapping], strengths: Sequence[float]) -> Iterator[dict]:
    """Yields batches whose inputs are {0.0: unchanged, strength: with noise on all modalities}.

      x'_i = x_i + strength * std(x_i) * n_i,  n_i standard normal in each entry

    with the standard deviation over all entries of the example's own input; inputs are kept in the
    range of their type, integers are rounded, and ids (of more than 8 bits) stay as they are. Only
    the true steps of a `Series` have noise. n_i depends on the modality and on the example's index
    alone: neither batches nor processes change it, and all strengths share it.

    Args:
      batches: with "inputs" {modality: [B, ...] or `Series`} and "index" [B].
      strengths: of the noise, in standard deviations.
    """
    for batch in batches:
        clean = batch["inputs"]
        noise = {}
        for number, m in enumerate(sorted(clean) if strengths else ()):
            seeds = ((number, int(index)) for index in batch["index"])
            values = clean[m].values if isinstance(clean[m], Series) else clean[m]
            shape = np.shape(values)[1:]
            drawn = [np.random.default_rng(s).standard_normal(shape, np.float32) for s in seeds]
            noise[m] = np.stack(drawn)
        views = {0.0: clean} | {
            s: {m: _add(x, s * noise[m]) for m, x in clean.items()} for s in strengths
        }
        yield {**batch, "inputs": views}


def _add(x, noise):
    if isinstance(x, Series):
        steps = np.asarray(x.mask).reshape(x.mask.shape + (1,) * (x.values.ndim - 2))
        return Series(_noisy(np.asarray(x.values), noise, steps), x.mask)
    return _noisy(np.asarray(x), noise, True)


def _noisy(x, noise, where):
    if np.issubdtype(x.dtype, np.integer) and x.dtype.itemsize > 1:
        return x
    wide, axes = x.astype(np.float32), tuple(range(1, x.ndim))
    spread = wide.std(axis=axes, keepdims=True, where=np.broadcast_to(where, x.shape))
    noisy = np.where(where, wide + spread * noise, wide)
    whole = np.issubdtype(x.dtype, np.integer)
    limits = np.iinfo(x.dtype) if whole else jnp.finfo(x.dtype)
    return np.clip(np.rint(noisy) if whole else noisy, limits.min, limits.max).astype(x.dtype)
