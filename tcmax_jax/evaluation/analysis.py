"""Analyses of a classifier's stored outputs by modality: pure functions of arrays.

Scores are [N, C], and p_i = softmax(scores_i) is the prediction of example i. `analyse` takes all
of them from what an evaluation has stored; no model need be loaded again.
"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.special import log_softmax, logsumexp

from tcmax_jax import digests
from tcmax_jax.estimators import tc_report
from tcmax_jax.evaluation.comparison import mean_and_error
from tcmax_jax.evaluation.finite import check_finite
from tcmax_jax.evaluation.metrics import accuracy, mean_cross_entropy
from tcmax_jax.evaluation.outputs import BINS, SPLITS, Outputs, read_outputs, store
from tcmax_jax.evaluation.recalibration import (
    cross_recalibrate,
    enough_examples,
    fit_recalibration,
    gain,
    recalibrate,
    units_of,
)
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.user_text import printable

_CHAIN = "total_correlation"
_LOST = "It is recomputed; an estimated chain of total correlation in it is lost."


def js_divergence(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the Jensen-Shannon divergence of the modalities' predictions for each example.

      JS_i = H(mean_m p_m,i) - mean_m H(p_m,i)

    It is 0 where all modalities predict the same, and at most log M for M modalities.

    Args:
      scores: {modality: [N, C]} of M modalities.

    Returns:
      [N], nats.

    Source: Lin, Divergence measures based on the Shannon entropy (IEEE Trans. Inf. Theory 1991),
      eq. 5.1 with equal weights; compared between methods in the TCMax paper.
    """
    logs = np.stack([log_softmax(np.float64(x), axis=-1) for x in scores.values()])
    mixture = logsumexp(logs, axis=0) - np.log(len(logs))
    return np.maximum(_entropy(mixture) - np.mean(_entropy(logs), axis=0), 0.0)


def prediction_entropy(scores: np.ndarray) -> np.ndarray:
    """Returns H(p_i) = -sum_c p_ic log p_ic of each example, [N] nats, at most log C."""
    return _entropy(log_softmax(np.float64(scores), axis=-1))


def entropy_ratio(scores: Mapping[str, np.ndarray]) -> float | None:
    """Returns the entropy of the least certain modality over that of the most certain one.

      rho = max_m h_m / min_m h_m,  h_m = mean_i H(p_m,i)

    1 says that all modalities are equally certain. The TCMax paper gives a ratio of this kind,
    "strong to weak", with values above 1 (CREMA-D: 1.549 for TCMax, 2.913 for joint training); that
    its definition is this one was not confirmed.

    Args:
      scores: {modality: [N, C]}.

    Returns:
      rho; None where no number is that large, since a modality is certain of every example.
    """
    means = [prediction_entropy(x).mean() for x in scores.values()]
    # Logits of ±1e4 have entropies of about e^-1e4, and ratios of e^1e4: logarithms do not help.
    ratio = max(means) / min(means) if min(means) > 0 else math.inf
    return float(ratio) if math.isfinite(ratio) else None


def multimodal_gain(scores: Mapping[str, np.ndarray], labels: np.ndarray) -> float:
    """Returns the accuracy of "fused" less that of the best single modality."""
    shares = {name: accuracy(x, labels) for name, x in scores.items()}
    fused = shares.pop("fused")
    return fused - max(shares.values())


def reliability(scores: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> list[dict]:
    """Returns how often predictions of each confidence are right.

    The confidence of example i is max_c p_ic; bin b holds those in (b / bins, (b + 1) / bins].

    Args:
      scores: [N, C].
      labels: [N] integers.
      bins: number of bins of equal width.

    Returns:
      [{"confidence": mean confidence, "accuracy": share of correct predictions, "count"}] of the
      bins that hold examples, by rising confidence.

    Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), section 2.
    """
    confidence = np.exp(log_softmax(np.float64(scores), axis=-1).max(axis=-1))
    correct = np.argmax(scores, axis=-1) == labels
    number = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1)
    return [
        {
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(correct[inside].mean()),
            "count": int(inside.sum()),
        }
        for inside in (number == b for b in range(bins))
        if inside.any()
    ]


def calibration_error(scores: np.ndarray, labels: np.ndarray, *, bins: int = BINS) -> float:
    """Returns the expected calibration error, of the bins and arguments of `reliability`.

      ECE = sum_b (n_b / N) |accuracy_b - confidence_b|

    Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), eq. 3.
    """
    bars = reliability(scores, labels, bins=bins)
    gaps = [b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bars]
    return float(sum(gaps) / len(labels))


def confusion(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns [C, C] counts: row c, column k for examples of class c that are taken for class k."""
    counts = np.zeros((scores.shape[-1],) * 2, np.int64)
    np.add.at(counts, (labels, np.argmax(scores, axis=-1)), 1)
    return counts


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Returns the linear centred kernel alignment of two features of the same examples.

      CKA = |Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F),  columns of X and Y centred

    1 where one is a rotation and scaling of the other, 0 where no linear map relates them. It falls
    with N: for few examples and many entries it is high without any relation.

    Args:
      x: [N, D].
      y: [N, E].

    Returns:
      A number in 0 .. 1; 0 where a feature is constant.

    Source: Kornblith et al., Similarity of Neural Network Representations Revisited (ICML 2019),
      section 3.
    """
    x, y = (np.float64(z) - np.float64(z).mean(axis=0) for z in (x, y))
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / norms) if norms > 0 else 0.0


