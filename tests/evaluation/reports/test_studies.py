"""Studies in a report: lines, numbers, and what cannot be told."""

import csv
import io
import json

import pytest

from tcmax_jax.evaluation.reports import draw
from tcmax_jax.evaluation.reports.figures import study_figure
from tcmax_jax.evaluation.reports.report import write_report
from tcmax_jax.evaluation.reports.studies import read_study, study_lines
from tcmax_jax.evaluation.reports.style import styles
from tests.evaluation.reports.made_runs import ENVIRONMENT, config, write_run, write_study
from tests.evaluation.reports.test_report import tables


def test_what_a_study_changes_in_the_method_is_no_line_of_its_own(tmp_path):
    write_study(tmp_path / "s")
    [line] = study_lines(read_study(tmp_path / "s"))
    assert line["label"] == "tcmax"
    assert line["look"] == styles(["tcmax"])[0]
    assert [row["method"] for row in line["points"]] == ["tcmax-num_negatives=16", "tcmax"]


def test_each_method_of_a_comparison_has_its_line(tmp_path):
    study = write_study(tmp_path / "s", "data.audio_signal", (0.1, 0.5, 2.0))
    study["points"][1]["rows"].pop()  # A method may be missing at a value.
    joint, tcmax = study_lines(study)
    assert (joint["label"], tcmax["label"]) == ("joint", "tcmax")
    assert [row is None for row in tcmax["points"]] == [False, True, False]


def test_the_figure_draws_the_means(tmp_path):
    write_study(tmp_path / "s", "data.audio_signal", (0.1, 0.5))
    study = read_study(tmp_path / "s")
    with draw._styled():
        _, *panels = study_figure(study, study_lines(study))
    axes = {panel.axes[0].get_title(): panel.axes[0] for panel in panels}
    assert list(axes) == [
        "fused accuracy", "recalibrated accuracy", "accuracy of audio (split)",
        "difference of fused accuracy", "cross-entropy", "TC bound", "time of a step",
        "memory of a step", "training loss, joint", "training loss, tcmax",
    ]  # fmt: skip
    again = axes["recalibrated accuracy"].containers[0]
    assert list(again.lines[0].get_ydata()) == pytest.approx([81.23456, 81.73456])
    joint, tcmax = axes["fused accuracy"].containers
    assert list(joint.lines[0].get_ydata()) == pytest.approx([76.54321, 77.54321])
    assert list(tcmax.lines[0].get_ydata()) == pytest.approx([86.54321, 87.54321])
    assert list(axes["difference of fused accuracy"].containers[0].lines[0].get_ydata()) == [10, 10]
    assert list(axes["time of a step"].containers[0].lines[0].get_ydata()) == [12.5, 12.5]
    labels = [text.get_text() for text in axes["TC bound"].get_xticklabels()]
    assert labels == ["0.1", "0.5"]
    assert axes["fused accuracy"].get_ylim() == (0, 100)
    # What only some rows have is drawn for these.
    assert len(axes["difference of fused accuracy"].containers) == 1


def test_the_page_says_what_the_study_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "_svg", lambda figure: b"")
    study = write_study(tmp_path / "s", "data.audio_signal", (0.1, 0.5, 2.0))
    study["points"][0]["rows"].pop()
    (tmp_path / "s" / "study.json").write_text(json.dumps(study))
    _, markdown, _ = write_report([str(tmp_path / "s")], tmp_path / "out")
    shown = markdown.read_text().split("\n\n")[2]
    assert shown == (
        "From the lowest to the highest fused accuracy (%): joint 76.5 (at 0.1) to 78.5 (at 2.0); "
        "tcmax 87.5 (at 0.5) to 88.5 (at 2.0)."
    )


def test_losses_stand_apart_and_are_not_drawn_where_a_study_changes_them(tmp_path):
    drawn = {}
    for field, values in (("data.audio_signal", (0.1, 0.5)), ("method.num_negatives", (16, 64))):
        write_study(tmp_path / field, field, values)
        study = read_study(tmp_path / field)
        _, *panels = study_figure(study, study_lines(study))
        axes = [panel.axes[0] for panel in panels]
        drawn[field] = [ax for ax in axes if ax.get_title().startswith("training loss")]
    assert [len(ax.containers) for ax in drawn["data.audio_signal"]] == [1, 1]
    assert drawn["method.num_negatives"] == []


