"""Time to the first step of a recipe, with compiled programs kept and without.

    python experiments/benchmarks/first_step.py [--recipe=crema_d] [--rounds=3]

Takes the first step of training, and encodes a batch as validation does, each in a process of its
own, on made-up examples in the form of the recipe's data: without a folder of compiled programs,
with an empty one, and with what that has kept, for the same seed and for another one. Rounds take
turns. Processes and imports are not counted. Results: experiments/results/benchmark_first_step.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import jax

from tcmax_jax.commands.stand_in import SOME_CLASSES, stand_in
from tcmax_jax.training import passes
from tcmax_jax.training.build import build
from tcmax_jax.training.config.overrides import load_experiment, override
from tcmax_jax.training.environment import describe_environment
from tcmax_jax.training.step import training_key

CASES = {
    "no folder": (None, 0),
    "an empty folder": ("kept", 0),
    "the same run again": ("kept", 0),
    "another seed": ("kept", 1),
}


def measure(recipe: str, batch_size: int, seed: int) -> dict:
    """Returns the seconds of the first step of training, and of the first batch of validation."""
    sizes = {"training.batch_size": batch_size, "training.eval_batch_size": batch_size}
    fields = {name: str(value) for name, value in (sizes | {"seed": seed}).items()}
    config = override(load_experiment(recipe), fields)
    classes = config.data.known_classes or SOME_CLASSES
    setup = build(config, None, None, stand_in(config, classes))
    over = setup.parallel
    batch = over.put(next(passes.training_batches(setup, 0)))
    begin = time.perf_counter()
    state, key = over.replicate((passes.initial_state(setup), training_key(seed)))
    jax.block_until_ready(state)
    initialised = time.perf_counter()
    state, metrics = setup.programs.step(state, batch, key)
    jax.block_until_ready((state, metrics))
    stepped = time.perf_counter()
    jax.block_until_ready(setup.programs.encode(state, batch["inputs"]))
    done = time.perf_counter()
    return {
        "initial state": initialised - begin,
        "first step": stepped - initialised,
        "first validation": done - stepped,
    }


def in_a_process(recipe: str, batch_size: int, folder: str | None, seed: int) -> dict:
    """Returns what a process of its own measures."""
    kept = {
        "JAX_COMPILATION_CACHE_DIR": folder or "",
        "JAX_ENABLE_COMPILATION_CACHE": str(folder is not None).lower(),
    }
    arguments = [f"--recipe={recipe}", f"--batch_size={batch_size}", f"--seed={seed}"]
    result = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=os.environ | kept, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(result.stdout.splitlines()[-1])


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="crema_d")
    parser.add_argument("--batch_size", type=int, default=2, help="the time of a step is no matter")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, help="measures once, in this process")
    asked = parser.parse_args()
    if asked.seed is not None:
        print(json.dumps(measure(asked.recipe, asked.batch_size, asked.seed)))
        return
    found = {name: [] for name in CASES}
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as kept:
            for name, (folder, seed) in CASES.items():
                times = in_a_process(asked.recipe, asked.batch_size, folder and kept, seed)
                found[name].append(times)
    environment = describe_environment(jax.devices())
    print(f"{asked.recipe}: jax {environment['jax']}, {environment['devices']}")
    for name, rounds in found.items():
        middle = {what: statistics.median(x[what] for x in rounds) for what in rounds[0]}
        print(f"{name:<20}" + "".join(f"{what} {x:6.2f} s   " for what, x in middle.items()))


if __name__ == "__main__":
    main()
