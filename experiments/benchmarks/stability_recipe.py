"""How often the bound on steps acts on ResNet-18, and what happens without it.

    python experiments/benchmarks/stability_recipe.py --manifest=PATH/manifest.csv --out=FILE.json

TCMax on the recipe experiments/grid.py, its schedule squeezed into fewer and smaller steps, with
SGD and AdamW, in float32 and bfloat16, with the bound and without. AdamW has no bound of its own,
since it divides gradients by their size; "bounded" puts `bound_decrease` before it. Runs that the
file has already are not made again, nor those without a bound where it never acted: they are the
same. 40 minutes on a core; `--steps=20 --seeds=1` to see it run. `--width=64` has the width of the
paper's encoders, and takes some 12 minutes of a core for each run.

Results: experiments/results/stability.md, with the table that this prints.
"""

import argparse
import dataclasses
import itertools
import json
import math
import sys
from pathlib import Path

import jax
import numpy as np
import optax

from tcmax_jax.step_bound import bound_decrease
from tcmax_jax.training import build, passes
from tcmax_jax.training.config.overrides import load_experiment
from tcmax_jax.training.optimizer import AdamW
from tcmax_jax.training.programs import changed
from tcmax_jax.training.step import training_key

RECIPE = Path(__file__).parents[1] / "grid.py"
BATCH_SIZE = 16
LAST = 20  # steps over which the end is averaged
ADAMW_RATE = 1e-3
CHOICES = {"optimizers": ("sgd", "adamw"), "dtypes": ("float32", "bfloat16")}
_SETTING = ("optimizer", "dtype", "bounded")


def settings(asked) -> list[dict]:
    """Returns what is compared."""
    names = itertools.product(asked.optimizers, asked.dtypes, (True, False))
    return [dict(zip(_SETTING, each, strict=True)) for each in names]


def setup_of(setting: dict, asked) -> build.Setup:
    """Returns the recipe with another optimiser, dtype, width and number of steps."""
    recipe = load_experiment(str(RECIPE))
    modalities = {
        name: dataclasses.replace(
            modality, encoder=dataclasses.replace(modality.encoder, width=asked.width)
        )
        for name, modality in recipe.modalities.items()
    }
    optimizer = dataclasses.replace(recipe.optimizer, bound_decrease=False)
    momentum = optimizer.momentum
    if setting["optimizer"] == "adamw":
        kept = {name: getattr(optimizer, name) for name in ("schedule", "weight_decay")}
        optimizer, momentum = AdamW(learning_rate=ADAMW_RATE, **kept), 0.0
    config = dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, manifest=asked.manifest),
        modalities=modalities,
        model=dataclasses.replace(recipe.model, dtype=setting["dtype"]),
        optimizer=optimizer,
        training=dataclasses.replace(recipe.training, batch_size=BATCH_SIZE),
    )
    epochs = recipe.training.epochs
    rate = optimizer.rate(epochs=epochs, steps_per_epoch=asked.steps // epochs)
    first = bound_decrease(rate, momentum) if setting["bounded"] else optax.identity()
    rule = optax.with_extra_args_support(optax.chain(first, optimizer.make(rate)))
    return changed(build.build(config, asked.data_dir), optimizer=rule, schedule=rate)


def run(setup: build.Setup, step, steps: int) -> dict:
    """Trains once; returns what became of loss, gradient and bound."""
    initial, log = passes.initial_state(setup), []
    state, key = setup.parallel.replicate((initial, training_key(setup.config.seed)))
    for batch in itertools.islice(passes.training_batches(setup, 0), steps):
        state, metrics = step(state, setup.parallel.put(batch), key)
        log.append(setup.parallel.scalars(metrics))
        if not all(map(math.isfinite, log[-1].values())):
            break  # Nothing after it is finite either.
    finite = [x for x in log if all(map(math.isfinite, x.values()))]
    shares = [x["bounded_steps"] for x in finite if "bounded_steps" in x]
    return {
        "loss at the end": float(np.mean([x["loss"] for x in finite[-LAST:]])),
        "largest loss": max(x["loss"] for x in finite),
        "accuracy at the end": float(np.mean([x["accuracy"] for x in finite[-LAST:]])),
        "largest gradient": max(x["grad_norm"] for x in finite),
        "steps that are not finite": steps - len(finite),
        "share bounded": float(np.mean(shares)) if shares else None,
    }


def made(setup: build.Setup, asked) -> list[dict]:
    """Returns a run of each seed, all with the step that is compiled once."""
    step, runs = setup.programs.step, []
    for seed in range(asked.seeds):
        config = dataclasses.replace(setup.config, seed=seed)
        runs.append(run(setup._replace(config=config), step, asked.steps))
        print(runs[-1], file=sys.stderr, flush=True)
    return runs


def table(measured: dict) -> str:
    """Returns the runs as Markdown: means over the seeds, and extremes where it says largest."""
    lines = [
        "| optimiser | dtype | bound | share of steps bounded | loss at the end | accuracy at the "
        "end | largest loss | largest gradient | steps that are not finite |",
        "|---" * 9 + "|",
    ]
    for row in measured["rows"]:
        of = {name: [run[name] for run in row["runs"]] for name in row["runs"][0]}
        bound = "yes" if row["bounded"] else "no"
        share = f"{np.mean(of['share bounded']):.2f}" if row["bounded"] else "-"
        lines.append(
            f"| {row['optimizer']} | {row['dtype']} | {bound} | {share} "
            f"| {np.mean(of['loss at the end']):.2f} | {np.mean(of['accuracy at the end']):.2f} "
            f"| {max(of['largest loss']):.2f} | {max(of['largest gradient']):.3g} "
            f"| {sum(of['steps that are not finite'])} of {measured['steps'] * len(row['runs'])} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Makes all runs, and writes the JSON after each setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", required=True, help="list of the GRID words")
    parser.add_argument("--data_dir", default="data", help="folder of prepared data")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--width", type=int, default=8, help="channels of the first stage")
    for name, values in CHOICES.items():
        parser.add_argument(f"--{name}", nargs="+", choices=values, default=values)
    asked = parser.parse_args()
    about = {
        "width": asked.width,
        "steps": asked.steps,
        "batch": BATCH_SIZE,
        "seeds": asked.seeds,
        "jax": jax.__version__,
    }
    rows = []
    if asked.out.exists():
        before = json.loads(asked.out.read_text())
        rows = before["rows"] if about.items() <= before.items() else []
    done = {tuple(row[name] for name in _SETTING): row["runs"] for row in rows}
    for setting in (each for each in settings(asked) if tuple(each.values()) not in done):
        twin = done.get((setting["optimizer"], setting["dtype"], True), [])
        if not setting["bounded"] and twin and not any(x["share bounded"] for x in twin):
            runs = [x | {"share bounded": None} for x in twin]
        else:
            runs = made(setup_of(setting, asked), asked)
        rows.append(setting | {"runs": runs})
        done[tuple(setting.values())] = runs
        asked.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")
    print(table(about | {"rows": rows}))


if __name__ == "__main__":
    main()
