"""What a method has to be above: computed on the inputs, shown, and warned of."""

import numpy as np
import pytest

from tcmax_jax.evaluation.comparison import (
    compare_runs,
    comparison_cells,
    comparison_markdown,
    comparison_table,
    comparison_warnings,
)
from tcmax_jax.evaluation.references import FREQUENT, LINEAR, flattened, reference_accuracies
from tcmax_jax.series import Series


def records(labels, **values):
    return [{"label": y, **{m: x[i] for m, x in values.items()}} for i, y in enumerate(labels)]


def as_stored(value, seed):
    assert seed is None  # No augmentation.
    return value


def test_the_most_frequent_class_is_that_of_training():
    train = records([2, 2, 0], x=np.zeros((3, 2), np.float32))
    test = records([0, 0, 2, 1], x=np.zeros((4, 2), np.float32))
    assert reference_accuracies(train, test, {"x": as_stored}, 3)[FREQUENT] == 0.25


def test_the_linear_classifier_sees_all_modalities():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    a = (labels[:, None, None] % 2 + 0.1 * rng.normal(size=(200, 3, 5))).astype(np.float32)
    v = (100 * (labels[:, None] // 2) + rng.integers(0, 20, (200, 6))).astype(np.uint8)
    split = records(labels, a=a, v=v)
    inputs = {"a": as_stored, "v": as_stored}
    assert reference_accuracies(split, split, inputs, 4)[LINEAR] == 1.0
    alone = reference_accuracies(split, split, {"a": as_stored}, 4)[LINEAR]
    assert 0.4 < alone < 0.7  # of two pairs of classes it tells the pair


def test_ids_are_no_numbers():
    split = records([0, 1], x=np.zeros((2, 4), np.int32))
    assert list(reference_accuracies(split, split, {"x": as_stored}, 2)) == [FREQUENT]


@pytest.mark.parametrize("shape", [(5,), (64, 64, 3), (129, 862, 1), (3, 37, 41, 3), (2000,)])
def test_large_inputs_become_means_of_blocks(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    vector = flattened(x)
    assert vector.dtype == np.float32 and vector.size <= 1024
    if x.size <= 1024:
        np.testing.assert_array_equal(vector, x.ravel())
    else:
        assert vector.size > 200
    np.testing.assert_allclose(flattened(np.ones(shape)), 1)
    # Twice a factor of two of one axis is one of four.
    flat = np.arange(4096.0)
    np.testing.assert_allclose(flattened(flat), flat.reshape(-1, 4).mean(axis=1))


def test_series_are_mean_and_deviation_of_their_true_steps():
    values = np.array([[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], np.float32)
    vector = flattened(Series(values, np.array([True, True, False])))
    np.testing.assert_allclose(vector, [2, 4, 1, 2])


def runs(*accuracies):
    return [
        {"method": m, "fusion": "concat", "seed": 0, "metrics": {"accuracy": x}}
        for m, x in zip(("joint", "tcmax"), accuracies, strict=True)
    ]


def test_they_have_rows_and_those_below_are_named():
    comparison = compare_runs(runs(0.3, 0.8)) | {"references": {FREQUENT: 0.25, LINEAR: 0.5}}
    frequent, linear = comparison_cells(comparison)[-2:]
    assert (frequent[0], frequent[3]) == ("(most frequent class)", "25.0")
    assert (linear[0], linear[3]) == ("(linear classifier)", "50.0")
    (warning,) = comparison_warnings(comparison)
    assert warning == (
        "joint, concat: the fused accuracy, 30.0 %, is below that of the linear classifier, 50.0. "
        "It says nothing about the method: train longer, or at another rate."
    )
    assert f"\nwarning: {warning}" in comparison_table(comparison)
    assert f"- {warning}" in comparison_markdown(comparison)


def test_comparisons_of_before_have_none():
    comparison = compare_runs(runs(0.3, 0.8))
    assert comparison_warnings(comparison) == [] and len(comparison_cells(comparison)) == 3
