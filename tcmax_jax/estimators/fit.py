"""Fits an estimator on samples and reports its value on held-out examples."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tcmax_jax.estimators.estimator import Estimator, State
from tcmax_jax.estimators.samples import Samples, prepare, standardise


class Estimate(NamedTuple):
    """An estimate on held-out examples.

    Attributes:
      value: nats.
      standard_error: nats; what it covers is said in `evaluate`.
      influence: [n] of each example on the value, nats; its sum of squares over n^2 is the squared
        standard error, and that of a sum of estimates on the same examples comes from their sum.
      ceiling: what the value cannot exceed, nats, or None.
    """

    value: float
    standard_error: float
    influence: np.ndarray
    ceiling: float | None


class Running(NamedTuple):
    """A running estimate: after `step` steps, on the validation examples."""

    step: int
    value: float
    standard_error: float


class Fitted(NamedTuple):
    """The result of `fit`.

    Attributes:
      estimate: on the test examples, with the parameters of `best_step`.
      best_step: the step with the least validation loss.
      running: estimates on the validation examples. These have a say in the choice of the step, so
        they are slightly optimistic; `estimate` is not.
      params: the parameters of `best_step`.
    """

    estimate: Estimate
    best_step: int
    running: list[Running]
    params: Any


class Split(NamedTuple):
    """Standardised samples: to fit on, to choose the step on, to report on."""

    train: dict[str, jax.Array]
    validation: dict[str, jax.Array]
    test: dict[str, jax.Array]


class _Progress(NamedTuple):
    state: State
    optimizer_state: Any


def update(estimator, optimizer, progress, batch, key):
    """Makes one step of gradient descent on the estimator's loss.

    Args:
      estimator: an `Estimator`.
      optimizer: an `optax.GradientTransformation`.
      progress: (state, optimizer state), as `start` returns.
      batch: {variable: [B, D_m]}.
      key: a PRNG key.
    """

    def loss(params):
        return estimator.loss(progress.state._replace(params=params), batch, key)

    gradient, memory = jax.grad(loss, has_aux=True)(progress.state.params)
    updates, optimizer_state = optimizer.update(gradient, progress.optimizer_state)
    params = optax.apply_updates(progress.state.params, updates)
    return _Progress(State(params, memory), optimizer_state)


def start(estimator, optimizer, key, batch):
    """Returns the initial `progress` of `update`: the states of the estimator and the optimiser."""
    state = estimator.init(key, batch)
    return _Progress(state, optimizer.init(state.params))


def evaluate(estimator: Estimator, params, samples, key, *, block_size=512) -> Estimate:
    """Returns the estimate of fitted parameters on given examples, with its standard error.

    The examples are cut into blocks of equal size (up to k - 1 of n examples are left out for k
    blocks); the value is the mean over the blocks. With V_b(w) the value of block b under weights w
    of its examples, the influence of example i is the derivative of V_b in w_i, times the size of
    the block, and

      standard error = (1/n) sqrt(sum_i influence_i^2)

    the infinitesimal jackknife, to which the delta method leads for functions of means. It covers
    which examples were held out (and, roughly, which tuples were drawn), for the given critic. It
    does not cover how far the critic is from the best one, that is the gap of the bound, nor the
    bias of the log of a mean on a finite block, nor the examples and the seed of the fit.

    Args:
      estimator: an `Estimator`.
      params: its parameters.
      samples: {variable: [n, D_m]}, as the estimator was trained on.
      key: a PRNG key, for the shuffled tuples.
      block_size: most examples in a block.
    """
    return _evaluate(estimator, State(params), samples, key, block_size, with_loss=False)[0]


def error_of(influence) -> float:
    """Returns the standard error of a value from the influences [n] of the examples, in nats."""
    return float(np.sqrt(np.sum(influence**2)) / len(influence))


def split(samples: Samples, *, held_out=0.4, seed=0) -> Split:
    """Shuffles the examples and splits them; half of those held out validate, half test.

    Args:
      samples: of `prepare`.
      held_out: share of the examples that no step is fitted on.
      seed: of the order.
    """
    n = len(next(iter(samples.arrays.values())))
    order = np.random.default_rng(seed).permutation(n)
    train, held = n - round(held_out * n), round(held_out * n)
    parts = np.split(order, [train, train + held // 2])
    scaled = standardise(samples, parts[0])
    return Split(*({m: jnp.asarray(x[rows]) for m, x in scaled.items()} for rows in parts))


def fit(
    samples,
    estimator: Estimator,
    *,
    steps=2000,
    batch_size=128,
    learning_rate=1e-3,
    held_out=0.4,
    eval_every=100,
    block_size=512,
    seed=0,
    progress: Callable[[str, int, int, Estimate], None] | None = None,
) -> Fitted:
    """Fits an estimator with Adam and evaluates it on held-out examples.

    A critic of many parameters soon fits its examples by heart; so the parameters are those of the
    step with the least loss on one half of the held-out examples, and the estimate is made on the
    other half.

    Args:
      samples: {variable: [N, ...] numbers, or [N] integer labels}, a `Samples` or a `Split`.
      estimator: an `Estimator` of (some of) these variables.
      steps: number of updates, rounded up to a multiple of `eval_every`.
      batch_size: examples in an update; all there are, if fewer.
      learning_rate: of Adam.
      held_out: share of the examples that is not fitted on.
      eval_every: steps from one running estimate to the next.
      block_size: see `evaluate`.
      seed: of the split, the parameters and the batches.
      progress: called at each running estimate with the estimator's name, the step, the number of
        steps and the `Estimate`; None for nobody to tell.

    Raises:
      ValueError: samples that cannot be estimated from (see `prepare`), or too few.

    Example:
      >>> import jax, numpy as np
      >>> from tcmax_jax.estimators import direct, ground_truth
      >>> bits = ground_truth.xor_bits().sample(jax.random.key(0), 1000)
      >>> fitted = fit(bits, direct(("a", "v", "y")), steps=100, learning_rate=0.01)
      >>> print(f"{fitted.estimate.value:.1f} nats; log 2 = {np.log(2):.1f}")
      0.7 nats; log 2 = 0.7
    """
    if not isinstance(samples, Split):
        samples = samples if isinstance(samples, Samples) else prepare(samples)
        samples = split(samples, held_out=held_out, seed=seed)
    train, validation, test = samples
    rows = [len(next(iter(part.values()))) for part in samples]
    if min(rows) < 2:
        raise ValueError(
            f"Expected two examples or more to fit, validate and test on, got {rows} of them. "
            f"Add examples, or change held_out={held_out}."
        )
    batch_size, eval_every = min(batch_size, rows[0]), min(eval_every, steps)
    init_key, run_key, eval_key = jax.random.split(jax.random.key(seed), 3)
    fitting = _start(estimator, learning_rate, init_key, train)
    evaluate_on = functools.partial(_evaluate, estimator, key=eval_key, block_size=block_size)

    best, running = None, []
    for step in itertools.count(0, eval_every):
        if step > 0:
            key = jax.random.fold_in(run_key, step)
            fitting = _run(estimator, fitting, train, key, learning_rate, eval_every, batch_size)
        now, loss = evaluate_on(fitting.state, validation)
        running.append(Running(step, now.value, now.standard_error))
        if best is None or loss < best[0]:
            best = loss, step, fitting.state
        if progress is not None:
            progress(estimator.name, step, steps, now)
        if step >= steps:
            break
    _, best_step, state = best
    return Fitted(evaluate_on(state, test)[0], best_step, running, state.params)


def _evaluate(estimator, state, samples, key, block_size, with_loss=True):
    """Returns (what `evaluate` does, the mean loss); a loss needs the memory of the state."""
    n = len(next(iter(samples.values())))
    num_blocks = -(-n // block_size)
    size = n // num_blocks
    blocks = {m: x[: num_blocks * size].reshape(num_blocks, size, -1) for m, x in samples.items()}
    values, influence, losses = _evaluate_blocks(estimator, state, blocks, key, with_loss)
    influence = np.asarray(influence, np.float64).reshape(-1)
    estimate = Estimate(
        value=float(np.mean(np.asarray(values, np.float64))),
        standard_error=error_of(influence),
        influence=influence,
        ceiling=estimator.ceiling(size),
    )
    return estimate, float(np.mean(losses))


@functools.partial(jax.jit, static_argnames=("estimator", "with_loss"))
def _evaluate_blocks(estimator, state, blocks, key, with_loss):
    """Returns values [blocks], influences [blocks, size], losses [blocks]."""
    num_blocks, size = next(iter(blocks.values())).shape[:2]

    def one(inputs):
        block, block_key = inputs
        value = functools.partial(estimator.value, state.params, block, block_key)
        loss = estimator.loss(state, block, block_key)[0] if with_loss else jnp.nan
        return *jax.value_and_grad(value)(jnp.ones(size)), loss

    values, gradients, losses = jax.lax.map(one, (blocks, jax.random.split(key, num_blocks)))
    return values, gradients * size, losses


@functools.partial(jax.jit, static_argnames="estimator")
def _start(estimator, learning_rate, key, samples):
    return start(estimator, optax.adam(learning_rate), key, jax.tree.map(lambda x: x[:2], samples))


@functools.partial(jax.jit, static_argnames=("estimator", "steps", "batch_size"))
def _run(estimator, progress, samples, key, learning_rate, steps, batch_size):
    n = len(next(iter(samples.values())))

    def step(progress, key):
        rows_key, loss_key = jax.random.split(key)
        rows = jax.random.choice(rows_key, n, (batch_size,), replace=False)
        batch = jax.tree.map(lambda x: x[rows], samples)
        return update(estimator, optax.adam(learning_rate), progress, batch, loss_key), None

    return jax.lax.scan(step, progress, jax.random.split(key, steps))[0]
