"""What a report says, as blocks that `page` lays out.

A block is one of {"heading", "level"}, {"text"}, {"items": [text]}, {"table": [head, *rows]},
{"figure": name, "caption"}, {"code"} and {"aside": [block]}, a part set apart from the rest.
"""

from collections.abc import Mapping, Sequence

from tcmax_jax.evaluation.comparison import (
    comparison_cells,
    comparison_failures,
    comparison_reading,
)
from tcmax_jax.evaluation.reports import quantities
from tcmax_jax.evaluation.reports.naming import differing_fields
from tcmax_jax.evaluation.reports.provenance import provenance
from tcmax_jax.evaluation.reports.quoted import NUMBERS, SOURCE

_SHARES = "Accuracies as shares of 1."
_MEANS = "Mean over seeds ± half the 95 % t-interval of the mean"
_BAND = "Lines are means over seeds, bands reach from the lowest seed to the highest."
_BARS = (
    "Bars are means over seeds, dots single seeds, lines the 95 % t-interval of the mean (none for "
    "one seed; cut off where it leaves the axis)."
)
_CAPTIONS = {
    "curves": f"Training. {_BAND} Each method has a loss of its own, so that losses compare runs "
    "of one method alone; cross-entropy, of the fused prediction, compares all of them, on a "
    "logarithmic axis. That of training is of batches, while the parameters change; MLA, which "
    "trains modalities in turn, has none. A TC bound far below 0 is cut off. Dotted: chance.",
    "modalities": "How the modalities differ. The Jensen-Shannon divergence is 0 where they "
    "predict the same; an entropy ratio of 1 says that they are equally certain; the gain is fused "
    f"accuracy less that of the best modality. {_BARS}",
    "entropy": "How uncertain the predictions are: 0 for certain ones, the logarithm of the number "
    f"of classes where all classes are as likely. {_BARS}",
    "calibration": "Expected calibration error: how far confidence and share of correct "
    f"predictions lie apart. {_BARS}",
    "reliability": "Reliability: share of correct predictions by their confidence, all seeds "
    "together. Below the diagonal predictions are too confident. Dots grow with the examples; "
    "bins with less than 1 % of them are left out.",
    "missing": "Fused accuracy without a modality: the head's sum without its part; heads that "
    f"couple the modalities predict with those of 64 examples of the split in its place. {_BARS}",
    "noise": "Fused accuracy with Gaussian noise on the input of one modality, in standard "
    f"deviations of the example's own input. {_BAND}",
    "confusion": "Confusion of the fused prediction, all seeds together; a row for each true "
    "class.",
}
# What is told of all modalities together, and of each prediction.
_TABLES = (
    ("train_cross_entropy", "cross_entropy"),
    ("recalibrated", "weight"),
    ("js_divergence", "entropy_ratio", "multimodal_gain", "cka"),
    ("entropy", "calibration_error"),
    ("without", "noise"),
    ("chain",),
)

_RECALIBRATION_READING = (
    "Recalibrated: a weight for each modality and an offset for each class, fitted on validation. "
    "Where that is far better than the plain sum, a modality speaks louder than what it knows."
)
_CHAIN_READING = (
    "I and TC are lower bounds of mutual information and total correlation, estimated on a part of "
    "the split that the estimators were not fitted on."
)


def title_of(runs: Sequence[Mapping], studies: Sequence[Mapping]) -> str:
    """Returns the title of the report on some runs and studies."""
    names = dict.fromkeys(run["config"]["name"] for run in runs)
    names |= dict.fromkeys(f"the study of {study['field']}" for study in studies)
    return f"Report on {', '.join(names)}"


