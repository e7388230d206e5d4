"""What training carries from step to step, all of it in the checkpoint."""

from typing import Any, NamedTuple

import jax.numpy as jnp


class TrainState(NamedTuple):
    """A pytree of arrays.

    Random numbers need no state: step t uses `fold_in(key(seed), t)`, and the data of step t is
    found by position.

    Attributes:
      step: number of finished steps, int32 scalar.
      params: parameters of the classifier.
      batch_stats: running statistics of batch normalisation, {} without it.
      opt_state: state of the optimiser.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any


def init_state(model, optimizer, inputs, key) -> TrainState:
    """Returns the state before the first step.

    Args:
      model: a `MultimodalClassifier`.
      optimizer: an optax gradient transformation.
      inputs: {modality: [B, ...]} of the shapes and dtypes of the data; one row is enough.
      key: PRNG key of the parameters.
    """
    variables = model.init(key, inputs)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
    )
