"""Makes a report from the folders of finished runs and studies."""

from collections.abc import Sequence
from pathlib import Path

from tcmax_jax.evaluation.comparison import (
    RUN,
    compare_runs,
    comparison_cells,
    comparison_csv,
    comparison_failures,
    comparison_reading,
)
from tcmax_jax.evaluation.quantities import (
    ANALYSES,
    MARGINAL,
    Name,
    mean,
    ordered,
    title,
    write_name,
)
from tcmax_jax.evaluation.reports.draw import draw_runs, draw_study
from tcmax_jax.evaluation.reports.findings import findings, recalibration_findings
from tcmax_jax.evaluation.reports.matrices import writes_names
from tcmax_jax.evaluation.reports.page import write_page
from tcmax_jax.evaluation.reports.provenance import provenance
from tcmax_jax.evaluation.reports.rows import last_split, make_rows, numbers
from tcmax_jax.evaluation.reports.runs import differing_fields, find_folders, read_runs
from tcmax_jax.evaluation.reports.studies import read_study, studies_csv, study_blocks
from tcmax_jax.evaluation.reports.style import reference

_SHARES = "Accuracies in percent."
_MEANS = "Mean over seeds ± half the 95 % t-interval of the mean"
_BAND = "Lines are means over seeds, bands reach from the lowest seed to the highest."
_BARS = (
    "Bars are means over seeds, dots are single seeds, lines are the 95 % t-interval of the mean "
    "(none for one seed; cut off at the axis limits). A bar that would compress all others is cut "
    "off and labelled with its number."
)
_CAPTIONS = {
    "curves": f"Training curves: all but the training loss and the training cross-entropy are of "
    f"the validation split. {_BAND} TCMax and the method it is compared with are bold. The "
    "cross-entropy of the fused prediction is comparable between methods; its axis is logarithmic. "
    "In training it is that of batches, while the parameters change; MLA, which trains modalities "
    "in turn, has none. Each method has its own training loss, and so its own axis. Dotted: "
    "chance. Values outside a panel, such as a TC bound far below 0, are marked at its edge.",
    "modalities": "Differences between the predictions of single modalities. The Jensen-Shannon "
    "divergence is 0 if they are equal; an entropy ratio of 1 means that they are equally certain; "
    f"the gain is fused accuracy minus that of the best modality. {_BARS}",
    "entropy": "Entropy of the predictions: 0 if they are certain, the logarithm of the number "
    f"of classes if all classes are equally likely. {_BARS}",
    "calibration": "Expected calibration error: mean distance between confidence and accuracy. "
    f"{_BARS}",
    "reliability": "Reliability: accuracy by confidence, all seeds together. Below the diagonal "
    "predictions are overconfident. n: examples in each bin of the fused prediction; bins with "
    "less than 1 % of them, or fewer than 5, have no dot.",
    "missing": f"Fused accuracy without a modality. {_BARS} Dotted: chance.",
    "noise": "Fused accuracy with Gaussian noise on the input of one modality, in standard "
    f"deviations of the example's own input. {_BAND} Dotted: chance.",
    "confusion": "Confusion matrices of the fused prediction, all seeds together. Rows are true "
    "classes; the grey level is the share of a row that is predicted as the class of the column. "
    "With up to 12 classes the cells hold the number of examples.",
}
_PARTIAL_READING = (
    "Marginal: the classifier's own prediction from some modalities, the others averaged over "
    "the validation split. Split: the prediction of their parts of an additive head, which contain "
    "class offsets that cancel in the sum. Probe: a linear classifier on the frozen feature."
)
_TRAINING_READING = "Cross-entropy in training is the mean over the last epoch."
_RECALIBRATION_READING = (
    "Recalibrated: a weight for each modality and an offset for each class, fitted on validation. "
    "Where it is far better than the plain sum, the logits of some modality are too large. "
    "Choose it by validation only if new examples are like those of validation: for new speakers "
    "or other groups, unless the data names them, a gain on validation does not hold."
)
_CHAIN_READING = (
    "I and TC are lower bounds on mutual information and total correlation, estimated on a part of "
    "the split that was not used to fit the estimators."
)
_SOURCE = (
    "TCMax (ICLR 2026, arXiv 2602.13015). Accuracies in percent; rho is the paper's entropy ratio. "
    "Training, splits and encoders may differ from those of the runs on this page, so that a "
    "difference from them says little."
)
_TCMAX, _MMPARETO = "TCMax, shared head", "MMPareto"
# Of the paper; none of them was measured by this library.
# {data.kind: [(what, quantity, value as printed there)]}.
QUOTED = {
    "crema_d_av": [
        (_TCMAX, "accuracy", "82.7"),
        (_MMPARETO, "accuracy", "74.4"),
        ("TCMax", "rho", "1.549"),
        ("joint training, concat head", "rho", "2.913"),
    ],
    "kinetics_sounds": [(_TCMAX, "accuracy", "63.5"), (_MMPARETO, "accuracy", "62.7")],
    "ave": [(_TCMAX, "accuracy", "64.5"), (_MMPARETO, "accuracy", "63.1")],
    "vggsound": [(_TCMAX, "accuracy", "47.6"), (_MMPARETO, "accuracy", "46.2")],
    "ucf101_flow": [(_TCMAX, "accuracy", "56.0"), (_MMPARETO, "accuracy", "55.9")],
    "mvsa_features": [
        ("TCMax, ViT-B/32", "accuracy", "84.05"),
        ("joint training, ViT-B/32", "accuracy", "82.83"),
    ],
}


