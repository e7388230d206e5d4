"""Comparisons of many runs, with means, intervals and cells worked out by hand."""

import ast
import csv
import inspect
import io
import json
import math

import pytest

from tcmax_jax.evaluation import comparison as module
from tcmax_jax.evaluation.comparison import (
    compare_runs,
    comparison_cells,
    comparison_csv,
    comparison_markdown,
    comparison_table,
    interval,
)

# Student's 97.5 % quantiles, from a printed table.
T = {2: 12.7062, 3: 4.3027}


def run(method, seed, accuracy, fusion="concat", **parts):
    """Returns one run; parts are named split_audio, probe_lips and so on."""
    kinds = {"split": "accuracy", "probe": "probe"}
    metrics = {"accuracy": accuracy}
    for name, value in parts.items():
        kind, modality = name.split("_")
        metrics[f"{kinds[kind]}/{modality}"] = value
    return {"method": method, "fusion": fusion, "seed": seed, "metrics": metrics}


def three_methods():
    """Joint and tcmax on three seeds, and a method of one seed that has no split accuracies."""
    joint = [run("joint", s, a, split_audio=0.5) for s, a in enumerate([0.90, 0.91, 0.92])]
    tcmax = [
        run("tcmax", s, a, split_audio=0.75, probe_audio=0.625)
        for s, a in enumerate([0.92, 0.94, 0.93])
    ]
    return [*joint, *tcmax, run("mla", 0, 1.0, "share_head", probe_audio=0.25)]


def row_of(comparison, method, fusion="concat"):
    (row,) = [r for r in comparison["rows"] if (r["method"], r["fusion"]) == (method, fusion)]
    return row


def test_interval_of_three_values():
    # Mean 2, standard deviation 1.
    expected = {"mean": 2.0, "half_width": T[3] / math.sqrt(3), "n": 3}
    assert interval([1, 2, 3]) == pytest.approx(expected, rel=1e-4)


def test_interval_of_two_values():
    # Standard deviation sqrt(2) / 2 of values 1 apart, over sqrt(2).
    assert interval([0, 1]) == pytest.approx({"mean": 0.5, "half_width": T[2] / 2, "n": 2}, 1e-4)


def test_interval_of_one_value_and_of_equal_values():
    assert interval([0.25]) == {"mean": 0.25, "half_width": None, "n": 1}
    assert interval([0.25] * 4) == {"mean": 0.25, "half_width": 0.0, "n": 4}


def test_differences_are_paired():
    row = row_of(compare_runs(three_methods()), "tcmax")
    assert row["against"] == {"method": "joint", "fusion": "concat"}
    # Gaps .02, .03, .01: standard deviation .01. Unpaired means would not tell their order.
    expected = {"mean": 0.02, "half_width": T[3] * 0.01 / math.sqrt(3), "n": 3}
    assert row["difference"] == pytest.approx(expected, rel=1e-4)


def test_seeds_are_paired_by_number_and_not_by_position():
    joint = [run("joint", s, a) for s, a in [(0, 0.1), (1, 0.5), (2, 0.7)]]
    other = [run("tcmax", s, a) for s, a in [(2, 0.8), (3, 0.0), (1, 0.9)]]
    row = row_of(compare_runs(joint + other), "tcmax")
    assert row["seeds"] == [2, 3, 1]
    assert row["metrics"]["accuracy"]["n"] == 3
    # Gaps .1 and .4 on seeds 2 and 1: half a width .3 / 2 times the quantile.
    expected = {"mean": 0.25, "half_width": T[2] * 0.15, "n": 2}
    assert row["difference"] == pytest.approx(expected, rel=1e-4)


def test_one_common_seed_has_a_difference_without_interval():
    row = row_of(compare_runs(three_methods()), "mla", "share_head")
    assert row["difference"] == pytest.approx({"mean": 0.1, "half_width": None, "n": 1})


def test_no_difference_without_common_seeds_or_baseline():
    for runs in (
        [run("joint", 0, 0.5), run("tcmax", 1, 0.6)],
        [run("ogm", 0, 0.5), run("tcmax", 0, 0.6)],
        [],
    ):
        rows = compare_runs(runs)["rows"]
        assert all(r["difference"] is None and r["against"] is None for r in rows)


def test_baselines_are_not_compared_with_one_another():
    runs = [run("joint", 0, 0.5), run("joint", 0, 0.6, "film"), run("tcmax", 0, 0.7)]
    comparison = compare_runs(runs)
    for fusion in ("concat", "film"):
        row = row_of(comparison, "joint", fusion)
        assert row["difference"] is None
        assert row["against"] is None


def test_the_baseline_of_the_same_fusion_goes_first_and_that_of_its_first_run_stands_in():
    runs = [
        run("tcmax", 0, 0.9, "film"),
        run("mla", 0, 0.9, "share_head"),
        run("joint", 0, 0.5, "sum"),
        run("joint", 0, 0.7, "film"),
    ]
    comparison = compare_runs(runs)
    same, other = row_of(comparison, "tcmax", "film"), row_of(comparison, "mla", "share_head")
    assert same["against"] == {"method": "joint", "fusion": "film"}
    assert same["difference"]["mean"] == pytest.approx(0.2)
    assert other["against"] == {"method": "joint", "fusion": "sum"}
    assert other["difference"]["mean"] == pytest.approx(0.4)


