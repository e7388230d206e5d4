"""OGM and OGM-GE against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.methods.ogm import modulate, ogm_coefficients
from tests.losses.reference import ADDITIVE, make_batch
from tests.methods.problem import Problem
from tests.methods.reference import (
    assert_trees_close,
    cross_entropy,
    forward_of,
    gradient_of,
    label_scores,
    loss_of,
    random_params,
    ratio_to_others,
    take_turn,
)


def coefficients(scores, alpha):
    ratios = ratio_to_others(scores)
    return {m: 1 - np.tanh(alpha * rho) if rho > 1 else 1.0 for m, rho in ratios.items()}


def test_coefficients_of_two_by_hand():
    k = ogm_coefficients({"audio": 3.0, "visual": 2.0}, alpha=0.8)
    assert k["audio"] == pytest.approx(1 - np.tanh(1.2), rel=1e-5)
    assert k["visual"] == 1


def test_coefficients_jump_just_above_a_ratio_of_one():
    assert ogm_coefficients({"audio": 2.0, "visual": 2.0}, 0.5) == {"audio": 1, "visual": 1}
    k = ogm_coefficients({"audio": 2.0001, "visual": 2.0}, 0.5)
    assert k["audio"] == pytest.approx(1 - np.tanh(0.5), rel=1e-3)


def test_coefficients_of_three_compare_with_the_mean_of_the_others():
    k = ogm_coefficients({"a": 4.0, "b": 3.0, "c": 1.0}, alpha=0.3)
    assert k["a"] == pytest.approx(1 - np.tanh(0.3 * 4 / 2), rel=1e-5)
    assert k["b"] == pytest.approx(1 - np.tanh(0.3 * 3 / 2.5), rel=1e-5)
    assert k["c"] == 1


def test_three_equal_scores_have_a_ratio_of_one():
    """As before the first step, where the head says nothing, in whatever way scores are rounded."""
    equal = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, 1000), jnp.float32)
    for k in ogm_coefficients({"a": equal, "b": equal, "c": equal}, alpha=0.5).values():
        np.testing.assert_array_equal(k, 1)


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_loss_is_joint_and_the_scores_are_those_of_the_parts(modalities):
    features, labels = make_batch(0, modalities=modalities, scale=2.0, dtype=np.float32)
    loss = loss_of(methods.OGM(alpha=0.4).make(), ADDITIVE, features, labels)
    joint = sum(np.float64(z) for z in features.values())
    np.testing.assert_allclose(loss.values, cross_entropy(joint, labels), rtol=1e-5, atol=1e-6)
    expected = coefficients(label_scores(features, labels), 0.4)
    assert min(expected.values()) < 1
    for m, k in expected.items():
        assert loss.rule_args["coefficients"][f"encoders_{m}"] == pytest.approx(k, rel=1e-5)
        assert loss.metrics[f"coefficient/{m}"] == pytest.approx(k, rel=1e-5)


@pytest.mark.parametrize(
    ("progress", "inside"), [(1.99, False), (2.0, True), (3.5, True), (4.99, True), (5.0, False)]
)
def test_the_window_includes_both_of_its_epochs(progress, inside):
    features, labels = make_batch(1, scale=2.0, dtype=np.float32)
    forward = forward_of(ADDITIVE, features, labels, progress=progress)
    assert bool(forward.within(2, 4)) == inside
    method = methods.OGMGE(first_epoch=2, last_epoch=4).make()
    args = loss_of(method, ADDITIVE, features, labels, progress=progress).rule_args
    assert (min(args["coefficients"].values()) < 1) == inside
    assert args["noise_scale"] == inside


def test_without_enhancement_the_noise_scale_is_zero():
    features, labels = make_batch(1, dtype=np.float32)
    assert loss_of(methods.OGM().make(), ADDITIVE, features, labels).rule_args["noise_scale"] == 0


def test_modulate_scales_only_named_groups_and_reached_arrays():
    grads = {
        "one": {"kernel": np.full((2, 2), 4.0, np.float32), "bias": np.full(2, 4.0, np.float32)},
        "other": {"kernel": np.full((2, 2), 4.0, np.float32)},
        "head": {"kernel": np.full((2, 2), 4.0, np.float32)},
    }
    rule = modulate(lambda g: g.ndim == 2)
    out, _ = rule.update(grads, rule.init(grads), coefficients={"one": 0.25, "other": 0.5})
    np.testing.assert_array_equal(out["one"]["kernel"], 1)
    np.testing.assert_array_equal(out["one"]["bias"], 4)
    np.testing.assert_array_equal(out["other"]["kernel"], 2)
    np.testing.assert_array_equal(out["head"]["kernel"], 4)


def noise_of(grads, coefficients, **options):
    """Returns what the rule adds to the gradients beside the factors of its matrices."""
    rule = modulate(lambda g: g.ndim == 2, noise=True)
    out, _ = rule.update(grads, rule.init(grads), coefficients=coefficients, **options)

    def plain(name, g):
        return jax.tree.map(lambda x: coefficients.get(name, 1.0) * x if x.ndim == 2 else x, g)

    return jax.tree.map(jnp.subtract, out, {name: plain(name, g) for name, g in grads.items()})


def test_noise_has_mean_zero_and_the_scale_of_the_unmodulated_gradient():
    g = np.random.default_rng(0).normal(5, 3, (200, 200)).astype(np.float32)
    grads = {"slowed": {"w": g, "b": g[0]}, "full": {"w": g}, "head": {"w": g}}
    noise = noise_of(
        grads, {"slowed": 0.1, "full": 1.0}, key=jax.random.key(1), noise_scale=0.5
    )  # fmt: skip
    std = 0.5 * np.std(np.float64(g), ddof=1)
    for name in ("slowed", "full"):
        n = np.float64(noise[name]["w"])
        assert abs(n.mean()) < 5 * std / np.sqrt(n.size)
        assert n.std() == pytest.approx(std, rel=5 / np.sqrt(2 * n.size))
    correlation = np.corrcoef(noise["slowed"]["w"].ravel(), noise["full"]["w"].ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(g.size)
    np.testing.assert_array_equal(noise["slowed"]["b"], 0)
    np.testing.assert_array_equal(noise["head"]["w"], 0)


def test_the_scale_of_the_noise_is_the_unbiased_deviation():
    g = np.float32([[1.0, 4.0]])
    keys = jax.random.split(jax.random.key(2), 5000)
    draw = jax.vmap(lambda key: noise_of({"e": g}, {"e": 0.3}, key=key)["e"])
    noise = np.float64(draw(keys))
    # 3 / sqrt(2) with one degree of freedom less, 3 / 2 without.
    assert noise.std() == pytest.approx(3 / np.sqrt(2), rel=5 / np.sqrt(2 * noise.size))


def test_noise_of_scale_zero_leaves_the_gradient():
    g = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)
    noise = noise_of({"e": g}, {"e": 1.0}, key=jax.random.key(3), noise_scale=0.0)
    np.testing.assert_array_equal(noise["e"], 0)


@pytest.mark.parametrize("reach", ["kernels", "all"])
def test_a_turn_slows_the_encoders_and_leaves_the_head(reach):
    toy = Problem("ogm", alpha=0.5, reach=reach)
    params = random_params(toy)
    turn = take_turn(toy, params)
    expected = gradient_of(toy, params, toy.model.apply)
    k = {m: turn.metrics[f"coefficient/{m}"] for m in ("audio", "visual")}
    assert min(k.values()) < 1
    for m, x in k.items():
        expected[f"encoders_{m}"] = jax.tree.map(
            lambda g, x=x: x * g if g.ndim == 2 or reach == "all" else g, expected[f"encoders_{m}"]
        )
    assert_trees_close(turn.grads, expected)


def test_outside_the_window_a_turn_of_ogm_ge_is_joint():
    toy = Problem("ogm_ge", last_epoch=3)
    params = random_params(toy)
    expected = gradient_of(toy, params, toy.model.apply)
    assert_trees_close(take_turn(toy, params, progress=4.0).grads, expected)
    inside = take_turn(toy, params, progress=3.9).grads
    assert_trees_close(inside["head"], expected["head"])
    for m in ("encoders_audio", "encoders_visual"):
        for got, plain in zip(
            jax.tree.leaves(inside[m]), jax.tree.leaves(expected[m]), strict=True
        ):
            assert np.allclose(got, plain, rtol=1e-4, atol=1e-6) == (plain.ndim == 1)
