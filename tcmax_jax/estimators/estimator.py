"""What an estimator is: a named bundle of pure functions, which `fit` and loops of your own run."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax

LOWER: Literal["lower bound"] = "lower bound"
UPPER: Literal["upper bound"] = "upper bound"
NEITHER: Literal["neither"] = "neither"

Batch = Mapping[str, jax.Array]


class State(NamedTuple):
    """What an estimator learns.

    Attributes:
      params: pytree, trained by gradient.
      memory: pytree that the loss passes on (MINE's moving average), () where there is none. Only
        the loss moves it; a value neither reads nor moves it.
    """

    params: Any
    memory: Any = ()


class Init(Protocol):
    """Makes a state; nothing of the batch but its shapes matters."""

    def __call__(self, key: jax.Array, batch: Batch) -> State:
        """Returns a new state."""


class Loss(Protocol):
    """The scalar to minimise, and the memory after this batch."""

    def __call__(self, state: State, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        """Returns (loss, memory)."""


class Value(Protocol):
    """The estimate in nats on one batch, differentiable in the weights of the examples."""

    def __call__(self, params, batch: Batch, key: jax.Array, weights=None) -> jax.Array:
        """Returns a scalar; `weights` are [B], all 1 when None."""


class Estimator(NamedTuple):
    """An estimator of mutual information or total correlation.

    Attributes:
      name: for tables.
      kind: "lower bound", "upper bound" or "neither".
      condition: a sentence, when the kind holds.
      init: see `Init`. Batches are {variable: [B, D_m]} float32, labels one-hot.
      loss: see `Loss`.
      value: see `Value`.
      ceiling: function from the batch size to what the value cannot exceed, in nats, or None.
    """

    name: str
    kind: Literal["lower bound", "upper bound", "neither"]
    condition: str
    init: Init
    loss: Loss
    value: Value
    ceiling: Callable[[int], float | None]


def total(name: str, parts: list[Estimator]) -> Estimator:
    """Returns the estimator of a sum, each part with a state of its own.

    A sum of lower bounds is a lower bound, one of upper bounds an upper bound; others are neither.

    Args:
      name: its name.
      parts: estimators of the summands.
    """
    kinds = {part.kind for part in parts}

    def init(key, batch):
        keys = jax.random.split(key, len(parts))
        states = [part.init(k, batch) for part, k in zip(parts, keys, strict=True)]
        return State(tuple(s.params for s in states), tuple(s.memory for s in states))

    def loss(state, batch, key):
        keys = jax.random.split(key, len(parts))
        states = map(State, state.params, state.memory)
        pairs = [p.loss(s, batch, k) for p, s, k in zip(parts, states, keys, strict=True)]
        return sum(value for value, _ in pairs), tuple(memory for _, memory in pairs)

    def value(params, batch, key, weights=None):
        keys = jax.random.split(key, len(parts))
        return sum(
            p.value(x, batch, k, weights) for p, x, k in zip(parts, params, keys, strict=True)
        )

    def ceiling(batch_size):
        ceilings = [part.ceiling(batch_size) for part in parts]
        return None if None in ceilings else sum(ceilings)

    return Estimator(
        name=name,
        kind=kinds.pop() if len(kinds) == 1 else NEITHER,
        condition=f"for each term: {parts[0].condition}",
        init=init,
        loss=loss,
        value=value,
        ceiling=ceiling,
    )
