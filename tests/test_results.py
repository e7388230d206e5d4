"""What pages say of measurements is what was measured."""

import csv
import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from tcmax_jax.evaluation.comparison import comparison_markdown, interval
from tcmax_jax.evaluation.quantities import Name, mean, read_name

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
PAGE = (ROOT / "docs" / "when_to_use.md").read_text()
MEASURED = json.loads((RESULTS / "phase.json").read_text())


@pytest.fixture(scope="module")
def benchmark():
    """Returns a function that imports a script of the benchmarks by name."""
    sys.path.insert(0, str(ROOT / "experiments" / "benchmarks"))
    yield importlib.import_module
    sys.path.pop(0)


@pytest.fixture(scope="module")
def phase_page(benchmark):
    return benchmark("phase_page")


def test_how_often_the_bound_acts_is_what_was_measured(benchmark):
    page = (RESULTS / "stability.md").read_text()
    for name in ("stability_recipe", "stability_recipe_64"):
        measured = json.loads((RESULTS / f"{name}.json").read_text())
        assert benchmark("stability_recipe").table(measured) in page
    ends = {
        row["bounded"]: [x["accuracy at the end"] for x in row["runs"]]
        for row in measured["rows"]
        if row["optimizer"] == "sgd"
    }
    assert min(ends[True]) > 0.6
    assert max(ends[False]) < 0.2
    means = [f"{sum(x) / len(x):.2f}" for x in (ends[True], ends[False])]
    objective = " ".join((ROOT / "docs" / "objective.md").read_text().split())
    assert "accuracy of {} with the bound and {} without it".format(*means) in objective


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


def table_of(page, begin):
    """Returns the rows of the table of a page whose heading begins so, and the lines after it."""
    lines = (RESULTS / page).read_text().splitlines()
    heading = next(i for i, line in enumerate(lines) if line.startswith(begin))
    return [line.strip("| ").split(" | ") for line in lines[heading + 2 :]]


def study_rows(measured):
    """Rows of a study: value, method, seeds, accuracies, points above joint training."""
    alone = (f"marginal/accuracy/{m}" for m in ("audio", "visual"))
    names = ("accuracy", "recalibrated", *alone, "probe/visual")
    for point in measured["points"]:
        for row in point["rows"]:
            accuracies = [mean(read_name(n), row["metrics"][n], short=True) for n in names]
            difference = row["difference"]
            apart = mean(Name("difference"), difference, short=True) if difference else "-"
            value, seeds = str(point["value"]), str(len(row["seeds"]))
            yield [value, row["method"], seeds, *accuracies, apart]


def of_the_analyses(study, begin):
    """Returns a study of five seeds and its rows, which the page of analyses has to hold."""
    measured = json.loads((RESULTS / "comparisons" / f"{study}.json").read_text())
    rows = list(study_rows(measured))
    assert rows == table_of("analyses.md", begin)[: len(rows)]
    assert {row[2] for row in rows} == {"5"}
    return measured, rows


def test_the_table_on_the_batch_size_holds_its_numbers():
    measured, _ = of_the_analyses("batch", "| batch | method")
    bounds = [point["rows"][1]["metrics"]["tc_bound"] for point in measured["points"]]
    told = [mean(Name("tc_bound"), each, short=True) for each in bounds]
    text = (RESULTS / "analyses.md").read_text()
    assert "TCMax's bound is {}, {} and {} nats".format(*told) in text


def test_the_table_on_the_strength_of_the_sound_holds_its_numbers():
    _, rows = of_the_analyses("signal", "| sound | method")
    cells = {(row[0], row[1]): row[3:] for row in rows}
    faint = {method: cells["0.1", method] for method in ("tcmax", "unimodal", "joint")}
    said = " ".join((ROOT / "docs" / "objective.md").read_text().split())
    for column, text in (
        (0, "accuracy is {0} %, joint training's {2} %, since it ignores that sound"),
        (0, "the ensemble of unimodal classifiers has {1} % with its best checkpoint"),
        (
            4,
            "a linear probe reaches {} % on TCMax's picture features, {} % on the ensemble's "
            "and {} % on joint",
        ),
        (1, "TCMax has {} %, the ensemble {} %, joint training {} %"),
    ):
        assert text.format(*(row[column] for row in faint.values())) in said
    said = " ".join((RESULTS / "analyses.md").read_text().split())
    for text, value in (
        ("TCMax gains {} points", "0.2"),
        ("and {} with the recipe's", "0.35"),
        ("joint training, {} points", "0.1"),
    ):
        assert text.format(cells[value, "tcmax"][5]) in said


