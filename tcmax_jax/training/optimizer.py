"""The optimiser of a configuration, in optax, and the bound that keeps TCMax's steps safe."""

import jax.numpy as jnp
import optax

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


def bound_decrease(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.0, share: float = 0.5
) -> optax.GradientTransformationExtraArgs:
    """Scales the gradient down where a step would promise a larger decrease than is likely.

      g <- g min(1, share gap / (learning_rate / (1 - momentum) |g|^2))

    A gradient moves the parameters by learning_rate / (1 - momentum) g in all, which to first order
    lowers the loss by learning_rate / (1 - momentum) |g|^2. With `gap`, the loss less a number that
    no loss of the batch is below (for TCMax -`tcmax_ceiling`), this is Polyak's step size with the
    learning rate as its ceiling, carried over to momentum. Unlike clipping to a norm it makes steps
    shorter as gradients grow, and at low rates it never acts. The objective is not changed.

    Put it before `optax.sgd`; the update then takes `gap`, a scalar in nats, infinite for no bound.

    Args:
      learning_rate: that of the sgd that follows, a number or a schedule.
      momentum: that of the sgd that follows.
      share: part of the gap that a step may promise; see experiments/results/stability.md.

    Source: SPS_max (Loizou et al., AISTATS 2021, arXiv 2002.10542); the gap of TCMax and momentum
    are added here.

    Example:
      >>> rule = optax.chain(bound_decrease(0.1), optax.sgd(0.1))
      >>> params = jnp.array([4.0])  # of the loss 50 x^2, whose least value is 0
      >>> updates, _ = rule.update(100 * params, rule.init(params), gap=50 * params[0] ** 2)
      >>> print(updates)  # half way to 0 is -2; a plain step goes -40
      [-1.]
    """

    def init(params):
        del params
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(grads, state, params=None, *, gap, **extra_args):
        del params, extra_args
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        promised = rate / (1 - momentum) * optax.tree.norm(grads) ** 2
        allowed = share * jnp.maximum(gap, 0)
        scale = jnp.where(promised > allowed, allowed / jnp.maximum(promised, 1e-30), 1.0)
        return optax.tree.scale(scale, grads), state._replace(count=state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)
