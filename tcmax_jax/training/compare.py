"""Many runs of one recipe: methods x fusions x seeds, and what they come to."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import jax

from tcmax_jax.evaluation.comparison import (
    compare,
    comparison_csv,
    comparison_markdown,
    comparison_table,
)
from tcmax_jax.methods import METHODS
from tcmax_jax.training import loop
from tcmax_jax.training import workdir as workdirs
from tcmax_jax.training.config import Comparison, Config
from tcmax_jax.training.logs import write_atomically


def plan(config: Config) -> list[Config]:
    """Returns the configurations of a comparison, seed by seed so that early tables are fair.

    A method that can train none of the fusions asked for takes the first one that it can.

    Args:
      config: the recipe; its section `comparison` says what is compared.
    """
    wanted = config.comparison
    pairs = []
    for method in wanted.methods:
        able = METHODS[method.name].fusions
        chosen = [f for f in wanted.fusions if f in able] or able[:1]
        pairs += [(method, fusion) for fusion in chosen]
    return [
        dataclasses.replace(
            config,
            seed=seed,
            method=method,
            model=dataclasses.replace(config.model, fusion=fusion),
            comparison=Comparison(),
        )
        for seed in wanted.seeds
        for method, fusion in pairs
    ]


def run_comparison(
    config: Config, workdir: Path, data_dir: str, say: Callable[[str], None] | None = None
) -> dict:
    """Trains what is not yet trained, and writes comparison.json, .md and .csv after every run.

    Each run has a folder of its own in `workdir`. Finished runs are not repeated, and interrupted
    ones go on. A run that meets NaN or infinity is listed as failed; the others go on.

    Args:
      config: the recipe; its section `comparison` says what is compared.
      workdir: folder of the comparison.
      data_dir: folder that holds prepared data sets.
      say: function of a text, for the table as it grows; prints to standard error when None.

    Returns:
      What comparison.json holds: that of `tcmax_jax.evaluation.comparison.compare` on the test
      split, with "runs" and "failed".

    Raises:
      ConfigError: a folder holds a run of another configuration or of other data.
    """
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    runs, failed, planned = [], [], plan(config)
    folders = [workdir / _name(each) for each in planned]
    for each, folder in zip(planned, folders, strict=True):
        workdirs.check(folder, each)
    comparison = {}
    for number, (each, folder) in enumerate(zip(planned, folders, strict=True), start=1):
        finished = (folder / "results.json").exists()
        note = "finished before" if finished else "training"
        say(f"[{number}/{len(planned)}] {folder.name}: {note}")
        try:
            results = _stored(folder) if finished else loop.train(each, folder, data_dir)
        except loop.NonFiniteError as error:
            failed.append({"run": folder.name, "reason": str(error)})
            say(f"{folder.name} failed: {error}")
            continue
        split = "test" if "test" in results["splits"] else "validation"
        jax.clear_caches()  # nothing that this run has compiled is of use to the next
        runs.append(
            {
                "method": each.method.name,
                "fusion": each.model.fusion,
                "seed": each.seed,
                "metrics": results["splits"][split],
            }
        )
        comparison = compare(runs) | {"split": split, "runs": runs, "failed": failed}
        _write(workdir, comparison)
        if not finished and number < len(planned):
            say(comparison_table(comparison))
    if not runs:
        raise ArithmeticError(f"Expected one run to succeed, got {len(failed)} failures.")
    comparison |= {"failed": failed}
    _write(workdir, comparison)
    return comparison


def _name(config):
    return f"{config.method.name}-{config.model.fusion}-seed{config.seed}"


def _stored(folder):
    return json.loads((folder / "results.json").read_text())


def _write(workdir, comparison):
    workdir.mkdir(parents=True, exist_ok=True)
    write_atomically(workdir / "comparison.json", json.dumps(comparison, indent=2) + "\n")
    write_atomically(workdir / "comparison.md", comparison_markdown(comparison))
    write_atomically(workdir / "comparison.csv", comparison_csv(comparison["runs"]))
