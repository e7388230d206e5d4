"""One training step and one evaluation step: pure functions, to be mapped over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tcmax_jax.methods.base import Step, encoder_group
from tcmax_jax.training.state import TrainState


def train_step(
    state,
    batch,
    key,
    *,
    model,
    optimizer,
    method,
    steps_per_epoch=1,
    accumulate=1,
    axis_name=None,
):
    """Takes one training step: one update of the parameters for each turn of the method.

    Losses are those of the global batch, and gradients are averaged over the devices before the
    method's gradient rule and the optimiser see them.

    Args:
      state: a `TrainState`, the same on every device; donated by `tcmax_jax.training.parallel`.
      batch: this device's part of a batch, see `tcmax_jax.data.pipeline`.
      key: data of the PRNG key of training, see `training_key`; the same on every device and at
        every step. It is no constant of the step: runs of other seeds have the same program.
      model: a `MultimodalClassifier`.
      optimizer: an optax gradient transformation that takes the extra arguments `gap`, the loss
        less the method's floor, and `log`, a dictionary to which it may add scalars;
        `optax.with_extra_args_support` makes one of any.
      method: a `tcmax_jax.methods.Method`.
      steps_per_epoch: steps in an epoch, for methods that act in some epochs only.
      accumulate: parts in which this device encodes its rows one after the other.
      axis_name: name of the mapped axis over devices.

    Returns:
      (the next state, metrics), metrics being {name: float32 scalar}, the same on every device:
      loss (nats; the sum over turns), accuracy and cross-entropy (nats) of the batch, what the
      method and the optimiser log, and gradient norms, global and by modality's encoder.
    """
    params, opt_state, batch_stats, method_state = (
        state.params,
        state.opt_state,
        state.batch_stats,
        state.method_state,
    )
    step = Step(
        model=model,
        batch_stats=batch_stats,
        batch=batch,
        key=jax.random.fold_in(jax.random.wrap_key_data(key), state.step),
        progress=state.step / steps_per_epoch,
        accumulate=accumulate,
        axis_name=axis_name,
    )
    loss, metrics, grads = 0.0, {}, {}
    for number, turn in enumerate(method.turns, start=1):
        result = turn(step, params, method_state)
        last = number == len(method.turns)
        params, opt_state, log = _update(optimizer, result, params, opt_state, last)
        batch_stats = {**batch_stats, **result.batch_stats}
        method_state = result.state
        loss, metrics = loss + result.loss, metrics | result.metrics | log
        grads = grads | result.grads
    metrics = {"loss": loss, **metrics, "grad_norm": optax.tree.norm(grads)}
    for modality in model.encoders:
        if encoder_group(modality) in grads:  # Frozen encoders have no parameters.
            metrics[f"grad_norm/{modality}"] = optax.tree.norm(grads[encoder_group(modality)])
    return TrainState(state.step + 1, params, batch_stats, opt_state, method_state), metrics


def training_key(seed: int) -> np.ndarray:
    """Returns the data of the PRNG key of a seed, uint32, on the host."""
    return np.asarray(jax.random.key_data(jax.random.key(seed)))


def encode_step(state, inputs, *, model):
    """Returns the features {modality: [B, D]} of `inputs`, with the running batch statistics."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return model.apply(variables, inputs, False, method="encode")


def _update(optimizer, turn, params, opt_state, last):
    """Updates the groups of parameters of a turn; the optimiser state of others is unchanged.

    What the optimiser counts (steps of its schedule) advances with the last turn. Returns
    parameters, the optimiser's state, and what it logs.
    """
    resting = params.keys() - turn.grads.keys()
    zeros = {name: jax.tree.map(jnp.zeros_like, params[name]) for name in resting}
    grads = {**turn.grads, **zeros}
    log = {}
    updates, updated = optimizer.update(grads, opt_state, params, gap=turn.gap, log=log)
    if last and not resting:
        return optax.apply_updates(params, updates), updated, log
    moves = {
        name: jax.tree.map(lambda _, m=name not in resting: m, params[name]) for name in params
    }
    chosen = optax.tree.map_params(
        optimizer, lambda _, move: move, opt_state, moves, transform_non_params=lambda _: last
    )
    updated = jax.tree.map(lambda new, old, move: new if move else old, updated, opt_state, chosen)
    moved = optax.apply_updates(params, updates)
    kept = {name: params[name] if name in resting else moved[name] for name in params}
    return kept, updated, log
