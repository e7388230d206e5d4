"""Time and temporary memory of the TCMax losses, side by side with the naive form.

    python experiments/benchmarks/loss.py            # all sizes, about 5 minutes on 2 CPU cores
    python experiments/benchmarks/loss.py --quick    # B = 64 only
    python experiments/benchmarks/loss.py --dtype=bfloat16

One compiled function a row: value and gradient with respect to the modalities' logits (additive) or
to features and head (gated, a modality of size D gates the other); the first call is not counted,
and results are waited for. `naive` holds all B x B x C logits at a time: sums of the modalities'
logits, or the gated head on B x B repeated features. `exhaustive` knows nothing of the head,
`multilinear` is told its projections, `sampled` and `adaptive` use them too. Memory is what XLA
allocates beside arguments and results. Ratios are to the naive form of the same head.
Results: experiments/results/benchmark_loss.md.
"""

import argparse
import functools
import importlib.metadata
import itertools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from tcmax_jax.losses import (
    Adaptive,
    AdditiveHead,
    MultilinearHead,
    Projections,
    Sampled,
    additive_tcmax_loss,
    tcmax_loss,
)

NUM_NEGATIVES = 1024
REPEATS = 5
# Above this the naive form would not fit many machines; its row is left out and said so.
NAIVE_LIMIT_BYTES = 8 * 2**30


def project(params, z):
    """Returns what a gated head computes once for an example."""
    gate = jax.nn.sigmoid(z["audio"] @ params["gate"])
    return Projections({"audio": gate, "visual": z["visual"] @ params["value"]}, {}, params["out"])


def gated(params, z):
    """Returns W (sigmoid(V_1 audio) * V_2 visual), logits [N, C]."""
    return MultilinearHead(functools.partial(project, params))(z)


def summed(params, z):
    """Returns the features themselves as the modalities' own logits, {modality: [N, C]}."""
    del params
    return z


def naive(head, params, z, labels):
    """Returns the mean loss from all B x B x C logits, as published code forms them."""
    batch_size = len(labels)
    if head is summed:
        logits = z["audio"][:, None] + z["visual"][None]
    else:
        pairs = {
            "audio": jnp.repeat(z["audio"], batch_size, axis=0),
            "visual": jnp.tile(z["visual"], (batch_size, 1)),
        }
        logits = head(params, pairs).reshape(batch_size, batch_size, -1)
    logits = logits.astype(jnp.float32)
    diagonal = logits[jnp.arange(batch_size), jnp.arange(batch_size), labels]
    return jax.nn.logsumexp(logits) - jnp.log(logits.size) - jnp.mean(diagonal)


def additive(head, params, z, labels):
    """Returns the mean additive loss."""
    return additive_tcmax_loss(head(params, z), labels).mean()


def exhaustive(head, params, z, labels):
    """Returns the mean exhaustive loss."""
    return tcmax_loss(functools.partial(head, params), z, labels).mean()


def declared(head, params):
    """Returns the head as the losses like to be told of it."""
    if head is summed:
        return AdditiveHead(functools.partial(summed, params))
    return MultilinearHead(functools.partial(project, params))


def multilinear(head, params, z, labels):
    """Returns the mean exhaustive loss of the declared head."""
    return tcmax_loss(declared(head, params), z, labels).mean()


def sampled(head, params, z, labels):
    """Returns the mean sampled loss."""
    key = jax.random.key(0)
    negatives = Sampled(NUM_NEGATIVES, key)
    return tcmax_loss(declared(head, params), z, labels, negatives=negatives).mean()


def adaptive(head, params, z, labels):
    """Returns the mean adaptive loss."""
    negatives = Adaptive(jax.random.key(0))
    return tcmax_loss(declared(head, params), z, labels, negatives=negatives).mean()


def measure(loss, head, batch_size, num_classes, size, dtype="float32"):
    """Returns (milliseconds, MiB of temporaries, value) of a loss and its gradient."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    width = num_classes if head is summed else size
    z = {"audio": normal(batch_size, width), "visual": normal(batch_size, width)}
    params = {}
    if head is gated:
        shapes = {"gate": (size, size), "value": (size, size), "out": (size, num_classes)}
        params = {n: normal(*s) / jnp.asarray(size**0.5, dtype) for n, s in shapes.items()}
    labels = jnp.asarray(rng.integers(0, num_classes, batch_size))
    function = jax.value_and_grad(functools.partial(loss, head), argnums=(0, 1))
    compiled = jax.jit(function).lower(params, z, labels).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes / 2**20
    times = []
    # The first call warms up; slow rows are timed once.
    while len(times) <= (REPEATS if sum(times) < 10e3 else 1):
        start = time.perf_counter()
        value, _ = jax.block_until_ready(compiled(params, z, labels))
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:]), memory, float(value)


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="B = 64 only")
    parser.add_argument("--size", type=int, default=512, help="size D of a feature")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    versions = [f"{p} {importlib.metadata.version(p)}" for p in ("jax", "jaxlib")]
    device = jax.devices()[0].device_kind
    print(f"{device}; {', '.join(versions)}; D = {options.size}, {options.dtype}\n")
    print("| head | C | B | loss | ms | ratio | MiB | ratio | value |\n" + "|---" * 9 + "|")
    batch_sizes = (64,) if options.quick else (64, 256, 1024)
    for head, exact in ((summed, [additive]), (gated, [exhaustive, multilinear])):
        for num_classes, batch_size in itertools.product((6, 31, 309), batch_sizes):
            base = None
            for loss in (naive, *exact, sampled, adaptive):
                held = batch_size**2 * (num_classes + (head is gated) * 4 * options.size) * 4
                if loss is naive and held > NAIVE_LIMIT_BYTES:
                    continue
                ms, mib, value = measure(
                    loss, head, batch_size, num_classes, options.size, options.dtype
                )
                base = (ms, mib) if loss is naive else base
                faster, smaller = (
                    f"{base[i] / x:.2f}x" if base else "naive left out"
                    for i, x in enumerate((ms, mib))
                )
                name = f"{loss.__name__}{f' N={NUM_NEGATIVES}' if loss is sampled else ''}"
                print(
                    f"| {head.__name__} | {num_classes} | {batch_size} | {name} | {ms:.2f} "
                    f"| {faster} | {mib:.2f} | {smaller} | {value:.5f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
