"""AGM against its formulas."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.methods.agm import (
    agm_coefficients,
    clip_by_largest,
    scale_gradient,
    shapley_responses,
)
from tests.losses.reference import ADDITIVE, make_batch
from tests.methods.problem import Problem
from tests.methods.problem import make_batch as toy_batch
from tests.methods.reference import (
    assert_trees_close,
    cross_entropy,
    gradient_of,
    loss_of,
    random_params,
    softmax,
    take_turn,
)


def coefficients(scores, running, alpha):
    def discrepancy(s, m):
        return np.exp(np.mean([s[n] for n in s if n != m]) - s[m])

    return {
        m: np.exp(alpha * min(discrepancy(running, m) - discrepancy(scores, m), 10)) for m in scores
    }


def mean_losses(features, labels):
    return {m: cross_entropy(z, labels).mean() for m, z in features.items()}


def test_coefficients_of_two_by_hand():
    kappa = agm_coefficients({"a": 0.5, "v": 1.0}, {"a": 0.2, "v": 0.4}, alpha=2.0)
    assert kappa["a"] == pytest.approx(np.exp(2 * (np.exp(0.2) - np.exp(0.5))), rel=1e-5)
    assert kappa["v"] == pytest.approx(np.exp(2 * (np.exp(-0.2) - np.exp(-0.5))), rel=1e-5)


def test_the_modality_that_has_got_ahead_is_slowed():
    kappa = agm_coefficients({"a": 0.1, "v": 1.0}, {"a": 0.5, "v": 1.0}, alpha=1.0)
    assert kappa["a"] < 1 < kappa["v"]


def test_the_exponent_is_cut_at_ten():
    kappa = agm_coefficients({"a": 9.0, "v": 1.0}, {"a": 1.0, "v": 9.0}, alpha=0.5)
    assert kappa["a"] == pytest.approx(np.exp(5.0), rel=1e-5)


def test_coefficients_of_three_compare_with_the_mean_of_the_others():
    scores, running = {"a": 0.3, "b": 0.9, "c": 0.6}, {"a": 0.8, "b": 0.7, "c": 0.1}
    expected = coefficients(scores, running, 1.3)
    assert agm_coefficients(scores, running, 1.3) == pytest.approx(expected, rel=1e-5)


def test_scaled_gradients():
    x = jnp.array([0.3, -2.0])
    value, grad = jax.value_and_grad(lambda x: jnp.sum(scale_gradient(x, 0.25) ** 2))(x)
    assert value == pytest.approx(0.09 + 4)
    np.testing.assert_allclose(grad, 0.25 * 2 * x, rtol=1e-6)


def nonlinear(names):
    """Returns a head that is far from additive, and encoders that are not zero at zero."""

    def head(features):
        z = jnp.stack([features[m] for m in names])
        return jnp.tanh(jnp.prod(1.0 + z, axis=0)) + jnp.sum(z**2, axis=0)

    def encode(inputs):
        return {m: jnp.sin(inputs[m] + 0.5 + i) for i, m in enumerate(names)}

    return head, encode


@pytest.mark.parametrize("names", [("a", "v"), ("a", "v", "t")])
def test_shapley_values_are_mean_gains_over_all_orders(names):
    head, encode = nonlinear(names)
    rng = np.random.default_rng(0)
    inputs = {m: rng.normal(size=(4, 3)).astype(np.float32) for m in names}

    def value(subset):
        if not subset:
            return 0.0
        chosen = {m: x if m in subset else 0 * x for m, x in inputs.items()}
        return np.float64(head(encode(chosen)))

    expected = dict.fromkeys(names, 0.0)
    for order in itertools.permutations(names):
        for i, m in enumerate(order):
            gain = value(order[: i + 1]) - value(order[:i])
            expected[m] = expected[m] + gain / math.factorial(len(names))
    got = shapley_responses(
        methods.Forward(head, encode(inputs), np.zeros(4, int), inputs=inputs, encode=encode)
    )
    for m in names:
        np.testing.assert_allclose(got[m], expected[m], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sum(got.values()), head(encode(inputs)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modalities", [2, 3])
def test_losses_and_running_means_over_three_steps(modalities):
    method = methods.AGM(alpha=0.7, response="split").make()
    names = [f"m{i}" for i in range(modalities)]
    state = method.init(methods.Sizes(dict.fromkeys(names, 3), 3, 10))
    seen = {m: [] for m in names}
    for seed in range(3):
        features, labels = make_batch(
            seed, modalities=modalities, scale=2.0, dtype=np.float32
        )  # fmt: skip
        loss = loss_of(method, ADDITIVE, features, labels, state)
        joint = sum(np.float64(z) for z in features.values())
        np.testing.assert_allclose(loss.values, cross_entropy(joint, labels), rtol=1e-5)
        scores = mean_losses(features, labels)
        running = {m: np.mean(s) if s else 0.0 for m, s in seen.items()}
        for m, x in coefficients(scores, running, 0.7).items():
            assert loss.metrics[f"coefficient/{m}"] == pytest.approx(x, rel=1e-4)
            seen[m].append(scores[m])
        state = loss.state
        assert state["steps"] == seed + 1
        for m in names:
            assert state["scores"][m] == pytest.approx(np.mean(seen[m]), rel=1e-5)


def test_scores_are_cut_where_the_probability_is_below_1e8():
    features = {"a": np.float32([[100.0, 0.0]]), "v": np.float32([[0.0, 0.0]])}
    method = methods.AGM(response="split").make()
    state = method.init(methods.Sizes({"a": 2, "v": 2}, 2, 1))
    loss = loss_of(method, ADDITIVE, features, np.int32([1]), state)
    assert loss.state["scores"]["a"] == pytest.approx(-np.log(1e-8), rel=1e-5)
    assert loss.state["scores"]["v"] == pytest.approx(np.log(2), rel=1e-5)


@pytest.mark.parametrize(("progress", "inside"), [(0.9, False), (1.0, True), (2.9, True), (3.0, 0)])
def test_the_window_includes_both_of_its_epochs(progress, inside):
    features, labels = make_batch(0, scale=2.0, dtype=np.float32)
    method = methods.AGM(response="split", first_epoch=1, last_epoch=2).make()
    state = method.init(methods.Sizes({"m0": 3, "m1": 3}, 3, 5))
    metrics = loss_of(method, ADDITIVE, features, labels, state, progress=progress).metrics
    assert (metrics["coefficient/m0"] != 1) == bool(inside)


def own_part(toy, modality):
    """Returns the function variables, inputs -> the modality's part of the joint logits."""

    def apply(variables, inputs):
        features = toy.model.apply(variables, inputs, method="encode")
        return toy.model.apply(variables, features, method="modality_logits")[modality]

    return apply


