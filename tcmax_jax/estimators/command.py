"""Estimates from a file of samples: what `--mode=estimate` runs."""

import contextlib
import dataclasses
import functools
import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from tcmax_jax.estimators import critics
from tcmax_jax.estimators.club import Conditional
from tcmax_jax.estimators.config import Estimation
from tcmax_jax.estimators.decompositions import make_estimator
from tcmax_jax.estimators.fit import fit, split
from tcmax_jax.estimators.plot import plot_running
from tcmax_jax.estimators.samples import prepare, read_samples

_WIDTH = 80


@contextlib.contextmanager
def fit_bars() -> Iterator[Callable]:
    """Yields what `fit` takes as `progress`: a bar for each fit on a terminal, else a line."""
    bar = tqdm(total=0, unit="step", file=sys.stderr, disable=None, leave=False)
    with bar:

        def progress(name, step, steps, estimate):
            if step == 0:
                bar.reset(total=steps)
                bar.set_description(name, refresh=False)
                if bar.disable:
                    print(f"fitting {name} ...", file=sys.stderr, flush=True)
            text = f"{estimate.value:.3f} ±{estimate.standard_error:.3f} nats"
            bar.set_postfix_str(text, refresh=False)
            bar.update(step - bar.n)

        yield progress


def estimate_file(
    path, workdir: Path, options: Estimation, progress: Callable | None = None
) -> dict:
    """Fits all estimators on a file and writes results.json and estimates.png.

    Args:
      path: of an .npz file, one array a variable.
      workdir: folder for the results; made if need be.
      options: the configuration.
      progress: see `tcmax_jax.estimators.fit`.

    Returns:
      What results.json holds: "samples", "config", "variables" ({name: [D_m]}), "labels",
      "examples" and "estimates", a list of {"name", "kind", "condition", "nats", "standard_error",
      "ceiling", "best_step", "running"}; null where a number is not finite or there is no ceiling.

    Raises:
      FileNotFoundError, ValueError: a file that cannot be estimated from.
    """
    samples = prepare(read_samples(path))
    parts = split(samples, held_out=options.held_out, seed=options.seed)
    names = tuple(samples.arrays)
    estimates = []
    for name in options.estimators:
        estimator = make_estimator(
            name,
            names,
            num_negatives=options.num_negatives,
            critic=functools.partial(_critic, options),
            categorical=samples.labels,
            conditional=functools.partial(Conditional, sizes=options.hidden),
        )
        fitted = fit(
            parts,
            estimator,
            steps=options.steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            held_out=options.held_out,
            eval_every=options.eval_every,
            block_size=options.block_size,
            seed=options.seed,
            progress=progress,
        )
        estimates.append(
            {
                "name": name,
                "kind": estimator.kind,
                "condition": estimator.condition,
                "nats": _finite(fitted.estimate.value),
                "standard_error": _finite(fitted.estimate.standard_error),
                "ceiling": fitted.estimate.ceiling,
                "best_step": fitted.best_step,
                "running": [
                    {
                        "step": r.step,
                        "nats": _finite(r.value),
                        "standard_error": _finite(r.standard_error),
                    }
                    for r in fitted.running
                ],
            }
        )
    results = {
        "samples": str(path),
        "config": dataclasses.asdict(options),
        "variables": {m: list(x.shape[1:]) for m, x in samples.arrays.items()},
        "labels": sorted(samples.labels),
        "examples": len(next(iter(samples.arrays.values()))),
        "estimates": estimates,
    }
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    plot_running(results, workdir / "estimates.png")
    return results


def estimates_table(results: Mapping) -> str:
    """Lays out the results of `estimate_file`: estimates first, then when each kind holds."""
    names = ", ".join(results["variables"])
    lines = [
        f"total correlation of {names} in nats, {results['examples']} examples",
        f"{'estimator':<18} {'kind':<12} {'estimate':>10} {'std. error':>11} {'ceiling':>8}",
    ]
    for e in results["estimates"]:
        numbers = [_text(e[key]) for key in ("nats", "standard_error")]
        ceiling = "none" if e["ceiling"] is None else f"{e['ceiling']:.2f}"
        lines.append(
            f"{e['name']:<18} {e['kind']:<12} {numbers[0]:>10} {numbers[1]:>11} {ceiling:>8}"
        )
    for e in results["estimates"]:
        about = f"{e['name']}: {e['kind']}, {e['condition']}"
        lines += textwrap.wrap(about, _WIDTH, subsequent_indent="  ")
    return "\n".join(lines)


def _critic(options, names):
    match options.critic:
        case "joint":
            return critics.JointCritic(names, options.hidden)
        case "separable":
            return critics.SeparableCritic(names, options.hidden, options.dim)
        case "additive":
            return critics.AdditiveCritic(names, options.hidden, options.dim)


def _finite(number):
    return number if math.isfinite(number) else None


def _text(number):
    return "not finite" if number is None else f"{number:.4f}"
