"""Linear probes: the optimum of a convex problem, found without seeds or learning rates."""

import numpy as np
import pytest
from scipy.optimize import minimize

from tcmax_jax.evaluation.probe import fit_probe, probe_accuracies, probe_logits

C, D = 3, 4


def make_features(seed, n=60, overlap=2.0):
    """Returns features whose entries differ in size and offset, and labels they hint at."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, C, n)
    centres = np.random.default_rng(0).normal(size=(C, D))
    clean = centres[labels] + overlap * rng.normal(size=(n, D))
    return (clean * [1, 10, 0.1, 3] + [0, 100, -1, 5]).astype(np.float32), labels


def scipy_probe(features, labels, l2):
    """Returns (kernel, bias) of the optimum on standardised features, in float64."""
    x = np.float64(features)
    x = (x - x.mean(0)) / x.std(0)

    def objective(flat):
        w, b = flat[: D * C].reshape(D, C), flat[D * C :]
        z = x @ w + b
        log_sum = np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1)
        return np.mean(log_sum - z[np.arange(len(z)), labels]) + l2 / 2 * np.sum(w**2)

    flat = minimize(objective, np.zeros(D * C + C), method="BFGS", options={"gtol": 1e-7}).x
    bias = flat[D * C :]
    return flat[: D * C].reshape(D, C), bias - bias.mean()


@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_the_optimum_of_another_solver(l2):
    features, labels = make_features(1)
    probe = fit_probe(features, labels, C, l2=l2)
    kernel, bias = scipy_probe(features, labels, l2)
    np.testing.assert_allclose(probe.kernel, kernel, atol=2e-3)
    np.testing.assert_allclose(probe.bias - probe.bias.mean(), bias, atol=2e-3)


def test_no_entry_of_the_gradient_exceeds_what_is_promised():
    features, labels = make_features(1, n=200)
    probe = fit_probe(features, labels, C)
    x = (np.float64(features) - probe.mean) / probe.scale
    z = x @ probe.kernel + probe.bias
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    errors = (p - np.eye(C)[labels]) / len(x)
    by_kernel, by_bias = x.T @ errors + 1e-3 * probe.kernel, errors.sum(0)
    # The parameters are rounded to float32 at the end.
    assert max(np.abs(by_kernel).max(), np.abs(by_bias).max()) < 1.1e-5


def test_logits_do_not_depend_on_the_units_of_the_features():
    features, labels = make_features(2)
    other = features * np.float32([7, 0.01, 100, 1]) - np.float32([1, 2, 3, 4])
    one = probe_logits(fit_probe(features, labels, C), features)
    two = probe_logits(fit_probe(other, labels, C), other)
    np.testing.assert_allclose(one, two, atol=2e-3)


def test_the_order_of_the_examples_does_not_matter():
    features, labels = make_features(3)
    order = np.random.default_rng(3).permutation(len(labels))
    one = fit_probe(features, labels, C)
    two = fit_probe(features[order], labels[order], C)
    np.testing.assert_allclose(one.kernel, two.kernel, atol=2e-3)


def test_a_constant_feature_takes_no_part():
    features, labels = make_features(4)
    constant = np.concatenate([features, np.full((len(features), 1), 1e6, np.float32)], axis=1)
    probe = fit_probe(constant, labels, C)
    np.testing.assert_array_equal(probe.scale[-1], 1)
    np.testing.assert_allclose(probe.kernel[-1], 0, atol=1e-6)
    np.testing.assert_allclose(probe.kernel[:-1], fit_probe(features, labels, C).kernel, atol=2e-3)


def test_separable_classes_stay_finite_and_are_told_apart():
    features, labels = make_features(5, overlap=1e-3)
    scores = probe_logits(fit_probe(features, labels, C), features)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(np.argmax(scores, 1), labels)


def test_a_feature_that_does_not_know_the_label_predicts_the_commonest_class():
    labels = np.int32([0] * 5 + [1] * 3 + [2] * 2)
    probe = fit_probe(np.ones((10, D), np.float32), labels, C)
    p = np.exp(probe.bias) / np.sum(np.exp(probe.bias))
    np.testing.assert_allclose(p, [0.5, 0.3, 0.2], atol=1e-4)


def test_accuracies_of_each_modality_and_split():
    good, labels = make_features(6, overlap=1e-3)
    train = {"good": good, "blank": np.zeros_like(good)}
    held_out, held_labels = make_features(7, n=30, overlap=1e-3)
    splits = {"test": ({"good": held_out, "blank": np.zeros_like(held_out)}, held_labels)}
    got = probe_accuracies(train, labels, splits, C)
    commonest = np.bincount(labels).argmax()
    share = np.mean(held_labels == commonest)
    assert got == {"test": {"good": 1.0, "blank": pytest.approx(share)}}


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), r"of at least one example, got shapes \(0, 2\)"),
        (np.zeros((3, 2)), np.zeros(4, int), r"got shapes \(3, 2\) and \(4,\)"),
        (np.full((2, 2), np.nan), np.zeros(2, int), "got 4 entries that are NaN or infinite"),
        (np.zeros((2, 2)), np.array([0, 3]), r"Expected labels in 0 \.\. 2, got 0 \.\. 3"),
        (np.zeros((2, 2)), np.array([-1, 0]), r"got -1 \.\. 0"),
    ],
)
def test_bad_input(features, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_probe(features, labels, C)


def test_bad_features_are_named():
    features, labels = make_features(8)
    with pytest.raises(ValueError, match=r"^lips: Expected finite features"):
        probe_accuracies({"lips": features * np.inf}, labels, {}, C)
