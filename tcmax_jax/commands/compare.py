"""Comparisons: a recipe trained with every method, fusion and seed, and the resulting tables."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

from tcmax_jax import digests
from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import data_folder, recipe_of, workdir_of
from tcmax_jax.evaluation.comparison import (
    compare_runs,
    comparison_csv,
    comparison_markdown,
    comparison_table,
)
from tcmax_jax.evaluation.finite import NonFiniteError
from tcmax_jax.evaluation.references import reference_accuracies
from tcmax_jax.evaluation.reports.runs import run_folder_name
from tcmax_jax.files import json_text, write_atomically
from tcmax_jax.models import HeadOptions
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.section import SectionError
from tcmax_jax.training import loop, processes, run_folders
from tcmax_jax.training.build import open_data, with_forms
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.comparison import Comparison, Study
from tcmax_jax.training.config.run import trainable_heads
from tcmax_jax.training.config.tree import ConfigError
from tcmax_jax.training.programs import shared_programs

_FILE = "comparison.json"


def compare(options: Options) -> Outcome:
    """Compares the methods, fusions and seeds of a recipe."""
    config = recipe_of(options)
    workdir = workdir_of(options, f"{config.name}-compare")
    comparison = run_comparison(config, workdir, data_folder(options))
    text = f"{comparison_table(comparison)}\nwritten to {workdir}/comparison.json, .md and .csv"
    return Outcome(text, code=int(bool(comparison["failed"])))


def plan(config: Config) -> list[Config]:
    """Returns the configurations of a comparison, seed by seed so that early tables are fair.

    The section `comparison` of a recipe says what is compared. A method that can train none of the
    fusions asked for takes the first one that it can.

    Raises:
      ConfigError: a method, a fusion and the rest of the recipe that do not fit together.
    """
    wanted = config.comparison
    pairs = []
    for method in wanted.methods:
        able = trainable_heads(method)
        chosen = [head for head in wanted.fusions if head.kind in able]
        chosen = chosen or [HeadOptions.of_kind(able[0])]
        pairs += [(method, head) for head in chosen]
    planned = []
    for seed, (method, fusion) in itertools.product(wanted.seeds, pairs):
        try:
            model = dataclasses.replace(config.model, fusion=fusion)
            varied = {"seed": seed, "method": method, "model": model}
            alone = {"comparison": Comparison(), "study": Study()}
            planned.append(dataclasses.replace(config, **varied, **alone))
        except SectionError as error:
            text = f"comparison of {method.label()} with {fusion.label()}: {error}"
            raise ConfigError(text) from error
    return planned


@shared_programs()
def run_comparison(
    config: Config, workdir: Path, data_dir: str, say: Callable[[str], None] | None = None
) -> dict:
    """Trains what is not yet trained, and writes comparison.json, .md and .csv after every run.

    Each run has a folder of its own in `workdir`, named by method, options that are not the
    defaults, fusion and seed. Finished runs are not repeated, and interrupted ones go on. A run
    that meets NaN or infinity is listed as failed; the others go on.

    Args:
      config: the recipe; its section `comparison` says what is compared.
      workdir: folder of the comparison.
      data_dir: folder that holds prepared data sets.
      say: function of a text, for the table as it grows; prints to standard error when None.

    Returns:
      What comparison.json holds: that of `tcmax_jax.evaluation.comparison.compare_runs` on the test
      split, with "split", "references" {name: accuracy} and "runs".

    Raises:
      ConfigError: what is compared does not fit the recipe, or a folder holds a run of another
        configuration or of other data.
      ArithmeticError: every run failed, for reasons that were said.
    """
    say = say or processes.say
    runs, failed, datasets, split, references = [], [], {}, None, {}
    planned = [(each, workdir / run_name(each)) for each in plan(config)]
    for each, folder in planned:
        run_folders.check(folder, each)
    for number, (each, folder) in enumerate(planned, start=1):
        finished = finished_results(folder)
        note = "finished before" if finished else "training"
        say(f"[{number}/{len(planned)}] {folder.name}: {note}")
        run = {**_names(each), "seed": each.seed}
        try:
            results = finished or loop.train(each, folder, data_dir)
        except NonFiniteError as error:
            failed.append(run | {"reason": str(error)})
            say(f"failed: {folder.name}: {error}")
        else:
            _check_same_data(folder, results, datasets)
            split = "test" if "test" in results["splits"] else "validation"
            runs.append(run | {"metrics": results["splits"][split]})
        if runs and not references:
            references = _references(config, workdir, data_dir, split)
        comparison = compare_runs(runs, failed)
        comparison |= {"split": split, "references": references, "runs": runs}
        if processes.is_primary():
            workdir.mkdir(parents=True, exist_ok=True)
            digests.write(workdir / _FILE, json_text(comparison) + "\n")
            texts = {
                "md": comparison_markdown(comparison),
                "csv": comparison_csv(runs, comparison["failed"]),
            }
            for ending, text in texts.items():
                write_atomically(workdir / f"comparison.{ending}", text)
        if not finished and number < len(planned):
            say(comparison_table(comparison))
    if not runs:
        raise ArithmeticError(
            f"Expected one run to succeed, got {len(failed)} that failed; the reasons are above, "
            f"and in {workdir}/comparison.json."
        )
    return comparison


def _references(config, workdir, data_dir, split) -> dict[str, float]:
    """Returns the reference accuracies, measured once for each folder."""
    before = digests.read_json_or_none(workdir / _FILE, processes.say, "It is recomputed.")
    if known := (before or {}).get("references"):
        return known
    dataset = open_data(config, data_dir)
    inputs = with_forms(config, dataset.forms).inputs
    splits = (dataset.sources[name] for name in ("train", split))
    return reference_accuracies(*splits, inputs, len(dataset.class_names))


def run_name(config: Config) -> str:
    """Returns the name of a planned run's folder."""
    return run_folder_name(_names(config) | {"seed": config.seed})


def _names(config):
    return {"method": config.method.label(), "fusion": config.model.fusion.label()}


def finished_results(folder: Path) -> dict | None:
    """Returns the results of a finished run; None if it is unfinished or has none."""
    again, fields = "The run is evaluated again.", ["finished", "splits", "dataset"]
    path = RunFolder(folder).results
    results = digests.read_json_or_none(path, processes.say, again, fields)
    return results if results and results["finished"] else None


def _check_same_data(folder, results, datasets):
    """Checks that a run has the data set of earlier runs, {data set: its first run}."""
    datasets.setdefault(results["dataset"], folder.name)
    if len(datasets) > 1:
        texts = [f"{name} on {dataset}" for dataset, name in datasets.items()]
        raise ConfigError(
            f"Expected runs on one data set in {folder.parent}, got {' and '.join(texts)}. Choose "
            "another --workdir, or restore the data, for instance the manifest as it was."
        )
