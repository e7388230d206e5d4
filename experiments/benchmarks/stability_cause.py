"""Curvature of the losses before and during a collapse, for experiments/benchmarks/stability.py."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from stability_train import MODALITIES, MOMENTUM, Data, Setting, Trainer

from tcmax_jax import methods

_POWER_STEPS = 30
_MILESTONES = (1, 2, 5, 10, 15)  # epochs after which the curvature is measured
_OFFSETS = (-40, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 40)  # steps around the first spike


def curvature(loss, params, seed):
    """Returns (v H v, v) of the eigenvector of largest magnitude, by power iteration."""
    gradient = jax.grad(loss)

    def multiply(v):
        return jax.jvp(gradient, (params,), (v,))[1]

    def iterate(v, _):
        v = multiply(v)
        return optax.tree.scale(1 / optax.tree.norm(v), v), None

    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noise = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    start = jax.tree.unflatten(treedef, noise)
    start = optax.tree.scale(1 / optax.tree.norm(start), start)
    v, _ = jax.lax.scan(iterate, start, None, _POWER_STEPS)
    return optax.tree.vdot(v, multiply(v)), v


def split_variance(trainer, params, rows, direction):
    """Splits the Gauss-Newton part of the log-partition's curvature along a direction.

    Along v the log of the partition has the second derivative Var_w(dF) + E_w(d2F), with dF the
    derivative of F along v and w = softmax F over all (tuple, class) terms t.

    Returns:
      {name: scalar}: within = E Var(dF | tuple), over classes, all there is in cross-entropy (for
      the true tuples only: `true`); between = Var E(dF | tuple); row = share of the largest row of
      a modality in that variance; weight = share of such a row in w.
    """

    def logits(p):
        return trainer.modality_logits(p, rows)[0]

    parts, slopes = jax.jvp(logits, (params,), (direction,))
    (f, g), (df, dg) = ([x[m] for m in MODALITIES] for x in (parts, slopes))
    scores, slope = f[:, None] + g[None], df[:, None] + dg[None]  # [B, B, C]
    weights = jax.nn.softmax(scores.ravel()).reshape(scores.shape)
    by_tuple, given = weights.sum(-1), jax.nn.softmax(scores, axis=-1)
    mean = jnp.sum(given * slope, -1)
    variance = jnp.sum(given * slope**2, -1) - mean**2
    centre = jnp.sum(weights * slope)
    spread = jnp.sum(weights * (slope - centre) ** 2, -1)
    true = jnp.diagonal(variance).mean()

    def largest(x):
        return jnp.maximum(x.sum(0).max(), x.sum(1).max()) / x.sum()

    return {
        "within": jnp.sum(by_tuple * variance),
        "between": jnp.sum(by_tuple * (mean - centre) ** 2),
        "true": true,
        "row": largest(spread),
        "weight": largest(by_tuple),
        "ess": 1 / jnp.sum(weights**2),
    }


def _dead(trainer, params, rows):
    """Returns the share of each modality's units that are 0 for all rows."""
    features = trainer.modality_logits(params, rows)[1]
    return {f"dead/{m}": jnp.mean(jnp.all(z == 0, axis=0)) for m, z in features.items()}


def _measure(trainer, params, rows):
    def tcmax(p):
        return trainer.loss(p, rows, methods.TCMax().make())[0]

    def joint(p):
        return trainer.loss(p, rows, methods.Joint().make())[0]

    of_tcmax, direction = curvature(tcmax, params, 0)
    of_joint, _ = curvature(joint, params, 0)
    features = trainer.modality_logits(params, rows)[1]
    return {
        "tcmax": of_tcmax,
        "joint": of_joint,
        "grad/tcmax": optax.tree.norm(jax.grad(tcmax)(params)),
        "grad/joint": optax.tree.norm(jax.grad(joint)(params)),
        "head": optax.tree.norm(params["head"]),
        "feature": jnp.mean(jnp.linalg.norm(jnp.concatenate(list(features.values()), 1), axis=1)),
        **split_variance(trainer, params, rows, direction),
    }


