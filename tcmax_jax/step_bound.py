"""The step bound that keeps TCMax stable, as an optax transformation."""

import jax.numpy as jnp
import optax


def bound_decrease(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.0, share: float = 0.5
) -> optax.GradientTransformationExtraArgs:
    """Scales the gradient down where a step would promise a larger decrease than is likely.

      g <- g min(1, share gap / (learning_rate / (1 - momentum) |g|^2))

    A gradient moves the parameters by learning_rate / (1 - momentum) g in all, which to first order
    lowers the loss by learning_rate / (1 - momentum) |g|^2. With `gap`, the loss less a number that
    it cannot fall below, this is Polyak's step size with the learning rate as its ceiling, carried
    over to momentum. For TCMax that number is -`tcmax_ceiling`, with sampled tuples
    -`sampled_tcmax_ceiling`. Unlike clipping to a norm it makes steps shorter as gradients grow,
    and at low rates it never acts. The objective is not changed.

    Put it before `optax.sgd`; the update then takes `gap`, a scalar in nats, infinite for no bound,
    and `log`, a dictionary that gets "bounded_steps": 1.0 where the gradient was scaled, else 0.0.

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

    def update(grads, state, params=None, *, gap, log=None, **extra_args):
        del params, extra_args
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        promised = rate / (1 - momentum) * optax.tree.norm(grads) ** 2
        allowed = share * jnp.maximum(gap, 0)
        bounded = promised > allowed
        scale = jnp.where(bounded, allowed / jnp.maximum(promised, 1e-30), 1.0)
        # Not in the state, where checkpoints would have to hold it.
        if log is not None:
            log["bounded_steps"] = jnp.float32(bounded)
        return optax.tree.scale(scale, grads), state._replace(count=state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)
