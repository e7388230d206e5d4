"""The protocol of a method."""

from collections.abc import Callable
from typing import NamedTuple

import jax


class Method(NamedTuple):
    """Pure functions of the classifier's head and the batch's features; no state.

    `head` is what `tcmax_jax.models.head_of` returns, `features` is {modality: [B, D]}.

    Attributes:
      loss: `(head, features, labels, *, key, where, axis_name) -> ([B], {name: scalar})`,
        per-example losses in nats, and what the method has to log, the same on every device. `key`
        is the same on every device, `axis_name` names the mapped axis that holds the rest of the
        batch. Rows where `where` is False must not act on other rows; their own losses are left
        out by the caller.
      predict: `(head, features) -> [B, C]`, scores whose softmax is the prediction.
      floor: `(labels, num_modalities, num_classes, *, where, axis_name) -> scalar`, a number below
        the mean loss of the batch whatever the head, for the bound on steps; None for no bound.
      label_prior: [C] reference measure of the label under which the head is a critic; None for
        the uniform one.
    """

    loss: Callable
    predict: Callable
    floor: Callable | None = None
    label_prior: jax.Array | None = None
