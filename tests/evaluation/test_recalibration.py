"""Recalibration against its conditions of optimality, written out slowly."""

import math

import numpy as np
import pytest

from tcmax_jax.evaluation.analysis import analyse_recalibrated
from tcmax_jax.evaluation.outputs import analysis_numbers, store, stored_recalibration
from tcmax_jax.evaluation.quantities import Name
from tcmax_jax.evaluation.recalibration import (
    cross_recalibrate,
    enough_examples,
    fit_recalibration,
    gain,
    recalibrate,
    units_of,
)
from tcmax_jax.evaluation.reports.findings import recalibration_findings
from tcmax_jax.evaluation.text import expectation, recalibration_text
from tests.evaluation.reports.made_runs import outputs

N, C = 60, 3


def problem(sizes, seed=0, noisy=0.0):
    """Returns (scores, labels): modalities that know the label, each as loud as its size says."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, C, N)
    scores = {
        f"m{k}": (size * (0.8 * np.eye(C)[labels] + rng.normal(size=(N, C)))).astype(np.float32)
        for k, size in enumerate(sizes)
    }
    if noisy:
        scores["noise"] = (noisy * rng.normal(size=(N, C))).astype(np.float32)
    return scores, labels


def objective(weights, offsets, scores, labels):
    """Returns the sum of losses and of what draws back, row by row."""
    total = 0.0
    for i, y in enumerate(labels):
        row = [
            sum(weights[m] * float(z[i][c]) for m, z in scores.items()) + offsets[c]
            for c in range(len(offsets))
        ]
        largest = max(row)
        total += largest + math.log(sum(math.exp(x - largest) for x in row)) - row[y]
    drawn = sum((w - 1) ** 2 for w in weights.values()) + sum(b**2 for b in offsets)
    return total + drawn / 2


@pytest.mark.parametrize("sizes", [(1.0,), (2.0, 0.5), (5.0, 1.0, 0.2)])
@pytest.mark.parametrize("noisy", [0.0, 3.0])
def test_no_step_to_any_side_is_better(sizes, noisy):
    scores, labels = problem(sizes, noisy=noisy)
    found = fit_recalibration(scores, labels)
    weights, offsets = found["weights"], found["offsets"]
    assert list(weights) == list(scores)
    at, h = objective(weights, offsets, scores, labels), 1e-4
    for m, w in weights.items():
        slopes = [
            (objective(weights | {m: w + e}, offsets, scores, labels) - at) / h for e in (h, -h)
        ]
        # At 0 the weight cannot fall, so that only the way up has to be worse.
        assert slopes[0] > 0
        assert w >= 0
        assert slopes[1] > 0 or w == 0
    for c in range(C):
        for e in (h, -h):
            moved = [b + e * (k == c) for k, b in enumerate(offsets)]
            assert objective(weights, moved, scores, labels) > at


def test_a_modality_that_speaks_louder_than_what_it_knows_is_turned_down():
    scores, labels = problem((1.0,), noisy=5.0)
    weights = fit_recalibration(scores, labels)["weights"]
    assert weights["noise"] < 0.1 < 0.5 < weights["m0"]


def test_offsets_follow_the_classes_where_scores_say_nothing():
    labels = np.array([0] * 30 + [1] * 10)
    found = fit_recalibration({"audio": np.zeros((40, 3))}, labels)
    assert found["weights"] == {"audio": 1.0}
    b = np.array(found["offsets"])
    p = np.exp(b) / np.exp(b).sum()
    # The slope by b_c is N p_c - n_c + b_c; the third class never comes and stays finite.
    np.testing.assert_allclose(40 * p + b, [30, 10, 0], atol=1e-4)


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_logits_of_any_size(size):
    scores, labels = problem((size, 1.0))
    found = fit_recalibration(scores, labels)
    log_p = recalibrate(found, scores)
    assert np.isfinite(log_p).all()
    weights, offsets = found["weights"], found["offsets"]
    at = objective(weights, offsets, scores, labels)
    for factor in (0.9, 1.1):
        moved = weights | {"m0": factor * weights["m0"]}
        assert objective(moved, offsets, scores, labels) > at


def test_labels_that_scores_tell_without_error_leave_weights_finite():
    labels = np.arange(12) % 3
    found = fit_recalibration({"audio": 4 * np.eye(3)[labels]}, labels)
    assert 1 < found["weights"]["audio"] < 3


def test_the_recalibrated_sum_by_hand():
    recalibration = {"weights": {"audio": 0.5, "visual": 2.0}, "offsets": [1.0, -1.0]}
    scores = {"audio": np.float32([[2, 4]]), "visual": np.float32([[1, 0]]), "fused": None}
    got = recalibrate(recalibration, scores)
    assert got.tolist() == [[4.0, 1.0]]
    assert got.dtype == np.float32


def test_without_examples_it_is_the_plain_sum():
    found = fit_recalibration({"audio": np.zeros((0, 2)), "visual": np.zeros((0, 2))}, [])
    assert found == {"weights": {"audio": 1.0, "visual": 1.0}, "offsets": [0.0, 0.0]}


def test_no_example_is_judged_by_a_fit_that_has_seen_it():
    scores, labels = problem((1.0, 0.5), noisy=2.0)
    got = cross_recalibrate(scores, labels, np.arange(N))
    for i in (0, 7, N - 1):
        changed = labels.copy()
        changed[i] = (labels[i] + 1) % C
        again = cross_recalibrate(scores, changed, np.arange(N))
        np.testing.assert_array_equal(again[i], got[i])
        kept = [j for j in range(N) if j % 5 != i % 5]
        fitted = fit_recalibration({m: z[kept] for m, z in scores.items()}, labels[kept])
        np.testing.assert_allclose(got[i], recalibrate(fitted, scores)[i], rtol=1e-6)


@pytest.mark.parametrize(("examples", "classes", "enough"), [
    (4, 2, False), (49, 2, False), (50, 2, True), (509, 51, False), (510, 51, True),
])  # fmt: skip
def test_how_many_examples_tell_a_recalibration(examples, classes, enough):
    assert enough_examples(examples, classes) == enough


@pytest.mark.parametrize(("examples", "told"), [(49, False), (50, True)])
def test_few_examples_tell_no_recalibrated_accuracy(examples, told, tmp_path):
    validation, test = outputs(0, "validation", examples=examples), outputs(0, "test")
    found = analyse_recalibrated(validation, {"test": test})
    fit = {"weights", "offsets"}
    measures = {"accuracy", "cross_entropy", "calibration_error", "judged"}
    assert all(set(own) == (fit | measures if told else fit) for own in found.values())
    numbers = analysis_numbers({"recalibration": found["test"]})
    assert (Name("recalibrated") in numbers) == (Name("weight", "audio") in numbers) == told
    # The fit can be used all the same.
    store(tmp_path, {}, {"validation": {"recalibration": found["validation"]}})
    assert set(stored_recalibration(tmp_path)) == fit


def test_fewer_examples_than_folds():
    scores = {"audio": np.eye(3)}
    got = cross_recalibrate(scores, np.arange(3), np.arange(3), folds=5)
    assert np.isfinite(got).all()


def test_units_are_groups_and_examples_without_one():
    assert units_of(3).tolist() == [0, 1, 2]
    first, second, alone, again, other = units_of(5, ["anna", "ben", "", "anna", ""])
    assert first == again and len({first, second, alone, other}) == 4
    # A group that is called like an example is not that example.
    assert len(set(units_of(2, ["1", ""]))) == 2


def in_groups(bias):
    """Returns outputs of three groups, each of one class, which three of four scores tell.

    Class 0 is too loud by `bias`, and where that is over 1 it is all that is ever said. Offsets
    from all groups mend that; those from two take the third's class for one that never comes.
    """
    labels, told = np.repeat(np.arange(3), 20), np.arange(60) % 4 > 0
    scores = np.eye(3)[np.where(told, labels, (labels + 1) % 3)] + [bias, 0, 0]
    return outputs(0, "validation", classes=3)._replace(
        labels=labels,
        scores={"fused": scores, "audio": scores},
        groups=[f"speaker {y}" for y in labels],
    )


def judged(validation, **others):
    return {s: x["judged"] for s, x in analyse_recalibrated(validation, others).items()}


def test_recalibration_that_helps_within_groups_and_hurts_across_them():
    grouped = in_groups(bias=1.5)
    mixed = grouped._replace(groups=())
    inside, across = (judged(x)["validation"] for x in (mixed, grouped))
    assert (inside["groups"], across["groups"]) == (None, 3)
    # From one class of three to what the scores tell, and to none: what is right of a group goes.
    assert inside["gain"]["mean"] == pytest.approx(3 / 4 - 1 / 3)
    assert across["gain"]["mean"] == pytest.approx(0 - 1 / 3)
    assert expectation(inside) == "gain"
    assert expectation(across) == "open"  # One group of three changes.
    every = in_groups(bias=0.5)
    assert judged(every)["validation"]["gain"]["mean"] == pytest.approx(0 - 3 / 4)
    assert expectation(judged(every)["validation"]) == "loss"
    # The fit that is used is of all groups.
    one, two = (analyse_recalibrated(x, {})["validation"] for x in (mixed, grouped))
    assert (one["weights"], one["offsets"]) == (two["weights"], two["offsets"])


def test_the_gain_and_its_interval_by_hand():
    scores = np.eye(2)
    labels, before = np.array([0, 0, 0, 0]), scores[[1, 1, 0, 0]]
    recalibrated = scores[[0, 0, 0, 1]]  # two gained, one lost
    found = gain(recalibrated, before, labels, np.array([0, 0, 1, 1]))
    assert found["mean"] == 0.25
    # Sums of the two groups are off by 1.5 and -1.5; Student's t of one degree is 12.706.
    assert found["half_width"] == pytest.approx(12.7062 * math.sqrt(2 * 2 * 1.5**2) / 4, rel=1e-5)
    alone = gain(recalibrated, before, labels, np.arange(4))
    # With units of one example it is that of a paired difference; t of three degrees is 3.182.
    assert alone["half_width"] == pytest.approx(
        3.18245 * np.std([1, 1, 0, -1], ddof=1) / 2, rel=1e-5
    )
    assert gain(recalibrated, before, labels, np.zeros(4, int))["half_width"] is None


@pytest.mark.parametrize(("groups", "trained", "test", "test_trained", "holds"), [
    ("abc", "", "de", "", True),  # all new, and judged on new ones
    ("abc", "abc", "de", "", False),  # validation shares its speakers with training
    ("abc", "abc", "abd", "abd", True),  # and test does so too
    ("a", "", "de", "", False),  # nothing to leave out
    ("", "", "de", "", False),
    ("abc", "", "", "", True),
])  # fmt: skip
def test_for_which_splits_it_holds(groups, trained, test, test_trained, holds):
    def split(name, groups, trained):
        made = outputs(0, name)
        names = [groups[i % len(groups)] for i in range(60)] if groups else ()
        return made._replace(groups=names, trained_groups=list(trained))

    validation = split("validation", groups, trained)
    found = judged(validation, test=split("test", test, test_trained))
    assert found["test"]["holds"] == holds
    text = recalibration_text(found["test"])
    assert ("says nothing about new groups" in text) != holds
    assert expectation(found["test"]) == "open" or holds
    run = {"analysis": {"test": {"recalibration": {"judged": found["test"]}}}}
    (said,) = recalibration_findings([{"label": "tcmax", "runs": [run]}], "test")
    assert said.startswith("Validation says nothing about recalibration on new groups") != holds


def test_sentences_on_recalibration():
    def run(mean, groups):
        told = {"gain": {"mean": mean, "half_width": 0.01}, "groups": groups, "holds": True}
        return {"analysis": {"test": {"recalibration": {"judged": told}}}}

    told = run(0.03, None)["analysis"]["test"]["recalibration"]["judged"]
    assert recalibration_text(told) == (
        "Recalibration: +3.00 ±1.00 points of accuracy on examples of validation left out of the "
        "fit: a gain is expected on new examples like these."
    )
    unclear = {"groups": 7, "gain": {"mean": -0.002, "half_width": 0.01}}
    assert recalibration_text(told | unclear) == (
        "Recalibration: -0.20 ±1.00 points of accuracy on 7 groups of validation left out of the "
        "fit: neither gain nor loss is expected on new groups."
    )
    rows = [
        {"label": "joint", "runs": [run(-0.02, 7), run(0.0, 7)]},
        {"label": "tcmax", "runs": [run(0.02, 7), run(0.03, 7)]},
        {"label": "film", "runs": [{"analysis": {"test": {}}}]},
    ]
    assert recalibration_findings(rows, "test") == [
        "Cross-validation over the 7 groups of validation: a gain is expected for tcmax "
        "(2 of 2), a loss is expected for joint (1 of 2)."
    ]
    assert recalibration_findings(rows[2:], "test") == []