def test_another_baseline():
    comparison = compare_runs(three_methods(), baseline="tcmax")
    assert comparison["baseline"] == "tcmax"
    assert row_of(comparison, "tcmax")["difference"] is None
    assert row_of(comparison, "joint")["difference"]["mean"] == pytest.approx(-0.02)
    assert comparison_cells(comparison)[0][-1] == "minus tcmax"
    assert "accuracy from tcmax" in comparison_markdown(comparison)


def test_rows_keep_the_order_of_first_appearance():
    names = [("tcmax", "sum"), ("joint", "sum"), ("agm", "sum"), ("joint", "film")]
    runs = [run(method, seed, 0.5, fusion) for seed in (4, 1) for method, fusion in names]
    rows = compare_runs(runs)["rows"]
    assert [(r["method"], r["fusion"]) for r in rows] == names
    assert all(r["seeds"] == [4, 1] for r in rows)


def test_metrics_may_differ_between_methods_and_between_runs():
    runs = [run("joint", 0, 0.5, probe_lips=0.25), run("joint", 1, 0.5), run("mla", 0, 0.5)]
    rows = compare_runs(runs)["rows"]
    assert rows[0]["metrics"]["probe/lips"] == {"mean": 0.25, "half_width": None, "n": 1}
    assert set(rows[1]["metrics"]) == {"accuracy"}


def test_duplicates_are_an_error():
    runs = [run("joint", 0, 0.5), run("joint", 0, 0.5, "film"), run("joint", 1, 0.5)]
    compare_runs(runs)
    message = r"Expected one run of each .*, got two of joint, film, seed 0\. Leave one out\."
    with pytest.raises(ValueError, match=message):
        compare_runs([*runs, run("joint", 0, 0.6, "film")])


def test_a_comparison_is_plain_data_and_leaves_its_runs_alone():
    runs = three_methods()
    comparison = compare_runs(runs)
    assert runs == three_methods()
    assert json.loads(json.dumps(comparison, allow_nan=False)) == comparison


def test_table_is_aligned():
    # 4.3027 * .01 / sqrt(3) = .0248, for both accuracies and for the difference.
    assert comparison_table(compare_runs(three_methods()), 80).splitlines() == [
        "                                      audio      audio",
        "                                      (split,    (probe)",
        "method  fusion      seeds  fused (%)  %)         (%)        minus joint",
        "joint   concat      3      91.0 ±2.5  50.0 ±0.0  -          -",
        "tcmax   concat      3      93.0 ±2.5  75.0 ±0.0  62.5 ±0.0  +2.0 ±2.5",
        "mla     share_head  1      100.0      -          25.0       +10.0 (concat)",
    ]


def test_table_groups_split_accuracies_before_probes_and_leaves_other_metrics_out():
    runs = [
        run("joint", 0, 0.5, probe_lips=0.5, split_audio=0.5),
        run("tcmax", 0, 0.5, probe_audio=0.5, split_lips=0.5),
    ]
    runs[0]["metrics"] |= {"cross_entropy": 1.5, "tc_bound": 0.5}
    titles = comparison_cells(compare_runs(runs))[0]
    assert titles[:4] == ["method", "fusion", "seeds", "fused (%)"]
    assert [title.split()[1] for title in titles[4:8]] == ["(split,"] * 2 + ["(probe)"] * 2
    assert {title.split()[0] for title in titles[4:8]} == {"audio", "lips"}
    assert titles[8:] == ["minus joint"]


def test_a_loss_against_the_baseline_has_its_sign():
    comparison = compare_runs([run("joint", 0, 0.75), run("tcmax", 0, 0.5)])
    assert comparison_table(comparison).splitlines()[-1].endswith("-25.0")


def test_markdown_has_the_cells_of_the_table():
    comparison = compare_runs(three_methods())
    *table, blank, reading = comparison_markdown(comparison).splitlines()
    assert table == [
        "| method | fusion | seeds | fused (%) | audio (split, %) | audio (probe) (%) "
        "| minus joint |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| joint | concat | 3 | 91.0 ±2.5 | 50.0 ±0.0 | - | - |",
        "| tcmax | concat | 3 | 93.0 ±2.5 | 75.0 ±0.0 | 62.5 ±0.0 | +2.0 ±2.5 |",
        "| mla | share_head | 1 | 100.0 | - | 25.0 | +10.0 (concat) |",
    ]
    assert blank == ""
    for words in ("±", "95 % t-interval", "paired difference", "accuracy from joint", "points"):
        assert words in reading
    assert "in brackets the head of joint if it is another one" in reading


