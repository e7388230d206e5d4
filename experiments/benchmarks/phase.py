"""Where TCMax helps: fused accuracy by redundancy, synergy and difficulty.

    python experiments/benchmarks/phase.py --out=phase.json           # an hour on two cores
    python experiments/benchmarks/phase.py --out=phase.json --quick   # two minutes, to see it run

On the built-in set in four classes, whose examples tell the label by both modalities, by one alone
or by both together alone (`tcmax_jax.data.sources.shares`). What is neither redundant nor
synergistic is unique, half to each modality. Two-layer MLP encoders, SGD with momentum, a cosine
rate and the recipes' bound on steps; all seeds are trained at once, and the last epoch counts. The
best accuracy is that of the most probable label given the two variables, without noise. Cells that
the file has already are not measured again.

Results: experiments/results/phase.md, which phase_page.py writes of the JSON.
"""

import argparse
import dataclasses
import datetime
import functools
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tcmax_jax import methods
from tcmax_jax.data.sources.synthetic import SyntheticData
from tcmax_jax.models import MLP, HeadOptions, MultimodalClassifier, head_of
from tcmax_jax.training.optimizer import SGD, Cosine
from tcmax_jax.training.state import init_state
from tcmax_jax.training.step import encode_step, train_step, training_key

MODALITIES = ("audio", "visual")
SOURCE = SyntheticData(
    num_classes=4,
    train_examples=4000,
    test_examples=4000,
    audio_shape=(16, 16),
    visual_shape=(1, 12, 12),
)
# Strength of the patterns in the sound and in the pictures; that of the noise is 1.
DIFFICULTIES = {"easy": (0.35, 1.0), "hard": (0.35, 0.5), "both hard": (0.15, 0.35)}
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
BATCH_SIZE, SIZES = 64, (64, 32)
KEY = training_key(0)  # no loss here draws
# Name: (method, head). The ensemble is of classifiers trained apart.
RUNS = {
    "joint, additive": (methods.Joint(), "concat"),
    "ensemble": (methods.Unimodal(), "concat"),
    "TCMax, additive": (methods.TCMax(), "concat"),
    "joint, bilinear": (methods.Joint(), "bigated"),
    "TCMax, bilinear": (methods.TCMax(), "bigated"),
}


def cells() -> list[dict]:
    """Returns the shares of each cell of the map, and its difficulty."""
    return [
        {"redundancy": r, "synergy": s, "visual": difficulty}
        for difficulty in DIFFICULTIES
        for r in SHARES
        for s in SHARES
        if r + s <= 1
    ]


def source_of(cell: dict, seed: int, **sizes) -> SyntheticData:
    """Returns the data set of a cell."""
    unique = (1 - cell["redundancy"] - cell["synergy"]) / 2
    return dataclasses.replace(
        SOURCE,
        unique_audio=unique,
        unique_visual=unique,
        synergy=cell["synergy"],
        audio_signal=DIFFICULTIES[cell["visual"]][0],
        visual_signal=DIFFICULTIES[cell["visual"]][1],
        seed=seed,
        **sizes,
    )


def arrays_of(source: SyntheticData) -> dict:
    """Returns standardised training and test data of a set, as arrays."""
    train, test = source.arrays("train"), source.arrays("test")
    data = {}
    for name, split in (("train", train), ("test", test)):
        inputs = {}
        for m in MODALITIES:
            flat, seen = (np.float32(x[m]).reshape(len(x[m]), -1) for x in (split, train))
            inputs[m] = (flat - seen.mean(axis=0)) / (seen.std(axis=0) + 1e-3)
        data[name] = {"inputs": inputs, "label": split["label"]}
    return data


@functools.partial(jax.jit, static_argnames=("method", "head", "epochs"))
def accuracies(data, seeds, *, method, head, epochs):
    """Trains a run of each seed at once, each on its own data; returns the test accuracies."""
    encoders = {m: MLP(SIZES) for m in MODALITIES}
    model = MultimodalClassifier(
        encoders, HeadOptions.of_kind(head).make(MODALITIES, SOURCE.num_classes)
    )
    made = method.make(MODALITIES)
    number = data["train"]["label"].shape[1]
    per_epoch = number // BATCH_SIZE
    options = SGD(learning_rate=0.05, schedule=Cosine(warmup_epochs=1.0))
    optimizer = options.make(options.rate(epochs=epochs, steps_per_epoch=per_epoch))
    step = functools.partial(
        train_step, model=model, optimizer=optimizer, method=made, steps_per_epoch=per_epoch
    )

    def one(data, seed):
        train, test = data["train"], data["test"]
        key = jax.random.key(seed)
        first = {m: x[:1] for m, x in train["inputs"].items()}
        state = init_state(model, optimizer, made, number, first, key)

        def update(state, rows):
            batch = jax.tree.map(lambda x: x[rows], train)
            batch |= {"where": jnp.ones(len(rows), bool), "index": rows}
            return step(state, batch, KEY)[0], None

        def epoch(state, at):
            rows = jax.random.permutation(jax.random.fold_in(key, at), number)
            rows = rows[: per_epoch * BATCH_SIZE].reshape(per_epoch, BATCH_SIZE)
            return jax.lax.scan(update, state, rows)[0], None

        state, _ = jax.lax.scan(epoch, state, jnp.arange(epochs))
        features = encode_step(state, test["inputs"], model=model)
        scores = made.predict(head_of(model, state.params), features)
        return jnp.mean(scores.argmax(axis=1) == test["label"])

    return jax.vmap(one)(data, seeds)


def main() -> None:
    """Measures all cells, and writes the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="two cells, two seeds, few examples")
    asked = parser.parse_args()
    seeds, epochs, sizes = range(asked.seeds), asked.epochs, {}
    todo = cells()
    if asked.quick:
        seeds, epochs, todo = range(2), 4, [todo[0], todo[-1]]
        sizes = {"train_examples": 640, "test_examples": 640}
    number = sizes.get("train_examples", SOURCE.train_examples)
    about = {"examples": number, "epochs": epochs, "seeds": len(seeds)}
    rows = []
    if asked.out.exists():
        before = json.loads(asked.out.read_text())
        rows = before.pop("cells") if about.items() <= before.items() else []
    done = [{name: row[name] for name in ("redundancy", "synergy", "visual")} for row in rows]
    for cell in (cell for cell in todo if cell not in done):
        made = [arrays_of(source_of(cell, seed, **sizes)) for seed in seeds]
        data = jax.tree.map(lambda *x: jnp.stack(x), *made)
        told = source_of(cell, 0).shares.information(SOURCE.num_classes)
        rows.append({**cell, "information": told, "accuracy": {}})
        for name, (method, head) in RUNS.items():
            begun = time.monotonic()
            got = accuracies(data, jnp.array(seeds), method=method, head=head, epochs=epochs)
            rows[-1]["accuracy"][name] = [round(float(x), 4) for x in got]
            print(cell, name, rows[-1]["accuracy"][name], f"{time.monotonic() - begun:.0f} s")
        where = {"date": datetime.date.today().isoformat(), "jax": jax.__version__}
        asked.out.write_text(json.dumps(about | where | {"cells": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
