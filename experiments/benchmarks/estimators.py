"""Estimators of total correlation on Gaussians of known TC, beside the published figures.

    python experiments/benchmarks/estimators.py            # all tables, about an hour on 2 cores
    python experiments/benchmarks/estimators.py --quick    # first table, TC = 2 and 4, 500 steps
    python experiments/benchmarks/estimators.py --cubic    # x -> x^3 of every coordinate
    python experiments/benchmarks/estimators.py --labels   # distributions with labels alone, 1 min

The protocol of the published notebooks of CLUB (arXiv 2006.12013) and TC estimation (Bai et al.
2023): 4 variables of 20 dimensions, TC = 2, 4, .. 10 nats one after the other with the same
parameters, 4000 steps a level on fresh batches of 64, Adam at 1e-3 (CLUB: 5e-3), one hidden layer
of 15 units. Each batch is evaluated before it is trained on; over the last 500 steps of a level a
cell gives the mean, and in brackets variance and mean squared error of single batches. Designs:
`pairs`, two independent pairs each with TC / 2, the published one; `equicorrelated`, the same
correlation between all variables.

All critics of a table are of the same kind and size. `tcne` (with the true tuples) and `tcne_dv`
(without) combine the 64 rows to all tuples of four different rows where the critic adds up over
pairs of variables, and to a stated number of them where it does not; line and tree combine them to
all 64 x 63 pairs of two groups for each of their three critics.

`--labels`: one `fit` of `tcne` by its defaults on 4000 examples of a distribution of known TC, a
fifth of them held out for the estimate: XOR of two bits, of which no pair is dependent; a Gaussian
mixture of three labels whose two views share more than the label; a table of 2 x 3 x 2.
Results: experiments/results/benchmark_estimators.md.
"""

import argparse
import functools
import importlib.metadata
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax

from tcmax_jax.estimators import (
    AdditiveCritic,
    Conditional,
    JointCritic,
    fit,
    ground_truth,
    make_estimator,
    start,
    update,
)

NAMES = ("x1", "x2", "x3", "x4")
DIM = 20
LEVELS = (2, 4, 6, 8, 10)
SAMPLERS = {
    "pairs": ground_truth.sample_pairs,
    "equicorrelated": ground_truth.sample_equicorrelated,
}
BOUNDS = ("mine", "nwj", "infonce", "smile", "club")
# Mean (mean squared error) at the five levels, from the released results of the TC estimation
# notebook (Bai et al. 2023, results/*.p), whose critics have one hidden layer of 15 units.
PUBLISHED = {
    "line_club": "3.08 (1.21) | 6.04 (4.26) | 8.69 (7.41) | 11.14 (10.09) | 13.41 (11.92)",
    "line_mine": "0.76 (1.59) | 1.57 (6.05) | 2.30 (13.98) | 3.03 (25.27) | 3.70 (40.76)",
    "line_nwj": "0.66 (1.80) | 1.24 (7.65) | 1.73 (18.22) | 2.16 (34.14) | 2.53 (55.87)",
    "line_infonce": "1.20 (0.68) | 2.34 (2.81) | 3.42 (6.73) | 4.35 (13.37) | 5.12 (23.87)",
    "tree_club": "2.63 (0.45) | 5.18 (1.49) | 7.51 (2.41) | 9.56 (2.63) | 11.45 (2.34)",
    "tree_mine": "0.57 (2.08) | 1.13 (8.30) | 1.73 (18.38) | 2.31 (32.69) | 2.83 (51.87)",
    "tree_nwj": "0.53 (2.16) | 1.02 (8.89) | 1.50 (20.26) | 1.92 (37.05) | 2.35 (58.56)",
    "tree_infonce": "0.93 (1.16) | 1.85 (4.66) | 2.67 (11.13) | 3.46 (20.71) | 4.20 (33.75)",
}


def draw(key, rho, *, design, batch_size, cubic):
    """Draws a batch {variable: [B, DIM]}."""
    batch = SAMPLERS[design](key, batch_size, rho, num_variables=len(NAMES), dim=DIM)
    return jax.tree.map(lambda x: x**3, batch) if cubic else batch


def correlation(total_correlation, design):
    """Returns the rho that gives a design this TC."""
    if design == "pairs":
        return ground_truth.solve_correlation(total_correlation / 2, 2, DIM)
    return ground_truth.solve_correlation(total_correlation, len(NAMES), DIM)


@functools.partial(
    jax.jit, static_argnames=("estimator", "optimizer", "sampler", "silent", "measured")
)
def train_level(progress, rho, key, *, estimator, optimizer, sampler, silent, measured):
    """Trains on fresh batches; returns the progress and the values of the last `measured` steps."""

    def step(progress, key, measure):
        batch_key, loss_key = jax.random.split(key)
        batch = sampler(batch_key, rho)
        value = estimator.value(progress.state.params, batch, loss_key) if measure else None
        return update(estimator, optimizer, progress, batch, loss_key), value

    keys = jax.random.split(key, silent + measured)
    progress, _ = jax.lax.scan(lambda p, k: step(p, k, False), progress, keys[:silent])
    return jax.lax.scan(lambda p, k: step(p, k, True), progress, keys[silent:])


class Setting(NamedTuple):
    """One table: a critic, and how it is trained.

    Attributes:
      title: of the table.
      critic: function from names of variables to a critic.
      hidden: units of the hidden layers of CLUB's conditional models.
      batch_size: rows of a batch.
      num_negatives: tuples of the direct estimators, None for all.
      estimators: their names.
    """

    title: str
    critic: Callable
    hidden: tuple[int, ...]
    batch_size: int
    num_negatives: int | None
    estimators: tuple[str, ...]


