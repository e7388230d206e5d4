"""Recalibration: a weight for each modality and an offset for each class, fitted on validation.

A gain on validation carries over to new examples of the same distribution. For examples of
speakers, patients or other groups that validation does not have, the fit has to be judged on
held-out groups.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, stdtrit

# A fit to fewer examples is one to chance.
_LEAST_OF_A_CLASS, _LEAST = 10, 50


def enough_examples(examples: int, classes: int) -> bool:
    """Returns whether validation suffices: 50 examples, and 10 times the classes."""
    return examples >= max(_LEAST, _LEAST_OF_A_CLASS * classes)


def fit_recalibration(scores: Mapping[str, np.ndarray], labels: np.ndarray) -> dict:
    """Fits a weight for each modality and an offset for each class.

      F_i = sum_m w_m f_m,i + b
      (w, b) = argmin_{w >= 0} sum_i CE(F_i, y_i) + 1/2 (sum_m (w_m - 1)^2 + sum_c b_c^2)

    A modality that was learnt by heart speaks too loudly in the plain sum (w = 1, b = 0), to which
    the second term draws back where examples are few; without any it is the plain sum. The problem
    is convex.

    Args:
      scores: f, {modality: [N, C]}, the parts of an additive head.
      labels: y, [N] integers, of examples that the parts were not trained on.

    Returns:
      {"weights": {modality: w_m}, "offsets": [C] list of b}, plain data.

    Source: vector scaling (Guo et al., ICML 2017, section 4.2) with a temperature for each
    modality in place of one for each class.
    """
    names, labels = list(scores), np.asarray(labels)
    parts = np.stack([np.asarray(scores[m], np.float64) for m in names])
    rows, classes = np.arange(len(labels)), parts.shape[-1]
    if not len(rows):
        return {"weights": dict.fromkeys(names, 1.0), "offsets": [0.0] * classes}
    # Weights are sought in units of the parts, or logits of 1e4 would make for a narrow valley.
    sizes = np.maximum(np.sqrt(np.mean(parts**2, axis=(1, 2))), 1.0)

    def objective(x):
        w, b = x[: len(names)] / sizes, x[len(names) :]
        log_p = log_softmax(np.einsum("m,mnc->nc", w, parts) + b, axis=-1)
        residual = np.exp(log_p)
        residual[rows, labels] -= 1
        by_weight = np.einsum("nc,mnc->m", residual, parts) + w - 1
        value = -log_p[rows, labels].sum() + 0.5 * (np.sum((w - 1) ** 2) + np.sum(b**2))
        by_offset = residual.sum(axis=0) + b
        return value / len(rows), np.concatenate([by_weight / sizes, by_offset]) / len(rows)

    start = np.concatenate([sizes, np.zeros(classes)])
    bounds = [(0, None)] * len(names) + [(None, None)] * classes
    options = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8}
    x = minimize(objective, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options).x
    weights = dict(zip(names, (x[: len(names)] / sizes).tolist(), strict=True))
    return {"weights": weights, "offsets": x[len(names) :].tolist()}


def recalibrate(recalibration: Mapping, scores: Mapping):
    """Returns F = sum_m w_m f_m + b.

    Args:
      recalibration: what `fit_recalibration` returned.
      scores: f, {modality: [..., C]}; others than those of `recalibration` are left out.
    """
    weighted = [w * scores[m] for m, w in recalibration["weights"].items()]
    return sum(weighted) + np.asarray(recalibration["offsets"], weighted[0].dtype)


def units_of(examples: int, groups: Sequence[str] = ()) -> np.ndarray:
    """Returns the index of each example's group, [N]; an example without one is its own group."""
    if not groups:
        return np.arange(examples)
    names = [f"group {name}" if name else f"{i}" for i, name in enumerate(groups)]
    return np.unique(names, return_inverse=True)[1]


def cross_recalibrate(
    scores: Mapping[str, np.ndarray], labels: np.ndarray, units: np.ndarray, folds: int = 5
):
    """Returns recalibrated scores [N, C], each fitted without the example's group.

    Unit i lies in fold i mod `folds`, whose recalibration is fitted on all other folds.

    Args:
      scores: f, {modality: [N, C]}.
      labels: [N] integers.
      units: [N] numbers, see `units_of`.
      folds: their number.
    """
    fold = units % folds
    recalibrated = np.empty(next(iter(scores.values())).shape)
    for k in range(folds):
        inside, rest = fold == k, fold != k
        fitted = fit_recalibration({m: z[rest] for m, z in scores.items()}, labels[rest])
        recalibrated[inside] = recalibrate(fitted, {m: z[inside] for m, z in scores.items()})
    return recalibrated


def gain(recalibrated: np.ndarray, fused: np.ndarray, labels: np.ndarray, units: np.ndarray):
    """Returns the change of accuracy by recalibration on examples that were not used in its fit.

      d = mean_i x_i,  x_i = [recalibrated i right] - [fused i right]
      half_width = t_{0.975, k - 1} sqrt(k / (k - 1) sum_u (sum_{i in u} (x_i - d))^2) / N

    That is the paired difference of k independent units u of N examples, with its 95 % interval.

    Args:
      recalibrated: [N, C], see `cross_recalibrate`.
      fused: [N, C].
      labels: [N] integers.
      units: [N] numbers, see `units_of`.

    Returns:
      {"mean", "half_width", None for a single unit}, shares of 1.
    """
    right, before = (np.argmax(x, axis=-1) == labels for x in (recalibrated, fused))
    x = right.astype(np.float64) - before
    mean, number = x.mean(), len(np.unique(units))
    if number < 2:
        return {"mean": float(mean), "half_width": None}
    sums = np.bincount(units, x - mean)
    error = math.sqrt(number / (number - 1) * np.sum(sums**2)) / len(x)
    return {"mean": float(mean), "half_width": float(stdtrit(number - 1, 0.975) * error)}
