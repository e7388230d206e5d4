"""Information in the features of a classifier about the label and each other: the chain of TC."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from tcmax_jax.estimators.decompositions import NUM_NEGATIVES, direct
from tcmax_jax.estimators.fit import Estimate, error_of, evaluate, fit, split
from tcmax_jax.estimators.label_information import head_information, label_information
from tcmax_jax.estimators.samples import prepare

# A difference of more standard errors than this is taken for more than chance.
_STANDARD_ERRORS = 2


class Sum(NamedTuple):
    """A sum of estimates on the same examples.

    Attributes:
      name: the terms, as text.
      value: nats.
      standard_error: nats, from the summed influences, so that what the terms share counts.
      influence: [n].
    """

    name: str
    value: float
    standard_error: float
    influence: np.ndarray


class Report(NamedTuple):
    """The result of `tc_report`.

    Attributes:
      terms: {name of the quantity: its estimate}, each a lower bound.
      decompositions: the two sums that both equal the total correlation.
      difference: of the first to the second, nats.
      difference_error: its standard error, nats.
      agree: whether the difference lies within two of these.
      verdict: that, in words.
    """

    terms: dict[str, Estimate]
    decompositions: tuple[Sum, Sum]
    difference: float
    difference_error: float
    agree: bool
    verdict: str


def tc_report(
    features: Mapping,
    labels,
    head=None,
    *,
    num_negatives=NUM_NEGATIVES,
    held_out=0.4,
    block_size=512,
    seed=0,
    **options,
) -> Report:
    """Estimates the chain of total correlation of features and label, on held-out examples.

      TC(z_1 .. z_M, y) = I(y; z_1 .. z_M) + TC(z_1 .. z_M)
                        = sum_m I(y; z_m) + TC(z_1 .. z_M | y)

    With two modalities a and v: I(y;a), I(y;v), I(y;a,v), I(a;v), I(a;v|y) and TC itself. The terms
    with a label are its entropy less the loss of a small classifier (`label_information`), the
    others direct bounds (`direct`), the conditional one with tuples shuffled within the same label.
    Each is fitted by itself, so the two sums agree only if the bounds are about equally tight.

    Args:
      features: {modality: [N, D_m]}, M >= 2, of examples that the classifier was not trained on.
      labels: [N] integers.
      head: function {modality: [N, D_m]} -> logits [N, C] in JAX, C the number of classes, or None;
        with it the bound of the classifier's own head is a further term (of all N examples, for
        nothing is fitted).
      num_negatives: most shuffled tuples of a batch.
      held_out: share of the examples that nothing is fitted on; half of it is for the estimates.
      block_size: most examples in a block of the evaluation, see `evaluate`, which also says what
        the standard errors cover.
      seed: of the split, the parameters and the batches.
      **options: steps, batch_size, learning_rate, eval_every and progress of `fit`.

    Raises:
      ValueError: features or labels that cannot be estimated from, or labels the head has no class
        for.
    """
    label, labels = "y", np.asarray(labels)
    while label in features:
        label += "_"
    samples = prepare({**features, label: labels})
    if label not in samples.labels or not set(features).isdisjoint(samples.labels):
        raise ValueError(
            "Expected integer labels [N] and features of numbers, [N, D], got labels of dtype "
            f"{labels.dtype} and shape {labels.shape}, and features of dtypes "
            f"{ ({m: str(np.asarray(x).dtype) for m, x in features.items()}) }."
        )
    if len(features) < 2:
        raise ValueError(f"Expected features of two modalities or more, got {list(features)}.")
    parts = split(samples, held_out=held_out, seed=seed)
    names = tuple(features)

    def estimate(estimator):
        return fit(parts, estimator, block_size=block_size, seed=seed, **options).estimate

    everything, separator = ",".join(names), ";".join(names)
    of_label = {f"I({label};{m})": estimate(label_information((m,), label)) for m in names}
    of_all = f"I({label};{everything})"
    between = f"I({separator})" if len(names) == 2 else f"TC({separator})"
    given = f"{between[:-1]}|{label})"
    whole = f"TC({separator};{label})"
    terms = of_label | {
        of_all: estimate(label_information(names, label)),
        between: estimate(direct(names, num_negatives=num_negatives)),
        given: estimate(direct(names, given=label, num_negatives=num_negatives)),
        whole: estimate(direct((*names, label), num_negatives=num_negatives)),
    }
    first = _sum(terms, (of_all, between))
    second = _sum(terms, (*of_label, given))
    if head is not None:
        terms[f"{whole} by the head"] = _head_bound(
            head, features, label, labels, num_negatives, block_size, seed
        )
    error = error_of(first.influence - second.influence)
    gap = first.value - second.value
    agree = abs(gap) <= _STANDARD_ERRORS * error
    verdict = _verdict(first, second, error, agree)
    return Report(terms, (first, second), gap, error, agree, verdict)


def report_table(report: Report) -> str:
    """Lays out a report: a line for each term and each sum, and the verdict."""
    rows = report.terms | {each.name: each for each in report.decompositions}
    width = max(map(len, rows))
    lines = [f"{'lower bound of':<{width}}      nats  std. error"]
    for name, e in rows.items():
        lines.append(f"{name:<{width}}  {e.value:8.3f}  {e.standard_error:10.3f}")
    return "\n".join([*lines, report.verdict])


def _head_bound(head, features, label, labels, num_negatives, block_size, seed) -> Estimate:
    batch = {m: np.asarray(x, np.float32) for m, x in features.items()}
    # Wrapped, since JAX keeps weak references to functions and heads are named tuples.
    num_classes = jax.eval_shape(lambda z: head(z), batch).shape[-1]
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"Expected labels in 0 .. {num_classes - 1}, since the head scores {num_classes} "
            f"classes, got {labels.min()} .. {labels.max()}."
        )
    batch[label] = np.eye(num_classes, dtype=np.float32)[labels]
    estimator = head_information(head, features, label, num_negatives=num_negatives)
    return evaluate(estimator, (), batch, jax.random.key(seed), block_size=block_size)


def _sum(terms, names) -> Sum:
    influence = sum(terms[name].influence for name in names)
    value = sum(terms[name].value for name in names)
    return Sum(" + ".join(names), value, error_of(influence), influence)


def _verdict(first, second, error, agree):
    low, high = sorted((first, second), key=lambda s: s.value)
    gap = high.value - low.value
    if agree:
        return (
            f"The decompositions agree: {gap:.3f} +- {error:.3f} nats apart. All terms are lower "
            "bounds, so both sums may still lie below the total correlation."
        )
    return (
        f"The decompositions disagree: {gap:.3f} +- {error:.3f} nats apart, more than the choice "
        f"of held-out examples explains. All terms are lower bounds, so {low.name} misses about "
        f"that much or more of the total correlation, and {high.name} is nearer to it."
    )
