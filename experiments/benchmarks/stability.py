"""When and why TCMax collapses where cross-entropy trains, and what prevents it.

    python experiments/benchmarks/stability.py --data_dir=PREPARED   # GRID words, half an hour
    python experiments/benchmarks/stability.py                       # the built-in set alone
    python experiments/benchmarks/stability.py --sampled             # sampled tuples alone
    python experiments/benchmarks/stability.py --quick               # two minutes, to see it run

PREPARED is the folder of the prepared GRID words (experiments/grid.py with --mode=prepare prints
it). Without it the sweeps run on the built-in synthetic set.

Two-layer MLP encoders, concatenation head, SGD with momentum 0.9 at a constant rate, three seeds.
Printed: (1) the curvature of both losses at the same parameters and what it consists of, and single
steps around a collapse; (2) remedies at every rate, with effective sample sizes, dead units and the
share of steps beyond the bound; (3) accuracy over rate x batch x normalisation for joint, unimodal
and TCMax; (4) whether TCMax reaches joint training at every rate at which joint training reaches
90 % of its best.
A run has collapsed if its fused accuracy is below half of the best in its table, or if
`tcmax_jax.evaluation.metrics.collapsed` names anything but the mouth of a joint run, which joint
training leaves at chance. Results: experiments/results/stability.md.
"""

import argparse
import functools
import importlib.metadata
from typing import NamedTuple

import jax
import numpy as np
from stability_cause import along_training, around_spike
from stability_train import (
    MODALITIES,
    MOMENTUM,
    Data,
    Setting,
    Trainer,
    allowed_decrease,
    grid_data,
    synthetic_data,
)

from tcmax_jax.evaluation.metrics import accuracy, collapsed

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
SOUND_NOISE = 1.5
JOINT, UNIMODAL, TCMAX = (Setting(loss) for loss in ("joint", "unimodal", "tcmax"))
CLIPPED = Setting("tcmax", head="zero", clip="norm")
BOUNDED = Setting("tcmax", clip="half")
BOUNDED_ZERO = Setting("tcmax", head="zero", clip="half")
SWEPT = {
    "joint": JOINT,
    "joint, zero head, bounded": Setting("joint", head="zero", clip="half"),
    "unimodal": UNIMODAL,
    "unimodal, zero head, bounded": Setting("unimodal", head="zero", clip="half"),
    "TCMax": TCMAX,
    "TCMax, zero head, clipped at 1": CLIPPED,
    "TCMax, bounded": BOUNDED,
    "TCMax, zero head, bounded": BOUNDED_ZERO,
}
REMEDIES = {
    "nothing": TCMAX,
    "zero head": Setting("tcmax", head="zero"),
    "small head": Setting("tcmax", head="small"),
    "warm-up": Setting("tcmax", warmup=True),
    "row bound": Setting("tcmax", clip="row"),
    "adaptive clipping": Setting("tcmax", clip="adaptive"),
    "clipping at 1": Setting("tcmax", clip="norm"),
    "zero head, clipping at 1": CLIPPED,
    "decrease bounded by 1 nat": Setting("tcmax", clip="nat"),
    "by the gap": Setting("tcmax", clip="gap"),
    "zero head, by the gap": Setting("tcmax", head="zero", clip="gap"),
    "by half the gap": BOUNDED,
    "zero head, by half the gap": BOUNDED_ZERO,
}

SAMPLED = {
    f"{title}{', bounded' if clip else ''}": Setting("tcmax", clip=clip, num_negatives=number)
    for title, number in (("all", None), ("64", 64), ("512", 512), ("adaptive", "adaptive"))
    for clip in ("", "half")
}


class Study:
    """Runs settings once each and keeps what the tables need.

    Attributes:
      rates: learning rates.
      seeds: seeds.
      epochs: passes over the training split.
    """

    def __init__(self, rates, seeds, epochs):
        self.rates, self.seeds, self.epochs = rates, seeds, epochs
        self._done = {}

    def results(self, name, data, setting, **changes):
        """Returns [rate][seed] results, dictionaries of numbers, of a setting on a data set."""
        setting = Setting(**(vars(setting) | changes | {"epochs": self.epochs}))
        if (name, setting) not in self._done:

            @jax.jit
            def run(arrays, rate, seed):
                return Trainer(Data(*arrays, data.num_classes), setting).run(rate, seed)

            self._done[name, setting] = [
                [
                    _summary(run(data[:2], rate, seed), data[1], setting, rate)
                    for seed in range(self.seeds)
                ]
                for rate in self.rates
            ]
        return self._done[name, setting]