def write_report(patterns: Sequence[str], out: Path) -> list[Path]:
    """Writes report.html, which is self-contained, report.md with figures/, and CSV files.

    Args:
      patterns: see `tcmax_jax.evaluation.reports.runs.find_folders`.
      out: folder to write to; files of an earlier page there are replaced, no others.

    Returns:
      The paths of report.html and report.md, of results.csv where there are runs, and of
      studies.csv where there are studies.

    Raises:
      ValueError: see `find_folders`, `read_runs` and `read_study`.
      OSError: the folder cannot be written, or has files of these names that no page has written.
    """
    run_folders, study_folders = find_folders(patterns)
    studies = [read_study(folder) for folder in study_folders]
    read = read_runs(run_folders) if run_folders else {"runs": [], "failed": []}
    names = dict.fromkeys(run["config"]["name"] for run in read["runs"])
    names |= dict.fromkeys(f"the study of {study['field']}" for study in studies)
    heading = f"Report on {', '.join(names)}"
    blocks, pictures, texts = _about_runs(**read, heading=heading) if run_folders else ([], {}, {})
    for number, study in enumerate(studies, start=1):
        name = f"study-{number}"
        pictures[name] = draw_study(study)
        blocks += study_blocks(study, name, 2 if run_folders or number > 1 else 1)
    if studies:
        texts["studies.csv"] = studies_csv(studies)
    return write_page(out, "report", heading, blocks, pictures, texts)