def contents(
    runs: Sequence[Mapping],
    failed: Sequence[Mapping],
    rows: Sequence[Mapping],
    comparison: Mapping,
    figures: Sequence[str],
    split: str,
    title: str,
) -> list[dict]:
    """Returns the blocks of a report on runs.

    Args:
      runs: see `read_runs`.
      failed: see `read_runs`.
      rows: see `make_rows`.
      comparison: see `tcmax_jax.evaluation.comparison.compare`, of the runs on `split`.
      figures: names of the figures that there are.
      split: the split that tables and figures are about, unless they say otherwise.
      title: of the report.
    """
    chain = any("chain/" in name for row in rows for name in row["measures"])
    recalibrated = any("recalibrated" in row["measures"] for row in rows)
    hard = "missing" in figures or "noise" in figures
    data, examples = runs[0]["data"], runs[0]["analysis"][split]["examples"]
    summary = (
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} on {data['name']} "
        f"({len(data['class_names'])} classes). All numbers are of the {examples} examples of the "
        f"{split} split and the best checkpoint on validation, unless they say otherwise."
    )
    return [
        {"heading": title, "level": 1},
        {"text": summary},
        *_warnings(rows),
        {"heading": "Results", "level": 2},
        *_results(comparison),
        *([{"items": lines}] if (lines := comparison_failures(comparison)) else []),
        *_quoted(runs),
        {"heading": "Training", "level": 2},
        *_figures(figures, "curves"),
        {"heading": "Modalities", "level": 2},
        *_additive_note(rows),
        *_figures(figures, "modalities", "entropy"),
        *([{"heading": "Missing and noisy modalities", "level": 2}] if hard else []),
        *_figures(figures, "missing", "noise"),
        {"heading": "Calibration", "level": 2},
        *_figures(figures, "calibration", "reliability"),
        *([{"heading": "Confusion", "level": 2}] if "confusion" in figures else []),
        *_figures(figures, "confusion"),
        {"heading": "Analyses in numbers", "level": 2},
        *({"table": table} for table in measures_tables(rows)),
        {"text": f"{_MEANS}; - where there is none."},
        *([{"text": _RECALIBRATION_READING}] if recalibrated else []),
        *([{"text": _CHAIN_READING}] if chain else []),
        *provenance(runs, failed),
    ]


def _results(comparison):
    """Returns the table of the results, without differences where there is nothing to compare."""
    cells = comparison_cells(comparison)
    if any(row["difference"] for row in comparison["rows"]):
        return [{"table": cells}, {"text": f"{_SHARES} {comparison_reading(comparison)}"}]
    return [{"table": [line[:-1] for line in cells]}, {"text": f"{_SHARES} {_MEANS}."}]


def measures_tables(rows: Sequence[Mapping]) -> list[list[list[str]]]:
    """Returns tables of all analyses that are one number: a line for each row, after a head."""
    names = list(dict.fromkeys(name for row in rows for name in row["measures"]))
    tables = []
    for kinds in _TABLES:
        own = [name for name in names if quantities.kind(name) in kinds]
        if not own:
            continue
        lines = [["method", "fusion", *map(quantities.title, own)]]
        for row in rows:
            cells = [_cell(row["measures"].get(n), quantities.scale(n)) for n in own]
            lines.append([row["method"], row["fusion"], *cells])
        tables.append(lines)
    return tables


def _cell(measure, scale):
    if measure is None:
        return "-"
    digits = 3 if scale == 1 else 1
    half = measure["half_width"]
    spread = "" if half is None else f" ±{_rounded(scale * half, digits)}"
    return f"{_rounded(scale * measure['mean'], digits)}{spread}"


def _rounded(value, digits):
    """Returns a number with so many digits behind the point, unless these are all zero."""
    text = f"{value:.{digits}f}"
    return text if value == 0 or float(text) else f"{value:.1e}"


def _figures(there, *names):
    """Returns blocks of those figures that there are, and of their further parts (<name>-2)."""
    return [
        {"figure": figure, "caption": _CAPTIONS[name] if figure == name else "Continued."}
        for name in names
        for figure in there
        if figure.partition("-")[0] == name
    ]


def _warnings(rows):
    """Returns a line for each row whose runs differ in more than their seeds."""
    lines = []
    for row in rows:
        fields = [
            path
            for path, _ in differing_fields([run["config"] for run in row["runs"]])
            if path != "seed"
        ]
        if fields:
            lines.append(
                f"Beware: the runs of {row['method']}, {row['fusion']} differ in more than their "
                f"seeds ({', '.join(fields)}), so that their mean and interval mix unlike runs."
            )
    return [{"items": lines}] if lines else []


def _additive_note(rows):
    without = [row["label"] for row in rows if "js_divergence" not in row["measures"]]
    if not without:
        return []
    return [
        {
            "text": "Heads that are no sum over modalities have no prediction of a modality alone, "
            f"so that these are not defined for: {', '.join(without)}."
        }
    ]


def _quoted(runs):
    kind = runs[0]["config"]["data"]["kind"]
    if kind not in NUMBERS:
        return []
    table = [["method", "quantity", "value in the paper"], *map(list, NUMBERS[kind])]
    return [
        {
            "aside": [
                {"heading": "Quoted from the paper, not measured here", "level": 3},
                {"table": table},
                {"text": f"Source: {SOURCE}"},
            ]
        }
    ]
