"""Estimates of total correlation from a file of arrays."""

import contextlib
import dataclasses
import functools
import math
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from matplotlib.figure import Figure
from tqdm import tqdm

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import workdir_of
from tcmax_jax.estimators.club import Conditional
from tcmax_jax.estimators.critics import AdditiveCritic, JointCritic, SeparableCritic
from tcmax_jax.estimators.decompositions import NUM_NEGATIVES, estimator_names, make_estimator
from tcmax_jax.estimators.fit import fit, split
from tcmax_jax.estimators.samples import prepare, read_samples
from tcmax_jax.files import json_text
from tcmax_jax.section import Count, CountOrZero, Limits, Positive, Section, section
from tcmax_jax.training.config.overrides import override

_WIDTH = 80
_LARGEST = 20  # nats beyond which the axis becomes logarithmic
_CRITICS = {"joint": JointCritic, "separable": SeparableCritic, "additive": AdditiveCritic}
_OF_FIT = ("steps", "batch_size", "learning_rate", "held_out", "eval_every", "block_size", "seed")
_ROW = "{:<18} {:<12} {:>10} {:>11} {:>8}"


@section
class Estimation(Section):
    """Which estimators to run on a file of samples, and how to fit them.

    Attributes:
      estimators: names, see `tcmax_jax.estimators.make_estimator`; of two variables a line and a
        tree are the same.
      critic: joint, separable or additive, see `tcmax_jax.estimators.critics`.
      hidden: units of the hidden layers of critics and conditional models.
      dim: number of terms of separable and additive critics.
      num_negatives: shuffled tuples of a batch for the direct estimators.
      steps: updates of each estimator.
      batch_size: examples in an update.
      learning_rate: of Adam.
      held_out: share of the examples that nothing is fitted on.
      eval_every: updates from one running estimate to the next.
      block_size: held-out examples compared with each other at a time; InfoNCE cannot exceed the
        log of it.
      seed: of the split, the parameters and the batches.
    """

    estimators: Annotated[tuple[Literal[estimator_names()], ...], Limits(min_length=1)] = (
        "tcne",
        "tcne_dv",
        "line_infonce",
        "line_nwj",
        "line_smile",
        "line_club",
    )
    critic: Literal["joint", "separable", "additive"] = "joint"
    hidden: Annotated[tuple[Count, ...], Limits(min_length=1)] = (64, 64)
    dim: Count = 32
    num_negatives: Count = NUM_NEGATIVES
    steps: Count = 2000
    batch_size: Annotated[int, Limits(ge=2)] = 128
    learning_rate: Positive = 1e-3
    held_out: Annotated[float, Limits(gt=0, lt=1)] = 0.4
    eval_every: Count = 100
    block_size: Annotated[int, Limits(ge=2)] = 512
    seed: CountOrZero = 0


def estimate(options: Options) -> Outcome:
    """Fits estimators on the arrays in --samples."""
    workdir = workdir_of(options, f"estimate-{Path(options.samples).stem}")
    config = override(Estimation(), options.fields)
    with fit_bars() as progress:
        results = estimate_file(options.samples, workdir, config, progress)
    table = estimates_table(results)
    return Outcome(f"{table}\nwritten to {workdir}/results.json and estimates.png")


@contextlib.contextmanager
def fit_bars() -> Iterator[Callable]:
    """Yields the `progress` argument of `fit`: a bar for each fit on a terminal, else lines."""
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
    critic = functools.partial(_CRITICS[options.critic], sizes=options.hidden)
    if options.critic != "joint":
        critic = functools.partial(critic, dim=options.dim)
    estimates = []
    for name in options.estimators:
        estimator = make_estimator(
            name,
            tuple(samples.arrays),
            num_negatives=options.num_negatives,
            critic=critic,
            categorical=samples.labels,
            conditional=functools.partial(Conditional, sizes=options.hidden),
        )
        how = {option: getattr(options, option) for option in _OF_FIT}
        fitted = fit(parts, estimator, progress=progress, **how)
        estimates.append(
            {
                "name": name,
                "kind": estimator.kind,
                "condition": estimator.condition,
                **_numbers(fitted.estimate),
                "ceiling": fitted.estimate.ceiling,
                "best_step": fitted.best_step,
                "running": [{"step": r.step, **_numbers(r)} for r in fitted.running],
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
    (workdir / "results.json").write_text(json_text(results) + "\n")
    plot_running(results, workdir / "estimates.png")
    return results


def estimates_table(results: Mapping) -> str:
    """Lays out the results of `estimate_file`: the estimates, then when each kind holds."""
    names = ", ".join(results["variables"])
    lines = [
        f"total correlation of {names} in nats, {results['examples']} examples",
        _ROW.format("estimator", "kind", "estimate", "std. error", "ceiling"),
    ]
    for e in results["estimates"]:
        numbers = [e[key] for key in ("nats", "standard_error")]
        numbers = ["not finite" if x is None else f"{x:.4f}" for x in numbers]
        ceiling = "none" if e["ceiling"] is None else f"{e['ceiling']:.2f}"
        lines.append(_ROW.format(e["name"], e["kind"], *numbers, ceiling))
    for e in results["estimates"]:
        about = f"{e['name']}: {e['kind']}, {e['condition']}"
        lines += textwrap.wrap(about, _WIDTH, subsequent_indent="  ")
    return "\n".join(lines)


def plot_running(results: Mapping, path) -> None:
    """Draws the running estimates of `estimate_file` with bands of two standard errors, as PNG."""
    # Without pyplot, which would look for a display.
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    drawn = []
    for e in results["estimates"]:
        points = [r for r in e["running"] if None not in r.values()]
        steps = [r["step"] for r in points]
        low, high = ([r["nats"] + side * r["standard_error"] for r in points] for side in (-2, 2))
        drawn += low + high
        (line,) = axes.plot(steps, [r["nats"] for r in points], label=f"{e['name']} ({e['kind']})")
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    if max(map(abs, drawn), default=0) > _LARGEST:
        # An estimator that diverges would flatten all others.
        axes.set_yscale("symlog", linthresh=_LARGEST)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_xlabel("step")
    axes.set_ylabel("total correlation, validation examples (nats)")
    axes.legend()
    figure.savefig(path, dpi=120)


def _numbers(estimate):
    numbers = {"nats": estimate.value, "standard_error": estimate.standard_error}
    return {name: x if math.isfinite(x) else None for name, x in numbers.items()}
