"""Reference accuracies: the most frequent class, and a linear classifier on the inputs.

A method below one of them is not trained well enough for its result to mean anything.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tcmax_jax.evaluation.metrics import accuracy
from tcmax_jax.evaluation.probe import fit_probe, probe_logits
from tcmax_jax.series import Series

FREQUENT, LINEAR = "most frequent class", "linear classifier"
_MOST_EXAMPLES, _MOST_NUMBERS = 5000, 1024  # of a split; of a modality


def reference_accuracies(
    train: Sequence[Mapping], held_out: Sequence[Mapping], inputs: Mapping, num_classes: int
) -> dict[str, float]:
    """Returns the accuracies of two classifiers that learn no representation.

    The linear one is a logistic regression on the standardised inputs of all modalities, as
    evaluation makes them (see `fit_probe`). Inputs of more than 1024 numbers are averaged over
    blocks until they have fewer; series are their mean and standard deviation over time. Of larger
    splits it takes 5000 examples, evenly. Ids of tokens are left out: their order means nothing.

    Args:
      train: records {"label", modality: stored value} of the training split.
      held_out: records of the split that is judged.
      inputs: {modality: function (stored value, None) -> input}.
      num_classes: number of classes.

    Returns:
      {"most frequent class": accuracy, "linear classifier": accuracy}; without the second where no
      input is one of numbers.
    """
    splits = [_read(split, inputs) for split in (train, held_out)]
    (features, labels), (others, expected) = splits
    common = Counter(labels.tolist()).most_common(1)[0][0]
    found = {FREQUENT: float(np.mean(expected == common))}
    if features.shape[1]:
        probe = fit_probe(features, labels, num_classes)
        found[LINEAR] = float(accuracy(probe_logits(probe, others), expected))
    return found


def flattened(value: np.ndarray | Series) -> np.ndarray:
    """Returns an input as a vector of at most some 1024 numbers, float32."""
    if isinstance(value, Series):
        steps = np.asarray(value.values, np.float32)[np.asarray(value.mask, bool)]
        return np.concatenate([flattened(steps.mean(axis=0)), flattened(steps.std(axis=0))])
    value = np.asarray(value, np.float32)
    while value.size > _MOST_NUMBERS and max(value.shape) > 1:
        axis = int(np.argmax(value.shape))
        starts = np.arange(0, value.shape[axis], 2)
        sizes = np.diff([*starts, value.shape[axis]])
        sums = np.add.reduceat(value, starts, axis=axis)
        value = sums / sizes.reshape([-1 if a == axis else 1 for a in range(value.ndim)])
    return value.ravel().astype(np.float32)


def _read(split, inputs):
    positions = np.unique(np.linspace(0, len(split) - 1, _MOST_EXAMPLES).astype(int))
    rows, labels = [], []
    for position in positions:
        record = split[int(position)]
        made = [to_input(record[m], None) for m, to_input in inputs.items()]
        parts = [flattened(value) for value in made if _is_measured(value)]
        rows.append(np.concatenate([np.zeros(0, np.float32), *parts]))
        labels.append(int(record["label"]))
    return np.stack(rows), np.array(labels)


def _is_measured(value) -> bool:
    """Returns whether an input holds measurements, as pictures do, and not ids."""
    dtype = (value.values if isinstance(value, Series) else value).dtype
    return np.issubdtype(dtype, np.floating) or dtype == np.uint8
