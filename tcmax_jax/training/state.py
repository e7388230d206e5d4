"""The state that training carries from step to step, all of it saved in checkpoints."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from tcmax_jax.methods import Sizes


class TrainState(NamedTuple):
    """A pytree of arrays.

    Random numbers need no state: step t uses `fold_in(key(seed), t)`, and the data of step t is
    found by position.

    Attributes:
      step: number of finished steps, int32 scalar.
      params: parameters of the classifier.
      batch_stats: running statistics of batch normalisation, {} without it.
      opt_state: state of the optimiser.
      method_state: state of the method, such as running scores or prototypes; () without one.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    method_state: Any


def init_state(model, optimizer, method, num_examples, inputs, key) -> TrainState:
    """Returns the state before the first step.

    Args:
      model: a `MultimodalClassifier`.
      optimizer: an optax gradient transformation.
      method: a `tcmax_jax.methods.Method`.
      num_examples: number of training examples.
      inputs: {modality: [B, ...]} of the shapes and dtypes of the data; one row is enough.
      key: PRNG key of the parameters.
    """
    variables = model.init(key, inputs)
    features = model.apply(variables, inputs, method="encode")
    sizes = Sizes(
        features={m: z.shape[-1] for m, z in features.items()},
        num_classes=model.head.num_classes,
        num_examples=num_examples,
    )
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
        method_state=method.init(sizes),
    )
