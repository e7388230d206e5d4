"""Time of a training step through pmap, through shard_map, and in parts, on a small model.

    python experiments/benchmarks/parallel.py                     # the devices that there are
    XLA_FLAGS=--xla_force_host_platform_device_count=4 NPROC=16 \
        python experiments/benchmarks/parallel.py                 # four fake ones

The step is that of training (TCMax, two MLP encoders of 60 arrays, SGD, metrics), the batch already
on the devices and the state donated; what is timed is mostly what a step costs apart from its
arithmetic. `parts` is `training.accumulate`. Rounds take turns, results are waited for after each
step, and the first rounds are not counted. Results: experiments/results/benchmark_parallel.md.
"""

import argparse
import functools
import statistics
import time

import jax
import numpy as np

from tcmax_jax import methods
from tcmax_jax.models import MLP, MultimodalClassifier
from tcmax_jax.models.fusion import ConcatHead
from tcmax_jax.training.environment import describe_environment
from tcmax_jax.training.optimizer import SGD
from tcmax_jax.training.parallel import KINDS
from tcmax_jax.training.state import init_state
from tcmax_jax.training.step import train_step, training_key

CLASSES = 10
LAYERS = (64,) * 14
ROUND = 50  # steps


def make_batch(size, rng):
    """Returns a batch of two vectors."""
    return {
        "inputs": {m: rng.normal(size=(size, 64)).astype(np.float32) for m in ("audio", "visual")},
        "label": rng.integers(0, CLASSES, size).astype(np.int32),
        "where": np.ones(size, bool),
        "index": np.arange(size, dtype=np.int32),
    }


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    batch = make_batch(options.batch_size, np.random.default_rng(0))
    encoders = {m: MLP(sizes=LAYERS) for m in batch["inputs"]}
    model = MultimodalClassifier(encoders, ConcatHead(tuple(encoders), CLASSES))
    config, method = SGD(), methods.TCMax().make()
    optimizer = config.make(config.rate(epochs=1, steps_per_epoch=1))
    state = jax.device_get(
        init_state(model, optimizer, method, 64, batch["inputs"], jax.random.key(0))
    )
    step = functools.partial(train_step, model=model, optimizer=optimizer, method=method)
    rows = {}
    for kind, make in KINDS.items():
        for parts in (1, 4):
            over = make()
            whole = functools.partial(step, accumulate=parts)
            rows[f"{kind}, {parts} part{'s' * (parts > 1)}"] = {
                "step": over.train_step(whole),
                "state": over.replicate(state),
                "batch": over.put(batch),
                "key": over.replicate(training_key(0)),
                "times": [],
            }
    for number in range(options.rounds + 2):
        for row in rows.values():
            begin = time.perf_counter()
            for _ in range(ROUND):
                row["state"], _ = row["step"](row["state"], row["batch"], row["key"])
                # More steps in flight than this can dead-lock fake devices.
                jax.block_until_ready(row["state"].step)
            if number >= 2:
                row["times"].append((time.perf_counter() - begin) / ROUND)
    arrays = len(jax.tree.leaves(state.params))
    environment = describe_environment(jax.devices())
    print(f"jax {environment['jax']}, {environment['devices']}; {arrays} arrays of parameters")
    base = None
    for title, row in rows.items():
        middle = statistics.median(row["times"]) * 1e6
        base = base or middle
        print(f"{title:<22}{middle:>9.0f} us a step{middle / base:>8.2f}")


if __name__ == "__main__":
    main()
