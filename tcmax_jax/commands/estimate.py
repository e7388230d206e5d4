"""Estimates of total correlation from a file of arrays."""

from pathlib import Path

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import workdir_of
from tcmax_jax.estimators.command import estimate_file, estimates_table, fit_bars
from tcmax_jax.estimators.config import Estimation
from tcmax_jax.training.config.overrides import override


def estimate(options: Options) -> Outcome:
    """Fits estimators on the arrays in --samples."""
    workdir = workdir_of(options, f"estimate-{Path(options.samples).stem}")
    config = override(Estimation(), options.fields)
    with fit_bars() as progress:
        results = estimate_file(options.samples, workdir, config, progress)
    table = estimates_table(results)
    return Outcome(f"{table}\nwritten to {workdir}/results.json and estimates.png")
