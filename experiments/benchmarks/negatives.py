"""How many negatives? Errors of sampled losses against the exact one, as training goes on.

    python experiments/benchmarks/negatives.py       # half a minute on 2 CPU cores

A gated classifier of two noisy views of ten classes is trained by the exact loss (B = 128, Adam).
After some steps the log-partition and its gradient are estimated on one batch from N tuples, drawn
independently or stratified, and by the adaptive rule at its default target of 0.05 nats, 200 times
each. Printed are the root mean square error of the log-partition in nats, that of the gradient
relative to its norm, and the tuples that the adaptive rule took, of B^2 = 16384.
Results: experiments/results/benchmark_negatives.md.
"""

import functools
import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tcmax_jax.losses import (
    Adaptive,
    MultilinearHead,
    Projections,
    Sampled,
    tcmax_loss,
    tcmax_terms,
)

BATCH, CLASSES, SIZE, DRAWS = 128, 10, 32, 200
STAGES = (0, 30, 100, 300, 1000)
NUMBERS = (128, 512, 1024, 4096)


def make_batch(key, centres):
    """Returns two noisy views {modality: [B, SIZE]} of the classes, and the labels."""
    label_key, *noise_keys = jax.random.split(key, 3)
    labels = jax.random.randint(label_key, (BATCH,), 0, CLASSES)
    views = {
        m: centres[i][labels] + jax.random.normal(k, (BATCH, SIZE))
        for i, (m, k) in enumerate(zip(("audio", "visual"), noise_keys, strict=True))
    }
    return views, labels


def head_of(params):
    """Returns the gated head W (sigmoid(V_1 a) * V_2 v)."""

    def project(z):
        gate = jax.nn.sigmoid(z["audio"] @ params["gate"])
        factors = {"audio": gate, "visual": z["visual"] @ params["value"]}
        return Projections(factors, {}, params["out"])

    return MultilinearHead(project)


def exact(params, features, labels):
    """Returns the mean exact loss."""
    return tcmax_loss(head_of(params), features, labels).mean()


def errors(estimate, params, features, labels):
    """Returns (error of the value in nats, relative error of the gradient) over DRAWS draws."""
    value, gradient = jax.value_and_grad(exact)(params, features, labels)
    keys = jax.random.split(jax.random.key(7), DRAWS)
    differentiate = jax.value_and_grad(estimate)
    values, gradients = jax.jit(
        lambda keys: jax.lax.map(lambda key: differentiate(params, features, labels, key), keys)
    )(keys)
    off = jax.tree.map(lambda g, e: g - e[None], gradients, gradient)
    squares = sum(np.sum(np.square(x)) for x in jax.tree.leaves(off)) / DRAWS
    norm = float(optax.tree.norm(gradient))
    return np.sqrt(np.mean((np.asarray(values) - float(value)) ** 2)), np.sqrt(squares) / norm


def drawn(params, features, labels, key, number, stratified):
    """Returns the mean loss from a number of tuples."""
    head = head_of(params)
    losses = tcmax_loss(head, features, labels, negatives=Sampled(number, key, stratified))
    return losses.mean()


def adaptive(params, features, labels, key):
    """Returns the mean loss by the adaptive rule."""
    return tcmax_loss(head_of(params), features, labels, negatives=Adaptive(key)).mean()


def main():
    """Trains, and prints a row for each stage and number."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    centres = normal(2, CLASSES, SIZE)
    shapes = {"gate": (SIZE, SIZE), "value": (SIZE, SIZE)}
    params = {name: normal(*shape) / SIZE**0.5 for name, shape in shapes.items()}
    params["out"] = jnp.zeros((SIZE, CLASSES))
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, key):
        features, labels = make_batch(key, centres)
        updates, state = optimizer.update(jax.grad(exact)(params, features, labels), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    version = importlib.metadata.version("jax")
    print(f"{jax.devices()[0].device_kind}; jax {version}; B = {BATCH}, C = {CLASSES}\n")
    print("| step | bound (nats) | ESS share | tuples | error of value, gradient: independent "
          "| stratified |\n" + "|---" * 6 + "|")  # fmt: skip
    for number in range(max(STAGES) + 1):
        if number in STAGES:
            batch = make_batch(jax.random.key(10**6), centres)
            terms = tcmax_terms(head_of(params), *batch)
            share = float(terms.effective_sample_size) / (BATCH**2 * CLASSES)
            start = f"| {number} | {-float(terms.loss.mean()):.3f} | {share:.3f} "
            for count in NUMBERS:
                cells = [
                    "{:.4f}, {:.3f}".format(
                        *errors(
                            functools.partial(drawn, number=count, stratified=stratified),
                            params,
                            *batch,
                        )
                    )
                    for stratified in (False, True)
                ]
                print(start + f"| {count} | {' | '.join(cells)} |")
            keys = jax.random.split(jax.random.key(8), DRAWS)
            tuples = jax.vmap(
                lambda key, p=params, b=batch: (
                    tcmax_terms(head_of(p), *b, negatives=Adaptive(key)).tuples
                )
            )(keys)
            cell = "{:.4f}, {:.3f}".format(*errors(adaptive, params, *batch))
            print(start + f"| adaptive, {float(tuples.mean()):.0f} on average | | {cell} |")
        params, state = step(params, state, jax.random.key(number))


if __name__ == "__main__":
    main()
