"""What pages say of the talking faces in noise is what was measured."""

import json
import re
from pathlib import Path

from tcmax_jax.evaluation.comparison import interval
from tcmax_jax.evaluation.quantities import Name, mean, read_name

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
SOUND, MOUTH = "marginal/accuracy/audio", "marginal/accuracy/mouth"
WHOLE = ("accuracy", "recalibrated")
# {title of a table of the page on noise: the metric; None for the difference from joint training}.
NOISE = {
    "fused (%)": "accuracy",
    "minus joint training (points)": None,
    "recalibrated (%)": "recalibrated",
    "sound alone (%)": SOUND,
    "mouth alone (%)": MOUTH,
    "mouth, probe (%)": "probe/mouth",
}


def level_of(file):
    """Returns how the page calls the noise of a file."""
    return re.search(r"audio_?(.*)\.npz", file)[1].replace("dB", " dB") or "none"


def noise_table(measured, key):
    """Returns {method: {level: a metric of it, or its difference from joint training}}."""
    cells = {}
    for point in measured["points"]:
        for row in point["rows"]:
            assert len(row["seeds"]) == 5 and not row["failed"]
            number = row["metrics"][key] if key else row["difference"]
            name = read_name(key) if key else Name("difference")
            text = mean(name, number, short=True) if number else "-"
            cells.setdefault(row["method"], {})[level_of(point["value"])] = text
    return cells


def paired(runs, method, other, key="accuracy"):
    """Returns the paired difference of a method from another one, as pages tell it."""
    values = {(run["method"], run["seed"]): run["metrics"][key] for run in runs}
    seeds = {seed for _, seed in values}
    apart = [values[method, seed] - values[other, seed] for seed in sorted(seeds)]
    return mean(Name("difference"), interval(apart), short=True)


def test_the_page_on_noise_holds_its_numbers():
    measured = json.loads((RESULTS / "comparisons" / "grid_noise.json").read_text())
    levels = [level_of(point["value"]) for point in measured["points"]]
    text = (RESULTS / "grid_noise.md").read_text()
    for title, key in NOISE.items():
        (lines,) = re.findall(rf"^\| {re.escape(title)} \|.*\n((?:\|.*\n)+)", text, re.M)
        table = [[cell.strip() for cell in x.strip("|").split("|")] for x in lines.splitlines()]
        cells = noise_table(measured, key)
        assert len(cells) == 12
        assert table[1:] == [[m, *(cells[m][x] for x in levels)] for m in cells]
    said = " ".join(text.split())
    tables = {key: noise_table(measured, key) for key in NOISE.values()}
    quiet, loud = "none", "-10 dB"
    below = [tables[None]["tcmax"][x].removeprefix("-") for x in (quiet, loud)]
    assert (
        "below by {} points without noise, and the difference shrinks to {}".format(*below) in said
    )
    ahead = [paired(measured["points"][-1]["runs"], "tcmax", "unimodal", x) for x in WHOLE]
    assert "TCMax is {} points above; recalibrated they are level there ({})".format(*ahead) in said
    alone = [tables[MOUTH]["joint"][x].split()[0] for x in (quiet, loud)]
    assert "it classifies {} % without noise and {} % at -10 dB".format(*alone) in said
    rest = [tables[MOUTH][x][quiet] for x in ("tcmax", "unimodal", "qmf", "mla")]
    assert "TCMax ({}), the ensemble ({}), QMF ({}) and MLA ({})".format(*rest) in said
    alone = [tables[SOUND][x][loud].split()[0] for x in ("joint", "tcmax", "mla")]
    assert (
        "has {} % after joint training, {} % after TCMax and {} % after MLA".format(*alone) in said
    )
    above = [tables[None]["mla"][x] for x in (quiet, "0 dB", loud)]
    assert (
        "by {} points without noise and {} at 0 dB; at -10 dB the interval contains 0 ({})".format(
            *(x.removeprefix("+") for x in above[:2]), above[2]
        )
        in said
    )


def test_what_is_told_of_mla_and_the_other_methods_in_noise():
    measured = json.loads((RESULTS / "comparisons" / "grid_noise.json").read_text())
    for point in measured["points"]:
        rows = {row["method"]: row for row in point["rows"]}
        for key in ("accuracy", SOUND, MOUTH):
            assert max(rows, key=lambda m, k=key: rows[m]["metrics"][k]["mean"]) == "mla"
        apart = {m: row["difference"] for m, row in rows.items() if row["difference"]}
        assert apart["tcmax"]["mean"] < 0
        for method in ("opm", "qmf", "pmr", "mmpareto"):
            assert abs(round(100 * apart[method]["mean"], 1)) <= 1
        for method in ("agm", "ogm", "ogm_ge", "infonce"):
            assert apart[method]["mean"] + apart[method]["half_width"] < 0


def test_the_table_on_the_head_of_mla_holds_its_numbers():
    heads, methods = (
        json.loads((RESULTS / "comparisons" / f"{name}.json").read_text())
        for name in ("grid_noise_heads", "grid_noise")
    )
    names = (*WHOLE, SOUND, MOUTH)
    numbers = [(noise_table(heads, key), noise_table(methods, key)) for key in names]
    rows = {"concat, joint": 1, "share_head, joint": 0, "concat, tcmax": 1, "share_head, tcmax": 0}
    for row, which in (rows | {"share_head, mla": 1}).items():
        cells = [each[which][row.split(", ")[1]] for each in numbers]
        expected = [x for cell in cells for x in (cell["none"], cell["-10 dB"])]
        assert f"| {row} | {' | '.join(expected)} |" in (RESULTS / "grid_noise.md").read_text()