# Of a prediction, [N, C] and [N] labels.
_MEASURES = {
    "accuracy": accuracy,
    "cross_entropy": mean_cross_entropy,
    "entropy": lambda scores, labels: float(prediction_entropy(scores).mean()),
    "calibration_error": calibration_error,
    "reliability": reliability,
}


def analyse(outputs: Outputs) -> dict:
    """Returns all analyses of a split, as plain data, from the stored outputs of its evaluation.

    Returns:
      {"dataset", "split", "examples", "accuracy", "cross_entropy", "entropy", "calibration_error",
      "reliability": {"fused" or modality: value}, "confusion": [C, C] of the fused prediction,
      "cka": {"<a>+<b>": value}}; where the evaluation predicted so, "accuracy_without": {"<a>":
      fused accuracy without the part of a} and "accuracy_under_noise": {"<a>": {"<strength>": fused
      accuracy with noise of that many standard deviations on a}}; and, with an additive head of two
      or more modalities, "js_divergence": {"mean", "standard_error"}, "entropy_ratio" and
      "multimodal_gain". All that is of single modalities is of their parts of the head; "marginal"
      holds the same by the marginals, of any head: "accuracy" .. "reliability" by modality,
      "accuracy_without" and, of two or more modalities, the last three.

    Raises:
      NonFiniteError: a score or a feature is NaN or infinite; the evaluation refuses them now.
    """
    scores, labels = outputs.scores, outputs.labels
    stored = {f"scores ({name})": x for name, x in scores.items()}
    stored |= {f"features of {m}": z for m, z in outputs.features.items()}
    stored |= {f"scores (from {'+'.join(k)} alone)": x for k, x in outputs.marginal.items()}
    check_finite(
        stored, lambda row: f"{outputs.split} example {row}. --mode=evaluate says where from."
    )
    names = list(outputs.features)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    numbers = {
        "dataset": outputs.dataset,
        "split": outputs.split,
        "examples": len(labels),
        **{key: {m: of(x, labels) for m, x in scores.items()} for key, of in _MEASURES.items()},
        "confusion": confusion(scores["fused"], labels).tolist(),
        "cka": {f"{a}+{b}": linear_cka(outputs.features[a], outputs.features[b]) for a, b in pairs},
    }
    for condition, chosen in outputs.predicted.items():
        share = float(np.mean(chosen == labels))
        if condition.missing:
            numbers.setdefault("accuracy_without", {})["+".join(condition.missing)] = share
        else:
            noisy = numbers.setdefault("accuracy_under_noise", {}).setdefault(condition.noisy, {})
            noisy[f"{condition.strength:g}"] = share
    numbers |= _between({m: scores[m] for m in outputs.modalities}, scores["fused"], labels)
    if outputs.marginal:
        numbers["marginal"] = _by_marginals(outputs)
    return numbers


def _by_marginals(outputs):
    """Returns the analyses of single and of missing modalities, by marginals."""
    labels, names = outputs.labels, list(outputs.features)
    alone = {m: outputs.marginal[m,] for m in names if (m,) in outputs.marginal}
    numbers = {key: {m: of(x, labels) for m, x in alone.items()} for key, of in _MEASURES.items()}
    rests = {m: tuple(sorted(set(names) - {m})) for m in names}
    without = {m: outputs.marginal[k] for m, k in rests.items() if k in outputs.marginal}
    if without:
        numbers["accuracy_without"] = {m: accuracy(x, labels) for m, x in without.items()}
    return numbers | _between(alone, outputs.scores["fused"], labels)


def _between(alone, fused, labels):
    """Returns how the predictions {modality: [N, C]} differ, and the gain of combining them."""
    if len(alone) < 2:
        return {}
    return {
        "js_divergence": mean_and_error(js_divergence(alone)),
        "entropy_ratio": entropy_ratio(alone),
        "multimodal_gain": multimodal_gain({"fused": fused, **alone}, labels),
    }


