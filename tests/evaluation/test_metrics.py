"""Metrics from fixed logits, so that every expected value is known."""

import jax
import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.evaluation.evaluate import encode_split, evaluate_split
from tcmax_jax.evaluation.metrics import (
    accuracy,
    collapsed,
    mean_cross_entropy,
    predictions,
    split_metrics,
)
from tcmax_jax.evaluation.text import results_table
from tcmax_jax.losses import AdditiveHead
from tests.losses.reference import brute_force

HEAD = AdditiveHead(lambda features: features)
LABELS = np.array([0, 1, 2, 0])
# audio is right on rows 0, 1, 2; visual on rows 0 and 3; the sum on rows 0, 1 and 3.
FEATURES = {
    "audio": np.array([[4, 0, 0], [0, 4, 0], [0, 0, 1], [0, 1, 0]], np.float32),
    "visual": np.array([[2, 0, 0], [0, 0, 1], [3, 0, 0], [2, 0, 0]], np.float32),
}


def evaluated(method, head=HEAD, features=FEATURES):
    return split_metrics(method, head, features, LABELS, predictions(method, head, features))


def test_accuracies_are_counted():
    metrics = evaluated(methods.Joint().make())
    assert metrics["accuracy"] == 0.75
    assert metrics["accuracy/audio"] == 0.75
    assert metrics["accuracy/visual"] == 0.5


def test_cross_entropy_and_bound_equal_slow_formulas():
    metrics = evaluated(methods.TCMax().make())
    scores = np.float64(FEATURES["audio"]) + FEATURES["visual"]
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    expected = -log_p[np.arange(4), LABELS].mean()
    assert metrics["cross_entropy"] == pytest.approx(expected, rel=1e-6)
    bound = -brute_force(lambda z: z["audio"] + z["visual"], FEATURES, LABELS).mean()
    assert metrics["tc_bound"] == pytest.approx(bound, rel=1e-6)


def test_an_empirical_prior_moves_prediction_and_bound():
    prior = np.array([0.01, 0.01, 0.98], np.float32)
    metrics = evaluated(methods.TCMax(label_prior="empirical").make(label_prior=prior))
    # Scores + log prior: (6, 0, 0), (0, 4, 1), (3, 0, 1), (2, 1, 0) + (-4.6, -4.6, 0).
    assert metrics["accuracy"] == 0.5
    # Audio: (4, 0, 0), (0, 4, 0), (0, 0, 1), (0, 1, 0): the last class wins every row.
    assert metrics["accuracy/audio"] == 0.25
    bound = -brute_force(
        lambda z: z["audio"] + z["visual"], FEATURES, LABELS, label_prior=prior
    ).mean()
    assert metrics["tc_bound"] == pytest.approx(bound, rel=1e-5)


def test_other_heads_have_no_split_accuracy_and_a_sampled_bound():
    def head(z):
        return z["audio"] * z["visual"]

    metrics = evaluated(methods.TCMax().make(), head)
    assert set(metrics) == {"accuracy", "cross_entropy", "tc_bound"}
    exact = -brute_force(head, FEATURES, LABELS).mean()
    assert metrics["tc_bound"] == pytest.approx(exact, abs=0.1)


def padded_batches():
    return [
        {
            "inputs": {m: z[rows] for m, z in FEATURES.items()},
            "label": LABELS[rows],
            "where": np.array(where),
            "index": np.array(rows),
        }
        for rows, where in [([0, 1], [True, True]), ([2, 3], [True, True]), ([3, 3], [False] * 2)]
    ]


def test_padding_is_left_out():
    batches = padded_batches()
    features, labels = encode_split(lambda inputs: inputs, batches)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(features["audio"], FEATURES["audio"])
    evaluation = evaluate_split(lambda inputs: inputs, HEAD, methods.Joint().make(), batches)
    expected = evaluated(methods.Joint().make())
    assert expected.items() < evaluation.metrics.items()
    assert evaluation.collapsed == []


def test_rows_of_two_processes_come_in_the_order_of_the_split():
    # Each process encodes its own part; what is gathered holds first the one and then the other.
    first, second, padding = padded_batches()
    seen = []

    def gather(rows):
        seen.append(rows)
        return jax.tree.map(lambda *x: np.concatenate(x), *seen) if len(seen) == 2 else rows

    encode_split(lambda inputs: inputs, [second, padding], gather)
    features, labels = encode_split(lambda inputs: inputs, [first], gather)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(features["visual"], FEATURES["visual"])