def test_recalibrated_accuracy_has_a_column_where_there_is_one():
    joint, tcmax = run("joint", 0, 0.5, split_audio=0.25), run("tcmax", 0, 0.75)
    tcmax["metrics"]["recalibrated"] = 0.875
    *table, _, reading = comparison_markdown(compare_runs([joint, tcmax])).splitlines()
    assert table == [
        "| method | fusion | seeds | fused (%) | recalibrated (%) | audio (split, %) "
        "| minus joint |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| joint | concat | 1 | 50.0 | - | 25.0 | - |",
        "| tcmax | concat | 1 | 75.0 | 87.5 | - | +25.0 |",
    ]
    assert "Recalibrated: fused, with a weight for each modality" in reading
    assert "Recalibrated" not in comparison_markdown(compare_runs([joint]))


def failure(method, seed, fusion="concat"):
    return {"method": method, "fusion": fusion, "seed": seed, "reason": f"{method}: loss = nan"}


def test_failed_seeds_are_named_in_their_row():
    runs = [run("joint", s, 0.5) for s in range(3)] + [run("agm", s, 0.75) for s in (0, 2)]
    comparison = compare_runs(runs, [failure("agm", 1)])
    assert row_of(comparison, "joint")["failed"] == []
    row = row_of(comparison, "agm")
    assert (row["seeds"], row["failed"]) == ([0, 2], [1])
    assert row["difference"]["n"] == 2
    assert comparison["failed"] == [failure("agm", 1)]
    assert comparison_table(comparison).splitlines() == [
        "                                               minus",
        "method  fusion  seeds               fused (%)  joint",
        "joint   concat  3                   50.0 ±0.0  -",
        "agm     concat  2 (failed: seed 1)  75.0 ±0.0  +25.0 ±0.0",
    ]
    *_, last = comparison_markdown(comparison).splitlines()
    assert last == "- failed: agm, concat, seed 1: agm: loss = nan"


def test_a_method_that_failed_on_every_seed_keeps_a_row_and_is_no_baseline():
    failed = [failure("joint", 0), failure("joint", 1)]
    comparison = compare_runs([run("joint", 0, 0.5, "film"), run("tcmax", 0, 0.75)], failed)
    row = row_of(comparison, "joint")
    assert (row["seeds"], row["failed"], row["metrics"]) == ([], [0, 1], {})
    assert row_of(comparison, "tcmax")["against"] == {"method": "joint", "fusion": "film"}
    *_, tcmax, joint = comparison_table(comparison).splitlines()
    assert tcmax == "tcmax   concat  1                      75.0   +25.0 (film)"
    assert joint == "joint   concat  0 (failed: seed 0, 1)  -      -"
    assert compare_runs([], failed)["rows"] == [row]


def test_a_run_cannot_both_fail_and_succeed():
    with pytest.raises(ValueError, match=r"got two of agm, concat, seed 1"):
        compare_runs([run("agm", 1, 0.5)], [failure("agm", 1)])


def test_csv_round_trip_in_full_precision():
    runs = [
        run('joint, "late"', 0, 1 / 3, "sum,\nfilm", split_audio=0.1 + 0.2),
        run("mla", 7, 2 / 3, probe_lips=1e-17),
    ]
    failed = failure("agm", 3)
    rows = list(csv.DictReader(io.StringIO(comparison_csv(runs, [failed]), newline="")))
    head = ["method", "fusion", "seed", "failed", "accuracy", "accuracy/audio", "probe/lips"]
    assert list(rows[0]) == head
    assert rows[0]["accuracy/audio"] == "0.30000000000000004"
    assert rows[1]["accuracy/audio"] == rows[0]["probe/lips"] == ""
    read = [
        {
            "method": row["method"],
            "fusion": row["fusion"],
            "seed": int(row["seed"]),
            "metrics": {name: float(row[name]) for name in head[4:] if row[name]},
        }
        for row in rows
    ]
    assert [row["failed"] for row in rows] == ["", "", failed["reason"]]
    nothing = {"method": "agm", "fusion": "concat", "seed": 3, "metrics": {}}
    assert read == [*runs, nothing]


def test_a_new_metric_has_a_column_under_its_key():
    runs = [run("joint", 0, 0.5), run("tcmax", 0, 0.75, probe_lips=0.25)]
    runs[1]["metrics"] |= {"f1/lips": 2.5}
    head, joint, tcmax = comparison_cells(compare_runs(runs))
    assert head[3:] == ["fused (%)", "lips (probe) (%)", "f1/lips", "minus joint"]
    assert (joint[5], tcmax[5]) == ("-", "2.500")


def test_the_module_needs_nothing_of_the_package_but_quantities_and_tables():
    nodes = list(ast.walk(ast.parse(inspect.getsource(module))))
    imported = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
    origins = [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
    of_the_package = [name for name in imported + origins if name.startswith("tcmax_jax")]
    assert of_the_package == ["tcmax_jax.evaluation.quantities", "tcmax_jax.evaluation.tables"]
    assert not any(n.level for n in nodes if isinstance(n, ast.ImportFrom))
