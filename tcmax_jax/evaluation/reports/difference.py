"""Two runs, or two checkpoints of one, beside each other."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tcmax_jax.evaluation.outputs import Outputs, read_outputs
from tcmax_jax.evaluation.reports import quantities
from tcmax_jax.evaluation.reports.draw import draw_difference
from tcmax_jax.evaluation.reports.folder import write_pages
from tcmax_jax.evaluation.reports.naming import differing_fields
from tcmax_jax.evaluation.reports.page import to_html, to_markdown
from tcmax_jax.evaluation.reports.provenance import plain
from tcmax_jax.evaluation.reports.rows import curves, numbers
from tcmax_jax.evaluation.reports.runs import check_same_data, read_evaluated

_MOST_CLASSES = 20
_TITLE = "What changed"


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
    split = "test" if all("test" in run["results"]["splits"] for run in runs) else "validation"
    outputs = [read_outputs(Path(run["folder"]) / f"outputs-{split}.npz") for run in runs]
    if not np.array_equal(outputs[0].labels, outputs[1].labels):
        raise ValueError(
            f"Expected outputs for the same examples in {first} and {second}, got other labels. "
            "Evaluate both again with --mode=evaluate."
        )
    found = difference(*outputs)
    same_run = runs[0]["run"] == runs[1]["run"]
    pictures = {} if same_run else {"curves": draw_difference([curves(r["log"]) for r in runs])}
    blocks = [
        {"heading": _TITLE, "level": 1},
        {"items": [f"{letter}: {_name(run)}" for letter, run in zip("AB", runs, strict=True)]},
        {"text": _summary(found, split)},
        {"heading": "Configuration", "level": 2},
        *_configuration(runs),
        {"heading": "Results", "level": 2},
        {"table": _numbers(runs, split)},
        {"heading": "Curves", "level": 2},
        *_curve_blocks(pictures),
        {"heading": "Classes", "level": 2},
        {"text": f"Accuracy of the fused prediction by class, {split} split, by the size of the "
         f"change; at most {_MOST_CLASSES}. Standard errors are those of the change."},
        {"table": _classes(found, outputs[0].class_names)},
    ]  # fmt: skip
    texts = {
        "difference.html": to_html(_TITLE, blocks, pictures),
        "difference.md": to_markdown(blocks),
    }
    return write_pages(out, texts, pictures)


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
    classes = [
        {
            "class": int(c),
            "count": int(inside.sum()),
            "first": float(right[0][inside].mean()),
            "second": float(right[1][inside].mean()),
            **_mean(gap[inside]),
        }
        for c, inside in ((c, labels == c) for c in np.unique(labels))
    ]
    return {
        "change": _mean(gap),
        "won": int((gap > 0).sum()),
        "lost": int((gap < 0).sum()),
        "agreement": float(np.mean(chosen[0] == chosen[1])),
        "classes": sorted(classes, key=lambda own: -abs(own["mean"])),
    }


def _mean(x):
    error = float(x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else None
    return {"mean": float(x.mean()), "standard_error": error}


def _summary(found, split):
    change = found["change"]
    return (
        f"From A to B, {split} split: fused accuracy {_points(change)} points (standard error over "
        f"the examples). B alone is right on {found['won']} examples, A alone on {found['lost']}; "
        f"both predict the same class for {100 * found['agreement']:.1f} % of all."
    )


def _points(own):
    error = own["standard_error"]
    return f"{100 * own['mean']:+.1f}" + ("" if error is None else f" ±{100 * error:.1f}")


def _name(run):
    results, config = run["results"], run["config"]
    return (
        f"{run['folder']}: {config['method']['kind']}, {config['model']['fusion']['kind']}, seed "
        f"{config['seed']}, checkpoint of step {results['step']} (epoch {results['epoch']})"
    )


def _configuration(runs):
    rows = [
        [path, *map(plain, values)]
        for path, values in differing_fields([run["config"] for run in runs])
    ]
    if not rows:
        return [{"text": "The same."}]
    return [{"table": [["field", "A", "B"], *rows]}]


def _numbers(runs, split):
    """Returns the table of all metrics and analyses that are one number."""
    own = [numbers(run, split) for run in runs]
    rows = [["quantity", "A", "B", "B less A"]]
    for name in dict.fromkeys(name for each in own for name in each):
        scale = quantities.scale(name)
        digits = 2 if scale == 100 else 4
        a, b = (each.get(name) for each in own)
        cells = ["-" if x is None else f"{scale * x:.{digits}f}" for x in (a, b)]
        change = "-" if None in (a, b) else f"{scale * (b - a):+.{digits}f}"
        rows.append([quantities.title(name), *cells, change])
    return rows


def _curve_blocks(pictures: Mapping):
    if not pictures:
        return [{"text": "Two checkpoints of one training."}]
    caption = (
        "Loss and cross-entropy in training; cross-entropy (both on a logarithmic axis), TC bound "
        "and accuracies of the validation split; A solid, B dashed."
    )
    return [{"figure": "curves", "caption": caption}]


def _classes(found, class_names):
    rows = [["class", "examples", "A (%)", "B (%)", "B less A (points)"]]
    for own in found["classes"][:_MOST_CLASSES]:
        shares = [f"{100 * own[name]:.1f}" for name in ("first", "second")]
        rows.append([class_names[own["class"]], str(own["count"]), *shares, _points(own)])
    return rows
