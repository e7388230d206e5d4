"""PMR against its formulas."""

import numpy as np
import pytest

from tcmax_jax import methods
from tests.losses.reference import make_batch, product_head
from tests.methods.reference import cross_entropy, loss_of, ratio_to_others, softmax

C = 3


def similarities(features, prototypes, seen):
    result = {}
    for m, z in features.items():
        result[m] = np.full((len(z), len(seen)), -1e9)
        for i, k in np.ndindex(result[m].shape):
            if seen[k]:
                result[m][i, k] = -np.linalg.norm(np.float64(z[i]) - prototypes[m][k])
    return result


def state_of(seed, modalities=2, seen=(True, True, True)):
    rng = np.random.default_rng(seed)
    prototypes = {f"m{i}": rng.normal(size=(C, C)).astype(np.float32) for i in range(modalities)}
    return {"prototypes": prototypes, "seen": np.array(seen)}


def slow_loss(features, labels, state, weights, alpha, inside=True):
    """Returns ([B] losses, {modality: alpha w})."""
    sim = similarities(features, state["prototypes"], state["seen"])
    scores = {m: sum(p[y] for p, y in zip(softmax(s), labels, strict=True)) for m, s in sim.items()}
    lag = {m: 1 / rho - 1 for m, rho in ratio_to_others(scores).items()}
    w = {
        m: alpha * inside * (np.clip(x, 0, 1) if weights == "clip" else float(x > 0))
        for m, x in lag.items()
    }
    losses = cross_entropy(product_head(features), labels)
    for m, s in sim.items():
        pull = cross_entropy(s, labels)
        losses += w[m] * np.where(state["seen"][labels], pull, 0)
    return losses, w


@pytest.mark.parametrize("weights", ["clip", "binary"])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("seen", [(True, True, True), (True, False, True)])
def test_losses(weights, modalities, seen):
    features, labels = make_batch(1, modalities=modalities, dtype=np.float32)
    assert 1 in labels
    state = state_of(2, modalities, seen)
    method = methods.PMR(alpha=0.6, weights=weights).make()
    loss = loss_of(method, product_head, features, labels, state)
    expected, w = slow_loss(features, labels, state, weights, 0.6)
    assert max(w.values()) > 0
    assert {m: float(loss.metrics[f"weight/{m}"]) for m in w} == pytest.approx(w, rel=1e-4)
    np.testing.assert_allclose(loss.values, expected, rtol=1e-4)


def test_weights_are_the_shortfall_of_the_slow_modality():
    # The fast modality sits on its prototypes; the slow one is as far from both.
    state = {
        "prototypes": {"fast": np.float32([[5.0], [-5.0]]), "slow": np.float32([[0.0], [0.0]])},
        "seen": np.array([True, True]),
    }
    features = {"fast": np.float32([[5.0]]), "slow": np.float32([[1.0]])}
    p = 1 / (1 + np.exp(-10))
    head = lambda f: np.zeros((1, 2), np.float32)
    metrics = loss_of(methods.PMR().make(), head, features, np.int32([0]), state).metrics
    assert metrics["weight/fast"] == 0
    assert metrics["weight/slow"] == pytest.approx(p / 0.5 - 1, rel=1e-4)


@pytest.mark.parametrize(("progress", "inside"), [(0.5, 0), (1.0, 1), (2.9, 1), (3.0, 0)])
def test_the_window_includes_both_of_its_epochs(progress, inside):
    features, labels = make_batch(1, dtype=np.float32)
    state = state_of(2)
    method = methods.PMR(first_epoch=1, last_epoch=2).make()
    loss = loss_of(method, product_head, features, labels, state, progress=progress)
    expected, _ = slow_loss(features, labels, state, "clip", 1.0, inside)
    np.testing.assert_allclose(loss.values, expected, rtol=1e-4)


@pytest.mark.parametrize(("progress", "early"), [(0.0, True), (1.99, True), (2.0, False)])
def test_early_on_the_entropy_of_the_modality_ahead_is_rewarded(progress, early):
    features, labels = make_batch(3, dtype=np.float32)
    state = state_of(4)
    options = {"entropy_weight": 0.3, "entropy_epochs": 2}
    method = methods.PMR(**options).make()
    got = loss_of(method, product_head, features, labels, state, progress=progress).values
    expected, w = slow_loss(features, labels, state, "clip", 1.0)
    (ahead,) = [m for m, x in w.items() if x == 0]
    p = softmax(similarities(features, state["prototypes"], state["seen"])[ahead])
    entropy = -np.sum(p * np.log(p), axis=1)
    np.testing.assert_allclose(got, expected - 0.3 * early * entropy, rtol=1e-4)


def test_prototypes_are_class_means_with_momentum():
    method = methods.PMR(momentum=0.25).make()
    state = method.init(methods.Sizes({"a": 2, "v": 1}, 3, 100))
    assert not state["seen"].any()
    assert state["prototypes"]["a"].shape == (3, 2)
    first = {"a": np.float32([[1, 2], [3, 4], [9, 9]]), "v": np.float32([[1], [2], [5]])}
    state = method.begin_epoch(state, first, np.int32([0, 0, 2]))
    np.testing.assert_array_equal(state["seen"], [True, False, True])
    # The first means count in full.
    np.testing.assert_allclose(state["prototypes"]["a"], [[2, 3], [0, 0], [9, 9]])
    np.testing.assert_allclose(state["prototypes"]["v"], [[1.5], [0], [5]])
    second = {"a": np.float32([[6, 7], [1, 1]]), "v": np.float32([[3.5], [8]])}
    state = method.begin_epoch(state, second, np.int32([0, 1]))
    np.testing.assert_array_equal(state["seen"], [True, True, True])
    # .75 new + .25 old for class 0, new for class 1, old for class 2, which is absent.
    np.testing.assert_allclose(state["prototypes"]["a"], [[5, 6], [1, 1], [9, 9]])
    np.testing.assert_allclose(state["prototypes"]["v"], [[3], [8], [5]])


def test_before_the_first_prototypes_the_loss_is_joint():
    features, labels = make_batch(1, dtype=np.float32)
    method = methods.PMR().make()
    state = method.init(methods.Sizes({"m0": 3, "m1": 3}, C, 10))
    loss = loss_of(method, product_head, features, labels, state)
    expected = cross_entropy(product_head(features), labels)
    np.testing.assert_allclose(loss.values, expected, rtol=1e-5)
