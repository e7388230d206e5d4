"""Studies in a report: a folder with study.json as plain data, and what is said of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tcmax_jax.evaluation.reports.naming import order
from tcmax_jax.evaluation.reports.provenance import commands, environments_table
from tcmax_jax.evaluation.reports.runs import read_provenance
from tcmax_jax.evaluation.reports.style import styles
from tcmax_jax.evaluation.study import point_folder, study_cells, study_reading

_CAPTION = (
    "Means over seeds with the 95 % t-interval of the mean (none for one seed), evenly spaced "
    "whatever the values are. Accuracies and cross-entropy are of the best checkpoint on "
    "validation. Dotted: no difference."
)


def read_study(folder: Path) -> dict:
    """Reads the folder of a study.

    Returns:
      {"folder", "field", "points": see `tcmax_jax.training.study.run_study`, "runs": those whose
      folders are there, see `read_runs`}.

    Raises:
      ValueError: study.json is damaged or has no point yet.
    """
    path = folder / "study.json"
    try:
        study = json.loads(path.read_text())
        complete = study["field"] and all(point["rows"] for point in study["points"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected the points of a study in {path}, got: {error!r}. Restore the file, or start "
            "the study again with the same command; it goes on."
        ) from error
    if not (study["points"] and complete):
        raise ValueError(
            f"Expected a point of a study in {path}, got none yet. Go on with the command that "
            "began it."
        )
    places = [folder / point_folder(study["field"], p["value"]) for p in study["points"]]
    folders = [path.parent for place in places for path in sorted(place.glob("*/config.json"))]
    runs = [read_provenance(run) for run in folders]
    return {"folder": str(folder), **study, "runs": runs}


def study_lines(study: Mapping) -> list[dict]:
    """Returns the lines of a study's figure.

    Returns:
      [{"label", "look", "points": [row of the study or None at each value]}], a line for each
      method and fusion. Where the study changes the method's own options or the fusion, or takes
      another method, what it changes is no line of its own.
    """
    found = {}
    values = study["points"]
    for place, point in enumerate(values):
        for row in point["rows"]:
            line = found.setdefault(_line_of(row, study["field"]), [None] * len(values))
            line[place] = row
    names = sorted(found, key=lambda key: (order(_name(key[0])), key))
    several = len({fusion for _, fusion in names if fusion}) > 1
    looks = styles([_name(method) for method, _ in names])
    return [
        {
            "label": f"{key[0]}, {key[1]}" if several else key[0],
            "look": look,
            "points": found[key],
        }
        for key, look in zip(names, looks, strict=True)
    ]


def study_blocks(study: Mapping, figure: str, level: int) -> list[dict]:
    """Returns the blocks on a study, see `content`.

    Args:
      study: see `read_study`.
      figure: name of its figure.
      level: level of its heading.
    """
    values = ", ".join(json.dumps(point["value"]) for point in study["points"])
    return [
        {"heading": f"Study of {study['field']}", "level": level},
        {"text": f"The same recipe with {study['field']} of {values}; folder {study['folder']}."},
        {"figure": figure, "caption": _CAPTION},
        {"table": study_cells(study)},
        {"text": study_reading()},
        *(_provenance(study["runs"], level + 1) if study["runs"] else []),
    ]


def _provenance(runs, level):
    return [
        {"heading": "Versions and devices", "level": level},
        {"table": environments_table(runs)},
        {"heading": "To run it again", "level": level},
        {"code": commands(runs)},
    ]


def study_csv_rows(study: Mapping) -> Sequence[Sequence]:
    """Returns the lines of a CSV file: every number of the study in full precision."""
    head = ["field", "value", "method", "fusion", "seeds", "quantity", "mean", "half_width"]
    lines = [head]
    for point in study["points"]:
        for row in point["rows"]:
            own = [study["field"], json.dumps(point["value"]), row["method"], row["fusion"]]
            quantities = {**row["metrics"], **(row["cost"] or {})}
            if row["difference"]:
                quantities["minus " + row["against"]["method"]] = row["difference"]
            for name, x in quantities.items():
                half = "" if x["half_width"] is None else x["half_width"]
                lines.append([*own, len(row["seeds"]), name, x["mean"], half])
    return lines


def _line_of(row, field):
    method, fusion = row["method"], row["fusion"]
    if field.startswith("method."):
        method = _name(method)
    if field == "model.fusion":
        fusion = ""
    return method, fusion


def _name(label):
    return label.partition("-")[0]
