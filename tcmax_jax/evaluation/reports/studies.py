"""Reads the folder of a study: its table, and its section of a report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tcmax_jax import digests
from tcmax_jax.evaluation.quantities import (
    Name,
    mean,
    number,
    ordered,
    quantity,
    read_name,
    title,
)
from tcmax_jax.evaluation.reports.provenance import commands, environments_table, plain
from tcmax_jax.evaluation.reports.runs import read_provenance
from tcmax_jax.evaluation.reports.style import order, styles
from tcmax_jax.evaluation.tables import csv_table, markdown_table

_READING = (
    "Mean over seeds ± half the 95 % t-interval of the mean; the difference is that of fused "
    "accuracy from joint training, paired by seed. The training loss is the mean of each method's "
    "own objective over the last epoch. The time of a step includes waiting for data (median over "
    "the logging windows after the first epoch). Memory is what the compiled step needs in "
    "addition to parameters and batch."
)
_CAPTION = (
    "Means over seeds with the 95 % t-interval of the mean (none for one seed); the values are "
    "evenly spaced. Accuracies and cross-entropy are of the best checkpoint on "
    "validation. Dotted: chance, or no difference. Lines that leave a panel are marked, intervals "
    "are cut off. Training losses of different methods have separate axes; if the study "
    "changes options of the method, only the table shows them."
)


def point_folder(field: str, value: Any) -> str:
    """Returns the name of a study's folder for the runs with one value of its field."""
    return f"{field}={plain(value)}".replace("/", "_")


def read_study(folder: Path) -> dict:
    """Reads the folder of a study.

    Returns:
      {"folder", "field", "points": see `tcmax_jax.commands.study.run_study`, "runs": those whose
      folders are there, see `read_runs`, "classes": their number where all runs have as many, None
      where they do not, or no folder is there}.

    Raises:
      ValueError: study.json is damaged or has no point yet.
    """
    path = folder / "study.json"
    again = "Restore the file, or start the study again with the same command; it resumes."
    study = digests.read_json(path, again, ["field", "points"])
    try:
        complete = study["field"] and all(point["rows"] for point in study["points"])
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"Expected the points of a study in {path}, got: {error!r}. {again}"
        ) from error
    if not (study["points"] and complete):
        raise ValueError(
            f"Expected a point of a study in {path}, got none yet. Go on with the command that "
            "began it."
        )
    places = [folder / point_folder(study["field"], p["value"]) for p in study["points"]]
    folders = [path.parent for place in places for path in sorted(place.glob("*/config.json"))]
    runs = [read_provenance(run) for run in folders]
    classes = {len(run["data"]["class_names"]) for run in runs}
    known = classes.pop() if len(classes) == 1 else None
    return {"folder": str(folder), **study, "runs": runs, "classes": known}


def study_numbers(row: Mapping) -> dict[Name, Mapping]:
    """Returns {name: interval} for a row of a study: metrics, difference and costs."""
    named = {read_name(key): x for key, x in _intervals(row, "difference").items()}
    known = {name: x for name, x in named.items() if x["mean"] is not None}
    return {name: x for name, x in known.items() if "study" in quantity(name).shown}


def study_cells(study: Mapping) -> list[list[str]]:
    """Returns the head and the rows of the table of a study, see `run_study`, as lists of text."""
    rows = [(cells, study_numbers(row)) for cells, row in _rows(study)]
    names = ordered(name for _, numbers in rows for name in numbers)
    titles = [title(name, short=True) for name in names]
    return [
        [study["field"], "method", "fusion", "seeds", *titles],
        *([*cells, *(mean(name, numbers.get(name)) for name in names)] for cells, numbers in rows),
    ]


def study_markdown(study: Mapping) -> str:
    """Lays out a study as a Markdown table with a reading guide, see `study_cells`."""
    return f"{markdown_table(study_cells(study))}\n\n{_READING}\n"