def _about_runs(runs, failed, heading):
    """Returns the blocks, the pictures and the other files of a report on runs.

    The blocks are all about one split unless they say otherwise.
    """
    split = last_split(runs)
    rows = make_rows(runs, split)
    told = [
        {field: run[field] for field in RUN}
        | {"metrics": {write_name(name): x for name, x in numbers(run, split).items()}}
        for run in runs
    ]
    methods = [run["method"] for run in runs]
    comparison = compare_runs(told, failed, reference(methods))
    failures = comparison_failures(comparison)
    data, examples = runs[0]["data"], runs[0]["analysis"][split]["examples"]
    pictures = draw_runs(rows, data["class_names"])
    kinds = {name.kind for row in rows for name in row["measures"]}
    hard = "missing" in pictures or "noise" in pictures
    recalibration = [_RECALIBRATION_READING, *recalibration_findings(rows, split)]
    summary = (
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} on {data['name']} "
        f"({len(data['class_names'])} classes). All numbers are of the {examples} examples of the "
        f"{split} split and the best checkpoint on validation, unless they say otherwise."
    )
    blocks = [
        {"heading": heading, "level": 1},
        {"text": summary},
        {"text": findings(comparison, rows, len(data["class_names"]), examples)},
        *_warnings(rows),
        {"heading": "Results", "level": 2},
        *_results(comparison),
        *([{"items": failures}] if failures else []),
        *_quoted(runs[0]["config"]["data"]["kind"]),
        {"heading": "Training", "level": 2},
        *_figures(pictures, "curves"),
        {"heading": "Modalities", "level": 2},
        {"text": _PARTIAL_READING},
        *_undefined_note(rows),
        *_figures(pictures, "modalities", "entropy"),
        *([{"heading": "Missing and noisy modalities", "level": 2}] if hard else []),
        *_figures(pictures, "missing", "noise"),
        {"heading": "Calibration", "level": 2},
        *_figures(pictures, "calibration", "reliability"),
        *([{"heading": "Confusion", "level": 2}] if "confusion" in pictures else []),
        *_figures(pictures, "confusion"),
        *(_numbers_of_classes(data["class_names"]) if "confusion" in pictures else []),
        {"heading": "Analyses in numbers", "level": 2},
        *_measures_tables(rows),
        {"text": f"{_MEANS}; - where there is none. {_TRAINING_READING}"},
        *([{"text": " ".join(recalibration)}] if "recalibrated" in kinds else []),
        *([{"text": _CHAIN_READING}] if "chain" in kinds else []),
        *provenance(runs, failed),
    ]
    return blocks, pictures, {"results.csv": comparison_csv(told, failed)}


def _results(comparison):
    """Returns the table of the results, without differences if there is nothing to compare."""
    cells = comparison_cells(comparison)
    if any(row["difference"] for row in comparison["rows"]):
        return [{"table": cells}, {"text": f"{_SHARES} {comparison_reading(comparison)}"}]
    return [{"table": [line[:-1] for line in cells]}, {"text": f"{_SHARES} {_MEANS}."}]


def _measures_tables(rows):
    """Returns tables of all analyses that are one number: a line for each row."""
    blocks = []
    for table, heading in ANALYSES.items():
        if names := ordered((name for row in rows for name in row["measures"]), table):
            lines = [["method", "fusion", *map(title, names)]]
            for row in rows:
                cells = [mean(name, row["measures"].get(name), short=True) for name in names]
                lines.append([row["method"], row["fusion"], *cells])
            blocks += [{"heading": heading, "level": 3}, {"table": lines}]
    return blocks


def _figures(there, *names):
    """Returns blocks of the figures that exist."""
    return [{"figure": name, "caption": _CAPTIONS[name]} for name in names if name in there]


def _numbers_of_classes(class_names):
    """Returns the class of each number, where the figures have numbers."""
    if writes_names(class_names):
        return []
    numbered = (f"{number} {name}" for number, name in enumerate(class_names))
    return [{"text": f"Numbers of the classes: {', '.join(numbered)}."}]


def _warnings(rows):
    """Returns a line for each row whose runs differ in more than their seeds."""
    lines = []
    for row in rows:
        fields = differing_fields([run["config"] for run in row["runs"]])
        if unlike := [path for path, _ in fields if path != "seed"]:
            lines.append(
                f"Beware: the runs of {row['method']}, {row['fusion']} differ in more than their "
                f"seeds ({', '.join(unlike)}), so that their mean and interval mix unlike runs."
            )
    return [{"items": lines}] if lines else []


def _undefined_note(rows):
    name = Name("js_divergence")
    told = {name, name._replace(by=MARGINAL)}
    without = [row["label"] for row in rows if not told & set(row["measures"])]
    text = (
        "These compare the predictions of two single modalities or more, and are not defined for: "
        f"{', '.join(without)}. Where an earlier version evaluated a head that is no sum over "
        "modalities, --mode=evaluate adds them."
    )
    return [{"text": text}] if without else []


def _quoted(kind):
    quoted = [
        {"heading": "Quoted from the paper, not measured here", "level": 3},
        {"table": [["method", "quantity", "value in the paper"], *map(list, QUOTED.get(kind, []))]},
        {"text": f"Source: {_SOURCE}"},
    ]
    return [{"aside": quoted}] if kind in QUOTED else []
