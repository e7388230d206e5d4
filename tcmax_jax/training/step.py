"""One training step and one evaluation step: pure functions, mapped over devices elsewhere."""

import jax
import jax.numpy as jnp
import optax
from jax import lax

from tcmax_jax.losses import masked_mean
from tcmax_jax.models import head_of
from tcmax_jax.training.state import TrainState


def train_step(state, batch, *, model, optimizer, method, seed, axis_name=None):
    """Takes one step of gradient descent.

    The loss is that of the global batch; its gradient is averaged over the devices before the
    optimiser sees it, so that clipping acts on the gradient of the global batch.

    Args:
      state: a `TrainState`, the same on every device; donated by `parallel.map_train_step`.
      batch: this device's part of a batch, see `tcmax_jax.data.pipeline`.
      model: a `MultimodalClassifier`.
      optimizer: an optax gradient transformation that takes the extra argument `gap`, the loss less
        the method's floor; `optax.with_extra_args_support` makes one of any.
      method: a `tcmax_jax.methods.Method`.
      seed: seed of the random numbers of training.
      axis_name: name of the mapped axis over devices.

    Returns:
      (the next state, metrics), metrics being {name: float32 scalar}, the same on every device:
      loss (nats), accuracy of the batch, what the method logs, and gradient norms, global and by
      modality's encoder.
    """
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    labels, where = batch["label"], batch["where"]

    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        features, updated = model.apply(
            variables, batch["inputs"], True, method="encode", mutable=["batch_stats"]
        )
        head = head_of(model, params)
        losses, logged = method.loss(
            head, features, labels, key=key, where=where, axis_name=axis_name
        )
        scores = method.predict(head, features)
        correct = jnp.argmax(scores, axis=-1) == labels
        loss = masked_mean(losses, where=where, axis_name=axis_name)
        accuracy = masked_mean(correct, where=where, axis_name=axis_name)
        gap = jnp.inf
        if method.floor is not None:
            sizes = len(features), scores.shape[-1]
            gap = loss - method.floor(labels, *sizes, where=where, axis_name=axis_name)
        metrics = {"loss": loss, "accuracy": accuracy, **logged}
        return loss, (updated.get("batch_stats", {}), metrics, gap)

    grads, (batch_stats, metrics, gap) = jax.grad(loss_fn, has_aux=True)(state.params)
    if axis_name is not None:
        grads = lax.pmean(grads, axis_name)
        batch_stats = lax.pmean(batch_stats, axis_name)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params, gap=gap)
    metrics["grad_norm"] = optax.tree.norm(grads)
    for modality in model.encoders:
        norm = optax.tree.norm(grads[f"encoders_{modality}"])
        metrics[f"grad_norm/{modality}"] = norm
    next_state = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    return next_state, metrics


def encode_step(state, inputs, *, model):
    """Returns the features {modality: [B, D]} of `inputs`, with the running batch statistics."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return model.apply(variables, inputs, False, method="encode")
