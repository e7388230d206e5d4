"""Heads against their formulas, written out with the parameters in NumPy."""

import jax
import numpy as np
import pytest

from tcmax_jax.models import HeadOptions
from tcmax_jax.models.fusion import AdditiveFusion
from tests.models.random_params import randomised

N, D, C = 7, 6, 4
FUSIONS = HeadOptions.members()
ADDITIVE_FUSIONS = [k for k, head in FUSIONS.items() if issubclass(head.module, AdditiveFusion)]


def features(modalities=("audio", "visual")):
    rng = np.random.default_rng(0)
    return {m: rng.normal(size=(N, D)).astype(np.float32) for m in modalities}


def build(name, modalities=("audio", "visual"), **options):
    head = HeadOptions.of_kind(name).make(modalities, C, **options)
    params = head.init(jax.random.key(0), features(modalities))["params"]
    return head, params


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def gate(p, first, second):
    return dense(p["out"], sigmoid(dense(p["gate"], first)) * dense(p["value"], second))


def concat(p, a, v):
    both = np.concatenate([a, v], 1) @ np.concatenate([p["audio"]["kernel"], p["visual"]["kernel"]])
    return both + p["bias"]


def cosine(p, a, v):
    w = p["classes"] / np.linalg.norm(p["classes"], axis=1, keepdims=True)
    return sum(z / np.linalg.norm(z, axis=1, keepdims=True) @ w.T for z in (a, v)) / 0.07


def film(p, a, v):
    gamma, beta = np.split(dense(p["film"], a), 2, axis=1)
    return dense(p["out"], gamma * v + beta)


def low_rank(p, a, v):
    return dense(p["out"], dense(p["audio"], a) * dense(p["visual"], v))


FORMULAS = {
    "sum": lambda p, a, v: dense(p["audio"], a) + dense(p["visual"], v),
    "concat": concat,
    "share_head": lambda p, a, v: dense(p["shared"], a) + dense(p["shared"], v),
    "concat_msh": lambda p, a, v: concat(p["joint"], a, v),
    "cosine": cosine,
    "low_rank": low_rank,
    "film": film,
    "gated": lambda p, a, v: gate(p["gate"], a, v),
    "bigated": lambda p, a, v: (
        gate(p["first_gates_second"], a, v) + gate(p["second_gates_first"], v, a)
    ),
}


@pytest.mark.parametrize("name", FUSIONS)
def test_logits_equal_the_formula(name):
    head, params = build(name)
    params = randomised(params)
    z = features()
    logits = head.apply({"params": params}, z)
    expected = FORMULAS[name](jax.tree.map(np.asarray, params), z["audio"], z["visual"])
    np.testing.assert_allclose(logits, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("modalities", [("audio", "visual"), ("a", "b", "c")])
@pytest.mark.parametrize("name", ADDITIVE_FUSIONS)
def test_modality_logits_sum_to_the_joint_logits(name, modalities):
    head, params = build(name, modalities)
    params = randomised(params)
    z = features(modalities)
    parts = head.apply({"params": params}, z, method="modality_logits")
    assert set(parts) == set(modalities)
    np.testing.assert_allclose(sum(parts.values()), head.apply({"params": params}, z), rtol=1e-5)


@pytest.mark.parametrize("name", ADDITIVE_FUSIONS)
def test_each_part_reads_its_own_modality_only(name):
    head, params = build(name)
    params = randomised(params)
    z = features()
    before = head.apply({"params": params}, z, method="modality_logits")
    after = head.apply({"params": params}, z | {"audio": z["audio"] + 1}, method="modality_logits")
    np.testing.assert_array_equal(before["visual"], after["visual"])
    assert not np.allclose(before["audio"], after["audio"])


@pytest.mark.parametrize("name", sorted(set(FUSIONS) - {"cosine"}))
def test_prediction_starts_uniform(name):
    head, params = build(name)
    np.testing.assert_array_equal(head.apply({"params": params}, features()), 0)


def test_own_heads_are_apart_from_the_joint_one():
    head, params = build("concat_msh")
    params = randomised(params)
    z = features()
    own = head.apply({"params": params}, z, method="unimodal_logits")
    expected = dense(jax.tree.map(np.asarray, params["own"]["audio"]), z["audio"])
    np.testing.assert_allclose(own["audio"], expected, rtol=1e-5, atol=1e-5)


def test_cosine_gradient_is_finite_at_zero_features():
    head, params = build("cosine")
    zeros = {m: np.zeros_like(z) for m, z in features().items()}
    gradient = jax.grad(lambda z: head.apply({"params": params}, z).sum())(zeros)
    assert all(np.all(np.isfinite(g)) for g in gradient.values())


@pytest.mark.parametrize("name", ["film", "gated", "bigated"])
def test_pair_heads_refuse_three_modalities(name):
    with pytest.raises(ValueError, match=r"Expected two modalities .*got \['a', 'b', 'c'\].*sum"):
        HeadOptions.of_kind(name).make(("a", "b", "c"), C)