NUMBER = re.compile(r"[-+.\d]+ ±[.\d]*\d")
JS, RATIO, GAIN = (
    f"marginal/{kind}" for kind in ("js_divergence", "entropy_ratio", "multimodal_gain")
)
SOUND, PICTURE, MOUTH = (f"marginal/accuracy/{m}" for m in ("audio", "visual", "mouth"))
TRAINED = "train_cross_entropy"
ALONE = [("unimodal-modality=audio", SOUND), ("unimodal-modality=visual", PICTURE)]
# {begin of a row: the numbers of both columns}: (method, key), and the method that is taken off.
FINDINGS = {
    "TCMax has the lowest": (
        [("tcmax", JS), ("joint", JS), ("mla", JS), ("unimodal", JS), ("tcmax", JS, "mla"),
         ("tcmax", JS, "unimodal")],
        [("tcmax", JS), ("unimodal", JS), ("joint", JS)],
    ),
    "its entropy ratio": (
        [("tcmax", RATIO), ("joint", RATIO), ("qmf", RATIO), ("unimodal", RATIO)],
        [("tcmax", RATIO), ("unimodal", RATIO), ("joint", RATIO)],
    ),
    "each modality alone": (
        [("tcmax", SOUND), ("tcmax", PICTURE), *ALONE, ("joint", PICTURE)],
        [("tcmax", MOUTH), ("unimodal", MOUTH), ("joint", MOUTH), ("tcmax", SOUND),
         ("unimodal", SOUND)],
    ),
    "fused accuracy above": (
        [(m, "accuracy", "joint") for m in ("tcmax", "opm", "unimodal", "qmf")],
        [("tcmax", "accuracy", "joint"), ("unimodal", "accuracy", "joint")],
    ),
    "alignment adds": (
        [("tcmax", GAIN), ("unimodal", GAIN)],
        [("tcmax", "accuracy", "unimodal"), ("tcmax", GAIN), ("unimodal", GAIN), ("joint", GAIN)],
    ),
    "the loss on the training set": (
        [(m, "cross_entropy") for m in ("tcmax", "joint", "unimodal")],
        [("tcmax", TRAINED), ("joint", TRAINED), ("unimodal", TRAINED),
         *((m, "cross_entropy") for m in ("tcmax", "joint", "unimodal"))],
    ),
}  # fmt: skip


def negatives_rows(measured):
    """Rows of a table on negatives: tuples, seeds, accuracies, bound and cross-entropy."""
    names = ("accuracy", SOUND, PICTURE, "tc_bound", "cross_entropy")
    for point in measured["points"]:
        (row,) = point["rows"]
        numbers = [mean(read_name(name), row["metrics"][name], short=True) for name in names]
        yield ["all" if point["value"] is None else str(point["value"]), *numbers]


@pytest.mark.parametrize(
    ("name", "begin"),
    [("negatives", "| tuples, gated"), ("negatives_additive", "| tuples, additive")],
)
def test_the_tables_on_negatives_hold_their_numbers(name, begin):
    measured = json.loads((RESULTS / "comparisons" / f"{name}.json").read_text())
    rows = list(negatives_rows(measured))
    assert rows == table_of("analyses.md", begin)[: len(rows)]
    assert {row["metrics"]["accuracy"]["n"] for x in measured["points"] for row in x["rows"]} == {5}


@pytest.fixture(scope="module")
def runs():
    """Returns {report: {method: {seed: the numbers of a run}}} of what analyses.md tells."""
    found = {}
    for report in ("synthetic", "grid"):
        with (RESULTS / f"{report}_report" / "results.csv").open() as file:
            for row in csv.DictReader(file):
                found.setdefault(report, {}).setdefault(row["method"], {})[row["seed"]] = row
    compared = json.loads((RESULTS / "comparisons" / "synthetic.json").read_text())["runs"]
    for run in compared:
        of_method = found["synthetic"].setdefault(run["method"], {})
        of_method.setdefault(str(run["seed"]), run["metrics"])
    return found


def told(runs, method, key, against=None):
    """Returns a number as pages tell it: its mean over five seeds, or that of a difference."""
    values = {seed: float(run[key]) for seed, run in runs[method].items() if run.get(key)}
    name = read_name(key)
    if against:
        values = {s: x - float(runs[against][s][key]) for s, x in values.items()}
        name = Name("difference") if key == "accuracy" else name
    assert len(values) == 5
    return mean(name, interval(list(values.values())), short=True)


def test_the_findings_of_the_paper_are_told_by_their_numbers(runs):
    text = (RESULTS / "analyses.md").read_text()
    lines = {line[2:].split(" | ")[0]: line for line in text.splitlines() if line[:2] == "| "}
    for begin, columns in FINDINGS.items():
        (line,) = (line for first, line in lines.items() if first.startswith(begin))
        for report, wanted, cell in zip(
            ("synthetic", "grid"), columns, line.strip("| ").split(" | ")[1:], strict=True
        ):
            expected = [told(runs[report], *each) for each in wanted]
            assert NUMBER.findall(cell) == expected, (begin, report)


def test_what_is_told_of_missing_and_noisy_modalities(runs):
    text = (RESULTS / "analyses.md").read_text()
    section = text[text.index("## A missing or noisy modality") :].split("\n## ")[0]
    without, noise = "marginal/without/{}".format, "noise/{}=2".format
    wanted = [("synthetic", m, without("audio")) for m in ("tcmax", "joint")]
    wanted += [("synthetic", m, without("visual")) for m in ("tcmax", "joint")]
    wanted += [("synthetic", m, noise("audio")) for m in ("tcmax", "joint", "unimodal", "qmf")]
    wanted += [("grid", m, without("audio")) for m in ("tcmax", "unimodal", "joint")]
    wanted += [
        ("grid", m, noise(of)) for of in ("audio", "mouth") for m in ("tcmax", "unimodal", "joint")
    ]
    expected = [told(runs[report], m, key) for report, m, key in wanted]
    assert NUMBER.findall(section) == expected


def test_the_plans_are_those_of_their_numbers(benchmark):
    tpu_plan = benchmark("tpu_plan")
    plans = tpu_plan.read()
    assert tpu_plan.PAGE.read_text() == tpu_plan.page(plans)
    assert plans.keys() <= set(tpu_plan.cells())
    loss = plans[tpu_plan.LARGE]["loss"]
    assert max(loss["flops"], loss["bytes"]) < 0.01