def _epoch(trainer, learning_rate, seed):
    optimizer = trainer.optimizer(learning_rate)

    def epoch(state, number):
        rows = trainer.order(seed, number)
        return jax.lax.scan(lambda s, r: trainer.step(optimizer, s, r), state, rows)

    return jax.jit(epoch), (trainer.init(seed), optimizer.init(trainer.init(seed)))


def along_training(data: Data, setting: Setting, learning_rate, epochs, seed=0):
    """Prints curvature and its parts after some epochs of a run, mean of four batches."""
    trainer = Trainer(data, setting)
    epoch, state = _epoch(trainer, learning_rate, seed)
    measure = jax.jit(lambda params, rows: _measure(trainer, params, rows))
    print(
        "| epoch | curvature TCMax | joint, same parameters | variance between tuples | within "
        "| of true tuples | largest row's share | largest row's weight | ESS | gradient TCMax "
        "| gradient joint | head | feature |\n" + "|---" * 13 + "|"
    )
    for number in range(epochs):
        state, _ = epoch(state, number)
        if number + 1 not in _MILESTONES:
            continue
        batches = [measure(state[0], rows) for rows in trainer.order(seed + 1, number)[:4]]
        x = {k: np.mean([float(b[k]) for b in batches]) for k in batches[0]}
        print(
            f"| {number + 1} | {x['tcmax']:.0f} | {x['joint']:.1f} | {x['between']:.1f} "
            f"| {x['within']:.1f} | {x['true']:.1f} | {x['row']:.2f} | {x['weight']:.2f} "
            f"| {x['ess']:.0f} | {x['grad/tcmax']:.2f} | {x['grad/joint']:.2f} | {x['head']:.1f} "
            f"| {x['feature']:.1f} |",
            flush=True,
        )


def around_spike(data: Data, setting: Setting, learning_rate, seed=0):
    """Prints single steps around the first gradient ten times its median so far."""
    trainer = Trainer(data, setting)
    epoch, state = _epoch(trainer, learning_rate, seed)
    norms, states = np.zeros(0), []
    spike = None
    for number in range(setting.epochs):
        states.append(state)
        state, log = epoch(state, number)
        norms = np.append(norms, log["grad_norm"])
        spikes = [
            i
            for i in range(max(40, number * trainer.steps_per_epoch), len(norms))
            if not norms[i] < 10 * np.median(norms[:i])
        ]
        if spikes:
            spike = spikes[0]
            break
    if spike is None:
        print("No gradient ten times the median.")
        return
    steps = trainer.steps_per_epoch
    first = max(0, (spike + _OFFSETS[0]) // steps)
    rows = np.concatenate([trainer.order(seed, first + i) for i in range(3)])
    optimizer = trainer.optimizer(learning_rate)
    step = jax.jit(lambda s, r: trainer.step(optimizer, s, r))
    measure = jax.jit(lambda params, rows: _measure(trainer, params, rows))
    dead = jax.jit(lambda params: _dead(trainer, params, jnp.arange(512)))
    print(
        f"Learning rate {learning_rate}: the spike is at step {spike} (epoch {spike / steps:.1f}). "
        f"Stable up to 2 (1 + momentum) / rate = {2 * (1 + MOMENTUM) / learning_rate:.0f}.\n\n"
        "| step | loss | gradient | curvature TCMax | joint | ESS | largest row's weight "
        "| dead sound | dead mouth |\n" + "|---" * 9 + "|"
    )
    state = states[first]
    for i, r in enumerate(rows[: spike + _OFFSETS[-1] + 1 - first * steps]):
        offset = first * steps + i - spike
        before = state[0]
        state, log = step(state, r)
        if offset in _OFFSETS:
            x, gone = measure(before, r), dead(before)
            print(
                f"| {offset:+d} | {log['loss']:.2f} | {log['grad_norm']:.1f} | {x['tcmax']:.0f} "
                f"| {x['joint']:.1f} | {x['ess']:.0f} | {x['weight']:.2f} "
                f"| {gone['dead/audio']:.2f} | {gone['dead/visual']:.2f} |",
                flush=True,
            )
