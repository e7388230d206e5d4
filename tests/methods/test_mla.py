"""MLA against its formulas."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tcmax_jax import methods
from tcmax_jax.methods.mla import update_projection
from tcmax_jax.training.optimizer import SGD
from tests.losses.reference import ADDITIVE, make_batch
from tests.methods.problem import MODALITIES, Problem
from tests.methods.problem import make_batch as toy_batch
from tests.methods.reference import (
    assert_trees_close,
    cross_entropy,
    gradient_of,
    random_params,
    softmax,
    take_turn,
)


def unimodal_logits(toy, modality):
    def apply(variables, inputs):
        features = toy.model.apply(variables, inputs, method="encode")
        return toy.model.apply(variables, features, method="modality_logits")[modality]

    return apply


@pytest.mark.parametrize("number", [0, 1])
def test_a_turn_descends_on_one_modality_alone(number):
    toy = Problem("mla")
    params = random_params(toy)
    modality = MODALITIES[number]
    expected = gradient_of(toy, params, unimodal_logits(toy, modality))
    turn = take_turn(toy, params, number)
    assert set(turn.grads) == {f"encoders_{modality}", "head"}
    assert_trees_close(turn.grads, {name: expected[name] for name in turn.grads})
    batch = toy_batch()
    logits = unimodal_logits(toy, modality)({"params": params}, batch["inputs"])
    assert turn.loss == pytest.approx(cross_entropy(logits, batch["label"]).mean(), rel=1e-5)


def test_the_second_turn_sees_the_head_of_the_first(devices):
    toy = Problem("mla", config=SGD(learning_rate=0.05, weight_decay=0.0))
    before = toy.state.params
    # Through a head of zero no encoder has a gradient; at the second turn it is not zero any more.
    assert not np.any(before["head"]["shared"]["kernel"])
    for number in range(2):
        grads = take_turn(toy, before, number).grads
        assert not np.any(grads[f"encoders_{MODALITIES[number]}"]["Dense_0"]["kernel"])
    after, _ = toy.run(devices[:1], [toy_batch()])
    momentum = optax.tree.get(after.opt_state, "trace")
    assert not np.any(momentum["encoders_audio"]["Dense_0"]["kernel"])
    assert np.any(momentum["encoders_visual"]["Dense_0"]["kernel"])


def slow_projection(p, r, damping):
    """Returns the update of P entry by entry."""
    n = len(r)
    k = [sum(p[i, j] * r[j] for j in range(n)) for i in range(n)]
    bottom = damping + sum(r[i] * k[i] for i in range(n))
    new = np.array([[p[i, j] - k[i] * k[j] / bottom for j in range(n)] for i in range(n)])
    return new / np.sqrt(np.sum(new**2))


def test_projection_by_hand():
    # P - k k^T / (a + 1) with r = k = (1, 0) and a = 1 is diag(1/2, 1).
    p = update_projection(jnp.eye(2), jnp.array([1.0, 0.0]), 1.0)
    np.testing.assert_allclose(p, np.diag([0.5, 1.0]) / np.sqrt(1.25), rtol=1e-6)


def test_projection_removes_what_was_seen():
    r = jnp.array([0.6, -1.0, 2.0])
    p = update_projection(jnp.eye(3), r, 1e-6)
    np.testing.assert_allclose(p @ r, 0, atol=1e-5)
    across = jnp.array([1.0, 0.6, 0.0])
    np.testing.assert_allclose(p @ across, across / np.sqrt(2), rtol=1e-5, atol=1e-6)


def test_projected_turns():
    toy = Problem("mla", projection="owm")
    params = random_params(toy)
    features = toy.model.apply({"params": params}, toy_batch()["inputs"], method="encode")
    expected_p, state = np.eye(4), toy.state.method_state
    for turns, (number, progress) in enumerate([(0, 0.0), (1, 0.0), (0, 2.5), (1, 2.5)]):
        m = MODALITIES[number]
        plain = gradient_of(toy, params, unimodal_logits(toy, m))
        if turns > 0:
            r = np.float64(features[m]).mean(0)
            expected_p = slow_projection(expected_p, r, 0.1 ** (1 + progress % 1))
        turn = take_turn(toy, params, number, state=state, progress=progress)
        state = turn.state
        assert state["turns"] == turns + 1
        np.testing.assert_allclose(state["projection"], expected_p, rtol=1e-3, atol=1e-5)
        got, head = turn.grads["head"]["shared"], plain["head"]["shared"]
        np.testing.assert_allclose(got["kernel"], expected_p @ head["kernel"], 1e-3, 1e-5)
        np.testing.assert_allclose(got["bias"], head["bias"], rtol=1e-4)
        assert_trees_close(turn.grads[f"encoders_{m}"], plain[f"encoders_{m}"])


@pytest.mark.parametrize("modalities", [2, 3])
def test_prediction_weights_parts_by_the_entropy_of_each_example(modalities):
    features, _ = make_batch(0, modalities=modalities, scale=3.0, dtype=np.float32)
    scores = methods.MLA().make(tuple(features)).predict(ADDITIVE, features)
    for i, row in enumerate(scores):
        p = {m: softmax(z)[i] for m, z in features.items()}
        w = {m: np.exp(np.sum(x * np.log(x))) for m, x in p.items()}
        expected = sum(w[m] * np.float64(features[m][i]) for m in w) / sum(w.values())
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


def test_prediction_of_an_example_does_not_depend_on_its_batch():
    features, _ = make_batch(1, scale=3.0, dtype=np.float32)
    predict = methods.MLA().make(tuple(features)).predict
    whole = predict(ADDITIVE, features)
    alone = predict(ADDITIVE, {m: z[2:3] for m, z in features.items()})
    np.testing.assert_allclose(whole[2:3], alone, rtol=1e-6)


def test_prediction_is_finite_where_probabilities_underflow():
    features = {"a": np.float32([[1e4, -1e4]]), "v": np.float32([[0.0, 1.0]])}
    scores = methods.MLA().make(("a", "v")).predict(ADDITIVE, features)
    h = -np.sum(softmax(features["v"]) * np.log(softmax(features["v"])))
    w = 1 / (1 + np.exp(-h))
    np.testing.assert_allclose(scores, [[w * 1e4, -w * 1e4 + (1 - w)]], rtol=1e-5)
