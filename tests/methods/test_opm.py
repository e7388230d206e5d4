"""OPM against its formulas."""

import importlib

import jax
import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.losses import AdditiveHead
from tcmax_jax.methods.opm import drop_probabilities
from tests.losses.reference import ADDITIVE, make_batch
from tests.methods.reference import (
    cross_entropy,
    forward_of,
    label_scores,
    loss_of,
    ratio_to_others,
)

SIZES = {"m0": 4, "m1": 6}


def probabilities(scores, base, strength, variant="excess"):
    q = {}
    for m, rho in ratio_to_others(scores).items():
        growth = np.tanh(rho - 1) if variant == "excess" else np.tanh(rho)
        q[m] = min(1.0, max(0.0, base * (1 + strength * growth))) if rho > 1 else 0.0
    return q


RNG = np.random.default_rng(0)
KERNELS = {m: RNG.normal(size=(d, 3)).astype(np.float32) for m, d in SIZES.items()}


def parts(features):
    return {m: features[m] @ w for m, w in KERNELS.items()}


def logits(features):
    return sum(np.float64(features[m]) @ np.float64(w) for m, w in KERNELS.items())


def features_of_sizes(seed, rows=8):
    """Returns features of both sizes, and labels that the first modality favours."""
    rng = np.random.default_rng(seed)
    features = {m: rng.normal(size=(rows, d)).astype(np.float32) for m, d in SIZES.items()}
    favoured = features["m0"] @ KERNELS["m0"]
    return features, np.argmax(favoured, axis=1).astype(np.int32)


def run(rows=8, **options):
    """Returns the forward pass, the features that the head saw last, and the loss."""
    method = methods.OPM(**{"warmup_epochs": 0, "apply_probability": 1.0} | options).make()
    forward = forward_of(None, *features_of_sizes(0, rows))

    @jax.jit
    def compute(forward_without_head):
        seen = []

        def head(features):
            seen.append(features)
            return parts(features)

        loss = method.loss(forward_without_head._replace(head=AdditiveHead(head)), ())
        return seen[-1], loss

    return forward, *compute(forward)


def test_excess_starts_at_the_base():
    q = drop_probabilities({"a": 3.0, "b": 2.0}, base=0.5, strength=0.4)
    assert q["a"] == pytest.approx(0.5 * (1 + 0.4 * np.tanh(0.5)), rel=1e-5)
    assert q["b"] == 0
    q = drop_probabilities({"a": 2.0002, "b": 2.0}, base=0.5, strength=0.4)
    assert q["a"] == pytest.approx(0.5, rel=1e-3)


def test_ratio_jumps_at_one():
    q = drop_probabilities({"a": 3.0, "b": 2.0}, base=0.25, strength=1.0, shift=0.0)
    assert q["a"] == pytest.approx(0.25 * (1 + np.tanh(1.5)), rel=1e-5)
    assert q["b"] == 0


def test_probabilities_are_cut_at_one():
    q = drop_probabilities({"a": 9.0, "b": 1.0}, base=0.9, strength=1.0)
    assert q == {"a": 1.0, "b": 0.0}


@pytest.mark.parametrize("variant", ["excess", "ratio"])
@pytest.mark.parametrize("modalities", [2, 3])
def test_probabilities_of_a_batch(variant, modalities):
    features, labels = make_batch(5, modalities=modalities, scale=2.0, dtype=np.float32)
    method = methods.OPM(
        base=0.3, strength=0.8, warmup_epochs=0, apply_probability=1.0, probabilities=variant
    ).make()
    metrics = loss_of(method, ADDITIVE, features, labels).metrics
    expected = probabilities(label_scores(features, labels), 0.3, 0.8, variant)
    assert max(expected.values()) > 0
    for m, q in expected.items():
        assert metrics[f"drop_probability/{m}"] == pytest.approx(q, rel=1e-5)


def test_the_weakest_modality_is_never_dropped():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = dict(zip("abc", rng.uniform(0.1, 5, 3), strict=True))
        q = drop_probabilities(scores, base=1.0, strength=1.0)
        assert q[min(scores, key=scores.get)] == 0


@pytest.mark.parametrize("options", [{"apply_probability": 0.0}, {"warmup_epochs": 1}])
def test_without_dropping_the_loss_is_joint(options):
    forward, _, loss = run(**options)
    expected = cross_entropy(logits(forward.features), forward.labels)
    np.testing.assert_allclose(loss.values, expected, rtol=1e-4)
    assert set(map(float, loss.metrics.values())) == {0.0}


