"""Training many runs of one recipe."""

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import data_folder, recipe_of, workdir_of
from tcmax_jax.evaluation.comparison import comparison_table
from tcmax_jax.evaluation.reports.studies import study_cells
from tcmax_jax.evaluation.tables import text_table
from tcmax_jax.training.compare import run_comparison
from tcmax_jax.training.study import run_study


def compare(options: Options) -> Outcome:
    """Compares the methods, fusions and seeds of a recipe."""
    config = recipe_of(options)
    workdir = workdir_of(options, f"{config.name}-compare")
    comparison = run_comparison(config, workdir, data_folder(options))
    text = f"{comparison_table(comparison)}\nwritten to {workdir}/comparison.json, .md and .csv"
    return Outcome(text, code=int(bool(comparison["failed"])))


def study(options: Options) -> Outcome:
    """Compares them for each value of a field."""
    config = recipe_of(options)
    workdir = workdir_of(options, f"{config.name}-study")
    result = run_study(config, workdir, data_folder(options))
    failed = any(row["failed"] for point in result["points"] for row in point["rows"])
    table = text_table(study_cells(result))
    return Outcome(f"{table}\nwritten to {workdir}/study.json and .md", code=int(failed))
