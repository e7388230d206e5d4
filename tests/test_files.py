"""What is written is JSON, whatever the numbers are."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tcmax_jax.evaluation.analysis import analyse_splits, analyse_stored
from tcmax_jax.evaluation.outputs import Outputs, analysis_numbers, store
from tcmax_jax.evaluation.quantities import Name
from tcmax_jax.evaluation.reports.report import write_report
from tcmax_jax.evaluation.text import analysis_text
from tcmax_jax.files import json_text, parse_json
from tests.evaluation.reports import made_runs

PACKAGE = Path(__file__).parents[1] / "tcmax_jax"
# What is no file: digests, parts of other files, values as a user would type them.
TEXTS = {
    "base.py", "checkpoint_reader.py", "chunks.py", "listing.py", "logs.py", "provenance.py",
    "section.py", "studies.py", "study.py", "summary.py",
}  # fmt: skip


def strict(text):
    """Returns what JSON holds, as a program reads it that knows JSON alone."""

    def refuse(name):
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_numbers_that_json_does_not_have_are_null(value):
    data = {"a": [value, 1.5, {"b": (value, 2)}], "c": "NaN", "d": None, "e": True}
    expected = {"a": [None, 1.5, {"b": [None, 2]}], "c": "NaN", "d": None, "e": True}
    for indent in (None, 2):
        assert strict(json_text(data, indent=indent)) == expected
    # As earlier versions wrote it.
    assert parse_json(json.dumps(data)) == expected
    assert parse_json(json_text(data)) == expected


def test_files_are_written_by_one_function():
    users = {p.name for p in PACKAGE.rglob("*.py") if "json.dumps" in p.read_text()}
    assert users - {"files.py"} <= TEXTS


def certain():
    """Returns outputs with a modality that is certain of every example."""
    logits = 1e4 * np.float32([[1, -1], [-1, 1]])
    return Outputs(
        labels=np.array([0, 1]),
        scores={"fused": logits, "a": logits, "b": np.zeros((2, 2), np.float32)},
        features={m: np.eye(2, dtype=np.float32) for m in "ab"},
        predicted={},
        class_names=["x", "y"],
        dataset="made",
        split="test",
    )


def test_analyses_of_large_logits_are_json(tmp_path):
    analyses = analyse_splits({"test": certain()})
    store(tmp_path, {"test": certain()}, analyses)
    assert strict((tmp_path / "analysis.json").read_text()) == analyses
    assert analyse_stored(tmp_path) == analyses
    known = {name: x for name, (x, _) in analysis_numbers(analyses["test"]).items()}
    assert known.pop(Name("entropy_ratio")) is None
    assert all(map(math.isfinite, known.values()))
    (line,) = [x for x in analysis_text(analyses).splitlines() if x.startswith("entropy ratio")]
    assert line.split() == ["entropy", "ratio", "(split)", "-"]


@pytest.mark.parametrize("written", ["null", "Infinity"])
def test_a_report_shows_that_a_number_is_not_finite(tmp_path, written):
    folders = [made_runs.write_run(tmp_path / str(s), made_runs.config(seed=s)) for s in (0, 1)]
    analysis = parse_json((folders[1] / "analysis.json").read_text())
    analysis["test"]["entropy_ratio"] = "here"
    text = json.dumps(analysis).replace('"here"', written)
    (folders[1] / "analysis.json").write_text(text)
    write_report([str(folder) for folder in folders], tmp_path / "report")
    page = (tmp_path / "report" / "report.md").read_text()
    head, _, row = next(
        block.splitlines() for block in page.split("\n\n") if "| entropy ratio (split) |" in block
    )
    cells = dict(zip(head.split("|"), row.split("|"), strict=True))
    assert cells[" entropy ratio (split) "] == " - "