def shapley_part(toy, modality):
    """Returns the function variables, inputs -> the Shapley value of one modality of two."""

    def apply(variables, inputs):
        zeros = {m: jnp.zeros_like(x) for m, x in inputs.items()}
        (other,) = set(inputs) - {modality}
        alone = toy.model.apply(variables, inputs | {other: zeros[other]})
        rest = toy.model.apply(variables, inputs | {modality: zeros[modality]})
        return (alone + toy.model.apply(variables, inputs) - rest) / 2

    return apply


@pytest.mark.parametrize(
    ("response", "fusion", "part", "alpha"),
    [
        ("split", "concat", own_part, 0.5),
        ("shapley", "concat", shapley_part, 0.5),
        ("shapley", "bigated", shapley_part, 20.0),
    ],
)
def test_a_turn_scales_what_flows_through_each_response(response, fusion, part, alpha):
    toy = Problem("agm", fusion=fusion, response=response, alpha=alpha, clip=None)
    params = random_params(toy, 3, scale=0.2)
    batch = toy_batch()
    parts = {m: part(toy, m) for m in ("audio", "visual")}
    values = {m: f({"params": params}, batch["inputs"]) for m, f in parts.items()}
    joint = sum(np.float64(x) for x in values.values())
    whole = toy.model.apply({"params": params}, batch["inputs"])
    np.testing.assert_allclose(joint, whole, rtol=1e-4, atol=1e-5)
    cotangent = softmax(joint)
    cotangent[np.arange(len(joint)), batch["label"]] -= 1
    cotangent = np.float32(cotangent / len(joint))
    kappa = coefficients(mean_losses(values, batch["label"]), dict.fromkeys(parts, 0.0), alpha)
    assert max(kappa.values()) / min(kappa.values()) > 1.1

    def weighted(params):
        return sum(
            kappa[m] * jnp.sum(cotangent * f({"params": params}, batch["inputs"]))
            for m, f in parts.items()
        )

    assert_trees_close(take_turn(toy, params).grads, jax.grad(weighted)(params), rtol=1e-3)


def test_outside_the_window_a_turn_is_joint():
    toy = Problem("agm", last_epoch=1, clip=None)
    params = random_params(toy)
    expected = gradient_of(toy, params, toy.model.apply)
    assert_trees_close(take_turn(toy, params, progress=2.0).grads, expected)


def test_clipping_needs_a_large_entry_in_the_group():
    rule = clip_by_largest(1.0, group="head")
    small = {"head": np.float32([0.9, -0.9]), "encoder": np.float32([30.0])}
    large = {"head": np.float32([0.5, -3.0]), "encoder": np.float32([4.0])}
    got, _ = rule.update(small, rule.init(small))
    assert_trees_close(got, small)
    got, _ = rule.update(large, rule.init(large))
    norm = np.sqrt(0.25 + 9 + 16)
    assert_trees_close(got, {name: x / norm for name, x in large.items()})