def study_lines(study: Mapping) -> list[dict]:
    """Returns the lines of a study's figure.

    Returns:
      [{"label", "look", "points": [row of the study, with its "numbers", see `study_numbers`, or
      None, at each value]}], a line for each method and fusion. Where the study changes the
      method's own options or the fusion, or takes another method, what it changes is no line of
      its own.
    """
    lines, field = {}, study["field"]
    for place, point in enumerate(study["points"]):
        for row in point["rows"]:
            method = _name(row["method"]) if field.startswith("method.") else row["method"]
            fusion = "" if field == "model.fusion" else row["fusion"]
            line = lines.setdefault((method, fusion), [None] * len(study["points"]))
            line[place] = row | {"numbers": study_numbers(row)}
    names = sorted(lines, key=lambda key: (order(_name(key[0])), key))
    several = len({fusion for _, fusion in names if fusion}) > 1
    looks = styles([_name(method) for method, _ in names])
    return [
        {"label": ", ".join(key) if several else key[0], "look": look, "points": lines[key]}
        for key, look in zip(names, looks, strict=True)
    ]


def study_blocks(study: Mapping, figure: str, level: int) -> list[dict]:
    """Returns the blocks on a study, see `tcmax_jax.evaluation.reports.page`.

    Args:
      study: see `read_study`.
      figure: name of its figure.
      level: level of its heading.
    """
    values = ", ".join(json.dumps(point["value"]) for point in study["points"])
    made = []
    if runs := study["runs"]:
        made = [
            {"heading": "Versions and devices", "level": level + 1},
            {"table": environments_table(runs)},
            {"heading": "Commands to repeat the runs", "level": level + 1},
            {"code": commands(runs)},
        ]
    return [
        {"heading": f"Study of {study['field']}", "level": level},
        {"text": f"The same recipe with {study['field']} of {values}; folder {study['folder']}."},
        {"text": _shown(study)},
        {"figure": figure, "caption": _CAPTION},
        {"table": study_cells(study)},
        {"text": _READING},
        *made,
    ]


def _shown(study):
    """Returns a sentence on each line's lowest and highest fused accuracy, and at which values."""
    values, name = [json.dumps(point["value"]) for point in study["points"]], Name("accuracy")
    ranges = []
    for line in study_lines(study):
        numbers = [row["numbers"].get(name) if row else None for row in line["points"]]
        if told := sorted((x["mean"], place) for place, x in enumerate(numbers) if x):
            ends = dict.fromkeys((told[0], told[-1]))  # one alone where there is but one value
            texts = (f"{number(name, x, short=True)} (at {values[at]})" for x, at in ends)
            ranges.append(f"{line['label']} {' to '.join(texts)}")
    return f"From the lowest to the highest {title(name)}: {'; '.join(ranges) or 'none is known'}."


def studies_csv(studies: Sequence[Mapping]) -> str:
    """Returns a CSV file with every number of studies in full precision."""
    lines = [["field", "value", "method", "fusion", "seeds", "quantity", "mean", "half_width"]]
    for study in studies:
        for cells, row in _rows(study):
            difference = f"minus {row['against']['method']}" if row["difference"] else None
            for key, x in _intervals(row, difference).items():
                half = "" if x["half_width"] is None else x["half_width"]
                lines.append([study["field"], *cells, key, x["mean"], half])
    return csv_table(lines)


def _rows(study):
    """Yields the first cells of each row of a study, from its value to its seeds, and the row."""
    for point in study["points"]:
        for row in point["rows"]:
            seeds = str(len(row["seeds"]))
            yield [json.dumps(point["value"]), row["method"], row["fusion"], seeds], row


def _intervals(row, difference):
    """Returns {key: interval} of a row; that of its difference has the key `difference`."""
    shown = {difference: row["difference"]} if row["difference"] else {}
    return {**row["metrics"], **(row["cost"] or {}), **shown}


def _name(label):
    return label.partition("-")[0]
