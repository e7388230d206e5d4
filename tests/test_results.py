"""What pages say of measurements is what was measured."""

import json
import re
import sys
from pathlib import Path

import pytest

from tcmax_jax.evaluation.comparison import comparison_markdown
from tcmax_jax.evaluation.quantities import mean, read_name

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
PAGE = (ROOT / "docs" / "when_to_use.md").read_text()
MEASURED = json.loads((RESULTS / "phase.json").read_text())


@pytest.fixture(scope="module")
def phase_page():
    sys.path.insert(0, str(ROOT / "experiments" / "benchmarks"))
    try:
        import phase_page

        yield phase_page
    finally:
        sys.path.pop(0)


def accuracy(redundancy, synergy, difficulty, name):
    """Mean over the seeds of a cell of the map, as pages write it."""
    wanted = (redundancy, synergy, difficulty)
    (cell,) = (
        c for c in MEASURED["cells"] if (c["redundancy"], c["synergy"], c["visual"]) == wanted
    )
    values = cell["accuracy"].get(name, [cell["information"]["accuracy of both"]])
    text = f"{sum(values) / len(values):.3f}"
    return text.removeprefix("0")


def test_the_map_is_that_of_its_numbers(phase_page):
    assert (RESULTS / "phase.md").read_text() == phase_page.page(MEASURED)
    assert len(MEASURED["cells"]) == 45 and MEASURED["seeds"] == 5


def test_when_to_use_it_says_what_was_measured(phase_page):
    for sentence in phase_page.findings(MEASURED["cells"]):
        assert sentence in PAGE
    said = " ".join(PAGE.split())
    joint, tcmax = (accuracy(1, 0, "both hard", f"{m}, additive") for m in ("joint", "TCMax"))
    assert f"joint training reaches {joint} and TCMax {tcmax} with additive heads" in said
    easy = {accuracy(1, 0, "easy", f"{m}, additive") for m in ("joint", "TCMax")}
    assert len(easy) == 1 and f"both reach {easy.pop()}." in said
    joint, tcmax = (accuracy(0, 0, "easy", f"{m}, additive") for m in ("joint", "TCMax"))
    assert f"TCMax reaches {tcmax} where joint training reaches {joint}" in said
    assert f"no classifier can reach more than {accuracy(0, 0, 'easy', 'best')})" in said
    for name in ("joint, additive", "ensemble", "TCMax, additive"):
        for difficulty in ("easy", "hard", "both hard"):
            assert 0.24 < float(accuracy(0, 1, difficulty, name)) < 0.26
    joint, tcmax = (accuracy(0, 1, "easy", f"{m}, bilinear") for m in ("joint", "TCMax"))
    assert f"({joint}) than TCMax ({tcmax})" in said
    above, below = phase_page.wins(MEASURED["cells"], phase_page.PAIRS[1])
    assert below == 0 and f"in any cell, and above it in {above}." in said
    assert not re.search(r"[A-Z]{3,}_", PAGE)


NAMES = {"TCMax": "tcmax", "unimodal ensemble": "unimodal", "joint cross-entropy": "joint"}


def rows_of(heading):
    """Rows of a table of README, by their first cell, in the order of its columns."""
    text = (ROOT / "README.md").read_text()
    lines = text[text.index(heading) :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {first: rest for first, *rest in cells}


@pytest.mark.parametrize(
    ("name", "heading", "weak"),
    [("synthetic", "| the built-in set", "visual"), ("grid_noise", "| talking faces", "mouth")],
)
def test_tables_of_the_readme_are_those_of_the_measurements(name, heading, weak):
    measured = json.loads((RESULTS / "comparisons" / f"{name}.json").read_text())
    rows = measured["rows"] if "rows" in measured else measured["points"][0]["rows"]  # no noise
    methods = {row["method"]: row["metrics"] for row in rows}
    names = ["accuracy", "marginal/accuracy/audio", f"marginal/accuracy/{weak}"]
    table = rows_of(heading)
    assert table
    for method, cells in table.items():
        metrics = methods[NAMES[method]]
        assert cells == [mean(read_name(n), metrics[n], short=True) for n in names]
        assert {metrics[n]["n"] for n in names} == {5}


def test_pages_of_comparisons_hold_their_numbers():
    measured = json.loads((RESULTS / "comparisons" / "synthetic.json").read_text())
    page = (RESULTS / "synthetic_comparison.md").read_text()
    assert comparison_markdown(measured).strip() in page
    quiet, *_ = json.loads((RESULTS / "comparisons" / "grid_noise.json").read_text())["points"]
    methods = {row["method"]: row["metrics"] for row in quiet["rows"]}
    said = " ".join(PAGE.split())
    for key, text in (
        (
            "marginal/accuracy/mouth",
            "the mouth alone tells {} % of them after joint training and {} %",
        ),
        ("accuracy", "while the fused accuracy is {} % and {} %: TCMax is the choice"),
    ):
        means = [f"{100 * methods[m][key]['mean']:.1f}" for m in ("joint", "tcmax")]
        assert text.format(*means) in said