def test_modalities_that_rest_are_not_said_to_have_collapsed():
    batches = padded_batches()
    for batch in batches:
        batch["inputs"]["visual"] = np.ones_like(batch["inputs"]["visual"])
    both, one = (
        evaluate_split(lambda inputs: inputs, HEAD, methods.Unimodal(modality=m).make(), batches)
        for m in (None, "audio")
    )
    assert "visual" in both.collapsed
    assert "visual" not in one.collapsed


def collapse(features, head=HEAD, labels=LABELS):
    return collapsed(features, labels, predictions(methods.Joint().make(), head, features))


def test_constant_predictions_are_named():
    assert collapse(FEATURES) == []
    one_class = np.float32([[9, 0, 0], [9, 1, 0], [9, 0, 1], [8, 0, 0]])
    features = {"audio": FEATURES["audio"], "visual": one_class}
    assert collapse(features) == ["fused", "visual"]
    assert collapse(features, labels=np.zeros(4, int)) == []


def test_constant_features_are_named_whatever_the_head():
    features = {"audio": FEATURES["audio"], "visual": np.ones((4, 3), np.float32)}
    assert collapse(features, head=lambda z: z["audio"] * z["visual"]) == ["visual"]


def test_table_shows_every_number():
    metrics = {"accuracy": 0.9125, "cross_entropy": 0.25, "tc_bound": 1.5, "accuracy/lips": 0.5}
    metrics |= {"without/lips": 0.75}
    results = {"run": "r", "epoch": 3, "step": 12, "splits": {"test": metrics}}
    lines = results_table(results).splitlines()
    assert lines[0] == "r: best checkpoint on validation, epoch 3 (step 12)"
    assert [line.split()[-1] for line in lines[1:]] == [
        "test",
        "91.25",
        "50.00",
        "75.00",
        "0.2500",
        "1.5000",
    ]
    assert "accuracy of lips (split, %)" in lines[3]
    assert "fused accuracy without lips" in lines[4]


def test_a_new_metric_stands_under_its_key_below_the_others():
    metrics = {"f1/lips": 0.25, "accuracy": 0.5, "tc_bound": 0.125}
    results = {"run": "r", "epoch": 3, "step": 12, "splits": {"test": metrics}}
    lines = results_table(results).splitlines()
    assert [line.rsplit(maxsplit=1) for line in lines[2:]] == [
        ["fused accuracy (%)", "50.00"], ["TC bound (nats)", "0.1250"], ["f1/lips", "0.2500"],
    ]  # fmt: skip


def test_many_splits_fit_the_width():
    splits = {f"test of domain {number}": {"accuracy": number / 8} for number in range(5)}
    table = results_table({"run": "r", "epoch": 3, "step": 12, "splits": splits}, width=50)
    assert max(map(len, table.splitlines()[1:])) <= 50
    assert all(f"{100 * number / 8:.2f}" in table for number in range(5))
    # Each block has the names of the metrics.
    assert table.count("fused accuracy") == 2


def test_accuracy_and_cross_entropy_of_arrays_of_any_kind():
    scores = np.log([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.5, 0.25, 0.25]])
    labels = np.array([0, 1, 1])
    expected = -(np.log(0.5) + np.log(0.75) + np.log(0.25)) / 3
    for own in (scores, jax.numpy.asarray(scores)):
        assert accuracy(own, labels) == 2 / 3
        assert mean_cross_entropy(own, labels) == pytest.approx(expected, rel=1e-6)


def test_what_one_split_alone_has_is_a_dash_in_the_others():
    test = {"accuracy": 0.25, "probe/lips": 0.5, "recalibrated": 0.75}
    splits = {"validation": {"accuracy": 0.5}, "test": test}
    lines = results_table({"run": "r", "step": 1, "epoch": 1, "splits": splits}).splitlines()
    assert lines[3].split() == ["recalibrated", "accuracy", "(%)", "-", "75.00"]


def test_table_says_what_share_of_the_data_was_there():
    splits = {"test": {"accuracy": 0.5}}
    whole = {"train": {"listed": 8, "used": 8}, "test": {"listed": 2, "used": 2}}
    results = {"run": "r", "step": 1, "epoch": 1, "splits": splits, "data": whole}
    assert "part of the data" not in results_table(results)
    part = whole | {"train": {"listed": 8, "used": 5}}
    assert results_table(results | {"data": part}).splitlines()[-1] == (
        "a part of the data only: train 5 of 8 (62.5%), test 2 of 2 (100.0%) of the listed clips"
    )
