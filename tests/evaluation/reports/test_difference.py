"""Two runs beside each other: paired changes by hand, and where the page's numbers come from."""

import json
import math
import shutil

import numpy as np
import pytest

from tcmax_jax.evaluation.analysis import analyse
from tcmax_jax.evaluation.outputs import Outputs, write_outputs
from tcmax_jax.evaluation.reports.difference import difference, write_difference
from tests.evaluation.reports.made_runs import config, outputs, write_run
from tests.evaluation.reports.test_report import tables


def outputs_of(chosen, labels):
    return Outputs(np.array(labels), {"fused": np.eye(3)[chosen]}, {}, {}, list("abc"), "d", "test")


def test_changes_are_paired():
    labels = [0, 0, 0, 0, 1, 1, 2]
    first = outputs_of([0, 0, 1, 1, 1, 0, 2], labels)
    second = outputs_of([0, 0, 0, 2, 1, 2, 0], labels)
    found = difference(first, second)
    # One example of class 0 is won, the one of class 2 is lost.
    assert (found["won"], found["lost"]) == (1, 1)
    assert found["change"]["mean"] == 0
    assert found["change"]["standard_error"] == pytest.approx(math.sqrt(2 / 6 / 7))
    assert found["agreement"] == pytest.approx(3 / 7)
    assert found["classes"] == [
        {"class": 2, "count": 1, "first": 1.0, "second": 0.0, "mean": -1.0, "standard_error": None},
        {"class": 0, "count": 4, "first": 0.5, "second": 0.75, "mean": 0.25,
         "standard_error": pytest.approx(0.25)},
        {"class": 1, "count": 2, "first": 0.5, "second": 0.5, "mean": 0.0, "standard_error": 0.0},
    ]  # fmt: skip


@pytest.fixture
def pair(tmp_path):
    folders = tmp_path / "a", tmp_path / "b"
    slower = {"optimizer": {"learning_rate": 0.0125}}
    for folder, tree in zip(folders, (config(), config("tcmax", changes=slower)), strict=True):
        write_run(folder, tree)
    labels = outputs(0, "test").labels
    for number, folder in enumerate(folders):
        own = outputs(number, "test")
        write_outputs(folder / "outputs-test.npz", own._replace(labels=labels))
        analysis = analyse(own._replace(labels=labels))
        (folder / "analysis.json").write_text(json.dumps({"test": analysis}))
    return folders


def test_the_page_says_what_the_files_say(pair, tmp_path):
    html, markdown = write_difference(*pair, tmp_path / "out")
    text = markdown.read_text()
    changed, numbers, classes = tables(text)
    assert ["optimizer.learning_rate", "0.03", "0.0125"] in changed
    assert ["method.kind", "joint", "tcmax"] in changed
    told = {name: cells for name, *cells in numbers[1:]}
    a, b = (json.loads((f / "analysis.json").read_text())["test"] for f in pair)
    js = [x["js_divergence"]["mean"] for x in (a, b)]
    change = f"{js[1] - js[0]:.4f}"
    assert told["JS divergence (split, nats)"] == [f"{js[0]:.4f}", f"{js[1]:.4f}", change, "-"]
    splits = [json.loads((f / "results.json").read_text())["splits"]["test"] for f in pair]
    for title, key, sign, factor, digits in (
        ("fused accuracy (%)", "accuracy", 1, 100, 2),
        ("cross-entropy (nats)", "cross_entropy", -1, 1, 4),
    ):
        first, second = (factor * metrics[key] for metrics in splits)
        better = "B" if sign * (second - first) > 0 else "A"
        expected = [*(f"{x:.{digits}f}" for x in (first, second, second - first)), better]
        assert told[title] == expected
    assert len(classes) == 1 + 4
    for name, count, first, second, _ in classes[1:]:
        c = int(name.removeprefix("class "))
        assert int(count) == sum(a["confusion"][c])
        for share, analysis in ((first, a), (second, b)):
            row = analysis["confusion"][c]
            assert share == f"{100 * row[c] / sum(row):.2f}"
    shares = [x["accuracy"]["fused"] for x in (a, b)]
    assert f"fused accuracy {100 * (shares[1] - shares[0]):+.2f} ±" in text
    assert b"<svg" in (tmp_path / "out" / "figures" / "curves-1.svg").read_bytes()
    assert "data:image/svg+xml" in html.read_text()


def test_two_checkpoints_of_one_run(pair, tmp_path):
    first, _ = pair
    checkpoint = first / "steps" / "8"
    checkpoint.mkdir(parents=True)
    for name in ("results.json", "analysis.json", "outputs-test.npz"):
        shutil.copy(first / name, checkpoint / name)
    _, markdown = write_difference(first, checkpoint, tmp_path / "out")
    text = markdown.read_text()
    assert "## Configuration\n\nThe same." in text
    assert "Two checkpoints of one training." in text
    assert "fused accuracy +0.00 ±0.00 points" in text


def test_equal_logs_of_two_runs_are_two_trainings(pair, tmp_path):
    shutil.copytree(pair[0], tmp_path / "copy")
    _, markdown = write_difference(pair[0], tmp_path / "copy", tmp_path / "out")
    assert "Two checkpoints" not in markdown.read_text()
    assert (tmp_path / "out" / "figures" / "curves-1.svg").exists()


def test_what_cannot_be_compared(pair, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"Expected an evaluated run, or steps/<step> of one, in "):
        write_difference(pair[0], tmp_path / "none", out)
    with pytest.raises(ValueError, match=r"Expected runs on the same data, got the data set"):
        write_difference(pair[0], write_run(tmp_path / "c", name="other/1.0.0"), out)
    (pair[1] / "outputs-test.npz").unlink()
    with pytest.raises(ValueError, match=r"Expected the outputs of an evaluation in .*Write them"):
        write_difference(*pair, out)
    write_outputs(pair[1] / "outputs-test.npz", outputs(1, "test"))
    with pytest.raises(ValueError, match=r"outputs for the same examples in .*got other labels"):
        write_difference(*pair, out)
    assert not out.exists()
