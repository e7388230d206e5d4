"""Studies: a comparison repeated for each value of one field of the configuration."""

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

from tcmax_jax import digests
from tcmax_jax.commands.compare import finished_results, plan, run_comparison, run_name
from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import data_folder, recipe_of, workdir_of
from tcmax_jax.evaluation.comparison import interval
from tcmax_jax.evaluation.reports.studies import point_folder, study_cells, study_markdown
from tcmax_jax.evaluation.tables import text_table
from tcmax_jax.files import json_text, write_atomically
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.training import processes
from tcmax_jax.training.build import build
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.comparison import Study
from tcmax_jax.training.config.overrides import override
from tcmax_jax.training.config.tree import ConfigError
from tcmax_jax.training.measures import step_memory
from tcmax_jax.training.programs import shared_programs

_FILE = "study.json"
_RESTORE = "Restore it from a copy, or remove the run's folder to train it again."


def study(options: Options) -> Outcome:
    """Runs the comparison for each value of a field."""
    config = recipe_of(options)
    workdir = workdir_of(options, f"{config.name}-study")
    result = run_study(config, workdir, data_folder(options))
    failed = any(row["failed"] for point in result["points"] for row in point["rows"])
    table = text_table(study_cells(result))
    return Outcome(f"{table}\nwritten to {workdir}/study.json and .md", code=int(failed))


def variations(config: Config) -> dict[str, Config]:
    """Returns {text of a value: the recipe with that value}, as its section `study` says.

    Raises:
      ConfigError: no field, or a value that does not fit it.
    """
    study = config.study
    if study.field is None:
        raise ConfigError(
            "Expected the field that the study changes, got none. For instance "
            "--config.study.field=training.batch_size --config.study.values=[16,64,256]."
        )
    if study.field.split(".")[0] in ("name", "comparison", "study"):
        raise ConfigError(
            f"Expected a field that a run depends on, got study.field={study.field}. To compare "
            "methods, fusions or seeds use --mode=compare."
        )
    recipes = {}
    for value in study.values:
        text = json.dumps(value)
        changed = override(config, {study.field: text})
        # What a comparison would put in their place.
        instead = {}
        if study.field.startswith("method."):
            instead = {"methods": (changed.method,)}
        elif study.field.startswith("model.fusion"):
            instead = {"fusions": (changed.model.fusion,)}
        elif study.field == "seed":
            instead = {"seeds": (changed.seed,)}
        comparison = dataclasses.replace(changed.comparison, **instead)
        recipes[text] = dataclasses.replace(changed, comparison=comparison, study=Study())
    return recipes


@shared_programs()
def run_study(
    config: Config, workdir: Path, data_dir: str, say: Callable[[str], None] | None = None
) -> dict:
    """Trains what is not yet trained, and writes study.json and study.md after each value.

    Every value has a folder with a comparison of its own; an interrupted study goes on.

    Arguments as of `tcmax_jax.commands.compare.run_comparison`; the sections `study` and
    `comparison` of the recipe say what is trained.

    Returns:
      What study.json holds: {"field", "points": [{"value", "rows": those of the comparison, each
      with "cost": {"loss": nats, "seconds_per_step", "step_memory": MiB where the platform tells,
      see `tcmax_jax.training.measures.step_memory`: intervals over seeds}}]}.

    Raises:
      ConfigError: no field, values that do not fit, or folders of other runs.
    """
    say = say or processes.say
    recipes = variations(config)
    for recipe in recipes.values():
        plan(recipe)
    memory = _known_memory(workdir)  # Before the first of the points there is written anew.
    study = {"field": config.study.field, "points": []}
    for number, (text, recipe) in enumerate(recipes.items(), start=1):
        say(f"({number}/{len(recipes)}) {study['field']} = {text}")
        folder = workdir / point_folder(study["field"], json.loads(text))
        comparison = run_comparison(recipe, folder, data_dir, say)
        costs = _costs(recipe, folder, data_dir, memory.get(text, {}))
        rows = [
            row | {"cost": costs.get((row["method"], row["fusion"]))} for row in comparison["rows"]
        ]
        study["points"].append({"value": json.loads(text), "rows": rows})
        if processes.is_primary():
            digests.write(workdir / _FILE, json_text(study) + "\n")
            write_atomically(workdir / "study.md", study_markdown(study))
    return study


def _known_memory(workdir) -> Mapping:
    """Returns {value as text: {(method, fusion): "step_memory"}} measured by earlier calls."""
    lost = "It is recomputed."
    before = digests.read_json_or_none(workdir / _FILE, processes.say, lost, ["points"])
    points = before["points"] if before else []
    return {
        json.dumps(point["value"]): {
            (row["method"], row["fusion"]): row["cost"]["step_memory"]
            for row in point["rows"]
            if "step_memory" in (row["cost"] or {})
        }
        for point in points
    }


def _costs(recipe, folder, data_dir, memory) -> Mapping:
    """Returns {(method, fusion): {cost: interval over seeds}} of finished runs."""
    costs_by_method, memory = {}, dict(memory)
    for each in plan(recipe):
        run = folder / run_name(each)
        if not finished_results(run):
            continue
        log = digests.read_json_lines(RunFolder(run).log, _RESTORE)
        windows = [entry for entry in log if entry["split"] == "train"]
        # The first epoch has compiled; a run of one epoch has no other.
        later = [entry for entry in windows if entry["epoch"] > 1] or windows
        size = each.training.batch_size
        last = [entry for entry in windows if entry["epoch"] == each.training.epochs]
        cost = {
            "seconds_per_step": statistics.median(size / w["examples_per_second"] for w in later),
            "loss": statistics.mean(w["loss"] for w in last),
        }
        key = (each.method.label(), each.model.fusion.label())
        costs_by_method.setdefault(key, []).append(cost)
        if key not in memory:  # The seed does not change it.
            processes.say(f"compiling a step of {run.name} for the memory it needs ...")
            needed = step_memory(build(each, data_dir))
            memory[key] = None if needed is None else interval([needed])
    needs = {key: {"step_memory": each} for key, each in memory.items() if each}
    return {
        key: {name: interval([cost[name] for cost in costs]) for name in costs[0]}
        | needs.get(key, {})
        for key, costs in costs_by_method.items()
    }
