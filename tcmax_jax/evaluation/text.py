"""The results of one run as text, from its result files."""

import shutil
import textwrap
from collections.abc import Mapping

from tcmax_jax.evaluation.outputs import analysis_numbers
from tcmax_jax.evaluation.quantities import Name, number, ordered, quantity, read_name, title
from tcmax_jax.evaluation.tables import text_table

NEW_GROUPS = (
    "new groups: those of validation were trained on, or there are none of them to leave out"
)


def results_table(results: Mapping, width: int | None = None) -> str:
    """Lays out the results of a run.

    Args:
      results: what a run wrote as results.json: "run", "step", "epoch", "splits": {split: metrics},
        and "data", the listed and used clips of each split, and "recalibration", see
        `recalibration_text`.
      width: columns of text, see `tcmax_jax.evaluation.tables.text_table`.

    Returns:
      A short table, a row for each metric and a column for each split; below it what is to be
      expected of recalibration, and a line where clips of the data set's lists were left out.
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
    if judged := results.get("recalibration"):
        columns = width or shutil.get_terminal_size().columns
        text += "\n" + textwrap.fill(recalibration_text(judged), columns)
    counts = {
        split: (each["used"], each["listed"]) for split, each in results.get("data", {}).items()
    }
    if not any(used < listed for used, listed in counts.values()):
        return text
    shares = (f"{split} {n} of {of} ({n / of:.1%})" for split, (n, of) in counts.items())
    return f"{text}\na part of the data only: {', '.join(shares)} of the listed clips"


def recalibration_text(judged: Mapping | None) -> str:
    """Returns a sentence on the expected effect of recalibration on new examples.

    Args:
      judged: see `tcmax_jax.evaluation.analysis.analyse_recalibrated`; None where it is not.
    """
    if judged is None:
        return (
            "Recalibration: not judged on examples left out of the fit, so it may do harm. "
            "Validation has too few examples, or the run was evaluated by an earlier version."
        )
    name, gain = Name("difference"), judged["gain"]
    told = f"{number(name, gain['mean'], gain['half_width'])} {quantity(name).unit}"
    left_out = f"{judged['groups']} groups" if judged["groups"] else "examples"
    text = f"Recalibration: {told} of accuracy on {left_out} of validation left out of the fit"
    if not judged["holds"]:
        return (
            f"{text}, which says nothing about {NEW_GROUPS}. Keep to the plain sum unless labelled "
            "examples of such groups say otherwise."
        )
    outlook = {"gain": "a gain is expected", "loss": "a loss is expected"}
    expected = outlook.get(expectation(judged), "neither gain nor loss is expected")
    return f"{text}: {expected} on new {'groups' if judged['groups'] else 'examples like these'}."


def expectation(judged: Mapping) -> str:
    """Returns "gain", "loss", or "open" where the interval includes zero or is not valid."""
    mean, half = judged["gain"]["mean"], judged["gain"]["half_width"]
    if not judged["holds"] or half is None or abs(mean) <= half:
        return "open"
    return "gain" if mean > 0 else "loss"


def analysis_text(analyses: Mapping, width: int | None = None) -> str:
    """Lays out the numbers of the analyses {split: see `analyse`}, as `results_table` does."""
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