def analyse_recalibrated(validation: Outputs, others: Mapping[str, Outputs]) -> dict:
    """Returns the analyses of a recalibrated sum of the modalities, as plain data.

    Args:
      validation: outputs with an additive head, on which weights and offsets are fitted.
      others: {split: outputs}, on which they are used.

    Returns:
      {split: what `fit_recalibration` returns, "accuracy", "cross_entropy" (nats) and
      "calibration_error" of the recalibrated prediction, and "judged"}, the validation split among
      them; there the prediction of an example is of a fit without it and without its group, see
      `cross_recalibrate`. "judged" says what is to be expected of new examples: {"gain": the
      validation split's, see `gain`, "groups": number of groups that the fits left out, None
      without, "holds": whether that tells anything of the split, see `_alike`}. Where validation
      has too few examples, see `enough_examples`, there is the fit alone.
    """
    unimodal = {m: validation.scores[m] for m in validation.modalities}
    fitted = fit_recalibration(unimodal, validation.labels)
    if not enough_examples(*validation.scores["fused"].shape):
        return dict.fromkeys(["validation", *others], fitted)
    labels, groups = validation.labels, _named_groups(validation)
    # One group cannot be left out: nothing would be left to fit.
    units = units_of(len(labels), validation.groups if len(groups) > 1 else ())
    crossed = cross_recalibrate(unimodal, labels, units)
    judged = {
        "gain": gain(crossed, validation.scores["fused"], labels, units),
        "groups": len(groups) if len(groups) > 1 else None,
    }
    scores = {"validation": (crossed, labels)}
    scores |= {split: (recalibrate(fitted, x.scores), x.labels) for split, x in others.items()}
    of = {kind: _MEASURES[kind] for kind in ("accuracy", "cross_entropy", "calibration_error")}
    return {
        split: fitted
        | {kind: f(*x) for kind, f in of.items()}
        | {"judged": judged | {"holds": _alike(validation, others.get(split, validation))}}
        for split, x in scores.items()
    }


def _named_groups(outputs):
    return set(outputs.groups) - {""}


def _alike(validation, other):
    """Returns whether groups in `other` that are new to training resemble those of validation.

    They are not where those of validation were trained on, or there are none to leave out.
    """
    new = _named_groups(other) - set(other.trained_groups)
    return not new or (not validation.trained_groups and len(_named_groups(validation)) > 1)


def total_correlation_chain(outputs: Outputs, **options) -> dict:
    """Estimates the information that features of a split share with the label and each other.

    Args:
      outputs: what an evaluation has stored, of a split that nothing was trained on.
      **options: of `tcmax_jax.estimators.tc_report`, which says what the terms are.

    Returns:
      {"terms": {name: {"nats", "standard_error"}}, lower bounds of I(y; a), I(y; v), I(a; v | y),
      I(a; v) and TC among them, "sums": the same of its two decompositions, "difference" of these,
      "difference_error", "agree" and "verdict"}.

    Raises:
      ValueError: examples that are too few, or features that are not finite.
    """
    report = tc_report(outputs.features, outputs.labels, **options)

    def plain(estimate):
        return {"nats": float(estimate.value), "standard_error": float(estimate.standard_error)}

    return {
        "terms": {name: plain(estimate) for name, estimate in report.terms.items()},
        "sums": {each.name: plain(each) for each in report.decompositions},
        "difference": float(report.difference),
        "difference_error": float(report.difference_error),
        "agree": bool(report.agree),
        "verdict": report.verdict,
    }


def analyse_splits(outputs: Mapping[str, Outputs]) -> dict:
    """Returns {split: see `analyse`}, with "recalibration", see `analyse_recalibrated`.

    That is there for additive heads, where the validation split is among the outputs.
    """
    analyses = {split: analyse(each) for split, each in outputs.items()}
    others = dict(outputs)
    validation = others.pop("validation", None)
    if validation and validation.modalities:
        for split, recalibrated in analyse_recalibrated(validation, others).items():
            analyses[split]["recalibration"] = recalibrated
    return analyses


def analyse_stored(folder: Path, *, chain: bool = False, **options) -> dict:
    """Writes analysis.json again from the stored outputs; needs neither model nor data.

    Args:
      folder: of a run that was evaluated.
      chain: whether to estimate the chain of total correlation of the last split as well, which
        fits seven small networks; one that is there already is kept.
      **options: of `tcmax_jax.estimators.tc_report`.

    Returns:
      What analysis.json holds, see `analyse_splits`; with a chain also "total_correlation", see
      `total_correlation_chain`.

    Raises:
      ValueError: there are no outputs, or they are damaged or too few.
      NonFiniteError: see `analyse`.
    """
    files = RunFolder(folder)
    known = digests.known(folder)
    stored = {s: files.outputs(s) for s in SPLITS}
    outputs = {s: read_outputs(x) for s, x in stored.items() if x.exists() or x.name in known}
    if not outputs:
        raise ValueError(
            f"Expected outputs of an evaluation in {folder}, got none. Write them with "
            "--mode=evaluate."
        )
    analyses = analyse_splits(outputs)
    last = list(outputs)[-1]
    if chain:
        analyses[last][_CHAIN] = total_correlation_chain(outputs[last], **options)
    else:
        before = (digests.read_json_or_none(files.analysis, _say, _LOST) or {}).get(last, {})
        analyses[last] |= {_CHAIN: before[_CHAIN]} if _CHAIN in before else {}
    store(folder, {}, analyses)
    return analyses


def _say(text):
    print(printable(text), file=sys.stderr, flush=True)


def _entropy(log_probabilities):
    # p log p is 0 at p = 0; exp underflows to it before the logarithm is infinite.
    return -np.sum(np.exp(log_probabilities) * log_probabilities, axis=-1)