_DECOMPOSED = tuple(f"{shape}_{bound}" for bound in BOUNDS for shape in ("line", "tree"))
SETTINGS = {
    "additive": Setting(
        "critic adding up over pairs of variables, hidden layer of 15, batch 64, all tuples",
        functools.partial(AdditiveCritic, sizes=(15,), dim=32),
        (15,),
        64,
        None,
        ("tcne", "tcne_dv", *_DECOMPOSED),
    ),
    "joint": Setting(
        "critic of the published kind (all variables side by side, one hidden layer of 15), "
        "batch 64, 4096 tuples",
        functools.partial(JointCritic, sizes=(15,)),
        (15,),
        64,
        4096,
        ("tcne", "tcne_dv", "line_mine", "line_nwj", "line_infonce"),
    ),
    "wide": Setting(
        "critic adding up over pairs of variables, hidden layers of 256 and 256, batch 256, "
        "16384 tuples",
        functools.partial(AdditiveCritic, sizes=(256, 256), dim=32),
        (256, 256),
        256,
        16384,
        ("tcne",),
    ),
}


def run(name, design, setting, *, levels, steps, cubic):
    """Returns ([(mean, variance, mean squared error)] of the levels, seconds)."""
    estimator = make_estimator(
        name,
        NAMES,
        num_negatives=setting.num_negatives,
        critic=setting.critic,
        conditional=functools.partial(Conditional, sizes=setting.hidden),
    )
    optimizer = optax.adam(5e-3 if "club" in name else 1e-3)
    sampler = functools.partial(draw, design=design, batch_size=setting.batch_size, cubic=cubic)
    measured = min(500, steps // 2)
    progress = start(estimator, optimizer, jax.random.key(0), sampler(jax.random.key(1), 0.0))
    began, cells = time.perf_counter(), []
    for level in levels:
        progress, values = train_level(
            progress,
            correlation(level, design),
            jax.random.key(10 + level),
            estimator=estimator,
            optimizer=optimizer,
            sampler=sampler,
            silent=steps - measured,
            measured=measured,
        )
        values = np.asarray(values, np.float64)
        cells.append((values.mean(), values.var(), np.mean((values - level) ** 2)))
    return cells, time.perf_counter() - began


def labelled_distributions():
    """Returns {name: `GroundTruth`} of distributions with labels."""
    means = np.array([[[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0]], [[0.0, 1.5], [1.5, 0.0], [-1.5, 0.0]]])
    table = np.array([[[4, 1], [1, 2], [2, 1]], [[1, 1], [3, 1], [1, 6]]])
    return {
        "XOR of two bits": ground_truth.xor_bits(),
        "labelled mixture": ground_truth.labelled_mixture(means, 0.5),
        "2 x 3 x 2 table": ground_truth.discrete(table / table.sum()),
    }


def labels_table():
    """Prints the truth and one estimate of each distribution with labels."""
    print(
        "| distribution | truth | tcne | standard error | best step | seconds |\n"
        + "|---" * 6
        + "|"
    )
    for name, truth in labelled_distributions().items():
        samples = truth.sample(jax.random.key(1), 4000)
        began = time.perf_counter()
        fitted = fit(samples, make_estimator("tcne", tuple(samples)))
        value, error, *_ = fitted.estimate
        print(
            f"| {name} | {truth.total_correlation:.3f} | {value:.3f} | {error:.3f} "
            f"| {fitted.best_step} | {time.perf_counter() - began:.0f} |",
            flush=True,
        )


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="first table, two levels, 500 steps")
    parser.add_argument("--cubic", action="store_true", help="x -> x^3 of every coordinate")
    parser.add_argument("--tables", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--designs", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--levels", nargs="+", type=int, default=LEVELS, help="TC in nats")
    parser.add_argument("--labels", action="store_true", help="only: distributions with labels")
    options = parser.parse_args()
    levels, steps, tables = options.levels, 4000, options.tables
    if options.quick:
        levels, steps, tables = LEVELS[:2], 500, ["additive"]
    versions = [f"{p} {importlib.metadata.version(p)}" for p in ("jax", "flax", "optax")]
    device = f"{jax.devices()[0].device_kind}; {', '.join(versions)}"
    if options.labels:
        print(f"{device}\n")
        return labels_table()
    print(f"{device}; {steps} steps a level")
    heads = " | ".join(f"TC = {level}" for level in levels)
    for table in tables:
        for design in options.designs:
            setting = SETTINGS[table]
            print(f"\n{'cubic ' if options.cubic else ''}{design}: {setting.title}\n")
            print(f"| estimator | kind | {heads} | seconds |\n" + "|---" * (len(levels) + 3) + "|")
            for name in setting.estimators:
                cells, seconds = run(
                    name, design, setting, levels=levels, steps=steps, cubic=options.cubic
                )
                kind = make_estimator(name, NAMES, num_negatives=1).kind
                text = " | ".join(f"{m:.2f} ({v:.2f}; {e:.2f})" for m, v, e in cells)
                print(f"| {name} | {kind} | {text} | {seconds:.0f} |", flush=True)
    published_heads = " | ".join(f"TC = {level}" for level in LEVELS)
    print("\npublished, pairs: mean (mean squared error)\n")
    print(f"| estimator | {published_heads} |\n" + "|---" * (len(LEVELS) + 1) + "|")
    for name, cells in PUBLISHED.items():
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
