"""The interface of estimators: a named set of pure functions, for `fit` or any other loop."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax

LOWER: Literal["lower bound"] = "lower bound"
UPPER: Literal["upper bound"] = "upper bound"
NEITHER: Literal["neither"] = "neither"


class State(NamedTuple):
    """The state of an estimator: its parameters, and statistics for its loss.

    Attributes:
      params: pytree, trained by gradient.
      memory: pytree that the loss passes on (MINE's moving average), () where there is none. Only
        the loss moves it; a value neither reads nor moves it.
    """

    params: Any
    memory: Any = ()


class Estimator(NamedTuple):
    """An estimator of mutual information or total correlation.

    Attributes:
      name: for tables.
      kind: "lower bound", "upper bound" or "neither".
      condition: a sentence, when the kind holds.
      init: function (key, batch) -> a new `State`; nothing of the batch but its shapes matters.
        Batches are {variable: [B, D_m]} float32, labels one-hot.
      loss: function (state, batch, key) -> (scalar to minimise, memory after this batch).
      value: function (params, batch, key, weights=None) -> the estimate on one batch, in nats,
        differentiable in the weights of its examples, [B], all 1 when None.
      ceiling: function from the batch size to what the value cannot exceed, in nats, or None.
    """

    name: str
    kind: Literal["lower bound", "upper bound", "neither"]
    condition: str
    init: Callable
    loss: Callable
    value: Callable
    ceiling: Callable[[int], float | None] = lambda batch_size: None


def total(name: str, parts: list[Estimator]) -> Estimator:
    """Returns the estimator of a sum, in which each part has its own state.

    A sum of lower bounds is a lower bound, one of upper bounds an upper bound; others are neither.

    Args:
      name: its name.
      parts: estimators of the summands.
    """
    kinds = {part.kind for part in parts}

    def each(key, *others):
        """Yields (part, its entries of `others`, its key)."""
        return zip(parts, *others, jax.random.split(key, len(parts)), strict=True)

    def init(key, batch):
        states = [part.init(k, batch) for part, k in each(key)]
        return State(tuple(s.params for s in states), tuple(s.memory for s in states))

    def loss(state, batch, key):
        pairs = [p.loss(State(*args), batch, k) for p, *args, k in each(key, *state)]
        return sum(value for value, _ in pairs), tuple(memory for _, memory in pairs)

    def value(params, batch, key, weights=None):
        return sum(p.value(its_params, batch, k, weights) for p, its_params, k in each(key, params))

    def ceiling(batch_size):
        ceilings = [part.ceiling(batch_size) for part in parts]
        return None if None in ceilings else sum(ceilings)

    kind = kinds.pop() if len(kinds) == 1 else NEITHER
    condition = f"for each term: {parts[0].condition}"
    return Estimator(name, kind, condition, init, loss, value, ceiling)
