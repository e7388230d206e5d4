"""From the folders of finished runs to a page about them."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from tcmax_jax.evaluation.comparison import compare, comparison_csv
from tcmax_jax.evaluation.reports import figures
from tcmax_jax.evaluation.reports.content import contents, title_of
from tcmax_jax.evaluation.reports.page import to_html, to_markdown
from tcmax_jax.evaluation.reports.rows import make_rows, measures
from tcmax_jax.evaluation.reports.runs import read_runs
from tcmax_jax.evaluation.reports.style import DPI, RC
from tcmax_jax.files import write_atomically

_BASELINE = "joint"
# Beyond these a confusion matrix has cells that nobody can see.
_MOST_CONFUSED_CLASSES = 60


def write_report(folders: Sequence[str], out: Path) -> list[Path]:
    """Writes report.html, which needs nothing beside it, report.md with figures/, and results.csv.

    Args:
      folders: see `read_runs`.
      out: folder to write to; files of an earlier report there are replaced.

    Returns:
      The paths of report.html, report.md and results.csv.

    Raises:
      ValueError: see `read_runs`.
      OSError: the folder cannot be written.
    """
    read = read_runs(folders)
    runs, failed = read["runs"], read["failed"]
    split = "test" if all("test" in run["results"]["splits"] for run in runs) else "validation"
    rows = make_rows(runs, split)
    plain = [
        {name: run[name] for name in ("method", "fusion", "seed")}
        | {"metrics": run["results"]["splits"][split]}
        for run in runs
    ]
    methods = [run["method"] for run in runs]
    comparison = compare(plain, failed, _BASELINE if _BASELINE in methods else methods[0])
    pictures = _draw(rows, runs[0]["data"]["class_names"])
    blocks = contents(runs, failed, rows, comparison, list(pictures), split)
    full = [
        each | {"metrics": each["metrics"] | measures(run["analysis"][split])}
        for each, run in zip(plain, runs, strict=True)
    ]
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for old in (out / "figures").glob("*.png"):
        old.unlink()
    for name, png in pictures.items():
        (out / "figures" / f"{name}.png").write_bytes(png)
    texts = {
        "report.html": to_html(title_of(runs), blocks, pictures),
        "report.md": to_markdown(blocks),
        "results.csv": comparison_csv(full, failed),
    }
    for name, text in texts.items():
        write_atomically(out / name, text)
    return [out / name for name in texts]


def _draw(rows, class_names):
    """Returns {name: PNG} of all figures that the rows have something for."""
    classes = len(class_names)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC, "backend": "agg"}):
        drawn = {"curves": figures.curves_figure(rows, classes)}
        predictions = list(dict.fromkeys(name for row in rows for name in row["reliability"]))
        # The fused prediction first, as in the tables.
        predictions.sort(key=lambda name: name != "fused")
        if any("js_divergence" in row["measures"] for row in rows):
            drawn["modalities"] = figures.bars_figure(rows, _modality_panels(len(predictions) - 1))
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


def _png(figure):
    file = io.BytesIO()
    # Without the version of matplotlib in it, so that equal figures are equal files.
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()
