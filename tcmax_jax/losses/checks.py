"""Checks of shapes, dtypes and values, run before anything is computed.

Shapes and dtypes are always known. Values are known outside `jit` only; inside it, an invalid label
makes the loss of its example NaN, which training reports.
"""

import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from tcmax_jax.losses.collectives import is_traced


def check_features(features):
    """Checks {modality: [B, ...]} and returns the batch size B.

    Raises:
      TypeError: `features` is no mapping.
      ValueError: fewer than two modalities, or unequal batch sizes.
    """
    if not isinstance(features, Mapping):
        raise TypeError(
            "Expected features as a mapping {modality: array of shape [batch, ...]}, "
            f"got {type(features).__name__}."
        )
    _check_two_modalities(features)
    for name, value in features.items():
        if jnp.ndim(value) < 2:
            raise ValueError(
                f"Expected features[{name!r}] of shape [batch, ...] with rank 2 or more, "
                f"got shape {jnp.shape(value)}."
            )
    return _common_batch_size({name: value.shape for name, value in features.items()}, "features")


def check_known(known, features, bank):
    """Checks the names of known modalities, and that features and a bank fit together.

    Args:
      known: names of modalities.
      features: {modality: [N, ...]}, the known ones among them.
      bank: {modality: [B, ...]} of all modalities, checked already.

    Raises:
      TypeError: one name where a sequence of names is due.
      ValueError: no modality, an unknown one, or features that are not shaped as those of the bank.
    """
    if isinstance(known, str):
        raise TypeError(
            f"Expected known as a sequence of modalities, got {known!r}. Write ({known!r},)."
        )
    there = set(features) & set(bank)
    if not known or not set(known) <= there:
        raise ValueError(
            f"Expected known to name one or more of the modalities {sorted(there)}, which features "
            f"and bank both have, got {list(known)}."
        )
    _common_batch_size({m: jnp.shape(features[m]) for m in known}, "features")
    for m in known:
        got, expected = jnp.shape(features[m])[1:], jnp.shape(bank[m])[1:]
        if got != expected:
            raise ValueError(
                f"Expected features[{m!r}] of shape [batch, {', '.join(map(str, expected))}], as "
                f"in the bank, got {list(got)} behind the batch. Take both from one encoder."
            )


def check_bank_rows(where):
    """Checks that a mask of a bank, [B] or None, has a True row.

    Raises:
      ValueError: it does not (outside `jit`).
    """
    if where is not None and not is_traced(where) and not np.any(where):
        raise ValueError(
            "Expected a bank with a row to average over, got none that `where` keeps. Take another "
            "bank."
        )


def check_modality_logits(modality_logits):
    """Checks {modality: [B, C]} and returns (B, C).

    Raises:
      ValueError: fewer than two modalities, another rank than 2, or unequal shapes.
      TypeError: logits that are not floating point.
    """
    _check_two_modalities(modality_logits)
    shapes = {name: jnp.shape(value) for name, value in modality_logits.items()}
    for name, value in modality_logits.items():
        _check_float(value, f"modality_logits[{name!r}]")
        if len(shapes[name]) != 2:
            raise ValueError(
                f"Expected modality_logits[{name!r}] of shape [batch, classes], "
                f"got shape {shapes[name]}."
            )
    if len(set(shapes.values())) > 1:
        raise ValueError(
            "Expected the same [batch, classes] shape for every modality's logits, got "
            f"{shapes}. Each modality has to score all the classes for all the examples."
        )
    return next(iter(shapes.values()))


def check_logits(logits, batch_size):
    """Checks the result of a head, [batch_size, C], and returns C.

    Raises:
      ValueError: another shape.
      TypeError: logits that are not floating point.
    """
    if jnp.ndim(logits) != 2 or logits.shape[0] != batch_size:
        raise ValueError(
            f"Expected the head to return logits of shape [{batch_size}, classes] for "
            f"{batch_size} examples, got shape {jnp.shape(logits)}."
        )
    _check_float(logits, "the head's logits")
    return logits.shape[1]


def check_where(where, batch_size):
    """Checks that there is an example, and its mask [B], or None.

    Raises:
      TypeError: a mask that is no array, or not boolean.
      ValueError: no example, or another shape than [B].
    """
    if not batch_size:
        raise ValueError("Expected a batch of at least one example, got none. Skip empty batches.")
    if where is None:
        return
    _check_array(where, "`where`")
    if where.dtype != jnp.bool_:
        raise TypeError(
            f"Expected a boolean mask `where`, got dtype {where.dtype}. Compare it with 0."
        )
    if jnp.shape(where) != (batch_size,):
        raise ValueError(
            f"Expected `where` of shape [{batch_size}], one for each example, "
            f"got shape {jnp.shape(where)}."
        )


