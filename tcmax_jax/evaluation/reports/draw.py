"""All figures of a report, each as a list of SVG panels."""

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib

from tcmax_jax.evaluation.quantities import ordered
from tcmax_jax.evaluation.reports import figures, matrices
from tcmax_jax.evaluation.reports.studies import study_lines
from tcmax_jax.evaluation.reports.style import DPI, PAIR, RC

# Beyond these a confusion matrix has cells that nobody can see.
_MOST_CONFUSED_CLASSES = 60
# Without the version of matplotlib and the date, so that equal panels are equal files.
_NO_METADATA = dict.fromkeys(("Creator", "Date"))


def draw_runs(rows: Sequence[Mapping], class_names: Sequence[str]) -> dict[str, list[bytes]]:
    """Returns {name: its panels} of all figures for which rows (see `make_rows`) have data."""
    classes = len(class_names)
    names = [name for row in rows for name in row["measures"]]
    predictions = {name for row in rows for name in row["reliability"]}
    # The ends of what can be.
    limits = {
        "js_divergence": math.log(max(len(predictions) - 1, 1)),
        "entropy": math.log(classes),
        "calibration_error": 1,
    }
    with _styled():
        drawn = {"curves": figures.curves_figure(rows, classes)}
        if any(row["noise"] for row in rows):
            drawn["noise"] = figures.noise_figure(rows, classes)
        for figure in ("modalities", "missing", "entropy", "calibration"):
            if shown := ordered(names, figure):
                drawn[figure] = figures.bars_figure(rows, shown, limits, classes)
        drawn["reliability"] = matrices.reliability_figure(rows)
        if classes <= _MOST_CONFUSED_CLASSES:
            drawn["confusion"] = matrices.confusion_figure(rows, class_names)
        return {name: list(map(_svg, panels)) for name, panels in drawn.items()}


def draw_study(study: Mapping) -> list[bytes]:
    """Returns the panels of a study, see `read_study`."""
    with _styled():
        return list(map(_svg, figures.study_figure(study, study_lines(study))))


def draw_difference(curves: Sequence[Mapping], methods: Sequence[str], classes: int) -> list[bytes]:
    """Returns the panels of the curves of two runs.

    Args:
      curves: of each run, see `tcmax_jax.evaluation.reports.rows.curves`.
      methods: of each run, with the options in which they differ.
      classes: their number.
    """
    rows = [
        {"label": label, "look": look, "method": method, "curves": {n: [x] for n, x in own.items()}}
        for label, own, look, method in zip("AB", curves, PAIR, methods, strict=True)
    ]
    with _styled():
        return list(map(_svg, figures.curves_figure(rows, classes)))


def _styled():
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC, "backend": "agg"})


def _svg(figure):
    file = io.BytesIO()
    figure.savefig(file, format="svg", dpi=DPI, metadata=_NO_METADATA)
    return file.getvalue()
