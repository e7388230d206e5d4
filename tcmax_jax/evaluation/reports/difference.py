"""Comparison of two runs, or of two checkpoints of one run."""

from pathlib import Path

import numpy as np

from tcmax_jax.evaluation.comparison import mean_and_error
from tcmax_jax.evaluation.outputs import Outputs, read_outputs
from tcmax_jax.evaluation.quantities import Name, number, ordered, quantity, title
from tcmax_jax.evaluation.reports.draw import draw_difference
from tcmax_jax.evaluation.reports.page import write_page
from tcmax_jax.evaluation.reports.provenance import plain
from tcmax_jax.evaluation.reports.rows import curves, last_split, numbers
from tcmax_jax.evaluation.reports.runs import (
    check_same_data,
    differing_fields,
    labels,
    read_evaluated,
)
from tcmax_jax.run_folder import RunFolder

_MOST_CLASSES = 20
_TITLE = "What changed"
_CHANGE = Name("difference")
_CAPTION = (
    "Accuracies of the validation split, cross-entropy in training and on validation (both on a "
    "logarithmic axis), TC bound, and training loss, on an axis for each objective. A solid, B "
    "dashed; dotted: chance. What leaves a panel is cut, and marked."
)


def write_difference(first: Path, second: Path, out: Path) -> list[Path]:
    """Writes difference.html and difference.md with figures/ about two runs or two checkpoints.

    Args:
      first: folder of a run, or steps/<step> in it, which --mode=evaluate --step writes.
      second: the same, on the same data.
      out: folder to write to.

    Returns:
      The paths of the two files.

    Raises:
      ValueError: no such runs, damaged files, other data, or outputs of other examples.
    """
    runs = [read_evaluated(folder) for folder in (first, second)]
    check_same_data(runs)
    split = last_split(runs)
    outputs = [read_outputs(RunFolder(run["folder"]).outputs(split)) for run in runs]
    if not np.array_equal(outputs[0].labels, outputs[1].labels):
        raise ValueError(
            f"Expected outputs for the same examples in {first} and {second}, got other labels. "
            "Evaluate both again with --mode=evaluate."
        )
    changes = difference(*outputs)
    if runs[0]["run"] == runs[1]["run"]:
        pictures, drawn = {}, {"text": "Two checkpoints of one training."}
    else:
        methods = labels([run["config"]["method"] for run in runs])
        logged, classes = [curves(run["log"]) for run in runs], len(outputs[0].class_names)
        pictures = {"curves": draw_difference(logged, methods, classes)}
        drawn = {"figure": "curves", "caption": _CAPTION}
    fields = differing_fields([run["config"] for run in runs])
    changed = [["field", "A", "B"], *([path, *map(plain, values)] for path, values in fields)]
    blocks = [
        {"heading": _TITLE, "level": 1},
        {"items": [f"{letter}: {_name(run)}" for letter, run in zip("AB", runs, strict=True)]},
        {"text": _summary(changes, split)},
        {"heading": "Configuration", "level": 2},
        {"table": changed} if fields else {"text": "The same."},
        {"heading": "Results", "level": 2},
        {"table": _numbers(runs, split)},
        {"heading": "Curves", "level": 2},
        drawn,
        {"heading": "Classes", "level": 2},
        {
            "text": f"Accuracy of the fused prediction by class, {split} split, by the size of the "
            f"change; at most {_MOST_CLASSES}. Standard errors are those of the change."
        },
        {"table": _classes(changes, outputs[0].class_names)},
    ]
    return write_page(out, "difference", _TITLE, blocks, pictures)


def difference(first: Outputs, second: Outputs) -> dict:
    """Returns how the fused predictions of two evaluations of the same examples differ.

    The change of accuracy is paired: with d_i = [second right on i] - [first right on i],

      change = mean_i d_i,  standard error = s_d / sqrt(N)

    which covers the examples, not the seeds of training.

    Args:
      first: outputs on N examples.
      second: outputs on the same examples.

    Returns:
      {"change": {"mean", "standard_error"}, "won": examples that only the second has right,
      "lost": that only the first has right, "agreement": share of equal predictions, "classes":
      [{"class", "count", "first", "second", "mean", "standard_error"}]}, classes with examples
      only, those that changed most first; standard errors are None for one example.
    """
    labels = first.labels
    chosen = [np.argmax(each.scores["fused"], axis=-1) for each in (first, second)]
    right = [(c == labels).astype(np.float64) for c in chosen]
    gap = right[1] - right[0]
    classes = []
    for c in np.unique(labels):
        inside = labels == c
        change = {"class": int(c), "count": int(inside.sum())}
        change |= {
            "first": float(right[0][inside].mean()),
            "second": float(right[1][inside].mean()),
        }
        classes.append(change | mean_and_error(gap[inside]))
    return {
        "change": mean_and_error(gap),
        "won": int((gap > 0).sum()),
        "lost": int((gap < 0).sum()),
        "agreement": float(np.mean(chosen[0] == chosen[1])),
        "classes": sorted(classes, key=lambda change: -abs(change["mean"])),
    }


def _summary(changes, split):
    return (
        f"From A to B, {split} split: fused accuracy {_change(changes['change'])} "
        f"{quantity(_CHANGE).unit} (standard error over the examples). B alone is right on "
        f"{changes['won']} examples, A alone on {changes['lost']}; both predict the same class for "
        f"{100 * changes['agreement']:.1f} % of all."
    )


def _change(change):
    return number(_CHANGE, change["mean"], change["standard_error"])


def _name(run):
    results, config = run["results"], run["config"]
    return (
        f"{run['folder']}: {config['method']['kind']}, {config['model']['fusion']['kind']}, seed "
        f"{config['seed']}, checkpoint of step {results['step']} (epoch {results['epoch']})"
    )


def _numbers(runs, split):
    """Returns the table of all metrics and analyses that are one number."""
    columns = [numbers(run, split) for run in runs]
    rows = [["quantity", "A", "B", "B less A", "better"]]
    for name in ordered(name for each in columns for name in each):
        a, b = (each.get(name) for each in columns)
        change = None if None in (a, b) else b - a
        better = "-"
        if change and (direction := quantity(name).better):
            better = "B" if (change > 0) == (direction == "higher") else "A"
        rows.append([title(name), *(number(name, x) for x in (a, b, change)), better])
    return rows


def _classes(changes, class_names):
    rows = [["class", "examples", "A", "B", f"B less A ({quantity(_CHANGE).unit})"]]
    for change in changes["classes"][:_MOST_CLASSES]:
        shares = [number(Name("accuracy"), change[name]) for name in ("first", "second")]
        rows.append([class_names[change["class"]], str(change["count"]), *shares, _change(change)])
    return rows