@pytest.mark.parametrize(("progress", "dropped"), [(5.99, False), (6.0, True)])
def test_warmup_lasts_six_epochs(progress, dropped):
    features, labels = features_of_sizes(0)
    method = methods.OPM(apply_probability=1.0).make()
    metrics = loss_of(method, AdditiveHead(parts), features, labels, progress=progress).metrics
    assert (metrics["drop_probability/m0"] > 0) == dropped


def test_certain_dropping_leaves_the_other_modality_rescaled():
    forward, _, loss = run(base=1.0)
    assert float(loss.metrics["drop_probability/m0"]) == 1
    theta = SIZES["m0"] / (SIZES["m0"] + SIZES["m1"])
    whole = forward.features
    rescaled = {"m0": 0 * whole["m0"], "m1": np.float64(whole["m1"]) / (1 - theta)}
    expected = cross_entropy(logits(rescaled), forward.labels)
    np.testing.assert_allclose(loss.values, expected, rtol=1e-4)


def test_whole_features_are_dropped_and_the_rest_rescaled():
    forward, seen, loss = run(rows=60)
    q = float(loss.metrics["drop_probability/m0"])
    theta = SIZES["m0"] * q / (SIZES["m0"] + SIZES["m1"])
    kept = np.any(seen["m0"] != 0, axis=1)
    assert 0 < kept.sum() < len(kept)
    whole = {m: np.float64(z) / (1 - theta) for m, z in forward.features.items()}
    np.testing.assert_allclose(seen["m0"][kept], whole["m0"][kept], rtol=1e-5)
    np.testing.assert_allclose(seen["m1"], whole["m1"], rtol=1e-5)
    expected = cross_entropy(logits(seen), forward.labels)
    np.testing.assert_allclose(loss.values, expected, rtol=1e-4, atol=1e-5)


def test_the_rescaled_features_keep_their_expected_total():
    rows = 20000
    forward, seen, loss = run(rows=rows)
    q = float(loss.metrics["drop_probability/m0"])
    totals = np.zeros(rows)
    for m, d in SIZES.items():
        ratio = np.float64(seen[m]) / np.float64(forward.features[m])
        totals += d * ratio[:, 0]
    deviation = totals.std() / np.sqrt(rows)
    assert totals.mean() == pytest.approx(sum(SIZES.values()), abs=5 * deviation)
    dropped = np.mean(seen["m0"][:, 0] == 0)
    assert dropped == pytest.approx(q, abs=5 * np.sqrt(q * (1 - q) / rows))


def test_dropping_applies_to_its_share_of_batches():
    features, labels = features_of_sizes(0)
    method = methods.OPM(apply_probability=0.7, warmup_epochs=0).make()

    def probability(key):
        forward = methods.Forward(AdditiveHead(parts), features, labels, key=key)
        return method.loss(forward, ()).metrics["drop_probability/m0"]

    n = 2000
    q = jax.jit(jax.vmap(probability))(jax.random.split(jax.random.key(0), n))
    assert np.mean(q > 0) == pytest.approx(0.7, abs=5 * np.sqrt(0.7 * 0.3 / n))


def test_examples_without_any_modality_leave_the_mean(monkeypatch):
    module = importlib.import_module("tcmax_jax.methods.opm")
    monkeypatch.setattr(
        module, "drop_probabilities", lambda scores, **_: dict.fromkeys(scores, np.float32(0.6))
    )
    forward, seen, loss = run(rows=40)
    left = np.any(seen["m0"] != 0, axis=1) | np.any(seen["m1"] != 0, axis=1)
    assert 0 < left.sum() < len(left)
    losses = cross_entropy(logits(seen), forward.labels)
    assert forward.mean(loss.values) == pytest.approx(losses[left].mean(), rel=1e-4)
    np.testing.assert_array_equal(np.asarray(loss.values)[~left], 0)


def test_prediction_is_joint_on_whole_features():
    features, _ = make_batch(6, dtype=np.float32)
    scores = methods.OPM().make().predict(ADDITIVE, features)
    np.testing.assert_allclose(scores, features["m0"] + features["m1"], rtol=1e-6)
