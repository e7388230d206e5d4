"""All figures of a report as PNG."""

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib

from tcmax_jax.evaluation.reports import figures
from tcmax_jax.evaluation.reports.studies import study_lines
from tcmax_jax.evaluation.reports.study_figure import study_figure
from tcmax_jax.evaluation.reports.style import DPI, PAIR, RC

# Beyond these a confusion matrix has cells that nobody can see.
_MOST_CONFUSED_CLASSES = 60


def draw_runs(rows: Sequence[Mapping], class_names: Sequence[str]) -> dict[str, bytes]:
    """Returns {name: PNG} of all figures that the rows have something for.

    Args:
      rows: see `make_rows`.
      class_names: names of the classes.
    """
    classes = len(class_names)
    with _styled():
        drawn = {"curves": figures.curves_figure(rows, classes)}
        predictions = list(dict.fromkeys(name for row in rows for name in row["reliability"]))
        # The fused prediction first, as in the tables.
        predictions.sort(key=lambda name: name != "fused")
        if any("js_divergence" in row["measures"] for row in rows):
            drawn["modalities"] = figures.bars_figure(rows, _modality_panels(len(predictions) - 1))
        without = dict.fromkeys(
            n for row in rows for n in row["measures"] if n.startswith("without/")
        )
        if without:
            drawn["missing"] = figures.bars_figure(rows, _missing_panels(without))
        if any(row["noise"] for row in rows):
            drawn["noise"] = figures.noise_figure(rows)
        for name, measure, title, unit, scale, limit in (
            ("entropy", "entropy", "entropy", "nats", 1, math.log(classes)),
            ("calibration", "calibration_error", "calibration error", "%", 100, 100),
        ):
            panels = {
                f"{measure}/{p}": {"title": f"{title}, {p}", "unit": unit, "scale": scale,
                                   "limit": limit}
                for p in predictions
            }  # fmt: skip
            drawn[name] = figures.bars_figure(rows, panels)
        for name, own in _parts("reliability", rows, 9):
            drawn[name] = figures.reliability_figure(own)
        if classes <= _MOST_CONFUSED_CLASSES:
            for name, own in _parts("confusion", rows, 4):
                drawn[name] = figures.confusion_figure(own, class_names)
        return {name: _png(figure) for name, figure in drawn.items()}


def draw_study(study: Mapping) -> bytes:
    """Returns the PNG of a study, see `tcmax_jax.evaluation.reports.studies.read_study`."""
    with _styled():
        return _png(study_figure(study, study_lines(study)))


def draw_difference(curves: Sequence[Mapping]) -> bytes:
    """Returns the PNG of the curves of two runs, see `tcmax_jax.evaluation.reports.rows.curves`."""
    rows = [
        {
            "label": letter,
            "look": {"colour": colour, "marker": marker, "line": line, "hatch": ""},
            "curves": {name: [values] for name, values in own.items()},
        }
        for letter, own, (colour, marker, line) in zip("AB", curves, PAIR, strict=True)
    ]
    with _styled():
        return _png(figures.curves_figure(rows))


def _styled():
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC, "backend": "agg"})


def _parts(name, rows, most):
    """Yields rows in parts that fit on a printed page, with the name of the figure of each."""
    for number, first in enumerate(range(0, len(rows), most), start=1):
        yield (name if number == 1 else f"{name}-{number}"), rows[first : first + most]


def _modality_panels(modalities):
    return {
        "js_divergence": {"title": "JS divergence", "unit": "nats", "scale": 1,
                          "limit": math.log(modalities)},
        "entropy_ratio": {"title": "entropy ratio", "unit": "largest / smallest", "scale": 1,
                          "limit": None, "start": 1},
        "multimodal_gain": {"title": "multimodal gain", "unit": "accuracy, points", "scale": 100,
                            "limit": None},
    }  # fmt: skip


def _missing_panels(names):
    return {
        name: {"title": name.replace("/", " "), "unit": "fused accuracy (%)", "scale": 100,
               "limit": 100}
        for name in names
    }  # fmt: skip


def _png(figure):
    file = io.BytesIO()
    # Without the version of matplotlib in it, so that equal figures are equal files.
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()
