"""QMF against its formulas, row by row."""

import functools

import jax
import numpy as np
import pytest

from tcmax_jax import methods
from tests.losses.reference import ADDITIVE, make_batch
from tests.methods.reference import cross_entropy, forward_of, loss_of, softmax

N = 20


def confidence(logits):
    z = np.float64(logits)
    largest = z.max(1)
    return (largest + np.log(np.exp(z - largest[:, None]).sum(1))) / 10


def scaled(history):
    low, high = history.min(), history.max()
    return (history - low) / (high - low) if high > low else 0 * history


def slow_qmf(features, labels, index, histories, rank_weight, where=None):
    """Returns (mean loss, new histories, gradient of the loss by the features)."""
    rows = range(len(labels))
    valid = [where is None or where[i] for i in rows]
    conf = {m: confidence(z) for m, z in features.items()}
    out = sum(conf[m][:, None] * np.float64(z) for m, z in features.items())
    losses = {m: cross_entropy(z, labels) for m, z in features.items()}
    histories = {m: h.copy() for m, h in histories.items()}
    count = sum(valid)
    mean = sum(cross_entropy(out, labels)[i] for i in rows if valid[i]) / count
    gradient = {m: np.zeros(z.shape) for m, z in features.items()}
    pairs = [(i, (i + 1) % len(rows)) for i in rows]
    pairs = [(i, j) for i, j in pairs if valid[i] and valid[j]]
    for m, z in features.items():
        for i in rows:
            if valid[i]:
                histories[m][index[i]] += losses[m][i]
                mean += losses[m][i] / count
                one_hot = np.eye(z.shape[1])[labels[i]]
                gradient[m][i] += (softmax(z)[i] - one_hot) / count
                gradient[m][i] += conf[m][i] * (softmax(out)[i] - one_hot) / count
        h = scaled(histories[m])[index]
        for i, j in pairs:
            t = np.sign(h[i] - h[j])
            rank = t * (conf[m][i] - conf[m][j]) - abs(h[i] - h[j])
            if rank > 0:
                mean += rank_weight * rank / len(pairs)
                gradient[m][i] += rank_weight * t * softmax(z)[i] / 10 / len(pairs)
                gradient[m][j] -= rank_weight * t * softmax(z)[j] / 10 / len(pairs)
    return mean, histories, gradient


def problem(seed, modalities):
    # Wide logits make confidences spread by more than the histories do.
    features, labels = make_batch(
        seed, batch_size=6, modalities=modalities, scale=9.0, dtype=np.float32
    )
    index = np.random.default_rng(seed).permutation(N)[:6].astype(np.int32)
    return features, labels, index


@pytest.mark.parametrize("where", [None, np.array([1, 1, 0, 1, 1, 1], bool)])
@pytest.mark.parametrize("modalities", [2, 3])
def test_losses_histories_and_gradients_over_three_steps(modalities, where):
    method = methods.QMF(rank_weight=0.7).make()
    names = [f"m{i}" for i in range(modalities)]
    state = method.init(methods.Sizes(dict.fromkeys(names, 3), 3, N))
    assert all(h.shape == (N,) and not h.any() for h in state.values())

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def differentiate(features, labels, index, where, state):
        forward = forward_of(ADDITIVE, features, labels, index=index, where=where)
        loss = method.loss(forward, state)
        return forward.mean(loss.values), loss.state

    ranked = 0
    for seed in range(3):
        features, labels, index = problem(seed, modalities)
        (value, after), gradient = differentiate(features, labels, index, where, state)
        histories = {m: np.float64(h) for m, h in state.items()}
        expected = slow_qmf(features, labels, index, histories, 0.7, where)
        ranked += expected[0] - slow_qmf(features, labels, index, histories, 0.0, where)[0]
        assert value == pytest.approx(expected[0], rel=1e-4)
        for m in names:
            np.testing.assert_allclose(after[m], expected[1][m], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(gradient[m], expected[2][m], rtol=1e-3, atol=1e-5)
        state = after
    assert ranked > 0.01


def test_harder_examples_that_are_surer_pay_and_others_do_not():
    features = {"a": np.float32([[20.0, 0.0], [2.0, 0.0]]), "b": np.zeros((2, 2), np.float32)}
    labels, index = np.int32([0, 0]), np.int32([0, 1])

    def rank_terms(past):
        state = {"a": np.float32(past), "b": np.float32([0, 0])}
        with_rank, without = (
            loss_of(
                methods.QMF(rank_weight=w).make(), ADDITIVE, features, labels, state, index=index
            )
            for w in (1.0, 0.0)
        )
        return np.float64(with_rank.values) - np.float64(without.values)

    # Confidences are 2.0 and 0.21; histories 1 and 0 after scaling, a slack of 1.
    gap = confidence(features["a"])
    np.testing.assert_allclose(rank_terms([50, 0]), gap[0] - gap[1] - 1, atol=1e-5)
    np.testing.assert_allclose(rank_terms([0, 50]), 0, atol=1e-6)


def test_the_prediction_weights_parts_by_confidence():
    features, _ = make_batch(5, modalities=3, scale=3.0, dtype=np.float32)
    scores = methods.QMF().make().predict(ADDITIVE, features)
    expected = sum(confidence(z)[:, None] * np.float64(z) for z in features.values())
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
