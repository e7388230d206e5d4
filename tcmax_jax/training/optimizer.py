"""The optimiser of a configuration, in optax."""

import optax

from tcmax_jax.step_bound import bound_decrease
from tcmax_jax.training.config import Optimizer


def make_schedule(config: Optimizer, *, epochs: int, steps_per_epoch: int) -> optax.Schedule:
    """Returns the learning rate as a function of the step.

    Args:
      config: the section `optimizer`.
      epochs: epochs of the whole run, where the cosine ends.
      steps_per_epoch: steps in an epoch.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    peak = config.learning_rate
    match config.schedule:
        case "constant":
            main = optax.constant_schedule(peak)
        case "step":
            # Boundaries count from the start of the run, the joined schedule from its warm-up.
            drops = {
                epoch * steps_per_epoch - warmup: config.decay_factor
                for epoch in config.decay_epochs
            }
            main = optax.piecewise_constant_schedule(peak, drops)
        case "cosine":
            main = optax.cosine_decay_schedule(peak, max(1, epochs * steps_per_epoch - warmup))
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def make_optimizer(
    config: Optimizer, schedule: optax.Schedule
) -> optax.GradientTransformationExtraArgs:
    """Returns the update rule.

    The order is torch's: the raw gradient is clipped, then sgd adds weight_decay * parameter to
    it, then momentum m <- momentum m + g and the step -learning_rate m. adamw decays the
    parameters themselves. With `bound_decrease` sgd takes the extra argument `gap`.

    Args:
      config: the section `optimizer`.
      schedule: the learning rate by step.
    """
    norm = config.clip_norm
    clip = optax.identity() if norm is None else optax.clip_by_global_norm(norm)
    match config.name:
        case "sgd":
            bound = optax.identity()
            if config.bound_decrease:
                bound = bound_decrease(schedule, config.momentum)
            rule = optax.chain(
                clip,
                bound,
                optax.add_decayed_weights(config.weight_decay),
                optax.sgd(schedule, momentum=config.momentum),
            )
        case "adamw":
            rule = optax.chain(clip, optax.adamw(schedule, weight_decay=config.weight_decay))
    return optax.with_extra_args_support(rule)