def check_labels(labels, batch_size, num_classes, where):
    """Checks integer class labels [B]; values where `where` is False are ignored.

    Raises:
      TypeError: labels that are no array, or not integers.
      ValueError: another shape than [B], or (outside `jit`) a label outside 0 .. C - 1.
    """
    _check_array(labels, "labels")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"Expected integer labels, got dtype {labels.dtype}. One-hot labels turn "
            "into integers with labels.argmax(-1)."
        )
    if jnp.shape(labels) != (batch_size,):
        raise ValueError(
            f"Expected labels of shape [{batch_size}], one for each example, "
            f"got shape {jnp.shape(labels)}."
        )
    if is_traced(labels) or is_traced(where):
        return
    labels = np.asarray(labels)
    kept = labels if where is None else labels[np.asarray(where)]
    outside = kept[(kept < 0) | (kept >= num_classes)]
    if outside.size:
        raise ValueError(
            f"Expected labels in 0 .. {num_classes - 1} since the head scores {num_classes} "
            f"classes, got {outside[0]}. Mask examples without a label by `where`."
        )


def check_label_prior(label_prior, num_classes):
    """Checks a distribution over the classes, [C], or None.

    Raises:
      ValueError: another shape than [C], or (outside `jit`) no probability distribution.
    """
    if label_prior is None:
        return
    if jnp.shape(label_prior) != (num_classes,):
        raise ValueError(
            f"Expected label_prior of shape [{num_classes}], a probability for each class, "
            f"got shape {jnp.shape(label_prior)}."
        )
    if is_traced(label_prior):
        return
    prior = np.asarray(label_prior, np.float64)
    if not (np.all(prior >= 0) and abs(prior.sum() - 1) < 1e-3):
        raise ValueError(
            "Expected label_prior to be a probability distribution (no negative entry, sum 1), "
            f"got entries from {prior.min():g} to {prior.max():g} with sum {prior.sum():g}. "
            "Divide class counts by their sum."
        )


def check_positive_int(value, name):
    """Checks a static count.

    Raises:
      ValueError: not a whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"Expected {name} to be a whole number of at least 1, got {value!r}.")


def check_positive(value, name):
    """Checks a static positive number.

    Raises:
      ValueError: not a finite number above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"Expected {name} to be a positive number, got {value!r}.")


def check_sampled(sampled):
    """Checks a `Sampled`.

    Raises:
      ValueError: no number of tuples, or no key.
    """
    check_positive_int(sampled.number, "the number of Sampled negatives")
    _check_key(sampled.key)


def check_adaptive(adaptive):
    """Checks an `Adaptive`.

    Raises:
      ValueError: a target or a limit that is not positive, or no key.
    """
    check_positive(adaptive.target_error, "target_error")
    check_positive_int(adaptive.max_negatives, "max_negatives")
    _check_key(adaptive.key)


def check_projections(projections, features):
    """Checks the result of the `project` of a `MultilinearHead`.

    Raises:
      TypeError: no `Projections`.
      ValueError: factors, kernel and logits whose names or sizes do not fit together.
    """
    if not isinstance(projections, tuple) or len(projections) != 3:
        raise TypeError(
            "Expected the head's project to return Projections(factors, modality_logits, kernel), "
            f"got {type(projections).__name__}."
        )
    factors, modality_logits, kernel = projections
    if set(factors) != set(features) or not set(modality_logits) <= set(features):
        raise ValueError(
            f"Expected factors of the modalities {sorted(features)} and modality_logits of some of "
            f"them, got factors of {sorted(factors)} and logits of {sorted(modality_logits)}."
        )
    size, num_classes = jnp.shape(kernel)
    for name, value, width in (
        *((f"factors[{m!r}]", x, size) for m, x in factors.items()),
        *((f"modality_logits[{m!r}]", x, num_classes) for m, x in modality_logits.items()),
    ):
        if jnp.ndim(value) != 2 or value.shape[1] != width:
            raise ValueError(
                f"Expected {name} of shape [batch, {width}] beside a kernel of shape "
                f"{(size, num_classes)}, got shape {jnp.shape(value)}."
            )


def _check_key(key):
    if key is None:
        raise ValueError(
            "Expected a PRNG key to draw negatives with, got None. Pass "
            "jax.random.fold_in(base_key, step), the same on every device."
        )


def _check_array(value, name):
    if not hasattr(value, "dtype"):
        raise TypeError(
            f"Expected {name} as an array, got {type(value).__name__}. Wrap it in jnp.asarray."
        )


def _check_two_modalities(by_modality):
    if len(by_modality) < 2:
        raise ValueError(
            "Expected at least two modalities, since total correlation compares them, got "
            f"{list(by_modality)}."
        )


def _check_float(value, name):
    if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise TypeError(f"Expected {name} in floating point, got {jnp.result_type(value)}.")


def _common_batch_size(shapes, name):
    sizes = {modality: shape[0] for modality, shape in shapes.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"Expected the same number of examples in all {name}, got {sizes}. Row i of every "
            "modality has to come from the same example."
        )
    return next(iter(sizes.values()))
