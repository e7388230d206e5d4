"""A look at all that a run would need."""

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import data_folder, recipe_of, run_folder
from tcmax_jax.training.doctor import examine as doctor
from tcmax_jax.training.processes import is_primary


def examine(options: Options) -> Outcome:
    """Examines a recipe, its data and this machine."""
    config = recipe_of(options)
    report = doctor.examine(config, run_folder(options, config), data_folder(options))
    text = doctor.report_text(report)
    if report.speed and report.speed.unfinished:
        if is_primary():
            print(text)
        doctor.leave(int(report.failed))
    return Outcome(text, code=int(report.failed))
