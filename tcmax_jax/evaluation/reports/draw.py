"""All figures of a report as PNG."""

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib

from tcmax_jax.evaluation.quantities import ordered
from tcmax_jax.evaluation.reports import figures
from tcmax_jax.evaluation.reports.studies import study_lines
from tcmax_jax.evaluation.reports.style import DPI, PAIR, RC

# Beyond these a confusion matrix has cells that nobody can see.
_MOST_CONFUSED_CLASSES = 60


def draw_runs(rows: Sequence[Mapping], class_names: Sequence[str]) -> dict[str, bytes]:
    """Returns {name: PNG} of all figures that rows, see `make_rows`, have something for."""
    classes = len(class_names)
    names = [name for row in rows for name in row["measures"]]
    predictions = {name for row in rows for name in row["reliability"]}
    # The ends of what can be.
    limits = {
        "js_divergence": math.log(max(len(predictions) - 1, 1)),
        "entropy": math.log(classes),
        "calibration_error": 1,
        "without": 1,
    }
    with _styled():
        drawn = {"curves": figures.curves_figure(rows, classes)}
        if any(row["noise"] for row in rows):
            drawn["noise"] = figures.noise_figure(rows)
        for figure in ("modalities", "missing", "entropy", "calibration"):
            if shown := ordered(names, figure):
                drawn[figure] = figures.bars_figure(rows, shown, limits)
        for name, some in _parts("reliability", rows, 9):
            drawn[name] = figures.reliability_figure(some)
        for name, some in _parts("confusion", rows if classes <= _MOST_CONFUSED_CLASSES else [], 4):
            drawn[name] = figures.confusion_figure(some, class_names)
        return {name: _png(figure) for name, figure in drawn.items()}


def draw_study(study: Mapping) -> bytes:
    """Returns the PNG of a study, see `read_study`."""
    with _styled():
        return _png(figures.study_figure(study, study_lines(study)))


def draw_difference(curves: Sequence[Mapping]) -> bytes:
    """Returns the PNG of the curves of two runs, see `tcmax_jax.evaluation.reports.rows.curves`."""
    rows = [
        {"label": letter, "look": look, "curves": {name: [x] for name, x in curve.items()}}
        for letter, curve, look in zip("AB", curves, PAIR, strict=True)
    ]
    with _styled():
        return _png(figures.curves_figure(rows))


def _styled():
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC, "backend": "agg"})


def _parts(name, rows, most):
    """Yields rows in parts that fit on a printed page, with the name of the figure of each."""
    for number, first in enumerate(range(0, len(rows), most), start=1):
        yield (name if number == 1 else f"{name}-{number}"), rows[first : first + most]


def _png(figure):
    file = io.BytesIO()
    # Without the version of matplotlib in it, so that equal figures are equal files.
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()
