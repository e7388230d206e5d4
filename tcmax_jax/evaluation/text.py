"""Results of one run as text; reads result files only."""

from collections.abc import Mapping

from tcmax_jax.evaluation.outputs import analysis_numbers
from tcmax_jax.evaluation.quantities import number, ordered, read_name, title
from tcmax_jax.evaluation.tables import text_table


def results_table(results: Mapping, width: int | None = None) -> str:
    """Lays out the results of a run.

    Args:
      results: what a run wrote as results.json: "run", "step", "epoch", "splits": {split: metrics},
        and "data", the listed and used clips of each split.
      width: columns of text, see `tcmax_jax.evaluation.tables.text_table`.

    Returns:
      A short table, a row for each metric and a column for each split; below it a line where clips
      of the data set's lists were left out.
    """
    splits = {
        split: {read_name(key): (value, None) for key, value in metrics.items()}
        for split, metrics in results["splits"].items()
    }
    head = (
        f"{results['run']}: best checkpoint on validation, epoch {results['epoch']} "
        f"(step {results['step']})"
    )
    text = f"{head}\n{_by_split(splits, width)}"
    counts = {
        split: (each["used"], each["listed"]) for split, each in results.get("data", {}).items()
    }
    if not any(used < listed for used, listed in counts.values()):
        return text
    shares = (f"{split} {n} of {of} ({n / of:.1%})" for split, (n, of) in counts.items())
    return f"{text}\na part of the data only: {', '.join(shares)} of the listed clips"


def analysis_text(analyses: Mapping, width: int | None = None) -> str:
    """Lays out the analyses {split: see `analyse`} that are one number, as `results_table` does."""
    table = _by_split({split: analysis_numbers(each) for split, each in analyses.items()}, width)
    chains = [
        each["total_correlation"] for each in analyses.values() if "total_correlation" in each
    ]
    return "\n".join([table, *(chain["verdict"] for chain in chains)])


def _by_split(splits, width):
    """Lays out {split: {name: (number, standard error or None)}}."""
    rows = [["", *splits]]
    for name in ordered(name for each in splits.values() for name in each):
        cells = [number(name, *each.get(name, (None,))) for each in splits.values()]
        rows.append([title(name), *cells])
    return text_table(rows, width)
