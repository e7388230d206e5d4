"""The sentences on top of a page say what the numbers say."""

import pytest

from tcmax_jax.evaluation.comparison import compare_runs, interval
from tcmax_jax.evaluation.quantities import Name, read_name
from tcmax_jax.evaluation.reports.findings import at_chance, findings


def told(runs, classes=10, examples=1000):
    """Returns the findings on [{"method", "metrics": [of each seed]}]."""
    rows, plain = [], []
    for method, metrics in runs.items():
        own = [
            {"method": method, "fusion": "sum", "seed": seed, "metrics": each}
            for seed, each in enumerate(metrics)
        ]
        measures = {read_name(key): interval([each[key] for each in metrics]) for key in metrics[0]}
        row = {"method": method, "fusion": "sum", "label": method, "runs": own}
        rows.append(row | {"measures": measures})
        plain += own
    return findings(compare_runs(plain), rows, classes, examples)


def test_the_best_method_and_what_is_at_chance():
    joint = [{"accuracy": 0.5 + s, "accuracy/audio": 0.1 + s} for s in (0, 0.01)]
    tcmax = [{"accuracy": 0.6 + s, "accuracy/audio": 0.4 + s} for s in (0, 0.01)]
    assert told({"joint": joint, "tcmax": tcmax}) == (
        "tcmax has the highest fused accuracy, 60.5 %: +10.0 ±0.0 points against joint. "
        "At chance (10.0): the accuracy of audio (split) with joint (10.5 %)."
    )


def test_an_interval_that_holds_zero_is_said():
    joint = [{"accuracy": 0.5}, {"accuracy": 0.7}]
    tcmax = [{"accuracy": 0.7}, {"accuracy": 0.6}]
    text = told({"joint": joint, "tcmax": tcmax})
    assert "points against joint, but its interval contains 0." in text
    assert "No fused accuracy, and none of a modality, is at chance." in text


def test_the_baseline_may_be_the_best_and_seeds_may_be_single():
    text = told({"joint": [{"accuracy": 0.9}], "tcmax": [{"accuracy": 0.1}]})
    assert text == (
        "joint has the highest fused accuracy, 90.0 %. At chance (10.0): the fused accuracy with "
        "tcmax (10.0 %). With one seed, a difference between methods cannot be told from one "
        "between seeds."
    )


def test_one_method_alone_is_compared_with_nothing():
    text = told({"mla": [{"accuracy": 0.1, "accuracy/lips": 0.9}]})
    assert text == (
        "The fused accuracy of mla is 10.0 %. At chance (10.0): the fused accuracy with mla "
        "(10.0 %)."
    )


def test_numbers_that_are_not_finite_are_no_finding():
    text = told({"joint": [{"accuracy": None, "accuracy/audio": None}]})
    assert text.startswith("No fused accuracy is finite.")


@pytest.mark.parametrize(("share", "examples", "expected"), [
    (0.10, 1000, True), (0.05, 1000, True), (0.115, 1000, True), (0.12, 1000, False),
    (0.2, 20, True), (0.25, 20, False),
])  # fmt: skip
def test_chance_is_as_wide_as_the_examples_are_few(share, examples, expected):
    # sqrt(.09 / 1000) = .0095 and sqrt(.09 / 20) = .067, times 1.645 above .1.
    assert at_chance(share, 10, examples) == expected


def test_marginal_accuracies_go_before_split_ones():
    both = {"accuracy": 0.9, "accuracy/audio": 0.1, "marginal/accuracy/audio": 0.9}
    assert "No fused accuracy, and none of a modality, is at chance." in told({"joint": [both]})
    assert Name("accuracy", "audio") in map(read_name, both)
