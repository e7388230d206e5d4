"""Modes for one run: preparing its data, training and evaluating."""

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import changes_recipe, data_folder, recipe_of, run_folder
from tcmax_jax.data.in_place import is_in_place
from tcmax_jax.evaluation.text import results_table
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.training import loop, run_folders
from tcmax_jax.training.build import open_data, prepare_data
from tcmax_jax.training.processes import primary_first


def prepare(options: Options) -> Outcome:
    """Prepares the data of a recipe."""
    config, folder = recipe_of(options), data_folder(options)
    if config.data.open() is not None or is_in_place(config.data):
        dataset = open_data(config, folder)
        return Outcome(f"nothing to prepare: {dataset.name} is read in place")
    return Outcome(f"prepared: {primary_first(lambda: prepare_data(config, folder))}")


def train(options: Options) -> Outcome:
    """Trains a recipe, or resumes its run."""
    config = recipe_of(options)
    workdir = run_folder(options, config)
    results = loop.train(config, workdir, data_folder(options))
    return Outcome(f"{results_table(results)}\nwritten to {RunFolder(workdir).results}")


def evaluate(options: Options) -> Outcome:
    """Evaluates a run again, with linear probes in mode `probe`."""
    config = recipe_of(options)
    workdir = run_folder(options, config)
    # A recipe is needed for the sections that it defines, whatever fields the run has changed.
    if changes_recipe(options) and not run_folders.has_definitions(workdir):
        run_folders.check(workdir, config)
    results = loop.evaluate(
        workdir,
        data_folder(options),
        probe=options.mode == "probe",
        dropped=options.drop_modality,
        step=options.step,
    )
    return Outcome(results_table(results))
