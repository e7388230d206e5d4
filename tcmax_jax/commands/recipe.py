"""The recipe, data folder and run folder that the flags select."""

import os
from pathlib import Path

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.files import file_name
from tcmax_jax.training import run_folders
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.listing import list_fields
from tcmax_jax.training.config.overrides import load_experiment, override
from tcmax_jax.training.processes import say


def recipe_of(options: Options) -> Config:
    """Returns the configuration that --experiment and --config.<field> describe."""
    fields = dict(options.fields)
    if options.allow_skipped:
        fields["data.allow_skipped"] = "true"
    if options.raw_dir:
        fields["data.raw_dir"] = options.raw_dir
    return override(load_experiment(options.experiment), fields)


def changes_recipe(options: Options) -> bool:
    """Returns whether a configuration is given in addition to --workdir."""
    return bool(options.experiment or options.fields or options.allow_skipped or options.raw_dir)


def workdir_of(options: Options, name: str) -> Path:
    """Returns --workdir, or the folder of this name in runs/."""
    return Path(options.workdir or Path("runs") / file_name(name))


def run_folder(options: Options, config: Config) -> Path:
    """Returns the folder of a single run of a configuration."""
    return workdir_of(options, f"{config.name}-{config.method.kind}-seed{config.seed}")


def data_folder(options: Options) -> str:
    """Returns --data_dir, $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    folder = options.data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return str(Path(folder).expanduser())


def run_config(options: Options) -> Config:
    """Returns the configuration of the run in --workdir, with --config.<field> replaced.

    Raises:
      ConfigError: there is no run, or a field is changed that changes its numbers.
    """
    if options.experiment:
        load_experiment(options.experiment)  # for the sections that it defines
    workdir = Path(options.workdir)
    config = override(run_folders.stored_config(workdir), options.fields)
    run_folders.check(workdir, config)
    for file in run_folders.changed_definitions(workdir, config):
        say(f"note: {file} has changed since the run in {workdir} was trained with it.")
    return config


def describe(options: Options) -> Outcome:
    """Lists the configuration in effect."""
    if options.workdir and not changes_recipe(options):
        return Outcome(list_fields(run_folders.stored_config(Path(options.workdir))))
    return Outcome(list_fields(recipe_of(options)))
