"""MMPareto against its formulas."""

import jax
import numpy as np
import pytest

from tcmax_jax.methods.mmpareto import pareto
from tests.methods.problem import MODALITIES, Problem
from tests.methods.problem import make_batch as toy_batch
from tests.methods.reference import (
    assert_trees_close,
    cross_entropy,
    gradient_of,
    random_params,
    take_turn,
)


def flat(tree):
    return np.concatenate([np.float64(x).ravel() for x in jax.tree.leaves(tree)])


def slow_pareto(g, u, gamma):
    """Returns the joined gradient of one group, the least norm found by trying all weights."""
    a = 0.5
    if flat(g) @ flat(u) <= 0:
        grid = np.linspace(0.001, 0.999, 100001)
        gg, gu, uu = flat(g) @ flat(g), flat(g) @ flat(u), flat(u) @ flat(u)
        norms = grid**2 * gg + 2 * grid * (1 - grid) * gu + (1 - grid) ** 2 * uu
        a = grid[np.argmin(norms)]

    def join(x, y):
        h = 2 * a * np.float64(x) + 2 * (1 - a) * np.float64(y)
        return gamma * h * max(1, np.linalg.norm(x + y) / np.linalg.norm(h))

    return jax.tree.map(join, g, u)


def group(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {
        "kernel": (scale * rng.normal(size=(3, 4))).astype(np.float32),
        "bias": (scale * rng.normal(size=4)).astype(np.float32),
    }


def add(x, y, factor=1.0):
    return jax.tree.map(lambda a, b: np.float32(a + factor * b), x, y)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("conflict", [True, False])
@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_joined_gradients(seed, conflict, scale):
    g = group(seed)
    u = add(group(100 + seed, scale), g, -1.0 if conflict else 1.0)
    if (flat(g) @ flat(u) <= 0) != conflict:
        u = jax.tree.map(np.negative, u)
    grads, own = {"one": g, "head": group(7)}, {"one": u, "head": group(8)}
    rule = pareto(["one"], gamma=1.3)
    got, _ = rule.update(grads, rule.init(grads), unimodal=own)
    assert_trees_close(got["one"], slow_pareto(g, u, 1.3), rtol=1e-3, atol=1e-3)
    assert_trees_close(got["head"], add(grads["head"], own["head"]))


def test_without_conflict_it_is_the_plain_sum_times_gamma():
    g, u = group(0), group(0, 2.0)
    rule = pareto(["one"])
    got, _ = rule.update({"one": g}, rule.init({}), unimodal={"one": u})
    assert_trees_close(got["one"], jax.tree.map(lambda x, y: 1.5 * (x + y), g, u))


def test_under_conflict_the_joined_direction_ascends_neither_loss():
    g = {"w": np.float32([1.0, 0.2])}
    u = {"w": np.float32([-2.0, 0.3])}
    rule = pareto(["one"])
    h = rule.update({"one": g}, rule.init({}), unimodal={"one": u})[0]["one"]["w"]
    assert np.dot(h, g["w"]) >= 0
    assert np.dot(h, u["w"]) >= 0


@pytest.mark.parametrize(
    ("g", "u"), [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0]), ([0.0, 0.0], [0.0, 0.0]),
                 ([1.0, 2.0], [-1.0, -2.0])],
)  # fmt: skip
def test_gradients_of_zero_and_opposite_ones_stay_finite(g, u):
    rule = pareto(["one"])
    got = rule.update({"one": np.float32(g)}, rule.init({}), unimodal={"one": np.float32(u)})[0]
    assert np.isfinite(got["one"]).all()


@pytest.mark.parametrize("modalities", [MODALITIES, (*MODALITIES, "text")])
def test_a_turn_joins_the_gradients_of_each_encoder(modalities):
    toy = Problem("mmpareto", modalities, gamma=1.2)
    params = random_params(toy)
    batch = toy_batch(modalities=modalities)

    def unimodal_logits(modality):
        def apply(variables, inputs):
            features = toy.model.apply(variables, inputs, method="encode")
            return toy.model.apply(variables, features, method="unimodal_logits")[modality]

        return apply

    joint = gradient_of(toy, params, toy.model.apply, batch)
    own = {m: gradient_of(toy, params, unimodal_logits(m), batch) for m in modalities}
    turn = take_turn(toy, params, modalities=modalities)
    for m in modalities:
        name = f"encoders_{m}"
        # Only its own classifier looks at an encoder.
        expected = slow_pareto(joint[name], own[m][name], 1.2)
        assert_trees_close(turn.grads[name], expected, rtol=5e-3, atol=1e-4)
    heads = jax.tree.map(lambda *x: sum(x), joint["head"], *[own[m]["head"] for m in modalities])
    assert_trees_close(turn.grads["head"], heads)
    logits = [toy.model.apply({"params": params}, batch["inputs"])]
    logits += [unimodal_logits(m)({"params": params}, batch["inputs"]) for m in modalities]
    expected = sum(cross_entropy(z, batch["label"]).mean() for z in logits)
    assert turn.loss == pytest.approx(expected, rel=1e-4)