def _summary(outputs, test, setting, rate):
    features, logits, log = jax.tree.map(np.asarray, outputs)
    labels = np.asarray(test[1])
    scores = {"fused": sum(logits.values()), **logits}
    names = collapsed(features, labels, scores)
    if setting.loss == "joint":
        names = [name for name in names if name != "visual"]
    norms, ess = log["grad_norm"], log["ess"]
    allowed = allowed_decrease(setting, log["loss"], log["floor"])
    return {
        **{name: accuracy(s, labels) for name, s in scores.items()},
        "constant": bool(names),
        "dead": {m: np.mean(~(np.ptp(features[m], axis=0) > 0)) for m in MODALITIES},
        "ess_min": ess.min(),
        "ess_end": np.exp(np.log(np.maximum(ess[-1], 1e-9)).mean()),
        "grad_median": np.median(norms),
        "grad_max": norms.max(),
        "beyond": np.mean(rate / (1 - MOMENTUM) * norms**2 > allowed),
    }


def _mean(runs, name):
    return np.mean([r[name] for r in runs])


def _lost(runs, best):
    return sum(r["constant"] or r["fused"] < best / 2 for r in runs)


def _number(x):
    return f"{x:.3f}".removeprefix("0")


def accuracy_table(rates, columns):
    """Prints fused accuracy / that of the mouth, by rate; columns is {title: results}."""
    best = max(_mean(runs, "fused") for results in columns.values() for runs in results)
    print("| rate | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for i, rate in enumerate(rates):
        cells = []
        for results in columns.values():
            runs, lost = results[i], _lost(results[i], best)
            spread = np.std([r["fused"] for r in runs])
            cell = f"{_number(_mean(runs, 'fused'))} ±{_number(spread)} / "
            cells.append(
                cell + _number(_mean(runs, "visual")) + (f" **({lost} lost)**" if lost else "")
            )
        print(f"| {rate} | " + " | ".join(cells) + " |", flush=True)
    print()


class Cells(NamedTuple):
    """TCMax against joint training at the rates at which that reaches 90 % of its best.

    Attributes:
      differences: {rate: fused accuracy of TCMax less that of joint training}.
      lost: number of collapsed runs of TCMax.
      runs: number of its runs.
    """

    differences: dict
    lost: int
    runs: int


def compare(rates, columns, joint, tcmax) -> Cells:
    """Compares two columns of a table."""
    best = max(_mean(runs, "fused") for results in columns.values() for runs in results)
    base, ours = columns[joint], columns[tcmax]
    top = max(_mean(runs, "fused") for runs in base)
    chosen = [i for i in range(len(rates)) if _mean(base[i], "fused") >= 0.9 * top]
    return Cells(
        {rates[i]: _mean(ours[i], "fused") - _mean(base[i], "fused") for i in chosen},
        sum(_lost(ours[i], best) for i in chosen),
        sum(len(ours[i]) for i in chosen),
    )


def goal_tables(rates, tables):
    """Prints the comparisons of {title: columns}, counted over all and one by one."""
    pairs = [("joint", name) for name in SWEPT if name.startswith("TCMax")]
    pairs.append(("joint, zero head, bounded", "TCMax, zero head, bounded"))
    print(
        "| joint | against | collapsed runs | cells at least joint | worst cell, points |\n"
        + "|---" * 5
        + "|"
    )
    for joint, tcmax in pairs:
        cells = [compare(rates, columns, joint, tcmax) for columns in tables.values()]
        points = [d for c in cells for d in c.differences.values()]
        print(
            f"| {joint} | {tcmax} | {sum(c.lost for c in cells)} of {sum(c.runs for c in cells)} "
            f"| {sum(d >= 0 for d in points)} of {len(points)} | {100 * min(points):+.1f} |"
        )
    print(
        "\n| setting | joint | against | collapsed | at least joint | points by rate |\n"
        + "|---" * 6
        + "|"
    )
    for title, columns in tables.items():
        for joint, tcmax in pairs:
            each = compare(rates, columns, joint, tcmax)
            text = ", ".join(f"{rate}: {100 * d:+.1f}" for rate, d in each.differences.items())
            ahead = sum(d >= 0 for d in each.differences.values())
            print(
                f"| {title} | {joint} | {tcmax} | {each.lost} of {each.runs} "
                f"| {ahead} of {len(each.differences)} | {text} |"
            )


def diagnostics_table(rates, columns):
    """Prints effective sample sizes, gradients and dead units, by rate."""
    print(
        "| rate | setting | ESS, least | ESS, last epoch | gradient, median | largest "
        "| dead sound | dead mouth | beyond bound |\n" + "|---" * 9 + "|"
    )
    for i, rate in enumerate(rates):
        for name, results in columns.items():
            runs = results[i]
            dead = [np.mean([r["dead"][m] for r in runs]) for m in MODALITIES]
            print(
                f"| {rate} | {name} | {min(r['ess_min'] for r in runs):.1f} "
                f"| {_mean(runs, 'ess_end'):.0f} | {_mean(runs, 'grad_median'):.1f} "
                f"| {max(r['grad_max'] for r in runs):.3g} | {dead[0]:.2f} | {dead[1]:.2f} "
                f"| {_mean(runs, 'beyond'):.2f} |",
                flush=True,
            )
    print()


def main():
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", help="folder of the prepared GRID words")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sampled", action="store_true", help="only: TCMax with sampled tuples")
    parser.add_argument("--quick", action="store_true", help="two rates, one seed, two epochs")
    options = parser.parse_args()
    rates, batch_sizes, normalisations = RATES, (32, 64, 256), (False, True)
    if options.quick:
        rates, batch_sizes, normalisations = (0.003, 0.03), (64,), (False,)
        options.seeds, options.epochs = 1, 2
    versions = [f"{p} {importlib.metadata.version(p)}" for p in ("jax", "jaxlib", "flax")]
    print(f"{', '.join(versions)}; {options.epochs} epochs, {options.seeds} seeds\n")

    sets = {"synthetic": synthetic_data()}
    if options.data_dir:
        grid = grid_data(options.data_dir)
        sets = {"GRID": grid, "GRID, noisy": grid_data(options.data_dir, SOUND_NOISE)} | sets
    main_set = next(iter(sets))
    study = Study(rates, options.seeds, options.epochs)
    on_main = functools.partial(study.results, main_set, sets[main_set])
    if options.sampled:
        print(f"## Sampled tuples: {main_set}, batch 64, not normalised\n")
        sampled = {title: on_main(setting) for title, setting in SAMPLED.items()}
        return accuracy_table(rates, sampled)

    print(f"## Cause: {main_set}, batch 64, not normalised\n")
    for title, setting in (("TCMax, zero head, bounded", BOUNDED_ZERO), ("joint", JOINT)):
        print(f"Along a run of: {title}, rate 0.01.\n")
        along_training(sets[main_set], setting, 0.01, options.epochs)
    print("\nAround a collapse: TCMax, nothing.\n")
    for rate in (0.01, 0.03):
        around_spike(sets[main_set], Setting("tcmax", epochs=options.epochs), rate)
        print()

    print(f"## Remedies: {main_set}, batch 64, not normalised\n")
    remedies = {title: on_main(setting) for title, setting in REMEDIES.items()}
    for chunk in (list(remedies)[:6], list(remedies)[6:]):
        accuracy_table(rates, {title: remedies[title] for title in chunk})
    diagnostics_table(rates, {k: remedies[k] for k in ("nothing", "zero head, by half the gap")})

    print("## Sweep\n")
    tables = {}
    for name, data in sets.items():
        for normalised in normalisations:
            for batch_size in batch_sizes if name == main_set else (64,):
                title = f"{name}, batch {batch_size}"
                title += ", layer norm" if normalised else ", not normalised"
                print(f"### {title}\n")
                tables[title] = {
                    column: study.results(
                        name, data, setting, batch_size=batch_size, normalised=normalised
                    )
                    for column, setting in SWEPT.items()
                    if batch_size == 64 or setting.loss != "unimodal"
                }
                accuracy_table(rates, tables[title])

    print("## Goal: at the rates at which joint training reaches 90 % of its best\n")
    goal_tables(rates, tables)


if __name__ == "__main__":
    main()