def test_readme_and_when_to_use_tell_the_faces_as_measured():
    measured = json.loads((RESULTS / "comparisons" / "grid_noise.json").read_text())
    quiet, *_, loud = measured["points"]
    methods = {row["method"]: row["metrics"] for row in quiet["rows"]}
    said = " ".join((ROOT / "docs" / "when_to_use.md").read_text().split())
    ahead = [paired(x["runs"], "mla", "tcmax").removeprefix("+") for x in (quiet, loud)]
    assert "{} points above TCMax without noise and {} at -10 dB".format(*ahead) in said
    mla = [mean(read_name(key), methods["mla"][key], short=True) for key in ("accuracy", MOUTH)]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert "{} % fused, {} % from the mouth alone".format(*mla) in readme
    for key, text in (
        (
            MOUTH,
            "the mouth alone tells {} % of them after joint training and {} %",
        ),
        ("accuracy", "while the fused accuracy is {} % and {} %: TCMax is the choice"),
    ):
        means = [f"{100 * methods[m][key]['mean']:.1f}" for m in ("joint", "tcmax")]
        assert text.format(*means) in said


PICTURES = "marginal/accuracy/visual"
RESNET = ("accuracy", None, "recalibrated", SOUND, PICTURES, "probe/visual")
LISTS = {"manifest.csv": "none", "grid_-10dB/list.csv": "-10 dB"}


def test_the_page_on_noise_tells_resnets_as_measured():
    measured = json.loads((RESULTS / "comparisons" / "grid_noise_resnet.json").read_text())
    text = (RESULTS / "grid_noise.md").read_text()
    for point in measured["points"]:
        for row in point["rows"]:
            assert row["seeds"] == list(range(5)) and not row["failed"]
            numbers = [(key, row["metrics"][key] if key else row["difference"]) for key in RESNET]
            cells = [
                mean(read_name(key) if key else Name("difference"), x, short=True) if x else "-"
                for key, x in numbers
            ]
            start = f"| {LISTS[point['value']]}, {row['method']} |"
            assert f"{start} {' | '.join(cells)} |" in text
    quiet, loud = measured["points"]
    said = " ".join(text.split())
    linear = [f"{100 * point['references']['linear classifier']:.1f}" for point in (quiet, loud)]
    assert "has {} % without noise and {} % at -10 dB".format(*linear) in said
    assert f"ensemble ({paired(quiet['runs'], 'tcmax', 'unimodal')} points)" in said
    ahead = paired(quiet["runs"], "unimodal", "joint", "recalibrated")
    assert f"recalibrated, the ensemble is above joint training ({ahead})" in said
    apart = [paired(point["runs"], "tcmax", "joint") for point in (quiet, loud)]
    rows = {row["method"]: row["metrics"][PICTURES]["mean"] for row in quiet["rows"]}
    alone = [f"{100 * rows[method]:.1f}" for method in ("joint", "tcmax")]
    assert "hardly uses the mouth ({} % alone), TCMax does ({} %)".format(*alone) in said
    for point in measured["points"]:
        (row,) = (row for row in point["rows"] if row["method"] == "tcmax")
        assert abs(row["difference"]["mean"]) < row["difference"]["half_width"]
    advice = " ".join((ROOT / "docs" / "when_to_use.md").read_text().split())
    assert "{} points without noise and {} at -10 dB".format(*apart) in advice
    for method, template, keys in (
        ("tcmax", "that run has {} % fused, the other four {} to {} %", ("accuracy", "accuracy")),
        ("joint", "the mouth alone has {} %, in the others {} to {} %", (PICTURES, PICTURES)),
    ):
        runs = [run["metrics"] for run in loud["runs"] if run["method"] == method]
        (lost,) = [run for run in runs if run[PICTURES] < 0.1]
        rest = sorted(run[keys[1]] for run in runs if run is not lost)
        numbers = (lost[keys[0]], rest[0], rest[-1])
        assert template.format(*(f"{100 * x:.1f}" for x in numbers)) in said


def test_how_often_the_bound_acts_in_whole_trainings_is_what_was_measured():
    measured = json.loads((RESULTS / "stability_grid.json").read_text())
    text = (RESULTS / "stability.md").read_text()
    unbounded = measured.pop("-10 dB, no bound")
    for level, runs in measured.items():
        for run in runs:
            shares = [*run["bounded"], sum(run["bounded"]) / len(run["bounded"])]
            cells = [f"{x:.2f}" for x in shares]
            cells += [f"{100 * run[name]:.1f}" for name in ("accuracy", "mouth")]
            assert f"| {level}, {run['seed']} | {' | '.join(cells)} |" in text
    lost = measured["-10 dB"][4]
    assert lost["mouth"] < 0.1
    said = " ".join(text.split())
    assert f"acted in {100 * lost['bounded'][0]:.0f} % of the steps" in said
    pairs = list(zip(measured["-10 dB"], unbounded, strict=True))
    for pair in pairs:
        cells = [f"{100 * run[name]:.1f}" for name in ("accuracy", "mouth") for run in pair]
        assert f"| {pair[0]['seed']} | {' | '.join(cells)} |" in text
    apart = [bounded["accuracy"] - run["accuracy"] for bounded, run in pairs]
    assert [difference > 0 for difference in apart] == [True] * 4 + [False]
    assert all(run["bounded"] is None and run["mouth"] > 0.2 for run in unbounded)
    bounded = [run["mouth"] < 0.1 for runs in measured.values() for run in runs]
    assert (sum(bounded), len(bounded), len(unbounded)) == (1, 10, 5)
    objective = " ".join((ROOT / "docs" / "objective.md").read_text().split())
    assert "At width 8 of ten whole trainings with the bound one lost" in objective
    assert (
        f"the difference is {mean(Name('difference'), interval(apart), short=True)} points" in said
    )