@pytest.mark.parametrize(("classes", "chance"), [((4, 4), ["chance 25.0"]), ((4, 5), [])])
def test_a_study_has_the_chance_of_its_runs(tmp_path, classes, chance):
    write_study(tmp_path / "s", "seed", (3, 4))
    for seed, number in zip((3, 4), classes, strict=True):
        write_run(tmp_path / "s" / f"seed={seed}" / "joint", config(seed=seed), classes=number)
    study = read_study(tmp_path / "s")
    _, fused, *_ = study_figure(study, study_lines(study))
    assert [text.get_text() for text in fused.axes[0].texts] == chance


def test_a_report_on_a_study_alone(tmp_path):
    study = write_study(tmp_path / "s")
    paths = write_report([str(tmp_path / "s")], tmp_path / "out")
    assert [path.name for path in paths] == ["report.html", "report.md", "studies.csv"]
    text = paths[1].read_text()
    assert text.startswith("# Study of method.num_negatives\n")
    [[head, *rows]] = tables(text)
    assert head == [
        "method.num_negatives", "method", "fusion", "seeds", "fused (%)", "recalibrated (%)",
        "audio (split, %)", "cross-entropy (nats)", "TC bound (nats)", "training loss (nats)",
        "time of a step (ms)", "memory of a step (MiB)",
    ]  # fmt: skip
    assert [rows[0][0], *rows[0][4:6]] == ["16", "86.54 ±1.00", "81.23 ±1.00"]
    assert rows[0][9] == "-2.5000 ±0.0100"
    assert rows[1][-2:] == ["12.50 ±10.00", "3.5"]
    assert (tmp_path / "out" / "figures" / "study-1-2.svg").stat().st_size > 5_000
    lines = list(csv.DictReader(io.StringIO(paths[2].read_text())))
    told = {
        (line["value"], line["quantity"]): (float(line["mean"]), line["half_width"])
        for line in lines
    }
    for point in study["points"]:
        [row] = point["rows"]
        for name, x in {**row["metrics"], **row["cost"]}.items():
            value = "null" if point["value"] is None else str(point["value"])
            half = "" if x["half_width"] is None else str(x["half_width"])
            assert told.pop((value, name)) == (x["mean"], half)
    assert not told


def test_a_study_says_what_its_runs_were_made_with(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "_svg", lambda figure: b"")
    write_study(tmp_path / "s", "seed", (3, 4))
    for seed in (3, 4):
        write_run(tmp_path / "s" / f"seed={seed}" / "joint", config(seed=seed))
    _, markdown, _ = write_report([str(tmp_path / "s")], tmp_path / "out")
    text = markdown.read_text()
    assert f"| devices | {ENVIRONMENT['devices']} |" in text
    assert "again --config.seed=3 --workdir=runs/again/00-joint-concat-seed3" in text
    assert "again --config.seed=4 --workdir=runs/again/01-joint-concat-seed4" in text


def test_studies_follow_the_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "_svg", lambda figure: b"")
    write_run(tmp_path / "runs" / "a")
    write_study(tmp_path / "studies" / "a")
    write_study(tmp_path / "studies" / "b", "training.batch_size", (8, 16))
    paths = write_report([f"{tmp_path}/runs/a", f"{tmp_path}/studies/*"], tmp_path / "out")
    assert [path.name for path in paths] == [
        "report.html", "report.md", "results.csv", "studies.csv",
    ]  # fmt: skip
    text = paths[1].read_text()
    studies = "the study of method.num_negatives, the study of training.batch_size"
    assert text.startswith(f"# Report on synthetic, {studies}\n")
    assert text.index("### Commands to repeat the runs") < text.index(
        "## Study of method.num_negatives"
    )
    assert text.index("## Study of method") < text.index("## Study of training.batch_size")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"Expected JSON in .*study.json, got: .*it resumes"),
        ("{}", r"Expected a field 'field' in .*study.json, got none.*it resumes"),
        ('{"field": "a.b", "points": []}', r"Expected a point of a study in .*, got none yet"),
    ],
)
def test_files_that_are_no_study(tmp_path, content, message):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        write_report([str(tmp_path)], tmp_path / "out")
    assert not (tmp_path / "out").exists()
