"""Modes that need only the files of finished runs: analyses, reports and differences."""

import sys
from pathlib import Path

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.evaluation.reports.difference import write_difference
from tcmax_jax.evaluation.reports.report import write_report
from tcmax_jax.run_folder import RunFolder


def analyse(options: Options) -> Outcome:
    """Recomputes the analyses of a run."""
    # JAX, which pages do without.
    from tcmax_jax.commands.estimate import fit_bars
    from tcmax_jax.evaluation.analysis import analyse_stored
    from tcmax_jax.evaluation.text import analysis_text

    folder = Path(options.workdir)
    with fit_bars() as progress:
        analyses = analyse_stored(folder, chain=options.total_correlation, progress=progress)
    return Outcome(f"{analysis_text(analyses)}\nwritten to {RunFolder(folder).analysis}")


def report(options: Options) -> Outcome:
    """Writes a page about runs, comparisons and studies."""
    print("reading runs, and drawing figures ...", file=sys.stderr, flush=True)
    return _written(write_report(options.runs, Path(options.workdir or "report")))


def difference(options: Options) -> Outcome:
    """Writes a page about two runs."""
    if len(options.runs) != 2:
        raise ValueError(f"Expected two folders, --runs=A,B, got {len(options.runs)}.")
    first, second = map(Path, options.runs)
    return _written(write_difference(first, second, Path(options.workdir or "difference")))


def _written(paths):
    return Outcome(f"written to {', '.join(map(str, paths))}")
